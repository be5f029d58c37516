"""Statistics of basins against loops over samples, scipy, and basins that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from dynlab.attractors import Basins, basins_of_orbits
from dynlab.attractors.basins import merge_basins
from dynlab.attractors.statistics import basin_statistics, wilson_interval
from dynlab.dynamics import iterate
from dynlab.maps.classical import DoubleWell


def by_hand(labels: list[int], attractors: int) -> Basins:
    return Basins(
        map_sha256="a" * 64,
        fixed_points=torch.arange(attractors, dtype=torch.float64)[:, None] * torch.tensor([10.0, 0.0]),
        residuals=torch.zeros(attractors, dtype=torch.float64),
        multipliers=torch.full((attractors, 1), 0.5, dtype=torch.complex128),
        labels=torch.tensor(labels, dtype=torch.int64),
        samples=torch.arange(len(labels)) + 100,
    )


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_wilson_interval_is_that_of_scipy(confidence: float) -> None:
    pairs = [(k, n) for n in (1, 2, 17, 1000, 60_000) for k in sorted({0, 1, n // 3, n - 1, n})]
    found = wilson_interval(*torch.tensor(pairs).T, confidence=confidence)
    expected = [binomtest(k, n).proportion_ci(confidence, method="wilson") for k, n in pairs]
    np.testing.assert_allclose(found.numpy(), [(ends.low, ends.high) for ends in expected], rtol=1e-10, atol=1e-14)


def test_the_interval_of_nothing_says_nothing() -> None:
    assert wilson_interval(torch.tensor([0]), torch.tensor([0])).tolist() == [[0.0, 1.0]]


def test_double_well(device: torch.device) -> None:
    states = torch.tensor([[1.5, 0.0], [0.9, 0.0], [1.0, 1.0], [-1.2, 0.0], [-0.5, 0.0]], device=device)
    orbits = iterate(DoubleWell(), states)
    classes = torch.tensor([3, 3, 1, -1, 0], device=device)
    found = basin_statistics(basins_of_orbits(DoubleWell(), orbits), states, orbits.steps, classes, members=2)
    assert found.sizes.tolist() == [3, 2]
    assert found.fractions.tolist() == [0.6, 0.4]
    assert found.class_counts.tolist() == [[0, 1, 0, 2], [1, 0, 0, 0]]
    assert found.purities.tolist() == [2 / 3, 1.0]
    assert found.majority_classes.tolist() == [3, 0]
    assert found.nearest.tolist() == [[1, 0], [3, 4]]
    assert found.farthest.tolist() == [[2, 0], [4, 3]]
    expected = torch.tensor([[0.1, 0.5], [0.2, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(found.nearest_distances, expected, rtol=0.0, atol=1e-7)  # the states are float32
    expected = torch.tensor([[1.0, 0.5], [0.5, 0.2]], dtype=torch.float64)
    torch.testing.assert_close(found.farthest_distances, expected, rtol=0.0, atol=1e-7)
    assert found.median_steps.tolist() == [float(orbits.steps[:3].median()), float(orbits.steps[3:].double().mean())]
    frame = found.to_frame()
    assert frame[["size", "class_0", "class_1", "class_2", "class_3"]].to_numpy().tolist() == [
        [3, 0, 1, 0, 2],
        [2, 1, 0, 0, 0],
    ]
    assert frame["low"].tolist() == found.intervals[:, 0].tolist()


def test_against_a_loop_over_samples(device: torch.device) -> None:
    rng = np.random.default_rng(0)
    labels, classes, steps = rng.integers(-1, 6, 400), rng.integers(-1, 4, 400), rng.integers(-1, 50, 400)
    labels[labels == 4] = 3  # an attractor of no sample
    basins = by_hand(labels.tolist(), 6)
    states = torch.from_numpy(rng.normal(size=(400, 2)))
    where = states.to(device), torch.from_numpy(steps).to(device), torch.from_numpy(classes).to(device)
    found = basin_statistics(basins, *where, members=7)
    for attractor in (0, 1, 2, 3, 5):
        rows = np.flatnonzero(labels == attractor)
        assert int(found.sizes[attractor]) == len(rows)
        interval = binomtest(len(rows), 400).proportion_ci(method="wilson")
        assert found.intervals[attractor].tolist() == pytest.approx([interval.low, interval.high], rel=1e-10)
        counts = [int((classes[rows] == name).sum()) for name in range(4)]
        assert found.class_counts[attractor].tolist() == counts
        assert float(found.purities[attractor]) == max(counts) / sum(counts)
        assert int(found.majority_classes[attractor]) == counts.index(max(counts))
        apart = {int(row): math.dist(states[row].tolist(), (10.0 * attractor, 0.0)) for row in rows}
        ordered = sorted(apart, key=lambda row: apart[row])
        assert found.nearest[attractor].tolist() == [row + 100 for row in ordered[:7]]
        assert found.farthest[attractor].tolist() == [row + 100 for row in ordered[::-1][:7]]
        assert found.nearest_distances[attractor].tolist() == pytest.approx([apart[row] for row in ordered[:7]])
        assert found.farthest_distances[attractor].tolist() == pytest.approx([apart[row] for row in ordered[::-1][:7]])
        taken = steps[rows][steps[rows] >= 0]
        assert float(found.median_steps[attractor]) == pytest.approx(np.median(taken), rel=1e-14)
        assert float(found.slow_steps[attractor]) == pytest.approx(np.quantile(taken, 0.9), rel=1e-14)
    assert found.class_counts[4].tolist() == [0, 0, 0, 0]
    assert found.majority_classes[4] == -1
    assert bool(torch.stack([found.purities[4], found.median_steps[4], found.slow_steps[4]]).isnan().all())
    assert found.nearest[4].tolist() == [-1] * 7


def test_small_basins_end_in_nothing_and_ties_keep_the_order_of_samples() -> None:
    states = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    found = basin_statistics(by_hand([0, 0, 0], 1), states, torch.tensor([-1, -1, -1]), members=4)
    assert found.nearest.tolist() == found.farthest.tolist() == [[100, 101, 102, -1]]
    assert found.nearest_distances[0, :3].tolist() == [1.0, 1.0, 1.0]
    assert bool(found.farthest_distances[0, 3].isnan())
    assert bool(found.median_steps.isnan().all())
    assert found.class_counts.shape == (1, 0)
    assert found.majority_classes.tolist() == [-1]
    assert bool(found.purities.isnan().all())


def test_merged_basins_name_samples_of_the_data_set() -> None:
    states = torch.tensor([[0.5, 0.0], [-0.5, 0.0], [0.7, 0.0], [0.9, 0.0]])
    orbits = [iterate(DoubleWell(), states[rows]) for rows in (slice(0, 2), slice(2, 4))]
    basins = merge_basins([basins_of_orbits(DoubleWell(), part, 2 * i) for i, part in enumerate(orbits)])
    found = basin_statistics(basins, states, torch.cat([part.steps for part in orbits]), members=1)
    assert found.nearest.tolist() == [[3], [1]]
    assert found.farthest.tolist() == [[0], [1]]


def test_without_samples_or_attractors() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    assert basin_statistics(by_hand([], 0), torch.zeros(0, 2), nothing, nothing).sizes.tolist() == []
    found = basin_statistics(by_hand([-1, -1], 0), torch.zeros(2, 2), torch.tensor([3, 4]))
    assert found.intervals.shape == (0, 2)


def test_bad_arguments_are_named() -> None:
    basins, states, steps = by_hand([0, 0], 1), torch.zeros(2, 2), torch.tensor([1, 1])
    with pytest.raises(ValueError, match=r"initial_states has shape \(3, 2\), expected \(2, 2\)"):
        basin_statistics(basins, torch.zeros(3, 2), torch.tensor([1, 1, 1]))
    with pytest.raises(ValueError, match="classes has -2, expected -1 or more"):
        basin_statistics(basins, states, steps, torch.tensor([0, -2]))
    with pytest.raises(ValueError, match="members is 0"):
        basin_statistics(basins, states, steps, members=0)
    with pytest.raises(ValueError, match="successes is out of its range"):
        wilson_interval(torch.tensor([3]), torch.tensor([2]))
    with pytest.raises(ValueError, match=r"confidence is 0\.0"):
        wilson_interval(torch.tensor([1]), torch.tensor([2]), confidence=0.0)

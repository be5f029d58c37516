"""Pictures of basins and their entropy, against closed forms and counts written out."""

from __future__ import annotations

import inspect
import math
from collections import Counter

import numpy as np
import pytest
import torch

from dynlab.attractors.planes import basin_entropy_of, basin_plane, cycle_of
from dynlab.attractors.reached import known_attractors
from dynlab.dynamics import iterate
from dynlab.maps.classical import CubeRootNewton, MultiWell

from systems import two_cycles


def test_a_plane_shows_the_known_basins(device: torch.device) -> None:
    system = MultiWell((1.0, 0.7), 5).double().to(device)
    wells = system.wells()
    plane = basin_plane(
        system, torch.stack([wells[0], wells[1], wells[2]]), known_attractors(system, wells), resolution=12, margin=0.3
    )
    assert plane.others == []
    ways = wells[1:3] - wells[0]
    for row, one in enumerate(plane.first.tolist()):
        states = wells[0] + one * ways[0] + plane.second[:, None].to(wells) * ways[1]
        assert plane.labels[row].tolist() == system.basins(states).tolist()


def test_attractors_that_are_not_known_are_found_once() -> None:
    system = MultiWell((1.0, 0.7), 2).double()
    wells = system.wells()
    plane = basin_plane(system, wells[:3], known_attractors(system, wells[:1]), resolution=6, margin=0.2)
    assert len(plane.others) == 3
    assert sorted(set(plane.labels.flatten().tolist())) == [0, 1, 2, 3]


def test_cycles_and_divergence_are_told_apart(device: torch.device) -> None:
    system = two_cycles().to(device)
    corners = torch.tensor([[-1.7, -1.72], [1.7, -1.72], [-1.7, 1.68]]).to(device)
    (known,) = iterate(system, torch.tensor([[0.3, 0.3]]).to(device), max_steps=300).cycles
    plane = basin_plane(system, corners, [], known_cycles=[known], resolution=24, margin=0.0, max_steps=300)
    assert len(plane.other_cycles) == 1
    assert (plane.labels == -1).all()
    # Plain steps of numpy, long enough for the phase of both numbers.
    x = np.stack(np.meshgrid(-1.7 + 3.4 * plane.first, -1.72 + 3.4 * plane.second, indexing="ij"), axis=-1)
    lost = (np.abs(x) > 2.5**0.5).any(axis=-1)
    for _ in range(2000):
        x = np.where(lost[..., None], 0.0, x**3 - 1.5 * x)
    np.testing.assert_array_equal(plane.diverged.numpy(), lost)
    expected = np.where(lost, -1, np.where((x > 0).sum(axis=-1) == 1, 1, 0))
    np.testing.assert_array_equal(plane.cycles.numpy(), expected)
    codes = np.where(lost, -2, -3 - expected)
    np.testing.assert_array_equal(plane.codes.numpy(), codes)
    assert [cycle_of(code) for code in (-4, -3, -2, -1, 0, 7)] == [1, 0, None, None, None, None]


def test_entropy_of_boxes_is_that_of_their_counts() -> None:
    labels = torch.randint(-1, 4, (23, 31), generator=torch.Generator().manual_seed(0))
    found = basin_entropy_of(labels, 4)
    entropies = []
    for row in range(0, 20, 4):
        for column in range(0, 28, 4):
            counts = Counter(labels[row : row + 4, column : column + 4].flatten().tolist())
            entropies.append(-sum(n / 16 * math.log(n / 16) for n in counts.values()))
    assert found.boxes == found.boundary_boxes == len(entropies)
    assert found.basin_entropy == pytest.approx(np.mean(entropies), rel=1e-12)
    assert found.boundary_basin_entropy == pytest.approx(np.mean(entropies), rel=1e-12)


def test_a_straight_boundary_has_the_entropy_of_the_shares_it_cuts() -> None:
    labels = (torch.arange(40) >= 22).long().expand(40, 40)  # it cuts boxes of 5 into 2 and 3 columns
    found = basin_entropy_of(labels, 5)
    entropy = -0.4 * math.log(0.4) - 0.6 * math.log(0.6)
    assert (found.boxes, found.boundary_boxes) == (64, 8)
    assert found.boundary_basin_entropy == pytest.approx(entropy, rel=1e-12)
    assert found.basin_entropy == pytest.approx(entropy / 8, rel=1e-12)


def test_a_single_basin_has_no_entropy() -> None:
    found = basin_entropy_of(torch.zeros(10, 10, dtype=torch.int64))
    assert (found.basin_entropy, found.boundary_basin_entropy) == (0.0, None)


def test_labels_that_are_no_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels is a Tensor of shape \(9,\), expected a tensor \(rows, columns\)"):
        inspect.unwrap(basin_entropy_of)(torch.zeros(9, dtype=torch.int64))  # as without the checks of tests


def test_a_julia_set_is_fractal() -> None:
    system = CubeRootNewton().double()
    corners = torch.tensor([[-0.3, -0.3], [0.3, -0.3], [-0.3, 0.3]], dtype=torch.float64) + torch.tensor([-0.8, 0.0])
    plane = basin_plane(system, corners, known_attractors(system, system.fixed_points()), resolution=150, margin=0.0)
    found = basin_entropy_of(plane.labels, 5)
    assert found.boundary_basin_entropy is not None
    assert found.boundary_basin_entropy > math.log(2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"corners": torch.eye(2, dtype=torch.float64)}, "corners has 2 states"),
        ({"corners": torch.zeros(3, 2, dtype=torch.float64)}, "one line"),
        ({"resolution": 1}, "resolution is 1"),
        ({"margin": -1.0}, r"margin is -1\.0"),
    ],
)
def test_bad_arguments(changed: dict, message: str) -> None:
    system = MultiWell((1.0,), 2).double()
    corners = changed.pop("corners", torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64))
    with pytest.raises(ValueError, match=message):
        basin_plane(system, corners, [], **changed)
    with pytest.raises(ValueError, match="box is 7, expected 2 to 6"):
        basin_entropy_of(torch.zeros(6, 9, dtype=torch.int64), 7)

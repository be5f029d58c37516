from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, confusion_matrix

from dynlab.attractors import Basins, basins_of_attraction
from dynlab.attractors.matching import match_attractors, shared_samples
from dynlab.errors import InputError
from dynlab.maps.classical import DoubleWell


def basins(points: list[list[float]] | torch.Tensor, labels: list[int] | torch.Tensor, first: int = 0) -> Basins:
    states = torch.as_tensor(points, dtype=torch.float64)
    count = len(states)
    return Basins(
        map_sha256="",
        fixed_points=states if states.ndim == 2 else states.reshape(0, 1),
        residuals=torch.zeros(count, dtype=torch.float64),
        multipliers=torch.zeros(count, 1, dtype=torch.complex128),
        labels=torch.as_tensor(labels, dtype=torch.int64),
        samples=torch.arange(first, first + len(labels)),
    )


def test_attractors_nearby_are_matched_and_others_are_not():
    first = basins([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], [0, 0, 0, 1, 1, 2])
    second = basins([[10.0, 0.5], [-5.0, -5.0], [0.3, 0.4]], [2, 2, 0, 0, 0, -1])
    matching = match_attractors(first, second, largest_distance=1.0)
    assert matching.first.tolist() == [0, 1]
    assert matching.second.tolist() == [2, 0]
    assert matching.distances.tolist() == pytest.approx([0.5, 0.5], rel=1e-15)
    assert matching.are_mutual.tolist() == [True, True]
    assert (matching.unmatched_first.tolist(), matching.unmatched_second.tolist()) == ([2], [1])
    # Of the five samples that both label: {0, 1, 2} and {0, 1} share two of three, {3, 4} and {2, 3, 4} likewise.
    assert matching.jaccard.tolist() == pytest.approx([2 / 3, 2 / 3], rel=1e-15)
    assert matching.shared.left_out == 1
    frame = matching.to_frame()
    assert list(frame.columns) == ["first", "second", "distance", "is_mutual", "jaccard"]
    assert frame["second"].tolist() == [2, 0]


def test_a_close_pair_is_not_given_up_for_two_distant_ones():
    # As two pairs they are 1.0 and 0.9 apart, and as one 0.0, with the cost of 1.0 for the pair that is missed.
    first, second = basins([[0.0], [1.0]], [0]), basins([[1.0], [1.9]], [0])
    limited = match_attractors(first, second, largest_distance=1.0)
    assert (limited.first.tolist(), limited.second.tolist()) == ([1], [0])
    assert (limited.unmatched_first.tolist(), limited.unmatched_second.tolist()) == ([0], [1])


def test_the_limit_belongs_to_what_is_matched():
    first, second = basins([[0.0]], [0]), basins([[0.25]], [0])
    assert len(match_attractors(first, second, largest_distance=0.25).first) == 1
    assert len(match_attractors(first, second, largest_distance=math.nextafter(0.25, 0.0)).first) == 0


def test_default_limit_is_the_smaller_median_distance_to_a_neighbour():
    # Nearest neighbours of the first stand 1, 1, 2 apart, of the second 4 and 4.
    first, second = basins([[0.0], [1.0], [3.0]], [0]), basins([[1.5], [5.5]], [0])
    matching = match_attractors(first, second)
    assert matching.largest_distance == 1.0
    assert (matching.first.tolist(), matching.second.tolist()) == ([1], [0])
    assert match_attractors(basins([[0.0]], [0]), basins([[9.0]], [0])).largest_distance == math.inf
    assert match_attractors(basins([[0.0]], [0]), second).largest_distance == 4.0


def test_pairs_that_are_not_nearest_to_each_other_say_so():
    # Two times 0.4 is less than 0.1 and 0.9, though 0 and -0.1 are nearest to each other.
    first, second = basins([[0.0], [-0.5]], [0]), basins([[-0.1], [0.4]], [0])
    matching = match_attractors(first, second, largest_distance=math.inf)
    assert (matching.first.tolist(), matching.second.tolist()) == ([0, 1], [1, 0])
    assert matching.are_mutual.tolist() == [False, False]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limit", [0.3, 1.0, math.inf])
def test_no_other_matching_costs_less(seed: int, limit: float):
    random = torch.Generator().manual_seed(seed)
    ones, others = (torch.randn(count, 2, generator=random, dtype=torch.float64) for count in (4, 6))
    matching = match_attractors(basins(ones, [0]), basins(others, [0]), largest_distance=limit)
    distances = (ones[:, None] - others).square().sum(dim=2).sqrt()
    least = min(
        sum(min(float(distances[row, column]), limit) for row, column in enumerate(columns))
        for columns in permutations(range(6), 4)
    )
    missed = 4 - len(matching.first)
    assert float(matching.distances.sum()) + (missed * limit if missed else 0) == pytest.approx(least, rel=1e-12)
    assert bool((matching.distances <= limit).all())
    assert sorted(matching.first.tolist() + matching.unmatched_first.tolist()) == list(range(4))
    assert sorted(matching.second.tolist() + matching.unmatched_second.tolist()) == list(range(6))
    chosen = distances[matching.first, matching.second]
    torch.testing.assert_close(matching.distances, chosen, rtol=1e-14, atol=0.0)


def test_matching_is_symmetric():
    random = torch.Generator().manual_seed(0)
    ones, others = (torch.randn(count, 3, generator=random, dtype=torch.float64) for count in (8, 5))
    labels = torch.randint(-1, 5, (2, 40), generator=random)
    first, second = basins(ones, labels[0]), basins(others, labels[1])
    there, back = match_attractors(first, second), match_attractors(second, first)
    pairs = set(zip(there.first.tolist(), there.second.tolist(), there.jaccard.tolist(), strict=True))
    assert pairs == set(zip(back.second.tolist(), back.first.tolist(), back.jaccard.tolist(), strict=True))
    assert there.shared.adjusted_rand_index == back.shared.adjusted_rand_index


def test_overlap_of_basins_in_closed_form():
    first = basins([[0.0], [1.0], [2.0]], [0, 0, 0, 0, 1, 1, 1, -1, -1])
    second = basins([[0.0], [1.0], [2.0]], [1, 1, 1, 0, 0, 0, -1, 0, -1])
    shared = shared_samples(first, second)
    assert (shared.samples, shared.left_out) == (6, 3)
    assert list(zip(shared.first.tolist(), shared.second.tolist(), shared.counts.tolist(), strict=True)) == [
        (0, 0, 1),
        (0, 1, 3),
        (1, 0, 2),
    ]
    assert (shared.first_sizes.tolist(), shared.second_sizes.tolist()) == ([4, 2, 0], [3, 3, 0])
    assert shared.jaccard.tolist() == pytest.approx([1 / 6, 3 / 4, 2 / 3], rel=1e-15)
    attractors, counts = shared.of_first(0)
    assert (attractors.tolist(), counts.tolist()) == ([1, 0], [3, 1])
    assert shared.of_first(2)[0].tolist() == []
    # 4 pairs together in both, 7 and 6 in each, of 15: (4 - 42/15) / (13/2 - 42/15)
    assert shared.adjusted_rand_index == pytest.approx(12 / 37, rel=1e-15)
    frame = shared.to_frame()
    assert frame["share_of_first"].tolist() == pytest.approx([1 / 4, 3 / 4, 1.0], rel=1e-15)
    assert frame["share_of_second"].tolist() == pytest.approx([1 / 3, 1.0, 2 / 3], rel=1e-15)


@pytest.mark.parametrize("seed", range(8))
def test_against_a_reference_implementation(seed: int):
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 6, (300,), generator=random)
    # Half of the samples keep their basin, renamed, so that there is some agreement.
    other = torch.where(
        torch.rand(300, generator=random) < 0.5, (labels + 2) % 7 - 1, torch.randint(-1, 6, (300,), generator=random)
    )
    points = torch.arange(6.0)[:, None]
    shared = shared_samples(basins(points, labels), basins(points, other))
    kept = (labels >= 0) & (other >= 0)
    expected = adjusted_rand_score(labels[kept].numpy(), other[kept].numpy())
    assert shared.adjusted_rand_index == pytest.approx(expected, rel=1e-12, abs=1e-14)
    assert 0.05 < expected < 0.9
    table = np.zeros((6, 6), dtype=int)
    table[shared.first, shared.second] = shared.counts
    np.testing.assert_array_equal(
        table, confusion_matrix(labels[kept].numpy(), other[kept].numpy(), labels=list(range(6)))
    )
    assert shared.left_out == int((~kept).sum())


@pytest.mark.parametrize(
    ("first", "second"),
    [([0, 0, 0], [0, 0, 0]), ([0, 1, 2], [2, 0, 1]), ([0, 0, 0], [0, 1, 2]), ([0, 0, 1], [1, 1, 0]), ([0, 0], [0, 1])],
)
def test_index_of_partitions_that_are_trivial(first: list[int], second: list[int]):
    points = [[0.0], [1.0], [2.0]]
    index = shared_samples(basins(points, first), basins(points, second)).adjusted_rand_index
    assert index == adjusted_rand_score(first, second)


def test_index_of_many_samples_does_not_overflow():
    # Two halves and two thirds of 600000 samples; in 64 bits the products of pairs of pairs are too large.
    samples = torch.arange(600_000)
    ones, others = samples // 300_000, samples // 200_000
    index = shared_samples(basins([[0.0], [1.0]], ones), basins([[0.0], [1.0], [2.0]], others)).adjusted_rand_index
    cells = 2 * math.comb(200_000, 2) + 2 * math.comb(100_000, 2)
    rows, columns, pairs = 2 * math.comb(300_000, 2), 3 * math.comb(200_000, 2), math.comb(600_000, 2)
    expected = (cells - rows * columns / pairs) / ((rows + columns) / 2 - rows * columns / pairs)
    assert index == pytest.approx(expected, rel=1e-9)


def test_without_attractors_or_shared_samples():
    nobody, wells = basins([], [-1, -1]), basins([[0.0], [1.0]], [0, -1])
    matching = match_attractors(nobody, wells)
    assert (len(matching.first), matching.unmatched_first.tolist(), matching.unmatched_second.tolist()) == (
        0,
        [],
        [0, 1],
    )
    assert matching.shared.left_out == 2
    assert math.isnan(matching.shared.adjusted_rand_index)
    apart = match_attractors(wells, basins([[0.0], [1.0]], [-1, 1]))
    assert apart.first.tolist() == [0, 1]
    assert apart.jaccard.isnan().all()
    disjoint = match_attractors(basins([[0.0]], [0, 0]), basins([[0.0], [9.0]], [1, 1]))
    assert disjoint.jaccard.tolist() == [0.0]


def test_two_maps_with_the_same_wells(device: torch.device):
    states = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).clamp(-2, 2).to(device)
    found = basins_of_attraction(DoubleWell(), states)
    matching = match_attractors(found, basins_of_attraction(DoubleWell(0.2), states))
    assert matching.first.tolist() == matching.second.tolist() == [0, 1]
    assert float(matching.distances.max()) < 1e-12
    assert matching.are_mutual.all()
    assert matching.jaccard.tolist() == [1.0, 1.0]
    assert matching.shared.adjusted_rand_index == 1.0


def test_bad_arguments():
    first = basins([[0.0]], [0, 0])
    with pytest.raises(InputError, match="second labels 1 samples, expected the 2 of first"):
        match_attractors(first, basins([[0.0]], [0]))
    with pytest.raises(InputError, match="second labels the sample 5 of its data set, expected 0 as in first"):
        shared_samples(first, basins([[0.0]], [0, 0], first=5))
    with pytest.raises(InputError, match="second has attractors of dim 2, expected 1 as in first"):
        match_attractors(first, basins([[0.0, 0.0]], [0, 0]))
    for limit in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="largest_distance is"):
            match_attractors(first, first, largest_distance=limit)
    with pytest.raises(ValueError, match="attractor is 1, expected from 0 to below 1"):
        shared_samples(first, first).of_first(1)

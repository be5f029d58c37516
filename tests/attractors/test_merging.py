from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from sklearn.cluster import DBSCAN
from torch import Tensor

from dynlab.attractors import merging
from dynlab.attractors.merging import merge_cycles, merge_states

from other_device import emulated_device

# As users have them, whose types nobody checks.
unchecked_merge_states, unchecked_merge_cycles = inspect.unwrap(merge_states), inspect.unwrap(merge_cycles)

DISTANCES = [1e-6, 1e-4, 1e-2, 0.1]


def numbered(labels: NDArray[np.integer]) -> list[int]:
    """Labels in the order of their first appearance."""
    names: dict[int, int] = {}
    return [names.setdefault(int(label), len(names)) for label in labels]


def by_all_pairs(states: Tensor, distance: float) -> list[int]:
    """Single linkage from the whole matrix of distances, of differences in float64."""
    points = states.double().numpy()
    return numbered(connected_components(cdist(points, points) <= distance, directed=False)[1])


def by_dbscan(states: Tensor, distance: float) -> list[int]:
    # Its brute force takes distances from products, which round small ones away.
    scan = DBSCAN(eps=distance, min_samples=1, algorithm="kd_tree")
    return numbered(scan.fit_predict(states.double().numpy()))


def assert_single_linkage(states: Tensor, distance: float, device: torch.device | str = "cpu") -> int:
    """Check the labels against two other methods; returns how many components there are."""
    labels = merge_states(states.to(device), distance)
    assert labels.dtype == torch.int64
    assert labels.device.type == "cpu"
    expected = by_all_pairs(states, distance)
    assert labels.tolist() == expected
    assert by_dbscan(states, distance) == expected
    return max(expected) + 1


def clusters(count: int, size: int, dim: int, spread: float, seed: int) -> Tensor:
    """`count` clusters of about `size` members around points of the unit cube, mixed."""
    random = np.random.default_rng(seed)
    centres = random.random((count, dim))
    members = random.integers(count, size=count * size)
    return torch.from_numpy(centres[members] + spread * random.standard_normal((count * size, dim)))


# Shapes of data


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", DISTANCES)
def test_tight_clusters(distance: float, dtype: torch.dtype, device: torch.device):
    states = clusters(40, 15, 100, 0.0, seed=1).to(dtype)
    # Members stand a fraction of the distance around their centres; in float32 rounding adds some of 1e-6.
    states += 0.02 * distance * torch.randn(states.shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
    assert assert_single_linkage(states, distance, device) == 40


@pytest.mark.parametrize("distance", DISTANCES)
def test_states_all_apart(distance: float, device: torch.device):
    states = torch.rand(700, 100, generator=torch.Generator().manual_seed(3))
    assert assert_single_linkage(states, distance, device) == 700


@pytest.mark.parametrize("dim", [1, 2, 30])
@pytest.mark.parametrize("distance", DISTANCES)
def test_a_chain_is_one_and_falls_apart_where_it_is_torn(distance: float, dim: int):
    random = np.random.default_rng(4)
    direction = random.standard_normal(dim)
    steps = np.full(600, 0.9 * distance)
    steps[[150, 400]] = 1.1 * distance
    chain = random.random(dim) + np.cumsum(steps)[:, None] * direction / np.linalg.norm(direction)
    assert assert_single_linkage(torch.from_numpy(chain[random.permutation(600)]), distance) == 3


@pytest.mark.parametrize("dim", [1, 2, 3, 16, 17, 200])
def test_a_blob_denser_than_the_distance_is_one(dim: int, device: torch.device):
    states = torch.randn(600, dim, generator=torch.Generator().manual_seed(5)) * 0.03 / math.sqrt(dim)
    assert assert_single_linkage(states, 0.1, device) == 1


def test_two_blobs_wider_than_the_distance_with_a_gap_between_them():
    random = np.random.default_rng(6)
    left, right = random.random((2, 500, 2))
    right[:, 0] += 2.2 - right[:, 0].min()
    left[:, 0] += 1.95 - left[:, 0].max()
    states = torch.from_numpy(np.concatenate([left, right]))  # 0.25 apart
    assert assert_single_linkage(states, 0.2499) == 2
    near = torch.cat([states, torch.tensor([[1.95, 0.5], [2.2, 0.5]], dtype=torch.float64)])
    assert assert_single_linkage(near, 0.2501) == 1


@pytest.mark.parametrize("distance", DISTANCES)
def test_duplicates_are_one(distance: float, device: torch.device):
    different = torch.rand(30, 50, generator=torch.Generator().manual_seed(7))
    states = different[torch.randint(30, (500,), generator=torch.Generator().manual_seed(8))]
    assert assert_single_linkage(states, distance, device) == 30
    assert merge_states(torch.zeros(200, 5, device=device), distance).tolist() == [0] * 200


@pytest.mark.parametrize("distance", [0.02, 0.035, 0.045, 0.055, 0.08])
@pytest.mark.parametrize("seed", range(3))
def test_scattered_points_around_percolation(distance: float, seed: int):
    """Stars overlap in every way, and whether they are one depends on their members."""
    states = torch.rand(700, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert_single_linkage(states, distance)


def mixture(random: np.random.Generator) -> Tensor:
    """Clusters, wide and tight ones, chains, copies and states alone, mixed."""
    dim = int(random.choice([1, 2, 5, 20, 100]))
    parts = [random.random((int(random.integers(1, 60)), dim))]
    for _ in range(int(random.integers(1, 12))):
        centre, spread = random.random(dim), 10.0 ** random.uniform(-7, -0.5) / math.sqrt(dim)
        parts.append(centre + spread * random.standard_normal((int(random.integers(1, 60)), dim)))
    for _ in range(int(random.integers(1, 4))):
        step = 10.0 ** random.uniform(-6, -1) * random.standard_normal(dim) / math.sqrt(dim)
        parts.append(random.random(dim) + np.arange(int(random.integers(2, 60)))[:, None] * step)
    states = np.concatenate(parts)
    states = np.concatenate([states, states[random.integers(len(states), size=20)]])
    return torch.from_numpy(random.permutation(states))


@pytest.mark.parametrize("seed", range(20))
def test_random_mixtures_of_all_this(seed: int):
    random = np.random.default_rng(seed)
    states = mixture(random)
    for distance in 10.0 ** random.uniform(-6, -1, size=4):
        assert_single_linkage(states, float(distance))


@pytest.mark.parametrize("seed", range(12))
def test_batches_and_chunks_of_any_size(seed: int, monkeypatch: pytest.MonkeyPatch):
    """What does not fit into memory at once is taken in parts, with the same result."""
    random = np.random.default_rng(100 + seed)
    for limit in ("_PAIRS", "_SLICE", "_CHUNK"):
        monkeypatch.setattr(merging, limit, int(random.choice([3, 10, 50, 300])))
    for states in (mixture(random), torch.from_numpy(random.random((200, 2)))):
        for distance in 10.0 ** random.uniform(-3, -1, size=2):
            assert merge_states(states, float(distance)).tolist() == by_all_pairs(states, float(distance))


# Where it is decided


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("gap", [0.999, 1.001, 1.3, 1.7, 1.9])
def test_centres_apart_joined_by_their_members_alone(gap: float, distance: float):
    """Whichever state becomes a centre: four on a line, of which the outer ones are crowded."""
    random = np.random.default_rng(9)
    for _ in range(4):
        crowd = random.standard_normal((60, 8)) * 1e-4 * distance
        ends = np.zeros((4, 8))
        ends[:, 0] = np.array([0.0, 0.7, 0.7 + gap, 1.4 + gap]) * distance
        states = np.concatenate([ends, crowd, ends[3] + crowd])
        found = assert_single_linkage(torch.from_numpy(random.permutation(states)), distance)
        assert found == (1 if gap < 1 else 2)


@pytest.mark.parametrize("distance", DISTANCES)
def test_members_at_the_rims_of_two_shells(distance: float):
    """Two shells around a centre each, of radius 0.8, whose nearest members stand 0.9 or 1.1 apart."""
    random = np.random.default_rng(10)
    shell = random.standard_normal((150, 6))
    shell *= 0.8 * distance / np.linalg.norm(shell, axis=1, keepdims=True)
    pole = np.eye(6)[0] * 0.8 * distance
    for gap, expected in ((0.9, 1), (1.1, 2)):
        left = np.concatenate([np.zeros((1, 6)), shell[shell[:, 0] < 0], pole[None]])
        right = -left + np.eye(6)[0] * (1.6 + gap) * distance
        states = torch.from_numpy(random.permutation(np.concatenate([left, right])))
        assert assert_single_linkage(states, distance) == expected


@pytest.mark.parametrize("relative", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("distance", DISTANCES)
def test_pairs_near_the_distance_on_states_of_norm_ten(distance: float, relative: float):
    """Distances of products would be off by 1e-7 here, and those in float32 by more."""
    random = np.random.default_rng(11)
    states = random.random((50, 300))
    states *= 10 / np.linalg.norm(states, axis=1, keepdims=True)
    directions = random.standard_normal((50, 300))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    relative = max(relative, 1e-14 / distance)  # what the sums themselves round
    inside, outside = (torch.from_numpy(states + distance * (1 + sign * relative) * directions) for sign in (-1, 1))
    given = torch.from_numpy(states)
    assert assert_single_linkage(torch.cat([given, inside]), distance) == 50
    assert assert_single_linkage(torch.cat([given, outside]), distance) == 100


def test_a_distance_is_met_by_those_that_stand_exactly_there():
    line = torch.arange(100, dtype=torch.float32)[:, None] / 8
    assert merge_states(line, 0.125).tolist() == [0] * 100
    assert merge_states(line, math.nextafter(0.125, 0.0)).tolist() == list(range(100))


@pytest.mark.parametrize("unit", [1e-290, 1e-200, 1e-30, 1e30, 1e200, 1e290])
def test_units_do_not_matter(unit: float):
    states = clusters(20, 10, 5, 0.05, seed=12)
    expected = by_all_pairs(states, 0.1)
    assert 1 < max(expected) < 199
    assert merge_states(states * unit, 0.1 * unit).tolist() == expected


def test_states_far_beyond_the_others_disturb_nothing():
    states = clusters(20, 10, 5, 1e-3, seed=13)
    far = torch.full((1, 5), 1e307, dtype=torch.float64)
    expected = by_all_pairs(states, 0.01)
    assert merge_states(torch.cat([far, states, -far]), 0.01).tolist() == [
        0,
        *(label + 1 for label in expected),
        max(expected) + 2,
    ]


# What does not matter


@pytest.mark.parametrize("distance", [1e-3, 0.03, 0.1])
def test_the_partition_does_not_depend_on_the_order(distance: float):
    states = clusters(60, 10, 3, 0.01, seed=14)
    labels = merge_states(states, distance)
    for seed in range(10):
        order = torch.randperm(len(states), generator=torch.Generator().manual_seed(seed))
        assert merge_states(states[order], distance).tolist() == numbered(labels[order].numpy())
    ordered = labels.argsort(stable=True)  # sorted by cluster
    assert merge_states(states[ordered], distance).tolist() == labels[ordered].tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype, device: torch.device):
    states = clusters(20, 10, 5, 1e-3, seed=15).to(dtype)
    assert merge_states(states.to(device), 0.01).tolist() == by_all_pairs(states, 0.01)


def test_views_and_gradients():
    states = clusters(20, 10, 5, 1e-3, seed=16)
    expected = by_all_pairs(states, 0.01)
    assert merge_states(states.t().contiguous().t(), 0.01).tolist() == expected
    assert merge_states(states.clone().requires_grad_(), 0.01).tolist() == expected


def test_another_device():
    states = clusters(20, 10, 5, 1e-3, seed=17)
    assert merge_states(states.to(emulated_device()), 0.01).tolist() == by_all_pairs(states, 0.01)
    pairs = states.reshape(100, 2, 5)
    assert torch.equal(
        merge_cycles([pair.to(emulated_device()) for pair in pairs], 0.5), merge_cycles(list(pairs), 0.5)
    )


def test_few_states():
    assert merge_states(torch.zeros(0, 3), 0.1).tolist() == []
    assert merge_states(torch.ones(1, 3), 0.1).tolist() == [0]
    assert merge_states(torch.tensor([[0.0], [1.0]]), 0.1).tolist() == [0, 1]


# Cycles


def cycle_distance(first: Tensor, second: Tensor) -> float:
    """The largest distance over the phases, for the best rotation; infinite for different periods."""
    if len(first) != len(second):
        return math.inf
    rotated = (second.roll(shift, 0) for shift in range(len(second)))
    return min(float((first.double() - other.double()).norm(dim=1).max()) for other in rotated)


def cycles_by_all_pairs(cycles: list[Tensor], distance: float) -> list[int]:
    joined = np.array([[cycle_distance(first, second) <= distance for second in cycles] for first in cycles])
    return numbered(connected_components(joined, directed=False)[1])


def random_cycles(count: int, copies: int, dim: int, spread: float, seed: int) -> tuple[list[Tensor], list[int]]:
    """Cycles of periods 1 to 6, each several times in any phase, with noise, mixed; and which one each is."""
    generator = torch.Generator().manual_seed(seed)
    different = [torch.rand(1 + number % 6, dim, generator=generator, dtype=torch.float64) for number in range(count)]
    cycles, names = [], []
    for number in torch.randint(count, (count * copies,), generator=generator).tolist():
        states = different[number].roll(int(torch.randint(6, (), generator=generator)), 0)
        cycles.append(states + spread * torch.randn(states.shape, generator=generator, dtype=torch.float64))
        names.append(number)
    return cycles, names


@pytest.mark.parametrize("distance", DISTANCES)
def test_cycles_in_any_phase_are_one(distance: float, device: torch.device):
    cycles, names = random_cycles(24, 6, 20, 0.02 * distance, seed=1)
    labels = merge_cycles([cycle.to(device) for cycle in cycles], distance)
    assert labels.device.type == "cpu"
    assert labels.tolist() == numbered(np.array(names))


@pytest.mark.parametrize("distance", [0.15, 0.25, 0.35])
@pytest.mark.parametrize("seed", range(3))
def test_cycles_are_merged_by_single_linkage(distance: float, seed: int):
    """In the plane, so near the distance that chains of cycles form; none is a multiple of another."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    cycles = []
    for _ in range(100):
        period = int(torch.randint(1, 4, (), generator=generator))
        states = corners[torch.randperm(3, generator=generator)[:period]]
        cycles.append(states + 0.6 * torch.rand(period, 2, generator=generator, dtype=torch.float64) - 0.3)
    cycles = [cycle for cycle in cycles if len(cycle) == 1 or bool((torch.pdist(cycle) > distance).all())]
    expected = cycles_by_all_pairs(cycles, distance)
    assert 3 < max(expected) + 1 < len(cycles)
    assert merge_cycles(cycles, distance).tolist() == expected


def test_the_largest_distance_over_the_phases_decides():
    first = torch.tensor([[0.0], [1.0], [5.0]])
    assert merge_cycles([first, first + torch.tensor([[0.0], [0.2], [0.0]])], 0.19).tolist() == [0, 1]
    assert merge_cycles([first, first + torch.tensor([[0.0], [0.2], [0.0]])], 0.21).tolist() == [0, 0]


def test_the_same_states_in_another_order_are_another_cycle():
    states = torch.eye(4)
    assert merge_cycles([states, states.roll(1, 0), states[[0, 2, 1, 3]], states.flip(0)], 0.1).tolist() == [0, 0, 1, 2]


def test_cycles_with_one_mean_are_told_apart():
    """A map that is odd has cycles `x, -x`."""
    states = torch.rand(200, 10, generator=torch.Generator().manual_seed(18))
    cycles = [torch.stack([state, -state]) for state in states] + [torch.stack([-state, state]) for state in states]
    assert merge_cycles(cycles, 0.01).tolist() == [*range(200), *range(200)]


@pytest.mark.parametrize("distance", DISTANCES)
def test_multiples_count_as_their_minimal_cycle(distance: float, device: torch.device):
    generator = torch.Generator().manual_seed(19)
    for period in (1, 2, 3, 4, 6):
        cycle = torch.rand(period, 12, generator=generator, dtype=torch.float64)
        given = [cycle]
        for multiple in (2, 3, 4, 5):
            states = cycle.repeat(multiple, 1).roll(multiple, 0)
            given.append(states + 0.01 * distance * torch.randn(states.shape, generator=generator, dtype=torch.float64))
        assert merge_cycles([states.to(device) for states in given], distance).tolist() == [0] * 5


def test_a_long_cycle_of_small_steps_is_no_fixed_point():
    """Neighbouring phases stand within the distance, those across the circle do not."""
    angles = torch.arange(60, dtype=torch.float64) * 2 * math.pi / 60
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert float((circle - circle.roll(1, 0)).norm(dim=1).max()) < 0.11
    assert merge_cycles([circle, circle[:1], circle.roll(7, 0), 2 * circle], 0.11).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("period", [50, 64, 65, 150])
def test_long_cycles(period: int):
    generator = torch.Generator().manual_seed(period)
    first, second = torch.rand(2, period, 3, generator=generator)
    given = [first, second, first.roll(17, 0) + 1e-4, second.roll(period // 2, 0), second.flip(0)]
    assert merge_cycles(given, 0.01).tolist() == [0, 1, 0, 1, 2]


def test_periods_are_never_mixed():
    point = torch.zeros(1, 2)
    pair = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert merge_cycles([pair, point, pair.flip(0), torch.cat([pair, pair + 0.5])], 0.1).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("distance", DISTANCES)
def test_fixed_points_are_cycles_of_period_one(distance: float):
    states = clusters(20, 10, 5, 0.3 * distance, seed=20)
    assert torch.equal(merge_cycles(list(states[:, None]), distance), merge_states(states, distance))


def test_no_cycles():
    assert merge_cycles([], 0.1).tolist() == []


# What is refused


@pytest.mark.parametrize(
    "merge",
    [
        lambda distance: merge_states(torch.ones(3, 2), distance),
        lambda distance: merge_cycles([torch.ones(3, 2)], distance),
    ],
)
@pytest.mark.parametrize("distance", [0.0, -0.1, math.inf, math.nan])
def test_distances_out_of_range(merge: Callable[[float], Tensor], distance: float):
    with pytest.raises(ValueError, match=f"distance is {distance}, expected a finite number above 0"):
        merge(distance)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_states_that_are_not_finite(value: float, device: torch.device):
    states = torch.ones(5, 3, device=device)
    states[3, 1] = value
    with pytest.raises(ValueError, match="states is not finite in row 3"):
        merge_states(states, 0.1)
    with pytest.raises(ValueError, match="cycle 1 is not finite in row 3"):
        merge_cycles([torch.ones(2, 3, device=device), states], 0.1)


def test_states_of_another_form():
    with pytest.raises(ValueError, match=r"states has shape \(3,\), expected two axes"):
        unchecked_merge_states(torch.ones(3), 0.1)
    with pytest.raises(ValueError, match=r"states has shape \(3, 0\), expected two axes"):
        merge_states(torch.ones(3, 0), 0.1)
    with pytest.raises(ValueError, match=r"states is of type torch.int64, expected floating point"):
        unchecked_merge_states(torch.ones(3, 2, dtype=torch.int64), 0.1)


def test_cycles_of_another_form():
    with pytest.raises(ValueError, match=r"cycle 1 has shape \(3,\), expected two axes"):
        unchecked_merge_cycles([torch.ones(1, 3), torch.ones(3)], 0.1)
    with pytest.raises(ValueError, match="cycle 1 has no states, expected at least 1"):
        merge_cycles([torch.ones(1, 3), torch.ones(0, 3)], 0.1)
    with pytest.raises(ValueError, match="cycle 1 has dim 2, expected 3 as cycle 0 has"):
        unchecked_merge_cycles([torch.ones(1, 3), torch.ones(1, 2)], 0.1)

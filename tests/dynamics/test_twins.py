"""Twins leave in doubt whom rounding may have decided for, and nobody else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dynlab.datasets import Dataset
from dynlab.dynamics import Status, iterate
from dynlab.dynamics.decision import Search
from dynlab.dynamics.early import EarlyLabels
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.dynamics.plain import Finished, _doubt, iterate_plainly
from dynlab.dynamics.slots import Slots
from dynlab.dynamics.sources import Source
from dynlab.dynamics.twins import Twins
from dynlab.maps import DenoisingAutoencoder, Map, as_map, float64_copy

from systems import Formula, Linear, double_well, logistic


def with_twins(system: Map, states: torch.Tensor, *, tolerance: float = 1e-4, max_steps: int = 10_000) -> Finished:
    """All samples, in their order."""
    source = Source(system, states, parameter="states")
    twins = Twins(system, float64_copy(system), 0.1)
    found = Finished.together(
        list(iterate_plainly(system, source, tolerance=tolerance, max_steps=max_steps, twins=twins))
    )
    return found.chosen(np.argsort(found.ids))


def test_orbits_that_a_rounding_error_would_turn_are_doubtful():
    states = torch.tensor([[1e-7, 1.0], [-3e-6, 1.0], [0.5, 1.0], [-0.02, 1.0]])
    assert with_twins(double_well(), states).doubtful.tolist() == [True, True, False, False]


def test_orbits_that_magnify_rounding_errors_are_doubtful():
    states = torch.rand(20, 1, generator=torch.Generator().manual_seed(0))
    assert with_twins(logistic(4.0), states, max_steps=200).doubtful.all()


@pytest.mark.parametrize(("bottleneck", "expected"), [(1e-6, True), (1e-2, False)])
def test_bottlenecks_are_doubtful_where_steps_are_as_short_as_rounding_errors(bottleneck: float, expected: bool):
    # A twin passes it as its sample does, and an error that both make alike would stop both.
    system = Formula(1, lambda x: torch.where(x > 0.5, x - (x - 1) ** 2 - bottleneck, x / 2))
    found = with_twins(system, torch.full((3, 1), 1.4), tolerance=1e-9, max_steps=10_000)
    assert found.doubtful.tolist() == [expected] * 3


def test_twins_stay_with_their_samples_as_others_come_and_go(device: torch.device):
    # Several blocks; each sample shrinks along an axis of its own, and so at a rate of its own.
    generator = torch.Generator().manual_seed(0)
    system = Linear(torch.diag(torch.linspace(0.1, 0.95, 784))).to(device)
    states = torch.zeros(3000, 784)
    states[torch.arange(3000), torch.randint(784, (3000,), generator=generator)] = 1.0
    found = with_twins(system, states.to(device))
    assert found.twins is not None
    apart = (found.twins - found.states).norm(dim=1)
    assert not found.doubtful.any()
    assert 0 < float(apart.max()) < 1e-3
    assert torch.equal(found.initial, states)


def test_twins_hold_the_inputs_of_their_samples(device: torch.device):
    inputs = torch.linspace(0, 4, 2000)[:, None].expand(2000, 500)
    system = as_map(lambda z, x: z / 2 + x, (500,), inputs=inputs).to(device)
    found = with_twins(system, torch.zeros(2000, 500).to(device))
    assert found.twins is not None
    torch.testing.assert_close(found.states, 2 * inputs, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.twins, 2 * inputs, rtol=1e-4, atol=1e-3)
    assert not found.doubtful.any()


def test_maps_in_float64_have_none():
    system = float64_copy(double_well())
    found = with_twins(system, torch.tensor([[1e-9, 1.0]], dtype=torch.float64))
    assert found.twins is None
    assert not found.doubtful.any()


def test_where_a_twin_starts_does_not_depend_on_the_other_samples():
    system = Linear(torch.diag(torch.linspace(0.1, 0.95, 7)))
    twins = Twins(system, float64_copy(system), 0.1)
    states, ids = torch.rand(20, 7, generator=torch.Generator().manual_seed(0)), np.arange(20)
    rounding = twins.rounding(states, ids)
    away = twins.start(states, rounding, ids)
    for row in range(20):
        one = slice(row, row + 1)
        assert twins.rounding(states[one], ids[one])[0] == pytest.approx(rounding[row], rel=0.1)
        torch.testing.assert_close(twins.start(states[one], rounding[one], ids[one]), away[one], rtol=0, atol=0)
    distances = (away - states).double().norm(dim=1).numpy()
    np.testing.assert_allclose(distances, 1000 * rounding, rtol=0.02)


def test_rounding_is_that_of_the_map_where_it_is_more_than_that_of_the_state():
    # What cancels in float32 is a hundred thousand times as large as what is left.
    system = Formula(2, lambda x: (x + 1e5) - 1e5)
    states = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
    rounding = Twins(system, float64_copy(system), 0.1).rounding(states, np.arange(100))
    assert 1e-3 < np.median(rounding) < 1e-2  # an ulp of 1e5 is 8e-3


def test_directions_are_many_in_few_dimensions_too():
    for dim, least in ((1, 0.4), (2, 0.2)):
        twins = Twins(Linear(torch.eye(dim)), Linear(torch.eye(dim).double()), 0.1)
        moves = twins.start(torch.zeros(1024, dim), np.ones(1024), np.arange(1024)) / 1000
        torch.testing.assert_close(moves.norm(dim=1), torch.ones(1024))
        for axis in range(dim):  # to both sides
            assert least < float((moves[:, axis] > 0.5).double().mean()) < 1 - least


def _collapsing(drift: float) -> Map:
    """First all stand at `x = 0`; from there they leave, for one side in float64 and for the other in float32."""

    def apply(states: torch.Tensor) -> torch.Tensor:
        x, y = states.unbind(1)
        away = x - 0.1 * x * (x * x - 1) + (drift if states.dtype == torch.float64 else -drift)
        return torch.stack([torch.where(y > 0.95, 0.0 * x, away), 0.9 * y], dim=1)

    return Formula(2, apply)


def test_errors_of_later_steps_are_seen_where_the_map_drew_twins_to_their_samples():
    # Steps get no shorter than 2e-5, which is more than rounding could turn back.
    states = torch.stack([torch.linspace(-1, 1, 50), torch.ones(50)], dim=1)
    orbits = iterate(_collapsing(1e-7), states, tolerance=1e-5)
    torch.testing.assert_close(orbits.states[:, 0], torch.ones(50).double(), rtol=0, atol=1e-5)
    alone = iterate(_collapsing(1e-7), states, tolerance=1e-5, recheck=False)
    torch.testing.assert_close(alone.states[:, 0], -torch.ones(50).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("steepness", [20.0, 100.0, 1000.0])
def test_saddles_that_are_left_within_a_few_steps(steepness: float):
    """Starts bisected to the line that parts two basins, whose twins are on the other side for one half only."""

    def apply(states: torch.Tensor) -> torch.Tensor:
        x, y = states.unbind(1)
        return torch.stack([torch.tanh(steepness * (x + 0.3 * y - 0.21)), 0.05 * y + 0.1 * x], dim=1)

    def is_right(states: torch.Tensor) -> torch.Tensor:
        for _ in range(200):
            states = apply(states)
        return states[:, :1] > 0

    y = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    low, high = torch.cat([-3 + 0 * y, y], dim=1), torch.cat([3 + 0 * y, y], dim=1)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = torch.where(is_right(middle), low, middle), torch.where(is_right(middle), middle, high)
    starts = low.float()
    wrong = [
        int(
            ((iterate(Formula(2, apply), starts, recheck=recheck).states[:, :1] > 0) != is_right(starts.double())).sum()
        )
        for recheck in (False, True)
    ]
    assert wrong[0] > 100
    assert wrong[1] == 0


def test_maps_with_jumps_that_make_one_state_of_a_sample_and_its_twin():
    # All start at 0.5 again, and three steps of 0.1 take them to 0.8, on one side of it in each precision.
    def apply(states: torch.Tensor) -> torch.Tensor:
        x, y = states.unbind(1)
        further = torch.where(x < 0.75, x + 0.1, torch.where(x >= 0.8, 5.0, -5.0).to(x))
        ends = torch.where(x.abs() > 4, x, further)
        return torch.stack([torch.where(y > 0.5, torch.full_like(x, 0.5), ends), torch.zeros_like(y)], dim=1)

    states = torch.stack([torch.linspace(-1, 1, 50), torch.ones(50)], dim=1)
    system = Formula(2, apply)
    expected = states.double()
    for _ in range(10):
        expected = apply(expected)
    found = [iterate(system, states, recheck=recheck).states for recheck in (False, True)]
    assert not torch.allclose(found[0], expected)
    torch.testing.assert_close(found[1], expected)


def test_twins_keep_their_distance_from_states_that_grow():
    # From 0 to 1000, where an ulp is more than all that twins were moved by at the start.
    found = with_twins(Formula(3, lambda x: 0.9 * x + 100), torch.zeros(20, 3), tolerance=1e-3)
    assert found.twins is not None
    apart = (found.twins - found.states).norm(dim=1)
    assert float(apart.min()) > 1e-3
    assert not found.doubtful.any()


def test_a_twin_that_might_start_in_another_basin_leaves_all_in_doubt():
    bounded = _Coarse(lambda x: torch.sigmoid(14 * (x - 0.5)), torch.float16)
    states = torch.rand(10, 784, generator=torch.Generator().manual_seed(0))
    assert with_twins(as_map(bounded, (784,)), states, max_steps=16).doubtful.all()


def test_what_happens_after_a_sample_finished_leaves_no_doubt():
    twins = Twins(Linear(torch.eye(1)), Linear(torch.eye(1).double()), 0.1)
    slots = Slots.fresh(np.arange(2))
    slots.rounding[:] = 1e-6
    lengths = np.array([[1.0, 1.0], [1e-5, 1e-5], [1e-2, 1e-2]])
    _doubt(twins, slots, lengths, np.full((3, 2), 1e-4), np.zeros(2), np.array([2, 3]))
    assert slots.doubtful.tolist() == [False, True]


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
def test_a_twin_that_is_lost_leaves_doubt(lost: float):
    twins = Twins(Linear(torch.eye(1)), Linear(torch.eye(1).double()), 0.1)
    assert twins.have_parted(np.array([lost, 1e-4]), np.array([1e-6, 1e-6])).tolist() == [True, False]


@pytest.mark.parametrize("early_labels", [True, False])
@pytest.mark.parametrize("max_exact_steps", [0, 1000])
def test_samples_whose_twins_are_outside_a_ball_converge_all_the_same(early_labels: bool, max_exact_steps: int):
    # All stop within a step of the surface of the largest ball there is, and every third twin outside of it.
    states = torch.linspace(0.2, 0.3, 300)[:, None]
    orbits = iterate(
        Formula(1, lambda x: 0.999 * x), states, early_labels=early_labels, max_exact_steps=max_exact_steps
    )
    assert set(orbits.status) == {Status.CONVERGED}


def test_a_sample_is_labelled_once_its_twin_is_in_the_same_ball():
    system = double_well()
    orbits = iterate(system, torch.tensor([[0.5, 0.0], [-0.5, 0.0]]))
    ids = np.arange(5)
    known = KnownFixedPoints(torch.device("cpu"), 2)
    for point in orbits.fixed_points:
        known.add(point)
    exact = float64_copy(system)
    search = Search(system, exact, 1e-4, 100, known, KnownFixedPoints(torch.device("cpu"), 2))
    label = EarlyLabels(search, np.array([], dtype=np.int64))
    slots = Slots.fresh(ids)
    slots.doubtful[4] = True  # goes once more in float64 anyway
    left, right = (int(known.balls_of(torch.tensor([[side, 0.0]]))[0]) for side in (-1.0, 1.0))
    states = torch.tensor([[1.01, 0.0], [1.01, 0.0], [-1.0, 0.0], [0.2, 0.0], [1.0, 0.0]])
    twins = torch.tensor([[1.0, 0.01], [0.5, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    lengths = np.full((8, 5), 1e-3)
    assert label(states, lengths, slots, twins).tolist() == [right, -1, -1, -1, right]
    assert label(states, lengths, slots, None).tolist() == [right, right, left, -1, right]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_of_samples_in_batches(count: int):
    class Reshaping(torch.nn.Module):
        """Cannot take an empty batch."""

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return states.view(states.size(0), -1).tanh().reshape(states.shape) / 2

    batches = iter([torch.rand(1, 2, 2)] * count)
    orbits = iterate(as_map(Reshaping(), (2, 2)), batches, max_steps=3, max_exact_steps=100)
    assert list(orbits.status) == [Status.CONVERGED] * count


@pytest.mark.parametrize("recheck", [True, False])
def test_what_a_map_gives_is_not_changed(recheck: bool):
    class Constant(torch.nn.Module):
        """Gives a part of its own table, large enough for any number of samples here."""

        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Buffer(torch.full((20_000, 2), 0.5))

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return self.table[: len(states)]

    constant = Constant()
    # More samples than a block holds, so that others take the places of those that are done.
    orbits = iterate(as_map(constant, (2,)), torch.rand(9000, 2), recheck=recheck)
    assert set(orbits.status) == {Status.CONVERGED}
    assert bool((orbits.states == 0.5).all())
    assert bool((constant.table == 0.5).all())


def test_doubtful_samples_keep_their_inputs_in_float64():
    # Wells at 1 and -1, the saddle at 0 moved by what each sample holds.
    inputs = torch.linspace(-0.02, 0.02, 41)[:, None]
    system = as_map(lambda z, x: z - 0.1 * z * (z * z - 1) + 0.1 * x, (1,), inputs=inputs)
    ends = torch.full((41, 1), 1e-3).double()
    for _ in range(3000):
        ends = ends - 0.1 * ends * (ends * ends - 1) + 0.1 * inputs.double()
    orbits = iterate(system, torch.full((41, 1), 1e-3))
    torch.testing.assert_close(orbits.states, ends, rtol=0, atol=1e-6)


def test_what_is_not_in_doubt_goes_where_float64_goes(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    """The claim itself, by the distance between orbits of both precisions, step by step."""
    images = digits_test.images
    found = with_twins(digits_dae, images, max_steps=400)
    rounding = Twins(digits_dae, float64_copy(digits_dae), 0.1).rounding(images, np.arange(len(images)))
    single, double, exact = images, images.double(), float64_copy(digits_dae)
    farthest = torch.zeros(len(images), dtype=torch.float64)
    with torch.no_grad():
        for _ in range(400):
            single, double = digits_dae(single), exact(double)
            farthest = torch.maximum(farthest, (single.double() - double).norm(dim=1))
    limit = torch.from_numpy(10 * 1000 * rounding)
    certain = torch.from_numpy(~found.doubtful)
    assert 0.8 < float(certain.double().mean()) < 1.0
    assert bool((farthest < limit)[certain].all())


def test_the_answer_of_a_map_in_half_precision_is_that_of_float64():
    states = torch.tensor([[0.001, 1.0], [-0.001, 1.0]])

    def apply(states: torch.Tensor) -> torch.Tensor:
        x, y = states.unbind(1)
        return torch.stack([x - 0.1 * x * (x * x - 1), 0.9 * y], dim=1)

    coarse = as_map(_Coarse(apply, torch.bfloat16), (2,))
    ends = iterate(coarse, states).states[:, 0]
    torch.testing.assert_close(ends, torch.tensor([1.0, -1.0], dtype=torch.float64), rtol=0, atol=1e-9)


class _Coarse(torch.nn.Module):
    """A function in the precision of a parameter."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.function = function
        self.one = torch.nn.Parameter(torch.ones((), dtype=dtype))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.function(states) * self.one

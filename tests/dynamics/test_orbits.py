from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.dynamics import Status, iterate, newton
from dynlab.dynamics.plain import Finished, iterate_plainly
from dynlab.dynamics.sources import Source
from dynlab.maps import DenoisingAutoencoder, Map, as_map

from systems import Formula, Linear, double_well, ghost, logistic


def test_samples_reach_the_well_on_their_side():
    states = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)  # beyond, a step crosses over
    orbits = iterate(double_well(), states)
    assert set(orbits.status) == {Status.CONVERGED}
    assert len(orbits.fixed_points) == 2
    assert torch.equal(orbits.states[:, 0].sign(), states[:, 0].double().sign())
    torch.testing.assert_close(orbits.states[:, 0].abs(), torch.ones(500).double(), rtol=0.0, atol=1e-12)
    assert torch.equal(orbits.period, torch.ones(500, dtype=torch.int64))


def test_attractors_close_together_are_told_apart_whatever_else_is_in_the_batch():
    # sigmoid(14 (x - 1/2)) attracts to two points 1 apart, each with the largest safe ball there is
    system = Formula(1, lambda x: torch.sigmoid(14 * (x - 0.5)))
    states = torch.tensor([[0.1], [0.2], [0.8], [0.9]])
    together = iterate(system, states)
    assert set(together.status) == {Status.CONVERGED}
    assert len(together.fixed_points) == 2
    alone = [iterate(system, state[None]) for state in states]
    assert [orbits.status[0] for orbits in alone] == list(together.status)
    torch.testing.assert_close(torch.cat([orbits.states for orbits in alone]), together.states, rtol=0.0, atol=1e-12)


def test_a_neighbour_beyond_a_near_saddle_keeps_its_samples_in_many_dimensions():
    # attractors 0 and 0.02, a saddle at 0.01, along one direction of 50, where random directions see little of them
    def apply(states: torch.Tensor) -> torch.Tensor:
        u = states[:, :1]
        return torch.cat([u - 50 * u * (u - 0.01) * (u - 0.02), 0.5 * states[:, 1:]], dim=1)

    states = torch.zeros(200, 50)
    states[:100, 0], states[100:, 0] = torch.linspace(-0.003, 0.003, 100), torch.linspace(0.0102, 0.0123, 100)
    orbits = iterate(Formula(50, apply), states)
    assert set(orbits.status) == {Status.CONVERGED}
    expected = torch.tensor([0.0, 0.02]).double().repeat_interleave(100)
    torch.testing.assert_close(orbits.states[:, 0], expected, rtol=0.0, atol=1e-9)


def test_orbits_that_a_second_slow_direction_throws_beyond_the_saddle_are_not_labelled_before():
    # 0 attracts, u = 0.06 is a saddle, and what v leaves behind in u adds up over many steps
    def apply(states: torch.Tensor) -> torch.Tensor:
        u, v = states[:, :1], states[:, 1:2]
        image = torch.cat([0.97 * u + 0.5 * u**2 + 3 * v**2, 0.968 * v, 0.3 * states[:, 2:]], dim=1)
        return image.clamp(-3, 3)

    generator = torch.Generator().manual_seed(0)
    states = torch.zeros(1100, 10)
    states[:100, :2] = 0.001 * torch.randn(100, 2, generator=generator)
    states[100:, 0] = -0.6 * torch.rand(1000, generator=generator)
    states[100:, 1] = 0.5 * torch.rand(1000, generator=generator)
    orbits = iterate(Formula(10, apply), states)
    ends = states.double()
    for _ in range(3000):
        ends = apply(ends)
    converged = torch.tensor([status is Status.CONVERGED for status in orbits.status])
    assert int(converged.sum()) > 100
    assert len({round(float(end), 3) for end in ends[:, 0]}) == 2  # some leave, some do not
    torch.testing.assert_close(orbits.states[converged], ends[converged], rtol=0.0, atol=1e-6)


def test_attractors_nearer_than_the_largest_ball_are_told_apart():
    # x - 0.002 sin(x / 0.005) attracts to every multiple of 0.01 pi; odd multiples of 0.005 pi part the basins
    system = Formula(1, lambda x: x - 0.002 * torch.sin(x / 0.005))
    states = torch.linspace(-0.05, 0.05, 51)[:, None]
    orbits = iterate(system, states, tolerance=1e-5)
    expected = (states.double() / (0.01 * torch.pi)).round() * 0.01 * torch.pi
    torch.testing.assert_close(orbits.states, expected, rtol=0.0, atol=1e-10)
    assert set(orbits.status) == {Status.CONVERGED}


def test_small_steps_near_a_saddle_are_not_convergence():
    # y alone makes the steps, 0.1 * 0.9^(n - 1), and they fall below the tolerance long before x has left the saddle.
    states = torch.tensor([[1e-7, 1.0], [-1e-7, 1.0]])
    orbits = iterate(double_well(), states)
    assert orbits.steps.tolist() == [67, 67]
    assert orbits.states[:, 0].tolist() == pytest.approx([1.0, -1.0], abs=1e-12)


def test_steps_are_counted_as_the_closed_form_says():
    system = Linear(torch.diag(torch.tensor([0.9, 0.5], dtype=torch.float64)))
    states = torch.tensor([[1.0, 0.0], [0.0, 3.0], [1e-9, 0.0]], dtype=torch.float64)
    orbits = iterate(system, states, tolerance=1e-4, early_labels=False, recorded=3)
    # l_n = (1 - r) r^(n - 1) |x_0| < 1e-4
    expected = [1 + math.floor(math.log(1e-4 / ((1 - r) * x)) / math.log(r)) + 1 for r, x in ((0.9, 1.0), (0.5, 3.0))]
    assert orbits.steps.tolist() == [*expected, 1]
    lengths = orbits.step_lengths[: expected[0], 0].numpy()
    np.testing.assert_allclose(lengths, 0.1 * 0.9 ** np.arange(expected[0]), rtol=1e-6)
    assert bool(torch.isnan(orbits.step_lengths[expected[1] :, 1]).all())
    assert not bool(torch.isnan(orbits.step_lengths[: expected[1], 1]).any())


def turned_double_well() -> Formula:
    """The double well, turned by 0.7 and shifted, so that rounding does move samples off the boundary."""
    well = double_well()
    cos, sin = math.cos(0.7), math.sin(0.7)

    def apply(states: torch.Tensor) -> torch.Tensor:
        turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=states.dtype, device=states.device)
        shift = torch.tensor([0.3, -0.2], dtype=states.dtype, device=states.device)
        return well((states - shift) @ turn) @ turn.T + shift

    return Formula(2, apply)


@pytest.mark.parametrize("scale", [1.0, 1e4])  # rounding errors are 1e-7 or 1e-3 where an orbit starts
def test_rounding_does_not_decide_which_side_of_a_saddle_a_sample_leaves_by(scale: float, device: torch.device):
    system = turned_double_well()
    turn = torch.tensor([[math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)]], dtype=torch.float64)
    shift = torch.tensor([0.3, -0.2], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    along = torch.rand(400, 1, generator=generator, dtype=torch.float64) * 2 - 1
    beside = torch.randn(400, 1, generator=generator, dtype=torch.float64) * 1e-7
    states = (scale * torch.cat([beside, along], dim=1) @ turn.T + shift).float()
    # Which side is that of the float32 state itself, in exact arithmetic.
    side = ((states.double() - shift) @ turn)[:, 0].sign()
    orbits = iterate(system, states.to(device))
    ends = ((orbits.states - shift) @ turn)[:, 0]
    decided = side.abs() > 0
    assert set(orbits.status) == {Status.CONVERGED}
    assert torch.equal(ends.sign()[decided], side[decided])
    # and plain float32 iteration alone would have got some of them wrong
    plain = states
    for _ in range(2000):
        plain = system(plain)
    assert not torch.equal(((plain.double() - shift) @ turn)[:, 0].sign()[decided], side[decided])


def test_float32_alone_does_not_decide_divergence():
    # exp overflows float32 at 89, and float64 at 710
    orbits = iterate(Formula(1, lambda x: torch.log1p(torch.exp(x)) / 2), torch.tensor([[100.0]]))
    assert list(orbits.status) == [Status.CONVERGED]


def test_a_multiplier_that_is_one_in_float32_alone():
    system = Formula(1, lambda x: 0.99999999 * x + 1e-8)
    orbits = iterate(system, torch.tensor([[0.5]], dtype=torch.float64), max_steps=100, max_exact_steps=1000)
    assert list(orbits.status) == [Status.UNRESOLVED]  # it needs far more steps to come near,
    start = torch.tensor([0.5], dtype=torch.float64)
    assert float(newton(system, start).state) == pytest.approx(1.0, abs=1e-7)  # but Newton's method finds it


def test_a_ghost_is_passed_however_slowly():
    height = 2e-4
    orbits = iterate(ghost(height), torch.tensor([[-1.0]]))
    assert 0.2 * height < 1e-4  # so plain iteration ends in the bottleneck
    assert orbits.status[0] is Status.CONVERGED
    assert float(orbits.states[0]) == pytest.approx(2.0, abs=1e-12)


def test_a_multiplier_close_to_one_takes_its_time():
    system = Linear(torch.tensor([[0.9995]]), torch.tensor([0.0005]))
    orbits = iterate(system, torch.tensor([[0.0], [3.0]]))
    assert list(orbits.status) == [Status.CONVERGED] * 2
    exact = float(system.shift) / (1 - float(system.matrix))
    assert orbits.states[:, 0].tolist() == pytest.approx([exact, exact], rel=1e-9)


def test_a_cycle_is_periodic_and_no_attractor():
    orbits = iterate(logistic(3.2), torch.tensor([[0.3], [0.71]]), max_steps=200)
    assert list(orbits.status) == [Status.PERIODIC] * 2
    assert orbits.period.tolist() == [2, 2]
    assert orbits.fixed_point.tolist() == [-1, -1]


def test_a_cycle_of_four_has_period_four():
    assert iterate(logistic(3.5), torch.tensor([[0.3]]), max_steps=200).period.tolist() == [4]


def test_chaos_is_unresolved():
    orbits = iterate(logistic(4.0), torch.tensor([[0.3]]), max_steps=200, max_exact_steps=2000)
    assert list(orbits.status) == [Status.UNRESOLVED]
    assert orbits.steps.tolist() == [-1]


def test_divergence_is_said():
    states = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    orbits = iterate(Linear(torch.diag(torch.tensor([1.5, 0.5]))), states, max_exact_steps=2000)
    # The second sample walks into the saddle at 0, along its stable manifold; nothing attracts it.
    assert list(orbits.status) == [Status.DIVERGED, Status.UNRESOLVED]


def test_neutral_fixed_points_attract_nothing():
    orbits = iterate(Formula(1, lambda x: x), torch.tensor([[0.3]]), max_exact_steps=1000)
    assert list(orbits.status) == [Status.UNRESOLVED]


def test_known_fixed_points_are_used_again():
    states = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    first = iterate(double_well(), states)
    second = iterate(double_well(), states[:10], known=first.fixed_points)
    assert set(map(id, second.fixed_points)) <= set(map(id, first.fixed_points))
    assert torch.equal(second.states, first.states[:10])


def plainly(system: Map, states: torch.Tensor, *, tolerance: float) -> Finished:
    """All samples, in their order."""
    source = Source(system, states, parameter="states")
    found = Finished.together(list(iterate_plainly(system, source, tolerance=tolerance, max_steps=10_000)))
    return found.chosen(np.argsort(found.ids))


def test_more_samples_than_a_block_holds_finish_in_their_own_place(device: torch.device):
    # 3000 rows of dim 784 are several blocks: rows move between blocks as others finish.
    generator = torch.Generator().manual_seed(0)
    rates = torch.linspace(0.1, 0.95, 784)
    system = Linear(torch.diag(rates)).to(device)
    column = torch.randint(784, (3000,), generator=generator)
    states = torch.zeros(3000, 784)
    states[torch.arange(3000), column] = 1.0
    found = plainly(system, states.to(device), tolerance=1e-4)
    r = rates[column].double()
    exact = 2 + torch.floor(torch.log(1e-4 / (1 - r)) / torch.log(r))
    steps = torch.from_numpy(found.steps)
    assert (steps - exact).abs().max() <= 1  # float32 may fall on either side of the tolerance
    assert (steps == exact).double().mean() > 0.99
    assert torch.equal(found.initial, states)
    rows = torch.arange(3000)
    assert torch.equal(found.states.argmax(dim=1)[found.states.amax(dim=1) > 0], column[found.states.amax(dim=1) > 0])
    assert float(found.states[rows, column].max()) < 1e-2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": 0.0}, "tolerance is 0.0, expected a finite number above 0"),
        ({"max_steps": 0}, "max_steps is 0, expected at least 1"),
        ({"max_exact_steps": -1}, "max_exact_steps is -1, expected at least 0"),
        ({"recorded": -1}, "recorded is -1, expected at least 0"),
    ],
)
def test_refuses_arguments_out_of_range(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        iterate(double_well(), torch.zeros(1, 2), **arguments)


def test_refuses_states_it_cannot_iterate():
    with pytest.raises(ValueError, match=r"initial_states has shape \(1, 3\), expected \(batch, 2\)"):
        iterate(double_well(), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="initial_states is not finite in row 1"):
        iterate(double_well(), torch.tensor([[0.0, 0.0], [0.0, float("nan")]]))


def test_no_samples_go_nowhere():
    orbits = iterate(DenoisingAutoencoder(4, 3), torch.zeros(0, 4))
    assert (len(orbits.states), list(orbits.status), len(orbits.fixed_points)) == (0, [], 0)


def test_many_orbits_that_go_far_away_are_given_up(device: torch.device):
    # By products of matrices a state of this size stands far from itself, which must not make a search endless.
    system = Formula(100, lambda x: 1.01 * x)
    states = torch.randn(300, 100, generator=torch.Generator().manual_seed(0))
    orbits = iterate(system, states.to(device), max_steps=1000, max_exact_steps=200)
    assert set(orbits.status) == {Status.UNRESOLVED}


def test_starts_are_those_given_also_where_the_map_is_coarser():
    # in float32 both starts are the saddle at 1
    system = Steep()
    states = torch.tensor([[1 - 1e-10], [1 + 1e-10]], dtype=torch.float64)
    ends = iterate(system, states).states[:, 0]
    assert float(ends[0]) < 1 < float(ends[1])


class Steep(Map):
    """`F(x) = tanh(3 (x - 1) / 2) + 1`, with a parameter in float32."""

    def __init__(self) -> None:
        super().__init__(1)
        self.slope = torch.nn.Parameter(torch.tensor(1.5))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.slope * (states - 1)) + 1


def test_known_fixed_points_of_another_dimension_are_refused():
    known = iterate(double_well(), torch.ones(1, 2)).fixed_points
    with pytest.raises(ValueError, match=r"known\[0\] has shape \(2,\), expected \(1,\)"):
        iterate(logistic(2.5), torch.ones(1, 1) / 2, known=known)


def test_known_fixed_points_of_another_map_are_refused():
    system, next_one = (Formula(1, lambda x, slope=slope: slope * torch.tanh(x)) for slope in (2.0, 2.01))
    known = iterate(system, torch.tensor([[1.0], [-1.0]])).fixed_points
    (other,) = iterate(next_one, torch.tensor([[1.0]])).fixed_points
    for points, index in ((known, 0), ([other, known[0]], 1)):
        with pytest.raises(ValueError, match=rf"known\[{index}\] is no fixed point of the map: its .* is 0\.0"):
            iterate(next_one, torch.tensor([[1.0]]), known=points)
        with pytest.raises(ValueError, match=rf"known\[{index}\] is no fixed point of the map"):
            dl.critical_shocks(next_one, other.state[None], points)
        states = torch.stack([point.state for point in points])
        with pytest.raises(ValueError, match=rf"fixed_points\[{index}\] is no fixed point of the map"):
            dl.known_attractors(next_one, states)


def test_modules_that_cannot_take_an_empty_batch_are_iterated():
    class Reshaping(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.layer(states.view(states.size(0), -1))).reshape(states.shape) / 2

    torch.manual_seed(0)
    orbits = iterate(as_map(Reshaping(), (2, 2)), torch.rand(50, 2, 2), recorded=2, to_floor=True)
    assert set(orbits.status) == {Status.CONVERGED}


def test_modules_in_half_precision_are_iterated():
    torch.manual_seed(0)
    orbits = iterate(as_map(torch.nn.Linear(3, 3).bfloat16(), (3,)), torch.rand(10, 3), max_exact_steps=2000)
    assert set(orbits.status) <= {Status.CONVERGED, Status.DIVERGED, Status.UNRESOLVED}
    contracting = as_map(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Sigmoid()).bfloat16(), (3,))
    recorded = iterate(contracting, torch.rand(10, 3), recorded=4, to_floor=True)
    assert set(recorded.status) == {Status.CONVERGED}
    assert recorded.step_lengths.shape[1] == 4

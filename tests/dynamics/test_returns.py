"""Orbits that come back to where they were: to an attractor, to none, or only nearly, on their way elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynlab.dynamics import Status, cycles, iterate
from dynlab.dynamics.cycles import KnownCycles, Return
from dynlab.dynamics.decision import CODES, Decision, Search
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.maps.classical import Linear, Logistic

from systems import Formula


def column(*states: float) -> torch.Tensor:
    return torch.tensor(states, dtype=torch.float64)[:, None]


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_ghost_that_orbits_pass_from_side_to_side_is_no_cycle(device: torch.device):
    # |x| creeps past the ghost of a fold at 0.5, by 2e-5 in two steps, on to the cycle of -1 and 1. The second
    # coordinate makes the states so long that this is relatively no more than 2e-10.
    def apply(states: torch.Tensor) -> torch.Tensor:
        x = states[:, :1].abs()
        size = x + 0.2 * (1e-4 + (x - 0.5) ** 2) * (1.0 - x)
        return torch.cat([-torch.sign(states[:, :1]) * size, torch.full_like(x, 1e5)], dim=1)

    starts = torch.cat([torch.linspace(0.1, 0.45, 8, dtype=torch.float64)[:, None], torch.full((8, 1), 1e5)], dim=1)
    orbits = iterate(Formula(2, apply), starts.to(device), max_steps=100)
    assert set(orbits.status) == {Status.PERIODIC}
    assert orbits.cycle.tolist() == [0] * 8
    torch.testing.assert_close(orbits.cycles[0].states[:, 0].cpu(), torch.tensor([-1.0, 1.0]).double())


@pytest.mark.parametrize("height", [1e-10, 1e-9])
def test_a_cycle_that_is_a_saddle_is_left_for_the_one_that_is_not(height: float):
    # y -> 1.01 y - y^3 leaves 0 for 0.1, so the cycle of the logistic map attracts at y = 0.1 and is a saddle at 0.
    logistic = Logistic(3.2)

    def apply(states: torch.Tensor) -> torch.Tensor:
        y = states[:, 1:]
        return torch.cat([logistic(states[:, :1]), 1.01 * y - y**3], dim=1)

    orbits = iterate(Formula(2, apply), torch.tensor([[0.3, height], [0.3, 0.0]], dtype=torch.float64), max_steps=300)
    assert list(orbits.status) == [Status.PERIODIC] * 2
    assert orbits.cycle.tolist() == [0, -1]  # the second starts, and stays, on the stable manifold of the saddle
    expected = torch.cat([logistic.two_cycle(), torch.full((2, 1), 0.1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(orbits.cycles[0].states, expected, rtol=0.0, atol=1e-10)


def test_a_cycle_that_parts_basins_is_left_for_a_fixed_point():
    # F = -G with G odd, G(x) = x at 0, 0.5 and 1, G'(0.5) = 1.0075: orbits from beside 0.5 first seem to be periodic.
    system = Formula(1, lambda x: -(x + 0.01 * (-0.5 * x + 2.5 * x**3 - 2 * x**5)))
    orbits = iterate(system, column(0.5 - 1e-9, 0.5 + 1e-9, 0.5 - 1e-8), max_steps=100)
    assert list(orbits.status) == [Status.CONVERGED, Status.PERIODIC, Status.CONVERGED]
    assert orbits.cycle.tolist() == [-1, 0, -1]
    assert float(orbits.states[[0, 2]].abs().max()) < 1e-12
    torch.testing.assert_close(orbits.cycles[0].states, column(-1.0, 1.0), rtol=0.0, atol=1e-12)


def test_what_came_back_in_one_round_and_not_in_the_next_is_not_periodic(device: torch.device):
    system = Logistic(3.2).to(device)
    known, unsafe = KnownFixedPoints(device, 1), KnownFixedPoints(device, 1)
    search = Search(system, system, 1e-10, 100, known, unsafe)
    decision = Decision(system.two_cycle() + 5e-4, np.full(2, -1), np.full(2, CODES[Status.UNRESOLVED]), np.zeros(2))
    both, moving = np.arange(2), np.zeros(2, dtype=bool)
    assert search.settle(decision, both, np.array([2, 2]), moving).tolist() == [False, False]
    assert decision.status.tolist() == [CODES[Status.PERIODIC]] * 2  # for the time being: a cycle is near
    assert search.settle(decision, both, np.array([2, 0]), moving).tolist() == [False, False]
    assert decision.status.tolist() == [CODES[Status.PERIODIC], CODES[Status.UNRESOLVED]]
    assert decision.period.tolist() == [2, 0]


def test_turns_of_an_exact_period_are_periodic_at_once(device: torch.device):
    # Turns by 1/5, 2/5 and 1/10 in three planes of 6 dimensions, in a random basis, so that each step is rounded.
    angles = 2 * np.pi * np.array([0.2, 0.4, 0.1])
    planes = [torch.tensor([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    basis = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    turn = Linear(basis @ torch.block_diag(*planes) @ basis.T).to(device)
    swaps = Linear(torch.eye(6, dtype=torch.float64)[[1, 2, 0, 4, 3, 5]]).to(device)  # a cycle of three and one of two
    for system, period in ((turn, 10), (swaps, 6)):
        # the steps of the first round are enough
        orbits = iterate(system, uniform(300, 6).to(device), max_steps=50, max_exact_steps=32)
        assert set(orbits.status) == {Status.PERIODIC}
        assert set(orbits.period.tolist()) == {period}
        assert orbits.cycle.tolist() == [-1] * 300


def test_where_every_orbit_is_a_cycle_few_are_looked_at(monkeypatch: pytest.MonkeyPatch):
    looked, examined = [], []
    newton, examine = cycles.newton_together, cycles.examine_fixed_points
    monkeypatch.setattr(cycles, "newton_together", lambda *a, **k: (looked.append(len(a[2])), newton(*a, **k))[1])
    monkeypatch.setattr(cycles, "examine_fixed_points", lambda *a: (examined.append(len(a[2])), examine(*a))[1])
    turn = Linear(torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
    for samples in (1000, 2000):
        looked.clear()
        examined.clear()
        orbits = iterate(turn, uniform(samples, 2), max_steps=50)
        assert orbits.period.tolist() == [4] * samples
        assert sum(looked) <= 256
        assert sum(examined) <= 256


def test_an_attractor_of_a_few_is_found_among_many_orbits_of_none():
    # (x, z) -> (-x, z) where z = 0 throughout, so that all of these are cycles; the logistic map where z = 1
    logistic = Logistic(3.4)

    def apply(states: torch.Tensor) -> torch.Tensor:
        x, z = states[:, :1], states[:, 1:]
        return torch.cat([torch.where(z > 0.5, logistic(x), -x), (z > 0.5).to(z.dtype)], dim=1)

    starts = torch.cat([uniform(2000, 1) * 0.9 + 0.05, torch.zeros(2000, 1)], dim=1)
    starts[1235, 1] = starts[777, 1] = 1.0
    orbits = iterate(Formula(2, apply), starts, max_steps=150)  # the few have 1e-9 to go then
    assert orbits.period.tolist() == [2] * 2000
    assert orbits.cycle[[1235, 777]].tolist() == [0, 0]
    assert int((orbits.cycle >= 0).sum()) == 2


def test_a_slow_cycle_is_found_also_at_a_small_tolerance():
    system = Logistic(3.0005)  # a return within 1e-9 is 5e-7 away from the cycle
    orbits = iterate(system, column(0.2, 0.5, 0.7), tolerance=1e-10, max_steps=300)
    assert set(orbits.status) == {Status.PERIODIC}
    assert orbits.cycle.tolist() == [0] * 3
    torch.testing.assert_close(orbits.cycles[0].states, system.two_cycle(), rtol=0.0, atol=1e-9)


def test_how_far_newtons_method_may_go_for_a_cycle(device: torch.device):
    system = Logistic(3.2)
    states = system.two_cycle().to(device)
    # a ball of 1e-7 at most does not hold them, but the cycle is within 1e-3
    labels, returns = KnownCycles().reached(system, states + 5e-4, 2, 1e-7)
    assert (labels.tolist(), returns) == ([-1, -1], [Return.APPROACHING] * 2)
    labels, returns = KnownCycles().reached(system, states + 3e-3, 2, 1e-7)
    assert (labels.tolist(), returns) == ([-1, -1], [Return.OF_NO_ATTRACTOR] * 2)


@pytest.mark.parametrize(("near", "far"), [(1.0, 10.0), (1e-3, 1e5), (4e-3, 5e4)])
def test_states_of_one_cycle_may_be_near_each_other_beside_its_size(near: float, far: float, device: torch.device):
    # 0, near, far and back to 0: each state with what is around it goes half as near to the next one, far onto it.
    points, factors = column(0.0, near, far)[:, 0], column(0.5, 0.5, 0.0)[:, 0]

    def apply(states: torch.Tensor) -> torch.Tensor:
        which = (states - points.to(states)).abs().argmin(dim=1)
        following = points.to(states).roll(-1)[which] + factors.to(states)[which] * (
            states[:, 0] - points.to(states)[which]
        )
        return following[:, None]

    starts = column(0.1 * near, 1.1 * near, far + 0.01).to(device)
    orbits = iterate(Formula(1, apply), starts, max_steps=200, max_exact_steps=3000)
    assert orbits.period.tolist() == [3] * 3
    assert orbits.cycle.tolist() == [0] * 3
    torch.testing.assert_close(orbits.cycles[0].states, points[:, None], rtol=1e-15, atol=1e-12)


def test_a_small_cycle_is_one():
    # F(x) = -s tanh(3 x / s): from m s to -m s and back, where m = tanh(3 m); 0 is no attractor, for the slope is -3
    size, m = 1e-5, 1.0
    for _ in range(200):
        m = np.tanh(3 * m)
    orbits = iterate(Formula(1, lambda x: -size * torch.tanh(3 * x / size)), column(0.3 * size, -2.0), max_steps=100)
    assert orbits.cycle.tolist() == [0, 0]
    torch.testing.assert_close(orbits.cycles[0].states, column(-m * size, m * size), rtol=0.0, atol=1e-12)


def test_the_ball_of_a_cycle_holds_no_other_cycle(device: torch.device):
    # F = -G, where G is a staircase of the steps -2, -1, 1 and 2 thousandths with edges at -1.5, 0 and 1.5 of them
    def stairs(u: torch.Tensor) -> torch.Tensor:
        return torch.tanh(8 * u) + (torch.tanh(8 * (u - 1.5)) + torch.tanh(8 * (u + 1.5))) / 2

    system = Formula(1, lambda x: -1e-3 * stairs(1e3 * x))
    inner, outer = column(1e-3).to(device), column(2e-3).to(device)
    for _ in range(50):
        inner, outer = system(system(inner)), system(system(outer))
    known = KnownCycles()
    assert known.reached(system, inner, 2, 0.1)[0].tolist() == [0]
    assert known.reached(system, outer, 2, 0.1)[0].tolist() == [1]
    starts = 6e-3 * uniform(100, 1) - 3e-3
    orbits = iterate(system, starts.to(device), max_steps=100)
    is_outer = starts[:, 0].abs() > 1.5e-3
    sizes = torch.stack([orbits.cycles[index].states.abs().max() for index in orbits.cycle.tolist()])
    assert torch.equal(sizes > 1.5e-3, is_outer)

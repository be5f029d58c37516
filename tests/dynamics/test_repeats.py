from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dynlab.dynamics import Status, iterate
from dynlab.dynamics.plain import iterate_plainly
from dynlab.dynamics.repeats import Repeats
from dynlab.dynamics.sources import Source

from systems import Formula, logistic

LIMIT = 5000


class Counted(Formula):
    """Counts the states that it is asked about, in its own precision."""

    def __init__(self, apply: Callable[[Tensor], Tensor]) -> None:
        super().__init__(1, apply)
        self.asked = 0

    def forward(self, states: Tensor) -> Tensor:
        self.asked += len(states)
        return super().forward(states)


def plainly(system: Formula, states: Tensor, repeats: Repeats | None) -> dict[int, tuple[int, Tensor]]:
    """After how many steps each sample came to rest, and where it stands."""
    parts = iterate_plainly(
        system, Source(system, states, parameter="states"), tolerance=1e-4, max_steps=LIMIT, repeats=repeats
    )
    return {
        int(sample): (int(steps), state)
        for part in parts
        for sample, steps, state in zip(part.ids, part.steps, part.states, strict=True)
    }


def steps_of(found: dict[int, tuple[int, Tensor]]) -> dict[int, int]:
    return {sample: steps for sample, (steps, _) in found.items()}


@pytest.mark.parametrize("period", [2, 3, 7, 100, 300])
def test_cycles_of_any_length_end(period: int):
    system = Counted(lambda states: (states + 1) % period)
    assert steps_of(plainly(system, torch.arange(5.0)[:, None], Repeats())) == dict.fromkeys(range(5), -1)
    assert system.asked <= 5 * max(128, 6 * period + 8)


def test_orbits_that_only_take_equal_steps_go_on():
    # Steps of exactly 0.5 for up to 2000 steps, and then none; the last one is a cycle all the way.
    def apply(states: Tensor) -> Tensor:
        return torch.where(states < 0, -1 - states, torch.minimum(states + 0.5, torch.full_like(states, 1000)))

    starts = torch.tensor([[0.0], [700.0], [999.5], [-0.25]])
    system, plain = Counted(apply), Counted(apply)
    found = steps_of(plainly(system, starts, Repeats()))
    assert found == steps_of(plainly(plain, starts, None)) == {0: 2001, 1: 601, 2: 2, 3: -1}
    assert system.asked < plain.asked - LIMIT / 2


def test_answers_are_those_of_all_steps():
    # Four maps in one: fixed point, cycle of two, cycle of four, chaos; and each sample stays in its own.
    rates = torch.tensor([2.8, 3.2, 3.5, 3.9])

    def apply(states: Tensor) -> Tensor:
        which = states.floor()
        within = states - which
        rate = rates.to(states)[which.long().clamp(0, 3)]
        return which + rate * within * (1 - within)

    starts = torch.arange(4.0)[:, None] + torch.linspace(0.2, 0.8, 5)
    found, all_steps = (plainly(Counted(apply), starts.reshape(-1, 1), repeats) for repeats in (Repeats(), None))
    assert steps_of(found) == steps_of(all_steps)
    assert all(steps == -1 for steps in list(steps_of(found).values())[-5:])
    for sample, (_, state) in found.items():  # on the very cycle on which all steps end
        orbit = [state]
        for _ in range(3):
            orbit.append(apply(orbit[-1][None])[0])
        if sample < 15:
            assert any(torch.equal(one, all_steps[sample][1]) for one in orbit)

    orbits = iterate(Formula(1, apply), starts.reshape(-1, 1), max_steps=LIMIT, max_exact_steps=2000)
    expected = [Status.CONVERGED] * 5 + [Status.PERIODIC] * 10 + [Status.UNRESOLVED] * 5
    assert list(orbits.status) == expected
    assert orbits.period.tolist() == [1] * 5 + [2] * 5 + [4] * 5 + [0] * 5
    assert [len(cycle.states) for cycle in orbits.cycles] == [2, 4]


def test_recorded_samples_go_on_to_the_limit():
    orbits = iterate(logistic(3.2), torch.linspace(0.1, 0.9, 8)[:, None], max_steps=500, recorded=[3])
    assert orbits.step_lengths.shape == (500, 1)
    assert np.isfinite(orbits.step_lengths.numpy()).all()
    assert (orbits.period == 2).all()


def test_recorded_orbits_that_repeat_themselves_are_not_iterated_to_the_limit_either():
    system = Counted(lambda x: torch.tanh(-3 * x))
    states = torch.linspace(0.1, 2.0, 20)[:, None]
    orbits = iterate(system, states, recorded=20, to_floor=True, max_steps=LIMIT)
    assert set(orbits.status) == {Status.PERIODIC}
    assert system.asked < 20 * LIMIT
    # All that is left out is what was there before.
    lengths = orbits.step_lengths
    assert 128 <= len(lengths) < LIMIT / 4
    assert torch.equal(lengths[-64:], lengths[-66:-2])

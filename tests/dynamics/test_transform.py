from __future__ import annotations

import math

import pytest
import torch

from dynlab.dynamics import transform
from dynlab.maps import as_map
from dynlab.maps.classical import Linear


def halving(dim: int = 1) -> Linear:
    return Linear(0.5 * torch.eye(dim, dtype=torch.float64))


def first_short_step(start: float, tolerance: float = 1e-4) -> int:
    # l_n = start / 2^n
    return math.floor(math.log2(start / tolerance)) + 1


def test_a_set_stops_together_once_more_than_three_quarters_have_short_steps():
    states = torch.tensor([[1.0], [2.0], [64.0], [1024.0]], dtype=torch.float64)
    found = transform(halving(), states)
    # Three of four are exactly three quarters, which is not more: the slowest decides.
    assert found.stopped_by_rule
    assert found.steps == first_short_step(1024.0)
    torch.testing.assert_close(found.states, states / 2**found.steps)

    with_a_fifth = torch.cat([states, torch.tensor([[4.0]], dtype=torch.float64)])
    found = transform(halving(), with_a_fifth)  # four of five are
    assert found.steps == first_short_step(64.0)
    torch.testing.assert_close(found.states, with_a_fifth / 2**found.steps)


def test_the_limit_of_steps_is_said():
    found = transform(halving(), torch.ones(3, 1, dtype=torch.float64), max_steps=5)
    assert (found.steps, found.stopped_by_rule) == (5, False)
    assert found.states.tolist() == [[1 / 32]] * 3


def test_states_are_shown_after_each_step(device: torch.device):
    states = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    seen = list[tuple[int, list[float]]]()
    transform(
        halving().to(device),
        states.to(device),
        steps=3,
        on_states=lambda step, now: seen.append((step, now.flatten().tolist())),
    )
    assert seen == [(step, [0.5**step, 3 * 0.5**step]) for step in (1, 2, 3)]


def test_several_blocks_make_one_set(device: torch.device):
    states = torch.rand(2500, 784, generator=torch.Generator().manual_seed(0))
    found = transform(Linear(0.5 * torch.eye(784)).to(device), states.to(device), tolerance=1e-3)
    lengths = states.norm(dim=1) * 0.5**found.steps
    assert (lengths < 1e-3).double().mean() > 0.75
    assert (2 * lengths < 1e-3).double().mean() <= 0.75
    torch.testing.assert_close(found.states, states * 0.5**found.steps)


def test_the_initial_states_stay_as_they_are():
    states = torch.ones(3, 1, dtype=torch.float64)
    transform(halving(), states)
    assert torch.equal(states, torch.ones(3, 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": 0.0}, "tolerance is 0.0, expected a finite number above 0"),
        ({"share": 1.0}, "share is 1.0, expected from 0 to below 1"),
        ({"max_steps": 0}, "max_steps is 0, expected at least 1"),
    ],
)
def test_refuses_arguments_out_of_range(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        transform(halving(), torch.ones(1, 1), **arguments)


def test_a_fixed_number_of_steps_is_taken_whatever_the_step_lengths():
    system = Linear(torch.tensor([[0.5]]))
    found = transform(system, torch.tensor([[8.0], [0.0]]), steps=3)
    assert (found.states[:, 0].tolist(), found.steps, found.stopped_by_rule) == ([1.0, 0.0], 3, False)
    assert transform(system, torch.tensor([[8.0]]), steps=0).states.tolist() == [[8.0]]
    with pytest.raises(ValueError, match="steps is -1, expected at least 0"):
        transform(system, torch.ones(1, 1), steps=-1)


def test_samples_with_inputs_of_their_own_are_transformed_by_them():
    inputs = torch.arange(5000.0)[:, None]
    system = as_map(lambda z, x: z / 2 + x, (1,), inputs=inputs)
    found = transform(system, torch.zeros(5000, 1), steps=2)
    torch.testing.assert_close(found.states, 1.5 * inputs)


def test_no_samples_are_transformed_into_none():
    assert transform(halving(3), torch.empty(0, 3, dtype=torch.float64)).states.shape == (0, 3)

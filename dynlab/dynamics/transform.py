"""The report's transformed set: iterate a whole set and stop all of it at one step, section 5.4.

The set stops at the first step at which the step length is below the tolerance for more than three quarters of it.
Where a sample stands then need not be near its attractor; published comparisons use these states, basins do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.dynamics.blocks import block_rows, home_of
from dynlab.errors import check_count, check_positive
from dynlab.maps import Map, flat_states
from dynlab.short_repr import short_repr


@dataclass(frozen=True)
class Transformed:
    """A set where the quantile rule, or the limit of steps, stopped it."""

    __repr__ = short_repr

    states: Float[Tensor, "samples dim"]  # on the CPU
    steps: int
    stopped_by_rule: bool


def transform(
    system: Map,
    states: Float[Tensor, " samples *state"],
    *,
    tolerance: float = 1e-4,
    share: float = 0.75,
    max_steps: int = 10_000,
    steps: int | None = None,
    on_step: Callable[[int, float], None] | None = None,
    on_states: Callable[[int, Tensor], None] | None = None,
) -> Transformed:
    """Iterate a set until more than `share` of its step lengths are below `tolerance`, or a fixed number of steps.

    Args:
        system: The map; states go to its device and dtype.
        states: The set, shape (samples, dim) or `(samples, *state_shape)`, finite.
        tolerance: Step length, in units of the state, positive.
        share: From 0 to below 1.
        max_steps: Limit of steps, at least 1.
        steps: Take so many steps, from 0, and let the rule stop nothing.
        on_step: Called after each step with its number and the share that is below the tolerance.
        on_states: Called after each step with its number and the states, where they are computed. The next step takes
            their place: keep a copy of what is needed, and leave them as they are.

    Returns:
        The states at the stop.

    Raises:
        ValueError: If an argument is out of its range, or the states have another dim than the map or are not finite.
    """
    states = flat_states(system, states)
    check_positive("tolerance", tolerance)
    if not 0 <= share < 1:
        raise ValueError(f"share is {share}, expected from 0 to below 1")
    check_count("max_steps", max_steps, 1)
    if steps is not None:
        check_count("steps", steps, 0)
    home = home_of(system, states)
    current = states.to(home.device, home.dtype, copy=True)
    limit = max_steps if steps is None else steps
    for step in range(1, limit + 1):
        below = step_in_place(system, current, tolerance)
        if on_step:
            on_step(step, below)
        if on_states:
            on_states(step, current)
        if steps is None and below > share:
            return Transformed(current.cpu(), step, stopped_by_rule=True)
    return Transformed(current.cpu(), limit, stopped_by_rule=False)


@torch.no_grad()
def step_in_place(system: Map, states: Float[Tensor, "samples dim"], tolerance: float = 0.0) -> float:
    """Take one step with all states; return the share of step lengths below the tolerance."""
    below = torch.zeros((), dtype=torch.int64, device=states.device)
    size = block_rows(system.dim, states)
    for start in range(0, len(states), size):
        block = states[start : start + size]
        following = system.for_samples(torch.arange(start, start + len(block)))(block)
        below += (torch.linalg.vector_norm(following - block, dim=1) < tolerance).sum()
        block.copy_(following)
    return below.item() / max(1, len(states))

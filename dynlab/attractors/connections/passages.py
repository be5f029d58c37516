"""Orbits that pass saddles on their way to an attractor, and where they were slowest.

Near a saddle steps are short, so an orbit that passes one has a local minimum of its step length there. The lowest such
minimum is where Newton's method should start from to find the saddle. The last decay, into the attractor, has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.attractors.reached import attractors_reached
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.maps import Map

_STRIDE = 8  # steps between two looks for safe balls
_FOLLOWED = 2000  # steps after which orbits are handed to `iterate`, which finds attractors that are not known


@dataclass(frozen=True)
class Passages:
    """Where orbits ended, and where they were slowest on the way."""

    labels: NDArray[np.int64]  # index of the attractor, -1 for none
    slowest: Float64[Tensor, "orbits dim"]  # at the lowest local minimum of the step length; the start where none is
    speeds: Float64[Tensor, " orbits"]  # the step length there, infinite where none is


@torch.no_grad()
def passages(
    exact: Map,
    states: Float64[Tensor, "orbits dim"],
    known: KnownFixedPoints,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
) -> Passages:
    """Follow orbits to their attractors.

    Most orbits from near a boundary pass a saddle on their way into a known ball. Plain steps take them there for less
    than `attractors_reached`, which searches for fixed points wherever steps get short; it has the others.

    Args:
        exact: The map in float64.
        states: Where to start.
        known: Attractors; those that are found on the way are added.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.

    Returns:
        Where the orbits ended and were slowest.
    """
    labels = np.full(len(states), -1)
    slowest, speeds = states.clone(), states.new_full((len(states),), torch.inf)
    rows, current = torch.arange(len(states), device=states.device), states
    before = last = states.new_full((len(states),), torch.inf)  # lengths of the last steps but one, and of the last
    previous = states
    for step in range(min(_FOLLOWED, max_steps)):
        if step % _STRIDE == 0:
            found = known.balls_of(current)
            labels[rows.cpu().numpy()] = found
            going = torch.from_numpy(found < 0).to(states.device) & torch.isfinite(current).all(dim=1)
            rows, current, previous = rows[going], current[going], previous[going]
            before, last = before[going], last[going]
            if not len(rows):
                return Passages(labels, slowest, speeds)
        following = exact(current)
        lengths = torch.linalg.vector_norm(following - current, dim=1)
        is_slow = (last < before) & (last <= lengths) & (last < speeds[rows])
        slowest[rows[is_slow]], speeds[rows[is_slow]] = previous[is_slow], last[is_slow]
        previous, current, before, last = current, following, last, lengths
    finite = torch.isfinite(current).all(dim=1)
    rows, current = rows[finite], current[finite]
    reached = attractors_reached(exact, current, known.points, tolerance=tolerance, max_steps=max_steps)
    count = len(known.points)
    for point in reached.others:
        known.add(point)
    labels[rows.cpu().numpy()] = reached.labels.numpy()
    if reached.others:
        # In an attractor that was not known steps came down to rounding, where every other one is a local minimum.
        again = np.flatnonzero(labels >= count)
        at = torch.from_numpy(again).to(states.device)
        once_more = passages(exact, states[at], known, tolerance=tolerance, max_steps=max_steps)
        labels[again] = once_more.labels
        slowest[at], speeds[at] = once_more.slowest, once_more.speeds
    return Passages(labels, slowest, speeds)

"""Which attractor does each state reach, one of those that are known or another?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from dynlab.attractors.cycles import identified
from dynlab.dynamics import FixedPoint, Status, iterate
from dynlab.dynamics.blocks import in_float64
from dynlab.dynamics.cycles import Cycle
from dynlab.dynamics.decision import LARGEST_RADIUS
from dynlab.dynamics.fixed_points import check_residuals, examine_fixed_points, relative_residuals
from dynlab.dynamics.known import first_copies
from dynlab.maps import Map, check_is_one_map, flat_states


@dataclass(frozen=True)
class Reached:
    """The attractor of each state; on the CPU."""

    # Index into the known attractors, followed by `others`; -1 for none, also for a state that reaches a cycle.
    labels: Int64[Tensor, " states"]
    others: list[FixedPoint]  # attractors that were not known
    cycles: Int64[Tensor, " states"]  # index into the known cycles, followed by `other_cycles`; -1 for none
    other_cycles: list[Cycle]
    diverged: Bool[Tensor, " states"]  # whether the orbit left the range of floating point numbers


def known_attractors(
    system: Map, fixed_points: Float64[Tensor, " attractors *state"], *, tolerance: float = 1e-4
) -> list[FixedPoint]:
    """Fixed points with their safe balls, for `attractors_reached`.

    Args:
        system: The map.
        fixed_points: Stable fixed points in float64, all different, as in `Basins.fixed_points`.
        tolerance: Unit of the largest radius, as in `dynlab.iterate`.

    Returns:
        A fixed point for each row; one at which the map is not stable has a safe radius of 0.

    Raises:
        ValueError: If the fixed points have another dim than the map, are not finite, or are none of this map, or one
            is there twice.
    """
    check_is_one_map(system)
    fixed_points = flat_states(system, fixed_points, parameter="fixed_points")
    if not len(fixed_points):
        return []
    exact, states = in_float64(system, fixed_points)
    residuals = relative_residuals(exact, states)
    check_residuals(residuals, parameter="fixed_points")
    firsts = first_copies(states).tolist()
    for row, first in enumerate(firsts):
        if first < row:  # neither had room for a ball
            raise ValueError(f"fixed_points[{row}] is the same as fixed_points[{first}], expected all different")
    apart = torch.cdist(states, states, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    largest = (apart.amin(dim=1) / 2).clamp(max=LARGEST_RADIUS * tolerance)
    return examine_fixed_points(system, exact, states, residuals, largest)


def attractors_reached(
    system: Map,
    states: Float[Tensor, "states dim"],
    known: Sequence[FixedPoint],
    *,
    known_cycles: Sequence[Cycle] = (),
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 3000,
) -> Reached:
    """Iterate states to their attractors, with early labels in the safe balls of those that are known.

    Args:
        system: The map.
        states: Where to start.
        known: Attractors, as `known_attractors` or `Orbits.fixed_points` give them.
        known_cycles: Periodic attractors, as `Basins.cycles` or `Orbits.cycles` have them.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.
        max_exact_steps: As in `dynlab.iterate`.

    Returns:
        The attractor of each state.

    Raises:
        ValueError: If an argument is out of its range, or the states do not fit the map or are not finite.
    """
    orbits = iterate(
        system,
        states,
        tolerance=tolerance,
        max_steps=max_steps,
        max_exact_steps=max_exact_steps,
        keep_states=False,
        known=known,
    )
    number = {point: index for index, point in enumerate(known)}
    others = [point for point in orbits.fixed_points if point not in number]
    number.update({point: len(known) + index for index, point in enumerate(others)})
    renumbered = torch.tensor([number[point] for point in orbits.fixed_points] + [-1])
    cycles, other_cycles = identified(known_cycles, orbits.cycles)
    return Reached(
        renumbered[orbits.fixed_point],
        others,
        torch.from_numpy(np.append(cycles, -1))[orbits.cycle],
        other_cycles,
        orbits.status.are(Status.DIVERGED),
    )

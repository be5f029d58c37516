"""Basins on a plane through chosen states, and how uncertain an outcome is there: basin entropy.

A picture of basins is a grid of states on the plane, each with the attractor it reaches. It is covered by boxes; in
each the shares of the attractors have an entropy. Its mean over all boxes says how uncertain an outcome is when the
start is known to a box; its mean over the boxes that hold several attractors says how the boundaries are folded. Where
boxes are so small that a smooth boundary would have two basins in almost all of them, an entropy above log 2 shows that
it is fractal; with hundreds of attractors on one picture boxes are seldom that small.

Source: Daza, Wagemakers, Georgeot, Guéry-Odelin and Sanjuán, Basin entropy: a new tool to analyze uncertainty in
dynamical systems, Scientific Reports 6, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from dynlab.attractors.reached import Reached, attractors_reached
from dynlab.dynamics import FixedPoint
from dynlab.dynamics.cycles import Cycle
from dynlab.errors import check_count
from dynlab.maps import Map, check_is_one_map, flat_states
from dynlab.short_repr import short_repr

_BLOCK = 4096  # states that are iterated together: enough for large products, few enough for memory


@dataclass(frozen=True)
class BasinPlane:
    """Where each state of a grid on a plane goes; on the CPU."""

    __repr__ = short_repr

    first: Float64[Tensor, " rows"]  # coordinates along the first direction, 0 at the first state and 1 at the second
    second: Float64[Tensor, " columns"]  # along the second, 0 at the first state and 1 at the third
    # Index into the known attractors, followed by `others`; -1 for none.
    labels: Int64[Tensor, "rows columns"]
    others: list[FixedPoint]  # attractors that were not known
    # Index into the known cycles, followed by `other_cycles`; -1 for none.
    cycles: Int64[Tensor, "rows columns"]
    other_cycles: list[Cycle]  # periodic attractors that were not known
    diverged: Bool[Tensor, "rows columns"]  # whether the orbit left the range of floating point numbers

    @property
    def codes(self) -> Int64[Tensor, "rows columns"]:
        """A number for each of all the places that states go to, as `codes_of` has them."""
        return codes_of(self.labels, self.cycles, self.diverged)


DIVERGED = -2  # among the codes of places


def codes_of(
    labels: Int64[Tensor, "*states"], cycles: Int64[Tensor, "*states"], diverged: Bool[Tensor, "*states"]
) -> Int64[Tensor, "*states"]:
    """One number for each of all the places that states go to.

    Returns:
        The label of a state that reaches a fixed point, -3 - c of one that reaches cycle c, -2 of one that diverges,
        and -1 of the others.
    """
    return torch.where(cycles >= 0, -3 - cycles, torch.where(diverged, DIVERGED, labels))


def cycle_of(code: int) -> int | None:
    """The cycle that a code of `codes_of` stands for; None if it stands for something else."""
    return -3 - code if code < DIVERGED else None


@dataclass(frozen=True)
class BasinEntropy:
    """Entropies of the attractors in the boxes of a picture of basins, in nats."""

    boxes: int
    boundary_boxes: int  # those with more than one attractor
    basin_entropy: float  # mean over all boxes; 0 where there is a single attractor
    boundary_basin_entropy: float | None  # mean over those on a boundary; None where there is none


def basin_plane(
    system: Map,
    corners: Float[Tensor, " three *state"],
    known: Sequence[FixedPoint],
    *,
    known_cycles: Sequence[Cycle] = (),
    resolution: int = 200,
    margin: float = 0.5,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 3000,
) -> BasinPlane:
    """Find the attractors of a grid of states on the plane through three states.

    Args:
        system: The map.
        corners: Three states, shape (3, dim) or `(3, *state_shape)`, not on one line: the grid is spanned by the ways
            from the first to the other two.
        known: Attractors, as `known_attractors` or `Orbits.fixed_points` give them.
        known_cycles: Periodic attractors, as `Basins.cycles` or `Orbits.cycles` have them.
        resolution: States along either direction, at least 2.
        margin: How far the grid goes beyond the corners, in lengths of the ways to them, at least 0.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.
        max_exact_steps: As in `dynlab.iterate`.

    Returns:
        The picture.

    Raises:
        ValueError: If an argument is out of its range, or the corners lie on one line.
    """
    check_is_one_map(system)
    corners = flat_states(system, corners, parameter="corners")
    if len(corners) != 3:
        raise ValueError(f"corners has {len(corners)} states, expected 3")
    check_count("resolution", resolution, 2)
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin is {margin}, expected a finite number of at least 0")
    exact = corners.detach().cpu().double()
    ways = exact[1:] - exact[0]
    if int(torch.linalg.matrix_rank(ways)) < 2:
        raise ValueError("corners lie on one line, expected three states that span a plane")
    along = torch.linspace(-margin, 1 + margin, resolution, dtype=torch.float64)
    rows = exact[0] + along[:, None] * ways[0]
    points, periodic = list(known), list(known_cycles)
    parts: list[Reached] = []
    for lines in rows.split(max(1, _BLOCK // resolution)):
        states = (lines[:, None] + along[:, None] * ways[1]).flatten(0, 1)
        parts.append(
            attractors_reached(
                system,
                states,
                points,
                known_cycles=periodic,
                tolerance=tolerance,
                max_steps=max_steps,
                max_exact_steps=max_exact_steps,
            )
        )
        points += parts[-1].others
        periodic += parts[-1].other_cycles

    def whole(column: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(column)).reshape(resolution, resolution)

    return BasinPlane(
        along,
        along.clone(),
        whole([part.labels for part in parts]),
        points[len(known) :],
        whole([part.cycles for part in parts]),
        periodic[len(known_cycles) :],
        whole([part.diverged for part in parts]),
    )


def basin_entropy_of(labels: Int64[Tensor, "rows columns"], box: int = 5) -> BasinEntropy:
    """Basin entropy of a picture of basins.

    Args:
        labels: The attractor of each state of a grid, by any numbers, as `BasinPlane.codes`.
        box: States along either side of a box, at least 2 and at most the sides of the grid; what is left over at the
            far sides is left out.

    Returns:
        The entropies.

    Raises:
        ValueError: If `labels` are no grid, or `box` is out of its range.
    """
    if not (isinstance(labels, Tensor) and labels.ndim == 2):
        shape = f" of shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else ""
        raise ValueError(
            f"labels is a {type(labels).__name__}{shape}, expected a tensor (rows, columns), such as BasinPlane.codes"
        )
    if not 2 <= box <= min(labels.shape):
        raise ValueError(f"box is {box}, expected 2 to {min(labels.shape)}, the shorter side of the grid")
    rows, columns = (side - side % box for side in labels.shape)
    boxes = labels[:rows, :columns].cpu().unfold(0, box, box).unfold(1, box, box).reshape(-1, box * box)
    # Each state adds the logarithm of the share that its own label has in the box.
    shares = torch.stack([(boxes == column).double().mean(dim=1) for column in boxes.unsqueeze(2).unbind(1)], dim=1)
    entropies = -shares.log().mean(dim=1)
    on_boundary = (boxes != boxes[:, :1]).any(dim=1)
    return BasinEntropy(
        boxes=len(boxes),
        boundary_boxes=int(on_boundary.sum()),
        basin_entropy=float(entropies.mean()),
        boundary_basin_entropy=float(entropies[on_boundary].mean()) if bool(on_boundary.any()) else None,
    )

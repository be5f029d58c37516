"""Saddles: fixed points with multipliers outside the unit circle, and where their unstable manifolds end.

A saddle with a single unstable direction and a real multiplier above 1 parts two sides of a basin boundary. The
unstable manifold leaves it along that direction both ways; each branch is an orbit, which ends somewhere. With a
multiplier below -1 the map swaps the branches, and both end in the same attractor or cycle.

A branch starts as far from the saddle as the map is nearly linear: the farther, the fewer steps it needs.

Source: Kuznetsov, Elements of Applied Bifurcation Theory, section 2.2 (invariant manifolds of maps).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex128, Float64
from torch import Tensor

from dynlab.attractors.connections.passages import passages
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.dynamics.spectra import eigenpairs, spectrum_across_one
from dynlab.maps import Map
from dynlab.short_repr import short_repr

_FIRST_COUNT = 4  # multipliers looked at before it is known how many are unstable
_LONGEST_BRANCH = 0.1  # length of the longest start of a branch, in units of max(1, ||state||_2)
_CURVATURE = 0.1  # of the growth along a branch, that the remainder of the linearization may take
_HALVINGS = 24  # of the longest start


@dataclass(frozen=True, eq=False)
class Saddle:
    """An unstable fixed point."""

    __repr__ = short_repr

    state: Float64[Tensor, " dim"]  # on the CPU
    residual: float  # ||F(x) - x||_2 / max(1, ||x||_2)
    unstable_multipliers: Complex128[Tensor, " unstable"]  # by falling modulus
    # Attractors in which the branches of the unstable manifold end, the smaller index first, -1 for none; (-1, -1)
    # where the unstable manifold has more than one dimension.
    ends: tuple[int, int]

    @property
    def index(self) -> int:
        """Number of unstable directions."""
        return len(self.unstable_multipliers)

    @property
    def swaps_branches(self) -> bool:
        """Whether the single unstable multiplier is below -1."""
        return self.index == 1 and float(self.unstable_multipliers[0].real) < 0

    @property
    def is_edge(self) -> bool:
        """Whether this saddle joins two attractors: one real multiplier above 1, branches that end in both."""
        return self.index == 1 and not self.swaps_branches and -1 not in self.ends and self.ends[0] != self.ends[1]


def examine_saddles(
    exact: Map, states: Float64[Tensor, "points dim"], residuals: Float64[Tensor, " points"], known: KnownFixedPoints
) -> list[Saddle | None]:
    """Find the unstable multipliers at fixed points, and where the branches of their unstable manifolds end.

    Args:
        exact: The map in float64.
        states: Fixed points.
        residuals: Their relative residuals.
        known: Attractors; those that are found at the end of a branch are added.

    Returns:
        For each fixed point the saddle, None where it is stable.
    """
    if not len(states):
        return []
    pairs = eigenpairs(exact, states, min(_FIRST_COUNT, exact.dim))
    multipliers, directions = pairs.multipliers.cpu(), pairs.directions
    unstable = [row[row.abs() > 1] for row in multipliers]
    for row, found in enumerate(unstable):
        if len(found) == multipliers.shape[1] < exact.dim:
            more = spectrum_across_one(exact, states[row], 2 * len(found))
            unstable[row] = more[more.abs() > 1]
    single = torch.tensor([len(found) == 1 for found in unstable])
    ends = [(-1, -1)] * len(states)
    if bool(single.any()):
        units = torch.view_as_real(directions)[single, :, 0, 0].to(states)
        units = units / torch.linalg.vector_norm(units, dim=1, keepdim=True)
        growth = multipliers[single, 0].real.to(states)
        centres = states[single.to(states.device)]
        lengths = _branch_starts(exact, centres, units, growth)
        starts = torch.cat([centres + lengths * units, centres - lengths * units])
        labels = passages(exact, starts, known).labels
        half = len(labels) // 2
        for row, one, other in zip(single.nonzero()[:, 0].tolist(), labels[:half], labels[half:], strict=True):
            ends[row] = (int(min(one, other)), int(max(one, other)))
    return [
        Saddle(state, residual, found, end) if len(found) else None
        for state, residual, found, end in zip(states.cpu(), residuals.tolist(), unstable, ends, strict=True)
    ]


@torch.no_grad()
def _branch_starts(
    exact: Map,
    states: Float64[Tensor, "points dim"],
    units: Float64[Tensor, "points dim"],
    multipliers: Float64[Tensor, " points"],
) -> Float64[Tensor, "points 1"]:
    """How far from each saddle both branches may start."""
    size = torch.linalg.vector_norm(states, dim=1, keepdim=True).clamp(min=1.0)
    lengths = _LONGEST_BRANCH * size
    growth = (multipliers.abs() - 1)[:, None]
    open_: Bool[Tensor, "points 1"] = torch.ones_like(lengths, dtype=torch.bool)
    centres = exact(states)
    for _ in range(_HALVINGS):
        shares = []
        for side in (1, -1):
            moved = exact(states + side * lengths * units) - centres - side * multipliers[:, None] * lengths * units
            shares.append(torch.linalg.vector_norm(moved, dim=1, keepdim=True))
        open_ &= torch.maximum(shares[0], shares[1]) > _CURVATURE * growth * lengths
        if not bool(open_.any()):
            break
        lengths = torch.where(open_, lengths / 2, lengths)
    return lengths

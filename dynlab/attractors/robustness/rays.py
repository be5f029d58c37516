"""Rays from states to the boundaries of their basins, and bisection along all of them at once.

Source: Skufca, Yorke and Eckhardt, Edge of chaos in a parallel shear flow, Physical Review Letters 96, 2006, for
bisection between two outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from dynlab.attractors.connections.passages import passages
from dynlab.dynamics import FixedPoint
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.maps import Map

_OUTWARD = 5  # lengths tried along a ray of unknown end, each twice the one before


class Outcomes:
    """Which attractor each state reaches, as an index into `known`, which grows by those that are met.

    Args:
        exact: The map in float64.
        known: Its attractors that are known, all stable.
        device: Where the states will be.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.
    """

    def __init__(
        self, exact: Map, known: Sequence[FixedPoint], device: torch.device, tolerance: float, max_steps: int
    ) -> None:
        self.exact = exact
        self._balls = KnownFixedPoints(device, exact.dim)
        self._tolerance, self._max_steps = tolerance, max_steps
        for point in known:
            self._balls.add(point)

    @property
    def known(self) -> list[FixedPoint]:
        """Those that were given, in their order, and then those that were met."""
        return self._balls.points

    def __call__(self, states: Float64[Tensor, "states dim"]) -> Int64[Tensor, " states"]:
        """The index of each state, -1 for none; on the device of the states."""
        found = passages(self.exact, states, self._balls, tolerance=self._tolerance, max_steps=self._max_steps)
        return torch.from_numpy(found.labels).to(states.device)

    def centres(self, like: Tensor) -> Float64[Tensor, "attractors dim"]:
        """The states of all known attractors, of the dtype and on the device of another tensor."""
        return torch.stack([point.state for point in self.known]).to(like)


@dataclass(frozen=True)
class Rays:
    """Rays from states, with a length at which they go where the state goes, and one at which they go elsewhere."""

    row: Int64[Tensor, " rays"]  # of the state
    origin: Float64[Tensor, "rays dim"]
    own: Int64[Tensor, " rays"]  # what the state reaches
    unit: Float64[Tensor, "rays dim"]
    inside: Float64[Tensor, " rays"]
    outside: Float64[Tensor, " rays"]
    label: Int64[Tensor, " rays"]  # what is reached from `outside`

    def at(self, rows: Tensor) -> Rays:
        """Some of the rays, by their indices or a mask."""
        return Rays(**{name: value[rows] for name, value in vars(self).items()})

    def with_at(self, rows: Tensor, other: Rays) -> Rays:
        """The same rays, with some replaced by others."""
        return Rays(**{name: value.index_put((rows,), getattr(other, name)) for name, value in vars(self).items()})

    def ends(self) -> Float64[Tensor, "rays dim"]:
        """The states at `outside`."""
        return self.origin + self.outside[:, None] * self.unit

    def move(self, outcomes: Outcomes, lengths: Float64[Tensor, " rays"]) -> Rays:
        """Find out where a length of each ray, between its inside and its outside, belongs."""
        label = outcomes(self.origin + lengths[:, None] * self.unit)
        beyond = (label >= 0) & (label != self.own)
        return replace(
            self,
            inside=torch.where(beyond, self.inside, lengths),
            outside=torch.where(beyond, lengths, self.outside),
            label=torch.where(beyond, label, self.label),
        )


def rays_to(
    states: Float64[Tensor, "states dim"],
    own: Int64[Tensor, " states"],
    ends: Float64[Tensor, "ends dim"],
    labels: Int64[Tensor, " ends"],
    count: int,
) -> Rays:
    """Rays from each state to the nearest few of the ends that go elsewhere.

    Args:
        states: Where rays begin.
        own: What each state reaches; from -1 no rays begin.
        ends: Where rays may end.
        labels: What each end reaches; at -1 none end.
        count: How many rays from a state at most.
    """
    apart = torch.cdist(states, ends, compute_mode="donot_use_mm_for_euclid_dist")
    apart = apart.masked_fill((own[:, None] == labels) | (own[:, None] < 0) | (labels < 0), torch.inf)
    nearest = apart.topk(min(count, len(ends)), largest=False)
    row, column = torch.isfinite(nearest.values).nonzero(as_tuple=True)
    end, length = nearest.indices[row, column], nearest.values[row, column]
    unit = (ends[end] - states[row]) / length[:, None]
    return Rays(row, states[row], own[row], unit, torch.zeros_like(length), length, labels[end])


def room(
    outcomes: Outcomes, states: Float64[Tensor, "states dim"], own: Int64[Tensor, " states"]
) -> Float64[Tensor, " states"]:
    """Distance of each state to the nearest other attractor; where there is none, its own length, at least 1."""
    centres = outcomes.centres(states)
    apart = torch.cdist(states, centres, compute_mode="donot_use_mm_for_euclid_dist")
    apart = apart.masked_fill(own[:, None] == torch.arange(len(centres), device=own.device), torch.inf).amin(dim=1)
    return torch.where(torch.isfinite(apart), apart, torch.linalg.vector_norm(states, dim=1).clamp(min=1.0))


def outward(
    outcomes: Outcomes,
    states: Float64[Tensor, "states dim"],
    own: Int64[Tensor, " states"],
    row: Int64[Tensor, " rays"],
    units: Float64[Tensor, "rays dim"],
    limits: Float64[Tensor, " states"],
) -> Rays:
    """Rays along given directions, those that meet another basin at one of five lengths.

    Args:
        outcomes: Labels states.
        states: Where rays begin.
        own: What each state reaches; from -1 no rays begin.
        row: Index of the state of each ray.
        units: Directions of length 1.
        limits: The largest of the lengths for each state, twice the next one and so on.
    """
    nothing = torch.zeros(len(row), dtype=torch.float64, device=row.device)
    rays = Rays(row, states[row], own[row], units, nothing, nothing + torch.inf, torch.full_like(row, -1))
    rays = rays.at(rays.own >= 0)
    for power in reversed(range(_OUTWARD)):
        open_ = torch.isinf(rays.outside).nonzero()[:, 0]
        if len(open_):
            part = rays.at(open_)
            rays = rays.with_at(open_, part.move(outcomes, limits[part.row] / 2**power))
    return rays.at(torch.isfinite(rays.outside))


def shortest(rays: Rays, count: int) -> Int64[Tensor, " chosen"]:
    """Indices of the shortest few rays of each state, ordered by state and then by length."""
    order = rays.outside.argsort(stable=True)
    order = order[rays.row[order].argsort(stable=True)]
    row = rays.row[order]
    rank = torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)
    return order[rank < count]


def bisect(outcomes: Outcomes, rays: Rays, precision: float) -> Rays:
    """Bring the inside and the outside of each ray together, up to a share of its length."""
    while True:
        open_ = (rays.outside - rays.inside > precision * rays.outside).nonzero()[:, 0]
        if not len(open_):
            return rays
        part = rays.at(open_)
        # Off the middle, which symmetry may put on the boundary itself.
        rays = rays.with_at(open_, part.move(outcomes, part.inside + 0.48 * (part.outside - part.inside)))

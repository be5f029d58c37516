"""The ball around a stable fixed point within which an orbit is decided.

Around a fixed point `x*` a map is its linearization and a remainder, `F(x* + e) = x* + J e + q(e)`. The linearization
takes an orbit home at the rate of the spectral radius `rho`; what could stop it is the remainder, where it is as large
as what stands against it: the contraction `(1 - rho) |e|`, or less where the Jacobian is not normal. Another fixed
point at `x* + e` needs `e = (I - J)^-1 q(e)`. In the normal form of a fold, `e -> rho e + c e^2`, both are where the
saddle stands.

The safe radius is the largest one, of a rising sequence, up to which the remainder is at most two fifths of both in
every direction probed, both ways. Where another attractor stands beyond a saddle at distance `d`, it is more than that
from `d` to `5 d` even in a map that is constant farther out, as the remainder is `(1 - rho) 2 d` at the attractor: the
sequence, which rises by factors of four and then of two, does not step over that. It begins a thousand times below the
largest radius, or sixty times where states are long, and looks for no finer structure than that. Directions are those
of leading multipliers, along which the contraction is weakest, a plane if one is of a pair, and random ones; and from
each of these that of `(I - J)^-1 q(e)`, in which the remainder would move a fixed point: repeated, this ends at the
directions of other fixed points, as the power method ends at those of leading eigenvectors. It is an estimate and no
proof (`dynlab.dynamics.certify` proves), by a factor that leaves room for the transient growth of a Jacobian that is
not normal.

Source: Kuznetsov, Elements of Applied Bifurcation Theory, section 4.2 (normal form of the fold of maps); Kolda and
Mayo, Shifted power method for computing tensor eigenpairs, SIAM Journal on Matrix Analysis and Applications 32, 2011.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.krylov import solve_fixed_point_step
from dynlab.maps import Map

_SHARE = 0.4  # of the contraction, that the remainder may take
_PRECISION = 1e3  # units in the last place that the allowed remainder must be worth, for single precision to do
_STEP = 4  # factor between radii that are tried
_FALLS = 8  # steps down from the first radius, at most, where that is too large
_LEAST_LENGTH = 1e-6  # of a direction: real multipliers have no imaginary one, zero multipliers none at all


@dataclass(frozen=True)
class Effort:
    """How much is spent on a ball.

    Args:
        leading: Multipliers whose directions are probed.
        random: Random directions that are probed.
        generations: Sets of directions: those given, and others found from the remainders of the set before.
        rises: Factors of four from the first radius that is tried up to the largest one.
        products: With the Jacobian, at most, to find what stands against a remainder, in the precision that shall
            estimate. None to find it by factorizations in float64.
    """

    leading: int
    random: int
    generations: int
    rises: int
    products: int | None


@torch.no_grad()
def safe_radii(
    system: Map,
    exact: Map,
    states: Float64[Tensor, "batch dim"],
    leading: Float64[Tensor, "batch count dim"],
    contractions: Float64[Tensor, " batch"],
    largest: Float64[Tensor, " batch"],
    effort: Effort,
) -> Float64[Tensor, " batch"]:
    """The safe radius of each fixed point, 0 where there is none.

    Args:
        system: The map in the precision that shall estimate.
        exact: The map in float64.
        states: Fixed points, on the device of the map.
        leading: Directions of leading multipliers, of any length; those of length 0 are none.
        contractions: `1 - rho`, positive.
        largest: Upper limits, in units of the state.
        effort: How much to spend.
    """
    remainder = _Remainder(system, exact, states)
    probes = _probes(remainder, leading, contractions, largest, effort)
    radius = largest / _STEP**effort.rises
    holds, is_seen = _holds(remainder, probes, torch.ones_like(radius, dtype=torch.bool), radius)

    def try_(which: Tensor, other: Tensor) -> Tensor:
        """Move points to another radius where that is safe."""
        nonlocal radius, is_seen
        found, seen = _holds(remainder, probes, which, other)
        radius, is_seen = torch.where(found, other, radius), torch.where(found, seen, is_seen)
        return found

    lower = radius
    for _ in range(_FALLS):
        lower = lower / _STEP
        holds = holds | try_(~holds, lower)
    rising = holds
    for _ in range(_FALLS + effort.rises):
        higher = radius * _STEP
        rising = try_(rising & (higher * _STEP <= largest), higher)
    rising = holds
    for _ in range(2):  # to the next step at most
        rising = try_(rising & (2 * radius <= largest), 2 * radius)
    return torch.where(holds & is_seen, radius, 0.0)


def _holds(
    remainder: _Remainder, probes: _Probes, which: Bool[Tensor, " batch"], radii: Float64[Tensor, " batch"]
) -> tuple[Bool[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """Which of some fixed points have remainders at a radius that are as small as they may be.

    Returns:
        That, false for other fixed points, and whether rounding lets remainders be seen that are not.
    """
    probed = which[probes.point]
    at, states = probes.point[probed], remainder.states
    if not len(at):
        return which & False, which & False
    size = torch.linalg.vector_norm(states, dim=1).clamp(min=1.0)
    limit = probes.shares[probed] * radii[at]
    # Float64 only where rounding in the map's own precision could matter.
    is_coarse = _all_of(limit > _PRECISION * remainder.epsilon(coarse=True) * size[at], at, len(states))
    found = remainder.at(at, probes.units[probed], probes.images[probed], radii[at], is_coarse)
    # What rounding alone makes of a difference of two states is no remainder.
    precision = torch.where(is_coarse[at], remainder.epsilon(coarse=True), remainder.epsilon(coarse=False))
    rounding = 64 * size[at] * precision
    is_small = torch.linalg.vector_norm(found, dim=2).amax(dim=0) <= limit + rounding
    return which & _all_of(is_small, at, len(states)), _all_of(limit > rounding, at, len(states))


@dataclass(frozen=True)
class _Probes:
    """Where remainders are measured, a row for each direction."""

    point: Int64[Tensor, " probes"]  # the fixed point it is of
    units: Float64[Tensor, "probes dim"]  # the direction, of length 1
    images: Float64[Tensor, "probes dim"]  # its image under the Jacobian
    shares: Float64[Tensor, " probes"]  # of a radius, that the remainder there may be


def _probes(
    remainder: _Remainder,
    leading: Float64[Tensor, "batch count dim"],
    contractions: Float64[Tensor, " batch"],
    largest: Float64[Tensor, " batch"],
    effort: Effort,
) -> _Probes:
    """The directions in which to look."""
    states = remainder.states
    random = torch.randn(
        effort.random, states.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    directions = torch.cat([leading, random.to(states).expand(len(states), -1, -1)], dim=1)
    point = torch.arange(len(states), device=states.device).repeat_interleave(directions.shape[1])
    directions = directions.flatten(0, 1)
    is_coarse = contractions > _PRECISION * remainder.epsilon(coarse=True)
    generations: list[tuple[Tensor, ...]] = []
    for _ in range(effort.generations):
        is_one = torch.linalg.vector_norm(directions, dim=1) > _LEAST_LENGTH
        point, (units, _) = point[is_one], _normalized(directions[is_one])
        images = remainder.images(point, units, is_coarse)
        both_ways = remainder.at(point, units, images, largest[point], is_coarse)
        lengths = torch.linalg.vector_norm(both_ways, dim=2, keepdim=True)
        # Out of its domain a map leads nowhere; nearer to the fixed point it may well.
        is_finite = torch.isfinite(lengths)
        both_ways, lengths = torch.where(is_finite, both_ways, 0), torch.where(is_finite, lengths, 0)
        # Where one way a term of another order takes off what the quadratic one does, the other way it adds to it.
        pushed, _ = _normalized(torch.where(lengths[0] >= lengths[1], both_ways[0], both_ways[1]))
        directions, moved = _normalized(remainder.moves(point, pushed, effort.products))
        # At the saddle of a fold exactly as much stands against a remainder, `1 / moved`, as there is of it.
        generations.append((point, units, images, _SHARE * torch.minimum(contractions[point], 1 / moved)))
    point, units, images, shares = (torch.cat(parts) for parts in zip(*generations, strict=True))
    # What a step of the linear part lengthens meets remainders of a larger ball before it comes home.
    growth = torch.ones_like(contractions).scatter_reduce_(0, point, torch.linalg.vector_norm(images, dim=1), "amax")
    return _Probes(point, units, images, shares / growth[point])


def _normalized(vectors: Float64[Tensor, "rows dim"]) -> tuple[Float64[Tensor, "rows dim"], Float64[Tensor, " rows"]]:
    """Vectors of length 1, but for those of length 0, and what their lengths were."""
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where(lengths > 0, vectors / lengths, 0), lengths[:, 0]


@dataclass(frozen=True)
class _Remainder:
    """`q(e) = F(x* + e) - x* - J e`, for some fixed points in the map's own precision, for the others in float64."""

    system: Map
    exact: Map
    states: Float64[Tensor, "batch dim"]

    def epsilon(self, *, coarse: bool) -> float:
        return torch.finfo(home_of(self.system if coarse else self.exact, self.states).dtype).eps

    def images(
        self, point: Int64[Tensor, " probes"], units: Float64[Tensor, "probes dim"], is_coarse: Bool[Tensor, " batch"]
    ) -> Float64[Tensor, "probes dim"]:
        """Images of directions under the Jacobian of each one's point."""
        found = torch.empty_like(units)
        for precise, dtype, rows in self._in_precision(is_coarse[point]):
            found[rows] = precise.jvp(self.states[point[rows]].to(dtype), units[rows].to(dtype)).double()
        return found

    def at(
        self,
        point: Int64[Tensor, " probes"],
        units: Float64[Tensor, "probes dim"],
        images: Float64[Tensor, "probes dim"],
        radius: Float64[Tensor, " probes"],
        is_coarse: Bool[Tensor, " batch"],
    ) -> Float64[Tensor, "ways probes dim"]:
        """The remainder at a distance from each one's point, in a direction and in the opposite one."""
        found = torch.empty(2, *units.shape, dtype=units.dtype, device=units.device)
        for precise, dtype, rows in self._in_precision(is_coarse[point]):
            at, offset, image = point[rows], radius[rows, None] * units[rows], radius[rows, None] * images[rows]
            centres = precise(self.states.to(dtype))[at]
            ends = precise(torch.cat([self.states[at] + offset, self.states[at] - offset]).to(dtype))
            found[:, rows] = (ends.unflatten(0, (2, -1)) - centres).double() - torch.stack([image, -image])
        return found

    def moves(
        self, point: Int64[Tensor, " probes"], remainders: Float64[Tensor, "probes dim"], products: int | None
    ) -> Float64[Tensor, "probes dim"]:
        """`(I - J)^-1 q` of each remainder; those of a point stand together."""
        if products is None:
            parts = remainders.split(torch.bincount(point, minlength=len(self.states)).tolist())
            solved = [torch.linalg.lu_solve(*lu, part.T).T for lu, part in zip(self._factorized, parts, strict=True)]
            return torch.cat(solved)
        dtype = home_of(self.system, self.states).dtype
        linearized = self.system.linearized(self.states[point].to(dtype))
        return solve_fixed_point_step(linearized, remainders.to(dtype), products).double()

    @cached_property
    def _factorized(self) -> list[tuple[Tensor, Tensor]]:
        """LU factors and pivots of `I - J` at each point."""
        identity = torch.eye(self.states.shape[1], dtype=self.states.dtype, device=self.states.device)
        # One point at a time: a batched LU fails with two threads in torch 2.13 on a CPU.
        found = (torch.linalg.lu_factor_ex(identity - self.exact.jacobian(state[None])[0]) for state in self.states)
        return [(lu.LU, lu.pivots) for lu in found]

    def _in_precision(self, is_coarse: Bool[Tensor, " probes"]) -> Iterator[tuple[Map, torch.dtype, Tensor]]:
        """The map in each precision, and the rows that are for it."""
        for precise, rows in ((self.system, is_coarse), (self.exact, ~is_coarse)):
            if bool(rows.any()):
                yield precise, home_of(precise, self.states).dtype, rows


def _all_of(holds: Bool[Tensor, " probes"], point: Int64[Tensor, " probes"], points: int) -> Bool[Tensor, " points"]:
    """For each point, whether something holds for all of its probes."""
    failures = torch.zeros(points, dtype=torch.int64, device=point.device)
    return failures.index_add_(0, point, (~holds).to(torch.int64)) == 0

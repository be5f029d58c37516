"""Stable fixed points, and the ball around each within which an orbit is decided.

Around a fixed point `x*` a map is its linearization and a remainder, `F(x* + e) = x* + J e + q(e)`. The linearization
takes an orbit home at the rate of the spectral radius `rho`; what could stop it is the remainder, where it is as large
as what stands against it: the contraction `(1 - rho) |e|`, or less where the Jacobian is not normal. Another fixed
point at `x* + e` needs `e = (I - J)^-1 q(e)`. In the normal form of a fold, `e -> rho e + c e^2`, both are where the
saddle stands.

The safe radius is the largest one, of a falling sequence, at which the remainder is at most two fifths of both in every
direction probed: that of the leading multiplier, along which the contraction is weakest, a plane if it is one of a
pair, and a random one, both ways. It is an estimate and no proof (`dynlab.dynamics.certify` proves), by a factor that
leaves room for the transient growth of a Jacobian that is not normal.

Whether a fixed point is stable is decided by its spectral radius in float64, except where an estimate from a few
products in the map's own precision is far below one.

Source: Kuznetsov, Elements of Applied Bifurcation Theory, section 4.2 (normal form of the fold of maps).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.krylov import leading_ritz, solve_fixed_point_step
from dynlab.dynamics.newton import newton
from dynlab.dynamics.spectra import eigenpairs, spectrum_across_one
from dynlab.maps import Map, check_states, float64_copy
from dynlab.short_repr import short_repr

_PROBED = 1  # leading directions along which the remainder is measured; one random one is added
_SHARE = 0.4  # of the contraction, that the remainder may take
_PRECISION = 1e4  # units in the last place that the allowed remainder must be worth, for single precision to do
_RADII = 20  # tried, each half of the one before
_ESTIMATED_BELOW = 0.99  # spectral radius, its residual added, up to which an estimate will do
_ESTIMATE_DIMENSION = 18
_SOLVE_DIMENSION, _SMALL_DIMENSION = 8, 32  # products spent on what stands against a remainder, in large and small maps
_FIRST_COUNT = 8  # multipliers looked at before it is known how many are unstable
_ESTIMATED_FROM = 200  # dimension from which an estimate is cheaper than the answer


@dataclass(frozen=True, eq=False)  # equal only to itself: two orbits that end at one object end at one point
class FixedPoint:
    """A fixed point in float64, and what is known of its neighbourhood."""

    __repr__ = short_repr

    state: Float64[Tensor, " dim"]  # on the CPU
    residual: float  # ||F(x) - x||_2 / max(1, ||x||_2)
    safe_radius: float  # an orbit that comes this near ends here, by estimate; 0 where the fixed point is not stable

    @property
    def is_stable(self) -> bool:
        """Whether all multipliers lie inside the unit circle, and a ball around it is safe; at a kink there is none."""
        return self.safe_radius > 0


def examine_fixed_points(
    system: Map,
    exact: Map,
    states: Float64[Tensor, "batch dim"],
    residuals: Float64[Tensor, " batch"],
    largest_radii: Float64[Tensor, " batch"],
) -> list[FixedPoint]:
    """Find out which fixed points are stable, and their safe radii.

    Args:
        system: The map in the precision that shall estimate.
        exact: The map in float64.
        states: Fixed points, shape (batch, dim), on the device of the map.
        residuals: Their relative residuals.
        largest_radii: Upper limits of the safe radii, in units of the state.

    Returns:
        A fixed point for each row.
    """
    if not len(states):
        return []
    radius, directions = _leading(system, exact, states)
    radii = torch.where(radius < 1, _safe_radii(system, exact, states, directions, 1 - radius, largest_radii), 0)
    rows = zip(states.cpu(), residuals.tolist(), radii.tolist(), strict=True)
    return [FixedPoint(state, residual, safe_radius) for state, residual, safe_radius in rows]


def _leading(
    system: Map, exact: Map, states: Float64[Tensor, "batch dim"]
) -> tuple[Float64[Tensor, " batch"], Float64[Tensor, "batch count dim"]]:
    """Spectral radius at each state, and real directions that span those of the leading multipliers."""
    count = min(_PROBED, exact.dim)
    if exact.dim < _ESTIMATED_FROM:
        pairs = eigenpairs(exact, states, count)
        return pairs.multipliers[:, 0].abs().to(states), _real(pairs.directions).to(states)
    plain = states.to(home_of(system, states).dtype)
    start = torch.randn(states.shape[1], generator=torch.Generator().manual_seed(0), dtype=plain.dtype).to(plain)
    product = system.linearized(plain)
    ritz = leading_ritz(product, start.expand_as(plain), _ESTIMATE_DIMENSION, count)
    radius, directions = ritz.values[:, 0].abs().to(states), _real(ritz.directions).to(states)
    unsure = ~(radius + ritz.residuals[:, 0].to(states) < _ESTIMATED_BELOW)
    if unsure.any():
        pairs = eigenpairs(exact, states[unsure], count)
        radius[unsure] = pairs.multipliers[:, 0].abs().to(states)
        directions[unsure] = _real(pairs.directions).to(states)
    return radius, directions


def _real(directions: Tensor) -> Tensor:
    """Real and imaginary parts of directions, shape (batch, 2 count, dim)."""
    return torch.view_as_real(directions).permute(0, 2, 3, 1).flatten(1, 2)


@torch.no_grad()
def _safe_radii(
    system: Map,
    exact: Map,
    states: Float64[Tensor, "batch dim"],
    directions: Float64[Tensor, "batch count dim"],
    contractions: Float64[Tensor, " batch"],
    largest: Float64[Tensor, " batch"],
) -> Float64[Tensor, " batch"]:
    random = torch.randn(exact.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(states)
    directions = torch.cat([directions, random.expand(len(states), 1, -1)], dim=1)
    lengths = torch.linalg.vector_norm(directions, dim=2, keepdim=True)
    # Real multipliers have no imaginary direction, zero multipliers none at all.
    point, index = (lengths[:, :, 0] > 1e-6).nonzero(as_tuple=True)
    units = directions[point, index] / lengths[point, index]
    point, units = point.repeat(2), torch.cat([units, -units])
    size = torch.linalg.vector_norm(states, dim=1).clamp(min=1.0)
    epsilon = _epsilon(system, states)
    images = torch.empty_like(units)
    is_coarse = contractions > _PRECISION * epsilon
    for precise, rows in ((system, is_coarse[point]), (exact, ~is_coarse[point])):
        if bool(rows.any()):
            dtype = home_of(precise, states).dtype
            images[rows] = precise.jvp(states[point[rows]].to(dtype), units[rows].to(dtype)).double()

    def remainders(probes: Tensor, radius: Tensor, is_coarse: Tensor) -> Tensor:
        """`q` at some of the probes, at a radius of each point."""
        found = torch.empty_like(units[probes])
        at, unit, image = point[probes], units[probes], images[probes]
        for precise, rows in ((system, is_coarse[at]), (exact, ~is_coarse[at])):
            if bool(rows.any()):
                dtype = home_of(precise, states).dtype
                ends = precise((states[at[rows]] + radius[at[rows], None] * unit[rows]).to(dtype))
                centres = precise(states.to(dtype))[at[rows]]
                found[rows] = (ends - centres).double() - radius[at[rows], None] * image[rows]
        return found

    everywhere = torch.ones(len(point), dtype=torch.bool, device=point.device)
    first = remainders(everywhere, largest, is_coarse)
    shares = _SHARE * torch.minimum(contractions[point], _stiffness(system, exact, states[point], first))
    radii = torch.zeros_like(contractions)
    was_safe = torch.zeros_like(contractions, dtype=torch.bool)
    open_ = contractions > 0
    for level in range(_RADII + 1):
        radius = largest * 0.5**level
        probes = open_[point]
        at = point[probes]
        if not len(at):
            break
        limit = shares[probes] * radius[at]
        # Float64 only where rounding in the map's own precision could matter.
        is_coarse = _all_of(limit > _PRECISION * epsilon * size[at], at, len(states))
        lengths = torch.linalg.vector_norm(remainders(probes, radius, is_coarse), dim=1)
        # What rounding alone makes of a difference of two states is no remainder.
        rounding = 64 * size[at] * torch.where(is_coarse[at], epsilon, _epsilon(exact, states))
        holds = (lengths <= limit + rounding) & (limit > rounding)
        is_safe = _all_of(holds, at, len(states))
        # A remainder can be small at a large radius by chance, where two terms cancel, but hardly at the next one, too.
        found = open_ & was_safe & is_safe
        radii = torch.where(found, 2 * radius, radii)
        was_safe, open_ = is_safe, open_ & ~found
    return radii


def _stiffness(
    system: Map, exact: Map, states: Float64[Tensor, "probes dim"], remainders: Float64[Tensor, "probes dim"]
) -> Float64[Tensor, " probes"]:
    """`|q| / |(I - J)^-1 q|` for each remainder: what stands against it, at the saddle of a fold exactly as much."""
    precise = exact if exact.dim < _ESTIMATED_FROM else system
    dtype = home_of(precise, states).dtype
    lengths = torch.linalg.vector_norm(remainders, dim=1, keepdim=True)
    directions = torch.where(lengths > 0, remainders / lengths, 0)
    dimension = _SMALL_DIMENSION if exact.dim < _ESTIMATED_FROM else _SOLVE_DIMENSION
    moves = solve_fixed_point_step(precise.linearized(states.to(dtype)), directions.to(dtype), dimension)
    sizes = torch.linalg.vector_norm(moves.double(), dim=1)
    return torch.where(sizes > 0, 1 / sizes, torch.inf)


def _all_of(holds: Bool[Tensor, " probes"], point: Int64[Tensor, " probes"], points: int) -> Bool[Tensor, " points"]:
    """For each point, whether something holds for all of its probes."""
    failures = torch.zeros(points, dtype=torch.int64, device=point.device)
    return failures.index_add_(0, point, (~holds).to(torch.int64)) == 0


def _epsilon(system: Map, states: Tensor) -> float:
    return torch.finfo(home_of(system, states).dtype).eps


@dataclass(frozen=True)
class GivenFixedPoint:
    """A fixed point that Newton's method found from a given start, stable or not."""

    __repr__ = short_repr

    state: Float64[Tensor, " dim"]  # on the CPU
    residual: float  # ||F(x) - x||_2 / max(1, ||x||_2)
    unstable_directions: int  # multipliers outside the unit circle; 0 for an attractor, 1 for a saddle between two


def find_fixed_point(system: Map, start: Float[Tensor, " dim"]) -> GivenFixedPoint | None:
    """The fixed point to which Newton's method leads from a start, stable or not.

    Args:
        system: The map.
        start: Where to start, shape (dim,), finite.

    Returns:
        The fixed point, with a relative residual of at most 1e-12 in float64, or None where none is found.

    Raises:
        ValueError: If `start` has another dim than `system`, or is not finite.
    """
    check_states(system, start[None], parameter="start")
    exact = float64_copy(system)
    solution = newton(exact, start.to(home_of(exact, start).device, torch.float64))
    if not solution.is_fixed_point:
        return None
    moduli = spectrum_across_one(exact, solution.state, _FIRST_COUNT).abs()
    return GivenFixedPoint(solution.state.cpu(), solution.residual, int((moduli > 1).sum()))

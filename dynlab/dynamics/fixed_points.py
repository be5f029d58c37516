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

Orbits mostly come home along the leading direction, and from where the remainder points home as well: the side of a
fold that lies away from its saddle. Near that side only the rest of the remainder counts, that across the direction
against the contraction of the second multiplier, and the safe radius is a multiple of the one above.

Whether a fixed point is stable is decided by its spectral radius in float64, except where an estimate from a few
products in the map's own precision is far below one.

Source: Kuznetsov, Elements of Applied Bifurcation Theory, section 4.2 (normal form of the fold of maps).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Complex, Float, Float64
from torch import Tensor

from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.krylov import leading_ritz, solve_fixed_point_step
from dynlab.dynamics.newton import newton
from dynlab.dynamics.spectra import eigenpairs, spectrum
from dynlab.maps import Map, check_states, float64_copy

_NO_DIRECTION = 1e-6  # length of a part of a direction of length 1, that is none
_SHARE = 0.4  # of the contraction, that the remainder may take
_PRECISION = 1e4  # units in the last place that the allowed remainder must be worth, for single precision to do
_RADII = 20  # tried, each half of the one before
_ESTIMATED_BELOW = 0.99  # spectral radius, its residual added, up to which an estimate will do
_ESTIMATE_DIMENSION = 18
_SOLVE_DIMENSION, _SMALL_DIMENSION = 8, 32  # products spent on what stands against a remainder, in large and small maps
_ESTIMATED_FROM = 200  # dimension from which an estimate is cheaper than the answer


@dataclass(frozen=True, eq=False)  # equal only to itself: two orbits that end at one object end at one point
class FixedPoint:
    """A fixed point in float64, and what is known of its neighbourhood."""

    state: Float64[Tensor, " dim"]  # on the CPU
    residual: float  # ||F(x) - x||_2 / max(1, ||x||_2)
    safe_radius: float  # an orbit that comes this near ends here, by estimate; 0 where the fixed point is not stable
    axis: Float64[
        Tensor, " dim"
    ]  # direction of the leading multiplier, of length 1, on the CPU; 0 if it is not positive
    safe_reach: tuple[float, float]  # as `safe_radius`, at less than 45 degrees from `axis`, and from its opposite

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
    leading = _leading(system, exact, states)
    radii, axes, reaches = _safe_radii(system, exact, states, leading, largest_radii)
    rows = zip(states.cpu(), residuals.tolist(), radii.tolist(), axes.cpu(), reaches.tolist(), strict=True)
    return [
        FixedPoint(state, residual, radius, axis, (ahead, behind))
        for state, residual, radius, axis, (ahead, behind) in rows
    ]


@dataclass(frozen=True)
class _Leading:
    """The leading multiplier of each state."""

    radius: Float64[Tensor, " batch"]  # its modulus
    second: Float64[Tensor, " batch"]  # modulus of the next one
    is_positive: Bool[Tensor, " batch"]  # whether it is real and positive
    directions: Float64[Tensor, "batch 2 dim"]  # real and imaginary part of its direction

    @staticmethod
    def of(multipliers: Complex[Tensor, "batch count"], directions: Complex[Tensor, "batch dim count"]) -> _Leading:
        moduli, first = multipliers.abs().double(), multipliers[:, 0]
        second = moduli[:, 1] if moduli.shape[1] > 1 else torch.zeros_like(moduli[:, 0])
        parts = torch.view_as_real(directions[:, :, 0]).mT.double()
        return _Leading(moduli[:, 0], second, (first.imag == 0) & (first.real > 0), parts)

    def to(self, device: torch.device) -> _Leading:
        return _Leading(*(getattr(self, field.name).to(device) for field in fields(self)))

    def put(self, rows: Bool[Tensor, " batch"], others: _Leading) -> None:
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(others, field.name)


def _leading(system: Map, exact: Map, states: Float64[Tensor, "batch dim"]) -> _Leading:
    count = min(2, exact.dim)
    if exact.dim < _ESTIMATED_FROM:
        pairs = eigenpairs(exact, states, count)
        return _Leading.of(pairs.multipliers, pairs.directions).to(states.device)
    plain = states.to(home_of(system, states).dtype)
    start = torch.randn(states.shape[1], generator=torch.Generator().manual_seed(0), dtype=plain.dtype).to(plain)
    ritz = leading_ritz(system.linearized(plain), start.expand_as(plain), _ESTIMATE_DIMENSION, count)
    leading = _Leading.of(ritz.values, ritz.directions.to(ritz.values.device)).to(states.device)
    unsure = ~(leading.radius + ritz.residuals[:, 0].to(states) < _ESTIMATED_BELOW)
    if unsure.any():
        pairs = eigenpairs(exact, states[unsure], count)
        leading.put(unsure, _Leading.of(pairs.multipliers, pairs.directions).to(states.device))
    return leading


@torch.no_grad()
def _safe_radii(
    system: Map,
    exact: Map,
    states: Float64[Tensor, "batch dim"],
    leading: _Leading,
    largest: Float64[Tensor, " batch"],
) -> tuple[Float64[Tensor, " batch"], Float64[Tensor, "batch dim"], Float64[Tensor, "batch 2"]]:
    """Safe radii in all directions, the axis of the leading multiplier, and the radii along it to both sides."""
    random = torch.randn(exact.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(states)
    directions = torch.cat([leading.directions, random.expand(len(states), 1, -1)], dim=1)
    lengths = torch.linalg.vector_norm(directions, dim=2, keepdim=True)
    # Real multipliers have no imaginary direction, zero multipliers none at all.
    is_probed = lengths[:, :, 0] > _NO_DIRECTION
    point, index = is_probed.nonzero(as_tuple=True)
    units = directions[point, index] / lengths[point, index]
    point, index, units = point.repeat(2), index.repeat(2), torch.cat([units, -units])
    size = torch.linalg.vector_norm(states, dim=1).clamp(min=1.0)
    epsilon, exact_epsilon = _epsilon(system, states), _epsilon(exact, states)
    contractions, others = 1 - leading.radius, 1 - leading.second
    is_coarse = (contractions > _PRECISION * epsilon)[point]
    images, centres = torch.empty_like(units), {}
    for precise, rows in ((system, is_coarse), (exact, ~is_coarse)):
        dtype = home_of(precise, states).dtype
        centres[precise] = precise(states.to(dtype))
        if bool(rows.any()):
            images[rows] = precise.jvp(states[point[rows]].to(dtype), units[rows].to(dtype)).double()

    def remainders(probes: Tensor, radius: Tensor, is_coarse: Tensor) -> Tensor:
        """`q` at some of the probes, at a radius of each."""
        found = torch.empty_like(units[probes])
        at, moves = point[probes], radius[:, None] * units[probes]
        for precise, rows in ((system, is_coarse), (exact, ~is_coarse)):
            if bool(rows.any()):
                ends = precise((states[at[rows]] + moves[rows]).to(centres[precise].dtype))
                found[rows] = (ends - centres[precise][at[rows]]).double()
        return found - radius[:, None] * images[probes]

    first = remainders(torch.arange(len(point), device=point.device), largest[point], is_coarse)
    against, against_sideways = _resistance(system, exact, states[point], first, units)
    everywhere = _SHARE * torch.minimum(contractions[point], against)
    in_ball, in_cone = torch.zeros_like(everywhere), torch.zeros_like(everywhere)
    ball_before, cone_before = torch.zeros_like(in_ball, dtype=torch.bool), torch.zeros_like(in_ball, dtype=torch.bool)
    has_cone = (index == 0) & leading.is_positive[point]
    open_ = contractions[point] > 0
    for level in range(_RADII + 1):
        probes = open_.nonzero()[:, 0]
        if not len(probes):
            break
        at = point[probes]
        radius = largest[at] * 0.5**level
        limit = everywhere[probes] * radius
        # Float64 only where rounding in the map's own precision could matter.
        is_coarse = limit > _PRECISION * epsilon * size[at]
        remainder = remainders(probes, radius, is_coarse)
        length = torch.linalg.vector_norm(remainder, dim=1)
        # What rounding alone makes of a difference of two states is no remainder.
        rounding = 64 * size[at] * torch.where(is_coarse, epsilon, exact_epsilon)
        is_safe = (length <= limit + rounding) & (limit > rounding)
        # What leads home along the leading direction, and not far beyond, does not stand against it.
        along = torch.linalg.vecdot(remainder, units[probes])
        sideways = (length.square() - along.square()).clamp(min=0).sqrt()
        is_safe_there = is_safe | (
            has_cone[probes]
            & (limit > rounding)
            & (along <= _SHARE * contractions[at] * radius)
            & (-along <= _SHARE * radius)
            & (sideways <= _SHARE * others[at] * radius)
            & (length <= _SHARE * against_sideways[probes] * radius)
        )
        # A remainder can be small at a large radius by chance, where two terms cancel, but hardly at the next one, too.
        found = ball_before[probes] & is_safe
        found_there = cone_before[probes] & is_safe_there & (in_cone[probes] == 0)
        in_ball[probes] = torch.where(found, 2 * radius, in_ball[probes])
        in_cone[probes] = torch.where(found_there, 2 * radius, in_cone[probes])
        ball_before[probes], cone_before[probes] = is_safe, is_safe_there
        open_[probes] = ~found
    radii = largest.scatter_reduce(0, point, in_ball, "amin")
    # A cone is no longer than what is safe in the directions that have none.
    limits = largest.scatter_reduce(0, point[~has_cone], in_ball[~has_cone], "amin")
    axes, reaches = torch.zeros_like(states), torch.stack([radii, radii], dim=1)
    ahead, behind = has_cone.nonzero()[:, 0].chunk(2)  # all directions come first, then all their opposites
    axes[point[ahead]] = units[ahead]
    for side, probes in enumerate((ahead, behind)):
        at = point[probes]
        reaches[at, side] = torch.maximum(radii[at], torch.minimum(in_cone[probes], limits[at]))
    return radii, axes, reaches


def _resistance(
    system: Map,
    exact: Map,
    states: Float64[Tensor, "probes dim"],
    remainders: Float64[Tensor, "probes dim"],
    units: Float64[Tensor, "probes dim"],
) -> tuple[Float64[Tensor, " probes"], Float64[Tensor, " probes"]]:
    """`|q| / |(I - J)^-1 q|` for each remainder: what stands against it, at the saddle of a fold exactly as much.

    The second one is for the part of `(I - J)^-1 q` that does not lead home along the direction of the probe.
    """
    precise = exact if exact.dim < _ESTIMATED_FROM else system
    dtype = home_of(precise, states).dtype
    lengths = torch.linalg.vector_norm(remainders, dim=1, keepdim=True)
    directions = torch.where(lengths > 0, remainders / lengths, 0)
    dimension = _SMALL_DIMENSION if exact.dim < _ESTIMATED_FROM else _SOLVE_DIMENSION
    moves = solve_fixed_point_step(precise.linearized(states.to(dtype)), directions.to(dtype), dimension).double()
    sizes = torch.linalg.vector_norm(moves, dim=1)
    homeward = torch.linalg.vecdot(moves, units).clamp(max=0)
    opposing = torch.linalg.vector_norm(moves - homeward[:, None] * units, dim=1)
    return 1 / sizes, 1 / opposing  # infinite where there is no remainder


def _epsilon(system: Map, states: Tensor) -> float:
    return torch.finfo(home_of(system, states).dtype).eps


@dataclass(frozen=True)
class GivenFixedPoint:
    """A fixed point that Newton's method found from a given start, stable or not."""

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
    count = min(8, exact.dim)
    while True:
        moduli = spectrum(exact, solution.state[None], count).eigenvalues[0].abs()
        if float(moduli[count - 1]) <= 1 or count == exact.dim:
            return GivenFixedPoint(solution.state.cpu(), solution.residual, int((moduli > 1).sum()))
        count = min(2 * count, exact.dim)

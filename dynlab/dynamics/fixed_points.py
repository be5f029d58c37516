"""Fixed points, and which of them are stable.

Whether a fixed point is stable is decided by its spectral radius in float64, except where an estimate from some
products in the map's own precision is far below one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from dynlab.dynamics.blocks import home_of, in_float64
from dynlab.dynamics.dense import have_finite_jacobians
from dynlab.dynamics.krylov import leading_ritz
from dynlab.dynamics.newton import newton
from dynlab.dynamics.safe_balls import Effort, safe_radii
from dynlab.dynamics.spectra import eigenpairs, spectrum_across_one
from dynlab.maps import Map, flat_state
from dynlab.short_repr import short_repr

# An estimate will do where the spectral radius, its residual added, is below 0.99, and the random start has less of any
# multiplier outside the unit circle than this share of what it has of each direction in the root mean square: of a
# saddle, that happens once in 1250 times. Where many multipliers stand close together it takes more products to tell.
_ESTIMATED_BELOW = 0.99
_OVERLOOKED = 1e-3
_ESTIMATE_DIMENSIONS = (24, 64, 160, 400)
_BLOCK_BYTES = 2**26  # of the bases of estimates that are held at once
_FIRST_COUNT = 8  # multipliers looked at before it is known how many are unstable
_ESTIMATED_FROM = 200  # dimension from which an estimate is cheaper than the answer
_ASTRAY = 0.25  # of a safe radius, that the fixed point itself may stand away
_OF_THE_MAP = 1e-8  # relative residual up to which a fixed point is one of this map; Newton's method leaves 1e-12
_SMALL = Effort(leading=8, random=4, generations=3, rises=5, products=None)
_LARGE = Effort(leading=1, random=1, generations=2, rises=3, products=8)


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


def check_known(exact: Map, known: Sequence[FixedPoint], device: torch.device) -> None:
    """Check that what is given as known fixed points of a map is that, and not of another map.

    Args:
        exact: The map in float64.
        known: What is given.
        device: Where the map computes.

    Raises:
        ValueError: If one has another dim than the map, or the map moves it.
    """
    for index, point in enumerate(known):
        if point.state.shape != (exact.dim,):
            raise ValueError(f"known[{index}] has shape {tuple(point.state.shape)}, expected ({exact.dim},)")
    if known:
        states = torch.stack([point.state for point in known]).to(device)
        check_residuals(relative_residuals(exact, states), parameter="known")


@torch.no_grad()
def relative_residuals(exact: Map, states: Float64[Tensor, "batch dim"]) -> Float64[Tensor, " batch"]:
    """`||F(x) - x||_2 / max(1, ||x||_2)`, by the map in float64."""
    sizes = torch.linalg.vector_norm(states, dim=1).clamp(min=1.0)
    return torch.linalg.vector_norm(exact(states) - states, dim=1) / sizes


def check_residuals(residuals: Float64[Tensor, " batch"], *, parameter: str) -> None:
    """Check by their relative residuals that states are fixed points of the map, as far as rounding lets them.

    Raises:
        ValueError: If one is none of this map.
    """
    others = ~(residuals <= _OF_THE_MAP)
    if others.any():
        row = int(others.nonzero()[0, 0])
        raise ValueError(
            f"{parameter}[{row}] is no fixed point of the map: its relative residual is {float(residuals[row]):.3g}, "
            f"expected at most {_OF_THE_MAP:g}"
        )


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
    radii = torch.zeros_like(residuals)
    # Where the map has no derivative it is no linearization and a remainder, and nothing is known to be safe.
    smooth = have_finite_jacobians(exact, states).nonzero()[:, 0]
    effort = _SMALL if exact.dim < _ESTIMATED_FROM else _LARGE
    if len(smooth):
        radius, directions = _leading(system, exact, states[smooth], min(effort.leading, exact.dim))
        stable, rows = radius < 1, smooth[radius < 1]
        if len(rows):
            contractions = 1 - radius[stable]
            found = safe_radii(
                system, exact, states[rows], directions[stable], contractions, largest_radii[rows], effort
            )
            # Near a multiplier of one the map moves states less than a residual tells, far from any fixed point.
            sizes = torch.linalg.vector_norm(states[rows], dim=1).clamp(min=1.0)
            astray = residuals[rows] * sizes / contractions
            radii[rows] = torch.where(astray <= _ASTRAY * found, found, 0.0)
    rows = zip(states.cpu(), residuals.tolist(), radii.tolist(), strict=True)
    return [FixedPoint(state, residual, safe_radius) for state, residual, safe_radius in rows]


def _leading(
    system: Map, exact: Map, states: Float64[Tensor, "batch dim"], count: int
) -> tuple[Float64[Tensor, " batch"], Float64[Tensor, "batch count dim"]]:
    """Spectral radius at each state, and real directions that span those of the leading multipliers."""
    if exact.dim < _ESTIMATED_FROM:
        pairs = eigenpairs(exact, states, count)
        return pairs.multipliers[:, 0].abs().to(states), _real(pairs.directions, pairs.multipliers).to(states)
    radius = states.new_full((len(states),), torch.inf)
    directions = states.new_zeros(len(states), 2 * count, states.shape[1])
    is_sure = torch.zeros_like(radius, dtype=torch.bool)
    pending = torch.arange(len(states), device=states.device)
    for dimension in _ESTIMATE_DIMENSIONS:
        radius[pending], is_sure[pending], directions[pending] = _estimated(system, states[pending], dimension, count)
        # More products tell no more of a multiplier that is near one, or beyond.
        pending = pending[~is_sure[pending] & (radius[pending] < _ESTIMATED_BELOW)]
        if not len(pending):
            break
    unsure = (~is_sure).nonzero()[:, 0]
    if not len(unsure):
        return radius, directions
    pairs = eigenpairs(exact, states[unsure], count)
    radius[unsure] = pairs.multipliers[:, 0].abs().to(states)
    directions[unsure] = _real(pairs.directions, pairs.multipliers).to(states)
    return radius, directions


def _estimated(
    system: Map, states: Float64[Tensor, "batch dim"], dimension: int, count: int
) -> tuple[Float64[Tensor, " batch"], Bool[Tensor, " batch"], Float64[Tensor, "batch count dim"]]:
    """As `_leading`, from so many products in the map's own precision, and whether that will do."""
    plain = states.to(home_of(system, states).dtype)
    start = torch.randn(states.shape[1], generator=torch.Generator().manual_seed(0), dtype=plain.dtype).to(plain)
    rows = max(1, _BLOCK_BYTES // (plain.itemsize * states.shape[1] * (dimension + 1)))
    parts = []
    for at in plain.split(rows):
        ritz = leading_ritz(system.linearized(at), start.expand_as(at), dimension, count)
        found = ritz.values[:, 0].abs()
        is_sure = found + ritz.residuals[:, 0] < _ESTIMATED_BELOW
        is_sure &= ritz.overlooked * states.shape[1] ** 0.5 < _OVERLOOKED
        parts.append((found.to(states), is_sure.to(states.device), _real(ritz.directions, ritz.values).to(states)))
    found, is_sure, directions = (torch.cat(part) for part in zip(*parts, strict=True))
    return found, is_sure, directions


def _real(directions: Tensor, values: Tensor) -> Tensor:
    """Real and imaginary parts of directions, shape (batch, 2 count, dim); of a pair one direction says all."""
    parts = torch.view_as_real(directions).permute(0, 2, 3, 1)
    conjugate = torch.zeros(values.shape, dtype=torch.bool)
    conjugate[:, 1:] = (values[:, 1:].imag < 0).cpu()
    return torch.where(conjugate.to(parts.device)[:, :, None, None], 0, parts).flatten(1, 2)


@dataclass(frozen=True)
class GivenFixedPoint:
    """A fixed point that Newton's method found from a given start, stable or not."""

    __repr__ = short_repr

    state: Float64[Tensor, " dim"]  # on the CPU
    residual: float  # ||F(x) - x||_2 / max(1, ||x||_2)
    unstable_directions: int  # multipliers outside the unit circle; 0 for an attractor, 1 for a saddle between two


def find_fixed_point(system: Map, start: Float[Tensor, "*state"]) -> GivenFixedPoint | None:
    """The fixed point to which Newton's method leads from a start, stable or not.

    Args:
        system: The map.
        start: Where to start, shape (dim,) or `state_shape`, finite.

    Returns:
        The fixed point, with a relative residual of at most 1e-12 in float64, or None where none is found.

    Raises:
        ValueError: If `start` has another dim than `system`, or is not finite, or the map has no finite Jacobian at the
            fixed point.
    """
    exact, begin = in_float64(system, flat_state(system, start, parameter="start"))
    solution = newton(exact, begin)
    if not solution.is_fixed_point:
        return None
    if not have_finite_jacobians(exact, solution.state[None]).all():
        raise ValueError("start leads to a fixed point at which the Jacobian of the map is not finite")
    moduli = spectrum_across_one(exact, solution.state, _FIRST_COUNT).abs()
    return GivenFixedPoint(solution.state.cpu(), solution.residual, int((moduli > 1).sum()))

"""Stable fixed points, and the ball around each within which an orbit is decided.

Around a fixed point `x*` a map is its linearization and a remainder, `F(x* + e) = x* + J e + q(e)`. The linearization
takes an orbit home at the rate of the spectral radius `rho`; what could stop it is the remainder, where it is as large
as the contraction `(1 - rho) |e|`. In the normal form of a fold, `e -> rho e + c e^2`, that is where the saddle stands.
The safe radius is the largest one, of a falling sequence, at which the remainder is at most a tenth of the contraction
in every direction probed: those of the leading multipliers, along which it is weakest, and two random ones, both
ways. It is an estimate and no proof, on the safe side by a factor that leaves room for the transient growth of a
Jacobian that is not normal.

Source: Kuznetsov, Elements of Applied Bifurcation Theory, section 4.2 (normal form of the fold of maps).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Complex128, Float64
from torch import Tensor

from dynlab.dynamics.newton import NewtonSolution
from dynlab.dynamics.spectra import leading_eigenpairs
from dynlab.maps import Map

LEADING = 6  # multipliers known of each fixed point
_PROBED = 3  # leading directions along which the remainder is measured
_RANDOM = 2  # further ones
_SHARE = 0.1  # of the contraction, that the remainder may take
_RADII = 10  # tried, each a quarter of the one before


@dataclass(frozen=True, eq=False)  # equal only to itself: two orbits that end at one object end at one point
class FixedPoint:
    """A fixed point in float64 and its linearization."""

    state: Float64[Tensor, " dim"]  # on the CPU
    residual: float  # ||F(x) - x||_2 / max(1, ||x||_2)
    multipliers: Complex128[Tensor, " leading"]  # the leading ones, by falling modulus
    safe_radius: float  # every orbit that comes this near ends here; 0 where the fixed point is not stable

    @property
    def is_stable(self) -> bool:
        """Whether all multipliers lie inside the unit circle."""
        return self.safe_radius > 0


def examine_fixed_point(exact: Map, solution: NewtonSolution, *, largest_radius: float) -> FixedPoint:
    """Linearize a map at a fixed point that Newton's method found, and find its safe radius.

    Args:
        exact: The map in float64.
        solution: Where Newton's method ended; must be a fixed point.
        largest_radius: Upper limit of the safe radius, in units of the state.

    Returns:
        The fixed point, with `min(dim, 6)` multipliers.
    """
    pairs = leading_eigenpairs(exact, solution.state, min(exact.dim, LEADING))
    contraction = 1 - float(pairs.multipliers[0].abs())
    radius = 0.0
    if contraction > 0:
        directions = torch.view_as_real(pairs.directions[:, :_PROBED]).flatten(1).T.to(solution.state)
        radius = _safe_radius(exact, solution.state, directions, contraction, largest_radius)
    return FixedPoint(solution.state.cpu(), solution.residual, pairs.multipliers, radius)


@torch.no_grad()
def _safe_radius(
    exact: Map,
    state: Float64[Tensor, " dim"],
    directions: Float64[Tensor, "count dim"],
    contraction: float,
    largest: float,
) -> float:
    random = torch.randn(_RANDOM, exact.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    directions = torch.cat([directions, random.to(directions)])
    lengths = torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    # Real multipliers have no imaginary direction, zero multipliers none at all.
    units = (directions / lengths)[lengths[:, 0] > 1e-6]
    units = torch.cat([units, -units])
    images = exact.jvp(state.repeat(len(units), 1), units)
    centre = exact(state[None])
    # What rounding alone makes of a difference of two states is no remainder.
    floor = 1e-14 * float(torch.linalg.vector_norm(state).clamp(min=1.0))

    def is_safe(radius: float) -> bool:
        remainders = exact(state + radius * units) - centre - radius * images
        return float(torch.linalg.vector_norm(remainders, dim=1).amax()) <= _SHARE * contraction * radius + floor

    radii = [largest * 0.25**index for index in range(_RADII)]
    # A remainder can be small at a large radius by chance, where two terms cancel, but hardly at the next one, too.
    return next((r for r, smaller in pairwise(radii) if is_safe(r) and is_safe(smaller)), 0.0)

"""All fixed points that are met on the picture of a map of one or two numbers, stable or not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.dynamics import spectrum
from dynlab.dynamics.damped import newton_damped
from dynlab.dynamics.known import first_copies
from dynlab.dynamics.newton import RESIDUAL_TOLERANCE
from dynlab.maps import Map

_STARTS = 16  # of Newton's method, along each side of a picture
_CLOSE = 1e-6  # distance from the unit circle at which a multiplier does not tell, as fixed points are not exact


@dataclass(frozen=True)
class PicturedFixedPoint:
    """A fixed point of a map of one or two numbers."""

    state: list[float]
    multipliers: list[tuple[float, float]]  # real and imaginary parts, by falling modulus

    @property
    def unstable(self) -> int:
        """Multipliers outside the unit circle for certain: none where it attracts, 1 at a saddle of two numbers."""
        return sum(abs(complex(*multiplier)) > 1 + _CLOSE for multiplier in self.multipliers)

    @property
    def is_stable(self) -> bool:
        """Whether all multipliers are within the unit circle for certain."""
        return all(abs(complex(*multiplier)) < 1 - _CLOSE for multiplier in self.multipliers)


def pictured(exact: Map, states: Float64[Tensor, "points dim"]) -> list[PicturedFixedPoint]:
    """Fixed points with their multipliers, each once, in lexicographic order; those without a derivative are left out.

    Args:
        exact: The map in float64.
        states: Its fixed points, on its device.
    """
    states = states[first_copies(states) == torch.arange(len(states), device=states.device)]
    states = states[exact.jacobian(states).isfinite().flatten(1).all(dim=1)] if len(states) else states
    if not len(states):
        return []
    multipliers = spectrum(exact, states).eigenvalues.cpu()
    found = [
        PicturedFixedPoint(state, [(float(value.real), float(value.imag)) for value in values])
        for state, values in zip(states.tolist(), multipliers, strict=True)
    ]
    return sorted(found, key=lambda point: point.state)


def fixed_points_within(
    exact: Map, axes: Float64[Tensor, "2 side"], known: Float64[Tensor, "points 2"]
) -> list[PicturedFixedPoint]:
    """Fixed points in a square of the plane: known ones, and those that Newton's method leads to from a grid of starts.

    Args:
        exact: A map of two numbers in float64.
        axes: Coordinates of the picture along either axis, rising.
        known: Fixed points, on the device of the map.

    Returns:
        What is there, in lexicographic order; others may be missing, and those that Newton's method finds where a
        multiplier is 1, as on a line of fixed points, are left out.
    """
    device = known.device
    low, high = axes[:, 0], axes[:, -1]
    along = torch.linspace(0, 1, _STARTS, dtype=torch.float64)
    starts = low + torch.cartesian_prod(along, along) * (high - low)
    found, residuals = newton_damped(exact, starts.to(device))
    found = found[residuals <= RESIDUAL_TOLERANCE]
    stands_alone = (torch.linalg.eigvals(exact.jacobian(found).cpu()) - 1).abs().amin(dim=1) > _CLOSE
    both = torch.cat([known, found[stands_alone.to(device)]])
    at_home = both.cpu()
    return pictured(exact, both[((at_home >= low) & (at_home <= high)).all(dim=1).to(device)])

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
_ISOLATED = 1e-6  # distance from 1 of the multipliers of a fixed point that stands alone


@dataclass(frozen=True)
class PicturedFixedPoint:
    """A fixed point of a map of one or two numbers."""

    state: list[float]
    multipliers: list[tuple[float, float]]  # real and imaginary parts, by falling modulus

    @property
    def unstable(self) -> int:
        """Multipliers outside the unit circle: 0 where it attracts, 1 at a saddle of two numbers."""
        return sum(abs(complex(*multiplier)) > 1 for multiplier in self.multipliers)


def pictured(exact: Map, states: Float64[Tensor, "points dim"]) -> list[PicturedFixedPoint]:
    """Fixed points with their multipliers, in the order given.

    Left out are those with a multiplier of 1, which may stand among others without end, and those without a derivative.

    Args:
        exact: The map in float64.
        states: Its fixed points, on its device.
    """
    states = states[exact.jacobian(states).isfinite().flatten(1).all(dim=1)] if len(states) else states
    if not len(states):
        return []
    multipliers = spectrum(exact, states).eigenvalues.cpu()
    rows = zip(states.tolist(), multipliers, strict=True)
    return [
        PicturedFixedPoint(state, [(float(value.real), float(value.imag)) for value in values])
        for state, values in rows
        if bool(((values - 1).abs() > _ISOLATED).all())
    ]


def fixed_points_within(exact: Map, axes: Float64[Tensor, "2 side"], device: torch.device) -> list[PicturedFixedPoint]:
    """The fixed points in a square of the plane to which Newton's method leads from a grid of starts on it.

    Args:
        exact: A map of two numbers in float64.
        axes: Coordinates of the picture along either axis, rising.
        device: That of the map.

    Returns:
        What was found, in lexicographic order; others may be missing.
    """
    low, high = axes[:, 0], axes[:, -1]
    along = torch.linspace(0, 1, _STARTS, dtype=torch.float64)
    starts = low + torch.cartesian_prod(along, along) * (high - low)
    found, residuals = newton_damped(exact, starts.to(device))
    at_home = found.cpu()
    within = ((at_home >= low) & (at_home <= high)).all(dim=1)
    found = found[(within & (residuals.cpu() <= RESIDUAL_TOLERANCE)).to(device)]
    found = found[first_copies(found) == torch.arange(len(found), device=device)]
    return sorted(pictured(exact, found), key=lambda point: point.state)

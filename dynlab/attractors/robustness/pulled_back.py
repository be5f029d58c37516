"""Lower bounds of the minimal critical shock: balls from which nothing escapes, pulled back along orbits.

An attractor has a ball, proved (`dynlab.dynamics.certify`) or estimated. That of a sample is the ball of its attractor
pulled back along its orbit: where `||S||_2 <= b` for all slopes `S` of the map between a state and those within `r`, a
ball of radius `min(r, R / b)` about the state is mapped into the ball of radius `R` about its image. Slopes are bounded
in float64 (`dynlab.dynamics.slopes`), so what is pulled back is an estimate even if the ball is proved.

Source: Krawczyk and Neumaier, Interval slopes for rational functions and associated centered forms, SIAM Journal on
Numerical Analysis 22, 1985.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from dynlab.dynamics import FixedPoint
from dynlab.dynamics.balls import PLAIN
from dynlab.dynamics.certificates import Certificate, CertificateStatus
from dynlab.dynamics.slopes import LayeredSlopes, LipschitzSlopes
from dynlab.maps import Map

_LONGEST = 1000  # orbit along which a ball is pulled back
_WIDEST = 1e6  # radius that it may have there


class LowerBound(StrEnum):
    """How much a lower bound is worth."""

    PROVED = "proved"  # within a ball that a certificate proves
    ESTIMATED = "estimated"  # by an estimated ball, or by slopes in float64
    NONE = "none"  # it is 0: the state reaches no attractor, or none from which slopes under control lead back


def lower_bounds(
    exact: Map,
    known: Sequence[FixedPoint],
    states: Float64[Tensor, "states dim"],
    own: Int64[Tensor, " states"],
    certificates: Sequence[Certificate] | None,
    *,
    pull_back: bool,
) -> tuple[Float64[Tensor, " states"], list[LowerBound]]:
    """Radius of a ball about each state from which all orbits go where its own goes.

    Args:
        exact: The map in float64.
        known: Its attractors.
        states: Shape (states, dim), on the device of the map.
        own: What each state reaches, as an index into `known`; -1 for none.
        certificates: Of the first of `known`. One that shows no ball, or is not there, leaves the safe ball.
        pull_back: Whether balls are pulled back to states outside them.

    Returns:
        The radii, in units of the state, and how much each is worth.
    """
    bounds, kinds = [], []
    for state, label in zip(states, own.tolist(), strict=True):
        bound, kind = 0.0, LowerBound.NONE
        if label >= 0:
            point = known[label]
            radius, kind = point.safe_radius, LowerBound.ESTIMATED
            if certificates is not None and label < len(certificates) and certificates[label].basin_radius > 0:
                radius = certificates[label].basin_radius
                if certificates[label].status == CertificateStatus.PROVED:
                    kind = LowerBound.PROVED
            centre = point.state.to(state)
            bound = _room(radius, float(torch.linalg.vector_norm(state - centre)), len(state))
            if bound <= 0:
                bound = _pulled_back(exact, state, centre, radius) if pull_back else 0.0
                kind = LowerBound.ESTIMATED if bound > 0 else LowerBound.NONE
        bounds.append(bound)
        kinds.append(kind)
    return torch.tensor(bounds, dtype=torch.float64, device=states.device), kinds


def _room(radius: float, away: float, dim: int) -> float:
    """What is left of a ball around a state away from its centre, rounded so that it is never too much."""
    if not away or math.isinf(radius):
        return radius
    return float(np.nextafter(radius - away * (1 + 2 * (dim + 2) * np.finfo(float).eps), -np.inf))


@torch.no_grad()
def _pulled_back(exact: Map, state: Float64[Tensor, " dim"], centre: Float64[Tensor, " dim"], radius: float) -> float:
    """Radius of a ball about a state that steps of the map take into the ball of its attractor; 0 if none is found."""
    orbit = [state]
    # To its inner half, so that there is room around the end.
    while not float(torch.linalg.vector_norm(orbit[-1] - centre)) <= radius / 2:
        if len(orbit) > _LONGEST:
            return 0.0
        orbit.append(exact(orbit[-1][None])[0])
    room = radius - float(torch.linalg.vector_norm(orbit[-1] - centre))
    for before in reversed(orbit[:-1]):
        if not room > 0:
            return 0.0
        room = _radius_before(exact, before, room)
    return room


def _radius_before(exact: Map, state: Float64[Tensor, " dim"], room: float) -> float:
    """Radius of a ball about a state that the map takes into the ball of radius `room` about its image."""
    layers = exact.layers()
    slopes = LipschitzSlopes(exact, state, PLAIN) if layers is None else LayeredSlopes(layers, state, PLAIN)
    spread = slopes.spread(slopes.jacobian, np.eye(exact.dim))
    norm = float(spread.rough_bound(0.0))
    widest = min(room / norm, _WIDEST) if norm > 0 else _WIDEST
    bound = float(spread.rough_bound(widest))
    if not 0 < bound < np.inf:
        return widest if bound == 0 else 0.0
    radius = min(widest, room / bound)
    # Slopes stray about in proportion to the radius; where they stray no more than that, there is more room.
    growth = max(bound - norm, 0.0) / widest
    more = min(widest, 2 * room / (norm + (norm * norm + 4 * growth * room) ** 0.5)) * (1 - 1e-9)
    return max(radius, more) if float(spread.rough_bound(more)) * more <= room else radius

"""Where a multiplier of a followed fixed point crosses the unit circle, and what that makes of it.

Between two points of the curve the j-th largest modulus of the multipliers is a continuous function of the arclength,
whichever multiplier it belongs to. Where the number outside the circle changes, one of these functions passes 1, and
its zero is found by Brent's method. What crosses says the kind: a real multiplier at -1, a pair, or one at 1, where the
parameter turns back at a fold and not at a branch point.

Source: Kuznetsov, Elements of Applied Bifurcation Theory, sections 4.1 and 10.2; Brent, Algorithms for Minimization
without Derivatives, 1973.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import cast

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.attractors.following.curve import Curve, CurvePoint

_ARCLENGTH = 1e-10  # to which a bifurcation is localized; the parameter changes no faster than the arclength
# Arclength off a branch point at which the curve is well determined, and a cubic still exact: where it is crossed, and
# where it is touched, which leaves the curve less determined.
_OFF_CROSSING, _OFF_TOUCHING = 1e-4, 1e-3
_REFINED = 0.1  # of that: a refinement that moves the zero further has met something else
_INSEPARABLE = 1e-4  # arclength within which crossings are not told apart by where the parameter turns
_REAL = 1e-6  # imaginary part of a multiplier on the unit circle below which it is one at 1 or -1


class BifurcationKind(StrEnum):
    """What happens to a fixed point where a multiplier crosses the unit circle."""

    FOLD = "fold"  # through 1, where the parameter turns back: two fixed points merge
    BRANCH_POINT = "branch point"  # at 1 without both: another branch crosses, as at a transcritical or a pitchfork
    PERIOD_DOUBLING = "period doubling"  # through -1
    NEIMARK_SACKER = "Neimark-Sacker"  # a pair off the real axis


# Of each kind alone: by how many the multipliers outside the unit circle change, and how the parities of the real ones
# above 1 and below -1 do. Where another trace is found, several have crossed.
_TRACES = {
    BifurcationKind.FOLD: (1, (1, 0)),
    BifurcationKind.BRANCH_POINT: (1, (1, 0)),
    BifurcationKind.PERIOD_DOUBLING: (1, (0, 1)),
    BifurcationKind.NEIMARK_SACKER: (2, (0, 0)),
}


@dataclass(frozen=True)
class Bifurcation:
    """A fixed point with a multiplier on the unit circle."""

    kind: BifurcationKind
    parameter: float
    state: Float64[Tensor, " dim"]
    multiplier: complex  # the one that crosses, of a pair that with the positive imaginary part

    @property
    def angle(self) -> float:
        """Argument of the multiplier, from 0 to pi: 0 at folds and branch points, pi at period doublings."""
        return abs(cmath.phase(self.multiplier))


def bifurcations_between(curve: Curve, start: CurvePoint, end: CurvePoint) -> list[Bifurcation]:
    """The bifurcations between two neighbouring points, in order.

    Where the two points show the trace of more than one, the way between them is halved. Crossings that cancel each
    other, of one kind and within one step, leave no trace and are missed.

    Raises:
        LostError: If the curve is not found between the two.
    """
    change = abs(end.unstable - start.unstable)
    turns = bool((start.tangent[-1] > 0) != (end.tangent[-1] > 0))
    odd = tuple((ours - theirs) % 2 for ours, theirs in zip(start.real_outside, end.real_outside, strict=True))
    if not change and odd == (0, 0):
        # Along a branch that a pitchfork emits, the multiplier touches 1 where the parameter turns, and goes back.
        return [_touching(curve, start, end)] if turns else []
    if float((end.z - start.z).norm()) < _INSEPARABLE:
        return _each_pair_once([_crossing(curve, start, end, order, turns=turns) for order in _orders(start, end)])
    if change in (1, 2):
        first = _crossing(curve, start, end, _orders(start, end)[0], turns=turns)
        if (change, odd) == _TRACES[first.kind]:
            return [first]
    middle = curve.between(start, end, 0.5)
    return bifurcations_between(curve, start, middle) + bifurcations_between(curve, middle, end)


def _each_pair_once(found: list[Bifurcation]) -> list[Bifurcation]:
    """Of bifurcations found for each modulus, those of a pair for one of the two."""
    pairs = [one for one in found if one.kind is BifurcationKind.NEIMARK_SACKER]
    return [one for one in found if one.kind is not BifurcationKind.NEIMARK_SACKER] + pairs[::2]


def _orders(start: CurvePoint, end: CurvePoint) -> list[int]:
    """Indices of the moduli that are below 1 at one end and above 1 at the other."""
    return list(range(*sorted((start.unstable, end.unstable))))


def _crossing(curve: Curve, start: CurvePoint, end: CurvePoint, order: int, *, turns: bool) -> Bifurcation:
    curve.k = max(curve.k, order + 1)
    start, end = (replace(point, multipliers=curve.multipliers_at(point.z)) for point in (start, end))

    def excess(point: CurvePoint) -> float:
        return float(point.multipliers[order].abs()) - 1

    share, point = zero_between(curve, start, end, excess)
    multiplier = complex(point.multipliers[order])
    if abs(multiplier.imag) > _REAL:
        pair = complex(multiplier.real, abs(multiplier.imag))
        return Bifurcation(BifurcationKind.NEIMARK_SACKER, point.parameter, point.state, pair)
    if multiplier.real < 0:
        return Bifurcation(BifurcationKind.PERIOD_DOUBLING, point.parameter, point.state, multiplier)
    if turns:
        return Bifurcation(BifurcationKind.FOLD, point.parameter, point.state, multiplier)
    return _branch_point(curve, start, end, share, excess, _OFF_CROSSING)


def _touching(curve: Curve, start: CurvePoint, end: CurvePoint) -> Bifurcation:
    def rise(point: CurvePoint) -> float:
        return float(point.tangent[-1])

    return _branch_point(curve, start, end, zero_between(curve, start, end, rise)[0], rise, _OFF_TOUCHING)


def _branch_point(
    curve: Curve,
    start: CurvePoint,
    end: CurvePoint,
    share: float,
    value: Callable[[CurvePoint], float],
    offset: float,
) -> Bifurcation:
    """Refine the zero of a value at a branch point, given to about 1e-8, by cubic interpolation.

    There two curves cross, so points cannot be told from their neighbours to better than the root of the rounding
    errors; points a little off are as exact as any.
    """
    nodes = np.array([-2.0, -1.0, 1.0, 2.0])
    shares = share + nodes * offset / float((end.z - start.z).norm())
    points = [curve.between(start, end, float(node)) for node in shares]
    to_powers = np.linalg.inv(np.vander(nodes))  # coefficients of the cubic through given values
    roots = np.roots(to_powers @ [value(point) for point in points])
    root = roots[np.abs(roots).argmin()] if len(roots) else np.inf
    if abs(root) > _REFINED:
        points, weights = [curve.between(start, end, share)], start.z.new_ones(1)
    else:
        weights = torch.from_numpy(np.vander([root.real], 4)[0] @ to_powers).to(start.z)
    z = weights @ torch.stack([point.z for point in points])
    values = torch.stack([point.multipliers[(point.multipliers - 1).abs().argmin()] for point in points])
    return Bifurcation(BifurcationKind.BRANCH_POINT, float(z[-1]), z[:-1], complex(weights.to(values) @ values))


def zero_between(
    curve: Curve, start: CurvePoint, end: CurvePoint, value: Callable[[CurvePoint], float]
) -> tuple[float, CurvePoint]:
    """The share of the way between two points at which a value that changes its sign is zero, and the point there."""
    from scipy.optimize import brentq

    def at(share: float) -> CurvePoint:
        return {0.0: start, 1.0: end}.get(share) or curve.between(start, end, share)

    tolerance = _ARCLENGTH / max(float((end.z - start.z).norm()), 1.0)
    share = float(cast(float, brentq(lambda share: value(at(share)), 0.0, 1.0, xtol=tolerance)))
    return share, at(share)

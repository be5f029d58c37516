"""Continuation: a fixed point followed in a parameter of its map, through folds, with the bifurcations on its way.

From each point of the curve of fixed points a step is predicted along the tangent and corrected in the plane across it,
so that the parameter is free to turn back (pseudo-arclength continuation). The step grows where the corrector is quick
and shrinks where it fails or the curve bends.

Source: Keller, Numerical solution of bifurcation and nonlinear eigenvalue problems, in Applications of Bifurcation
Theory, 1977; Allgower and Georg, Introduction to Numerical Continuation Methods, 2003, chapters 6 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Complex128, Float, Float64, Int64
from torch import Tensor

from dynlab.attractors.following.bifurcations import Bifurcation, bifurcations_between, zero_between
from dynlab.attractors.following.curve import Curve, CurvePoint, LostError
from dynlab.dynamics.newton import newton
from dynlab.errors import check_count, check_positive
from dynlab.maps import Map, flat_state
from dynlab.short_repr import short_repr

if TYPE_CHECKING:
    import pandas as pd

_STRAIGHT = 0.9  # least cosine between the tangents at both ends of a step
_QUICK, _LONG = 12, 20  # iterations of the corrector up to which the step grows, and beyond which it shrinks
_GROWTH = 2.0
_SMALLEST = 2.0**-20  # of the first step


class Stop(StrEnum):
    """Why a branch ends."""

    REACHED = "reached"  # the parameter that was asked for
    RETURNED = "returned"  # the parameter turned back and came to where it began
    STEP_LIMIT = "step limit"
    FAILED = "failed"  # the corrector, with however small a step


@dataclass(frozen=True)
class Branch:
    """A fixed point along a parameter, point by point in the order in which it was followed."""

    __repr__ = short_repr

    parameters: Float64[Tensor, " points"]  # on the CPU; they turn back at folds
    states: Float64[Tensor, "points dim"]
    residuals: Float64[Tensor, " points"]  # ||F(x) - x||_2 / max(1, ||x||_2), at most 1e-12; on the CPU
    multipliers: Complex128[Tensor, "points count"]  # by falling modulus, ends of rows may be NaN; on the CPU
    unstable: Int64[Tensor, " points"]  # how many multipliers lie outside the unit circle; on the CPU
    bifurcations: tuple[Bifurcation, ...]  # in order
    stop: Stop
    reason: str  # in words, with numbers

    @property
    def is_stable(self) -> Bool[Tensor, " points"]:
        """Where no multiplier lies outside the unit circle."""
        return self.unstable == 0

    def to_frame(self) -> pd.DataFrame:
        """One row for each point, in pandas, which the extra `frames` installs.

        Columns are `parameter`, `norm` (Euclidean, of the state), `residual`, `unstable`, `spectral_radius`, and
        `leading_real` and `leading_imag` of the leading multiplier.
        """
        import pandas as pd

        leading = self.multipliers[:, 0]
        return pd.DataFrame(
            {
                "parameter": self.parameters.numpy(),
                "norm": torch.linalg.vector_norm(self.states, dim=1).cpu().numpy(),
                "residual": self.residuals.numpy(),
                "unstable": self.unstable.numpy(),
                "spectral_radius": leading.abs().numpy(),
                "leading_real": leading.real.numpy(),
                "leading_imag": leading.imag.numpy(),
            }
        )

    def bifurcations_frame(self) -> pd.DataFrame:
        """One row for each bifurcation: `kind`, `parameter`, `norm`, `multiplier_real`, `multiplier_imag`, `angle`."""
        import pandas as pd

        rows = [
            (
                str(found.kind),
                found.parameter,
                float(torch.linalg.vector_norm(found.state)),
                found.multiplier.real,
                found.multiplier.imag,
                found.angle,
            )
            for found in self.bifurcations
        ]
        return pd.DataFrame(rows, columns=["kind", "parameter", "norm", "multiplier_real", "multiplier_imag", "angle"])


def follow_fixed_point(
    system_at: Callable[[float], Map],
    start: Float[Tensor, "*state"],
    parameter: float,
    *,
    until: float,
    first_step: float,
    max_step: float | None = None,
    max_steps: int = 500,
    k: int = 6,
) -> Branch:
    """Follow a fixed point of `system_at(parameter)` towards the parameter `until`.

    Args:
        system_at: The map at each parameter, on which it depends smoothly when computed in float64. Beyond `parameter`
            and `until` it may raise a `ValueError`. A map whose `jacobian_factors` are narrower than its states costs
            one factorization of that size a step; others one of size dim.
        start: A state near the fixed point at `parameter`, which Newton's method finds from there.
        parameter: Where to start.
        until: Where to stop. The branch also stops where, having turned, it comes back to `parameter`.
        first_step: Arclength of the first step, in the space of states and parameter, `sqrt(||dx||_2^2 + dp^2)`.
        max_step: Longest step; 20 times the first if not given. A bifurcation is noticed by the multipliers at both
            ends of a step, so a long one may pass over two that cancel.
        max_steps: Most steps, at least 1.
        k: How many multipliers to find at each point at least; those outside the unit circle are always all found.

    Returns:
        The branch. Bifurcations are localized to 1e-8 of the parameter.

    Raises:
        ValueError: If an argument is out of its range, Newton's method finds no fixed point from `start`, or the
            branch cannot leave it towards `until`, since it is itself a fold or a branch point.
    """
    _check(parameter, until, first_step, max_step, max_steps, k)
    curve = Curve(system_at, k, (min(parameter, until), max(parameter, until)))
    point = _first_point(curve, start, parameter, until)
    points, bifurcations, step = [point], [], first_step
    longest = 20 * first_step if max_step is None else max_step
    stop, reason = Stop.STEP_LIMIT, f"{max_steps} steps taken"
    while stop is Stop.STEP_LIMIT and len(points) <= max_steps:
        try:
            following, passed = _advance(curve, point, step, parameter, until)
            bifurcations += bifurcations_between(curve, point, following)
        except LostError as error:
            step /= 2
            if step < _SMALLEST * first_step:
                stop, reason = Stop.FAILED, f"{error} with a step of {step:.3g} at parameter {point.parameter:.9g}"
            continue
        points.append(following)
        point = following
        if passed is not None:
            stop = Stop.REACHED if passed == until else Stop.RETURNED
            reason = f"parameter {passed:.9g} {stop}"
        if point.iterations <= _QUICK:
            step = min(_GROWTH * step, longest)
        elif point.iterations > _LONG:
            step /= _GROWTH
    return _branch(points, bifurcations, stop, reason)


def _advance(
    curve: Curve, point: CurvePoint, step: float, parameter: float, until: float
) -> tuple[CurvePoint, float | None]:
    """The next point, and the end of the interval of parameters if that was passed: then it is the point there.

    Raises:
        LostError: If there is none with this step.
    """
    guess = point.z + step * point.tangent
    passed = _passed(float(guess[-1]), parameter, until)
    if passed is not None:  # the family may end there
        landed = _land(curve, point, guess, passed)
        _check_straight(point, landed)
        return landed, passed
    following = curve.point(
        *curve.correct(guess, point.tangent, float(point.tangent @ guess), point.solve), point.tangent
    )
    _check_straight(point, following)
    # The parameter may turn within the step; before the turn and after it the parameter is monotone.
    stations = [point, following]
    if float(point.tangent[-1]) * float(following.tangent[-1]) < 0:
        stations.insert(1, zero_between(curve, point, following, lambda at: float(at.tangent[-1]))[1])
    for before, after in pairwise(stations):
        passed = _passed(after.parameter, parameter, until)
        if passed is not None:
            landed = _land(curve, before, after.z, passed)
            _check_straight(point, landed)
            return landed, passed
    return following, None


def _check_straight(point: CurvePoint, following: CurvePoint) -> None:
    if not float(following.tangent @ point.tangent) >= _STRAIGHT:
        raise LostError("the curve bends too sharply")


def _passed(found: float, parameter: float, until: float) -> float | None:
    """The end of the interval of parameters that was passed."""
    way = (found - parameter) / (until - parameter)
    if way >= 1:
        return until
    return parameter if way <= 0 else None


def _land(curve: Curve, point: CurvePoint, beyond: Tensor, end: float) -> CurvePoint:
    """The point of the curve at a given parameter, between a point before it and a z beyond."""
    share = (end - point.parameter) / (float(beyond[-1]) - point.parameter)
    guess = point.z + share * (beyond - point.z)
    guess[-1] = end
    return curve.point(*curve.correct(guess, _along_parameter(guess), end), point.tangent)


def _first_point(curve: Curve, start: Tensor, parameter: float, until: float) -> CurvePoint:
    exact = curve.map_at(parameter)
    start = flat_state(exact, start, parameter="start")
    device = next((value.device for value in exact.state_dict().values()), start.device)
    solution = newton(exact, start.to(device, torch.float64))
    if not solution.is_fixed_point:
        raise ValueError(f"start leads to no fixed point at parameter {parameter}: residual {solution.residual:.3g}")
    z = torch.cat([solution.state, solution.state.new_tensor([parameter])])
    towards = math.copysign(1.0, until - parameter) * _along_parameter(z)
    try:
        point = curve.point(z, solution.residual, 0, towards)
    except LostError as error:
        raise ValueError(f"start leads to a fixed point that cannot be followed: {error}") from error
    if point.solve is None or abs(float(point.tangent[-1])) < 1e-8:
        raise ValueError(f"parameter is {parameter}, expected another: the fixed point there is a fold or branch point")
    return point


def _along_parameter(z: Tensor) -> Tensor:
    row = torch.zeros_like(z)
    row[-1] = 1
    return row


def _branch(points: list[CurvePoint], bifurcations: list[Bifurcation], stop: Stop, reason: str) -> Branch:
    multipliers = torch.nn.utils.rnn.pad_sequence(
        [torch.view_as_real(point.multipliers) for point in points], batch_first=True, padding_value=torch.nan
    )
    return Branch(
        parameters=torch.tensor([point.parameter for point in points], dtype=torch.float64),
        states=torch.stack([point.state for point in points]),
        residuals=torch.tensor([point.residual for point in points], dtype=torch.float64),
        multipliers=torch.view_as_complex(multipliers),
        unstable=torch.tensor([point.unstable for point in points]),
        bifurcations=tuple(bifurcations),
        stop=stop,
        reason=reason,
    )


def _check(parameter: float, until: float, first_step: float, max_step: float | None, max_steps: int, k: int) -> None:
    for name, value in (("parameter", parameter), ("until", until)):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, expected a finite number")
    if until == parameter:
        raise ValueError(f"until is {until}, expected another number than parameter")
    check_positive("first_step", first_step)
    if max_step is not None and not first_step <= max_step < math.inf:
        raise ValueError(f"max_step is {max_step}, expected a finite number of at least first_step, {first_step}")
    check_count("max_steps", max_steps, 1)
    check_count("k", k, 1)

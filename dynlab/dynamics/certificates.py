"""Certificates: what can be proved about a fixed point, and in how large a ball.

Given a state `x0` near a fixed point and `J = F'(x0)`, all bounds are of the form `sup ||base + left (S - J) right||_2`
over the slopes `S` between states of a ball (`dynlab.dynamics.slopes`).

1. *Existence and uniqueness* by a simplified Newton operator `N(x) = x + A (F(x) - x)`, `A` close to `(I - J)^-1`. Let
   `Y = ||A (F(x0) - x0)||`, and let `Z(r)` bound `||I - A (I - S)||` in the ball of radius `r`. If `Y + Z(r) r <= r`,
   `N` maps the ball into itself and has a fixed point by Brouwer's theorem; if `Z(r) < 1`, no two fixed points are that
   near, since `A (I - S)` is invertible. This is Newton and Kantorovich's theorem with slopes for second derivatives.
2. *Index*: `A` is a product of triangular matrices and a permutation, so the sign of its determinant is known, and with
   `Z < 1` that of `det(I - J)` at the fixed point is the same.
3. *Stability and basin* in the norm `|e|_P = ||T e||_2`, where `P = T^T T` solves the discrete Lyapunov equation
   `P - J^T P J = I`. Where `theta(r) = sup ||T S T^-1|| < 1`, every step from the ball takes a state nearer to the
   fixed point, by at least this factor: a ball about it is mapped into itself, and all its orbits converge.

Everything free (`A`, `T`, the radii) is found in float64; what is claimed is then verified in the arithmetic of the
method.

Source: Ortega, The Newton-Kantorovich theorem, American Mathematical Monthly 75, 1968; Rump, Verification methods,
Acta Numerica 19, 2010, sections 10 and 13; LaSalle, The Stability and Control of Discrete Processes, 1986, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.dynamics.balls import PLAIN, Arithmetic, Number, balls
from dynlab.dynamics.slopes import LayeredSlopes, LipschitzSlopes, Slopes, Spread
from dynlab.maps import Map, flat_state, float64_copy

METHODS = ("estimate", "proof")

LARGEST_RADIUS = 1e6  # that is looked for
_SPARE = 1e-3  # of the distance of a bound to one, left for rounding and so that convergence is geometric
_RESOLUTION = 1e-2  # of the same: radii are searched for until they leave no more than this
_TRIES = 100
_AMPLE = 1.001  # of Newton's step, for a radius that must hold a little more


class CertificateStatus(StrEnum):
    """How much a certificate is worth."""

    PROVED = "proved"  # in ball arithmetic throughout
    ESTIMATED = "estimated"  # by the same bounds in float64, where rounding may have its say
    FAILED = "failed"  # not even existence and uniqueness


@dataclass(frozen=True)
class Certificate:
    """What is known about the fixed point near a state; distances are Euclidean and from that state."""

    status: CertificateStatus
    reason: str = ""  # what failed, by how much; empty where nothing did
    existence_radius: float = float("inf")  # a fixed point is at most this far
    uniqueness_radius: float = 0.0  # and no other one is at most this far
    index: int = 0  # sign of det(I - J) at the fixed point; 0 if unknown
    is_stable: bool = False  # whether all multipliers are shown to lie inside the unit circle
    contraction: float = float("nan")  # an upper bound of ||J||_P at the fixed point, so of the spectral radius
    basin_radius: float = 0.0  # every orbit from at most this far converges to the fixed point
    condition: float = float("nan")  # of P, in float64: the ratio of its largest to its smallest eigenvalue


def certify(system: Map, state: Float[Tensor, "*state"], *, method: str = "estimate") -> Certificate:
    """Certify the fixed point of a map near a state.

    What is certified is the map with its parameters as they are stored, in exact arithmetic.

    Args:
        system: The map. A proof needs its `layers`; an estimate is content with its `jacobian_lipschitz`.
        state: A fixed point found in float64, such as `FixedPoint.state`, shape (dim,) or `state_shape`. The nearer,
            the more is shown.
        method: "proof" for ball arithmetic by python-flint, "estimate" for the same bounds in plain float64.

    Returns:
        The certificate. Its status is about existence and uniqueness; if these hold and stability was not shown,
        `is_stable` is False, `basin_radius` 0, and `reason` says why.

    Raises:
        InputError: If `method` is "proof" and python-flint is not installed.
        ValueError: If `state` is not a finite state of the map, `method` is another, or the map holds inputs for
            several samples.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    state = flat_state(system, state)
    arithmetic = balls() if method == "proof" else PLAIN
    try:
        with torch.no_grad():
            plain = _slopes(system, state.double(), PLAIN, is_proof=arithmetic.is_proof)
            with arithmetic.context():
                slopes = _slopes(system, state.double(), arithmetic, is_proof=True) if arithmetic.is_proof else plain
                certificate = _certify_existence(plain, slopes)
                try:
                    return _certify_stability(plain, slopes, certificate)
                except _NotShownError as failure:
                    return replace(certificate, reason=str(failure))
    except _NotShownError as failure:
        return Certificate(CertificateStatus.FAILED, str(failure))


class _NotShownError(Exception):
    """A bound that does not hold; its message says which, and by how much."""


def _slopes(system: Map, state: Tensor, arithmetic: Arithmetic, *, is_proof: bool) -> Slopes:
    layers, name = system.layers(), type(system).__name__
    if layers is not None:
        return LayeredSlopes(layers, state, arithmetic)
    if is_proof:
        raise _NotShownError(f"{name} does not name the layers it is made of: it can be estimated at most, not proved")
    if system.jacobian_lipschitz(state, 1.0) is None:
        raise _NotShownError(f"{name} knows neither the layers it is made of nor a Lipschitz constant of its Jacobian")
    return LipschitzSlopes(float64_copy(system), state, arithmetic)


@dataclass(frozen=True)
class _Newton:
    """The factors of `A = upper lower P`, close to `(I - J)^-1`, and the sign of its determinant."""

    upper: np.ndarray
    lower: np.ndarray  # ones on its diagonal
    order: np.ndarray  # of the columns, which is what P does
    sign: int

    def spread(self, slopes: Slopes, scales: Sequence[np.ndarray] | None = None) -> tuple[Spread, Number]:
        """`I - A (I - S)` over the slopes `S`, and the length `Y` of Newton's step."""
        arithmetic = slopes.arithmetic
        a = arithmetic.product(arithmetic.exact(self.upper), arithmetic.exact(self.lower))[:, self.order]
        identity = np.eye(len(a))
        base = identity - arithmetic.product(a, identity - slopes.jacobian)
        step = arithmetic.frobenius_norm(arithmetic.apply(a, slopes.defect))
        return slopes.spread(base, a, scales=scales), step


def _newton(jacobian: np.ndarray) -> _Newton:
    from scipy.linalg import get_lapack_funcs

    if not np.isfinite(jacobian).all():
        raise _NotShownError("the Jacobian is not finite at the state")
    getrf, trtri = get_lapack_funcs(("getrf", "trtri"), dtype=np.float64)
    lu, pivots, singular = getrf(np.eye(len(jacobian)) - jacobian)
    if singular:
        raise _NotShownError("1 is a multiplier at the state: I - J has no inverse")
    rows = np.arange(len(lu))
    for row, pivot in enumerate(pivots):
        rows[[row, pivot]] = rows[[pivot, row]]
    swaps = int((pivots != np.arange(len(lu))).sum())
    upper, lower = np.triu(trtri(lu)[0]), np.tril(trtri(lu, lower=1, unitdiag=1)[0], -1) + np.eye(len(lu))
    sign = int(np.prod(np.sign(np.diag(upper)))) * (-1) ** swaps
    return _Newton(upper, lower, np.argsort(rows), sign)


def _certify_existence(plain: Slopes, slopes: Slopes) -> Certificate:
    arithmetic = slopes.arithmetic
    newton = _newton(plain.jacobian)
    spread, step = newton.spread(plain)
    largest, shares = _largest_radius(spread, "||I - A (I - S)||")
    if slopes is not plain:
        spread, step = newton.spread(slopes, spread.scales)
    existence = _existence_radius(spread, arithmetic.above(step), min(largest, LARGEST_RADIUS), shares)
    bound = spread.bound(largest, shares)
    if not bound < 1:
        raise _NotShownError(f"||I - A (I - S)|| within {largest:.3g} is {float(bound):.6g}, expected below 1")
    # Derivatives at the fixed point are limits of slopes between states as far away as it is.
    if not 2 * existence < largest:
        raise _NotShownError(
            f"a fixed point is shown within {existence:.3g}, and slopes are under control within {largest:.3g}, "
            "expected more than twice as much. Polish the state by Newton's method."
        )
    return Certificate(
        CertificateStatus.PROVED if arithmetic.is_proof else CertificateStatus.ESTIMATED,
        existence_radius=existence,
        uniqueness_radius=_down(largest - existence),
        index=newton.sign,
    )


def _existence_radius(spread: Spread, step: float, largest: float, shares: np.ndarray) -> float:
    """The smallest radius `r` found with `Y + Z(r) r <= r`."""
    radius = max(step * _AMPLE, np.finfo(float).tiny)
    for _ in range(_TRIES):
        bound = spread.bound(radius, shares)
        # Both sides in the arithmetic of the bound: what is claimed is no more than what it holds.
        if bound * radius + step <= radius:
            return radius
        if not (bound < 1 and radius < largest):
            break
        radius = step * _AMPLE / float(1 - bound)
    raise _NotShownError(
        f"Newton's step from the state is {step:.3g} long, and the slopes are under control only within {largest:.3g}, "
        "too little to show a fixed point. Polish the state by Newton's method, if it is near one."
    )


def _certify_stability(plain: Slopes, slopes: Slopes, found: Certificate) -> Certificate:
    arithmetic, existence = slopes.arithmetic, found.existence_radius
    radius = float(np.abs(np.linalg.eigvals(plain.jacobian)).max())
    if not radius < 1:
        index = "det(I - J) is negative, so a multiplier is real and above 1" if found.index < 0 else ""
        raise _NotShownError(
            f"not stable: the spectral radius is {radius:.6g} in float64; {index or 'instability is not shown'}"
        )
    p = _lyapunov(plain.jacobian)
    try:
        t = np.linalg.cholesky(p).T
    except np.linalg.LinAlgError:
        raise _NotShownError(
            f"the spectral radius {radius:.9g} is too near 1 for a norm in which J contracts"
        ) from None
    inverse = np.linalg.inv(t)
    trial = _lyapunov_spread(plain, t, inverse)
    largest, shares = _largest_radius(trial, "||S||_P")
    spread = trial if slopes is plain else _lyapunov_spread(slopes, t, inverse, trial.scales)
    bound = spread.bound(largest, shares)
    if not bound < 1:
        raise _NotShownError(f"||S||_P within {largest:.3g} is {float(bound):.6g}, expected below 1")
    stretch = arithmetic.spectral_norm(arithmetic.exact(t))
    # A ball about the fixed point, the slopes from it to another state, and what lies in it about the state.
    basin = np.inf if np.isinf(largest) else arithmetic.below(largest / stretch - 3 * existence)
    if not basin > 0:
        raise _NotShownError(
            f"the fixed point is shown within {existence:.3g}, and slopes contract within "
            f"{arithmetic.below(largest / stretch):.3g}, expected more than three times as much. "
            "Polish the state by Newton's method."
        )
    at_fixed_point = spread.rough_bound(arithmetic.above(2 * stretch * existence))
    eigenvalues = np.linalg.eigvalsh(p)
    return replace(
        found,
        uniqueness_radius=max(found.uniqueness_radius, basin),  # another fixed point would not converge to this one
        is_stable=True,
        contraction=min(arithmetic.above(at_fixed_point), arithmetic.above(bound)),
        basin_radius=basin,
        condition=float(eigenvalues[-1] / eigenvalues[0]),
    )


def _lyapunov(jacobian: np.ndarray) -> np.ndarray:
    """`P = I + J^T J + (J^2)^T J^2 + ...`, which solves `P - J^T P J = I`, by doubling the number of terms."""
    p, power = np.eye(len(jacobian)), jacobian
    for _ in range(_TRIES):
        more = power.T @ p @ power
        p = p + more
        if not np.linalg.norm(more) > np.finfo(float).eps * np.linalg.norm(p):
            break
        power = power @ power
    return (p + p.T) / 2


def _lyapunov_spread(
    slopes: Slopes, t: np.ndarray, inverse: np.ndarray, scales: Sequence[np.ndarray] | None = None
) -> Spread:
    """`T S T^-1` over the slopes `S`, with an inverse that need only be close: `T^-1 = inverse (T inverse)^-1`."""
    arithmetic = slopes.arithmetic
    left, right = arithmetic.exact(t), arithmetic.exact(inverse)
    gap = arithmetic.frobenius_norm(np.eye(len(t)) - arithmetic.product(left, right))
    if not gap < 1:
        raise _NotShownError(f"the norm of P has an inverse to {float(gap):.3g} only: P is too ill-conditioned")
    base = arithmetic.product(arithmetic.product(left, slopes.jacobian), right)
    return slopes.spread(base, left, right, inflation=1 / (1 - gap), scales=scales)


def _largest_radius(spread: Spread, name: str) -> tuple[float, np.ndarray]:
    """About the largest radius at which a bound stays below one, with the shares for it; in float64.

    Raises:
        _NotShownError: If it does so at no radius; `name` says what the bound is at radius 0.
    """
    at_rest = float(spread.rough_bound(0.0))
    if not at_rest < 1:
        raise _NotShownError(f"{name} is {at_rest:.9g} at the state, expected below 1")
    if spread.is_linear:
        return np.inf, spread.first_guess()[1]
    # What the slopes may add at most, and at least where the search ends.
    most, enough = (1 - _SPARE) * (1 - at_rest), (1 - _RESOLUTION) * (1 - at_rest)
    radius, shares = spread.first_guess()
    low, high, best = 0.0, np.inf, shares
    for _ in range(_TRIES):
        shares = spread.rebalance(radius, shares)
        added = float(spread.bound(radius, shares) - at_rest)
        if added <= most:
            low, best = radius, shares
            if added >= enough or low == LARGEST_RADIUS:
                break
        else:
            high, shares = radius, best
        if high < (1 + _SPARE) * low:
            break
        # What they add grows about as the radius does, or its square root or square.
        aim = radius * (most + enough) / 2 / added if added > 0 else np.inf
        if low and np.isfinite(high):
            aim = aim if low < aim < high else (low * high) ** 0.5
        radius = min(max(aim, radius / 8), 8 * radius, LARGEST_RADIUS)
    if not low:
        raise _NotShownError(
            f"{name} is {at_rest:.6g} at the state, but above 1 within {radius:.3g}: too little to certify anything"
        )
    return low, best


def _down(number: float) -> float:
    return float(np.nextafter(number, -np.inf)) if np.isfinite(number) else number

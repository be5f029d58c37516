"""The curve of fixed points `F(x, p) = x` of a family of maps, in the space of `z = (x, p)`.

Newton's method on the fixed point equation and one linear condition, `row . z = target`, solves bordered systems

    [ I - J   -F_p ] [ dx ]   [ F(x, p) - x    ]
    [    row       ] [ dp ] = [ target - row z ]

which stay regular at folds, where `I - J` is singular. With factors `J = A B` the unknown is `u = B dx` instead of dx,
since `dx = A u + F_p dp + (F(x, p) - x)`, so a matrix of the hidden layer's size, bordered, is all that is factorized.
`F_p` comes from central differences, with a relative error of about 1e-10, or of 1e-5 next to the ends of the family:
it steers the steps, but what they solve for is judged by the residual alone.

Source: Keller, Numerical solution of bifurcation and nonlinear eigenvalue problems, in Applications of Bifurcation
Theory, 1977; Kuznetsov, Elements of Applied Bifurcation Theory, section 10.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex128, Float64
from torch import Tensor

from dynlab.dynamics.newton import RESIDUAL_TOLERANCE
from dynlab.dynamics.spectra import spectrum_across_one
from dynlab.maps import Map, float64_copy

_MAX_ITERATIONS = 30
_MAX_FACTORIZATIONS = 3  # in one correction, besides the one that it begins with
_SLOW = 0.5  # a residual that falls less than this asks for a new factorization, or is at the rounding floor
_FLOOR = 1e-16  # relative residual below which there is nothing to gain
_DIFFERENCE = 6e-6  # cube root of float64's rounding, where errors of central differences are smallest

Solve = Callable[[Tensor, float], Tensor]  # of the residual `F - x` and of what the condition misses, the step of z


class LostError(Exception):
    """The curve was not found where it should be; the message says what happened."""


@dataclass(frozen=True)
class CurvePoint:
    """A point of the curve, with what continues it."""

    z: Float64[Tensor, " dim_plus_one"]  # state and parameter
    residual: float  # ||F(x) - x||_2 / max(1, ||x||_2)
    iterations: int  # that its correction took
    tangent: Float64[Tensor, " dim_plus_one"]  # of length 1, in the sense in which the curve is followed
    solve: Solve | None  # with the tangent as its row; None where the system is singular, as at a branch point
    multipliers: Complex128[Tensor, " count"]  # leading, at least all outside the unit circle and one more if there is
    unstable: int  # how many multipliers lie outside the unit circle

    @property
    def state(self) -> Float64[Tensor, " dim"]:
        """x."""
        return self.z[:-1]

    @property
    def parameter(self) -> float:
        """p."""
        return float(self.z[-1])

    @property
    def real_outside(self) -> tuple[int, int]:
        """How many multipliers are real and above 1, and below -1; their parities are the signs of `det(I -+ J)`."""
        real = self.multipliers.real[self.multipliers.imag.abs() <= 1e-12 * self.multipliers.abs()]
        return int((real > 1).sum()), int((real < -1).sum())


class Curve:
    """The curve of one family, and how it is computed.

    Args:
        system_at: The map at each parameter.
        k: How many multipliers to find at least.
        domain: The least and the largest parameter at which there needs to be a map.
    """

    def __init__(self, system_at: Callable[[float], Map], k: int, domain: tuple[float, float]) -> None:
        self.system_at = system_at
        self.k = k
        self.domain = domain

    def map_at(self, parameter: float) -> Map:
        """The map in float64.

        Raises:
            LostError: If there is none, beyond the domain.
        """
        try:
            system = self.system_at(parameter)
        except ValueError as error:
            if self.domain[0] <= parameter <= self.domain[1]:
                raise
            raise LostError(f"there is no map at parameter {parameter:.9g}: {error}") from error
        held = [value.dtype for value in system.state_dict().values() if value.is_floating_point()]
        return system if held and set(held) == {torch.float64} else float64_copy(system)

    @torch.no_grad()
    def correct(
        self, guess: Tensor, row: Tensor, target: float, solve: Solve | None = None
    ) -> tuple[Tensor, float, int]:
        """Where the curve meets `row . z = target`: z, its relative residual, and the iterations taken.

        Args:
            guess: z to start from.
            row: The condition's, shape (dim + 1,).
            target: Its right hand side.
            solve: A solver of the bordered system at some point nearby with this row; one is made if not given.

        Raises:
            LostError: If the residual does not fall to 1e-12.
        """
        z, best, factorizations, last = guess, (guess, math.inf, 0), 0, math.inf
        for iteration in range(_MAX_ITERATIONS):
            state = z[:-1]
            defect = self.map_at(float(z[-1]))(state[None])[0] - state
            residual = float(defect.norm() / state.norm().clamp(min=1.0))
            if residual < best[1]:
                best = (z, residual, iteration)
            is_slow = not residual < _SLOW * last
            if residual <= _FLOOR or (is_slow and best[1] <= RESIDUAL_TOLERANCE) or not math.isfinite(residual):
                break
            if solve is None or is_slow:
                solve = self.bordered(z, row) if factorizations < _MAX_FACTORIZATIONS else None
                factorizations += 1
                if solve is None:
                    break
            z = z + solve(defect, target - float(row @ z))
            last = residual
        if not best[1] <= RESIDUAL_TOLERANCE:
            raise LostError(f"the corrector did not converge, residual {best[1]:.3g}")
        return best

    @torch.no_grad()
    def bordered(self, z: Tensor, row: Tensor) -> Solve | None:
        """Factorize the bordered system at z; None where it is singular."""
        state, parameter = z[:-1], float(z[-1])
        slope = self._slope(state, parameter)
        system = self.map_at(parameter)
        factors = system.jacobian_factors(state[None])
        if factors is None or factors[0].shape[2] >= system.dim:
            a, b = system.jacobian(state[None])[0], None
        else:
            a, b = factors[0][0], factors[1][0]
        size = a.shape[1]
        matrix = torch.eye(size + 1, dtype=z.dtype, device=z.device)
        matrix[:size, :size] -= a if b is None else b @ a
        matrix[:size, size] = -(slope if b is None else b @ slope)
        matrix[size, :size] = row[:-1] @ a
        matrix[size, size] = row[:-1] @ slope + row[-1]
        lu = torch.linalg.lu_factor_ex(matrix)  # one matrix at a time: see `dynlab.dynamics.newton`
        if int(lu.info) or not torch.isfinite(lu.LU).all():
            return None

        def solve(defect: Tensor, missing: float) -> Tensor:
            right = torch.cat([defect if b is None else b @ defect, (missing - row[:-1] @ defect)[None]])
            found = torch.linalg.lu_solve(lu.LU, lu.pivots, right[:, None])[:, 0]
            return torch.cat([a @ found[:size] + slope * found[size] + defect, found[size:]])

        return solve

    def point(self, z: Tensor, residual: float, iterations: int, row: Tensor) -> CurvePoint:
        """What is known at a z of the curve; `row` is a direction that its tangent shall not oppose.

        Raises:
            LostError: If the Jacobian is not finite.
        """
        along = self.bordered(z, row)
        tangent, solve = row / row.norm(), None
        if along is not None:
            direction = along(torch.zeros_like(z[:-1]), 1.0)
            length = direction.norm()
            if bool(length > 0) and bool(torch.isfinite(length)):
                tangent = direction / length
                solve = _along_tangent(along, tangent)
        multipliers = self.multipliers_at(z)
        return CurvePoint(z, residual, iterations, tangent, solve, multipliers, int((multipliers.abs() > 1).sum()))

    def between(self, start: CurvePoint, end: CurvePoint, share: float) -> CurvePoint:
        """The point of the curve that is this share of the way from `start` to `end`, along the tangent of `start`.

        Raises:
            LostError: If it is not found.
        """
        guess = start.z + share * (end.z - start.z)
        return self.point(*self.correct(guess, start.tangent, float(start.tangent @ guess), start.solve), start.tangent)

    def multipliers_at(self, z: Tensor) -> Tensor:
        """The leading multipliers: `k`, and as many more as it takes to come inside the unit circle.

        Raises:
            LostError: If the Jacobian is not finite.
        """
        system, state = self.map_at(float(z[-1])), z[:-1]
        try:
            found = spectrum_across_one(system, state, self.k)
        except ValueError as error:
            raise LostError(str(error)) from error
        # The next points have about as many outside the unit circle; one more shows that these are all.
        self.k = max(self.k, int((found.abs() > 1).sum()) + 1)
        return found

    def _slope(self, state: Tensor, parameter: float) -> Tensor:
        """`F_p`, from one side only at the ends of the domain."""
        width, (lowest, highest) = _DIFFERENCE * max(1.0, abs(parameter)), self.domain
        inside = lowest <= parameter <= highest
        high = min(parameter + width, highest) if inside else parameter + width
        low = max(parameter - width, lowest) if inside else parameter - width
        difference = self.map_at(high)(state[None])[0] - self.map_at(low)(state[None])[0]
        return difference / (high - low)


def _along_tangent(solve: Solve, tangent: Tensor) -> Solve:
    """A solver of the same bordered system with its tangent as the row: solutions differ by a multiple of it."""

    def with_tangent(defect: Tensor, missing: float) -> Tensor:
        step = solve(defect, 0.0)
        return step + (missing - tangent @ step) * tangent

    return with_tangent

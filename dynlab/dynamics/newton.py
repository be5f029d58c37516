"""Fixed points by Newton's method in float64.

Solves `F(x) = x` from a start near the solution. With factors `J = A B` the linear systems are solved in the size of
the hidden layer, `(I - A B)^-1 = I + A (I - B A)^-1 B`. The factorization of one step serves the next ones as long as
they shrink fast, since near a solution it is the factorization that costs, and the first ones are done in float32. What
is solved is in float64 throughout.

Source: Kelley, Solving Nonlinear Equations with Newton's Method, 2003, sections 1.2 and 2.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.maps import Map

RESIDUAL_TOLERANCE = 1e-12
_MAX_ITERATIONS = 60
_MAX_FACTORIZATIONS = 12
_SINGLE = 4  # first factorizations, in float32: at half the cost they only make the steps a little inexact
# A step that shrinks less than this asks for a new factorization, which costs as much as several steps.
_SLOW = 0.4
_LOST = 1e6  # step length beyond which there is nothing to find


@dataclass(frozen=True)
class NewtonSolution:
    """Where Newton's method ended; `residual` says whether that is a fixed point."""

    state: Float64[Tensor, " dim"]
    residual: float  # ||F(x) - x||_2 / max(1, ||x||_2)

    @property
    def is_fixed_point(self) -> bool:
        """Whether the residual is at most 1e-12."""
        return self.residual <= RESIDUAL_TOLERANCE


def newton(exact: Map, start: Float64[Tensor, " dim"]) -> NewtonSolution:
    """Solve `F(x) = x` from `start`.

    Args:
        exact: The map in float64 (`dynlab.maps.float64_copy`).
        start: Where to start, shape (dim,).

    Returns:
        The best state met. It may be unstable, far from the start, or no fixed point at all: the caller decides.
    """
    best = NewtonSolution(start, float("inf"))
    state, solve, factorizations, last = start, None, 0, float("inf")
    for _ in range(_MAX_ITERATIONS):
        with torch.no_grad():
            defect = exact(state[None])[0] - state
        residual = float(defect.norm() / state.norm().clamp(min=1.0))
        if not residual < best.residual:
            if best.is_fixed_point:
                break  # the rounding floor
            solve = None
        else:
            best = NewtonSolution(state, residual)
        if solve is None:
            if factorizations == _MAX_FACTORIZATIONS:
                break
            solve = _factorize(exact, state, torch.float32) if factorizations < _SINGLE else None
            solve = solve or _factorize(exact, state, torch.float64)  # a multiplier may be one in float32 alone
            factorizations += 1
            if solve is None:
                break
        step = solve(defect)
        length = float(step.norm())
        if not length < _LOST:  # also where it is NaN
            break
        state = state + step
        if length > _SLOW * last:
            solve = None
        last = length
    return best


def _factorize(exact: Map, state: Float64[Tensor, " dim"], dtype: torch.dtype) -> Callable[[Tensor], Tensor] | None:
    """Factorize `I - J(state)`; the function that comes back solves with it. None where it is singular in `dtype`."""
    # One matrix at a time: a batched LU of this size fails with two threads in torch 2.13 on a CPU.
    factors = exact.jacobian_factors(state[None])
    if factors is None or factors[0].shape[2] >= exact.dim:
        jacobian = exact.jacobian(state[None])[0].to(dtype)
        lu = torch.linalg.lu_factor_ex(_identity(jacobian) - jacobian)
        return None if int(lu.info) else lambda right: _solve(lu.LU, lu.pivots, right.to(dtype)).double()
    a, b = factors[0][0].detach().to(dtype), factors[1][0].detach().to(dtype)
    product = b @ a
    lu = torch.linalg.lu_factor_ex(_identity(product) - product)
    if int(lu.info):
        return None
    return lambda right: right + (a @ _solve(lu.LU, lu.pivots, b @ right.to(dtype))).double()


def _solve(lu: Tensor, pivots: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.lu_solve(lu, pivots, right[:, None])[:, 0]


def _identity(matrix: Tensor) -> Tensor:
    return torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)

"""Fixed points by Newton's method: what is solved is in float64, whatever computes the steps.

From one given start, `newton` factorizes `I - J`, in the size of the hidden layer where the map knows factors,
`(I - A B)^-1 = I + A (I - B A)^-1 B`; a large map without factors is solved by GMRES from products with vectors. The
factorization of one step serves the next ones as long as they shrink fast, and the first ones are done in float32.

From many starts, `newton_together` takes the steps of all rows at once by GMRES of a small dimension in the map's own
precision. Each step is then only a little inexact, which costs one or two more of them and saves the factorizations.
The few rows that these steps do not solve can be given some.

Source: Kelley, Solving Nonlinear Equations with Newton's Method, 2003, sections 1.2, 2.4 and 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.krylov import solve_fixed_point_step
from dynlab.maps import Map

RESIDUAL_TOLERANCE = 1e-12
_MAX_ITERATIONS = 60
_MAX_FACTORIZATIONS = 12
_SINGLE = 4  # first factorizations, in float32: at half the cost they only make the steps a little inexact
# A step that shrinks less than this asks for a new factorization, which costs as much as several steps.
_SLOW = 0.4
_LOST = 1e6  # step length beyond which there is nothing to find
_DENSE = 512  # size up to which a matrix is factorized; above, GMRES of this dimension at most
_TOGETHER_ITERATIONS = 14
_TOGETHER_DIMENSIONS = (6, 8, 12)  # of the first steps, which the remainder spoils anyway, and of all later ones
_TOGETHER_RESIDUAL = 1e-14  # relative residual at which a row is left as it is
_STALLED = 0.5  # a residual that falls less than this is at the rounding floor, or nowhere near a solution


@dataclass(frozen=True)
class NewtonSolution:
    """Where Newton's method ended; `residual` says whether that is a fixed point."""

    state: Float64[Tensor, " dim"]
    residual: float  # ||F(x) - x||_2 / max(1, ||x||_2)

    @property
    def is_fixed_point(self) -> bool:
        """Whether the residual is at most 1e-12."""
        return self.residual <= RESIDUAL_TOLERANCE


def newton(exact: Map, start: Float64[Tensor, " dim"], factorizations: int = _MAX_FACTORIZATIONS) -> NewtonSolution:
    """Solve `F(x) = x` from `start`.

    Args:
        exact: The map in float64 (`dynlab.maps.float64_copy`).
        start: Where to start, shape (dim,).
        factorizations: How many may be tried, at least 1.

    Returns:
        The best state met. It may be unstable, far from the start, or no fixed point at all: the caller decides.
    """
    best = NewtonSolution(start, float("inf"))
    state, solve, tried, last = start, None, 0, float("inf")
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
            if tried == factorizations:
                break
            solve = _factorize(exact, state, torch.float32) if tried < _SINGLE else None
            solve = solve or _factorize(exact, state, torch.float64)  # a multiplier may be one in float32 alone
            tried += 1
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


@torch.no_grad()
def newton_together(
    system: Map,
    exact: Map,
    starts: Float64[Tensor, "batch dim"],
    reach: Float64[Tensor, " batch"] | None = None,
    *,
    factorizations: int = 0,
) -> tuple[Float64[Tensor, "batch dim"], Float64[Tensor, " batch"]]:
    """Solve `F(x) = x` from many starts that are near solutions.

    Args:
        system: The map in the precision that shall compute the steps.
        exact: The map in float64.
        starts: Where to start, shape (batch, dim).
        reach: Distance from its start at which each row is given up; none if not given.
        factorizations: How many may be spent on each row that these steps do not solve.

    Returns:
        The best states met, and their relative residuals, as in `NewtonSolution`; rows that lead nowhere have large
        ones.
    """
    best, residuals = starts.clone(), starts.new_full((len(starts),), torch.inf)
    rows, states = torch.arange(len(starts), device=starts.device), starts
    for iteration in range(_TOGETHER_ITERATIONS):
        defects = exact(states) - states
        found = torch.linalg.vector_norm(defects, dim=1) / torch.linalg.vector_norm(states, dim=1).clamp(min=1.0)
        before = residuals[rows]
        better = found < before
        best[rows[better]], residuals[rows[better]] = states[better], found[better]
        going = (found < _STALLED * before) & (found > _TOGETHER_RESIDUAL)
        rows, states, defects = rows[going], states[going], defects[going]
        if not len(rows):
            break
        dtype = home_of(system, states).dtype
        product = system.linearized(states.to(dtype))
        steps = solve_fixed_point_step(product, defects.to(dtype), _TOGETHER_DIMENSIONS[min(iteration, 2)])
        states = states + steps.double()
        if reach is not None:
            near = torch.linalg.vector_norm(states - starts[rows], dim=1) < reach[rows]
            rows, states = rows[near], states[near]
    for row in (~(residuals <= RESIDUAL_TOLERANCE)).nonzero()[:, 0].tolist() if factorizations else ():
        solution = newton(exact, starts[row], factorizations)
        if reach is None or bool((solution.state - starts[row]).norm() < reach[row]):
            best[row], residuals[row] = solution.state, solution.residual
    return best, residuals


def _factorize(exact: Map, state: Float64[Tensor, " dim"], dtype: torch.dtype) -> Callable[[Tensor], Tensor] | None:
    """Prepare to solve with `I - J(state)`; the function that comes back does. None where it is singular in `dtype`."""
    # One matrix at a time: a batched LU of this size fails with two threads in torch 2.13 on a CPU.
    factors = exact.jacobian_factors(state[None])
    if factors is None and exact.dim > _DENSE:
        product = exact.linearized(state[None])
        return lambda right: solve_fixed_point_step(product, right[None], _DENSE)[0]
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

"""Damped Newton's method from many starts at once, for starts that are not near solutions.

Each step is halved until the residual falls, so that rows come down to a solution, or to where the residual has a
minimum, instead of jumping about: from midpoints between fixed points of a trained autoencoder it finds many
more than whole steps do. The steps are exact, by a factorization each, in the size of the hidden layer where the map
knows factors and that is smaller; above a size they are taken by GMRES.

Source: Kelley, Solving Nonlinear Equations with Newton's Method, 2003, section 1.6 (line search); Golub and Van Loan,
Matrix Computations, section 2.1.4 (Sherman, Morrison and Woodbury).
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.dynamics.krylov import solve_fixed_point_step
from dynlab.maps import Map

_ITERATIONS = 40
_HALVINGS = 6
_STALLED = 0.99  # a row whose residual falls by less in a step is given up
_RESIDUAL = 1e-14  # relative residual at which a row is left as it is
_DENSE = 512  # size up to which matrices are factorized; above, GMRES
_KRYLOV = 64
_BATCHED = 128  # size up to which they are factorized together: torch 2.13 fails with larger ones and two threads
_NUMBERS = 2**23  # of the matrices of rows that take their step together


@torch.no_grad()
def newton_damped(
    exact: Map, starts: Float64[Tensor, "batch dim"]
) -> tuple[Float64[Tensor, "batch dim"], Float64[Tensor, " batch"]]:
    """Solve `F(x) = x` from many starts.

    Args:
        exact: The map in float64 (`dynlab.maps.float64_copy`).
        starts: Where to start, shape (batch, dim), on the device of the map.

    Returns:
        The best states met, and their relative residuals `||F(x) - x||_2 / max(1, ||x||_2)`; a row is a fixed point
        where that is at most 1e-12, which may be stable or not, and far from the start.
    """
    best, residuals = starts.clone(), starts.new_full((len(starts),), torch.inf)
    for rows in torch.arange(len(starts), device=starts.device).split(max(1, _NUMBERS // exact.dim**2)):
        best[rows], residuals[rows] = _solved(exact, starts[rows])
    return best, residuals


def _solved(
    exact: Map, starts: Float64[Tensor, "batch dim"]
) -> tuple[Float64[Tensor, "batch dim"], Float64[Tensor, " batch"]]:
    states, defects = starts.clone(), exact(starts) - starts
    # Absolute lengths: relative to that of a state, any defect gets small far enough out.
    lengths, sizes = torch.linalg.vector_norm(defects, dim=1), torch.linalg.vector_norm(states, dim=1).clamp(min=1.0)
    rows = torch.arange(len(starts), device=starts.device)
    for _ in range(_ITERATIONS):
        rows = rows[(lengths[rows] > _RESIDUAL * sizes[rows]) & lengths[rows].isfinite()]
        if not len(rows):
            break
        steps = _steps(exact, states[rows], defects[rows])
        last, open_ = lengths[rows], torch.arange(len(rows), device=rows.device)
        for halving in range(_HALVINGS + 1):
            moved = states[rows[open_]] + 0.5**halving * steps[open_]
            found = exact(moved) - moved
            length = torch.linalg.vector_norm(found, dim=1)
            falls = length < last[open_]
            at = rows[open_[falls]]
            states[at], defects[at], lengths[at] = moved[falls], found[falls], length[falls]
            open_ = open_[~falls]
            if not len(open_):
                break
        sizes[rows] = torch.linalg.vector_norm(states[rows], dim=1).clamp(min=1.0)
        rows = rows[lengths[rows] < _STALLED * last]
    return states, lengths / sizes


def _steps(
    exact: Map, states: Float64[Tensor, "batch dim"], defects: Float64[Tensor, "batch dim"]
) -> Float64[Tensor, "batch dim"]:
    """`(I - J)^-1` times each defect; not finite where a matrix is singular."""
    factors = exact.jacobian_factors(states)
    if factors is not None and factors[0].shape[2] < exact.dim:
        a, b = factors
        right = (b @ defects[:, :, None])[:, :, 0]
        return defects + (a @ _solve(b @ a, right)[:, :, None])[:, :, 0]
    if exact.dim > _DENSE:
        return solve_fixed_point_step(exact.linearized(states), defects, _KRYLOV)
    return _solve(exact.jacobian(states), defects)


def _solve(matrices: Float64[Tensor, "batch n n"], right: Float64[Tensor, "batch n"]) -> Float64[Tensor, "batch n"]:
    """`(I - M)^-1` times each right hand side."""
    size = matrices.shape[1]
    differences = torch.eye(size, dtype=right.dtype, device=right.device) - matrices
    together = len(right) if size <= _BATCHED else 1
    parts = []
    for some, sides in zip(differences.split(together), right.split(together), strict=True):
        solutions, failed = torch.linalg.solve_ex(some, sides[:, :, None])
        parts.append(torch.where((failed == 0)[:, None], solutions[:, :, 0], torch.nan))
    return torch.cat(parts)

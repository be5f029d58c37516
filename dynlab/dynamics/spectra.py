"""Multipliers: the eigenvalues of the Jacobian, in float64.

With factors `J = A B` through a layer of `rank` units, the nonzero multipliers are those of the `rank x rank` matrix
`B A`. Whichever of the two matrices is smaller is taken; the multipliers it lacks are zeros.

Source: Golub and Van Loan, Matrix Computations, section 7; Horn and Johnson, Matrix Analysis, theorem 1.3.22.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex128, Float, Float64
from torch import Tensor

from dynlab.maps import Map, check_states, float64_copy

# Below this size all eigenvalues cost no more than the leading few.
_DENSE_BELOW = 200


def multipliers(
    system: Map, states: Float[Tensor, "batch dim"], *, leading: int | None = None
) -> Complex128[Tensor, "batch count"]:
    """Eigenvalues of the Jacobian of `system` at each state, by falling modulus.

    Args:
        system: The map to linearize; its own `jacobian_factors` are used if it has them.
        states: Where to linearize, shape (batch, dim). Computed in float64 whatever their dtype.
        leading: How many to return, at least 1; all `dim` if not given.

    Returns:
        Shape (batch, count), dimensionless. Conjugate pairs may be cut in two by `leading`.

    Raises:
        ValueError: If `states` has another dim than `system` or is not finite, or `leading` is out of range.
    """
    check_states(system, states)
    count = system.dim if leading is None else leading
    if not 1 <= count <= system.dim:
        raise ValueError(f"leading is {leading}, expected 1 to {system.dim}")
    exact = float64_copy(system)
    rows = [
        _padded(_eigenpairs(_small_matrix(exact, state)[0].cpu().numpy(), count)[0], count) for state in states.double()
    ]
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, count, dtype=torch.complex128)


def spectral_radius(system: Map, states: Float[Tensor, "batch dim"]) -> Float64[Tensor, " batch"]:
    """Largest modulus among the eigenvalues of the Jacobian of `system` at each state.

    Below 1 at a fixed point, the fixed point attracts, and orbits approach it like `spectral_radius ** step`.

    Args:
        system: The map to linearize; its own `jacobian_factors` are used if it has them.
        states: Where to linearize, shape (batch, dim). Computed in float64 whatever their dtype.

    Returns:
        Shape (batch,), dimensionless, float64.

    Raises:
        ValueError: If `states` has another dim than `system`, or is not finite.
    """
    return multipliers(system, states, leading=1)[:, 0].abs()


@dataclass(frozen=True)
class Eigenpairs:
    """The leading multipliers at one state, by falling modulus, each with a direction of length 1."""

    multipliers: Complex128[Tensor, " count"]
    directions: Complex128[Tensor, "dim count"]  # right eigenvectors of the Jacobian; zero for a zero multiplier


def leading_eigenpairs(exact: Map, state: Float64[Tensor, " dim"], count: int) -> Eigenpairs:
    """Leading eigenvalues and right eigenvectors of the Jacobian at one state.

    Args:
        exact: The map in float64 (`dynlab.maps.float64_copy`).
        state: Where to linearize, shape (dim,).
        count: How many, from 1 to dim.

    Returns:
        The pairs, on the CPU.
    """
    small, lift = _small_matrix(exact, state)
    values, vectors = _eigenpairs(small.cpu().numpy(), count)
    # B A w = lambda w  =>  J (A w) = A B (A w) = lambda (A w)
    directions = (
        torch.from_numpy(vectors) if lift is None else lift.cpu().to(torch.complex128) @ torch.from_numpy(vectors)
    )
    lengths = torch.linalg.vector_norm(directions, dim=0)
    known = torch.zeros(exact.dim, count, dtype=torch.complex128)
    known[:, : directions.shape[1]] = directions / lengths.clamp(min=torch.finfo(torch.float64).tiny)
    return Eigenpairs(torch.from_numpy(_padded(values, count)), known)


def _small_matrix(
    exact: Map, state: Float64[Tensor, " dim"]
) -> tuple[Float64[Tensor, "size size"], Float64[Tensor, "dim size"] | None]:
    """A matrix with the nonzero multipliers at one state, and what takes its eigenvectors to those of the Jacobian."""
    factors = exact.jacobian_factors(state[None])
    if factors is None:
        return exact.jacobian(state[None])[0], None
    a, b = factors[0][0], factors[1][0]
    a, b = a.detach(), b.detach()
    return (b @ a, a) if a.shape[1] < a.shape[0] else (a @ b, None)


def _eigenpairs(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` leading eigenvalues and their eigenvectors."""
    size = matrix.shape[0]
    pairs: tuple[np.ndarray, np.ndarray] | None = None
    if size >= _DENSE_BELOW and count <= size // 10:
        pairs = _leading_by_arnoldi(matrix, count)
    if pairs is None:
        pairs = np.linalg.eig(matrix)
    values, vectors = (part.astype(np.complex128) for part in pairs)
    # Ties in modulus, as between a conjugate pair, are ordered by the imaginary part, so that results repeat.
    order = np.lexsort((-values.imag, -np.round(np.abs(values), 12)))[:count]
    return values[order], vectors[:, order]


def _padded(values: np.ndarray, count: int) -> np.ndarray:
    """The multipliers that the smaller matrix lacks are zeros."""
    return np.concatenate([values, np.zeros(count - len(values), dtype=np.complex128)])


def _leading_by_arnoldi(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Leading eigenpairs by implicitly restarted Arnoldi iteration, or None where it does not converge."""
    from scipy.sparse.linalg import ArpackError, eigs

    # One more than asked for, so that the last one wanted is not half of a conjugate pair cut off.
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    try:
        values, vectors, *_ = eigs(matrix, k=count + 1, which="LM", v0=start)  # to machine precision
    except ArpackError:
        return None
    return np.asarray(values), np.asarray(vectors)

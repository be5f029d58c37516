"""Multipliers: the eigenvalues of the Jacobian, in float64.

With factors `J = A B` through a layer of `rank` units, the nonzero multipliers are those of the `rank x rank` matrix
`B A`. Whichever of the two matrices is smaller is taken; the multipliers it lacks are zeros.

Source: Golub and Van Loan, Matrix Computations, section 7; Horn and Johnson, Matrix Analysis, theorem 1.3.22.
"""

from __future__ import annotations

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
    rows = [_eigenvalues(nonzero_multiplier_matrix(exact, state), count) for state in states.double()]
    return torch.stack(rows) if rows else torch.zeros(0, count, dtype=torch.complex128)


def spectral_radius(system: Map, states: Float[Tensor, "batch dim"]) -> Float64[Tensor, "batch"]:
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


def nonzero_multiplier_matrix(exact: Map, state: Float64[Tensor, "dim"]) -> Float64[Tensor, "size size"]:
    """A matrix with the nonzero multipliers at one state: `B A` where that is smaller than the Jacobian itself."""
    factors = exact.jacobian_factors(state[None])
    if factors is None:
        return exact.jacobian(state[None])[0]
    a, b = factors[0][0], factors[1][0]
    return b @ a if a.shape[1] < a.shape[0] else a @ b


def _eigenvalues(matrix: Float64[Tensor, "size size"], count: int) -> Complex128[Tensor, "count"]:
    size = matrix.shape[0]
    values: np.ndarray | None = None
    if size >= _DENSE_BELOW and count <= size // 10:
        values = _leading_by_arnoldi(matrix.cpu().numpy(), count)
    if values is None:
        values = torch.linalg.eigvals(matrix).cpu().numpy()
    # Ties in modulus, as between a conjugate pair, are ordered by the imaginary part, so that results repeat.
    order = np.lexsort((-values.imag, -np.round(np.abs(values), 12)))
    padded = np.zeros(max(count, len(values)), dtype=np.complex128)
    padded[: len(values)] = values[order]
    return torch.from_numpy(padded[:count].copy())


def _leading_by_arnoldi(matrix: np.ndarray, count: int) -> np.ndarray | None:
    """Leading eigenvalues by implicitly restarted Arnoldi iteration, or None where it does not converge."""
    from scipy.sparse.linalg import ArpackError, eigs

    # One more than asked for, so that the last one wanted is not half of a conjugate pair cut off.
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    try:
        return eigs(matrix, k=count + 1, which="LM", v0=start, return_eigenvectors=False, tol=1e-12)
    except ArpackError:
        return None

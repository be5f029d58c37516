"""Is a map a gradient field, and of what: the question behind equations 6 and 7 of the report.

The field `F(x) - x` is the gradient of a function if and only if the Jacobian of `F` is symmetric everywhere. How far
it is from that is the share of its antisymmetric part, `||J - J'||_F / (2 ||J||_F)`. It is the same in all orthonormal
coordinates, 0 for a symmetric and 1 for an antisymmetric Jacobian, 0.71 for one of independent random entries; its
square and that of the symmetric part's share add up to 1. The identity is left out: `J - I` has the same antisymmetric
part, and a norm of at least `sqrt(dim - rank)`, which would hide it.

For the best denoiser of any density `p` under Gaussian corruption, `(F(x) - x) / sigma^2` is exactly the score
`grad log p_sigma(x)` of the density after corruption, at every sigma. docs/score.md says what that makes of equations 5
to 7, and for which maps.

Source: Efron, Tweedie's formula and selection bias, Journal of the American Statistical Association 106, 2011; Alain
and Bengio, What regularized auto-encoders learn from the data-generating distribution, JMLR 15, 2014.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from dynlab.dynamics.blocks import in_float64
from dynlab.errors import check_positive
from dynlab.maps import Map, flat_states

_BLOCK_NUMBERS = 2**22  # entries of the Jacobians that are held at once, 32 MiB


def score(system: Map, states: Float[Tensor, " batch *state"], sigma: float) -> Float64[Tensor, "batch dim"]:
    """`(F(x) - x) / sigma^2`: what `system` takes the score of the corrupted data to be.

    It is the score of the density after corruption if `system` is the best denoiser for this corruption, not if it is
    another map.

    Args:
        system: The map.
        states: Shape (batch, dim) or `(batch, *state_shape)`. Computed in
            float64 whatever their dtype.
        sigma: Corruption level, standard deviation of the noise in units of the state, above 0 and finite.

    Returns:
        Shape (batch, dim), per unit of the state, float64, where `system` computes.

    Raises:
        ValueError: If `states` has another dim than `system` or is not finite, or `sigma` is out of its range.
    """
    states = flat_states(system, states)
    check_positive("sigma", sigma)
    exact, rows = in_float64(system, states)
    with torch.no_grad():
        return (exact(rows) - rows) / sigma / sigma


def antisymmetric_share(system: Map, states: Float[Tensor, " batch *state"]) -> Float64[Tensor, " batch"]:
    """How much of the Jacobian at each state is antisymmetric, `||J - J'||_F / (2 ||J||_F)`.

    From 0, where `F(x) - x` may be a gradient, to 1. With factors `J = A B` of rank below half the dimension only
    matrices of twice the rank are formed: within the span of the columns of `A` and the rows of `B`.

    Args:
        system: The map to linearize; its own `jacobian_factors` are used if it has them.
        states: Where to linearize, shape (batch, dim) or `(batch, *state_shape)`. Computed in
            float64 whatever their dtype.

    Returns:
        Shape (batch,), dimensionless, float64, where `system` computes; 0 where the Jacobian is zero.

    Raises:
        ValueError: If `states` has another dim than `system` or is not finite.
    """
    states = flat_states(system, states)
    exact, rows = in_float64(system, states)
    block = max(1, _BLOCK_NUMBERS // exact.dim**2)
    shares = []
    for chosen in torch.arange(len(rows), device=rows.device).split(block):
        matrices = _compressed(exact.for_samples(chosen), rows[chosen])
        norms = torch.linalg.matrix_norm(matrices)
        parts = torch.linalg.matrix_norm(matrices - matrices.mT) / 2
        shares.append(torch.where(norms > 0, parts / norms, 0.0))
    return torch.cat(shares) if shares else rows.new_zeros(0)


def _compressed(exact: Map, states: Float64[Tensor, "batch dim"]) -> Float64[Tensor, "batch size size"]:
    """Jacobians, or where factors are narrow their restrictions to the only subspace in which they are not zero."""
    with torch.no_grad():
        factors = exact.jacobian_factors(states)
        if factors is None:
            return exact.jacobian(states)
        a, b = factors
        if 2 * a.shape[2] >= exact.dim:
            return a @ b
        span = torch.linalg.qr(torch.cat([a, b.mT.expand(len(a), -1, -1)], dim=2)).Q
        return (span.mT @ a) @ (b @ span)

"""Krylov spaces of many Jacobians at once: linear systems by GMRES, leading eigenvalues by Ritz values.

For each row `b` there is a matrix `J_b`, known by its products with vectors. An orthonormal basis of the span of
`r, J r, J^2 r, ...` is grown for all rows together, so that the products are as wide as there are rows; with
`J V_m = V_{m+1} H` both problems become small ones. The dimension is fixed and small: the caller corrects what is left,
as Newton's method does, or takes the answer for the estimate that it is.

Source: Saad, Iterative Methods for Sparse Linear Systems, 2nd edition, sections 6.3 and 6.5; Saad, Numerical Methods
for Large Eigenvalue Problems, 2nd edition, section 6.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Complex128, Float, Float64
from torch import Tensor

Product = Callable[[Tensor], Tensor]

_QUICK = 32  # products up to which single precision needs no second orthogonalization
_ANGLES = 32  # on the upper half of the unit circle, besides those of Ritz values, where a polynomial is looked at


@dataclass(frozen=True)
class Ritz:
    """Estimates of the leading eigenvalues of each matrix, by falling modulus, with directions of length 1."""

    values: Complex[Tensor, "batch count"]
    directions: Complex[Tensor, "batch dim count"]
    residuals: Float[Tensor, "batch count"]  # ||J v - lambda v||_2
    # Of the start, scaled to length 1: how much of it may at most point along the left eigenvector, of length 1, of an
    # eigenvalue on or outside the unit circle. If this is little, there is none, unless the start was unlucky.
    overlooked: Float64[Tensor, " batch"]


def solve_fixed_point_step(
    product: Product, right: Float[Tensor, "batch dim"], dimension: int
) -> Float[Tensor, "batch dim"]:
    """Solve `(I - J) step = right` for each row by GMRES.

    Args:
        product: Takes tangents, shape (batch, dim), to their images under the matrices.
        right: Right hand sides, in the dtype that shall compute.
        dimension: Products to take, at least 1; the residual is the smallest that they allow.

    Returns:
        The steps.
    """
    basis, small = _arnoldi(product, right, dimension)
    taken = small.shape[2]
    # The Krylov spaces of J and of I - J are the same, and so are their bases.
    shifted = torch.eye(taken + 1, taken, dtype=small.dtype) - small
    target = torch.zeros(len(right), taken + 1, 1, dtype=small.dtype)
    sizes = torch.linalg.vector_norm(right, dim=1).to(small)
    target[:, 0, 0] = torch.where(torch.isfinite(sizes), sizes, 0)
    # Rank-deficient where the space is smaller than its dimension. Not "gelsy", a quicker driver: up to torch 2.13 its
    # pivots begin with whatever the memory holds, so that bits change from call to call, and ranks may be wrong
    # (pytorch issue 187411).
    coefficients = torch.linalg.lstsq(shifted, target, driver="gelsd").solution
    return (coefficients.mT.to(right) @ basis[:, :taken])[:, 0]


def leading_ritz(product: Product, start: Float[Tensor, "batch dim"], dimension: int, count: int) -> Ritz:
    """Estimate the `count` leading eigenvalues of each matrix, and their directions, from `dimension` products."""
    basis, small = _arnoldi(product, start, dimension)
    taken = small.shape[2]
    values, vectors = torch.linalg.eig(small[:, :taken])
    order = values.abs().argsort(dim=1, descending=True, stable=True)[:, :count]
    vectors = vectors.gather(2, order[:, None, :].expand(-1, taken, -1))
    # J V y - theta V y is the last vector times the last entries of H and y.
    residuals = (small[:, taken, taken - 1, None] * vectors[:, -1]).abs()
    dtype = torch.promote_types(start.dtype, torch.complex64)
    lifted = basis[:, :taken].mT.to(dtype) @ vectors.to(basis.device, dtype)
    lengths = torch.linalg.vector_norm(lifted, dim=1, keepdim=True)
    lifted = lifted / lengths.clamp(min=torch.finfo(start.dtype).tiny)
    return Ritz(values.gather(1, order), lifted, residuals, _overlooked(small, values))


def _overlooked(
    small: Float64[Tensor, "batch length taken"], values: Complex128[Tensor, "batch taken"]
) -> Float64[Tensor, " batch"]:
    """Bounds of what a start of length 1 has of eigenvalues on or outside the unit circle.

    With the characteristic polynomial `p` of H, `||p(J) r||` is the product of the entries below the diagonal, and no
    less than `|p(lambda)|` times the part of `r` along the left eigenvector of `lambda`. Outside the circle `|p|` is
    nowhere smaller than on it, as long as all its roots, the Ritz values, are inside; it is the smallest next to them.
    """
    reached = small.diagonal(offset=-1, dim1=1, dim2=2).log().sum(dim=1)
    evenly = torch.linspace(0, torch.pi, _ANGLES, dtype=small.dtype).expand(len(small), -1)
    angles = torch.cat([values.angle(), evenly], dim=1)
    circle = torch.polar(torch.ones_like(angles), angles)
    sizes = (circle[:, :, None] - values[:, None]).abs().log().sum(dim=2)
    bounds = (reached[:, None] - sizes).amax(dim=1).exp()
    return torch.where((values.abs() < 1).all(dim=1), bounds, torch.inf)


@torch.no_grad()
def _arnoldi(
    product: Product, start: Float[Tensor, "batch dim"], dimension: int
) -> tuple[Float[Tensor, "batch length dim"], Float[Tensor, "batch length taken"]]:
    """Bases, and `H` on the CPU in float64. A vector that vanishes is zero from there on, and so is its part of `H`."""
    batch, dim = start.shape
    dimension = min(dimension, dim)
    basis = start.new_zeros(batch, dimension + 1, dim)
    small = start.new_zeros(batch, dimension + 1, dimension)
    scale = torch.finfo(start.dtype)
    # The second time takes off what rounding left. Quick estimates, which single precision is for, can do without.
    passes = 2 if start.dtype == torch.float64 or dimension > _QUICK else 1
    basis[:, 0] = start / torch.linalg.vector_norm(start, dim=1, keepdim=True).clamp(min=scale.tiny)
    for index in range(dimension):
        image = product(basis[:, index])
        known, size = basis[:, : index + 1], torch.linalg.vector_norm(image, dim=1)
        for _ in range(passes):
            # Batched products with a single column are an order of magnitude slower than these forms of them.
            parts = torch.linalg.vecdot(known, image[:, None])
            image = image - (parts[:, None] @ known)[:, 0]
            small[:, : index + 1, index] += parts
        rest = torch.linalg.vector_norm(image, dim=1)
        rest = torch.where(rest > 10 * scale.eps * size, rest, 0)
        small[:, index + 1, index] = rest
        basis[:, index + 1] = torch.where(rest > 0, 1 / rest, 0)[:, None] * image
    # As NaN would stop the small problems of all rows, a row that is not finite is a zero matrix.
    small = torch.where(torch.isfinite(small).all(dim=(1, 2), keepdim=True), small, 0)
    return basis, small.double().cpu()

"""Leading eigenvalues of many matrices at once, from their products with vectors: band Arnoldi.

Every matrix `J` grows an orthonormal basis `v_0, v_1, ...` of its own from two random starts: `J v_j`, orthogonalized
against all that is there, is the next vector, and the coefficients are column `j` of `H`. The eigenvalues of `H`
approach the leading ones of `J`, and for an eigenvector `y` of `H` the residual of `V y` is the part of `H y` that
falls on vectors without a product yet. Matrices take their steps together, so that the products are those of all
states, and leave when they are done. Nothing is restarted: bases grow, from a length that usually suffices.

From a single start one copy of a multiple eigenvalue is visible at most, from two starts two. A matrix that shows two
copies may have more, and is given up unless that makes no difference. Where the next vector vanishes, since the basis
spans an invariant subspace, a random one takes its place, and the rest of the spectrum follows.

Source: Saad, Numerical Methods for Large Eigenvalue Problems, 2nd edition, sections 6.2 and 6.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.dynamics.dense import Eigenpairs, by_falling_modulus, eigenpairs_of_matrices

# Takes vectors, one for each of some matrices, to their images.
Product = Callable[[Tensor], Tensor]

_STARTS = 2
_GROWTH = 1.25
_TOLERANCE = 1e-12  # of a residual, relative to the longest image of a basis vector, which is at most ||J||_2
_ACCEPTED = 1e-11  # the same, of the residual that products with the eigenvector itself show in the end
_VANISHED = 1e-13  # length of a new vector, relative to the same
_COPY = 1e-6  # distance of two copies of an eigenvalue, relative to the largest: badly conditioned ones differ
_CPU_BLOCK_BYTES = 3 * 2**22
_GPU_BLOCK_BYTES = 2**31


@dataclass(frozen=True)
class _Bases:
    """The bases of some matrices, all of the same length, and what the matrices do to them."""

    rows: np.ndarray  # which matrices of the batch
    vectors: Float64[Tensor, "rows length dim"]
    coefficients: Float64[Tensor, "rows length products"]  # H; its last rows are of vectors without a product yet
    scale: Float64[Tensor, " rows"]  # length of the longest image of a vector


def first_length(count: int) -> int:
    """Products after which `count` eigenvalues are first looked for; trained autoencoders seldom need more."""
    return 50 + 2 * count


def arnoldi(
    product_of: Callable[[np.ndarray], Product], like: Float64[Tensor, "batch dim"], count: int, longest: int
) -> tuple[Eigenpairs, np.ndarray]:
    """The `count` leading eigenpairs of each matrix of a batch.

    Args:
        product_of: Gives the product for the matrices whose rows in the batch it is called with; that takes one
            vector for each, shape (rows, dim).
        like: A tensor with as many rows as there are matrices, as long as their vectors and on their device.
        count: How many, from 1; may cut a conjugate pair in two.
        longest: Products after which a matrix is given up, from `count` to `dim - 2`.

    Returns:
        The pairs, and whether each row is good, shape (batch,): others were given up, and hold zeros.
    """
    batch, dim = like.shape
    values = np.zeros((batch, count), dtype=np.complex128)
    directions = torch.zeros(batch, count, dim, dtype=torch.complex128)
    residuals = torch.zeros(batch, count, dtype=torch.float64)
    is_good = np.zeros(batch, dtype=bool)
    first = min(first_length(count), longest)
    limit = _CPU_BLOCK_BYTES if like.device.type == "cpu" else _GPU_BLOCK_BYTES
    block_rows = max(1, limit // (8 * dim * (first + _STARTS)))
    for start in range(0, batch, block_rows):
        rows = np.arange(start, min(start + block_rows, batch))
        bases, length = _start(rows, like), first
        while len(bases.rows):
            bases = _extended(bases, product_of(bases.rows), length)
            found, coordinates, is_done = _ritz_pairs(bases, count)
            done, finished = np.flatnonzero(is_done), bases.rows[is_done]
            if len(done):
                vectors = _lifted(bases, done, coordinates[done])
                values[finished], directions[finished] = found[done], vectors.cpu()
                lengths = _residuals(product_of(finished), found[done], vectors).cpu()
                bound = _ACCEPTED * bases.scale.cpu()[torch.from_numpy(done)]
                residuals[finished] = lengths
                is_good[finished] = (lengths <= bound[:, None]).all(dim=1).numpy() & ~_may_hide_copies(found[done])
            if length == longest:
                break
            bases, length = _kept(bases, ~is_done), min(int(_GROWTH * length), longest)
    return Eigenpairs(torch.from_numpy(values), directions.mT, residuals), is_good


def _start(rows: np.ndarray, like: Float64[Tensor, "batch dim"]) -> _Bases:
    starts = torch.linalg.qr(_random(like.shape[1], _STARTS)).Q.T.to(like)
    return _Bases(
        rows,
        starts.expand(len(rows), -1, -1),
        like.new_zeros(len(rows), _STARTS, 0),
        like.new_zeros(len(rows)),
    )


def _kept(bases: _Bases, mask: np.ndarray) -> _Bases:
    kept = torch.from_numpy(mask).to(bases.scale.device)
    return _Bases(bases.rows[mask], bases.vectors[kept], bases.coefficients[kept], bases.scale[kept])


def _extended(bases: _Bases, product: Product, length: int) -> _Bases:
    """Take products until there are `length` of them."""
    rows, known, dim = bases.vectors.shape
    taken = known - _STARTS
    vectors = bases.vectors.new_empty(rows, length + _STARTS, dim)
    vectors[:, :known] = bases.vectors
    coefficients = bases.vectors.new_zeros(rows, length + _STARTS, length)
    coefficients[:, :known, :taken] = bases.coefficients
    scale = bases.scale
    for step in range(taken, length):
        last = step + _STARTS
        images = product(vectors[:, step])
        scale = torch.maximum(scale, torch.linalg.vector_norm(images, dim=1))
        rest, coefficients[:, :last, step] = _orthogonalized(images, vectors[:, :last])
        lengths = torch.linalg.vector_norm(rest, dim=1)
        vanished = lengths <= _VANISHED * scale
        if vanished.any():
            fresh, _ = _orthogonalized(_random(dim, rows, seed=last).T.to(rest), vectors[:, :last])
            rest = torch.where(vanished[:, None], fresh, rest)
        vectors[:, last] = rest / torch.linalg.vector_norm(rest, dim=1, keepdim=True)
        coefficients[:, last, step] = torch.where(vanished, 0.0, lengths)
    return _Bases(bases.rows, vectors, coefficients, scale)


def _orthogonalized(
    vectors: Float64[Tensor, "rows dim"], basis: Float64[Tensor, "rows known dim"]
) -> tuple[Float64[Tensor, "rows dim"], Float64[Tensor, "rows known"]]:
    """The part of each vector orthogonal to its basis, and the coefficients of the other part."""
    rest, coefficients = vectors[:, None, :], basis.new_zeros(len(basis), 1, basis.shape[1])
    for _ in range(2):  # the second time takes off what rounding left
        parts = (basis @ rest.mT).mT
        rest = torch.baddbmm(rest, parts, basis, alpha=-1)
        coefficients = coefficients + parts
    return rest[:, 0], coefficients[:, 0]


def _ritz_pairs(bases: _Bases, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leading eigenvalues of `H` and its eigenvectors, and whether all of a row have small residuals."""
    coefficients = bases.coefficients.cpu().numpy()
    products = coefficients.shape[2]
    values, vectors = eigenpairs_of_matrices(coefficients[:, :products])
    order = by_falling_modulus(values)[:, :count]
    values = np.take_along_axis(values, order, axis=1)
    vectors = np.take_along_axis(vectors, order[:, None, :], axis=2)
    residuals = np.linalg.norm(coefficients[:, products:] @ vectors, axis=1)
    return values, vectors, (residuals <= _TOLERANCE * bases.scale.cpu().numpy()[:, None]).all(axis=1)


def _may_hide_copies(values: np.ndarray) -> np.ndarray:
    """Whether an eigenvalue shows twice in a row, so that further copies may belong before the last of the row."""
    moduli = np.abs(values)
    margin = _COPY * moduli[:, :1]
    is_copy = np.tril(np.abs(values[:, :, None] - values[:, None, :]) <= margin[:, :, None], -1).any(axis=2)
    return np.any(is_copy & (moduli > moduli[:, -1:] + margin), axis=1, keepdims=True)[:, 0]


def _lifted(bases: _Bases, done: np.ndarray, coordinates: np.ndarray) -> Tensor:
    """Eigenvectors of length 1, shape (rows, count, dim), from those of `H`."""
    device = bases.vectors.device
    basis = bases.vectors[torch.from_numpy(done).to(device), : coordinates.shape[1]]
    along = torch.from_numpy(np.ascontiguousarray(coordinates.swapaxes(1, 2))).to(device)
    vectors = torch.complex(along.real @ basis, along.imag @ basis)
    return vectors / torch.linalg.vector_norm(vectors, dim=2, keepdim=True)


def _residuals(product: Product, values: np.ndarray, vectors: Tensor) -> Tensor:
    """`||J v - lambda v||_2` of each pair, by products with the vectors themselves."""
    eigenvalues = torch.from_numpy(values).to(vectors.device)
    # A conjugate pair needs two real products, not four: the second of the two takes that with the imaginary part.
    is_second = (eigenvalues.imag < 0)[:, :, None]
    real, imaginary = vectors.real, vectors.imag
    parts = torch.where(is_second, imaginary.roll(1, dims=1), real)
    images = [product(part.contiguous()) for part in parts.unbind(1)]
    is_cut = bool((eigenvalues[:, -1].imag > 0).any())
    images.append(product(imaginary[:, -1].contiguous()) if is_cut else torch.zeros_like(images[0]))
    real_images, imaginary_images = torch.stack(images[:-1], dim=1), torch.stack(images[1:], dim=1)
    is_first = (eigenvalues.imag > 0)[:, :, None]
    defects = (
        torch.complex(real_images, torch.where(is_first, imaginary_images, 0.0)) - eigenvalues[:, :, None] * vectors
    )
    lengths = torch.linalg.vector_norm(defects, dim=2)
    return torch.where(is_second[:, :, 0], lengths.roll(1, dims=1), lengths)


def _random(dim: int, columns: int, *, seed: int = 0) -> Float64[Tensor, "dim columns"]:
    """Normal random numbers, drawn on the CPU so that all devices see the same."""
    return torch.randn(dim, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

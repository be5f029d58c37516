"""Leading eigenvalues of many matrices at once, from their products with vectors: block Arnoldi.

Every matrix `J` grows an orthonormal basis of its own from two random vectors: the products with the last two,
orthogonalized against all that is there, are the next two, and the coefficients are columns of `H`. The eigenvalues of
`H` approach the leading ones of `J`, and for an eigenvector `y` of `H` the residual of `V y` is the part of `H y` that
falls on the two vectors without a product yet. Matrices take their steps together, so that the products are those of
all states, and leave when they are done. Nothing is restarted: bases grow, from a length that usually suffices.

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

# Takes vectors, two for each of some matrices, shape (rows, 2, dim), to their images.
Product = Callable[[Tensor], Tensor]

_STARTS = 2
_GROWTH = 1.25
_TOLERANCE = 1e-11  # of a residual, relative to the longest image of a basis vector, which is at most ||J||_2
_VANISHED = 1e-13  # length of a new vector, relative to the same
_COPY = 1e-6  # distance of two copies of an eigenvalue, relative to the largest: badly conditioned ones differ
_CPU_BLOCK_BYTES = 3 * 2**23
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
    return 48 + 2 * count


def arnoldi(
    product_of: Callable[[np.ndarray], Product], like: Float64[Tensor, "batch dim"], count: int, longest: int
) -> tuple[Eigenpairs, np.ndarray]:
    """The `count` leading eigenpairs of each matrix of a batch.

    Args:
        product_of: Gives the product for the matrices whose rows in the batch it is called with; that takes two
            vectors for each, shape (rows, 2, dim).
        like: A tensor with as many rows as there are matrices, as long as their vectors and on their device.
        count: How many, from 1; may cut a conjugate pair in two.
        longest: Products after which a matrix is given up, from `count` to `dim - 2`.

    Returns:
        The pairs, and whether each row is good, shape (batch,): others were given up, and hold zeros.
    """
    batch, dim = like.shape
    values = np.zeros((batch, count), dtype=np.complex128)
    directions = np.zeros((batch, count, dim), dtype=np.complex128)
    residuals = np.zeros((batch, count))
    is_good = np.zeros(batch, dtype=bool)
    longest -= longest % _STARTS
    first = min(first_length(count), longest)
    limit = _CPU_BLOCK_BYTES if like.device.type == "cpu" else _GPU_BLOCK_BYTES
    block_rows = max(1, limit // (8 * dim * (first + _STARTS)))
    for start in range(0, batch, block_rows):
        rows = np.arange(start, min(start + block_rows, batch))
        bases, length = _start(rows, like), first
        while len(bases.rows):
            bases = _extended(bases, product_of(bases.rows), length)
            found, coordinates, defects = _ritz_pairs(bases, count)
            is_done = (defects <= _TOLERANCE * bases.scale.cpu().numpy()[:, None]).all(axis=1)
            finished = bases.rows[is_done]
            values[finished], residuals[finished] = found[is_done], defects[is_done]
            directions[finished] = _lifted(bases, coordinates).cpu().numpy()[is_done]
            is_good[finished] = ~_may_hide_copies(found[is_done])
            if length == longest:
                break
            bases = _kept(bases, np.flatnonzero(~is_done))
            length = min(_STARTS * int(_GROWTH * length / _STARTS), longest)
    pairs = Eigenpairs(torch.from_numpy(values), torch.from_numpy(directions).mT, torch.from_numpy(residuals))
    return pairs, is_good


def _start(rows: np.ndarray, like: Float64[Tensor, "batch dim"]) -> _Bases:
    starts = torch.linalg.qr(_random(like.shape[1], _STARTS)).Q.T.to(like)
    return _Bases(
        rows,
        starts.expand(len(rows), -1, -1),
        like.new_zeros(len(rows), _STARTS, 0),
        like.new_zeros(len(rows)),
    )


def _kept(bases: _Bases, places: np.ndarray) -> _Bases:
    kept = torch.from_numpy(places).to(bases.scale.device)
    return _Bases(bases.rows[places], bases.vectors[kept], bases.coefficients[kept], bases.scale[kept])


def _extended(bases: _Bases, product: Product, length: int) -> _Bases:
    """Take products until there are `length` of them."""
    rows, known, dim = bases.vectors.shape
    taken = known - _STARTS
    vectors = bases.vectors.new_empty(rows, length + _STARTS, dim)
    vectors[:, :known] = bases.vectors
    coefficients = bases.vectors.new_zeros(rows, length + _STARTS, length)
    coefficients[:, :known, :taken] = bases.coefficients
    scale = bases.scale
    for step in range(taken, length, _STARTS):
        last, end = step + _STARTS, step + 2 * _STARTS
        images = product(vectors[:, step:last])
        scale = torch.maximum(scale, torch.linalg.vector_norm(images, dim=2).amax(dim=1))
        along, within, rest = _orthonormalized(images, vectors[:, :last], _VANISHED * scale)
        # The second time takes off what rounding left, and off random vectors what the first time had not seen.
        more_along, more_within, vectors[:, last:end] = _orthonormalized(
            rest, vectors[:, :last], torch.zeros_like(scale)
        )
        coefficients[:, :last, step:last] = (along + within @ more_along).mT
        coefficients[:, last:end, step:last] = (within @ more_within).mT
    return _Bases(bases.rows, vectors, coefficients, scale)


def _orthonormalized(
    block: Float64[Tensor, "rows starts dim"], basis: Float64[Tensor, "rows known dim"], floor: Float64[Tensor, " rows"]
) -> tuple[
    Float64[Tensor, "rows starts known"], Float64[Tensor, "rows starts starts"], Float64[Tensor, "rows starts dim"]
]:
    """`H`, `R` and orthonormal `Q` with `block = H basis + R Q`, up to what is no longer than `floor`."""
    along = block @ basis.mT
    rest = torch.baddbmm(block, along, basis, alpha=-1)
    within = block.new_zeros(len(block), _STARTS, _STARTS)
    units: list[Tensor] = []
    for index, vector in enumerate(rest.unbind(1)):
        for before, unit in enumerate(units):
            within[:, index, before] = (vector * unit).sum(dim=1)
            vector = vector - within[:, index, before, None] * unit
        lengths = torch.linalg.vector_norm(vector, dim=1)
        vanished = lengths <= floor
        if vanished.any():
            random = torch.nn.functional.normalize(_random(len(vector[0]), 1, seed=basis.shape[1] + index).T, dim=1)
            vector = torch.where(vanished[:, None], random.to(vector), vector)
            lengths = torch.where(vanished, 0.0, lengths)
        within[:, index, index] = lengths
        units.append(vector / torch.where(vanished, 1.0, lengths)[:, None])
    return along, within, torch.stack(units, dim=1)


def _ritz_pairs(bases: _Bases, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leading eigenvalues of `H`, its eigenvectors, and the residuals of the pairs that these make."""
    coefficients = bases.coefficients.cpu().numpy()
    products = coefficients.shape[2]
    values, vectors = eigenpairs_of_matrices(coefficients[:, :products])
    order = by_falling_modulus(values)[:, :count]
    values = np.take_along_axis(values, order, axis=1)
    vectors = np.take_along_axis(vectors, order[:, None, :], axis=2)
    # J V y = (all vectors) H y, and the vectors are orthonormal; what rounding does to `y` is seen as well.
    defects = coefficients @ vectors
    defects[:, :products] -= values[:, None, :] * vectors
    return values, vectors, np.linalg.norm(defects, axis=1)


def _may_hide_copies(values: np.ndarray) -> np.ndarray:
    """Whether an eigenvalue shows twice in a row, so that further copies may belong before the last of the row."""
    moduli = np.abs(values)
    margin = _COPY * moduli[:, :1]
    is_copy = np.tril(np.abs(values[:, :, None] - values[:, None, :]) <= margin[:, :, None], -1).any(axis=2)
    return np.asarray((is_copy & (moduli > moduli[:, -1:] + margin)).any(axis=1))


def _lifted(bases: _Bases, coordinates: np.ndarray) -> Tensor:
    """Eigenvectors, shape (rows, count, dim), from those of `H`; of length 1 like these."""
    basis = bases.vectors[:, : coordinates.shape[1]]
    along = torch.from_numpy(np.concatenate([np.real(coordinates), np.imag(coordinates)], axis=2)).to(basis.device)
    return torch.complex(*(along.mT @ basis).chunk(2, dim=1))


def _random(dim: int, columns: int, *, seed: int = 0) -> Float64[Tensor, "dim columns"]:
    """Normal random numbers, drawn on the CPU so that all devices see the same."""
    return torch.randn(dim, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

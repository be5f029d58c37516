"""All eigenvalues of Jacobians as matrices, by falling modulus, with eigenvectors.

With factors `J = A B` through fewer units than the state has, everything happens in the span of the rows of `B`: with
`B^T = Q R`, `Q` of orthonormal columns, `J = J Q Q^T`, and in the basis of `Q` and its complement

    J  =  [ S  0 ]      S = Q^T J Q,   C = (the complement)^T J Q,
          [ C  0 ]

so the eigenvalues of `J` are those of the small `S`, and zeros. Those of `B A` are the same in exact arithmetic, but
this transformation is orthogonal, so that also the smallest are exact to rounding relative to `||J||`. An eigenvector
`w` of `S` is one of `J` as `lambda Q w + (I - Q Q^T) J Q w`.

Source: Golub and Van Loan, Matrix Computations, sections 7.1 and 7.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Complex128, Float64
from torch import Tensor

from dynlab.dynamics.blocks import block_rows
from dynlab.maps import Map

_BLOCK_BYTES = 2**26  # of matrices that are held at once
_TIE = 1e-12  # of the largest: moduli that differ by no more count as equal
_THREADED_BELOW = 200  # larger matrices keep all cores busy one at a time


@dataclass(frozen=True)
class Eigenpairs:
    """Leading eigenvalues of each Jacobian by falling modulus, with eigenvectors of length 1; on the CPU."""

    multipliers: Complex128[Tensor, "*batch count"]
    directions: Complex128[Tensor, "*batch dim count"]  # right eigenvectors
    residuals: Float64[Tensor, "*batch count"]  # ||J v - lambda v||_2


@dataclass(frozen=True)
class Restriction:
    """Jacobians on the span `Q` of all they do not take to zero; `Q` is the identity where `frame` is None."""

    frame: Float64[Tensor, "#batch dim size"] | None  # Q
    images: Float64[Tensor, "batch dim size"]  # J Q

    @property
    def small(self) -> Float64[Tensor, "batch size size"]:
        """`S = Q^T J Q`, which has all eigenvalues but zeros."""
        return self.images if self.frame is None else self.frame.mT @ self.images

    @property
    def complement(self) -> Float64[Tensor, "batch dim size"]:
        """`(I - Q Q^T) J Q`, what leaves the span."""
        return torch.zeros_like(self.images) if self.frame is None else self.outside(self.images)

    def inside(self, vectors: Float64[Tensor, "batch dim count"]) -> Float64[Tensor, "batch size count"]:
        """Coordinates in the span."""
        return vectors if self.frame is None else self.frame.mT @ vectors

    def outside(self, vectors: Float64[Tensor, "#batch dim count"]) -> Float64[Tensor, "#batch dim count"]:
        """The part of vectors that is orthogonal to the span; must have a frame."""
        assert self.frame is not None
        for _ in range(2):  # the second time takes off what rounding left
            vectors = vectors - self.frame @ (self.frame.mT @ vectors)
        return vectors


def matrix_size(exact: Map, states: Float64[Tensor, "batch dim"]) -> int:
    """Rows of the matrices that `restrictions` leads to."""
    if not len(states):
        return exact.dim
    first = torch.zeros(1, dtype=torch.int64, device=states.device)
    factors = exact.for_samples(first).jacobian_factors(states[:1])
    return exact.dim if factors is None else min(exact.dim, factors[0].shape[2])


@torch.no_grad()
def restrictions(exact: Map, states: Float64[Tensor, "batch dim"]) -> Iterator[Restriction]:
    """The Jacobians at `states`, in order, as many at a time as fit into memory."""
    rows = max(1, _BLOCK_BYTES // (8 * exact.dim**2))
    for first in range(0, len(states), rows):
        chosen = torch.arange(first, min(first + rows, len(states)), device=states.device)
        block, system = states[chosen], exact.for_samples(chosen)
        factors = system.jacobian_factors(block)
        if factors is None or factors[0].shape[2] >= exact.dim:
            yield Restriction(None, system.jacobian(block).detach())
            continue
        a, b = factors[0].detach(), factors[1].detach()
        frame, triangle = torch.linalg.qr(b.mT)
        yield Restriction(frame, a @ triangle.mT)


def check_jacobians(exact: Map, states: Float64[Tensor, "batch dim"]) -> None:
    """Check that the Jacobian of a map is finite at each state.

    Raises:
        ValueError: If it is not; the message names the row of `states`.
    """
    is_finite = have_finite_jacobians(exact, states)
    if not is_finite.all():
        raise ValueError(f"the Jacobian of the map is not finite at row {int((~is_finite).nonzero()[0, 0])} of states")


def have_finite_jacobians(exact: Map, states: Float64[Tensor, "batch dim"]) -> Bool[Tensor, " batch"]:
    """Whether the Jacobian of a map is finite at each state, by its product with one random vector."""
    vector = torch.randn(exact.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(states)
    is_finite = torch.ones(len(states), dtype=torch.bool, device=states.device)
    for rows in torch.arange(len(states), device=states.device).split(block_rows(exact.dim, states)):
        images = exact.for_samples(rows).jvp(states[rows], vector.expand(len(rows), -1).contiguous())
        is_finite[rows] = torch.isfinite(images).all(dim=1)
    return is_finite


def dense_eigenpairs(exact: Map, states: Float64[Tensor, "batch dim"], count: int) -> Eigenpairs:
    """The `count` leading eigenpairs of each Jacobian, out of all of them.

    Args:
        exact: The map in float64.
        states: Where to linearize, shape (batch, dim).
        count: How many, from 1 to dim; may cut a conjugate pair in two.
    """
    parts = [_eigenpairs_of(restriction, count) for restriction in restrictions(exact, states)]
    if not parts:
        none = torch.zeros(0, count, dtype=torch.complex128)
        return Eigenpairs(none, none[:, None].expand(0, exact.dim, count), none.abs())
    return Eigenpairs(
        torch.cat([part.multipliers for part in parts]),
        torch.cat([part.directions for part in parts]),
        torch.cat([part.residuals for part in parts]),
    )


def _eigenpairs_of(restriction: Restriction, count: int) -> Eigenpairs:
    batch, dim, size = restriction.images.shape
    values, vectors = eigenpairs_of_matrices(restriction.small.cpu().numpy())
    everything = np.concatenate([values, np.zeros((batch, dim - size), dtype=np.complex128)], axis=1)
    order = by_falling_modulus(everything)[:, :count]
    values = np.take_along_axis(everything, order, axis=1)
    coordinates = np.take_along_axis(vectors, np.minimum(order, size - 1)[:, None, :], axis=2)
    device = restriction.images.device
    chosen, columns = torch.from_numpy(values).to(device), torch.from_numpy(coordinates).to(device)
    if restriction.frame is not None:
        columns = _lifted(restriction, chosen, columns, torch.from_numpy(order >= size).to(device))
    directions = columns / torch.linalg.vector_norm(columns, dim=1, keepdim=True)
    images = torch.complex(
        restriction.images @ restriction.inside(directions.real),
        restriction.images @ restriction.inside(directions.imag),
    )
    residuals = torch.linalg.vector_norm(images - chosen[:, None, :] * directions, dim=1)
    return Eigenpairs(chosen.cpu(), directions.cpu(), residuals.cpu())


def _lifted(restriction: Restriction, values: Tensor, coordinates: Tensor, is_padding: Tensor) -> Tensor:
    """Eigenvectors of the Jacobians, of any length, from those of the small matrices and for the zeros these lack."""
    assert restriction.frame is not None
    frame, complement = restriction.frame, restriction.complement
    within = torch.complex(frame @ coordinates.real, frame @ coordinates.imag)
    leaving = torch.complex(complement @ coordinates.real, complement @ coordinates.imag)
    leaving = torch.complex(restriction.outside(leaving.real), restriction.outside(leaving.imag))
    vectors = values[:, None, :] * within + leaving
    # Where both vanish, `Q w` itself is taken to zero.
    vectors = torch.where(torch.linalg.vector_norm(vectors, dim=1, keepdim=True) > 0, vectors, within)
    # One vector orthogonal to the span serves all zeros that are there for want of a larger matrix.
    generator = torch.Generator().manual_seed(0)
    arbitrary = torch.randn(frame.shape[1], 1, dtype=torch.float64, generator=generator)
    null = restriction.outside(arbitrary[None].to(frame)).to(torch.complex128)
    return torch.where(is_padding[:, None, :], null, vectors)


def eigenpairs_of_matrices(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (batch, size) and eigenvectors (batch, size, size) in complex128; small matrices in threads."""
    workers = torch.get_num_threads()
    if workers == 1 or len(matrices) < 2 or matrices.shape[-1] >= _THREADED_BELOW:
        values, vectors = np.linalg.eig(matrices)
    else:
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(np.linalg.eig, np.array_split(matrices, min(len(matrices), 4 * workers))))
        values, vectors = (np.concatenate(part) for part in zip(*parts, strict=True))
    return values.astype(np.complex128), vectors.astype(np.complex128)


def by_falling_modulus(values: np.ndarray) -> np.ndarray:
    """Order of the eigenvalues of real matrices as LAPACK gives them, row by row, by falling modulus.

    Moduli that agree to 1e-12 of the largest are equal. Among equals those with the larger imaginary part come first,
    then those with the larger real part. The two of a conjugate pair stay together, positive imaginary part first.
    """
    moduli = np.abs(values)
    falling = np.argsort(-moduli, axis=1, kind="stable")
    drops = -np.diff(np.take_along_axis(moduli, falling, axis=1), axis=1, prepend=np.nan)
    levels = np.cumsum(drops > _TIE * moduli.max(axis=1, keepdims=True, initial=0.0), axis=1)
    level = np.empty_like(levels)
    np.put_along_axis(level, falling, levels, axis=1)
    # Parts are compared to the same precision, on a grid, whatever rounding makes of symmetries of the spectrum.
    grid = _TIE * np.maximum(moduli.max(axis=1, keepdims=True, initial=0.0), np.finfo(np.float64).tiny)
    real, imaginary = np.round(np.real(values) / grid), np.round(np.abs(np.imag(values)) / grid)
    pair = np.arange(values.shape[1]) - (np.imag(values) < 0)  # LAPACK puts the two of a pair side by side
    return np.lexsort((-np.imag(values), pair, -real, -imaginary, level), axis=1)

"""Linear maps, given or drawn with multipliers and a departure from normality that are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex128, Float, Float64
from torch import Tensor
from torch.nn import Buffer

from dynlab.maps.layers import Layer
from dynlab.maps.map import Map


class Linear(Map):
    """`F(x) = A x + b`.

    Everything is known: one fixed point, unless 1 is an eigenvalue of A, and multipliers that are the eigenvalues of A.
    Its only basin, where all of those lie inside the unit circle, is the whole space.

    Args:
        matrix: `A`, shape (dim, dim).
        shift: `b`, shape (dim,); zero if not given.

    Raises:
        ValueError: If a shape is another.

    Source: Strogatz, Nonlinear Dynamics and Chaos, section 10.1; Oseledets 1968 for the exponents.
    """

    matrix: Tensor
    shift: Tensor

    def __init__(self, matrix: Float[Tensor, "rows columns"], shift: Float[Tensor, " length"] | None = None) -> None:
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"matrix has shape {tuple(matrix.shape)}, expected (dim, dim)")
        super().__init__(len(matrix))
        if shift is not None and shift.shape != (self.dim,):
            raise ValueError(f"shift has shape {tuple(shift.shape)}, expected ({self.dim},)")
        self.matrix = Buffer(matrix.detach().clone())
        self.shift = Buffer(torch.zeros_like(matrix[0]) if shift is None else shift.detach().clone())

    @staticmethod
    def random(multipliers: Sequence[float | complex], *, departure: float = 0.0, seed: int = 0) -> Linear:
        """A random map with given multipliers and a given departure from normality, and 0 as its fixed point.

        `A = Q (D + N) Q^T` with a random orthogonal Q, D block diagonal with the multipliers, N strictly upper
        triangular with random entries. `||N||_F` is Henrici's departure `sqrt(||A||_F^2 - sum |multiplier|^2)`.

        Args:
            multipliers: Real numbers, and pairs of complex ones, each followed by its conjugate. The gap between the
                two of largest modulus says how soon orbits follow the leading one alone.
            departure: At least 0; 0 makes A normal.
            seed: Of the random numbers; the same seed gives the same map.

        Raises:
            ValueError: If there are no multipliers, one lacks its conjugate, or `departure` is below 0, or above it
                where no entry is left above the diagonal.

        Source: Henrici, Bounds for iterates, inverses, spectral variation and fields of values of non-normal matrices,
        Numerische Mathematik 4, 1962.
        """
        if not departure >= 0:
            raise ValueError(f"departure is {departure}, expected at least 0")
        schur, free = _schur_form([complex(value) for value in multipliers])
        generator = torch.Generator().manual_seed(seed)
        dim = len(schur)
        entries = torch.randn(dim, dim, dtype=torch.float64, generator=generator) * free
        if departure:
            if not free.any():
                raise ValueError(f"departure is {departure}, expected 0: no entry is left above the diagonal")
            schur = schur + entries * (departure / torch.linalg.matrix_norm(entries))
        q = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=generator))[0]
        return Linear(q @ schur @ q.T)

    def layers(self) -> tuple[Layer, ...]:
        """One layer without a nonlinearity."""
        return (Layer(self.matrix, self.shift, "identity"),)

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map once to each row."""
        return states @ self.matrix.to(states.dtype).T + self.shift.to(states.dtype)

    def fixed_points(self) -> Float64[Tensor, "points dim"]:
        """The one fixed point, `(I - A)^-1 b`.

        Raises:
            torch.linalg.LinAlgError: If 1 is an eigenvalue of A.
        """
        matrix = self.matrix.double()
        identity = torch.eye(self.dim, dtype=torch.float64, device=matrix.device)
        return torch.linalg.solve(identity - matrix, self.shift.double())[None]

    def multipliers(self) -> Complex128[Tensor, "points dim"]:
        """The eigenvalues of A."""
        values = torch.linalg.eigvals(self.matrix.double())
        return values[values.abs().argsort(descending=True)][None]

    def lyapunov_exponents(self) -> Float64[Tensor, " dim"]:
        """The exponents of every orbit, `ln|multiplier|`, falling."""
        return self.multipliers()[0].abs().log()


def _schur_form(multipliers: list[complex]) -> tuple[Tensor, Tensor]:
    """A real block diagonal matrix with these eigenvalues, and a mask of the entries above its blocks."""
    dim = len(multipliers)
    if not dim:
        raise ValueError("multipliers is empty, expected at least one")
    schur = torch.zeros(dim, dim, dtype=torch.float64)
    free = torch.ones(dim, dim, dtype=torch.bool).triu(1)
    index = 0
    while index < dim:
        value = multipliers[index]
        schur[index, index] = value.real
        if value.imag:
            if index + 1 == dim or multipliers[index + 1] != value.conjugate():
                raise ValueError(f"multipliers has {value} at {index}, expected its conjugate behind it")
            schur[index + 1, index + 1] = value.real
            schur[index, index + 1], schur[index + 1, index] = value.imag, -value.imag
            free[index, index + 1] = False
            index += 1
        index += 1
    return schur, free

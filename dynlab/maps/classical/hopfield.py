"""A Hopfield-like network that stores patterns."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex128, Float, Float64
from torch import Tensor
from torch.nn import Buffer

from dynlab.maps.classical.numbers import positive
from dynlab.maps.map import Map


class Hopfield(Map):
    """`F(x) = tanh(gain W x)` with stored patterns, W the orthogonal projection onto the space they span.

    Whatever the patterns, each is a fixed point up to a factor: `m p` and `-m p` with `m = tanh(gain m)`, which attract
    for gain > 1. Their multipliers are `gain (1 - m^2)`, once for each pattern, and 0. For gain <= 1 every orbit goes
    to 0. There are other fixed points, mixtures of patterns, and no cycles: W is symmetric and positive semidefinite,
    so all multipliers are real and an energy falls along every orbit.

    Args:
        patterns: Shape (count, dim), linearly independent rows of -1 and 1.
        gain: Above 0.

    Raises:
        ValueError: If an argument is out of its range.

    Source: Hopfield, Neurons with graded response, PNAS 81, 1984; Personnaz, Guyon and Dreyfus, Journal de Physique
    Lettres 46, 1985, for the projection; Marcus and Westervelt, Physical Review A 40, 1989, for the energy.
    """

    patterns: Tensor
    dual: Tensor

    def __init__(self, patterns: Float[Tensor, "count dim"], gain: float = 2.0) -> None:
        if patterns.ndim != 2 or not len(patterns) or not bool((patterns.abs() == 1).all()):
            raise ValueError(f"patterns has shape {tuple(patterns.shape)}, expected (count, dim) and entries -1 and 1")
        super().__init__(patterns.shape[1])
        self.gain = positive("gain", gain)
        self.patterns = Buffer(patterns.detach().double().clone())
        rank = int(torch.linalg.matrix_rank(self.patterns))
        if rank < len(patterns):
            raise ValueError(f"patterns has {len(patterns)} rows of rank {rank}, expected linearly independent ones")
        self.dual = Buffer(torch.linalg.pinv(self.patterns))  # W = dual @ patterns

    @property
    def overlap(self) -> float:
        """The largest solution of `m = tanh(gain m)`; 0 for gain <= 1."""
        if self.gain <= 1:
            return 0.0
        m, last = 1.0, math.inf
        while m < last:  # Newton's method on a convex function falls to the root, until rounding ends it
            value = math.tanh(self.gain * m)
            m, last = m - (m - value) / (1 - self.gain * (1 - value * value)), m
        return m

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map once to each row."""
        dtype = states.dtype
        return torch.tanh(self.gain * (states @ self.patterns.to(dtype).T) @ self.dual.to(dtype).T)

    def jacobian_factors(
        self, states: Float[Tensor, "batch dim"]
    ) -> tuple[Float[Tensor, "batch dim rank"], Float[Tensor, "#batch rank dim"]]:
        """`A = gain diag(1 - F(x)^2) dual` and `B = patterns`, of as many columns as there are patterns."""
        slopes = self.gain * (1 - self(states).square())
        return slopes[:, :, None] * self.dual.to(states.dtype), self.patterns.to(states.dtype)[None]

    def fixed_points(self) -> Float64[Tensor, "points dim"]:
        """Those that are known: 0, then for gain > 1 `m p` for each pattern, then `-m p` for each."""
        zero = torch.zeros_like(self.patterns[:1])
        stored = self.overlap * self.patterns
        return torch.cat([zero, stored, -stored]) if self.gain > 1 else zero

    def multipliers(self) -> Complex128[Tensor, "points dim"]:
        """`gain (1 - m^2)` as often as there are patterns, then zeros; m is 0 at 0."""
        count = len(self.patterns)
        points = 1 + 2 * count if self.gain > 1 else 1
        found = torch.zeros(points, self.dim, dtype=torch.complex128, device=self.patterns.device)
        found[0, :count] = self.gain
        found[1:, :count] = self.gain * (1 - self.overlap**2)
        return found

    def extra_repr(self) -> str:
        """Settings that determine the map, besides its patterns."""
        return f"dim={self.dim}, gain={self.gain!r}"

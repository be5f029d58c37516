"""Fixed points that a search has found so far, and which samples are in their safe balls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from dynlab.dynamics.blocks import block_rows
from dynlab.dynamics.fixed_points import FixedPoint

# Distances in a few random directions never exceed the whole distance, so they rule out almost all pairs at once.
_DIRECTIONS = 32
# A sample this many safe radii from an attractor stands about where a fold would have its saddle. It is left to itself
# while it comes nearer by this share a step; one that rests there, or leaves, is somebody else's.
_AWAITED = 4.0
_APPROACH = 1e-6
SAME_POINT = 1e-6  # relative distance of two fixed points that are one


def first_copies(states: Float64[Tensor, "points dim"]) -> Int64[Tensor, " points"]:
    """Index of the first row that is the same fixed point as each row."""
    apart = torch.cdist(states, states, compute_mode="donot_use_mm_for_euclid_dist")
    scale = torch.linalg.vector_norm(states, dim=1).clamp(min=1.0)
    return (apart < SAME_POINT * scale).int().argmax(dim=1) if len(states) else apart.long().flatten()


class KnownFixedPoints:
    """Fixed points found so far, with their states in one tensor; those without a safe ball are merely remembered.

    Args:
        device: Where the samples will be.
        dim: Length of a state.
    """

    def __init__(self, device: torch.device, dim: int) -> None:
        self.points: list[FixedPoint] = []
        self.device = device
        self._states = torch.empty(64, dim, dtype=torch.float64, device=device)
        self._radii = torch.empty(64, dtype=torch.float64, device=device)
        count = min(dim, _DIRECTIONS)
        random = torch.randn(dim, count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        self._directions = torch.linalg.qr(random).Q.to(device)
        self._shadows = torch.empty(64, count, dtype=torch.float64, device=device)

    def add(self, point: FixedPoint) -> int:
        """Remember a fixed point; its index."""
        index = len(self.points)
        if index == len(self._radii):
            self._states = torch.cat([self._states, torch.empty_like(self._states)])
            self._radii = torch.cat([self._radii, torch.empty_like(self._radii)])
            self._shadows = torch.cat([self._shadows, torch.empty_like(self._shadows)])
        self._states[index], self._radii[index] = point.state, point.safe_radius
        # Balls of points that stand close together are small, whichever was found first.
        self.keep_clear_of(self._states[index])
        self._shadows[index] = self._states[index] @ self._directions
        self.points.append(point)
        return index

    def found_after(self, given: int) -> list[FixedPoint]:
        """All points: the first `given` as they were given, others with the radii that later ones have left them."""
        radii = self._radii[: len(self.points)].tolist()
        return [
            point if index < given or radius == point.safe_radius else replace(point, safe_radius=radius)
            for index, (point, radius) in enumerate(zip(self.points, radii, strict=True))
        ]

    def keep_clear_of(self, state: Float64[Tensor, " dim"]) -> None:
        """Let no ball reach farther than half the way to another fixed point."""
        others = slice(len(self.points))
        apart = torch.linalg.vector_norm(self._states[others] - state.to(self.device), dim=1)
        self._radii[others] = torch.minimum(self._radii[others], apart / 2)

    def balls_of(self, states: Float[Tensor, "samples dim"]) -> np.ndarray:
        """Index of the fixed point whose safe ball each state is in, -1 for none."""
        found = np.full(len(states), -1)
        for rows, points, apart in self._pairs_within(states, 1.0):
            # Balls never overlap by much, but where they do the nearer centre comes last and stays.
            order = torch.argsort(apart, descending=True)
            found[rows[order].cpu().numpy()] = points[order].cpu().numpy()
        return found

    def are_awaited(self, states: Float64[Tensor, "samples dim"], images: Float64[Tensor, "samples dim"]) -> np.ndarray:
        """Which samples are on their way into a known ball, so that Newton's method would find nothing new."""
        awaited = np.zeros(len(states), dtype=bool)
        for rows, points, before in self._pairs_within(states, _AWAITED):
            after = torch.linalg.vector_norm(images[rows] - self._states[points], dim=1)
            awaited[rows[after < (1 - _APPROACH) * before].cpu().numpy()] = True
        return awaited

    def _pairs_within(self, states: Float[Tensor, "samples dim"], reach: float) -> Iterator[tuple[Tensor, ...]]:
        """Rows, fixed points and distances of all pairs nearer than `reach` safe radii, block by block."""
        count = len(self.points)
        if not count:
            return
        directions, shadows = self._directions.to(states.dtype), self._shadows[:count].to(states.dtype)
        squares = (shadows * shadows).sum(dim=1)
        limits = (reach * self._radii[:count]).to(states.dtype).square()
        # Products round away a little of a distance, for which the limit leaves room; who passes is measured exactly.
        rounding = 64 * torch.finfo(states.dtype).eps
        rows_together = block_rows(count, states)  # a distance for each of the points
        for start in range(0, len(states), rows_together):
            part = states[start : start + rows_together]
            cast = part @ directions
            sizes = (cast * cast).sum(dim=1, keepdim=True)
            distances = torch.addmm(squares, cast, shadows.T, alpha=-2) + sizes
            rows, points = (distances <= limits + rounding * (sizes + squares)).nonzero(as_tuple=True)
            apart = torch.linalg.vector_norm(part[rows].double() - self._states[points], dim=1)
            inside = apart < reach * self._radii[points]
            if bool(inside.any()):
                yield start + rows[inside], points[inside], apart[inside]

    def nearest(self, states: Float64[Tensor, "samples dim"]) -> Float64[Tensor, " samples"]:
        """Distance of each state to the nearest known fixed point; infinite where none is known."""
        if not self.points:
            return states.new_full((len(states),), torch.inf)
        return self._nearest(states)[1]

    def _nearest(
        self, states: Float64[Tensor, "samples dim"]
    ) -> tuple[Int64[Tensor, " samples"], Float64[Tensor, " samples"]]:
        """Which known fixed point is nearest to each state, and its distance."""
        known = self._states[: len(self.points)]
        # Products tell which is nearest, but round away too much of a small distance.
        nearest = torch.cdist(states, known, compute_mode="use_mm_for_euclid_dist").argmin(dim=1)
        return nearest, torch.linalg.vector_norm(states - known[nearest], dim=1)

    def holds(self, states: Float64[Tensor, "samples dim"]) -> np.ndarray:
        """Which fixed points are known already."""
        return self.indices_of(states) >= 0

    def indices_of(self, states: Float64[Tensor, "samples dim"]) -> np.ndarray:
        """Index of the known fixed point that each state is, -1 for none."""
        if not self.points:
            return np.full(len(states), -1)
        nearest, apart = self._nearest(states)
        scale = torch.linalg.vector_norm(states, dim=1).clamp(min=1.0)
        return torch.where(apart < SAME_POINT * scale, nearest, -1).cpu().numpy()

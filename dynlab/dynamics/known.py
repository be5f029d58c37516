"""The stable fixed points that a search has found so far, and which samples are in their safe balls."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.dynamics.fixed_points import FixedPoint

_BLOCK = 1024  # samples whose distances to all fixed points are taken at once
# A sample this many safe radii from an attractor stands about where a fold would have its saddle. It is left to itself
# while it comes nearer by this share a step; one that rests there, or leaves, is somebody else's.
_AWAITED = 16
_APPROACH = 1e-6
_SAME_POINT = 1e-6  # relative distance of two fixed points that are one


class KnownFixedPoints:
    """The stable fixed points found so far, with their states in one tensor."""

    def __init__(self, home: Tensor, dim: int) -> None:
        self.points: list[FixedPoint] = []
        self._states = torch.empty(64, dim, dtype=home.dtype, device=home.device)
        self._radii = torch.empty(64, dtype=home.dtype, device=home.device)

    def add(self, point: FixedPoint) -> int:
        """Remember a fixed point; its index."""
        index = len(self.points)
        if index == len(self._radii):
            self._states = torch.cat([self._states, torch.empty_like(self._states)])
            self._radii = torch.cat([self._radii, torch.empty_like(self._radii)])
        self._states[index], self._radii[index] = point.state, point.safe_radius
        self.points.append(point)
        return index

    def balls_of(self, states: Float64[Tensor, "samples dim"]) -> np.ndarray:
        """Index of the fixed point whose safe ball each state is in, -1 for none."""
        found = np.full(len(states), -1)
        if self.points:
            for start in range(0, len(states), _BLOCK):
                part = states[start : start + _BLOCK]
                # Not by matrix products: what they round away is more than a small ball.
                distances = torch.cdist(
                    part, self._states[: len(self.points)], compute_mode="donot_use_mm_for_euclid_dist"
                )
                distances[distances >= self._radii[: len(self.points)]] = torch.inf
                nearest = distances.min(dim=1)
                inside = nearest.values < torch.inf
                found[start : start + len(part)] = torch.where(inside, nearest.indices, -1).cpu().numpy()
        return found

    def awaits(self, state: Float64[Tensor, " dim"], image: Float64[Tensor, " dim"]) -> bool:
        """Whether a sample is on its way into a known ball, so that Newton's method would find nothing new."""
        before, after = self._distances(state), self._distances(image)
        near = before < _AWAITED * self._radii[: len(self.points)]
        return bool((near & (after < (1 - _APPROACH) * before)).any())

    def holds(self, state: Float64[Tensor, " dim"]) -> bool:
        """Whether this fixed point is known already."""
        return self.distance(state) < _SAME_POINT * max(1.0, float(state.norm()))

    def distance(self, state: Float64[Tensor, " dim"]) -> float:
        """Distance to the nearest known fixed point; infinite where none is known."""
        return float(self._distances(state).amin()) if self.points else float("inf")

    def _distances(self, state: Float64[Tensor, " dim"]) -> Float64[Tensor, " known"]:
        return torch.linalg.vector_norm(self._states[: len(self.points)] - state, dim=1)

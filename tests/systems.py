"""Maps whose fixed points, multipliers and basins are known in closed form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Buffer

from dynlab.maps import Map


class Formula(Map):
    """A map given by a formula; computes in the dtype of its states."""

    def __init__(self, dim: int, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__(dim)
        self.formula = formula

    def forward(self, states: Tensor) -> Tensor:
        return self.formula(states)


class Linear(Map):
    """`F(x) = A x + b`."""

    def __init__(self, matrix: Tensor, shift: Tensor | None = None) -> None:
        super().__init__(len(matrix))
        self.matrix = Buffer(matrix)
        self.shift = Buffer(torch.zeros(len(matrix), dtype=matrix.dtype) if shift is None else shift)

    def forward(self, states: Tensor) -> Tensor:
        return states @ self.matrix.T + self.shift


def fold(rate: float, curvature: float) -> Formula:
    """`F(x) = rate x + curvature x^2`: a stable fixed point at 0 and its saddle at `(1 - rate) / curvature`."""
    return Formula(1, lambda x: rate * x + curvature * x * x)


def double_well(step: float = 0.1) -> Formula:
    """Gradient descent on `(x^2 - 1)^2 / 4 + y^2 / 2`: wells at x = -1 and 1, a saddle at 0, basins by sign of x."""

    def descend(states: Tensor) -> Tensor:
        x, y = states.unbind(1)
        return torch.stack([x - step * x * (x * x - 1), y - step * y], dim=1)

    return Formula(2, descend)


def ghost(height: float) -> Formula:
    """`F(x) = x + (height + x^2)(2 - x) / 10`: no fixed point but 2, and steps of `height / 5` on the way past 0."""
    return Formula(1, lambda x: x + 0.1 * (height + x * x) * (2 - x))


def logistic(r: float) -> Formula:
    """`F(x) = r x (1 - x)`: for r from 3 to 1 + sqrt(6) an attracting cycle of period 2."""
    return Formula(1, lambda x: r * x * (1 - x))

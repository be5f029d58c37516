"""Maps that only tests need; those with published answers are in `dynlab.maps.classical`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dynlab.maps import Map
from dynlab.maps.classical import DoubleWell, Linear, Logistic

__all__ = ["Formula", "Linear", "double_well", "fold", "ghost", "jacobians", "logistic", "second_opinion", "two_cycles"]

double_well, logistic = DoubleWell, Logistic


class Formula(Map):
    """A map given by a formula; computes in the dtype of its states."""

    def __init__(self, dim: int, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__(dim)
        self.formula = formula

    def forward(self, states: Tensor) -> Tensor:
        return self.formula(states)


def fold(rate: float, curvature: float) -> Formula:
    """`F(x) = rate x + curvature x^2`: a stable fixed point at 0 and its saddle at `(1 - rate) / curvature`."""
    return Formula(1, lambda x: rate * x + curvature * x * x)


def ghost(height: float) -> Formula:
    """`F(x) = x + (height + x^2)(2 - x) / 10`: no fixed point but 2, and steps of `height / 5` on the way past 0."""
    return Formula(1, lambda x: x + 0.1 * (height + x * x) * (2 - x))


def two_cycles() -> Formula:
    """`F(x) = x^3 - 1.5 x` for each of two numbers: two cycles, of `(a, a)` and `(-a, -a)`, and of `(a, -a)` and
    `(-a, a)` with `2 a^2 = 1`, that every state but those of some lines reaches where both numbers are below the root
    of 2.5; all others diverge. The derivative at `a` is 0, so that the cycles are superstable."""
    return Formula(2, lambda x: x**3 - 1.5 * x)


def jacobians(system: Map, states: Tensor) -> Tensor:
    """By central differences."""
    width = 1e-5
    columns = [
        (system(states + width * direction) - system(states - width * direction)) / (2 * width)
        for direction in torch.eye(system.dim, dtype=states.dtype, device=states.device)
    ]
    return torch.stack(columns, dim=2)


def second_opinion() -> Any:
    """The class of maps of pynamicalsys, uncompiled: compiling takes longer than all that tests ask of it."""
    reason = "pynamicalsys is not here: install the dependency group `tests`, or `pip install pynamicalsys`"
    config = pytest.importorskip("numba.core.config", reason=reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "DISABLE_JIT", True)  # read when a function is defined
        return pytest.importorskip("pynamicalsys", reason=reason).DiscreteDynamicalSystem

"""Numbers that maps are given, and columns of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def number(parameter: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{parameter} is {value}, expected a finite number")
    return float(value)


def positive(parameter: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{parameter} is {value}, expected a finite number above 0")
    return float(value)


def column(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]

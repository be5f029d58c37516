"""Numbers as results hold them."""

from __future__ import annotations

import math


def finite_or_none(value: float) -> float | None:
    """The number; None, as JSON has it, for what is not finite."""
    return value if math.isfinite(value) else None

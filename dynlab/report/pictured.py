"""Fixed points on the pictures of maps of one and two numbers, in words."""

from __future__ import annotations

from collections.abc import Sequence

from dynlab.evaluation.pictured import PicturedFixedPoint
from dynlab.report.words import count, enumeration, or_zero, plural, signed

NAMED = 6  # fixed points that are written out
_NOTHING = 5e-5  # imaginary part that four digits do not show


def fixed_point_text(point: PicturedFixedPoint) -> str:
    """Where a fixed point is, and its multipliers."""
    numbers = ", ".join(signed(or_zero(value), ".6g") for value in point.state)
    where = numbers if len(point.state) == 1 else f"({numbers})"
    return f"{where} with {plural(len(point.multipliers), 'multiplier')} {enumeration(_multipliers(point))}"


def unstable_words(points: Sequence[PicturedFixedPoint]) -> str:
    """Which unstable fixed points Newton's method found on the plane of states; empty for none."""
    unstable = [point for point in points if point.unstable]
    if not unstable:
        return ""
    saddles, others = (sum((point.unstable == 1) == is_saddle for point in unstable) for is_saddle in (True, False))
    kinds = [f"{count(saddles, 'saddle')} (crosses)"] * bool(saddles)
    kinds += [f"{count(others, 'fixed point')} that {'repels' if others == 1 else 'repel'} every way (squares)"] * bool(
        others
    )
    named = f": {'; '.join(map(fixed_point_text, unstable))}" if len(unstable) <= NAMED else ""
    return f"Newton's method found {enumeration(kinds)} here{named}."


def _multipliers(point: PicturedFixedPoint) -> list[str]:
    parts = []
    for real, imaginary in point.multipliers:
        turns = f" {signed(imaginary, '+.4g')}i" if abs(imaginary) > _NOTHING else ""
        parts.append(f"{signed(or_zero(real), '.4g')}{turns}")
    return parts

"""Shocks in pictures: a state, the perturbation, the state after it, and where that goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context

from torch import Tensor

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.robustness_results import Robustness, Shock
from dynlab.report.gallery import Frame, kind_mark
from dynlab.report.pictures import Screen

STEPS = ("start", "shock", "after it", "goes to")  # heading of each picture


@dataclass(frozen=True)
class ShockFilm:
    """One shock in pictures, as many as `STEPS`."""

    frames: list[Frame]
    caption: str  # what is shocked, and how long the shock is
    way: str  # where it goes by itself, and where after the shock


def shock_films(analysis: Analysis, screen: Screen, found: Robustness) -> list[ShockFilm]:
    """Every shock that was found in pictures."""
    starts, ends = analysis.arrays.shock_starts, analysis.arrays.shock_ends
    if starts is None or ends is None:
        return []
    shocks = [(shock, "attractor") for shock in found.attractor_shocks]
    shocks += [(shock, "sample") for shock in found.sample_shocks]
    return [
        _film(analysis, screen, *shock, start, end)
        for shock, start, end in zip(shocks, starts, ends, strict=True)
        if shock[0].upper is not None
    ]


def _film(analysis: Analysis, screen: Screen, shock: Shock, of: str, start: Tensor, end: Tensor) -> ShockFilm:
    change = end - start
    most = float(change.abs().max()) or 1.0
    name = f"{of} {shock.start}"
    pictures = (
        (screen.picture(start), f"{name.capitalize()} as it is"),
        (
            replace(screen, low=-most, high=most).picture(change),
            f"The smallest shock found for {name}: grey is no change, white is {most:.2g} more, black as much less",
        ),
        (screen.picture(end), f"{name.capitalize()} after the shock"),
        (screen.picture(_state(analysis, shock.reached)), f"Attractor {shock.reached}, where it then goes"),
    )
    return ShockFilm(
        [Frame(source, words) for source, words in pictures],
        f"{name}, length {at_most(shock.upper or 0.0)}",
        f"{_name(analysis, shock.attractor)} → {_name(analysis, shock.reached)}",
    )


def _state(analysis: Analysis, attractor: int) -> Tensor:
    points, others = analysis.arrays.fixed_points, analysis.arrays.shock_others
    return points[attractor] if attractor < len(points) or others is None else others[attractor - len(points)]


def _name(analysis: Analysis, attractor: int) -> str:
    """An attractor in a word or two."""
    if not 0 <= attractor < len(analysis.results.attractors):
        return "one without samples"
    mark = kind_mark(analysis.results.attractors[attractor].kind, analysis.results.attractors[attractor].label)
    return f"{mark.sign} ({attractor})" if mark.name == "prototype" else f"{mark.name} ({attractor})"


def at_most(length: float) -> str:
    """Four figures, rounded up: a bound from above."""
    return f"{float(Context(prec=4, rounding=ROUND_CEILING).create_decimal_from_float(length)):.4g}"

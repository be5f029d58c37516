"""What the analyses of one page are called, and where they stand on an axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dynlab.evaluation.analysis import Analysis


@dataclass(frozen=True)
class Axis:
    """Where each analysis stands on the axis across the levels."""

    title: str
    positions: list[float]
    ticks: list[str]


def in_order(analyses: Sequence[Analysis]) -> list[Analysis]:
    """The analyses by rising corruption level, where all are known; else as they came."""
    levels = [analysis.results.map.corruption_level for analysis in analyses]
    if any(level is None for level in levels):
        return list(analyses)
    return sorted(analyses, key=lambda analysis: analysis.results.map.corruption_level or 0.0)


def labels_of(analyses: Sequence[Analysis]) -> list[str]:
    """A short name for each analysis: how its map was trained, or the map's name; more where that is not enough."""
    labels = [_trained_or_name(analysis) for analysis in analyses]
    names = [analysis.results.map.name for analysis in analyses]
    data = [analysis.results.data.name for analysis in analyses]
    for more in (names, data):
        if len(set(labels)) == len(labels):
            return labels
        if len(set(more)) > 1:  # what all share tells none from another
            labels = [_with(label, word) for label, word in zip(labels, more, strict=True)]
    if len(set(labels)) == len(labels):
        return labels
    counts = Counter(labels)
    seen: Counter[str] = Counter()
    numbered = []
    for label in labels:
        seen[label] += 1
        numbered.append(f"{label} ({seen[label]})" if counts[label] > 1 else label)
    return numbered


def axis_of(analyses: Sequence[Analysis]) -> Axis:
    """Where each analysis stands: at its corruption level where that tells them apart, else side by side."""
    levels = [level for analysis in analyses if (level := analysis.results.map.corruption_level) is not None]
    if len(levels) == len(analyses) and len(set(levels)) == len(levels):
        return Axis("corruption level σ", levels, [f"{level:g}" for level in levels])
    return Axis("", [float(place) for place in range(len(analyses))], labels_of(analyses))


def _trained_or_name(analysis: Analysis) -> str:
    identity = analysis.results.map
    level = identity.corruption_level
    corruption = identity.corruption if level is None else f"σ = {level:g}"
    return identity.name if corruption is None else _with(corruption, identity.objective)


def _with(label: str, more: str) -> str:
    return label if more in ("", label) else f"{label}, {more}"

"""The attractors with the largest basins in numbers, with the samples that start nearest to them and farthest away."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.results import Attractor
from dynlab.report.gallery import Card, Frame, card_of, coordinates
from dynlab.report.pictures import Screen
from dynlab.report.words import percent

SHOWN = 10  # rows that are shown at once
FOLDED = 20  # further ones that can be unfolded
_CLASSES = 3  # of a basin, that are named


@dataclass(frozen=True)
class AttractorRow:
    """One attractor; a cell is empty where nothing is known."""

    attractor: int
    card: Card
    at: str  # its numbers, if they are few
    samples: int
    interval: str  # of the basin fraction
    composition: str
    purity: str
    median_steps: str
    slow_steps: str
    spectral_radius: str
    nearest: list[Frame]
    farthest: list[Frame]  # those that are not among the nearest


@dataclass(frozen=True)
class AttractorTable:
    """Attractors by falling basin size, some at once and some folded away."""

    shown: list[AttractorRow]
    folded: list[AttractorRow]
    left_out: int
    has_classes: bool


def attractor_table(analysis: Analysis, screen: Screen) -> AttractorTable | None:
    """The largest attractors in numbers; None where there are none."""
    attractors = analysis.results.attractors
    if not attractors:
        return None
    largest = sorted(attractors, key=lambda attractor: (-attractor.basin_size, attractor.id))[: SHOWN + FOLDED]
    rows = [_row(analysis, screen, attractor) for attractor in largest]
    return AttractorTable(
        rows[:SHOWN], rows[SHOWN:], len(attractors) - len(rows), any(attractor.class_counts for attractor in largest)
    )


def composition_words(class_counts: dict[int, int]) -> str:
    """The classes of a basin's samples in short, the most frequent first: `8: 93%, 3: 4%, others: 3%`."""
    total = sum(class_counts.values())
    if not total:
        return ""
    by_count = sorted(class_counts.items(), key=lambda item: (-item[1], item[0]))
    if len(by_count) == 1:
        return f"all {by_count[0][0]}"
    parts = [f"{known}:\N{NO-BREAK SPACE}{_whole_percent(count / total)}" for known, count in by_count[:_CLASSES]]
    if others := sum(count for _, count in by_count[_CLASSES:]):
        parts.append(f"others:\N{NO-BREAK SPACE}{_whole_percent(others / total)}")
    return ", ".join(parts)


def _row(analysis: Analysis, screen: Screen, attractor: Attractor) -> AttractorRow:
    low, high = attractor.basin_interval
    farthest = [sample for sample in attractor.farthest if sample not in attractor.nearest]
    return AttractorRow(
        attractor=attractor.id,
        card=card_of(analysis, screen, attractor),
        at=coordinates(analysis.arrays.fixed_points[attractor.id]),
        samples=attractor.basin_size,
        interval=f"{percent(low)} to {percent(high)}",
        composition=composition_words(attractor.class_counts),
        purity="" if attractor.purity is None else percent(attractor.purity),
        median_steps=_steps(attractor.median_steps),
        slow_steps=_steps(attractor.slow_steps),
        spectral_radius=radius_text(attractor.spectral_radius),
        nearest=_starts(analysis, screen, attractor, attractor.nearest),
        farthest=_starts(analysis, screen, attractor, farthest),
    )


def _starts(analysis: Analysis, screen: Screen, attractor: Attractor, samples: list[int]) -> list[Frame]:
    """Pictures of samples, of those whose states were kept."""
    kept, states = analysis.arrays.member_samples, analysis.arrays.member_states
    row = {sample: index for index, sample in enumerate(kept.tolist())}
    frames = []
    for sample in samples:
        if sample not in row:
            continue
        state = states[row[sample]]
        apart = float(torch.linalg.vector_norm(state.double() - analysis.arrays.fixed_points[attractor.id]))
        known = int(analysis.arrays.classes[sample])
        what = f"Sample {sample}, class {known}" if known >= 0 else f"Sample {sample}"
        frames.append(Frame(screen.picture(state), f"{what}, starts {apart:.3g} from attractor {attractor.id}"))
    return frames


def _whole_percent(share: float) -> str:
    """A share in whole percent, never rounded to nothing or to all."""
    return "<1%" if share < 0.01 else ">99%" if share > 0.99 else f"{share:.0%}"


def radius_text(radius: float) -> str:
    """Four digits, never rounded to 1, as on which side of it the radius is decides all."""
    text = f"{radius:.4f}"
    return text if text != "1.0000" or radius == 1 else ">0.9999" if radius < 1 else ">1.0000"


def _steps(steps: float | None) -> str:
    return "" if steps is None else f"{steps:,.0f}"

"""The periodic attractors: their states one after the other, and the numbers of each."""

from __future__ import annotations

from dataclasses import dataclass

from dynlab.evaluation.analysis import Analysis
from dynlab.report.attractor_table import radius_text
from dynlab.report.gallery import Frame, coordinates
from dynlab.report.pictures import Screen
from dynlab.report.words import percent

SHOWN = 20  # cycles, those with the largest basins
_STATES = 12  # of each, the first ones


@dataclass(frozen=True)
class CycleRow:
    """One cycle."""

    number: int
    period: int
    share: str  # of all samples
    samples: int
    spectral_radius: str  # factor per round
    states: list[Frame]
    at: str  # its states as numbers, if these are few
    left_out: int  # states that are not shown


@dataclass(frozen=True)
class CycleTable:
    """Cycles by falling basin size."""

    rows: list[CycleRow]
    left_out: int


def cycle_table(analysis: Analysis, screen: Screen) -> CycleTable | None:
    """The cycles with the largest basins; None where there are none."""
    cycles = analysis.basins().cycles
    found = zip(range(SHOWN), cycles, analysis.results.cycles, strict=False)
    rows = [
        CycleRow(
            number=number,
            period=cycle.period,
            share=percent(summary.basin_fraction),
            samples=summary.basin_size,
            spectral_radius=radius_text(cycle.spectral_radius),
            states=[
                Frame(screen.picture(state), f"Cycle {number}, state {phase} of {cycle.period}")
                for phase, state in enumerate(cycle.states[:_STATES], start=1)
            ],
            at=" → ".join(text for state in cycle.states[:_STATES] if (text := coordinates(state))),
            left_out=max(0, cycle.period - _STATES),
        )
        for number, cycle, summary in found
    ]
    return CycleTable(rows, len(cycles) - len(rows)) if rows else None

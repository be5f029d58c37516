"""The figure of bands: basin fractions over the levels of a parameter, stacked up to the whole of the samples.

Each large branch has a band of its own, the others share one, and so do the samples that reach no fixed point;
`stacking`, beside this file, says which band stands where. Fractions are known at the levels alone; in between they are
joined by straight lines.

Source: the picture is that of Datseris, Rossi and Wagemakers, Framework for global stability analysis of dynamical
systems, 2023.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dynlab.attractors.following.followed import Change, Followed
from dynlab.attractors.statistics import wilson_interval
from dynlab.report.figure_data import column_names
from dynlab.report.ladder.branches import BranchView, event_words, level_digits, level_words
from dynlab.report.ladder.stacking import Bands, looks
from dynlab.report.layout import blank_figure, label_text
from dynlab.report.palette import light
from dynlab.report.words import number, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

_HEIGHT = 560
_TICKS = 8  # levels whose values are written out
_NOTHING = 1e-9  # heights of bands that are zero but for rounding
_ROOM = 0.03  # share of the samples that a group needs to have its label in it
_NEAR = 14  # pixels from a level or a mark at which the pointer reads it, not the band
_SYMBOLS = {
    Change.APPEARED: "circle",
    Change.SPLIT: "triangle-right",
    Change.MERGED: "triangle-left",
    Change.DISAPPEARED: "x",
}


def band_figure(followed: Followed, branches: list[BranchView], bands: Bands) -> go.Figure:
    """Basin fractions over the levels as stacked bands, with marks where branches begin and end.

    Empty where there are no samples.
    """
    figure = blank_figure(label_text(followed.parameter), "share of samples", legend=True)
    if not len(followed.basins[0].labels):
        return figure
    levels: list[float] = followed.levels.tolist()
    figure.add_traces([*_areas(followed, bands), _points(followed, bands), *_marks(followed, branches, bands)])
    for level in levels[1:-1]:
        figure.add_vline(x=level, line={"color": light("paper"), "width": 1, "dash": "dot"})
    for annotation in _labels(bands, levels):
        figure.add_annotation(**annotation)
    step, last = math.ceil(len(levels) / _TICKS), len(levels) - 1
    figure.update_xaxes(
        range=[levels[0], levels[-1]],  # from left to right in the order followed, rising or falling
        tickvals=levels,
        ticktext=[
            words if row == last or (row % step == 0 and row + step <= last) else ""
            for row, words in enumerate(level_words(followed))
        ],
    )
    figure.update_yaxes(range=[0, 1], tickformat=".0%", showgrid=False)
    return figure.update_layout(height=_HEIGHT, hovermode="closest", hoverdistance=_NEAR)


def _areas(followed: Followed, bands: Bands) -> Iterator[go.Scatter]:
    """The bands as areas; what the pointer says at a level comes from the points in their middle."""
    levels, written = followed.levels.tolist(), level_words(followed)
    for band, group, branch in looks(bands):
        lives = f"from {written[branch.first]} to {written[branch.last]}, up to {percent(branch.most)}"
        yield _area(bands, levels, band, f"{branch.words}<br>{lives}", group.colour, group.pattern)
    rest = bands.edges.shape[1] - 3
    yield _area(bands, levels, rest, f"{number(len(bands.rest))} smaller branches", "rule", "")
    yield _area(bands, levels, rest + 1, "samples that reach no fixed point", "unresolved", ".")


def _area(bands: Bands, levels: list[float], band: int, words: str, colour: str, pattern: str) -> go.Scatter:
    """One band, from the level before it has any width to the level after."""
    import plotly.graph_objects as go

    low, high = bands.edges[:, band], bands.edges[:, band + 1]
    wide = np.flatnonzero(high - low > _NOTHING)
    rows = np.arange(max(0, wide.min(initial=len(levels)) - 1), min(len(levels), wide.max(initial=-2) + 2))
    fill: dict[str, Any] = {"fillcolor": light(colour)}
    if pattern:
        fill = {
            "fillpattern": {
                "shape": pattern,
                "bgcolor": light(colour),
                "fgcolor": light("paper"),
                "size": 7,
                "solidity": 0.25,
            }
        }
    return go.Scatter(
        x=[*(levels[row] for row in rows), *(levels[row] for row in rows[::-1])],
        y=[*high[rows].tolist(), *low[rows[::-1]].tolist()],
        mode="lines",
        line={"color": light("paper"), "width": 0.75},
        fill="toself",
        **fill,
        hoveron="fills",
        hoverinfo="text",
        text=words,
        showlegend=False,
    )


def _points(followed: Followed, bands: Bands) -> go.Scatter:
    """A point that cannot be seen in the middle of each band at each level, for the pointer to find."""
    import plotly.graph_objects as go

    levels: list[float] = followed.levels.tolist()
    samples = len(followed.basins[0].labels)
    points: list[tuple[float, float, list[Any]]] = []
    for band, _, branch in looks(bands):
        for stage in branch.stages:
            if stage.size:
                row = [f"branch {branch.number}", stage.words, stage.size, stage.fraction, stage.low, stage.high]
                points.append((levels[stage.level], _middle(bands, band, stage.level), row))
    rest = bands.edges.shape[1] - 3
    for level, basins in enumerate(followed.basins):
        smaller = sum(stage.size for branch in bands.rest if (stage := branch.at(level)))
        unresolved = int((basins.labels < 0).sum())
        counted = torch.tensor([smaller, unresolved])
        intervals = wilson_interval(counted, torch.tensor([samples, samples])).tolist()
        shared = ((rest, "smaller branches", f"{sum(b.at(level) is not None for b in bands.rest)} of them"),)
        shared += ((rest + 1, "no fixed point", "unresolved, cycling or diverging"),)
        for (band, name, words), size, interval in zip(shared, (smaller, unresolved), intervals, strict=True):
            if size:
                row = [name, words, size, size / samples, *interval]
                points.append((levels[level], _middle(bands, band, level), row))
    return go.Scatter(
        x=[x for x, _, _ in points],
        y=[y for _, y, _ in points],
        customdata=[row for _, _, row in points],
        meta=column_names(series="", x="value", y="", custom=["band", "what", "samples", "fraction", "low", "high"]),
        mode="markers",
        marker={"opacity": 0, "size": 8, "color": light("ink")},
        hovertemplate=(
            f"%{{customdata[0]}}, %{{customdata[1]}}<br>at %{{x:.{level_digits(followed)}~g}}: "
            "%{customdata[2]} samples, %{customdata[3]:.1%}<br>"
            "95% interval %{customdata[4]:.1%} to %{customdata[5]:.1%}<extra></extra>"
        ),
        showlegend=False,
    )


def _marks(followed: Followed, branches: list[BranchView], bands: Bands) -> Iterator[go.Scatter]:
    """A mark for each event of a drawn branch, half-way between the two levels, in the middle of its band there."""
    import plotly.graph_objects as go

    levels: list[float] = followed.levels.tolist()
    digits = level_digits(followed)
    places = {branch.number: band for band, _, branch in looks(bands)}
    for change, symbol in _SYMBOLS.items():
        events = [event for event in followed.events if event.change is change and event.branch in places]
        if not events:
            continue
        ends = [(levels[event.level - 1], levels[event.level]) for event in events]
        yield go.Scatter(
            x=[sum(pair) / 2 for pair in ends],
            y=[
                sum(_middle(bands, places[event.branch], row) for row in (event.level - 1, event.level)) / 2
                for event in events
            ],
            customdata=[
                [
                    *pair,
                    event.branch,
                    event.other if event.other >= 0 else None,
                    event.share,
                    event_words(event, branches),
                ]
                for pair, event in zip(ends, events, strict=True)
            ],
            meta=column_names(
                series="event", x="", y="", custom=["after", "before", "branch", "other branch", "share", "words"]
            ),
            mode="markers",
            name=change.value,
            cliponaxis=False,  # whole at the edges, too
            marker={
                "symbol": symbol,
                "size": 9,
                "color": light("card"),
                "line": {"color": light("ink"), "width": 1.25},
            },
            hovertemplate=(
                f"between %{{customdata[0]:.{digits}~g}} and %{{customdata[1]:.{digits}~g}}<br>"
                "%{customdata[5]}<extra></extra>"
            ),
        )


def _labels(bands: Bands, levels: list[float]) -> Iterator[dict[str, Any]]:
    """The sign of each group where it is widest, if there is room for it."""
    first = 0
    for group in bands.groups:
        end = first + len(group.branches)
        low, high = bands.edges[:, first], bands.edges[:, end]
        row = int((high - low).argmax())
        if high[row] - low[row] >= _ROOM:
            yield {
                "x": levels[row],
                "y": float(low[row] + high[row]) / 2,
                "text": label_text(group.sign),
                "showarrow": False,
                "xanchor": "left" if row == 0 else "right" if row == len(levels) - 1 else "center",
                "xshift": 4 if row == 0 else -4 if row == len(levels) - 1 else 0,
                "font": {"size": 12, "color": light("ink")},
                "bgcolor": light("card"),
                "borderpad": 2,
            }
        first = end


def _middle(bands: Bands, band: int, row: int) -> float:
    return float(bands.edges[row, band] + bands.edges[row, band + 1]) / 2

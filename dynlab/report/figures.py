"""Figures of orbits, by plotly: how they come to rest, and how well classes can be told apart along them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Outcome
from dynlab.report.figure_data import column_names
from dynlab.report.labels import labels_of
from dynlab.report.layout import SYMBOLS, blank_figure, label_text, level_colour
from dynlab.report.palette import OUTCOME_COLOURS, light
from dynlab.report.words import OUTCOME_WORDS

if TYPE_CHECKING:
    import plotly.graph_objects as go

DRAWN = 60  # orbits in the figure of step lengths, about
AT_LEAST = 3  # of each outcome
POINTS = 200  # of one orbit
FLOOR_STEPS = 64  # at the end of an orbit, at most
_TICKS = 10  # decades on the axis of step lengths that are named, about
BEYOND_LINE = 1.15  # steps shown, in those at which the last orbit reaches the rounding floor
_DASHES = {
    Outcome.KEPT: "solid",
    Outcome.CHANGED: "dash",
    Outcome.STAIN: "dot",
    Outcome.EXPLOSION: "dashdot",
    Outcome.UNRESOLVED: "9px,2px",  # gaps in lines of constant height, below each other, must not look like steps
    Outcome.UNKNOWN: "solid",
    Outcome.CYCLE: "dash",
    Outcome.DIVERGED: "dot",
}


def step_length_decay(analysis: Analysis) -> go.Figure:
    """Step lengths `||x_i - x_(i-1)||_2` of recorded samples against the step, on a logarithmic axis.

    A straight line is exponential convergence. Of those recorded about 60 are drawn, each outcome by its share and at
    least three times if it occurs so often, evenly spread, with at most 200 points each.

    Source: figure 7 of Bahdanau and Jaeger 2014.
    """
    import plotly.graph_objects as go

    samples = analysis.arrays.recorded_samples
    codes = analysis.arrays.outcomes[samples].numpy(force=True)
    figure = blank_figure("step", "step length", legend=True)
    figure.update_layout(meta=column_names(series="outcome", x="step", y="step_length", custom=["sample"]))
    last_shown = 0
    for code, outcome in enumerate(Outcome):
        of_outcome = np.flatnonzero(codes == code)
        share = len(of_outcome) / max(1, len(codes))
        chosen = of_outcome[_spread(len(of_outcome), max(AT_LEAST, math.ceil(share * DRAWN)))]
        steps: list[int | None] = []
        values: list[float | None] = []
        owners: list[int] = []
        for column in chosen:
            lengths = analysis.arrays.step_lengths[:, column].numpy(force=True)
            _append_orbit(steps, values, lengths)
            owners += [int(samples[column])] * (len(steps) - len(owners))
            last_shown = max(
                last_shown, _at_floor(lengths) if analysis.arrays.rate_windows[column, 1] > 0 else len(lengths)
            )
        if steps:
            figure.add_trace(
                go.Scatter(
                    x=steps,
                    y=values,
                    customdata=owners,
                    meta=column_names(name=outcome.value),
                    mode="lines",
                    name=OUTCOME_WORDS[outcome],
                    line={"color": light(OUTCOME_COLOURS[outcome]), "width": 1, "dash": _DASHES[outcome]},
                    opacity=0.8,
                    hovertemplate="sample %{customdata}, step %{x}: %{y:.2e}<extra></extra>",
                )
            )
    tolerance = analysis.results.settings.get("tolerance")
    if isinstance(tolerance, int | float) and tolerance > 0:
        figure.add_hline(
            y=float(tolerance),
            line={"color": light("quiet"), "width": 1, "dash": "dot"},
            annotation={
                "text": f"tolerance {tolerance:g}",
                "font": {"size": 12, "color": light("quiet")},
                "y": math.log10(tolerance),  # of an annotation, other than of a line, the exponent is meant
            },
            annotation_position="top right",
        )
    traces: Any = figure.data
    logs = np.log10([y for trace in traces for y in trace.y if y is not None and 0 < y < math.inf] or [1.0])
    decades = max(1, math.ceil(float(np.ptp(logs)) / _TICKS))
    figure.update_yaxes(type="log", exponentformat="power", dtick=decades, tickfont_size=10)
    return figure.update_xaxes(range=[0, max(1, last_shown) * BEYOND_LINE])


def separability_along_orbit(analyses: Sequence[Analysis]) -> go.Figure:
    """Test accuracy of logistic regression after 0, 1, 2, 4, ... steps, a line for each analysis that has it.

    Doublings of the step are equally far apart, and step 0 is one such distance before step 1. Where the solver met its
    limit of iterations the marker is open.
    """
    import plotly.graph_objects as go

    figure = blank_figure("step", "test accuracy", legend=len(analyses) > 1)
    figure.update_layout(meta=column_names(series="map", x="", y="test_accuracy", custom=["step", "fit_converged"]))
    all_steps: set[int] = set()
    for row, (analysis, label) in enumerate(zip(analyses, labels_of(analyses), strict=True)):
        separability = analysis.results.separability
        if separability is None or not separability.along_orbit:
            continue
        points = sorted(separability.along_orbit, key=lambda point: point.step)
        all_steps.update(point.step for point in points)
        symbol = SYMBOLS[row % len(SYMBOLS)]
        colour = level_colour(row, len(analyses))
        figure.add_trace(
            go.Scatter(
                x=[_doublings(point.step) for point in points],
                y=[point.test for point in points],
                customdata=[(point.step, point.converged) for point in points],
                meta=column_names(name=label),
                mode="lines+markers",
                name=label_text(label),
                line={"color": colour, "width": 2},
                marker={
                    "color": colour,
                    "size": 8,
                    "symbol": [symbol if point.converged else f"{symbol}-open" for point in points],
                },
                hovertemplate="after %{customdata[0]} steps: %{y:.3f}<extra>%{fullData.name}</extra>",
            )
        )
    ticks = sorted(all_steps)
    return figure.update_xaxes(
        tickvals=[_doublings(step) for step in ticks], ticktext=[f"{step}" for step in ticks], tickangle=0
    ).update_yaxes(tickformat=".2f")


def _append_orbit(steps: list[int | None], values: list[float | None], lengths: np.ndarray) -> None:
    """Append one orbit, thinned, and a gap after it."""
    known = np.flatnonzero(np.isfinite(lengths) & (lengths > 0))  # others have no logarithm
    if len(known) == 0:
        return
    for index in known[_spread(len(known), POINTS)]:
        steps.append(int(index) + 1)
        values.append(float(str(lengths[index])))  # the digits that a float32 has
    steps.append(None)
    values.append(None)


def _at_floor(lengths: np.ndarray) -> int:
    """The step at which step lengths come down to what they are at the end, or twice that; 0 if there are none."""
    known = lengths[np.isfinite(lengths)]
    last = known[-max(1, min(FLOOR_STEPS, len(known) // 8)) :]  # of a short orbit only the very end is at the floor
    return int(np.argmax(known <= 2 * np.median(last))) + 1 if len(known) else 0


def _spread(available: int, wanted: int) -> np.ndarray:
    """At most `wanted` indices below `available`, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, available - 1, min(available, wanted)).round().astype(int))


def _doublings(step: int) -> float:
    return math.log2(step) if step > 0 else -1.0

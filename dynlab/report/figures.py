"""Figures of one or several analyses, by plotly: how orbits come to rest, and what changes across the levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from dynlab.attractors.diversity import equal_sample_counts
from dynlab.attractors.statistics import wilson_interval
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Outcome
from dynlab.report.figure_data import column_names
from dynlab.report.labels import Axis, axis_of, labels_of
from dynlab.report.layout import SYMBOLS, across_levels, blank_figure, label_text, level_colour
from dynlab.report.palette import OUTCOME_COLOURS, light
from dynlab.report.words import count, outcome_share, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

DRAWN = 60  # orbits in the figure of step lengths, about
AT_LEAST = 3  # of each outcome
POINTS = 200  # of one orbit
FLOOR_STEPS = 64  # at the end of an orbit
BEYOND_LINE = 1.15  # steps shown, in those at which the last orbit reaches the rounding floor
_DASHES = {
    Outcome.KEPT: "solid",
    Outcome.CHANGED: "dash",
    Outcome.STAIN: "dot",
    Outcome.EXPLOSION: "dashdot",
    Outcome.UNRESOLVED: "longdash",
    Outcome.UNKNOWN: "solid",
}
_OUTCOME_WORDS = {
    Outcome.KEPT: "kept its class",
    Outcome.CHANGED: "changed its class",
    Outcome.STAIN: "stain",
    Outcome.EXPLOSION: "explosion",
    Outcome.UNRESOLVED: "unresolved",
    Outcome.UNKNOWN: "unknown",
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
                    name=_OUTCOME_WORDS[outcome],
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
            annotation={"text": f"tolerance {tolerance:g}", "font": {"size": 12, "color": light("quiet")}},
            annotation_position="top right",
        )
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, tickfont_size=10)
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


def attractors_by_corruption_level(analyses: Sequence[Analysis]) -> go.Figure:
    """Number of attractors at equal sample size across the levels, with two standard deviations to either side."""
    import plotly.graph_objects as go

    counts = equal_sample_counts([analysis.basin_sizes() for analysis in analyses])
    axis = axis_of(analyses)
    samples = counts[0].samples if counts else 0
    figure = blank_figure(axis.title, f"attractors among {count(samples, 'sample')}", legend=False)
    figure.add_trace(
        go.Scatter(
            x=axis.positions,
            y=[found.expected for found in counts],
            error_y={
                "type": "data",
                "array": [2 * found.standard_deviation for found in counts],
                "arrayminus": [min(2 * found.standard_deviation, found.expected) for found in counts],
                "symmetric": False,
                "color": light("kept"),
                "thickness": 1.5,
                "width": 4,
            },
            mode="lines+markers+text",
            customdata=[
                (label, found.samples, found.standard_deviation)
                for label, found in zip(labels_of(analyses), counts, strict=True)
            ],
            meta=column_names(
                x=_level_column(axis), y="expected_attractors", custom=["map", "samples", "standard_deviation"]
            ),
            text=[f"{found.expected:,.0f}" for found in counts],
            textposition="top right",
            cliponaxis=False,
            line={"color": light("kept"), "width": 2},
            marker={"color": light("kept"), "size": 8},
            hovertemplate="%{y:.1f} attractors<extra></extra>",
        )
    )
    return across_levels(figure, axis).update_yaxes(rangemode="tozero")


def outcome_shares(analyses: Sequence[Analysis]) -> go.Figure:
    """What became of the samples: the share of each outcome, a bar for each analysis."""
    import plotly.graph_objects as go

    labels = labels_of(analyses)
    places = list(range(len(analyses)))
    figure = blank_figure("share of samples", "", legend=True)
    figure.update_layout(meta=column_names(series="outcome", x="share", y="", custom=["map", "count", "samples"]))
    for outcome in Outcome:
        shares = [outcome_share(analysis, outcome) for analysis in analyses]
        if not any(shares):
            continue
        figure.add_trace(
            go.Bar(
                y=places,
                x=shares,
                orientation="h",
                name=_OUTCOME_WORDS[outcome],
                text=[percent(share) if share >= 0.08 else "" for share in shares],
                textposition="inside",
                textangle=0,
                insidetextanchor="middle",
                insidetextfont={"color": light("on-mark"), "size": 13},
                marker={
                    "color": light(OUTCOME_COLOURS[outcome]),
                    "line": {"color": light("paper"), "width": 1},
                },
                customdata=[
                    (label, analysis.results.outcomes.get(outcome.value, 0), analysis.results.data.samples)
                    for label, analysis in zip(labels, analyses, strict=True)
                ],
                meta=column_names(name=outcome.value),
                hovertext=[percent(share) for share in shares],
                hovertemplate=f"{_OUTCOME_WORDS[outcome]}: %{{hovertext}}<extra></extra>",
            )
        )
    figure.update_layout(barmode="stack", bargap=0.35, height=150 + 52 * len(analyses))
    figure.update_xaxes(range=[0, 1.001], tickformat=".0%", dtick=0.25)
    return figure.update_yaxes(
        tickvals=places, ticktext=[label_text(label) for label in labels], autorange="reversed", showgrid=False
    )


def explosion_share(analyses: Sequence[Analysis]) -> go.Figure:
    """Share of samples that end in an explosion across the levels, with the 95% interval of Wilson.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    import plotly.graph_objects as go

    axis = axis_of(analyses)
    exploded = [analysis.results.outcomes.get(Outcome.EXPLOSION.value, 0) for analysis in analyses]
    samples = [analysis.results.data.samples for analysis in analyses]
    shares = [hits / max(1, tries) for hits, tries in zip(exploded, samples, strict=True)]
    intervals = wilson_interval(torch.tensor(exploded), torch.tensor(samples)).tolist()
    figure = blank_figure(axis.title, "share of explosions", legend=False)
    figure.add_trace(
        go.Scatter(
            x=axis.positions,
            y=shares,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [high - share for share, (_, high) in zip(shares, intervals, strict=True)],
                "arrayminus": [share - low for share, (low, _) in zip(shares, intervals, strict=True)],
                "color": light("explosion"),
                "thickness": 1.5,
                "width": 4,
            },
            customdata=[
                (label, hits, tries, *interval)
                for label, hits, tries, interval in zip(labels_of(analyses), exploded, samples, intervals, strict=True)
            ],
            meta=column_names(
                x=_level_column(axis),
                y="share",
                custom=["map", "explosions", "samples", "interval_low", "interval_high"],
            ),
            mode="lines+markers",
            line={"color": light("explosion"), "width": 2},
            marker={"color": light("explosion"), "size": 8, "symbol": "star"},
            hovertemplate="%{y:.2%}<extra></extra>",
        )
    )
    return across_levels(figure, axis).update_yaxes(tickformat=".1~%", rangemode="tozero")


def accuracy_by_corruption_level(analyses: Sequence[Analysis]) -> go.Figure:
    """Test accuracy across the levels: on raw and on transformed data, at its best along the orbit, and by basins."""
    import plotly.graph_objects as go

    axis = axis_of(analyses)
    figure = blank_figure(axis.title, "test accuracy", legend=True)
    names = column_names(series="data", x=_level_column(axis), y="test_accuracy", custom=["map"])
    figure.update_layout(meta=names)
    found = [
        (position, label, separability)
        for position, label, analysis in zip(axis.positions, labels_of(analyses), analyses, strict=True)
        if (separability := analysis.results.separability) is not None
    ]
    curves = {
        "raw": ("raw", "circle", "dot", [entry.raw.test for _, _, entry in found]),
        "best along the orbit": (
            "changed",
            "diamond",
            "dash",
            [max((point.test for point in entry.along_orbit), default=math.nan) for _, _, entry in found],
        ),
        "transformed set": ("iterated", "square", "solid", [entry.transformed.test for _, _, entry in found]),
        "basins alone": ("basins", "triangle-up", "dashdot", [entry.basins.test for _, _, entry in found]),
    }
    for name, (colour, symbol, dash, values) in curves.items():
        figure.add_trace(
            go.Scatter(
                x=[position for position, _, _ in found],
                y=[None if math.isnan(value) else value for value in values],
                customdata=[label for _, label, _ in found],
                mode="lines+markers",
                name=name,
                line={"color": light(colour), "width": 2, "dash": dash},
                marker={"color": light(colour), "size": 8, "symbol": symbol},
                hovertemplate=f"{name}: %{{y:.3f}}<extra></extra>",
            )
        )
    return across_levels(figure, axis).update_yaxes(tickformat=".2f")


def _level_column(axis: Axis) -> str:
    """Name of the column of the positions; none where these are but places side by side."""
    return "corruption_level" if axis.title else ""


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
    return int(np.argmax(known <= 2 * np.median(known[-FLOOR_STEPS:]))) + 1 if len(known) else 0


def _spread(available: int, wanted: int) -> np.ndarray:
    """At most `wanted` indices below `available`, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, available - 1, min(available, wanted)).round().astype(int))


def _doublings(step: int) -> float:
    return math.log2(step) if step > 0 else -1.0

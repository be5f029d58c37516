"""Figures across several analyses, by plotly: what changes from map to map, or with the corruption level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dynlab.attractors.diversity import equal_sample_counts
from dynlab.attractors.statistics import wilson_interval
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Outcome
from dynlab.report.figure_data import column_names
from dynlab.report.labels import Axis, axis_of, labels_of
from dynlab.report.layout import across_levels, blank_figure, label_text
from dynlab.report.palette import OUTCOME_COLOURS, light
from dynlab.report.words import OUTCOME_WORDS, count, outcome_share, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
                name=OUTCOME_WORDS[outcome],
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
                hovertemplate=f"{OUTCOME_WORDS[outcome]}: %{{hovertext}}<extra></extra>",
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

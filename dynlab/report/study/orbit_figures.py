"""Figures of one map of a study: figure 7 of the report, and the similarity of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dynlab.report.figure_data import column_names
from dynlab.report.layout import blank_figure, label_text
from dynlab.report.palette import light

if TYPE_CHECKING:
    import plotly.graph_objects as go

_EVERY = 4  # step of the distances that is drawn
_DIGITS = 4
_BINS = 40


@dataclass(frozen=True)
class Bundle:
    """Orbits of samples that are drawn alike."""

    name: str
    colour: str  # of the palette
    dash: str
    columns: Sequence[int]  # of the arrays
    samples: Sequence[int]


def step_lengths_figure(lengths: NDArray[np.float64], bundles: Sequence[Bundle], steps: int, *, log: bool) -> go.Figure:
    """Lengths of the first steps, a line a sample.

    Args:
        lengths: Shape (steps, samples), row i that of step i + 1; units of the state.
        bundles: Which samples to draw alike.
        steps: How many to draw.
        log: Whether the axis of lengths is logarithmic.

    Source: figure 7 of Bahdanau and Jaeger 2014, left and middle.
    """
    return _orbits(lengths[:steps], 1, 1, bundles, "step length", "step_length", log=log)


def distances_figure(distances: NDArray[np.float64], bundles: Sequence[Bundle], reference: int) -> go.Figure:
    """Distances to a late state of the same orbit, a line a sample, every fourth step, on a logarithmic axis.

    Args:
        distances: Shape (steps, samples), row i that of the state after i steps; units of the state.
        bundles: Which samples to draw alike.
        reference: The step of the late state, whose own distance is 0.

    Source: figure 7 of Bahdanau and Jaeger 2014, right.
    """
    return _orbits(
        distances[:reference], 0, _EVERY, bundles, f"distance to the state at step {reference}", "distance", log=True
    )


def _orbits(
    values: NDArray[np.float64],
    first: int,
    every: int,
    bundles: Sequence[Bundle],
    title: str,
    column: str,
    *,
    log: bool,
) -> go.Figure:
    """A line a sample: every so many rows of `values`, whose row 0 is that of the step `first`."""
    import plotly.graph_objects as go

    figure = blank_figure("step", title, legend=len(bundles) > 1)
    figure.update_layout(meta=column_names(series="samples", x="step", y=column, custom=["sample"]))
    for bundle in bundles:
        steps: list[int | None] = []
        drawn: list[float | None] = []
        owners: list[int] = []
        for place, sample in zip(bundle.columns, bundle.samples, strict=True):
            for row in range(0, len(values), every):
                value = float(values[row, place])
                if math.isfinite(value) and (value > 0 or not log):
                    steps.append(row + first)
                    drawn.append(_short(value))
                    owners.append(sample)
            steps.append(None)
            drawn.append(None)
            owners.append(sample)
        if owners:
            figure.add_trace(
                go.Scatter(
                    x=steps,
                    y=drawn,
                    customdata=owners,
                    meta=column_names(name=bundle.name),
                    mode="lines",
                    name=label_text(bundle.name),
                    line={"color": light(bundle.colour), "width": 1, "dash": bundle.dash},
                    opacity=0.85,
                    hovertemplate="sample %{customdata}, step %{x}: %{y:.3g}<extra></extra>",
                )
            )
    if log:
        figure.update_yaxes(type="log", exponentformat="power", dtick=1, tickfont_size=10)
    else:
        figure.update_yaxes(rangemode="tozero")
    return figure


def cosines_figure(own: NDArray[np.float64], strangers: NDArray[np.float64]) -> go.Figure:
    """How many hidden units have which cosine of their row of `W1` with their own column of `W2` and with another's."""
    import plotly.graph_objects as go

    edges = np.linspace(-1.0, 1.0, _BINS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    figure = blank_figure("cosine", "hidden units", legend=True)
    figure.update_layout(
        barmode="overlay", bargap=0.0, meta=column_names(series="with", x="cosine", y="units", custom=["from", "to"])
    )
    for name, values, colour in (("its own column", own, "iterated"), ("another unit's", strangers, "raw")):
        counts, _ = np.histogram(np.clip(values, -1.0, 1.0), edges)
        filled = counts > 0
        figure.add_trace(
            go.Bar(
                x=[round(float(middle), 3) for middle in middles[filled]],
                y=counts[filled].tolist(),
                width=2.0 / _BINS,
                customdata=[
                    (round(float(low), 3), round(float(high), 3))
                    for low, high in zip(edges[:-1][filled], edges[1:][filled], strict=True)
                ],
                meta=column_names(name=name),
                name=name,
                marker={"color": light(colour)},
                opacity=0.75,
                hovertemplate="%{customdata[0]} to %{customdata[1]}: %{y} units<extra>%{fullData.name}</extra>",
            )
        )
    return figure.update_xaxes(range=[-1.0, 1.0])


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")

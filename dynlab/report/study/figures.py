"""Figures of a study: figure 5 of the report, settings side by side, and separability along the orbit.

Each is of one panel; panels that are compared get the same ranges of their axes, and the page puts them side by side
where there is room.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dynlab.report.figure_data import column_names
from dynlab.report.layout import SYMBOLS, blank_figure, label_text, level_colour
from dynlab.report.palette import light

if TYPE_CHECKING:
    import plotly.graph_objects as go

_TICKS_APART = 0.06  # a range of accuracies in which ticks stand 0.01 apart or more
_ROOM = 0.06  # beyond the outermost points, as a share of their range


@dataclass(frozen=True)
class Series:
    """What the lines or points of one family of maps look like on every panel."""

    name: str
    number: int  # among all families of the page
    families: int

    @property
    def colour(self) -> str:
        """Its colour on a light background."""
        return level_colour(self.number, self.families)

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return SYMBOLS[self.number % len(SYMBOLS)]


@dataclass(frozen=True)
class RunPoint:
    """One trained map, or the average of several that differ in their seed only, in figure 5."""

    error: float  # mse_test
    accuracy: float
    explosions: float
    setting: str
    seeds: str  # the seed of a run, or how many an average is of


@dataclass(frozen=True)
class ErrorPoints:
    """The points of one family of maps in figure 5."""

    series: Series
    runs: Sequence[RunPoint]
    averages: Sequence[RunPoint]  # of at least two runs each


Range = tuple[float, float]


def range_of(values: Sequence[float]) -> Range:
    """A range of an axis with room around all values; (0, 1) where there is none."""
    if not values:
        return 0.0, 1.0
    least, most = min(values), max(values)
    room = _ROOM * (most - least) or 0.05 * abs(most) or 0.5
    return least - room, most + room


def _digits(accuracies: Range) -> str:
    """As many that no two ticks read the same."""
    return ".2f" if accuracies[1] - accuracies[0] > _TICKS_APART else ".3f"


def accuracy_and_explosions(panel: Sequence[ErrorPoints], accuracies: Range, explosions: Range) -> go.Figure:
    """Test accuracy above, and explosions below, against the reconstruction error of the test set.

    Small open points are runs, larger diamonds the averages of those that differ in their seed only. Where all are of
    one family, runs are blue and averages red as in the report.

    Source: figure 5 of Bahdanau and Jaeger 2014.
    """
    import plotly.graph_objects as go

    alone = all(points.series.families == 1 for points in panel)
    figure: Any = blank_figure("reconstruction error (MSE, test)", "test accuracy", legend=True)
    upper = figure.layout.yaxis.to_plotly_json()
    lower = upper | {"title": upper["title"] | {"text": "explosions"}}
    figure.update_layout(
        height=440,
        yaxis={"domain": [0.54, 1.0], "range": accuracies, "tickformat": _digits(accuracies)},
        yaxis2=lower | {"anchor": "x", "domain": [0.0, 0.46], "range": explosions},
        xaxis={"anchor": "y2"},
        meta=column_names(x="mse_test", custom=["setting", "seed or number of seeds"]),
    )
    for row, (attribute, column) in enumerate((("accuracy", "acc_test"), ("explosions", "explosions_test"))):
        for points in panel:
            series = points.series
            for found, is_average in ((points.runs, False), (points.averages, True)):
                if not found:
                    continue
                what = "averages" if is_average else "runs"
                name = what if alone else f"{series.name}, {what}"
                is_named = row == 0 and (alone or not is_average or not points.runs)
                colour = light("explosion" if is_average else "kept") if alone else series.colour
                figure.add_trace(
                    go.Scatter(
                        x=[point.error for point in found],
                        y=[getattr(point, attribute) for point in found],
                        yaxis="y2" if row else "y",
                        customdata=[(point.setting, point.seeds) for point in found],
                        meta=column_names(name=name, y=column),
                        mode="markers",
                        name=label_text(what if alone else series.name),
                        legendgroup=name if alone else series.name,
                        showlegend=is_named,
                        marker={
                            "color": colour,
                            "size": 11 if is_average else 7,
                            "symbol": "diamond" if is_average else "circle-open" if alone else f"{series.symbol}-open",
                            "line": {"width": 1.5, "color": light("paper") if is_average else colour},
                        },
                        hovertemplate="%{customdata[0]}<br>"
                        + ("mean of " if is_average else "seed ")
                        + "%{customdata[1]}: %{x:.2f}, %{y:.4~g}<extra></extra>",
                    )
                )
    return figure


@dataclass(frozen=True)
class OrbitLine:
    """Mean test accuracy of one family of maps along the orbit."""

    series: Series
    steps: Sequence[int]
    accuracies: Sequence[float]
    end: float | None  # where the quantile rule stops the sets, learned from as many samples
    runs: int


def along_orbit(panel: Sequence[OrbitLine], raw: float | None, accuracies: Range) -> go.Figure:
    """Test accuracy of logistic regression after 0, 1, 2, 4, ... steps and at the end, a line for each family of maps.

    Doublings of the step are equally far apart; step 0 and the end each stand one such distance off. The dotted line is
    the accuracy on raw pixels.
    """
    import plotly.graph_objects as go

    figure = blank_figure("step", "test accuracy", legend=True)
    figure.update_layout(meta=column_names(series="maps", x="", y="test_accuracy", custom=["step", "runs"]))
    steps = sorted({step for line in panel for step in line.steps})
    places = {step: math.log2(step) if step else -1.0 for step in steps}
    end = max(places.values(), default=0.0) + 1.0
    for line in panel:
        known = [] if line.end is None else [(end, line.end, "end")]
        points = [
            (places[step], accuracy, str(step)) for step, accuracy in zip(line.steps, line.accuracies, strict=True)
        ] + known
        figure.add_trace(
            go.Scatter(
                x=[place for place, _, _ in points],
                y=[accuracy for _, accuracy, _ in points],
                customdata=[(step, line.runs) for _, _, step in points],
                meta=column_names(name=line.series.name),
                mode="lines+markers",
                name=label_text(line.series.name),
                line={"color": line.series.colour, "width": 2},
                marker={"color": line.series.colour, "size": 8, "symbol": line.series.symbol},
                hovertemplate="step %{customdata[0]}: %{y:.3f}<extra>%{fullData.name}</extra>",
            )
        )
    if raw is not None and panel:
        figure.add_hline(y=raw, line={"color": light("raw"), "width": 1, "dash": "dot"})
    shown = [step for step in steps if step == 0 or math.log2(step) % 2 == 0] if len(steps) > 6 else steps
    return figure.update_xaxes(
        tickvals=[*(places[step] for step in shown), end], ticktext=[*(f"{step}" for step in shown), "end"], tickangle=0
    ).update_yaxes(tickformat=_digits(accuracies), range=accuracies)


def setting_dots(
    rows: Sequence[tuple[Sequence[str], Sequence[float], Sequence[str]]], x_title: str, column: str
) -> go.Figure:
    """A row of points for each setting, one a seed, and a bar at their mean.

    Args:
        rows: From top to bottom: lines of what the setting is called, the values of its seeds, the seeds.
        x_title: What the values are.
        column: The same as the name of a column.
    """
    import plotly.graph_objects as go

    figure = blank_figure(x_title, "", legend=True)
    lines = max((len(name) for name, _, _ in rows), default=1)
    figure.update_layout(
        height=110 + (10 + 16 * lines) * len(rows),
        meta=column_names(x=column, y="row from the top", custom=["setting", "seed"]),
    )
    means = [
        (float(np.mean(values)), place, ", ".join(name)) for place, (name, values, _) in enumerate(rows) if len(values)
    ]
    traces: Mapping[str, Any] = {
        "seeds": [
            (value, place, ", ".join(name), seed)
            for place, (name, values, seeds) in enumerate(rows)
            for value, seed in zip(values, seeds, strict=True)
        ],
        "means": [(mean, place, name, "mean") for mean, place, name in means],
    }
    looks = {
        "seeds": {"color": light("kept"), "size": 8, "symbol": "circle-open", "line": {"width": 1.5}},
        "means": {"color": light("ink"), "size": 14, "symbol": "line-ns", "line": {"width": 2, "color": light("ink")}},
    }
    for name, points in traces.items():
        figure.add_trace(
            go.Scatter(
                x=[point[0] for point in points],
                y=[point[1] for point in points],
                customdata=[point[2:] for point in points],
                mode="markers",
                name=name,
                marker=looks[name],
                hovertemplate="%{customdata[0]}, %{customdata[1]}: %{x:.4~g}<extra></extra>",
            )
        )
    return figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=["<br>".join(map(label_text, name)) for name, _, _ in rows],
        range=[len(rows) - 0.4, -0.6],
        ticks="",
    ).update_xaxes(range=list(range_of([value for _, values, _ in rows for value in values])))

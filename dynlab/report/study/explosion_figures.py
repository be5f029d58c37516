"""Figures of explosions in a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynlab.report.figure_data import column_names
from dynlab.report.layout import blank_figure, label_text
from dynlab.report.study.figures import Range, Series

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class ReachLine:
    """Which share of some states reaches an explosion, of one map."""

    series: Series
    values: Sequence[float]
    shares: Sequence[float]
    intervals: Sequence[Range]  # 95%
    states: int  # of each


def reach_figure(lines: Sequence[ReachLine], x_title: str, column: str, *, log: bool) -> go.Figure:
    """Share of states that reach an explosion, by where they start."""
    import plotly.graph_objects as go

    figure = blank_figure(x_title, "share that explodes", legend=True)
    custom = ["low", "high", "states"]
    figure.update_layout(meta=column_names(series="map", x=column, y="share", custom=custom))
    for line in lines:
        figure.add_trace(
            go.Scatter(
                x=list(line.values),
                y=list(line.shares),
                customdata=[(low, high, line.states) for low, high in line.intervals],
                meta=column_names(name=line.series.name),
                mode="lines+markers",
                name=label_text(line.series.name),
                line={"color": line.series.colour, "width": 2},
                marker={"color": line.series.colour, "size": 8, "symbol": line.series.symbol},
                hovertemplate="%{x}: %{y:.0%}, 95% interval %{customdata[0]:.0%} to %{customdata[1]:.0%}"
                "<extra>%{fullData.name}</extra>",
            )
        )
    if log:
        figure.update_xaxes(type="log", tickvals=sorted({value for line in lines for value in line.values}))
    return figure.update_yaxes(tickformat=".0%", range=[-0.04, 1.04])

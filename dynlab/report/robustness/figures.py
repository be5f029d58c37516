"""Figures of robustness: intervals of minimal critical shocks, and escapes by noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dynlab.attractors.robustness.pulled_back import LowerBound
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.robustness_results import Shock
from dynlab.report.figure_data import column_names
from dynlab.report.layout import KIND_LOOKS, blank_figure
from dynlab.report.palette import light
from dynlab.report.pictures import Screen
from dynlab.report.words import number

if TYPE_CHECKING:
    import plotly.graph_objects as go

DECADES = 5  # of lengths that are shown, below the largest
_ROW, _MARGIN = 34, 110  # heights in pixels
_PICTURE_SHARE = 0.14  # of the width, kept free for the pictures
_ENDS = {  # colour and words of lower ends
    LowerBound.PROVED: ("kept", "lower end, proved"),
    LowerBound.ESTIMATED: ("basins", "lower end, estimated"),
}


def shock_figure(shocks: Sequence[Shock], starts: Tensor, screen: Screen, of: str) -> go.Figure:
    """Intervals of the lengths of minimal critical shocks as bars on a logarithmic axis, a row for each start.

    Args:
        shocks: A row each.
        starts: Their states, shape (shocks, dim), for the pictures.
        screen: How the states are shown.
        of: What starts are: "attractor" or "sample".

    Returns:
        The figure; empty where no row has an end above 0 and below infinity.
    """
    figure = blank_figure("length of the shock, in units of the state", "", legend=True)
    rows = [(row, shock) for row, shock in enumerate(shocks) if shock.upper is not None]
    known = [length for _, shock in rows for length in (shock.upper, shock.straight, shock.nearest) if length]
    known = known or [shock.lower for shock in shocks if shock.lower]
    if not known:
        return figure
    figure.update_layout(meta=column_names(series="what", x="length", y="", custom=[of]))
    largest = max(known)
    left = largest * 10.0**-DECADES
    least = max(left, min(shock.lower or shock.upper or largest for shock in shocks))
    for kind in _ENDS:
        figure.add_traces(_lower_ends(shocks, kind, of, left, largest))
    upper: Any = _ends(
        of,
        [(row, shock.start, shock.upper) for row, shock in rows],
        "upper end, best found",
        {"color": light("ink"), "symbol": "diamond", "size": 9},
    )
    upper.meta = column_names(custom=[of, "lower", "lower_end", "reached"])
    upper.customdata = [[shock.start, shock.lower, str(shock.lower_bound), shock.reached] for _, shock in rows]
    upper.hovertemplate = f"{of} %{{customdata[0]}}: %{{customdata[1]:.3~g}} to %{{x:.3~g}}<extra></extra>"
    if rows:
        figure.add_trace(upper)
    for name, marker, lengths in (
        (
            "best before optimization",
            {"color": light("quiet"), "symbol": "circle-open", "size": 8},
            [(row, shock.start, shock.straight) for row, shock in rows],
        ),
        (
            "nearest other attractor",
            {"color": light("iterated"), "symbol": "x-thin-open", "size": 8, "line": {"width": 2}},
            [(row, shock.start, shock.nearest) for row, shock in rows if shock.nearest is not None],
        ),
    ):
        if lengths:
            figure.add_trace(_ends(of, lengths, name, marker))
    side = 0.9
    for row, state in enumerate(starts):
        figure.add_layout_image(
            source=screen.picture(state),
            xref="x domain",
            yref="y",
            x=0,
            y=row,
            sizex=0.9 * _PICTURE_SHARE,
            sizey=side,
            xanchor="left",
            yanchor="middle",
            layer="above",
        )
    right, begin = math.log10(largest) + 0.08, math.log10(least) - 0.08
    begin -= (right - begin) * _PICTURE_SHARE / (1 - _PICTURE_SHARE)
    figure.update_xaxes(type="log", range=[begin, right], exponentformat="power", dtick=1 if right - begin < 4 else 2)
    figure.update_yaxes(
        tickvals=list(range(len(shocks))),
        ticktext=[f"{of} {shock.start}" for shock in shocks],
        range=[len(shocks) - 0.5, -0.5],
        showgrid=False,
    )
    return figure.update_layout(height=_MARGIN + _ROW * len(shocks))


def escape_figure(analysis: Analysis) -> go.Figure:
    """Share of the draws from each attractor that did not come back, with its 95% interval, against the basin size."""
    import plotly.graph_objects as go

    figure = blank_figure("samples in the basin", "probability of leaving", legend=True)
    robust = analysis.results.robustness
    if robust is None:
        return figure
    figure.update_layout(
        meta=column_names(
            series="kind",
            x="basin_size",
            y="escape_probability",
            custom=["attractor", "low", "high", "elsewhere", "unresolved", "group", "recurrent_class", "stationary"],
        )
    )
    attractors = analysis.results.attractors
    for kind, (colour, symbol) in KIND_LOOKS.items():
        rows = [escape for escape in robust.attractor_escapes if attractors[escape.attractor].kind is kind]
        if not rows:
            continue
        figure.add_trace(
            go.Scatter(
                x=[attractors[escape.attractor].basin_size for escape in rows],
                y=[escape.escape_probability for escape in rows],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [escape.escape_high - escape.escape_probability for escape in rows],
                    "arrayminus": [escape.escape_probability - escape.escape_low for escape in rows],
                    "color": light("raw"),
                    "thickness": 1,
                    "width": 0,
                },
                customdata=[
                    [
                        escape.attractor,
                        escape.escape_low,
                        escape.escape_high,
                        escape.elsewhere,
                        escape.unresolved,
                        escape.group,
                        escape.recurrent_class,
                        escape.stationary,
                    ]
                    for escape in rows
                ],
                mode="markers",
                name=str(kind),
                marker={"color": light(colour), "symbol": symbol, "size": 7},
                hovertemplate=(
                    "attractor %{customdata[0]}, %{x} samples<br>%{y:.1%} leave "
                    "(%{customdata[1]:.1%} to %{customdata[2]:.1%})<extra></extra>"
                ),
            )
        )
    sizes = [attractors[escape.attractor].basin_size for escape in robust.attractor_escapes] or [1]
    leading = (1, 2, 5) if max(sizes) < 1000 * max(1, min(sizes)) else (1,)
    ticks = [digit * 10**power for power in range(len(str(max(sizes))) + 1) for digit in leading]
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[number(tick) for tick in ticks])
    most = max((escape.escape_high for escape in robust.attractor_escapes), default=1.0)
    return figure.update_yaxes(range=[-0.03 * most, 1.03 * most], tickformat=".0%")


def _lower_ends(shocks: Sequence[Shock], kind: LowerBound, of: str, left: float, right: float) -> list[go.Scatter]:
    """Bars, and marks of the lower ends that are worth so much; those that are not within the figure at its sides.

    Where no perturbation leads elsewhere the lower end is infinite. The data have the ends as they are.
    """
    import plotly.graph_objects as go

    colour, name = _ENDS[kind]
    rows = [
        (row, shock.start, math.inf if shock.lower is None else shock.lower, shock.upper)
        for row, shock in enumerate(shocks)
        if shock.lower_bound is kind and shock.lower != 0
    ]
    bars = [(row, max(lower, left), upper) for row, _, lower, upper in rows if upper is not None and lower < math.inf]
    found = []
    if bars:
        found.append(
            go.Scatter(
                x=[end for _, lower, upper in bars for end in (lower, upper, None)],
                y=[place for row, _, _ in bars for place in (row, row, None)],
                mode="lines",
                line={"color": light(colour), "width": 7},
                opacity=0.55,
                hoverinfo="skip",
                showlegend=False,
            )
        )
    marks = [(row, start, lower) for row, start, lower, _ in rows]
    line: dict[str, Any] = {"color": light(colour), "symbol": "line-ns-open", "size": 13, "line": {"width": 2}}
    if seen := [mark for mark in marks if left <= mark[2] <= right]:
        found.append(_ends(of, seen, name, line))
    for side, place, cut in (
        ("left", left, [mark for mark in marks if mark[2] < left]),
        ("right", right, [mark for mark in marks if mark[2] > right]),
    ):
        if not cut:
            continue
        marker = {"color": light(colour), "symbol": f"triangle-{side}", "size": 9}
        trace: Any = _ends(of, [(row, start, place) for row, start, _ in cut], f"{name}, farther {side}", marker)
        trace.customdata = [[start, lower] for _, start, lower in cut]
        trace.meta = column_names(name=name, x="", custom=[of, "length"])
        trace.text = ["of any size" if lower == math.inf else f"{lower:.3g}" for _, _, lower in cut]
        trace.hovertemplate = f"{of} %{{customdata[0]}}, {name}: %{{text}}<extra></extra>"
        found.append(trace)
    return found


def _ends(of: str, rows: Sequence[tuple[int, int, float | None]], name: str, marker: dict[str, Any]) -> go.Scatter:
    """Marks of one sort, at most one in each row."""
    import plotly.graph_objects as go

    return go.Scatter(
        x=[length for _, _, length in rows],
        y=[row for row, _, _ in rows],
        customdata=[start for _, start, _ in rows],
        mode="markers",
        name=name,
        marker=marker,
        hovertemplate=f"{of} %{{customdata}}, {name}: %{{x:.3~g}}<extra></extra>",
    )

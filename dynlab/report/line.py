"""The graph of a map of one number, with its fixed points, the way of its cycles, and where each state goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynlab.attractors.planes import DIVERGED, codes_of, cycle_of
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.pictured import PicturedFixedPoint
from dynlab.report.basin_colours import COLOURS, MARKER, Key, basin_cells, coloured, keys_of
from dynlab.report.figure_data import column_names
from dynlab.report.layout import blank_figure
from dynlab.report.palette import light
from dynlab.report.pictured import NAMED, fixed_point_text
from dynlab.report.pictures import Screen
from dynlab.report.words import count, enumeration, number

if TYPE_CHECKING:
    import plotly.graph_objects as go

_HEIGHT = 460
_STRIP = 0.05  # height of the strip of basins, in that of the graph
_STEPS = 60  # of an unresolved sample that are drawn


@dataclass(frozen=True)
class LineView:
    """What the page says of the graph."""

    words: str
    keys: list[Key]


def line_view(analysis: Analysis, screen: Screen) -> LineView | None:
    """What the page says of the graph of a map of one number; None where there is none."""
    codes, found = _codes(analysis), analysis.results.pictured
    if codes is None or found is None:
        return None
    stable = sum(point.is_stable for point in found)
    undecided = sum(not point.is_stable and not point.unstable for point in found)
    where = f"at least {count(len(found), 'fixed point')} here, {number(stable)} of them stable"
    if 0 < len(found) <= NAMED:
        where = f"here at {enumeration([fixed_point_text(point) for point in found])}"
    marks = "Full circles attract, open ones do not" + (", grey ones are too near to call." if undecided else ".")
    sentences = [
        f"Where the graph crosses the diagonal the map has a fixed point: {where if found else 'nowhere here'}.",
        *([marks] if found else []),
        (
            "None is seen where it only touches the diagonal, runs along it, or crosses it twice between two of "
            f"{number(codes.size)} states, unless a sample ends there."
        ),
    ]
    webs = {colour == "unresolved" for colour, _ in _cobwebs(analysis, codes)}
    if webs:
        ways = ["the way of cycles"] * (False in webs) + ["that of an unresolved sample"] * (True in webs)
        sentences.append(f"Steps between graph and diagonal are {enumeration(ways)}.")
    sentences.append("The strip shows where each state goes.")
    if len(np.unique(codes[(codes >= 0) | (codes < DIVERGED)])) > len(COLOURS):
        sentences.append("Basins without a colour of their own are grey on it, in shades that neighbours may share.")
    return LineView(" ".join(sentences), keys_of(analysis, screen, codes, coloured(codes)))


def line_figure(analysis: Analysis) -> go.Figure:
    """The graph of the map; empty where there is none."""
    import plotly.graph_objects as go

    figure = blank_figure("x", "F(x)", legend=False)
    codes, points, arrays = _codes(analysis), analysis.results.pictured, analysis.arrays
    if codes is None or points is None or arrays.line_states is None or arrays.line_images is None:
        return figure
    x, y = arrays.line_states.numpy(), arrays.line_images.numpy()
    # Interrupted where the map jumps.
    jumps = np.zeros(0, dtype=np.int64) if arrays.line_jumps is None else arrays.line_jumps.numpy() + 1
    graph_x, graph_y = (np.insert(values, jumps, np.nan) for values in (x, y))
    cell = float(x[1] - x[0])
    ends = [float(x[0]) - cell / 2, float(x[-1]) + cell / 2]
    inner = np.quantile(y[np.isfinite(y)], [0.02, 0.98]) if np.isfinite(y).any() else np.array(ends)
    low, high = min(ends[0], float(inner[0])), max(ends[1], float(inner[1]))
    strip = _STRIP * (high - low)
    figure.add_trace(
        go.Heatmap(
            x=x,
            y0=low - strip,
            dy=strip,
            meta=column_names(series="", x="x", y="", z="", custom=["attractor"]),
            **basin_cells(codes[None], coloured(codes)),
        )
    )
    line: dict[str, Any] = {"mode": "lines", "showlegend": False}
    figure.add_trace(
        go.Scatter(x=ends, y=ends, line={"color": light("quiet"), "width": 1, "dash": "dot"}, hoverinfo="skip", **line)
    )
    figure.add_trace(
        go.Scatter(
            x=graph_x,
            y=graph_y,
            line={"color": light("ink"), "width": 2},
            meta=column_names(series="", x="x", y="image"),
            hovertemplate="F(%{x:.5g}) = %{y:.5g}<extra></extra>",
            **line,
        )
    )
    for colour, states in _cobwebs(analysis, codes):
        steps = np.repeat(states, 2)
        figure.add_trace(
            go.Scatter(x=steps[:-1], y=steps[1:], line={"color": light(colour), "width": 1.5}, hoverinfo="skip", **line)
        )
    if points:
        figure.add_trace(
            go.Scatter(
                x=[point.state[0] for point in points],
                y=[point.state[0] for point in points],
                customdata=[point.multipliers[0][0] for point in points],
                meta=column_names(series="", x="x", y="", custom=["multiplier"]),
                mode="markers",
                marker={**MARKER, "color": [_colour_of(point) for point in points]},
                hovertemplate="fixed point %{x:.6g}, multiplier %{customdata:.4g}<extra></extra>",
                showlegend=False,
            )
        )
    figure.update_xaxes(range=ends, showgrid=False)
    figure.update_yaxes(range=[low - 1.6 * strip, high + strip / 2], showgrid=False, zeroline=False)
    return figure.update_layout(height=_HEIGHT)


def _colour_of(point: PicturedFixedPoint) -> str:
    return light("ink" if point.is_stable else "card" if point.unstable else "quiet")


def _codes(analysis: Analysis) -> NDArray[np.int64] | None:
    arrays = analysis.arrays
    if arrays.line_labels is None or arrays.line_cycles is None or arrays.line_diverged is None:
        return None
    return codes_of(arrays.line_labels, arrays.line_cycles, arrays.line_diverged).numpy()


def _cobwebs(analysis: Analysis, codes: NDArray[np.int64]) -> list[tuple[str, NDArray[np.float64]]]:
    """Colour and states of what goes round and never settles: cycles that have a colour, and an unresolved sample."""
    cycles, webs = analysis.basins().cycles, []
    for colour, code in zip(COLOURS, coloured(codes), strict=False):
        cycle = cycle_of(code)
        if cycle is not None and cycle < len(cycles):
            states = cycles[cycle].states[:, 0].numpy()
            webs.append((colour, np.append(states, states[:2])))
    way = analysis.arrays.restless_states
    if len(way):
        webs.append(("unresolved", way[0, :_STEPS, 0].numpy()))
    return webs

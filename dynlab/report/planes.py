"""Pictures of basins on planes, with what is known to be on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynlab.attractors.planes import codes_of, cycle_of
from dynlab.dynamics.known import SAME_POINT
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.planes import PlanePicture
from dynlab.report.basin_colours import MARKER, Key, basin_cells, coloured, keys_of
from dynlab.report.figure_data import column_names
from dynlab.report.gallery import card_of
from dynlab.report.layout import blank_figure
from dynlab.report.palette import light
from dynlab.report.pictured import fixed_point_text, unstable_words
from dynlab.report.pictures import Screen
from dynlab.report.plane_words import entropy_words, picture_words

if TYPE_CHECKING:
    import plotly.graph_objects as go

_DOTS = 400  # of each sample that is unresolved
_HEIGHT = 420
_PICTURE = 0.13  # of an attractor, in sides of the plane


@dataclass(frozen=True)
class Plane:
    """What the page says of one picture."""

    title: str
    keys: list[Key]
    words: str
    entropy: str


@dataclass(frozen=True)
class _Drawn:
    """One picture and its arrays."""

    picture: PlanePicture
    directions: NDArray[np.float64]
    axes: NDArray[np.float64]
    codes: NDArray[np.int64]  # of the places that states go to, as `codes_of` has them

    @property
    def is_whole(self) -> bool:
        """Whether all states are on this plane, as those of two numbers are."""
        return self.directions.shape[1] == 2


def planes_of(analysis: Analysis, screen: Screen) -> list[Plane]:
    """What the page says of each picture; nothing where there is none."""
    attractors = len(analysis.results.attractors)
    return [
        Plane(
            "Basins on the plane of states" if drawn.is_whole else "Basins on a plane through three attractors",
            keys_of(analysis, screen, drawn.codes, _coloured(drawn)),
            picture_words(drawn.picture, len(drawn.codes), attractors, is_whole=drawn.is_whole)
            + (" Diamonds are the states of cycles." if _cycle_states(analysis, drawn) else "")
            + (" Dots are the way on of some unresolved samples." if len(_dots(analysis, drawn)) else "")
            + _unstable_words(analysis, drawn),
            _entropy_of(drawn),
        )
        for drawn in _drawn(analysis)
    ]


def plane_figures(analysis: Analysis, screen: Screen) -> list[go.Figure]:
    """The picture of each plane, with the attractors that it goes through at their places."""
    return [_figure(analysis, screen, drawn) for drawn in _drawn(analysis)]


def _entropy_of(drawn: _Drawn) -> str:
    if not drawn.picture.basins + drawn.picture.cycles + drawn.picture.diverged:
        return "There is no basin on it, so nothing is known of boundaries."
    return entropy_words(drawn.picture.entropy, drawn.picture.crowded_boxes)


def _drawn(analysis: Analysis) -> list[_Drawn]:
    arrays = analysis.arrays
    codes = codes_of(arrays.plane_labels, arrays.plane_cycles, arrays.plane_diverged)
    drawn = (arrays.plane_directions.numpy(), arrays.plane_axes.numpy(), codes.numpy())
    return [_Drawn(*row) for row in zip(analysis.results.planes, *drawn, strict=True)]


def _coloured(drawn: _Drawn) -> list[int]:
    return coloured(drawn.codes, drawn.picture.attractors)


def _figure(analysis: Analysis, screen: Screen, drawn: _Drawn) -> go.Figure:
    import plotly.graph_objects as go

    titles, columns = ("x₁", "x₂"), ("x1", "x2")
    if not drawn.is_whole:
        first, second, _ = drawn.picture.attractors
        titles = f"distance from attractor {first} towards {second}", "distance across, on the plane"
        columns = "distance_along", "distance_across"
    figure = blank_figure(*titles, legend=False)
    points = analysis.arrays.fixed_points[list(drawn.picture.attractors)].numpy()
    # Coordinates are those of states, or distances from the first attractor.
    places = points if drawn.is_whole else (points - points[0]) @ drawn.directions.T
    axes = drawn.axes + places[0][:, None] if len(places) else drawn.axes
    # Of the codes the first axis is the first direction; of a heatmap the last one is the horizontal.
    figure.add_trace(
        go.Heatmap(
            x=axes[0],
            y=axes[1],
            meta=column_names(series="", x=columns[0], y=columns[1], z="", custom=["attractor"]),
            **basin_cells(drawn.codes.T, _coloured(drawn)),
        )
    )
    dots = _dots(analysis, drawn)
    if len(dots):
        figure.add_trace(
            go.Scatter(
                x=dots[:, 1],
                y=dots[:, 2],
                customdata=dots[:, 0].astype(np.int64).tolist(),
                meta=column_names(series="", x=columns[0], y=columns[1], custom=["sample"]),
                mode="markers",
                marker={"color": light("ink"), "size": 2},
                hovertemplate="on the way of sample %{customdata}<extra></extra>",
                showlegend=False,
            )
        )
    cycles = _cycle_states(analysis, drawn)
    if cycles:
        figure.add_trace(
            go.Scatter(
                x=[x for _, (x, _) in cycles],
                y=[y for _, (_, y) in cycles],
                customdata=[what for what, _ in cycles],
                meta=column_names(series="", x=columns[0], y=columns[1], custom=["what"]),
                mode="markers",
                marker={**MARKER, "symbol": "diamond"},
                hovertemplate="%{customdata}<extra></extra>",
                showlegend=False,
            )
        )
    figure.add_trace(
        go.Scatter(
            x=places[:, 0],
            y=places[:, 1],
            customdata=[
                card_of(analysis, screen, analysis.results.attractors[attractor]).words
                for attractor in drawn.picture.attractors
            ],
            meta=column_names(series="", x=columns[0], y=columns[1], custom=["what"]),
            mode="markers",
            marker=MARKER,
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
        )
    )
    unstable = _unstable(analysis, drawn)
    if unstable:
        figure.add_trace(
            go.Scatter(
                x=[state[0] for state, _, _ in unstable],
                y=[state[1] for state, _, _ in unstable],
                customdata=[what for _, _, what in unstable],
                meta=column_names(series="", x=columns[0], y=columns[1], custom=["what"]),
                mode="markers",
                marker={**MARKER, "size": 8, "symbol": [symbol for _, symbol, _ in unstable]},
                hovertemplate="%{customdata}<extra></extra>",
                showlegend=False,
            )
        )
    side = float(np.ptp(drawn.axes[0]))
    marked = zip(drawn.picture.attractors, places.tolist(), strict=True)
    for attractor, (x, y) in () if drawn.is_whole else marked:  # two numbers are no picture
        figure.add_layout_image(
            source=screen.picture(analysis.arrays.fixed_points[attractor]),
            xref="x",
            yref="y",
            x=x,
            y=y + 0.02 * side,
            sizex=_PICTURE * side,
            sizey=_PICTURE * side,
            xanchor="center",
            yanchor="bottom",
            layer="above",
        )
    # Margins that follow the ticks, and with them the scale of both axes, would change the ticks again.
    ends: dict[str, Any] = {"showgrid": False, "constrain": "domain", "automargin": False}
    figure.update_xaxes(range=_ends(axes[0]), **ends)
    figure.update_yaxes(range=_ends(axes[1]), scaleanchor="x", **ends)
    return figure.update_layout(height=_HEIGHT, margin={"l": 56, "r": 12, "t": 12, "b": 52})


def _cycle_states(analysis: Analysis, drawn: _Drawn) -> list[tuple[str, list[float]]]:
    """The states of the cycles that have a colour, with what each is, where all states are on the plane."""
    if not drawn.is_whole:
        return []
    cycles, numbers = analysis.basins().cycles, [cycle_of(code) for code in _coloured(drawn)]
    return [
        (f"Cycle {number}, state {phase} of {cycles[number].period}", state)
        for number in numbers
        if number is not None and number < len(cycles)
        for phase, state in enumerate(cycles[number].states.tolist(), start=1)
    ]


def _dots(analysis: Analysis, drawn: _Drawn) -> NDArray[np.float64]:
    """Sample and place of states on the way on of unresolved samples, to six digits, where all are on the plane."""
    found, states = analysis.results.restless, analysis.arrays.restless_states
    if not drawn.is_whole or found is None or not len(states):
        return np.zeros((0, 3))
    some = states[:, :_DOTS].numpy()
    places = np.array([float(f"{value:.6g}") for value in some.ravel()]).reshape(-1, 2)
    return np.column_stack([np.repeat([one.sample for one in found.samples], some.shape[1]), places])


def _unstable(analysis: Analysis, drawn: _Drawn) -> list[tuple[list[float], str, str]]:
    """State, symbol and description of the unstable fixed points that are known, where all states are on the plane."""
    if not drawn.is_whole:
        return []
    found = [
        (point.state, "x" if point.unstable == 1 else "square", fixed_point_text(point))
        for point in analysis.results.pictured or ()
        if point.unstable
    ]
    for saddle in _saddles(analysis):
        if not any(math.dist(saddle, state) < SAME_POINT * max(1.0, math.hypot(*saddle)) for state, _, _ in found):
            found.append((saddle, "x", "saddle of the connection graph"))
    return found


def _unstable_words(analysis: Analysis, drawn: _Drawn) -> str:
    if not _unstable(analysis, drawn):
        return ""
    words = unstable_words(analysis.results.pictured or ())
    return f" {words}" if words else " Crosses are saddles."


def _saddles(analysis: Analysis) -> list[list[float]]:
    """The states of the saddles of the connection graph."""
    edges = [] if analysis.graph is None else analysis.graph.edges(data=True)
    return [attributes["state"].tolist() for *_, attributes in edges]


def _ends(axis: NDArray[np.float64]) -> list[float]:
    """From side to side of the cells at both ends."""
    half = float(axis[1] - axis[0]) / 2
    return [float(axis[0]) - half, float(axis[-1]) + half]

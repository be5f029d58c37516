"""Pictures of basins on planes: figures, what the colours mean, and entropies in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dynlab.attractors.planes import BasinEntropy
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.arrays import Arrays
from dynlab.evaluation.kinds import Kind
from dynlab.evaluation.planes import BOX, PlanePicture
from dynlab.report.figure_data import column_names
from dynlab.report.gallery import Card, card_of, coordinates, kind_mark
from dynlab.report.layout import blank_figure
from dynlab.report.palette import light
from dynlab.report.pictures import Screen
from dynlab.report.words import count, enumeration, number, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Unlike colours first, as the three attractors that a plane goes through are often neighbours on it.
COLOURS = ("level-0", "level-3", "level-5", "level-2", "level-4", "level-1")
# For all other basins; half transparent, they suit a light and a dark page.
_GREYS = ("rgba(128, 128, 128, 0.25)", "rgba(128, 128, 128, 0.45)", "rgba(128, 128, 128, 0.65)")
_HEIGHT = 420
_PICTURE = 0.13  # of an attractor, in sides of the plane


@dataclass(frozen=True)
class Key:
    """What one colour of a picture means."""

    colour: str  # its name in the palette
    card: Card
    name: str
    share: str  # of the picture


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
    labels: NDArray[np.int64]

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
            _keys(analysis, screen, drawn),
            picture_words(drawn.picture, len(drawn.labels), attractors, is_whole=drawn.is_whole)
            + (" Crosses are saddles." if _saddles(analysis, drawn) else ""),
            _entropy_of(drawn),
        )
        for drawn in _drawn(analysis)
    ]


def plane_figures(analysis: Analysis, screen: Screen) -> list[go.Figure]:
    """The picture of each plane, with the attractors that it goes through at their places."""
    return [_figure(analysis, screen, drawn) for drawn in _drawn(analysis)]


def picture_words(picture: PlanePicture, side: int, attractors: int, *, is_whole: bool = False) -> str:
    """What was drawn, and what is on it.

    Args:
        picture: What it shows.
        side: States along a side of it.
        attractors: How many attractors samples reach.
        is_whole: Whether all states are on the plane.
    """
    reached = f": they reach {count(picture.basins, 'attractor')}" if picture.basins else ""
    names = enumeration([str(attractor) for attractor in picture.attractors])
    is_one = len(picture.attractors) == 1
    which = f"attractor{'' if is_one else 's'} {names}, where the circle{' is' if is_one else 's are'}"
    what = (
        f"States are two numbers, and this is their plane as far as attractors and all but the outermost samples go, "
        f"with {which}"
        if is_whole
        else f"The plane goes through {which}; distances on it are those between states"
    )
    sentences = [f"{what}. Each of {side} × {side} states was iterated{reached}."]
    if not picture.basins:
        return " ".join([*sentences, "No state reached a fixed point: the picture is blank."])
    if picture.unsampled:
        verb = "is" if picture.unsampled == 1 else "are"
        sentences.append(
            f"Of these, {number(picture.unsampled)} {verb} reached by no sample; such attractors are numbered from "
            f"{number(attractors)} on."
        )
    if picture.unresolved:
        what = "it is blank, and counts" if picture.unresolved == 1 else "they are blank, and count"
        sentences.append(
            f"For {count(picture.unresolved, 'state')} no fixed point was found: {what} as one more basin below."
        )
    if picture.basins > len(COLOURS):
        sentences.append("Basins without a colour of their own are grey, in three shades that neighbours may share.")
    return " ".join(sentences)


def entropy_words(entropy: BasinEntropy, crowded_boxes: int) -> str:
    """Basin entropies and what they mean."""
    within = entropy.boundary_basin_entropy
    if within is None:
        return "One basin fills the picture: there is no boundary on it, and nothing uncertain."
    shares = f"{number(entropy.boundary_boxes)} of {number(entropy.boxes)} boxes of {BOX} × {BOX} states"
    holds = "holds" if entropy.boundary_boxes == 1 else "hold"
    sentences = [
        (
            f"{shares} {holds} a boundary. Who knows a start only to such a box is as unsure of its attractor as among "
            f"{math.exp(within):.2f} equally likely ones: the boundary basin entropy is {within:.2f} nats. Over all "
            f"boxes the basin entropy is {entropy.basin_entropy:.2f}."
        )
    ]
    if within > math.log(2):
        crowded = percent(crowded_boxes / entropy.boundary_boxes)
        sentences.append(
            "Smooth boundaries of two basins at a time cannot exceed log 2, 0.69. This shows folded, fractal ones only "
            f"where boxes with three basins or more are few; here they are {crowded} of those on a boundary."
        )
    else:
        sentences.append("Only above log 2, 0.69, would it speak for fractal boundaries; nothing here does.")
    return " ".join(sentences)


def _entropy_of(drawn: _Drawn) -> str:
    if not drawn.picture.basins:
        return "There is no basin on it, so nothing is known of boundaries."
    return entropy_words(drawn.picture.entropy, drawn.picture.crowded_boxes)


def _drawn(analysis: Analysis) -> list[_Drawn]:
    arrays = analysis.arrays
    directions, axes, labels = arrays.plane_directions, arrays.plane_axes, arrays.plane_labels
    if directions is None or axes is None or labels is None:
        return []
    rows = zip(analysis.results.planes or [], directions.numpy(), axes.numpy(), labels.numpy(), strict=True)
    return [_Drawn(*row) for row in rows]


def _coloured(drawn: _Drawn) -> list[int]:
    """Attractors with a colour of their own: those that the plane goes through, then those with the largest areas."""
    found, areas = np.unique(drawn.labels[drawn.labels >= 0], return_counts=True)
    by_area = found[np.argsort(-areas, kind="stable")].tolist()
    through = list(drawn.picture.attractors)
    return (through + [attractor for attractor in by_area if attractor not in through])[: len(COLOURS)]


def _keys(analysis: Analysis, screen: Screen, drawn: _Drawn) -> list[Key]:
    return [
        Key(
            colour=colour,
            card=_card(analysis, screen, attractor),
            name=f"Attractor {attractor} {coordinates(_state(analysis, attractor))}".rstrip(),
            share=percent(float((drawn.labels == attractor).mean())),
        )
        for colour, attractor in zip(COLOURS, _coloured(drawn), strict=False)
    ]


def _card(analysis: Analysis, screen: Screen, attractor: int) -> Card:
    sampled = analysis.results.attractors
    if attractor < len(sampled):
        return card_of(analysis, screen, sampled[attractor])
    state = _state(analysis, attractor)
    mark = kind_mark(Kind.UNKNOWN, None)
    return Card(
        attractor, screen.picture(state), f"Attractor {attractor}, which no sample reaches", mark, percent(0), 0.0
    )


def _state(analysis: Analysis, attractor: int) -> torch.Tensor:
    """The attractor, which those that samples reach come before in number."""
    sampled = analysis.arrays.fixed_points
    return sampled[attractor] if attractor < len(sampled) else _others(analysis.arrays)[attractor - len(sampled)]


def _others(arrays: Arrays) -> torch.Tensor:
    return arrays.fixed_points[:0] if arrays.plane_others is None else arrays.plane_others


def _figure(analysis: Analysis, screen: Screen, drawn: _Drawn) -> go.Figure:
    import plotly.graph_objects as go

    titles, columns = ("x₁", "x₂"), ("x1", "x2")
    if not drawn.is_whole:
        first, second, _ = drawn.picture.attractors
        titles = f"distance from attractor {first} towards {second}", "distance across, on the plane"
        columns = "distance_along", "distance_across"
    figure = blank_figure(*titles, legend=False)
    coloured = _coloured(drawn)
    shades = [*(light(name) for name in COLOURS), *_GREYS]
    shade_of: dict[int, int | None] = {attractor: place for place, attractor in enumerate(coloured)} | {-1: None}
    for attractor in np.unique(drawn.labels).tolist():
        shade_of.setdefault(attractor, len(COLOURS) + attractor % len(_GREYS))
    steps = len(shades)
    scale = [[(place + end) / steps, shade] for place, shade in enumerate(shades) for end in (0, 1)]
    points = analysis.arrays.fixed_points[list(drawn.picture.attractors)].numpy()
    # Coordinates are those of states, or distances from the first attractor.
    places = points if drawn.is_whole else (points - points[0]) @ drawn.directions.T
    axes = drawn.axes + places[0][:, None]
    # Of the labels the first axis is the first direction; of a heatmap the last one is the horizontal.
    labels = drawn.labels.T
    figure.add_trace(
        go.Heatmap(
            x=axes[0],
            y=axes[1],
            z=[[shade_of[label] for label in row] for row in labels.tolist()],
            customdata=labels.tolist(),
            meta=column_names(series="", x=columns[0], y=columns[1], z="", custom=["attractor"]),
            colorscale=scale,
            zmin=-0.5,
            zmax=steps - 0.5,
            showscale=False,
            hoverongaps=False,
            hovertemplate="attractor %{customdata}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=places[:, 0],
            y=places[:, 1],
            customdata=[_card(analysis, screen, attractor).words for attractor in drawn.picture.attractors],
            meta=column_names(series="", x=columns[0], y=columns[1], custom=["what"]),
            mode="markers",
            marker={"color": light("card"), "size": 9, "line": {"color": light("ink"), "width": 2}},
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
        )
    )
    saddles = _saddles(analysis, drawn)
    if saddles:
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in saddles],
                y=[y for _, y in saddles],
                meta=column_names(series="", x=columns[0], y=columns[1]),
                mode="markers",
                marker={"color": light("card"), "size": 8, "symbol": "x", "line": {"color": light("ink"), "width": 1}},
                hovertemplate="saddle<extra></extra>",
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


def _saddles(analysis: Analysis, drawn: _Drawn) -> list[list[float]]:
    """The states of the saddles of the connection graph, where all are on the plane."""
    if analysis.graph is None or not drawn.is_whole:
        return []
    return [attributes["state"].tolist() for *_, attributes in analysis.graph.edges(data=True)]


def _ends(axis: NDArray[np.float64]) -> list[float]:
    """From side to side of the cells at both ends."""
    half = float(axis[1] - axis[0]) / 2
    return [float(axis[0]) - half, float(axis[-1]) + half]

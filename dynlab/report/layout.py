"""What all figures share: looks, text, colours of the levels and the axis across them.

Figures carry the colours for a light background; the page exchanges them where the reader prefers a dark one. Plotly
reads labels as a kind of HTML and as TeX, so names that came from users go through `label_text` first.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from dynlab.evaluation.kinds import Kind
from dynlab.report.labels import Axis
from dynlab.report.palette import LEVELS, light

if TYPE_CHECKING:
    import plotly.graph_objects as go

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LONGEST = 28  # letters of a label
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "star")
KIND_LOOKS = {  # colour and symbol of attractors
    Kind.PROTOTYPE: ("kept", "circle"),
    Kind.STAIN: ("stain", "square"),
    Kind.EXPLOSION: ("explosion", "x"),
    Kind.UNKNOWN: ("unresolved", "circle-open"),
}


def label_text(text: str) -> str:
    """Text as plotly shows it letter by letter, without tags, entities and formulas; a long one lacks its middle."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}…{text[-LONGEST // 2 + 1 :]}"
    return html.escape(text).replace("$", "&#36;").replace("%", "&#37;")  # of TeX and of templates


def blank_figure(x_title: str, y_title: str, *, legend: bool) -> go.Figure:
    """A figure with nothing in it yet, in the looks that all figures share."""
    import plotly.graph_objects as go

    axis: dict[str, Any] = {
        "gridcolor": light("rule"),
        "linecolor": light("rule"),
        "zeroline": False,
        "tickfont": {"color": light("quiet"), "size": 12},
        "automargin": True,
        "ticklabeloverflow": "allow",
    }
    title = {"font": {"color": light("quiet"), "size": 13}, "standoff": 12}
    return go.Figure(
        layout={
            "template": "none",
            "font": {"family": FONT, "size": 13, "color": light("ink")},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "height": 340,
            "margin": {"l": 8, "r": 28, "t": 12, "b": 8},
            "showlegend": legend,
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"size": 12},
                "bgcolor": "rgba(0,0,0,0)",
                "traceorder": "normal",
            },
            "hoverlabel": {
                "bgcolor": light("card"),
                "bordercolor": light("rule"),
                "font": {"color": light("ink"), "family": FONT},
            },
            "xaxis": {**axis, "title": {**title, "text": x_title}, "showgrid": False, "ticks": "outside"}
            | {"tickcolor": light("rule")},
            "yaxis": {**axis, "title": {**title, "text": y_title}},
        }
    )


def across_levels(figure: go.Figure, axis: Axis) -> go.Figure:
    """Put the ticks of the axis across the levels, with room at its ends."""
    least, most = min(axis.positions, default=0.0), max(axis.positions, default=0.0)
    room = 0.08 * (most - least) or 0.5
    return figure.update_xaxes(
        tickvals=axis.positions, ticktext=[label_text(tick) for tick in axis.ticks], range=[least - room, most + room]
    )


def level_colour(row: int, rows: int) -> str:
    """Colours in the order of the levels, spread over all there are."""
    place = row % LEVELS if rows > LEVELS else round(row * (LEVELS - 1) / max(1, rows - 1))
    return light(f"level-{place}")

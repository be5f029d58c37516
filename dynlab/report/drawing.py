"""Figures as they stand on the page: JSON in a script element, with their words and their data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dynlab.report.figure_data import csv_uri, figure_data

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Drawing:
    """A plotly figure on the page."""

    anchor: str
    json: str
    height: int
    words: str  # what a reader who cannot see it is told
    data: str  # the numbers in it, as CSV in a data URI


def drawing_of(anchor: str, figure: go.Figure, description: str) -> Drawing | None:
    """A figure for the page; None where there is nothing in it."""
    if not figure.data:
        return None
    specification = _escape_script(figure.to_json(engine="json") or "")
    return Drawing(anchor, specification, figure.layout.height, description, csv_uri(figure_data(figure)))


def inline_json(value: Any) -> str:
    """A value as JSON that can stand in a script element."""
    return _escape_script(json.dumps(value))


def _escape_script(text: str) -> str:
    """JSON that can stand in a script element: `<`, `>` and `&` occur only in strings, where they can be escaped."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

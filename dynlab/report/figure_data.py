"""The numbers behind a figure as CSV, a row for each point that is drawn.

Rows come from the figure itself, so that what is drawn and what is handed out are the same. A trace says by
`column_names` in its `meta`, or the figure for all its traces in that of its layout, what its coordinates are and what
each entry of its `customdata` is, of which its hover texts are made too. What is not named is called as the axes are.
Traces that are not hovered over are decoration and left out, and so are areas, which have points of their own.

Source: RFC 4180 for the format; OWASP, CSV Injection, for text that a spreadsheet would compute.
"""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

if TYPE_CHECKING:
    import plotly.graph_objects as go

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_PLAIN = ",;:/?@!$*()+=~"  # stand in a data URI, and in HTML, as they are
_POINTS = ("scatter", "scattergl", "bar")


def column_names(
    *,
    series: str | None = None,
    name: str | None = None,
    x: str | None = None,
    y: str | None = None,
    z: str | None = None,
    custom: Sequence[str] = (),
) -> dict[str, Any]:
    """What the columns of a figure's data are called, for the `meta` of a trace or of the layout.

    Args:
        series: The column that tells the traces apart; "series" if not given, "" for none.
        name: What the trace is called in it; its name in the legend if not given.
        x: The column of the first coordinate; its axis's title if not given, "" for none.
        y: The column of the second coordinate, likewise.
        z: The column of a heatmap's values; "value" if not given, "" for none.
        custom: The columns of the entries of `customdata`, of which each point has so many.

    Returns:
        What was given, to be put into `meta`.
    """
    given = {"series": series, "name": name, "x": x, "y": y, "z": z, "custom": list(custom) or None}
    return {key: value for key, value in given.items() if value is not None}


def figure_data(figure: go.Figure) -> str:
    """The data of a figure as CSV, with a header: the series, the coordinates, what else is known of each point.

    Numbers have all their digits. A cell is empty where a series has no such column, or a number is NaN. Error bars are
    two columns, their lengths above and below, where no `customdata` are named.

    Raises:
        ValueError: If a trace is no points, bars or heatmap, names a column twice, or has other customdata than it
            names.
    """
    traces: Any = figure.data
    tables = [
        _table(figure, trace)
        for trace in traces
        if trace.hoverinfo != "skip" and getattr(trace, "hoveron", None) != "fills"
    ]
    columns = list(dict.fromkeys(column for names, _ in tables for column in names))
    places = [[names.index(column) if column in names else -1 for column in columns] for names, _ in tables]
    return csv_text(
        columns,
        (
            [row[place] if place >= 0 else None for place in where]
            for where, (_, rows) in zip(places, tables, strict=True)
            for row in rows
        ),
    )


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV, with a header.

    Text that a spreadsheet would take for a formula gets an apostrophe in front; numbers stay as they are. None and NaN
    are empty cells.

    Args:
        columns: Names of the columns.
        rows: As many cells each as there are columns.
    """
    file = io.StringIO()
    writer = csv.writer(file)  # ends lines as RFC 4180 does
    writer.writerow([_cell(column) for column in columns])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue()


def csv_uri(text: str) -> str:
    """CSV as a data URI, to stand in the `href` of a link."""
    return f"data:text/csv;charset=utf-8,{quote(text, safe=_PLAIN)}"


def _table(figure: go.Figure, trace: Any) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of one trace."""
    given: dict[str, Any] = {}
    for meta in (figure.layout.meta, trace.meta):
        given |= meta if isinstance(meta, dict) else {}
    custom: list[str] = given.get("custom", [])
    x, y, z, extra = _points(trace)
    found: list[tuple[str, Sequence[Any]]] = []
    series, shown = given.get("series", "series"), given.get("name", _plain(trace.name))
    if series and shown:
        found.append((series, [shown] * len(x)))
    for name, axis, coordinate in (("x", trace.xaxis, x), ("y", trace.yaxis, y)):
        title = figure.layout[f"{name}axis{(axis or name)[1:]}"].title.text
        column = given.get(name, _plain(title) or name)
        if column:
            found.append((column, coordinate))
            found += _error_bars(column, trace[f"error_{name}"]) if z is None and not custom else []
    if z is not None and (column := given.get("z", "value")):
        found.append((column, z))
    if custom:
        found += zip(custom, _columns(extra, len(x), len(custom)), strict=True)
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        raise ValueError(f"figure: a trace has the columns {names}, expected no name twice")
    # Points without a place are gaps in a line. Error bars may be fewer than points.
    is_point = [not (_is_missing(one) or _is_missing(other)) for one, other in zip(x, y, strict=True)]
    rows = zip_longest(*(column for _, column in found))
    return names, [list(row) for row, drawn in zip(rows, is_point, strict=True) if drawn]


def _points(trace: Any) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any] | None, Sequence[Any]]:
    """Both coordinates, the values of a heatmap, and customdata, of each point of a trace or each cell of a heatmap."""
    if trace.type == "heatmap":
        height, width = len(trace.z), len(trace.z[0]) if len(trace.z) else 0
        x, y = list(_or_places(trace.x, width)) * height, _or_places(trace.y, height)
        return x, [value for value in y for _ in range(width)], _flat(trace.z), _flat(trace.customdata)
    if trace.type not in _POINTS:
        raise ValueError(f"figure: has a trace of type {trace.type!r}, expected {', '.join(_POINTS)} or heatmap")
    length = max(len(found) for found in (trace.x, trace.y, ()) if found is not None)
    custom = () if trace.customdata is None else trace.customdata
    return _or_places(trace.x, length), _or_places(trace.y, length), None, custom


def _columns(custom: Any, points: int, columns: int) -> list[list[Any]]:
    """The entries of customdata by columns; a lone one may stand without a list around it."""
    rows = [list(row) if isinstance(row, list | tuple | np.ndarray) else [row] for row in custom]
    if len(rows) != points or any(len(row) != columns for row in rows):
        raise ValueError(f"figure: customdata are not {columns} entries for each of {points} points")
    return [[row[column] for row in rows] for column in range(columns)]


def _error_bars(name: str, bars: Any) -> list[tuple[str, Sequence[Any]]]:
    if bars.array is None:
        return []
    below = bars.array if bars.arrayminus is None or bars.symmetric else bars.arrayminus
    return [(f"{name} above", bars.array), (f"{name} below", below)]


def _or_places(values: Any, length: int) -> Sequence[Any]:
    """Coordinates, or places from 0 on where none are given, as plotly has it."""
    return range(length) if values is None else values


def _flat(rows: Any) -> list[Any]:
    return [] if rows is None else [value for row in rows for value in row]


def _plain(text: str | None) -> str:
    """Text that plotly was given as HTML, letter by letter."""
    return html.unescape(re.sub(r"<[^>]*>", " ", text or "")).strip()


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))


def _cell(value: Any) -> str:
    if _is_missing(value):
        return ""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float):
        return repr(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text

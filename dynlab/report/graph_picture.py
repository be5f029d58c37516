"""The connection graph as a picture for papers and slides: one SVG file with nothing outside it.

Attractors are the pictures of their states, framed in the colour of their kind, with its mark, in which prototypes
have their class, and their number. Lines are saddles, the wider the larger their unstable multiplier; where several
join two attractors, they are bowed apart. A legend tells all this. Pictures are drawn above lines, which so end at
their rims.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Kind
from dynlab.files import written_atomically
from dynlab.report.connections import connection_words
from dynlab.report.gallery import Mark, kind_mark
from dynlab.report.graph_layout import Layout, drawn_nodes, graph_layout
from dynlab.report.palette import PALETTE, light
from dynlab.report.pictures import Screen, screen_of
from dynlab.report.words import percent

if TYPE_CHECKING:
    import networkx as nx

PICTURE_FILE = "graph.svg"
_WIDTH, _HEIGHT, _LEGEND, _MARGIN = 1200, 900, 60, 16  # in pixels; the legend is at the foot
_FONT, _ROW = 14, 28  # of the legend
_THINNEST, _WIDEST = 0.8, 5.0  # lines
_BOW = 22.0  # between the middles of lines that join the same two
_SMALLEST, _LARGEST = 5.0, 10.0  # radii of marks
_LETTER = 0.56  # width of a letter, about, in heights of the font
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_graph_picture(analysis: Analysis, path: str | Path) -> Path:
    """Write the connection graph of an analysis as an SVG file.

    Args:
        analysis: With a graph.
        path: The file to write; folders above it are made.

    Returns:
        The path of the file.

    Raises:
        InputError: If the file cannot be written.
        ValueError: If the analysis has no graph.
    """
    path = Path(path)
    picture = graph_svg(analysis, screen_of(analysis))
    with written_atomically(path) as temporary:
        temporary.write_text(picture, encoding="utf-8", newline="\n")
    return path


def graph_svg(analysis: Analysis, screen: Screen) -> str:
    """The connection graph of an analysis as SVG, 1200 x 900 pixels, on white; equal analyses give equal pictures.

    Drawn are the attractors that the page draws, at most 300.

    Args:
        analysis: With a graph.
        screen: How states become pictures.

    Raises:
        ValueError: If the analysis has no graph.
    """
    if analysis.graph is None:
        raise ValueError("analysis has no connection graph, expected one that was made with graph=True")
    graph = analysis.graph.subgraph(drawn_nodes(analysis.graph))
    title = f"Connection graph: {analysis.results.title}, {analysis.results.map.name}"
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"',
        f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
        f'role="img" aria-labelledby="title desc" font-family="sans-serif" font-size="{_FONT}">',
        f'<title id="title">{_text(title)}</title>',
        f'<desc id="desc">{_text(connection_words(analysis))}</desc>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    if len(graph):
        layout = graph_layout(graph)
        parts += _lines(graph, layout)
        parts += (_node(node, graph.nodes[node], layout, screen) for node in sorted(graph))
    parts += [_legend(graph), "</svg>"]
    return "\n".join(parts) + "\n"


def _lines(graph: nx.MultiGraph, layout: Layout) -> Iterator[str]:
    """The saddles, the thinnest above the others."""
    least, most = _range(graph)
    yield f'<g fill="none" stroke="{light("raw")}" stroke-opacity="0.75">'
    drawn: list[tuple[float, int, str]] = []
    for source, target in {(min(ends), max(ends)) for ends in graph.edges()}:
        (x1, y1), (x2, y2) = _on_page(layout.places[source]), _on_page(layout.places[target])
        length = math.hypot(x2 - x1, y2 - y1) or 1.0
        between = sorted(graph.get_edge_data(source, target).values(), key=lambda edge: edge["saddle"])
        for place, edge in enumerate(between):
            bow = 2 * _BOW * (place - (len(between) - 1) / 2)  # a curve comes half as near as its control point
            x, y = (x1 + x2) / 2 - bow * (y2 - y1) / length, (y1 + y2) / 2 + bow * (x2 - x1) / length
            way = f"M{x1:.1f} {y1:.1f}Q{x:.1f} {y:.1f} {x2:.1f} {y2:.1f}"
            width = _line_width(edge["unstable_multiplier"], least, most)
            words = f"saddle between {source} and {target}, unstable multiplier {edge['unstable_multiplier']:.4f}"
            line = f'<path d="{way}" stroke-width="{width:.2f}"><title>{words}</title></path>'
            drawn.append((-width, edge["saddle"], line))
    yield from (line for _, _, line in sorted(drawn))
    yield "</g>"


def _node(node: int, attributes: dict[str, Any], layout: Layout, screen: Screen) -> str:
    """The picture of an attractor, its frame and its mark."""
    x, y = _on_page(layout.places[node])
    side = layout.sides[node] / 2 * min(_plot())
    mark, radius = _mark_of(attributes), min(max(0.2 * side, _SMALLEST), _LARGEST)
    height, width = (1, 1) if screen.is_strip else (screen.height, screen.width)
    width, height = side * width / max(width, height), side * height / max(width, height)
    box = f'x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}"'
    words = f"attractor {node}, {mark.words}, {attributes['basin_fraction']:.2%} of the samples"
    return (
        f"<g><title>{_text(words)}</title>"
        f'<image {box} preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'xlink:href="{screen.picture(attributes["state"])}"/>'
        f'<rect {box} fill="none" stroke="{light(_colour(mark))}" stroke-width="1.5"/>'
        f"{_sign(mark, x, y + height / 2, radius)}{_number(node, x + radius, y + height / 2, radius)}</g>"
    )


def _number(node: int, x: float, y: float, radius: float) -> str:
    """The number of an attractor, to the right of its mark, with a rim of the page's colour."""
    size = 1.3 * radius
    return (
        f'<text x="{x + 0.3 * radius:.1f}" y="{y + 0.36 * size:.1f}" font-size="{size:.1f}" fill="{light("ink")}" '
        f'stroke="#ffffff" stroke-width="{0.3 * size:.1f}" stroke-linejoin="round" paint-order="stroke">#{node}</text>'
    )


def _sign(mark: Mark, x: float, y: float, radius: float) -> str:
    """A mark, as those of the page, around a point."""
    colour, letters = light(_colour(mark)), light("on-mark")
    look = f'fill="{colour}" stroke="#ffffff" stroke-width="1"'
    match mark.name:
        case Kind.PROTOTYPE:
            shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" {look}/>'
        case Kind.STAIN:
            corner = 0.88 * radius
            shape = (
                f'<rect x="{x - corner:.1f}" y="{y - corner:.1f}" width="{2 * corner:.1f}" '
                f'height="{2 * corner:.1f}" {look}/>'
            )
        case Kind.EXPLOSION:
            rays = [(1.3 if ray % 2 == 0 else 0.85, math.pi * ray / 10) for ray in range(20)]
            points = " ".join(
                f"{x + reach * radius * math.sin(angle):.1f},{y - reach * radius * math.cos(angle):.1f}"
                for reach, angle in rays
            )
            shape = f'<polygon points="{points}" {look}/>'
        case _:
            letters = colour
            shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="#ffffff" stroke="{colour}"/>'
    size = 1.3 * radius / max(1.0, 0.65 * len(mark.sign))
    return (
        f'{shape}<text x="{x:.1f}" y="{y + 0.36 * size:.1f}" font-size="{size:.1f}" font-weight="700" '
        f'text-anchor="middle" fill="{letters}">{_text(mark.sign)}</text>'
    )


def _legend(graph: nx.MultiGraph) -> str:
    """What marks, lines and sizes mean, in as many rows as it takes."""
    entries = [*_kind_entries(graph), *_line_entries(graph)]
    if len(graph):
        entries.append(_entry("", 0, "#: number of the attractor"))
    largest = max((graph.nodes[node]["basin_fraction"] for node in graph), default=0.0)
    if largest:
        entries.append(_entry("", 0, f"larger pictures: larger basins, up to {percent(largest)}"))
    x, y = float(_MARGIN), _HEIGHT - _LEGEND + 0.5 * _ROW
    parts = [f'<g fill="{light("ink")}">']
    for content, width in entries:
        if x + width > _WIDTH - _MARGIN:
            x, y = float(_MARGIN), y + _ROW
        parts.append(f'<g transform="translate({x:.1f} {y:.1f})">{content}</g>')
        x += width + 24
    return "\n".join([*parts, "</g>"])


def _kind_entries(graph: nx.MultiGraph) -> Iterator[tuple[str, float]]:
    """The marks that are in the picture; a prototype's is the first there is."""
    marks = [_mark_of(graph.nodes[node]) for node in sorted(graph)]
    for kind in Kind:
        mark = next((mark for mark in marks if mark.name == kind), None)
        if mark is not None:
            words = "prototype, with its class" if kind is Kind.PROTOTYPE else mark.words
            yield _entry(_sign(mark, _LARGEST, 0, _LARGEST), 2 * _LARGEST, words)


def _line_entries(graph: nx.MultiGraph) -> Iterator[tuple[str, float]]:
    """The width of lines at the least and the largest unstable multiplier, and between."""
    if not graph.number_of_edges():
        return
    least, most = _range(graph)
    values = [least] if least == most else [least, (least + most) / 2, most]
    yield _entry("", 0, "saddle, by its unstable multiplier:")
    for value in values:
        line = (
            f'<path d="M0 0H32" stroke="{light("raw")}" stroke-opacity="0.75" '
            f'stroke-width="{_line_width(value, least, most):.2f}"/>'
        )
        yield _entry(line, 32, f"{value:.3f}")


def _entry(drawn: str, width: float, words: str) -> tuple[str, float]:
    """A part of the legend with its left end at the origin, and about how wide it is."""
    start = width + 6 if width else 0
    return f'{drawn}<text x="{start:.1f}" y="5">{_text(words)}</text>', start + _LETTER * _FONT * len(words)


def _mark_of(attributes: dict[str, Any]) -> Mark:
    return kind_mark(Kind(attributes.get("kind", str(Kind.UNKNOWN))), attributes.get("label"))


def _colour(mark: Mark) -> str:
    """Name of the palette's colour of a mark."""
    return mark.name if mark.name in PALETTE else "kept"


def _range(graph: nx.MultiGraph) -> tuple[float, float]:
    """The least and the largest unstable multiplier; 1 and 1 where there are no saddles."""
    values = [edge["unstable_multiplier"] for _, _, edge in graph.edges(data=True)] or [1.0]
    return min(values), max(values)


def _line_width(multiplier: float, least: float, most: float) -> float:
    share = (multiplier - least) / (most - least) if most > least else 0.5
    return _THINNEST + (_WIDEST - _THINNEST) * share


def _plot() -> tuple[float, float]:
    """Width and height of the part of the page that the square of the layout is stretched to."""
    return _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN - _LEGEND


def _on_page(place: tuple[float, float]) -> tuple[float, float]:
    width, height = _plot()
    return _MARGIN + width * (place[0] + 1) / 2, _MARGIN + height * (1 - place[1]) / 2


def _text(text: str) -> str:
    """Text for XML; characters that XML cannot hold are exchanged."""
    return escape(_NOT_XML.sub("\ufffd", text))

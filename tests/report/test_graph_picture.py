"""The connection graph as SVG: a whole XML file with everything in it, that says what it shows."""

from __future__ import annotations

import base64
import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from dynlab.errors import InputError
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Kind
from dynlab.report.graph_layout import DRAWN, graph_layout
from dynlab.report.graph_picture import graph_svg, write_graph_picture
from dynlab.report.palette import light
from dynlab.report.pictures import screen_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MakeAnalysis = Callable[..., Analysis]
SVG, HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
EDGES = [(0, 1), (0, 1), (1, 2), (5, 12)]


@pytest.fixture
def analysis(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> Analysis:
    """Of twelve attractors and one that no sample reaches, with four saddles of different multipliers."""
    analysis = with_graph(make_analysis(attractors=12), EDGES)
    assert analysis.graph is not None
    for _, _, edge in analysis.graph.edges(data=True):
        edge["unstable_multiplier"] = 1.1 + 0.1 * edge["saddle"]
    return analysis


def _drawn(analysis: Analysis) -> ET.Element:
    return ET.fromstring(graph_svg(analysis, screen_of(analysis)))


def _nodes(root: ET.Element) -> dict[int, ET.Element]:
    """The groups of attractors, by their numbers."""
    found = {}
    for group in root.iter(f"{SVG}g"):
        words = group.findtext(f"{SVG}title") or ""
        if match := re.match(r"attractor (\d+), ", words):
            found[int(match[1])] = group
    return found


def _lines(root: ET.Element) -> dict[str, ET.Element]:
    """The paths of saddles, by what they say of themselves."""
    return {words: path for path in root.iter(f"{SVG}path") if (words := path.findtext(f"{SVG}title"))}


def _box(element: ET.Element) -> tuple[float, float, float, float]:
    x, y, width, height = (float(element.attrib[name]) for name in ("x", "y", "width", "height"))
    return x, y, width, height


def test_each_attractor_is_its_picture_with_frame_and_mark(
    analysis: Analysis, decode_png: Callable[[bytes], NDArray[np.uint8]]
) -> None:
    graph = analysis.graph
    assert graph is not None
    nodes = _nodes(_drawn(analysis))
    assert sorted(nodes) == list(range(13))
    for node, group in nodes.items():
        image = group.find(f"{SVG}image")
        assert image is not None
        head, _, content = image.attrib[HREF].partition(",")
        assert head == "data:image/png;base64"
        pixels = decode_png(base64.b64decode(content, validate=True))
        expected = np.rint(graph.nodes[node]["state"].numpy().clip(0, 1).reshape(8, 8) * 255)
        assert (pixels == expected).all()
        kind, label = graph.nodes[node]["kind"], graph.nodes[node].get("label")
        signs = {Kind.PROTOTYPE: str(label), Kind.STAIN: "S", Kind.EXPLOSION: "E", Kind.UNKNOWN: "?"}
        texts = [text.text for text in group.iter(f"{SVG}text")]
        assert texts == [signs[Kind(kind)], f"#{node}"]
        frame = next(rect for rect in group.iter(f"{SVG}rect") if rect.attrib.get("fill") == "none")
        colours = {Kind.PROTOTYPE: "kept", Kind.STAIN: "stain", Kind.EXPLOSION: "explosion", Kind.UNKNOWN: "unknown"}
        assert frame.attrib["stroke"] == light(colours[Kind(kind)])
        assert _box(frame) == _box(image)


def test_pictures_are_within_the_page_and_apart(analysis: Analysis) -> None:
    root = _drawn(analysis)
    boxes = [_box(image) for image in root.iter(f"{SVG}image")]
    for row, (x, y, width, height) in enumerate(boxes):
        assert 0 <= x <= x + width <= float(root.attrib["width"])
        assert 0 <= y <= y + height <= float(root.attrib["height"]) - 60  # of the legend
        assert width == height
        for other_x, other_y, other_width, other_height in boxes[:row]:
            beside = x + width <= other_x or other_x + other_width <= x
            assert beside or y + height <= other_y or other_y + other_height <= y


def test_lines_run_between_their_attractors_and_grow_with_the_multiplier(analysis: Analysis) -> None:
    root = _drawn(analysis)
    nodes, lines = _nodes(root), _lines(root)
    assert len(lines) == len(EDGES)
    widths, ways = [], []
    for saddle, (source, target) in enumerate(EDGES):
        line = lines[f"saddle between {source} and {target}, unstable multiplier {1.1 + 0.1 * saddle:.4f}"]
        way = [float(number) for number in re.findall(r"[-\d.]+", line.attrib["d"])]
        for node, place in ((source, way[:2]), (target, way[4:])):
            image = nodes[node].find(f"{SVG}image")
            assert image is not None
            x, y, width, height = _box(image)
            assert place == pytest.approx([x + width / 2, y + height / 2], abs=0.2)
        widths.append(float(line.attrib["stroke-width"]))
        ways.append(way)
    assert widths == sorted(widths)
    assert np.diff(widths) == pytest.approx(np.full(3, (5.0 - 0.8) / 3), abs=0.02)
    # Two that join the same are bowed apart, a single one is straight.
    assert np.hypot(ways[0][2] - ways[1][2], ways[0][3] - ways[1][3]) > 20
    assert ways[2][2:4] == pytest.approx([(ways[2][0] + ways[2][4]) / 2, (ways[2][1] + ways[2][5]) / 2], abs=0.2)


def test_pictures_are_drawn_above_lines(analysis: Analysis) -> None:
    tags = [element.tag for element in _drawn(analysis).iter() if element.tag in (f"{SVG}path", f"{SVG}image")]
    assert tags[:4] == [f"{SVG}path"] * 4
    assert tags[4:17] == [f"{SVG}image"] * 13


def test_the_legend_tells_what_is_there(analysis: Analysis, make_analysis: MakeAnalysis, with_graph: MakeAnalysis):
    words = " ".join(_drawn(analysis).itertext())
    kinds = {str(attractor.kind) for attractor in analysis.results.attractors}
    assert kinds == {"prototype", "stain", "explosion"}
    for expected in ("prototype, with its class", "stain", "explosion", "kind unknown", "1.100", "1.250", "1.400"):
        assert expected in words
    lonely = with_graph(make_analysis(attractors=3, labelled=False), [], unsampled=0)
    words = " ".join(_drawn(lonely).itertext())
    assert "kind unknown" in words
    assert "prototype" not in words
    assert "by its unstable multiplier" not in words
    same = with_graph(make_analysis(attractors=3), [(0, 1), (1, 2)])
    assert [text.text for text in _drawn(same).iter(f"{SVG}text")].count("1.250") == 1


def test_names_are_shown_letter_by_letter(analysis: Analysis) -> None:
    hostile = '</title><script>alert("x")</script> & ]]> \x00\x1b'
    analysis = replace(analysis, results=replace(analysis.results, title=hostile))
    root = _drawn(analysis)
    title = root.findtext(f"{SVG}title")
    assert title == f"Connection graph: {hostile[:-2]}\ufffd\ufffd, dae"
    assert not list(root.iter(f"{SVG}script"))
    assert (root.findtext(f"{SVG}desc") or "").startswith("4 saddles")


def test_nothing_is_fetched_and_equal_analyses_give_equal_pictures(analysis: Analysis, tmp_path: Path) -> None:
    text = graph_svg(analysis, screen_of(analysis))
    assert text == graph_svg(analysis, screen_of(analysis))
    assert set(re.findall(r'(?:href|src)="(.{10})', text)) == {"data:image"}
    assert "url(" not in text
    path = write_graph_picture(analysis, tmp_path / "new" / "graph.svg")
    assert path.read_bytes().decode("utf-8") == text
    analysis.save(tmp_path)
    write_graph_picture(Analysis.load(tmp_path), path)
    assert path.read_bytes().decode("utf-8") == text
    assert [entry.name for entry in path.parent.iterdir()] == ["graph.svg"]


def test_both_pictures_have_one_layout(analysis: Analysis) -> None:
    graph = analysis.graph
    assert graph is not None
    layout = graph_layout(graph)
    nodes = _nodes(_drawn(analysis))
    centres = {}
    for node, group in nodes.items():
        image = group.find(f"{SVG}image")
        assert image is not None
        x, y, width, height = _box(image)
        centres[node] = (x + width / 2, -(y + height / 2))
    for axis in (0, 1):
        drawn, laid = [centres[node][axis] for node in nodes], [layout.places[node][axis] for node in nodes]
        assert np.corrcoef(drawn, laid)[0, 1] > 1 - 1e-6


@pytest.mark.parametrize("changes", [{"state_shape": (2,)}, {"state_shape": (3, 5, 4)}, {"state_shape": (4, 9)}])
def test_states_of_other_shapes_are_drawn(
    make_analysis: MakeAnalysis, with_graph: MakeAnalysis, changes: dict[str, object]
) -> None:
    analysis = with_graph(make_analysis(attractors=5, **changes), [(0, 1)])
    screen = screen_of(analysis)
    for image in _drawn(analysis).iter(f"{SVG}image"):
        _, _, width, height = _box(image)
        assert height / width == pytest.approx(1 if screen.is_strip else screen.height / screen.width, rel=0.02)


def test_of_many_attractors_those_of_the_page_are_drawn(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> None:
    analysis = with_graph(make_analysis(attractors=DRAWN + 5), [(0, 1), (DRAWN + 3, DRAWN + 4)])
    root = _drawn(analysis)
    assert sorted(_nodes(root)) == list(range(DRAWN))
    assert len(_lines(root)) == 1


def test_an_empty_graph_is_an_empty_picture(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> None:
    root = _drawn(with_graph(make_analysis(attractors=0, explosions=0), [], unsampled=0))
    assert not list(root.iter(f"{SVG}image"))
    assert (root.findtext(f"{SVG}desc") or "").startswith("There is no attractor")


def test_without_a_graph_there_is_no_picture(make_analysis: MakeAnalysis, tmp_path: Path) -> None:
    analysis = make_analysis(attractors=3)
    with pytest.raises(ValueError, match="no connection graph"):
        write_graph_picture(analysis, tmp_path / "graph.svg")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_said(analysis: Analysis, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        write_graph_picture(analysis, tmp_path)


def test_a_browser_draws_it_within_its_page(browser: Browser, analysis: Analysis, tmp_path: Path) -> None:
    path = write_graph_picture(analysis, tmp_path / "graph.svg")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(path.as_uri())
    ends = page.evaluate("[...document.querySelectorAll('text')].map(text => text.getBoundingClientRect().right)")
    assert len(ends) > 13
    assert max(ends) <= 1200
    # The legend's entries follow each other without touching.
    entries = page.evaluate(
        """[...document.querySelectorAll("g[transform]")].map(group => {
          const box = group.getBoundingClientRect(); return [box.top, box.left, box.right];
        })"""
    )
    assert len(entries) >= 8
    # In one row, or the second begins a lower one.
    for (top, left, right), (next_top, next_left, _) in itertools.pairwise(entries):
        assert next_left >= right + 8 or (next_left < left and next_top > top)
    page.close()

"""The connection graph and the flows on the page: all that is known is drawn, and words count what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.flows import flow_of
from dynlab.evaluation.kinds import Kind
from dynlab.report.connections import connection_figure, connection_words, flow_figure, flow_words
from dynlab.report.graph_layout import DRAWN, drawn_nodes
from dynlab.report.page import render_page
from dynlab.report.pictures import screen_of

MakeAnalysis = Callable[..., Analysis]


def test_every_edge_and_every_attractor_is_drawn(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> None:
    analysis = with_graph(make_analysis(attractors=12), [(0, 1), (0, 1), (1, 2), (5, 12)])
    figure: Any = connection_figure(analysis.graph, screen_of(analysis))
    traces = {trace.name: trace for trace in figure.data if trace.name}
    assert len(traces["saddle"].x) == 4
    kinds = [attractor.kind for attractor in analysis.results.attractors]
    for kind in set(kinds):
        # The one that no sample reaches is drawn too, as it has an edge.
        assert len(traces[str(kind)].x) == kinds.count(kind) + (kind is Kind.UNKNOWN)
    assert len(figure.layout.images) == 13
    feet = {(image.x, image.y) for image in figure.layout.images}
    assert len(feet) == 13
    assert all(-1 <= x <= 1 and -1 <= y <= 1 for x, y in feet)
    # Each picture has a mark at its foot.
    marks = {place for trace in figure.data if trace.name != "saddle" for place in zip(trace.x, trace.y, strict=True)}
    assert feet <= marks
    # The line of an edge goes from the middle of one picture to that of another, and two saddles lie on one line.
    lines = next(trace for trace in figure.data if trace.mode == "lines")
    ends = {(x, round(y, 9)) for x, y in zip(lines.x, lines.y, strict=True) if x is not None}
    assert len(ends) == 5
    assert ends <= {(image.x, round(image.y + image.sizey / 2, 9)) for image in figure.layout.images}
    assert len(lines.x) == 3 * 3
    # Pictures are drawn above lines: on axes of their own that come later, in the same place.
    assert {image.xref for image in figure.layout.images} == {"x2"}
    assert lines.xaxis is None
    assert figure.layout.xaxis2.matches == "x"
    assert figure.layout.xaxis2.overlaying is None


def test_attractors_that_neither_samples_nor_edges_reach_are_not_drawn(
    make_analysis: MakeAnalysis, with_graph: MakeAnalysis
) -> None:
    analysis = with_graph(make_analysis(attractors=4), [(0, 1)])
    assert analysis.graph is not None
    assert drawn_nodes(analysis.graph) == [0, 1, 2, 3]


def test_of_many_attractors_the_largest_are_drawn_and_the_page_says_so(
    make_analysis: MakeAnalysis, with_graph: MakeAnalysis
) -> None:
    analysis = with_graph(make_analysis(attractors=DRAWN + 20), [(0, 1)])
    assert analysis.graph is not None
    drawn = drawn_nodes(analysis.graph)
    assert len(drawn) == DRAWN
    sizes = [attractor.basin_size for attractor in analysis.results.attractors]
    assert min(sizes[node] for node in drawn) >= max(size for node, size in enumerate(sizes) if node not in drawn)
    assert f"Drawn are the {DRAWN} attractors" in connection_words(analysis)


def test_words_count_what_is_in_the_graph(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> None:
    words = connection_words(with_graph(make_analysis(attractors=12), [(0, 1), (1, 2)], unsampled=3))
    assert words.startswith("2 saddles with one unstable direction join 3 of 12 attractors")
    assert "Of 3 pairs that were tracked: 1 joined, 1 led to a third attractor, mostly between the two" in words
    assert "1 unresolved" in words
    assert "3 attractors that no sample reaches" in words
    assert "1 unstable fixed point more joins no two attractors" in words


def test_a_sum_that_is_due_is_not_taken_for_completeness(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> None:
    analysis = with_graph(make_analysis(attractors=12), [(0, 1)])
    connections, due = analysis.results.connections, analysis.results.index_sum
    assert connections is not None
    assert due is not None
    for index_sum in (due.expected, due.expected + 3):
        results = replace(analysis.results, connections=replace(connections, index_sum=index_sum))
        words = connection_words(replace(analysis, results=results))
        assert f"add up to {index_sum}, where {due.expected} is due." in words
        assert ("does not show that all are known" in words) == (index_sum == due.expected)


def test_layout_keeps_classes_together(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> None:
    analysis = make_analysis(attractors=40)
    analysis = with_graph(analysis, [(node, node + 1) for node in range(39)], unsampled=0)
    graph = analysis.graph
    assert graph is not None
    figure: Any = connection_figure(analysis.graph, screen_of(analysis))
    images = figure.layout.images
    order = sorted(graph, key=lambda node: -graph.nodes[node]["basin_size"])[::-1]
    places = {node: np.array([image.x, image.y]) for node, image in zip(order, images, strict=True)}
    labels = {node: graph.nodes[node].get("label") for node in graph}
    same, other = [], []
    for one in graph:
        for two in range(one):
            if labels[one] is not None and labels[two] is not None:
                (same if labels[one] == labels[two] else other).append(np.linalg.norm(places[one] - places[two]))
    assert np.mean(same) < 0.8 * np.mean(other)


def test_without_a_graph_the_page_has_no_such_section(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> None:
    analysis = make_analysis(attractors=5)
    assert connection_words(analysis) == ""
    assert not connection_figure(analysis.graph, screen_of(analysis)).data
    assert "Connections between attractors" not in render_page([analysis])
    assert "Connections between attractors" in render_page([with_graph(analysis, [(0, 1)])])


def test_an_empty_graph_is_said_in_words(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> None:
    analysis = with_graph(make_analysis(attractors=0, explosions=0), [], unsampled=0)
    assert connection_words(analysis) == "There is no attractor that saddles could join."
    render_page([analysis])


def test_shares_of_a_class_add_up(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(attractors=30)
    heat: Any = flow_figure(flow_of(analysis)).data[0]
    assert np.asarray(heat.z).sum(axis=1) == pytest.approx(np.ones(len(heat.y)))
    classes = analysis.arrays.classes
    assert np.asarray(heat.customdata).sum(axis=1).tolist() == [int((classes == int(row)).sum()) for row in heat.y]
    assert "add" in flow_words(flow_of(analysis))


def test_without_classes_there_is_no_flow(make_analysis: MakeAnalysis) -> None:
    unlabelled = make_analysis(attractors=5, labelled=False, separability=False)
    assert not flow_figure(flow_of(unlabelled)).data
    assert "Where the classes went" not in render_page([unlabelled])

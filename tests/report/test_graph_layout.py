"""The layout of connection graphs: nothing overlaps, all is within the square, and classes stay together."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from dynlab.report.graph_layout import Layout, free_points, graph_layout


def _graph(nodes: int, edges: int, seed: int, classes: int = 5) -> nx.MultiGraph:
    rng = np.random.default_rng(seed)
    graph = nx.MultiGraph()
    fractions = rng.pareto(1.0, nodes)
    for node in range(nodes):
        graph.add_node(node, basin_fraction=float(fractions[node] / fractions.sum()))
        if rng.random() < 0.6:
            graph.nodes[node]["label"] = int(rng.integers(classes))
    for source, target in rng.integers(nodes, size=(edges, 2)):
        if source != target:
            graph.add_edge(int(source), int(target))
    return graph


def _overlapping(layout: Layout, width: float, height: float) -> list[tuple[int, int]]:
    """Pairs whose pictures overlap, on a page that the square is stretched to."""
    scale = min(width, height)
    return [
        (one, other)
        for one, other in itertools.combinations(layout.places, 2)
        if all(
            abs(layout.places[one][axis] - layout.places[other][axis]) * length
            < (layout.sides[one] + layout.sides[other]) / 2 * scale
            for axis, length in enumerate((width, height))
        )
    ]


@pytest.mark.parametrize(("nodes", "edges"), [(1, 0), (2, 1), (5, 0), (30, 40), (70, 90), (300, 400)])
def test_no_pictures_overlap_on_a_page_of_any_shape(nodes: int, edges: int) -> None:
    layout = graph_layout(_graph(nodes, edges, seed=nodes))
    assert sorted(layout.places) == sorted(layout.sides) == list(range(nodes))
    for shape in ((1, 1), (1100, 640), (358, 640), (10, 1)):
        assert _overlapping(layout, *shape) == []
    for node, place in layout.places.items():
        assert max(map(abs, place)) + layout.sides[node] / 2 <= 1 + 1e-12


@pytest.mark.parametrize("nodes", [30, 100, 300])
def test_pictures_are_not_made_small(nodes: int) -> None:
    layout = graph_layout(_graph(nodes, nodes + nodes // 3, seed=nodes))
    assert min(layout.sides.values()) > 0.3 * 2 / np.sqrt(nodes)  # of what all would have if they filled the square


def test_pictures_grow_with_their_basins() -> None:
    graph = _graph(40, 50, seed=1)
    sides = graph_layout(graph).sides
    by_basin = sorted(graph, key=lambda node: graph.nodes[node]["basin_fraction"])
    assert [sides[node] for node in by_basin] == sorted(sides.values())
    assert sides[by_basin[-1]] > 2 * sides[by_basin[0]]


def test_neighbours_are_nearer_than_others() -> None:
    graph = nx.MultiGraph(nx.path_graph(30))
    nx.set_node_attributes(graph, dict.fromkeys(graph, 1 / 30), "basin_fraction")
    places = {node: np.array(place) for node, place in graph_layout(graph).places.items()}
    near = [np.linalg.norm(places[node] - places[node + 1]) for node in range(29)]
    far = [np.linalg.norm(places[node] - places[other]) for node in range(30) for other in range(node - 1)]
    assert np.mean(near) < 0.5 * np.mean(far)


def test_classes_stay_together() -> None:
    graph = _graph(60, 30, seed=3)
    places = {node: np.array(place) for node, place in graph_layout(graph).places.items()}
    labels = nx.get_node_attributes(graph, "label")
    apart: dict[bool, list[np.floating]] = {True: [], False: []}
    for one, other in itertools.combinations(labels, 2):
        apart[labels[one] == labels[other]].append(np.linalg.norm(places[one] - places[other]))
    assert np.mean(apart[True]) < 0.6 * np.mean(apart[False])


def test_equal_graphs_have_equal_layouts() -> None:
    graph = _graph(40, 50, seed=4)
    reordered = nx.MultiGraph()
    reordered.add_nodes_from(reversed(list(graph.nodes(data=True))))
    reordered.add_edges_from((target, source) for source, target, _ in reversed(list(graph.edges)))
    assert graph_layout(graph) == graph_layout(reordered)


def test_nodes_without_basins_and_at_one_place_are_laid_out() -> None:
    graph = nx.MultiGraph()
    graph.add_nodes_from(range(9), basin_fraction=0.0)
    layout = graph_layout(graph)
    assert _overlapping(layout, 1, 1) == []
    assert min(layout.sides.values()) > 0


def test_free_points_are_between_the_pictures() -> None:
    layout = Layout({3: (-0.8, 0.1), 7: (0.6, 0.5)}, {3: 0.4, 7: 0.2})
    # From x = -0.6, where the first picture ends, to x = 0.5, where the second begins.
    points = free_points(layout, 3, 7, 2)
    assert [x for x, _ in points] == pytest.approx([-0.6 + 1.1 / 3, -0.6 + 2.2 / 3])
    for x, y in points:
        assert y == pytest.approx(0.1 + 0.4 * (x + 0.8) / 1.4)
    assert free_points(layout, 3, 7, 0) == []

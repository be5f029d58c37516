"""Where the pictures of a connection graph stand and how large they are, in the square from -1 to 1.

First nodes are put as far apart as there are edges between them, by stress minimization. Each class pulls its
prototypes together: a node that is not drawn stands for the class and is joined to all of them. Then pictures that
overlap are pushed apart, and off the edges of others, step by step; what still overlaps makes all of them smaller.
Pictures are squares of the square; stretched to a page with pictures sized by its shorter side, they overlap no more.

Sources: Kamada and Kawai, An algorithm for drawing general undirected graphs, Information Processing Letters 31, 1989,
for the stress. Dwyer, Marriott and Stuckey, Fast node overlap removal, Graph Drawing 2005, for the problem; the pushes
here are plain relaxation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import networkx as nx

DRAWN = 300  # attractors of the graph that are drawn, those with the largest basins
_LEAST = 0.42  # side of the picture of an empty basin, in that of the largest basin
_ROOM = 1.3  # sides of the free squares around pictures, in sides of the pictures
_FILLED, _LARGEST = 0.45, 0.5  # share of the square that the free squares fill, and the largest side of a picture
_ROUNDS, _LAST_ROUNDS = 60, 200  # of pushes; the last ones are for overlaps alone, until there are none
_STEP, _OFF_EDGES = 0.35, 0.1  # pushes off pictures and edges, as shares of the way to where they would just touch


@dataclass(frozen=True)
class Layout:
    """Where the nodes of a graph stand."""

    places: dict[int, tuple[float, float]]  # centres of the pictures, which are within -1 to 1
    sides: dict[int, float]  # of the pictures


def drawn_nodes(graph: nx.MultiGraph) -> list[int]:
    """The nodes that are drawn: those with the largest basins; none that neither samples nor edges reach."""
    nodes = [node for node in graph if graph.nodes[node]["basin_size"] or graph.degree(node)]
    return sorted(nodes, key=lambda node: (-graph.nodes[node]["basin_size"], node))[:DRAWN]


def graph_layout(graph: nx.MultiGraph) -> Layout:
    """Places and sizes of the nodes of a graph, none of which overlap.

    Args:
        graph: At least one node. Nodes have a `basin_fraction`, with which pictures grow, and may have a `label`, the
            class that they are kept together with.
    """
    nodes = sorted(graph)
    fractions: NDArray[np.float64] = np.array([graph.nodes[node]["basin_fraction"] for node in nodes])
    relative = np.sqrt(fractions / (fractions.max() or 1.0))
    sides = _LEAST + (1 - _LEAST) * relative
    sides = sides * min(_LARGEST, 2 * math.sqrt(_FILLED / float((sides**2).sum())) / _ROOM)
    row = {node: place for place, node in enumerate(nodes)}
    pairs = sorted({(min(ends), max(ends)) for ends in graph.edges()})
    edges: NDArray[np.int64] = np.array([(row[one], row[other]) for one, other in pairs], np.int64).reshape(-1, 2)
    places = _pushed_apart(_by_stress(graph, nodes, pairs), _ROOM * sides, edges)
    sides = sides * min(1.0, _fitting(places, _ROOM * sides))
    return Layout(
        {node: (float(x), float(y)) for node, (x, y) in zip(nodes, places, strict=True)},
        {node: float(side) for node, side in zip(nodes, sides, strict=True)},
    )


def free_points(layout: Layout, source: int, target: int, number: int) -> list[tuple[float, float]]:
    """So many points, evenly spread over the part of an edge that the pictures at its two ends leave free."""
    start, end = np.array(layout.places[source]), np.array(layout.places[target])
    reach = float(np.abs(end - start).max())
    first, last = layout.sides[source] / 2 / reach, 1 - layout.sides[target] / 2 / reach
    shares = first + (last - first) * np.arange(1, number + 1) / (number + 1)
    return [(float(x), float(y)) for x, y in start + shares[:, None] * (end - start)]


def _by_stress(graph: nx.MultiGraph, nodes: list[int], pairs: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Places of the nodes, as far apart as the numbers of edges between them."""
    import networkx as nx

    pulled = nx.Graph()
    pulled.add_nodes_from(nodes)
    pulled.add_edges_from(pairs)
    for node in nodes:
        label = graph.nodes[node].get("label")
        if label is not None:
            pulled.add_edge(node, f"class {label}")
    ways = {node: dict(found) for node, found in nx.all_pairs_shortest_path_length(pulled)}
    # Parts that nothing joins stand beside each other.
    beside = max(way for found in ways.values() for way in found.values()) / 2 + 1
    apart = {node: {other: ways[node].get(other, beside) for other in pulled} for node in pulled}
    layout = nx.kamada_kawai_layout(pulled, dist=apart, pos=nx.circular_layout(pulled))
    places: NDArray[np.float64] = np.array([layout[node] for node in nodes])
    centre, reach = (places.max(axis=0) + places.min(axis=0)) / 2, np.ptp(places, axis=0) / 2
    widest = float(reach.max()) or 1.0
    places = (places - centre) / np.maximum(reach, widest / 2)  # stretched to the square, but no line to an area
    # Towards where they would stand evenly, half of the way where there is a way, so that crowds open up.
    ranks = places.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    share = reach / widest / 2
    return (1 - share) * places + share * (2 * ranks / max(1, len(places) - 1) - 1)


def _pushed_apart(
    places: NDArray[np.float64], sides: NDArray[np.float64], edges: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Places at which squares of these sides overlap little or not at all, and stand on few edges of others."""
    places, limit = places.copy(), (1 - sides / 2)[:, None]
    room = (sides[:, None] + sides) / 2
    np.fill_diagonal(room, 0.0)
    order = np.sign(np.arange(len(places))[:, None] - np.arange(len(places)))
    for round_number in range(_ROUNDS + _LAST_ROUNDS):
        places = np.clip(places, -limit, limit)
        if round_number < _ROUNDS:
            places += _off_edges(places, sides, edges)
        apart = [column[:, None] - column for column in places.T]
        lacking = [room - np.abs(distance) for distance in apart]
        is_over = (lacking[0] > 0) & (lacking[1] > 0)
        if round_number >= _ROUNDS and not is_over.any():
            break
        is_first = lacking[0] <= lacking[1]  # along the axis on which less is lacking
        for axis, chosen in enumerate((is_over & is_first, is_over & ~is_first)):
            way = np.where(apart[axis] == 0, order, np.sign(apart[axis]))  # those at one place by their rows
            places[:, axis] += _STEP * np.where(chosen, way * lacking[axis], 0.0).sum(axis=1)
    return np.clip(places, -limit, limit)


def _off_edges(
    places: NDArray[np.float64], sides: NDArray[np.float64], edges: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Small pushes of each node off the edges that cross its square and are not its own."""
    start, end = places[edges[:, 0]], places[edges[:, 1]]
    along = end - start
    squared = np.maximum((along**2).sum(axis=1), 1e-12)
    offset = places[:, None] - start  # (nodes, edges, 2)
    share = ((offset * along).sum(axis=-1) / squared).clip(0, 1)
    away = offset - share[..., None] * along
    distance = np.sqrt((away**2).sum(axis=-1))
    lacking = np.maximum(sides[:, None] / 2 - distance, 0.0)
    lacking[edges[:, 0], np.arange(len(edges))] = 0.0
    lacking[edges[:, 1], np.arange(len(edges))] = 0.0
    across = np.stack([-along[:, 1], along[:, 0]], axis=-1) / np.sqrt(squared)[:, None]
    direction = np.where(distance[..., None] > 1e-9, away / np.maximum(distance, 1e-9)[..., None], across)
    return _OFF_EDGES * (lacking[..., None] * direction).sum(axis=1)


def _fitting(places: NDArray[np.float64], sides: NDArray[np.float64]) -> float:
    """The largest factor of all sides with which no two squares overlap; infinite for a single one."""
    apart = np.abs(places[:, None] - places).max(axis=-1)
    room = (sides[:, None] + sides) / 2
    np.fill_diagonal(apart, np.inf)
    return float((apart / room).min())

"""Figures and words of the connection graph and of the flows between classes.

In the graph's layout nodes are as far apart as there are edges between them. Each class pulls its prototypes together:
a node that is not drawn stands for the class and is joined to all of them.

Source: Kamada and Kawai, An algorithm for drawing general undirected graphs, Information Processing Letters 31, 1989.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.flows import FlowMatrix
from dynlab.report.layout import blank_figure
from dynlab.report.palette import light
from dynlab.report.pictures import Screen
from dynlab.report.words import count, number

if TYPE_CHECKING:
    import networkx as nx
    import plotly.graph_objects as go

DRAWN = 300  # attractors of the graph that are drawn, those with the largest basins
_PICTURES = 120  # of them with their pictures
_HEIGHT, _FLOW_HEIGHT = 640, 460
_LEAST, _MOST = 0.25, 0.9  # sizes of pictures, as shares of the place each would have if all had the same
_KINDS = {  # colour and symbol
    "prototype": ("kept", "circle"),
    "stain": ("stain", "square"),
    "explosion": ("explosion", "x"),
    "unknown": ("unresolved", "circle-open"),
}


def connection_figure(analysis: Analysis, screen: Screen) -> go.Figure:
    """The attractors with the largest basins, and the saddles that join them.

    A picture grows with the basin fraction. Empty where there is no graph.
    """
    import plotly.graph_objects as go

    figure = blank_figure("", "", legend=True)
    graph = analysis.graph
    drawn = None if graph is None else graph.subgraph(drawn_nodes(graph))
    if graph is None or drawn is None or not len(drawn):
        return figure
    places = _places(drawn)
    room = 2 / math.sqrt(len(drawn))
    largest = max(graph.nodes[node]["basin_fraction"] for node in drawn) or 1.0
    sizes = {
        node: room * (_LEAST + (_MOST - _LEAST) * math.sqrt(graph.nodes[node]["basin_fraction"] / largest))
        for node in drawn
    }
    lines: list[float | None] = []
    rungs: list[float | None] = []
    middles: list[tuple[float, float, str]] = []
    for source, target, attributes in sorted(drawn.edges(data=True), key=lambda edge: edge[2]["saddle"]):
        source, target = min(source, target), max(source, target)
        (x1, y1), (x2, y2) = places[source], places[target]
        lines += [x1, x2, None]
        rungs += [y1, y2, None]
        middles.append(((x1 + x2) / 2, (y1 + y2) / 2, _edge_words(source, target, attributes)))
    figure.add_trace(
        go.Scatter(
            x=lines, y=rungs, mode="lines", line={"color": light("raw"), "width": 1}, hoverinfo="skip", showlegend=False
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[x for x, _, _ in middles],
            y=[y for _, y, _ in middles],
            customdata=[words for _, _, words in middles],
            mode="markers",
            name="saddle",
            marker={"color": light("raw"), "size": 5, "symbol": "diamond-open"},
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    for kind, (colour, symbol) in _KINDS.items():
        nodes = [node for node in sorted(drawn) if graph.nodes[node].get("kind", "unknown") == kind]
        if nodes:
            figure.add_trace(
                go.Scatter(
                    # At the foot of the picture, so as not to hide it.
                    x=[places[node][0] for node in nodes],
                    y=[places[node][1] - sizes[node] / 2 for node in nodes],
                    customdata=[_node_words(node, graph.nodes[node]) for node in nodes],
                    mode="markers",
                    name=kind,
                    marker={"color": light(colour), "size": 8, "symbol": symbol},
                    hovertemplate="%{customdata}<extra></extra>",
                )
            )
    pictured = sorted(drawn, key=lambda node: -graph.nodes[node]["basin_size"])[:_PICTURES]
    for node in reversed(pictured):
        figure.add_layout_image(
            source=screen.picture(graph.nodes[node]["state"]),
            xref="x",
            yref="y",
            x=places[node][0],
            y=places[node][1],
            sizex=sizes[node],
            sizey=sizes[node],
            xanchor="center",
            yanchor="middle",
            layer="below",
        )
    hidden: dict[str, Any] = {"visible": False, "range": [-1.15, 1.15]}
    return figure.update_layout(height=_HEIGHT).update_xaxes(**hidden).update_yaxes(**hidden)


def drawn_nodes(graph: nx.MultiGraph) -> list[int]:
    """The nodes that are drawn: those with the largest basins; none that neither samples nor edges reach."""
    nodes = [node for node in graph if graph.nodes[node]["basin_size"] or graph.degree(node)]
    return sorted(nodes, key=lambda node: (-graph.nodes[node]["basin_size"], node))[:DRAWN]


def connection_words(analysis: Analysis) -> str:
    """What was tracked, what was found, and what remains unknown; empty where there is no graph."""
    found, graph = analysis.results.connections, analysis.graph
    if found is None or graph is None:
        return ""
    attractors = len(analysis.results.attractors)
    tracked = sum(found.tracks.values())
    sentences = [
        (
            f"{count(found.edges, 'saddle')} with one unstable direction {'joins' if found.edges == 1 else 'join'} "
            f"{number(found.joined)} of {count(attractors, 'attractor')}: a real multiplier above 1, and the branches "
            "of the unstable manifold end in both."
        )
    ]
    if tracked:
        others = [f"{number(found.tracks.get(track, 0))} {words}" for track, words in _TRACK_WORDS.items()]
        sentences.append(f"Of {count(tracked, 'pair')} that were tracked: {', '.join(others)}.")
    if found.unsampled:
        sentences.append(f"{count(found.unsampled, 'attractor')} that no sample reaches came to light on the way.")
    if found.other_saddles:
        sentences.append(f"{count(found.other_saddles, 'unstable fixed point')} more join no two attractors.")
    if analysis.results.index_sum is not None:
        sentences.append(
            f"Over all fixed points known the signs of det(I − J) add up to {found.index_sum}, where "
            f"{analysis.results.index_sum.expected} is due."
        )
        if found.index_undecided:
            sentences.append(f"{count(found.index_undecided, 'sign')} could not be told.")
    if len(graph) > DRAWN:
        sentences.append(f"Drawn are the {number(DRAWN)} attractors with the largest basins.")
    return " ".join(sentences)


_TRACK_WORDS = {
    "saddle": "joined",
    "attractor between": "led to a third attractor, mostly between the two",
    "swaps branches": "led only to saddles that swap their branches",
    "higher index": "led only to saddles with more unstable directions",
    "unresolved": "unresolved",
}


def flow_figure(flow: FlowMatrix) -> go.Figure:
    """Where the samples of each class ended, as shares of the class; empty where samples have no class."""
    import plotly.graph_objects as go

    figure = blank_figure("attractor", "class of the sample", legend=False)
    counts: NDArray[np.int64] = flow.counts.numpy()
    rows = np.flatnonzero(counts.sum(axis=1))
    if not len(rows):
        return figure
    columns = [
        column for column, name in enumerate(flow.columns) if column < len(flow.classes) or counts[:, column].any()
    ]
    shares: NDArray[np.float64] = flow.shares.numpy()[rows][:, columns]
    names, classes = [flow.columns[column] for column in columns], [str(flow.classes[row]) for row in rows]
    figure.add_trace(
        go.Heatmap(
            x=names,
            y=classes,
            z=shares,
            customdata=counts[rows][:, columns],
            text=[[_share(value) for value in row] for row in shares],
            texttemplate="%{text}",
            textfont={"color": light("ink")},
            colorscale=[[0, "rgba(42, 120, 214, 0)"], [1, "rgba(42, 120, 214, 0.75)"]],
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=1,
            ygap=1,
            hovertemplate="class %{y} to %{x}: %{customdata} samples, %{z:.1%}<extra></extra>",
        )
    )
    figure.update_xaxes(type="category").update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure.update_layout(height=_FLOW_HEIGHT)


def flow_words(flow: FlowMatrix) -> str:
    """The largest flow between two different classes, in words; empty where samples have no class."""
    counts: NDArray[np.int64] = flow.counts.numpy()[:, : len(flow.classes)].copy()
    if not counts.size or not int(flow.counts.sum()):
        return ""
    sentences = ["Rows are the classes of the samples, columns what their attractors are; a row adds up to 100%."]
    np.fill_diagonal(counts, 0)
    if counts.any():
        source, target = np.unravel_index(int(counts.argmax()), counts.shape)
        sentences.append(
            f"The largest flow between classes takes {count(int(counts.max()), 'sample')} of class "
            f"{flow.classes[int(source)]} to prototypes of class {flow.classes[int(target)]}."
        )
    if flow.without_class:
        sentences.append(f"{count(flow.without_class, 'sample')} without a class form no row.")
    return " ".join(sentences)


def _share(value: float) -> str:
    return "" if value == 0 else "<1" if value < 0.01 else f"{100 * value:.0f}"


def _places(graph: nx.MultiGraph) -> dict[int, tuple[float, float]]:
    """Places of the nodes, from -1 to 1, as far apart as the numbers of edges between them."""
    import networkx as nx

    pulled = nx.Graph()
    pulled.add_nodes_from(sorted(graph))
    pulled.add_edges_from(sorted(set(graph.edges())))
    for node in sorted(graph):
        label = graph.nodes[node].get("label")
        if label is not None:
            pulled.add_edge(node, f"class {label}")
    ways = {node: dict(found) for node, found in nx.all_pairs_shortest_path_length(pulled)}
    farthest = max(way for found in ways.values() for way in found.values())
    apart = {node: {other: ways[node].get(other, farthest + 1) for other in pulled} for node in pulled}
    layout = nx.kamada_kawai_layout(pulled, dist=apart, pos=nx.circular_layout(pulled))
    places: NDArray[np.float64] = np.array([layout[node] for node in sorted(graph)])
    centre, reach = (places.max(axis=0) + places.min(axis=0)) / 2, np.ptp(places, axis=0) / 2
    places = (places - centre) / np.where(reach > 0, reach, 1.0)
    # Half of the way to where they would stand evenly, so that crowds open up.
    ranks = places.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    places = (places + 2 * ranks / max(1, len(places) - 1) - 1) / 2
    return {node: (float(x), float(y)) for node, (x, y) in zip(sorted(graph), places, strict=True)}


def _node_words(node: int, attributes: dict[str, Any]) -> str:
    what = attributes.get("kind", "unknown") + (f" of {attributes['label']}" if "label" in attributes else "")
    return f"attractor {node}, {what}<br>{attributes['basin_fraction']:.2%} of the samples"


def _edge_words(source: int, target: int, attributes: dict[str, Any]) -> str:
    words = (
        f"saddle between {source} and {target}<br>unstable multiplier {attributes['unstable_multiplier']:.4f}<br>"
        f"{attributes['distance_to_source']:.2f} and {attributes['distance_to_target']:.2f} away"
    )
    if "barrier_from_source" in attributes:
        words += f"<br>{attributes['barrier_from_source']:.3g} and {attributes['barrier_from_target']:.3g} nats up"
    return words

"""Figures and words of the connection graph and of the flows between classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.flows import FlowMatrix
from dynlab.evaluation.kinds import Kind
from dynlab.report.figure_data import column_names
from dynlab.report.graph_layout import DRAWN, drawn_nodes, free_points, graph_layout
from dynlab.report.layout import KIND_LOOKS, blank_figure
from dynlab.report.palette import light
from dynlab.report.pictures import Screen
from dynlab.report.words import count, number, signed

if TYPE_CHECKING:
    import networkx as nx
    import plotly.graph_objects as go

_PICTURES = 120  # attractors of the graph that are drawn with their pictures
_HEIGHT, _FLOW_HEIGHT = 640, 460
_SADDLE_COLUMNS = (
    "source",
    "target",
    "saddle",
    "unstable_multiplier",
    "residual",
    "distance_to_source",
    "distance_to_target",
    "barrier_from_source",
    "barrier_from_target",
)


def connection_figure(graph: nx.MultiGraph | None, screen: Screen) -> go.Figure:
    """The attractors with the largest basins, and the saddles that join them.

    A picture grows with the basin fraction. Empty where there is no graph.
    """
    import plotly.graph_objects as go

    figure = blank_figure("", "", legend=True)
    drawn = None if graph is None else graph.subgraph(drawn_nodes(graph))
    if graph is None or drawn is None or not len(drawn):
        return figure
    layout = graph_layout(drawn)
    # A picture hangs from the middle of its lower edge, where its mark is: there it is on a page of any shape.
    feet = {node: (x, y - layout.sides[node] / 2) for node, (x, y) in layout.places.items()}
    lines: list[float | None] = []
    rungs: list[float | None] = []
    middles: list[tuple[float, float]] = []
    saddles: list[dict[str, Any]] = []
    for source, target in sorted({(min(ends), max(ends)) for ends in drawn.edges()}):
        (x1, y1), (x2, y2) = layout.places[source], layout.places[target]
        lines += [x1, x2, None]
        rungs += [y1, y2, None]
        between = sorted(drawn.get_edge_data(source, target).values(), key=lambda edge: edge["saddle"])
        middles += free_points(layout, source, target, len(between))
        saddles += [{"source": source, "target": target, **attributes} for attributes in between]
    figure.add_trace(
        go.Scatter(
            x=lines, y=rungs, mode="lines", line={"color": light("raw"), "width": 1}, hoverinfo="skip", showlegend=False
        )
    )
    # A second pair of axes in the same place: its pictures are drawn above the lines, which so end at their rims.
    above: dict[str, Any] = {"mode": "markers", "xaxis": "x2", "yaxis": "y2"}
    figure.update_layout(meta=column_names(series="kind", x="", y=""))
    if saddles:
        names = [name for name in _SADDLE_COLUMNS if name in saddles[0]]
        figure.add_trace(
            go.Scatter(
                **above,
                x=[x for x, _ in middles],
                y=[y for _, y in middles],
                customdata=[[saddle[name] for name in names] for saddle in saddles],
                meta=column_names(custom=names),
                name="saddle",
                marker={"color": light("raw"), "size": 5, "symbol": "diamond-open"},
                hovertemplate=_saddle_template(names),
            )
        )
    for kind, (colour, symbol) in KIND_LOOKS.items():
        nodes = [node for node in sorted(drawn) if graph.nodes[node].get("kind", Kind.UNKNOWN) == kind]
        if nodes:
            names = ["attractor", "basin_size", "basin_fraction", "spectral_radius"]
            of_class = ""
            if any("label" in graph.nodes[node] for node in nodes):
                names.append("label")
                of_class = f" of %{{customdata[{len(names) - 1}]}}"
            rows = [{"attractor": node, **graph.nodes[node]} for node in nodes]
            figure.add_trace(
                go.Scatter(
                    **above,
                    x=[feet[node][0] for node in nodes],
                    y=[feet[node][1] for node in nodes],
                    customdata=[[row.get(name) for name in names] for row in rows],
                    meta=column_names(custom=names),
                    name=str(kind),
                    marker={"color": light(colour), "size": 8, "symbol": symbol},
                    hovertemplate=f"attractor %{{customdata[0]}}, {kind}{of_class}<br>%{{customdata[2]:.2%}} of the "
                    "samples<extra></extra>",
                )
            )
    pictured = sorted(drawn, key=lambda node: -graph.nodes[node]["basin_size"])[:_PICTURES]
    for node in reversed(pictured):
        figure.add_layout_image(
            source=screen.picture(graph.nodes[node]["state"]),
            xref="x2",
            yref="y2",
            x=feet[node][0],
            y=feet[node][1],
            sizex=layout.sides[node],
            sizey=layout.sides[node],
            xanchor="center",
            yanchor="bottom",
            layer="below",
        )
    hidden: dict[str, Any] = {"visible": False, "range": [-1.04, 1.04]}
    figure.update_layout(
        height=_HEIGHT,
        xaxis=hidden,
        yaxis=hidden,
        xaxis2={**hidden, "matches": "x", "anchor": "y2"},
        yaxis2={**hidden, "matches": "y", "anchor": "x2"},
    )
    return figure


def _saddle_template(names: list[str]) -> str:
    """What is said of a saddle that is pointed at."""

    def entry(name: str, form: str = "") -> str:
        return f"%{{customdata[{names.index(name)}]{form}}}"

    words = (
        f"saddle between {entry('source')} and {entry('target')}<br>"
        f"unstable multiplier {entry('unstable_multiplier', ':.4f')}<br>"
        f"{entry('distance_to_source', ':.2f')} and {entry('distance_to_target', ':.2f')} away"
    )
    if "barrier_from_source" in names:
        words += f"<br>{entry('barrier_from_source', ':.3~g')} and {entry('barrier_from_target', ':.3~g')} nats up"
    return f"{words}<extra></extra>"


def connection_words(analysis: Analysis) -> str:
    """What was tracked, what was found, and what remains unknown; empty where there is no graph."""
    found, graph = analysis.results.connections, analysis.graph
    if found is None or graph is None:
        return ""
    attractors = len(analysis.results.attractors)
    if not attractors:
        return "There is no attractor that saddles could join."
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
        joins = "joins" if found.other_saddles == 1 else "join"
        sentences.append(f"{count(found.other_saddles, 'unstable fixed point')} more {joins} no two attractors.")
    if analysis.results.index_sum is not None:
        sentences.append(
            f"Over all fixed points known the signs of det(I − J) add up to {signed(found.index_sum, 'd')}, where "
            f"{analysis.results.index_sum.expected} is due."
        )
        missing = analysis.results.index_sum.expected - found.index_sum
        if missing == 0:
            sentences.append("That does not show that all are known: missing ones can cancel out.")
        elif not found.index_undecided:
            many, which = f"{count(abs(missing), 'fixed point')} more", "+1" if missing > 0 else "−1"
            there, counts = ("is", "counts") if abs(missing) == 1 else ("are", "count")
            sentences.append(f"So there {there} at least {many} that {counts} {which}.")
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
    names, classes = [flow.columns[column] for column in columns], [flow.classes[row] for row in rows]
    figure.add_trace(
        go.Heatmap(
            x=names,
            y=classes,
            z=shares,
            customdata=counts[rows][:, columns].tolist(),
            meta=column_names(x="attractor", y="class", z="share", custom=["samples"]),
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

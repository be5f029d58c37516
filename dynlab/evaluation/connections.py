"""The connection graph of an analysis: its attractors' kinds as attributes of the nodes, and its figures in short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynlab.attractors import track_counts
from dynlab.evaluation.kinds import Kind

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Connections:
    """What the connection graph has; `graph.graphml` and `graph.safetensors` hold the graph itself."""

    edges: int  # saddles that join two attractors
    joined: int  # of the attractors to be joined, those that have an edge
    unsampled: int  # attractors that only branches of unstable manifolds or tracked orbits reached
    tracks: dict[str, int]  # pairs that were tracked, by what was found
    other_saddles: int  # unstable fixed points that join no two attractors
    index_sum: int  # of the signs of det(I - J) over all fixed points known
    index_undecided: int  # signs that are too near to call


def connections_of(graph: nx.MultiGraph, attractors: int) -> Connections:
    """The figures of a graph, of whose nodes the first are the attractors that were to be joined."""
    return Connections(
        edges=graph.number_of_edges(),
        joined=sum(graph.degree(node) > 0 for node in range(attractors)),
        unsampled=sum(size == 0 for _, size in graph.nodes(data="basin_size")),
        tracks=track_counts(graph),
        other_saddles=len(graph.graph["other_saddles"]),
        index_sum=graph.graph["index_sum"],
        index_undecided=graph.graph["index_undecided"],
    )


def name_nodes(graph: nx.MultiGraph, kinds: Sequence[tuple[Kind, int | None]]) -> None:
    """Give the first nodes their kinds, and prototypes their classes as `label`; others are of unknown kind."""
    for node in graph:
        kind, label = kinds[node] if node < len(kinds) else (Kind.UNKNOWN, None)
        graph.nodes[node]["kind"] = str(kind)
        if label is not None:
            graph.nodes[node]["label"] = label

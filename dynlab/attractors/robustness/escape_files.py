"""Escape graphs on disk: GraphML, as all of their attributes are numbers or words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dynlab.errors import InputError
from dynlab.files import written_atomically

if TYPE_CHECKING:
    import networkx as nx

ESCAPES_FILE = "escapes.graphml"
_OF_GRAPH = {"map_sha256", "sigma", "draws", "seed"}


def save_escapes(folder: str | Path, graph: nx.DiGraph) -> None:
    """Write an escape graph into a folder, as `escapes.graphml`.

    Args:
        folder: Where the file shall be.
        graph: As `EscapeGraph.to_networkx` makes it; scalar attributes may have been added to it.

    Raises:
        InputError: If the folder cannot be written to.
    """
    import networkx as nx

    plain = nx.DiGraph(**graph.graph)
    for node in sorted(graph):
        plain.add_node(node, id=node, **graph.nodes[node])
    plain.add_edges_from(sorted(graph.edges(data=True), key=lambda edge: edge[:2]))
    with written_atomically(Path(folder) / ESCAPES_FILE) as temporary:
        nx.write_graphml(plain, temporary)


def load_escapes(folder: str | Path) -> nx.DiGraph:
    """Read an escape graph back; it equals the one that was saved.

    Raises:
        InputError: If the file is missing, damaged, or holds another graph.
    """
    import networkx as nx

    path = Path(folder) / ESCAPES_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected an escape graph")
    try:
        plain = nx.read_graphml(path, node_type=int)
        if not plain.is_directed() or plain.is_multigraph() or not plain.graph.keys() >= _OF_GRAPH:
            raise InputError(f"{path}: not an escape graph that dynlab wrote")
        graph = nx.DiGraph(
            **{name: value for name, value in plain.graph.items() if name not in ("node_default", "edge_default")}
        )
        for node, attributes in sorted(plain.nodes(data=True)):
            if attributes.pop("id") != node:
                raise InputError(f"{path}: node {node} has another id")
            graph.add_node(node, **attributes)
        graph.add_edges_from(plain.edges(data=True))
    except (SyntaxError, KeyError, ValueError, TypeError, nx.NetworkXException) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not an escape graph that dynlab wrote ({error})") from error
    return graph

"""Connection graphs on disk: GraphML for what is a number, safetensors for states.

GraphML carries scalars only, so `graph.graphml` holds the nodes, with `id`, and the edges, and `graph.safetensors` the
states of both under the same numbers, what became of each pair that was tracked, and the saddles that are no edges.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dynlab.attractors.connections.edge_tracking import Track, Tracked
from dynlab.attractors.connections.saddles import Saddle
from dynlab.errors import InputError
from dynlab.files import read_tensors, sha256, write_tensors, written_atomically

if TYPE_CHECKING:
    import networkx as nx

GRAPH_FILE, STATES_FILE = "graph.graphml", "graph.safetensors"
_KIND = "connection-graph"
_TRACKS = list(Track)


def save_graph(folder: str | Path, graph: nx.MultiGraph) -> None:
    """Write a connection graph into a folder, the states first.

    Args:
        folder: Where `graph.graphml` and `graph.safetensors` shall be.
        graph: As `connection_graph` makes it; scalar attributes that were added to it are written too.

    Raises:
        InputError: If the folder cannot be written to.
    """
    import networkx as nx

    folder = Path(folder)
    tracked: list[Tracked] = graph.graph["tracked"]
    others: list[Saddle] = graph.graph["other_saddles"]
    edges = sorted(graph.edges(data=True), key=lambda edge: edge[2]["saddle"])
    dim = len(next((graph.nodes[node]["state"] for node in graph), []))
    unstable = [saddle.unstable_multipliers for saddle in others]
    arrays = {
        "attractors": _stacked([graph.nodes[node]["state"] for node in sorted(graph)], dim),
        "saddles": _stacked([attributes["state"] for _, _, attributes in edges], dim),
        "other_saddles": _stacked([saddle.state for saddle in others], dim),
        "other_residuals": torch.tensor([saddle.residual for saddle in others], dtype=torch.float64),
        "other_ends": torch.tensor([saddle.ends for saddle in others], dtype=torch.int64).reshape(-1, 2),
        "other_indices": torch.tensor([saddle.index for saddle in others], dtype=torch.int64),
        "other_multipliers": torch.view_as_real(torch.cat([torch.zeros(0, dtype=torch.complex128), *unstable])),
        "tracked_pairs": torch.tensor([(one.source, one.target) for one in tracked], dtype=torch.int64).reshape(-1, 2),
        "tracks": torch.tensor([_TRACKS.index(one.track) for one in tracked], dtype=torch.int64),
    }
    plain = nx.MultiGraph(**{name: value for name, value in graph.graph.items() if _is_scalar(value)})
    for node in sorted(graph):
        plain.add_node(node, id=node, **_scalars(graph.nodes[node]))
    for source, target, attributes in edges:
        plain.add_edge(source, target, **_scalars(attributes))
    write_tensors(folder / STATES_FILE, arrays, {"kind": _KIND, "map_sha256": graph.graph["map_sha256"]})
    plain.graph["states_sha256"] = sha256(folder / STATES_FILE)
    with written_atomically(folder / GRAPH_FILE) as temporary:
        nx.write_graphml(plain, temporary)


def load_graph(folder: str | Path) -> nx.MultiGraph:
    """Read a connection graph back; it equals the one that was saved.

    Raises:
        InputError: If a file is missing or damaged, or the two do not belong together.
    """
    import networkx as nx

    path, states_path = Path(folder) / GRAPH_FILE, Path(folder) / STATES_FILE
    arrays, metadata = read_tensors(states_path)
    if metadata.get("kind") != _KIND:
        raise InputError(f"{states_path}: holds no connection graph")
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a connection graph")
    try:
        plain = nx.read_graphml(path, node_type=int, force_multigraph=True)
        graph = nx.MultiGraph(**plain.graph)
        for node, attributes in sorted(plain.nodes(data=True)):
            attributes.pop("id")
            graph.add_node(node, **attributes, state=arrays["attractors"][node])
        for source, target, attributes in sorted(plain.edges(data=True), key=lambda edge: edge[2]["saddle"]):
            attributes.pop("id", None)
            graph.add_edge(source, target, **attributes, state=arrays["saddles"][attributes["saddle"]])
        states_hash = graph.graph.pop("states_sha256")
        graph.graph.pop("node_default", None)
        graph.graph.pop("edge_default", None)
        graph.graph["tracked"] = [
            Tracked(source, target, _TRACKS[track])
            for (source, target), track in zip(arrays["tracked_pairs"].tolist(), arrays["tracks"].tolist(), strict=True)
        ]
        graph.graph["other_saddles"] = _others(arrays)
    except (SyntaxError, KeyError, IndexError, ValueError, TypeError, nx.NetworkXException) as error:
        raise InputError(f"{path}: not a connection graph that dynlab wrote ({error})") from error
    if states_hash != sha256(states_path):
        raise InputError(f"{path}: does not belong to {STATES_FILE} beside it")
    return graph


def _others(arrays: dict[str, Tensor]) -> list[Saddle]:
    multipliers = torch.view_as_complex(arrays["other_multipliers"].contiguous())
    unstable = multipliers.split(arrays["other_indices"].tolist()) if len(multipliers) else []
    ends = [(int(one), int(other)) for one, other in arrays["other_ends"].tolist()]
    residuals = arrays["other_residuals"].tolist()
    return [Saddle(*saddle) for saddle in zip(arrays["other_saddles"], residuals, unstable, ends, strict=True)]


def _stacked(states: list[Tensor], dim: int) -> Tensor:
    return torch.stack(states) if states else torch.zeros(0, dim, dtype=torch.float64)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)


def _scalars(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if _is_scalar(value)}

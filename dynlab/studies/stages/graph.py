"""Stage `graph`: the largest attractors, joined by the saddles between their basins.

`results.json` is a `Connections`, with `attractors`, how many of the largest were joined. Tracking knows no others, and
finds anew what it meets of them: those that samples reach get what is known of their basins afterwards.

Files
    graph.graphml, graph.safetensors: as `dynlab.attractors.save_graph` writes them; nodes have their kinds

Cost: 22 s of one core for 30 attractors of 784-500-784.

Source: `dynlab.attractors.connections.graph`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dynlab.attractors import Basins, connection_graph, save_graph
from dynlab.attractors.copies import copies_of
from dynlab.evaluation.connections import connections_of, name_nodes
from dynlab.evaluation.kinds import Kind
from dynlab.files import read_json, write_json
from dynlab.studies.stage import Cost, Json, Report, Stage, Work, dataset_at
from dynlab.studies.stages.computing import RESULTS_FILE, map_of
from dynlab.studies.stages.orbits import BASINS_FILE

if TYPE_CHECKING:
    import networkx as nx

    from dynlab.studies.grid import Cell
    from dynlab.studies.specification import Study


def _parameters(study: Study, cell: Cell | None) -> dict[str, Json] | None:
    asked = study.analyses.graph
    return None if asked is None else {**asked.model_dump(), "data": ["test"]}


def _cost(work: Work) -> Cost:
    return Cost(1.3e5 * work.parameters["attractors"] * work.products)


def compute(folder: Path, cell: Json, parameters: Json, needed: Mapping[str, Path], report: Report) -> None:
    """Write the files that the module lists; arguments as in `Stage`.

    `parameters` is `attractors`, how many of the largest basins are joined.
    """
    system = map_of(needed, parameters)
    everything = Basins.load(needed["basins"] / BASINS_FILE, system)
    basins = largest_basins(everything, parameters["attractors"])
    table = read_json(needed["basins"] / RESULTS_FILE)["attractor_table"]
    samples = dataset_at(parameters["data"]["test"]).images[basins.samples]
    graph = connection_graph(system, basins, samples=samples, on_progress=lambda done: report(done, "connection graph"))
    rows = _rows_of_nodes(graph, everything)
    sizes, fractions = everything.sizes.tolist(), everything.fractions.tolist()
    for node, row in enumerate(rows):
        if row >= 0:
            graph.nodes[node].update(basin_size=sizes[row], basin_fraction=fractions[row])
    kinds = [(Kind(entry["kind"]), entry["label"]) for entry in table]
    name_nodes(graph, [kinds[row] if row >= 0 else (Kind.UNKNOWN, None) for row in rows])
    save_graph(folder, graph)
    joined = len(basins.fixed_points)
    write_json(folder / RESULTS_FILE, {"attractors": joined, **asdict(connections_of(graph, joined))})


def _rows_of_nodes(graph: nx.MultiGraph, basins: Basins) -> list[int]:
    """Which attractor of the samples each node is, -1 for none of them."""
    states = [graph.nodes[node]["state"] for node in graph]
    nodes = torch.stack(states) if states else basins.fixed_points[:0]
    copies = copies_of(torch.cat([basins.fixed_points, nodes])[:, None]).tolist()
    rows = {copy: row for row, copy in enumerate(copies[: len(basins.fixed_points)])}
    return [rows.get(copy, -1) for copy in copies[len(basins.fixed_points) :]]


def largest_basins(basins: Basins, count: int) -> Basins:
    """The same samples, of whose attractors only the largest `count` are known."""
    return replace(
        basins,
        fixed_points=basins.fixed_points[:count],
        residuals=basins.residuals[:count],
        multipliers=basins.multipliers[:count],
        labels=torch.where(basins.labels < count, basins.labels, -1),
        cycles=(),
        members=(),
    )


GRAPH = Stage("graph", 2, ("train", "basins"), _parameters, compute, cost=_cost)

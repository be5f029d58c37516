"""Stage `graph`: the largest attractors, joined by the saddles between their basins.

`results.json` is a `Connections`, with `attractors`, how many of the largest were joined.

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
from dynlab.evaluation.connections import connections_of, name_nodes
from dynlab.evaluation.kinds import Kind
from dynlab.files import read_json, write_json
from dynlab.studies.stage import Cost, Json, Report, Stage, Work, dataset_at
from dynlab.studies.stages.computing import RESULTS_FILE, map_of
from dynlab.studies.stages.orbits import BASINS_FILE

if TYPE_CHECKING:
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
    basins = largest_basins(Basins.load(needed["basins"] / BASINS_FILE, system), parameters["attractors"])
    table = read_json(needed["basins"] / RESULTS_FILE)["attractor_table"]
    samples = dataset_at(parameters["data"]["test"]).images[basins.samples]
    graph = connection_graph(system, basins, samples=samples, on_progress=lambda done: report(done, "connection graph"))
    name_nodes(graph, [(Kind(row["kind"]), row["label"]) for row in table[: len(basins.fixed_points)]])
    save_graph(folder, graph)
    joined = len(basins.fixed_points)
    write_json(folder / RESULTS_FILE, {"attractors": joined, **asdict(connections_of(graph, joined))})


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


GRAPH = Stage("graph", 1, ("train", "basins"), _parameters, compute, cost=_cost)

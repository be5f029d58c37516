"""The page of a study on the saddles that part the largest basins.

Source: `dynlab.attractors.connections.graph`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynlab.attractors import load_graph
from dynlab.report.connections import connection_figure
from dynlab.report.pictures import Screen
from dynlab.report.study.parts import Chart, Part, Table
from dynlab.report.words import count, number
from dynlab.studies.answers.columns import NOTHING
from dynlab.studies.grid import Cell
from dynlab.studies.page.models import Answer, Models

if TYPE_CHECKING:
    import networkx as nx

_HEADS = (
    "maps",
    "seeds",
    "attractors",
    "of them with a saddle",
    "saddles",
    "of pairs tracked",
    "unstable multiplier, median",
    "further attractors, without samples",
)


def graph_answer(models: Models, screen: Screen) -> Answer:
    """How many saddles join the largest attractors of each family, how unstable they are, and the graph of one map."""
    rows = [row for family in models.families if (row := _row(models, family.label, family.shown))]
    if not rows:
        return None
    words = (
        "The attractors with the largest basins of each map, joined by saddles with one unstable direction whose "
        "branches of the unstable manifold end in both: found by tracking the edge between pairs of neighbours, and by "
        "Newton's method. The unstable multiplier says how fast orbits leave a saddle; near 1 they linger there."
    )
    if any(len(family.shown) > 1 for family in models.families):
        words += " Numbers are means over seeds."
    parts = [Part(words=[words], tables=[Table("Saddles of each map", _HEADS, rows)])]
    cell = models.best("graph")
    graph = None if cell is None else _graph(models, cell)
    if cell is not None and graph is not None:
        joined = sum(degree > 0 for _, degree in graph.degree())
        told = (
            f"{count(graph.number_of_edges(), 'saddle')} and the {count(joined, 'attractor')} that they join, under "
            f"{models.which(cell)}"
        )
        if charts := Chart.of("", "graph-largest", connection_figure(graph, screen), told):
            parts.append(Part("The graph of one map", [f"{told}. Pictures grow with the basins."], charts=charts))
    return "", parts


def _row(models: Models, label: str, cells: Sequence[Cell]) -> tuple[str, ...] | None:
    known = models.with_stage(cells, "graph")
    if not known:
        return None
    found = [results for _, results in known]
    graphs = [graph for cell, _ in known if (graph := _graph(models, cell)) is not None]
    multipliers = [attributes["unstable_multiplier"] for graph in graphs for _, _, attributes in graph.edges(data=True)]
    return (
        label,
        number(len(known)),
        _mean([one["attractors"] for one in found]),
        _mean([one["joined"] for one in found]),
        _mean([one["edges"] for one in found]),
        _mean([sum(one["tracks"].values()) for one in found]),
        f"{statistics.median(multipliers):.3f}" if multipliers else NOTHING,
        _mean([one["unsampled"] for one in found]),
    )


def _graph(models: Models, cell: Cell) -> nx.MultiGraph | None:
    folder = models.folder(cell, "graph")
    return None if folder is None else load_graph(folder)


def _mean(values: Sequence[Any]) -> str:
    return f"{statistics.fmean(values):,.1f}" if len(set(values)) > 1 else number(values[0])

"""What the page of a study says of saddles, beside the graph that the stage has written."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path

from stage_runs import SETTINGS

from dynlab.attractors import load_graph
from dynlab.report.pictures import screen_for
from dynlab.studies.grid import Cell, cells_of
from dynlab.studies.page.graph import graph_answer
from dynlab.studies.page.models import Models
from dynlab.studies.specification import load_study

STUDY = """
[data]
train = "digits/train"
test = "digits/test"
[[grid]]
sigma = [0.2, 0.3]
epochs = 1
seeds = 2
[analyses]
basins = {}
graph = {}
"""


def test_saddles_are_counted_and_drawn(tmp_path: Path, stage_folders: Mapping[str, Path]) -> None:
    (tmp_path / "saddles.toml").write_text(STUDY)
    study = load_study(tmp_path / "saddles.toml")
    cells = cells_of(study, 64 * "0")

    def found(cell: Cell | None, stage: str) -> Path | None:
        return stage_folders[stage] if cell is not None and cell.settings.sigma == SETTINGS.sigma else None

    answer = graph_answer(Models(study, cells, found, []), screen_for((8, 8)))
    assert answer is not None
    table, drawn = answer[1]
    ((label, seeds, attractors, joined, saddles, tracked, multiplier, on_the_way),) = table.tables[0].rows
    graph = load_graph(stage_folders["graph"])
    results = json.loads((stage_folders["graph"] / "results.json").read_text())
    assert (label, seeds, attractors) == ("σ = 0.3, k = 1", "2", "3")
    assert int(joined) == sum(degree > 0 for node, degree in graph.degree() if node < 3)
    assert int(saddles) == graph.number_of_edges() > 0
    assert int(tracked) == sum(results["tracks"].values())
    assert multiplier == f"{statistics.median(edge['unstable_multiplier'] for *_, edge in graph.edges(data=True)):.3f}"
    assert float(multiplier) > 1
    assert int(on_the_way) == len(graph) - 3
    assert f"{graph.number_of_edges()} saddle" in drawn.words[0]
    assert len(drawn.charts) == 1

    assert graph_answer(Models(study, cells, lambda cell, stage: None, []), screen_for((8, 8))) is None

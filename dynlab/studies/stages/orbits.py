"""Stage `orbits`: where exact iteration takes a shard of the test samples.

A large set is iterated shard by shard, each a task of its own, on whatever workers there are; the stage `basins` merges
them. Shards are those that the study says, whoever works on them, so that results do not depend on the workers.

Files
    basins.safetensors: `Basins` of the shard
    steps.safetensors: `steps` of each of its samples, to the tolerance

Cost: 5 s of one core of a Zen 5 for 2000 samples of a model 784-500-784 with k = 1, where a sample takes 130 steps of
1.57 MFLOP, twice, and 12 s with k = 4, where it takes 222; in proportion to these.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dynlab.attractors import basins_of_orbits
from dynlab.dynamics import iterate
from dynlab.files import write_tensors
from dynlab.studies.stage import Cost, Json, Report, Stage, Work, dataset_at
from dynlab.studies.stages.computing import map_of, on_attractors

if TYPE_CHECKING:
    from dynlab.studies.grid import Cell
    from dynlab.studies.specification import Study

BASINS_FILE, STEPS_FILE = "basins.safetensors", "steps.safetensors"


def _parameters(study: Study, cell: Cell | None) -> dict[str, Json] | None:
    return on_attractors(study.analyses.basins, study.iteration)


def _shards(parameters: dict[str, Json], sizes: Mapping[str, int]) -> list[dict[str, Json]]:
    total, size = min(parameters["samples"], sizes["test"]), parameters["shard"]
    rule = {name: value for name, value in parameters.items() if name not in ("samples", "shard")}
    return [{**rule, "first": first, "samples": min(size, total - first)} for first in range(0, total, size)]


def _cost(work: Work) -> Cost:
    return Cost(400.0 * work.parameters["samples"] * work.products)


def compute(folder: Path, cell: Json, parameters: Json, needed: Mapping[str, Path], report: Report) -> None:
    """Write the files that the module lists; arguments as in `Stage`.

    `parameters` are `first` and `samples`, which test samples, and `tolerance` and `max_steps` as in `dynlab.iterate`.
    """
    system, first = map_of(needed, parameters), parameters["first"]
    images = dataset_at(parameters["data"]["test"]).images[first : first + parameters["samples"]]
    orbits = iterate(
        system,
        images,
        tolerance=parameters["tolerance"],
        max_steps=parameters["max_steps"],
        early_labels=False,  # so that steps are counted up to the tolerance
        keep_states=False,
        on_progress=lambda done: report(done, f"{len(images)} samples"),
    )
    basins_of_orbits(system, orbits, first).save(folder / BASINS_FILE)
    write_tensors(folder / STEPS_FILE, {"steps": orbits.steps})


ORBITS = Stage("orbits", 1, ("train",), _parameters, compute, cost=_cost, shards=_shards)

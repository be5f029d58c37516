"""Stage `basins`: where exact iteration takes test samples, and what explodes.

Attractors are those of the first `samples` of the test set, merged from the shards of `orbits`. Explosions are rare in
good models, so they are sought in all of it: every test sample whose transformed state is an explosion (`iterate`) goes
on to its attractor.

`results.json`
    samples, attractors (how many), unresolved, diversity (`Diversity`)
    attractor_table: an `Attractor` for each, by falling basin size; cycles: a `PeriodicAttractor` for each
    kinds, outcomes: how many attractors and how many samples of each (null outcomes: the samples have no classes);
        those on cycles are named only where there are any, those that diverge are among the unresolved
    purity: share of samples with the majority class of their basin, a bound for what any classifier can make of the
        attractors of these samples; purity_left_out: the same by the other samples of the basin (null: no classes)
    explosions: `points` (`ExplosionPoints`) and `starts` (`ExplosionStarts`)

Files
    basins.safetensors: `Basins` of the samples
    samples.safetensors: for each of them its `outcomes` (index into `list(Outcome)`) and `steps` to the tolerance
    explosions.safetensors: `Basins` of the test samples that explode; not there if none does
    starts.safetensors: for each test sample whether it `exploded` (0 or 1), its mean pixel `ink`, and its
        `distances` to the explosion (not there without one)

Cost: for each explosion that of a sample in `orbits`; the rest takes a second.

Source: Bahdanau and Jaeger 2014, section 6.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dynlab.attractors import Basins, basin_diversity, basin_statistics, basins_of_attraction, merge_basins
from dynlab.datasets import Dataset
from dynlab.evaluation.arrays import outcome_codes
from dynlab.evaluation.attractors import attractors_of, cycles_of
from dynlab.evaluation.explosions import explosion_points, explosion_starts
from dynlab.evaluation.kinds import Kind, Outcome, is_explosion, outcomes_of
from dynlab.evaluation.members import NAMED_STARTS
from dynlab.evaluation.separability import left_out_accuracy, majority_class_accuracy
from dynlab.files import read_tensors, write_json, write_tensors
from dynlab.studies.stage import Cost, Json, Report, Stage, Work, dataset_at, shards_in
from dynlab.studies.stages.computing import RESULTS_FILE, map_of, on_attractors, states_of
from dynlab.studies.stages.orbits import BASINS_FILE, ORBITS, STEPS_FILE
from dynlab.studies.stages.recognizer import recognizer_of

if TYPE_CHECKING:
    from dynlab.studies.grid import Cell
    from dynlab.studies.specification import Study

EXPLOSIONS_FILE = "explosions.safetensors"
_MERGING = 0.1  # of the time
_RARE = (Outcome.CYCLE, Outcome.DIVERGED)  # counted only where they occur


def _parameters(study: Study, cell: Cell | None) -> dict[str, Json] | None:
    asked = on_attractors(study.analyses.basins, study.iteration)
    return None if asked is None else {name: value for name, value in asked.items() if name != "shard"}


def _cost(work: Work) -> Cost:
    return Cost(60.0 * work.parameters["samples"] * work.products)


def compute(folder: Path, cell: Json, parameters: Json, needed: Mapping[str, Path], report: Report) -> None:
    """Write the files that the module lists; arguments as in `Stage`.

    `parameters` are `samples`, how many test samples, and, for those that explode, `tolerance` and `max_steps` as in
    `dynlab.iterate`.
    """
    system, test = map_of(needed, parameters), dataset_at(parameters["data"]["test"])
    first = test.first(parameters["samples"])
    shards = shards_in(needed, ORBITS.name)
    basins = merge_basins([Basins.load(shard / BASINS_FILE, system) for shard in shards])
    basins.save(folder / BASINS_FILE)
    steps = torch.cat([read_tensors(shard / STEPS_FILE)[0]["steps"] for shard in shards])
    recognizer = recognizer_of(needed["recognizer"], device=torch.device(parameters["device"]))
    statistics = basin_statistics(basins, first.images, steps, first.labels, NAMED_STARTS)
    attractors = attractors_of(basins, recognizer, statistics)
    outcomes = outcomes_of(
        basins.labels,
        first.labels,
        [one.kind for one in attractors],
        [one.label for one in attractors],
        cycling=basins.cycle_labels >= 0,
    )
    write_tensors(folder / "samples.safetensors", {"outcomes": outcome_codes(outcomes), "steps": steps})

    exploded = is_explosion(states_of(needed["iterate"], "test"))
    report(_MERGING, f"{int(exploded.sum())} explosions")
    behind = basins_of_attraction(
        system,
        test.images[exploded],
        on_progress=lambda done: report(_MERGING + (1 - _MERGING) * done, "explosions"),
        tolerance=parameters["tolerance"],
        max_steps=parameters["max_steps"],
    )
    behind = replace(behind, samples=exploded.nonzero()[:, 0])
    if len(behind.labels):
        behind.save(folder / EXPLOSIONS_FILE)
    labels, classes = basins.labels, first.labels
    rare = {str(one): count for one, count in Counter(outcomes).items() if one in _RARE}
    results: dict[str, Any] = {
        "samples": len(first.images),
        "attractors": len(attractors),
        "unresolved": basins.unresolved,
        "diversity": asdict(basin_diversity(basins.sizes.tolist())),
        "attractor_table": [asdict(one) for one in attractors],
        "cycles": [asdict(one) for one in cycles_of(basins)],
        "kinds": _counts([one.kind for one in attractors], list(Kind)),
        "outcomes": None if classes is None else _counts(outcomes, [one for one in Outcome if one not in _RARE]) | rare,
        "purity": None if classes is None else majority_class_accuracy(labels, classes, labels, classes).train,
        "purity_left_out": None if classes is None else left_out_accuracy(labels, classes),
        "explosions": _explosions(test, exploded, behind, folder),
    }
    write_json(folder / RESULTS_FILE, results)


def _counts(found: list[Any], names: list[Any]) -> dict[str, int]:
    counted = Counter(found)
    return {str(name): counted[name] for name in names}


def _explosions(test: Dataset, exploded: Tensor, behind: Basins, folder: Path) -> dict[str, Json]:
    point = explosion_of(behind)
    starts = explosion_starts(test.images, exploded, test.labels, point)
    tensors = {"exploded": exploded.to(torch.uint8), "ink": test.images.double().mean(dim=1)}
    if point is not None:
        tensors["distances"] = torch.linalg.vector_norm(test.images.double() - point, dim=1)
    write_tensors(folder / "starts.safetensors", tensors)
    return {"points": asdict(explosion_points(behind)), "starts": asdict(starts)}


def explosion_of(behind: Basins) -> Tensor | None:
    """Of the attractors that samples which explode reach, the largest that is an explosion; None if none is."""
    rows = is_explosion(behind.fixed_points).nonzero()[:, 0]
    return behind.fixed_points[rows[0]] if len(rows) else None


BASINS = Stage("basins", 2, ("train", "iterate", "recognizer", "orbits"), _parameters, compute, cost=_cost)

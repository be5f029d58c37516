"""A small study without a training, for tests of its stages: 8 x 8 digits, and a map that is given by a formula.

The map remembers the mean digit `m_j` of each class, `W1 = a (m_j - m)`, `W2 = g m_j`, with biases that let a hidden
unit fire for what is half as far from the mean of means `m` as its own. Where none fires the output is dark: an
explosion. It has 6 attractors on the test samples, one of them an explosion, and multipliers up to 0.98.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from stage_methods import CONSTANTS, made_up_accuracies, recorded

from dynlab.datasets import Dataset, labels_of, load_dataset
from dynlab.devices import one_thread_in_all
from dynlab.maps import DenoisingAutoencoder
from dynlab.studies.keys import data_sha256
from dynlab.studies.stages import STAGES
from dynlab.studies.stages.computing import RESULTS_FILE
from dynlab.studies.training import MAP_FILE
from dynlab.training import TrainingSettings

SETS = {"train": ("digits/train", 200), "validation": ("digits", 60), "test": ("digits/test", 150)}
SETTINGS = TrainingSettings(sigma=0.3, walkback=2, epochs=1, hidden=10, seed=3)
RULE = {"tolerance": 1e-4, "max_steps": 10_000}
PARAMETERS: dict[str, dict[str, Any]] = {
    "raw": {"orbit_train_samples": 120},
    "recognizer": {},
    "iterate": {**RULE, "share": 0.75, "orbit_train_samples": 120},
    "separability": {"orbit_train_samples": 120},
    "orbits": {**RULE, "samples": 100, "shard": 60},
    "basins": {**RULE, "samples": 100},
    "spectra": {**RULE, "attractors": 3},
    "graph": {"attractors": 3},
}
PARTS = {
    name: (stage, parameters)
    for stage in STAGES
    for name, parameters in stage.parts(PARAMETERS[stage.name], {role: limit for role, (_, limit) in SETS.items()})
}


@cache
def tiny_set(role: str) -> Dataset:
    """One of the three sets; the validation set is the first of all digits, some of which are in the others."""
    name, limit = SETS[role]
    return load_dataset(name, limit=limit)


def tiny_map() -> DenoisingAutoencoder:
    """The map of the module."""
    train = tiny_set("train")
    images, labels = train.images.double(), labels_of(train)
    means = torch.stack([images[labels == known].mean(dim=0) for known in range(10)])
    middle = means.mean(dim=0)
    encoder = 6.0 * (means - middle)
    system = DenoisingAutoencoder(64, 10, state_shape=train.shape)
    with torch.no_grad():
        system.encoder["weight"].copy_(encoder)
        system.encoder["bias"].copy_(-encoder @ middle - 3.0 * (means - middle).square().sum(dim=1))
        system.decoder["weight"].copy_(5.5 * means.t())
        system.decoder["bias"].fill_(-3.0)
    return system


def where(roles: Mapping[str, tuple[str, int | None]]) -> dict[str, Any]:
    """Sets as the runner tells stages of them, from their names and limits."""
    return {
        role: {
            "name": name,
            "limit": limit,
            "data_dir": None,
            "sha256": _sha256(name, limit),
        }
        for role, (name, limit) in roles.items()
    }


@cache
def _sha256(name: str, limit: int | None) -> str:
    return data_sha256(load_dataset(name, limit=limit))


def run_stage(
    name: str, folder: Path, needed: Mapping[str, Path], *, report: Any = lambda done, note: None, **changed: Any
) -> Path:
    """Run one stage, or one shard of it, into `folder`, which is made.

    `changed` parameters, or `sets`, take the place of the usual ones.
    """
    stage, usual = PARTS[name]
    folder.mkdir()
    sets = changed.pop("sets", SETS)
    parameters = usual | changed | {"data": where(sets), "device": "cpu"}
    cell = {"key": 64 * "0"} | ({"settings": SETTINGS.as_json()} if stage.scope == "cell" else {})
    needs = {part: needed[part] for part in needed if part in stage.needs or part.rpartition("-")[0] in stage.needs}
    with one_thread_in_all():  # as `perform` has it
        stage.compute(folder, cell, parameters, needs, report)
    return folder


def run_stages(folder: Path) -> dict[str, Path]:
    """Run all stages one after the other; a folder for each and for each shard, that of the map among them.

    Beside the folder of a stage that learns is its `method_file`.
    """
    folders = {"train": folder / "train"}
    tiny_map().save(folders["train"] / MAP_FILE)
    for name in PARTS:
        folders[name] = folder / name
        if name in CONSTANTS:
            run_recorded(name, folders[name], folders)
        else:
            run_stage(name, folders[name], folders)
    return folders


def run_recorded(name: str, folder: Path, needed: Mapping[str, Path]) -> Path:
    """Run one stage that learns, as in `run_stage`, and write down how it does that (`stage_methods`)."""
    changed = {"sets": {"train": ("digits/train", 60)}} if name == "recognizer" else {}  # to be quick
    with recorded(name) as method:
        run_stage(name, folder, needed, **changed)
    if name == "separability":
        with made_up_accuracies():
            chosen = run_stage(name, folder.with_name(f"{name}-made-up"), needed)
        results = json.loads((chosen / RESULTS_FILE).read_text())
        method["best"] = {key: results[key] for key in ("steps_best", "acc_best_validation", "acc_best_test")}
    method_file(folder).write_text(json.dumps(method))
    return folder


def method_file(folder: Path) -> Path:
    """Where it is written down how the stage in a folder learned."""
    return folder.with_name(f"{folder.name}-method.json")

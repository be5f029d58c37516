"""How every stage computes: on one thread, with the map and the settings of its cell.

Sums of floating point numbers depend on the order in which threads add up their parts. On one thread a stage gives the
same bits however many threads its caller has, and workers that share a machine do not fight for its cores.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dynlab.devices import one_thread
from dynlab.files import read_tensors
from dynlab.maps import Map, load_map
from dynlab.studies.stage import Json, Report
from dynlab.training import TrainingSettings

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dynlab.studies.specification import IterationRule

MAP_FILE = "map.safetensors"
RESULTS_FILE = "results.json"
ROLES = ("train", "validation", "test")

Compute = Callable[[Path, Json, Json, Mapping[str, Path], Report], None]


def on_one_thread(compute: Compute) -> Compute:
    """Make a stage compute on one thread, in torch and in what numpy and scikit-learn call, and restore it after."""

    @functools.wraps(compute)
    def computed(folder: Path, cell: Json, parameters: Json, needed: Mapping[str, Path], report: Report) -> None:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1), one_thread():
            compute(folder, cell, parameters, needed, report)

    return computed


def map_of(needed: Mapping[str, Path], parameters: Json) -> Map:
    """The map of the cell, on the device that shall compute."""
    return load_map(needed["train"] / MAP_FILE).to(parameters["device"])


def on_attractors(asked: BaseModel | None, rule: IterationRule) -> dict[str, Json] | None:
    """The parameters of a stage that iterates test samples to attractors; None if the study does not ask for it."""
    if asked is None:
        return None
    return {**asked.model_dump(), "tolerance": rule.tolerance, "max_steps": rule.max_steps, "data": ["test"]}


def settings_of(cell: Json) -> TrainingSettings:
    """How the map of the cell was trained."""
    return TrainingSettings.of_json(cell["settings"])


def states_of(folder: Path, name: str) -> torch.Tensor:
    """The states that a stage has written as `<name>.safetensors`, in float32 on the CPU."""
    return read_tensors(folder / f"{name}.safetensors")[0]["states"].float()

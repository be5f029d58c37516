"""What every stage computes with: the map and the settings of its cell.

All compute on one thread. Sums of floating point numbers depend on the order in which threads add up their parts; so a
stage gives the same bits however many threads its caller has, and workers that share a machine do not fight for its
cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dynlab.files import read_tensors
from dynlab.maps import Map, load_map
from dynlab.studies.stage import Json
from dynlab.training import TrainingSettings

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dynlab.studies.specification import IterationRule

MAP_FILE = "map.safetensors"
RESULTS_FILE = "results.json"
ROLES = ("train", "validation", "test")


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

"""What stages compute with: the map and the settings of their cell, the data sets, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dynlab.datasets import Dataset
from dynlab.files import read_tensors
from dynlab.maps import Map, load_map
from dynlab.studies.stage import Json, dataset_at
from dynlab.studies.training import MAP_FILE

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dynlab.studies.grid import Cell
    from dynlab.studies.specification import IterationRule, Study

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


def on_separability(study: Study, cell: Cell | None) -> dict[str, Json] | None:
    """The parameters of a stage that classifies samples; None if the study does not ask for it."""
    asked = study.analyses.separability
    return None if asked is None else {**asked.model_dump(), "data": list(ROLES)}


def sets_of(parameters: Json) -> dict[str, Dataset]:
    """The data sets that a stage is given, by their roles."""
    return {role: dataset_at(parameters["data"][role]) for role in ROLES if role in parameters["data"]}


def states_of(folder: Path, name: str) -> torch.Tensor:
    """The states that a stage has written as `<name>.safetensors`, in float32 on the CPU."""
    return read_tensors(folder / f"{name}.safetensors")[0]["states"].float()

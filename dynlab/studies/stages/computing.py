"""How every stage computes: on one thread, with the map and the settings of its cell.

Sums of floating point numbers depend on the order in which threads add up their parts. On one thread a stage gives the
same bits however many threads its caller has, and workers that share a machine do not fight for its cores.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from dynlab.files import read_tensors
from dynlab.maps import Map, load_map
from dynlab.studies.stage import Json, Report
from dynlab.training import TrainingSettings

MAP_FILE = "map.safetensors"
RESULTS_FILE = "results.json"
ROLES = ("train", "validation", "test")

Compute = Callable[[Path, Json, Json, Mapping[str, Path], Report], None]


def on_one_thread(compute: Compute) -> Compute:
    """Make a stage compute on one thread, in torch and in what numpy and scikit-learn call, and restore it after."""

    @functools.wraps(compute)
    def computed(folder: Path, cell: Json, parameters: Json, needed: Mapping[str, Path], report: Report) -> None:
        from threadpoolctl import threadpool_limits

        threads = torch.get_num_threads()
        with threadpool_limits(limits=1):
            torch.set_num_threads(1)
            try:
                compute(folder, cell, parameters, needed, report)
            finally:
                torch.set_num_threads(threads)

    return computed


def map_of(needed: Mapping[str, Path], parameters: Json) -> Map:
    """The map of the cell, on the device that shall compute."""
    return load_map(needed["train"] / MAP_FILE).to(parameters["device"])


def settings_of(cell: Json) -> TrainingSettings:
    """How the map of the cell was trained."""
    settings = dict(cell["settings"])
    if isinstance(settings["hidden"], list):
        settings["hidden"] = tuple(settings["hidden"])
    return TrainingSettings(**settings)


def states_of(folder: Path, name: str) -> torch.Tensor:
    """The states that a stage has written as `<name>.safetensors`, in float32 on the CPU."""
    return read_tensors(folder / f"{name}.safetensors")[0]["states"].float()

"""Stage `recognizer`: what tells prototypes from stains, learned from the training set, once for the data of a study.

`results.json` is `trained` and, if it is true, the `RecognizerReport`. Without labels, or with fewer than five samples
in each of two classes, nothing can be learned, `trained` is false and attractors have no kinds but explosions.

Files
    recognizer.safetensors: as `dynlab.evaluation.recognizer.files` writes it, if trained

Cost: about 35 s of one core for MNIST; 15000 samples at most are learned from.

Source: `dynlab.evaluation.recognizer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dynlab.evaluation.recognizer import Recognizer, enough_to_learn, train_recognizer
from dynlab.evaluation.recognizer.files import load_recognizer, save_recognizer
from dynlab.files import read_json, write_json
from dynlab.studies.stage import Cost, Json, Report, Stage, Work, dataset_at
from dynlab.studies.stages.computing import RESULTS_FILE

if TYPE_CHECKING:
    from dynlab.studies.grid import Cell
    from dynlab.studies.specification import Study

_FILE = "recognizer.safetensors"


def _parameters(study: Study, cell: Cell | None) -> dict[str, Json] | None:
    return None if study.analyses.basins is None else {"data": ["train"]}


def _cost(work: Work) -> Cost:
    return Cost(1.2e5 * work.sizes["train"] * work.dim)


def compute(folder: Path, cell: Json, parameters: Json, needed: Mapping[str, Path], report: Report) -> None:
    """Write the files that the module lists; arguments as in `Stage`."""
    train = dataset_at(parameters["data"]["train"])
    if train.labels is None or not enough_to_learn(train.labels):
        write_json(folder / RESULTS_FILE, {"trained": False})
        return
    recognizer = train_recognizer(
        train.images,
        train.labels,
        state_shape=train.shape,
        device=torch.device(parameters["device"]),
        on_progress=lambda done: report(done, "networks"),
    )
    save_recognizer(folder / _FILE, recognizer)
    write_json(folder / RESULTS_FILE, {"trained": True, **asdict(recognizer.report)})


def recognizer_of(folder: Path, *, device: torch.device | None = None) -> Recognizer | None:
    """The recognizer that the stage has written to a folder; None where it could not be trained."""
    trained = read_json(folder / RESULTS_FILE)["trained"]
    return load_recognizer(folder / _FILE, device=device) if trained else None


RECOGNIZER = Stage("recognizer", 1, (), _parameters, compute, scope="data", cost=_cost)

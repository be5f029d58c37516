"""Addresses of results: the SHA-256 of all that determines one, written as canonical JSON.

    training   settings without their number of epochs, the training set, `TRAIN_VERSION`
    cell       its training, and the number of epochs
    stage      its name, its version and its parameters, the data sets it uses, the cell, and the stages it needs

A key is made of keys, so that whatever changes below changes what stands above it and nothing else: another number of
attractors to linearize leaves trainings and basins where they are.

Keys last longer than versions of this package: a setting that is added to trainings later leaves those of older
results as they are (`TrainingSettings.identity`). The same holds for the parameters of stages: their stage says them
all, or leaves out what is new and as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dynlab.datasets import Dataset
from dynlab.training import TrainingSettings

# The result version of trainings: to be raised when the same settings and images give other weights than before.
TRAIN_VERSION = 1

FOLDER_DIGITS = 16  # of a key, in the name of a folder: two of a billion cells share one with a chance of 3 %


def canonical_json(value: Any) -> str:
    """The one text of a value in JSON: keys sorted, no white space, floats as `repr` writes them, tuples as lists.

    Raises:
        ValueError: If it holds NaN or an infinity, which JSON has not.
        TypeError: If it holds what JSON has not, such as a set, or a key that is no string.
    """
    _check_keys(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value, in hexadecimal; raises what `canonical_json` does."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def data_sha256(data: Dataset) -> str:
    """SHA-256 of all of a data set that computations see: pixels, labels, and the shape of a sample."""
    return sha256_of({"content": data.sha256, "shape": data.shape})


def training_inputs(settings: TrainingSettings, train_sha256: str) -> dict[str, Any]:
    """What determines a training, however long it goes on; its key is the `sha256_of` this.

    Args:
        settings: How to train.
        train_sha256: The `data_sha256` of the images to train on, after their limit.
    """
    return {"stage": "train", "version": TRAIN_VERSION, "settings": settings.identity(), "train": train_sha256}


def cell_inputs(settings: TrainingSettings, train_sha256: str) -> dict[str, Any]:
    """What determines a trained model; its key is the `sha256_of` this. Arguments as in `training_inputs`."""
    return {"training": sha256_of(training_inputs(settings, train_sha256)), "epochs": settings.epochs}


def stage_inputs(
    stage: str,
    version: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    cell: str | None = None,
    needs: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What determines the results of a stage; its key is the `sha256_of` this.

    Args:
        stage: Its name.
        version: Its result version.
        parameters: What it was asked for, as values that JSON can hold.
        data: The `data_sha256` of each set that it uses, by what it is used as ("train", "test").
        cell: The key of the cell; None for what belongs to data alone.
        needs: The keys of the stages whose results it takes, by their names.
    """
    inputs: dict[str, Any] = {
        "stage": stage,
        "version": version,
        "parameters": dict(parameters or {}),
        "data": dict(data or {}),
        "needs": dict(needs or {}),
    }
    return inputs if cell is None else inputs | {"cell": cell}


def folder_name(key: str) -> str:
    """The name of the folder of a training or of a cell."""
    return key[:FOLDER_DIGITS]


def data_cell_name(key: str) -> str:
    """The name of the folder of what belongs to data alone."""
    return f"data-{key[:FOLDER_DIGITS]}"


def _check_keys(value: Any) -> None:
    """`json` would write other keys as strings, so that 1 and "1" were the same."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key is {key!r}, expected a string")
            _check_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_keys(item)

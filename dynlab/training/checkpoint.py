"""Checkpoints: a training that is under way, in a file, to go on from exactly where it was.

A safetensors file holds all that changes during a training (`Run.state`), after which epochs it was kept, and, as
metadata, what the training is: its settings, the hash of its images and of what it began from, and what computes it. It
is written under a temporary name and renamed. On reading, a hash of its tensors tells damage, and a file of another
training is refused.

How long a training is to go on need be no part of what it is. So where whoever says what it is leaves that out, as
`train` does, the checkpoint of a shorter one, finished or not, is the beginning of a longer one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynlab.errors import InputError
from dynlab.files import read_tensors, write_tensors

KIND = "training-checkpoint"
_SNAPSHOTS = "snapshots"


@dataclass(frozen=True)
class Standing:
    """How far a training has come."""

    epochs: int  # finished
    is_between_epochs: bool  # whether the next one is not begun
    snapshots: frozenset[int]  # epochs after which it was kept

    @staticmethod
    def of(path: Path, tensors: Mapping[str, Tensor]) -> Standing:
        """That of the training whose checkpoint holds these tensors.

        Raises:
            InputError: If one is missing.
        """
        for name in ("objectives", "sums", _SNAPSHOTS):
            if name not in tensors:
                raise InputError(f"{path}: tensor {name} is missing")
        return Standing(
            epochs=len(tensors["objectives"]),
            is_between_epochs=len(tensors["sums"]) == 0,
            snapshots=frozenset(tensors[_SNAPSHOTS].tolist()),
        )


def write_checkpoint(
    path: Path, state: Mapping[str, Tensor], identity: Mapping[str, Any], snapshots: Collection[int] = ()
) -> None:
    """Write a training that is under way.

    Args:
        path: The file, `.safetensors`.
        state: All that changes, by name.
        identity: What the training is; values that JSON can hold.
        snapshots: Epochs after which it was kept.

    Raises:
        InputError: If it cannot be written; a checkpoint that was there stays whole.
    """
    state = {**state, _SNAPSHOTS: torch.tensor(sorted(snapshots), dtype=torch.int64)}
    on_cpu = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
    write_tensors(path, on_cpu, {"kind": KIND, "identity": json.dumps(identity), "sha256": _hash(on_cpu)})


def read_checkpoint(path: Path, identity: Mapping[str, Any], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the state of a training.

    Args:
        path: The file.
        identity: What the training is that should go on.
        expected: A state of it, whose names, types and shapes the file must have; `objectives` and what is kept of the
            epoch under way, `sums`, grow.

    Raises:
        InputError: If the file is missing, damaged, none of a training, or one of another training.
    """
    tensors, found = _read(path)
    _check_identity(path, found, json.loads(json.dumps(identity)))
    for name, value in expected.items():
        grows = name in ("objectives", "sums")
        if name not in tensors:
            raise InputError(f"{path}: tensor {name} is missing")
        shape = tuple(tensors[name].shape)
        if tensors[name].dtype != value.dtype or not (grows or shape == tuple(value.shape)):
            found_type = f"{tensors[name].dtype} of shape {shape}"
            raise InputError(f"{path}: {name} is {found_type}, expected {value.dtype} of shape {tuple(value.shape)}")
    return tensors


def standing_of(path: Path) -> Standing:
    """How far the training has come that a checkpoint holds, whichever it is.

    Raises:
        InputError: If the file is missing, damaged or none of a training.
    """
    return Standing.of(path, _read(path)[0])


def _read(path: Path) -> tuple[dict[str, Tensor], Any]:
    """The state of a training, and what it is."""
    tensors, metadata = read_tensors(path)
    if metadata.get("kind") != KIND:
        raise InputError(f"{path}: a file of kind {metadata.get('kind')!r}, expected {KIND!r}")
    if metadata.get("sha256") != _hash(tensors):
        raise InputError(f"{path}: damaged, its tensors are not those that were written")
    try:
        return tensors, json.loads(metadata.get("identity", ""))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged, identity in the metadata is not JSON ({error})") from error


def _check_identity(path: Path, found: Any, expected: dict[str, Any]) -> None:
    if not isinstance(found, dict):
        raise InputError(f"{path}: damaged, identity in the metadata is a {type(found).__name__}, expected an object")
    for name in {**expected, **found}:
        value, told = expected.get(name), found.get(name)
        if isinstance(value, dict) and isinstance(told, dict):
            _check_identity(path, told, value)
        elif told != value:
            raise InputError(
                f"{path}: the checkpoint of another training, {name} {told!r}, expected {value!r}; delete it or name "
                "another file"
            )


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"|{name}:{value.dtype}:{tuple(value.shape)}|".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

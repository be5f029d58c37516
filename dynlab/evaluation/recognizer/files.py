"""A recognizer on disk: weights as safetensors, all else as JSON in its metadata.

What is read back recognizes bit for bit as what was saved.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from dynlab.errors import InputError
from dynlab.evaluation.recognizer.recognizer import Recognizer, RecognizerReport
from dynlab.files import read_tensors, write_tensors

_KIND = "recognizer"
_CLASSES = "known_classes"


def save_recognizer(path: str | Path, recognizer: Recognizer) -> None:
    """Write a safetensors file.

    Raises:
        InputError: If `path` cannot be written.
    """
    tensors = {_CLASSES: recognizer.known_classes}
    for number, network in enumerate(recognizer.networks):
        for layer, (weight, bias) in enumerate(network):
            tensors |= {_name(number, layer, "weight"): weight, _name(number, layer, "bias"): bias}
    metadata = {
        "kind": _KIND,
        "layers": json.dumps([len(network) for network in recognizer.networks]),
        "state_shape": json.dumps(recognizer.state_shape),
        "threshold": json.dumps(recognizer.threshold),
        "report": json.dumps(asdict(recognizer.report)),
    }
    write_tensors(Path(path), tensors, metadata)


def load_recognizer(path: str | Path, *, device: torch.device | None = None) -> Recognizer:
    """Read a recognizer back.

    Args:
        path: The file.
        device: Where it shall compute; the CPU if not given.

    Raises:
        InputError: If the file is missing, damaged or of another kind.
    """
    from pydantic import TypeAdapter

    path = Path(path)
    tensors, metadata = read_tensors(path)
    if metadata.get("kind") != _KIND:
        raise InputError(f"{path}: holds no recognizer")
    try:
        layers = TypeAdapter(list[int]).validate_json(metadata["layers"])
        threshold = TypeAdapter(float).validate_json(metadata["threshold"])
        if not math.isfinite(threshold):
            raise ValueError(f"threshold is {threshold}")
        return Recognizer(
            networks=[
                [_layer(tensors, number, layer, device) for layer in range(count)]
                for number, count in enumerate(layers)
            ],
            known_classes=tensors[_CLASSES],
            state_shape=TypeAdapter(tuple[int, ...]).validate_json(metadata["state_shape"]),
            threshold=threshold,
            report=TypeAdapter(RecognizerReport).validate_json(metadata["report"]),
        )
    except (KeyError, ValueError) as error:  # pydantic's errors are ValueErrors
        raise InputError(f"{path}: not a recognizer that dynlab wrote ({str(error).splitlines()[0]})") from error


def _layer(tensors: dict[str, Tensor], number: int, layer: int, device: torch.device | None) -> tuple[Tensor, Tensor]:
    return tensors[_name(number, layer, "weight")].to(device), tensors[_name(number, layer, "bias")].to(device)


def _name(number: int, layer: int, what: str) -> str:
    return f"network.{number}.layer.{layer}.{what}"

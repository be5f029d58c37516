"""Checkpoints of autoencoders: safetensors in the layout of `nn.Linear`, with settings as string metadata.

What every kind of them shares is written and read here. What is read is checked in full: each damage has its name, and
nothing is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from dynlab.errors import InputError
from dynlab.files import read_tensors, write_tensors

DENOISING_AUTOENCODER = "denoising-autoencoder"
DEEP_AUTOENCODER = "deep-autoencoder"


@runtime_checkable
class Saveable(Protocol):
    """An autoencoder, as far as a checkpoint of it needs."""

    tied: bool
    hidden_nonlinearity: str
    output_nonlinearity: str
    state_shape: tuple[int, ...]
    training_settings: dict[str, Any]

    def state_dict(self) -> Mapping[str, Tensor]:
        """Its tensors."""
        ...


def write_checkpoint(path: Path, kind: str, autoencoder: Saveable) -> None:
    """Write the tensors of an autoencoder, and its settings as metadata.

    Raises:
        InputError: If `path` cannot be written.
    """
    metadata = {
        "kind": kind,
        "tied": json.dumps(autoencoder.tied),
        "hidden_nonlinearity": autoencoder.hidden_nonlinearity,
        "output_nonlinearity": autoencoder.output_nonlinearity,
        "state_shape": json.dumps(list(autoencoder.state_shape)),
        "training": json.dumps(autoencoder.training_settings),
    }
    write_tensors(path, autoencoder.state_dict(), metadata)


@dataclass(frozen=True)
class Checkpoint:
    """What stands in a file, before it is known to be that of an autoencoder."""

    path: Path
    tensors: dict[str, Tensor]  # of floating point, in float32
    metadata: dict[str, str]

    @staticmethod
    def read(path: str | Path) -> Checkpoint:
        """Read a file.

        Raises:
            InputError: If there is no such file, or it is no whole safetensors file.
        """
        path = Path(path)
        tensors, metadata = read_tensors(path)
        tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        return Checkpoint(path, tensors, metadata)

    @property
    def kind(self) -> str:
        """The kind that the metadata name; a file that names none is of the first there was."""
        return self.metadata.get("kind", DENOISING_AUTOENCODER)

    def check_kind(self, *expected: str) -> None:
        """Check that the file is of one of the kinds.

        Raises:
            InputError: If it is of another.
        """
        if self.kind not in expected:
            raise self.damage(f"a checkpoint of kind {self.kind!r}, expected {' or '.join(map(repr, expected))}")

    def is_tied(self, decoder_weights: Sequence[str]) -> bool:
        """Whether the decoder has no weights of its own, going by the tensors; the metadata must agree.

        Args:
            decoder_weights: The tensors of an untied one, at least one.

        Raises:
            InputError: If the metadata say otherwise, or neither true nor false.
        """
        there = [name for name in decoder_weights if name in self.tensors]
        missing = [name for name in decoder_weights if name not in self.tensors]
        told = self.metadata.get("tied")
        if told not in (None, "true", "false"):
            raise self.damage(f"tied is {told!r} in the metadata, expected true or false")
        if told == "false" and missing:
            raise self.damage(f"tensor {missing[0]} is missing in a checkpoint that says it is not tied")
        if told == "true" and there:
            raise self.damage(f"unknown tensor {there[0]!r} in a checkpoint that says it is tied")
        return not there

    def weight(self, name: str, shape: str) -> Tensor:
        """A tensor with two axes, from which the widths of layers are read; `shape` is what they are called.

        Raises:
            InputError: If it is missing, or has other than two axes.
        """
        if name not in self.tensors:
            raise self.damage(f"tensor {name} is missing")
        weight = self.tensors[name]
        if weight.ndim != 2:
            raise self.damage(f"{name} has shape {tuple(weight.shape)}, expected {shape}")
        return weight

    def check_tensors(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Check that there are tensors of just these names and shapes, and that all their numbers are finite.

        Raises:
            InputError: If one is missing, of another shape or type, not finite in float32, or not expected.
        """
        for name, shape in expected.items():
            if name not in self.tensors:
                raise self.damage(f"tensor {name} is missing")
            tensor = self.tensors[name]
            if tuple(tensor.shape) != shape:
                raise self.damage(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
            if not tensor.is_floating_point():
                raise self.damage(f"{name} is of type {tensor.dtype}, expected floating point")
            if not torch.isfinite(tensor).all():
                raise self.damage(f"{name} holds NaN or infinite values")
        for name in self.tensors:
            if name not in expected:
                raise self.damage(f"unknown tensor {name!r}, expected only {', '.join(sorted(expected))}")

    def settings(self) -> dict[str, Any]:
        """The settings in the metadata, as arguments of an autoencoder, which checks their values.

        Raises:
            InputError: If the shape of a state or what is known of the training is not written as it should be.
        """
        return {
            "hidden_nonlinearity": self.metadata.get("hidden_nonlinearity", "sigmoid"),
            "output_nonlinearity": self.metadata.get("output_nonlinearity", "sigmoid"),
            "state_shape": self._state_shape(),
            "training": self._training_settings(),
        }

    def damage(self, what: str) -> InputError:
        """The error that says what is wrong with the file."""
        return InputError(f"{self.path}: {what}")

    def _state_shape(self) -> tuple[int, ...] | None:
        if "state_shape" not in self.metadata:
            return None
        shape = self._parse_json("state_shape")
        if not isinstance(shape, list) or not shape or not all(type(size) is int and size > 0 for size in shape):
            found = self.metadata["state_shape"]
            raise self.damage(f"state_shape is {found!r} in the metadata, expected a list of positive integers")
        return tuple(shape)

    def _training_settings(self) -> dict[str, Any]:
        settings = self._parse_json("training") if "training" in self.metadata else {}
        if not isinstance(settings, dict):
            raise self.damage(f"training is a {type(settings).__name__} in the metadata, expected an object")
        return settings

    def _parse_json(self, key: str) -> Any:
        try:
            return json.loads(self.metadata[key])
        except (ValueError, RecursionError) as error:  # ValueError alone for a number too long
            raise self.damage(f"{key} in the metadata is not JSON ({error})") from error

"""One member of an ensemble: what it is, and the files that it is kept in.

A finished member has its map, `<name>.safetensors`, or, if it diverged, the words for that in `<name>.diverged.json`.
One that is under way may have a checkpoint. There may be snapshots in either case, `<name>-epoch-<epoch>.safetensors`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float32
from torch import Tensor

from dynlab.errors import InputError
from dynlab.files import read_json, write_json
from dynlab.maps import Autoencoder, Map, load_map
from dynlab.training.initialization import beginning
from dynlab.training.interruption import Interruption
from dynlab.training.run import EpochProgress, TrainingDiverged
from dynlab.training.settings import TrainingSettings

OnProgress = Callable[[int, EpochProgress | TrainingDiverged], None]


TEMPORARY = "dynlab-ensemble-"  # how the names of folders begin that are there for one training alone


@dataclass(frozen=True)
class EnsembleMember:
    """A member of an ensemble whose training is over."""

    settings: TrainingSettings
    autoencoder: Autoencoder | None  # None if it diverged
    diverged: str | None  # the words for it if it did
    snapshots: dict[int, Autoencoder]  # by epoch; of a member that diverged, those before that


@dataclass(frozen=True)
class Member:
    """A member that is to be trained. All of it can be told to another process, as JSON."""

    number: int  # from 0
    name: str
    folder: Path  # of its files
    settings: TrainingSettings
    dim: int
    state_shape: tuple[int, ...]
    start: Path | None  # a file with the map that it begins from
    snapshots: tuple[int, ...]  # epochs
    checkpoint_seconds: float
    identity: Mapping[str, Any]  # of its checkpoint
    record: Mapping[str, Any]  # for the training settings of its map

    @property
    def finished_path(self) -> Path:
        """Where its map stands once it is trained."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def diverged_path(self) -> Path:
        """What is there if it diverged."""
        return self.folder / f"{self.name}.diverged.json"

    @property
    def checkpoint_path(self) -> Path:
        """Where it is kept on the way, if it is trained on its own."""
        return self.folder / f"{self.name}.checkpoint.safetensors"

    def snapshot_path(self, epoch: int) -> Path:
        """Where its map is as it was after an epoch."""
        return self.folder / f"{self.name}-epoch-{epoch}.safetensors"

    def paths(self) -> list[Path]:
        """All files that there may be of it."""
        snapshots = [self.snapshot_path(epoch) for epoch in self.snapshots]
        return [self.finished_path, self.diverged_path, self.checkpoint_path, *snapshots]

    @property
    def is_over(self) -> bool:
        """Whether it is trained, or diverged."""
        return self.finished_path.exists() or self.diverged_path.exists()

    def beginning(self) -> Autoencoder:
        """What its training begins with, on the CPU."""
        start = None if self.start is None else load_map(self.start)
        return beginning(self.dim, self.settings, start, self.state_shape)

    def write_map(self, trained: Map) -> None:
        """Write its map, as training is over.

        Raises:
            InputError: If it cannot be written.
        """
        cast(Autoencoder, trained).save(self.finished_path)

    def write_divergence(self, diverged: TrainingDiverged) -> None:
        """Write the words for it, as training is over.

        Raises:
            InputError: If it cannot be written.
        """
        write_json(self.diverged_path, {"kind": "diverged-training", "diverged": str(diverged)})

    def write_snapshot(self, trained: Map, epoch: int) -> None:
        """Write its map as it is after an epoch.

        Raises:
            InputError: If it cannot be written.
        """
        cast(Autoencoder, trained).save(self.snapshot_path(epoch))

    def read(self, device: torch.device) -> EnsembleMember:
        """Read what was written when its training was over, and its snapshots.

        Raises:
            InputError: If a file is missing, damaged or of another training.
        """
        diverged = self._read_words() if self.diverged_path.exists() else None
        autoencoder = self._read_map(self.finished_path, self.settings.epochs, device) if diverged is None else None
        snapshots: dict[int, Autoencoder] = {}
        for epoch in self.snapshots:
            path = self.snapshot_path(epoch)
            if diverged is None or path.exists():
                snapshots[epoch] = self._read_map(path, epoch, device)
        return EnsembleMember(self.settings, autoencoder, diverged, snapshots)

    def as_json(self) -> dict[str, Any]:
        """Itself as values that JSON can hold."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        start = None if self.start is None else str(self.start)
        return values | {"folder": str(self.folder), "start": start, "settings": self.settings.as_json()}

    @staticmethod
    def of_json(values: Mapping[str, Any]) -> Member:
        """The member that `as_json` gave."""
        start = values["start"]
        changed = {
            "folder": Path(values["folder"]),
            "settings": TrainingSettings.of_json(values["settings"]),
            "state_shape": tuple(values["state_shape"]),
            "start": None if start is None else Path(start),
            "snapshots": tuple(values["snapshots"]),
        }
        return Member(**{**values, **changed})

    def _read_map(self, path: Path, epochs: int, device: torch.device) -> Autoencoder:
        autoencoder = load_map(path)
        expected = {**self.settings.as_json(), "epochs": epochs}
        found = autoencoder.training_settings
        for name, value in expected.items():
            if found.get(name) != value:
                raise InputError(f"{path}: a map trained with {name} {found.get(name)!r}, expected {value!r}")
        return autoencoder.to(device)

    def _read_words(self) -> str:
        path = self.diverged_path
        found = read_json(path)
        words = found.get("diverged") if isinstance(found, dict) else None
        if not isinstance(words, str):
            raise InputError(f"{path}: damaged, expected an object that says how training diverged")
        return words


@dataclass(frozen=True)
class Work:
    """Members that are to be trained together; what comes of them is in their folder."""

    images: Float32[Tensor, "samples dim"]
    members: Sequence[Member]  # all of the ensemble, at least one; those that are over need not be trained
    shared: Path  # a folder that is there for this training alone
    is_kept: bool  # whether the folder of the members stays when training ends
    interruption: Interruption  # after it, training should end with checkpoints written
    on_progress: OnProgress | None

    def report(self, number: int, progress: EpochProgress | TrainingDiverged) -> None:
        """Tell how a member stands."""
        if self.on_progress is not None:
            self.on_progress(number, progress)

"""The cells of a study, the trainings they come from, and which trainings can go on together.

Cells that differ in their number of epochs only are snapshots of one training, the longest: what a training has reached
after an epoch does not depend on how long it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dynlab.studies.keys import cell_inputs, folder_name, sha256_of, training_inputs
from dynlab.studies.specification import Study
from dynlab.training import TrainingSettings
from dynlab.training.batched import SHARED_SETTINGS


@dataclass(frozen=True)
class Cell:
    """One trained model of a study."""

    settings: TrainingSettings
    train_sha256: str  # the `data_sha256` of the set it is trained on, after its limit

    @property
    def training_key(self) -> str:
        """The key of its training, which cells of other numbers of epochs have too."""
        return sha256_of(training_inputs(self.settings, self.train_sha256))

    @property
    def key(self) -> str:
        """SHA-256 of all that determines the trained model."""
        return sha256_of(cell_inputs(self.settings, self.train_sha256))

    @property
    def folder(self) -> str:
        """The name of the folder of its results."""
        return folder_name(self.key)


@dataclass(frozen=True)
class Training:
    """One training and the cells it gives."""

    cells: tuple[Cell, ...]  # at least one, by rising epochs

    @property
    def settings(self) -> TrainingSettings:
        """How to train: as long as the last cell needs."""
        return self.cells[-1].settings

    @property
    def snapshots(self) -> tuple[int, ...]:
        """The epochs of the other cells, rising."""
        return tuple(cell.settings.epochs for cell in self.cells[:-1])

    @property
    def key(self) -> str:
        """SHA-256 of all that determines the training, but for its length."""
        return self.cells[-1].training_key

    @property
    def folder(self) -> str:
        """The name of the folder of its checkpoints."""
        return folder_name(self.key)


def cells_of(study: Study, train_sha256: str) -> list[Cell]:
    """All cells of a study.

    Args:
        study: Its specification.
        train_sha256: The `data_sha256` of the set to train on, after its limit.

    Returns:
        Grid by grid in the order of the file. Within a grid the values of a list come in the order of the file, and
        settings change from cell to cell in the order of `points.DIMENSIONS`: the first slowest, seeds fastest.
    """
    return [Cell(settings, train_sha256) for points in study.grids for settings in points]


def trainings_of(cells: Sequence[Cell]) -> list[Training]:
    """Put cells that differ in epochs only into one training.

    Returns:
        By rising seed, then in the order of the first cell of each: whenever a study is stopped, all settings have had
        about as many seeds.
    """
    by_key: dict[str, list[Cell]] = {}
    for cell in cells:
        by_key.setdefault(cell.training_key, []).append(cell)
    trainings = [Training(tuple(sorted(group, key=lambda cell: cell.settings.epochs))) for group in by_key.values()]
    return sorted(trainings, key=lambda training: training.settings.seed)  # stable


def ensembles_of(trainings: Sequence[Training]) -> list[tuple[Training, ...]]:
    """Put trainings together that can go on together, side by side in one product.

    Those share `SHARED_SETTINGS`, epochs (of the longest cell) included, and their training set; and all or none learn
    their corruption, which needs training one by one. Their snapshots may differ: `train_ensemble` is to be asked for
    all of them.

    Args:
        trainings: Whatever is to be trained.

    Returns:
        In the order of the first training of each.
    """
    groups: dict[tuple[object, ...], list[Training]] = {}
    for training in trainings:
        settings = training.settings
        shared = tuple(getattr(settings, name) for name in SHARED_SETTINGS)
        key = (training.cells[-1].train_sha256, settings.schedule().learns, *shared)
        groups.setdefault(key, []).append(training)
    return [tuple(group) for group in groups.values()]

"""The models of a study as its page names and groups them.

Settings fall into three parts. The *level* is how samples are corrupted. The *family* is what else the map and its
objective are: walkback steps, hidden units, ties and the like. The *schedule* is how long and how fast it was trained.
Figures that show a model take one of each level and family: of those that were trained longest the first schedule and
the first seed for which there are results.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynlab.files import read_json, read_tensors
from dynlab.report.study.parts import Part
from dynlab.studies.answers.columns import NOTHING
from dynlab.studies.answers.rows import Row
from dynlab.studies.grid import Cell
from dynlab.studies.points import DIMENSIONS, FAMILY, LEVEL, SCHEDULE
from dynlab.studies.specification import Study
from dynlab.studies.stages.computing import RESULTS_FILE
from dynlab.training import TrainingSettings

FolderOf = Callable[[Cell | None, str], Path | None]
Answer = tuple[str, list[Part]] | None  # the lede of a section and its parts; None: nothing is there yet

# What the report calls a setting, and what a column of its values is called.
SYMBOLS = {"sigma": "σ", "walkback": "k", "batch_size": "b", "learning_rate": "ρ", "annealing": "α", "epochs": "N"}
HEADS = {
    "sigma": "level σ",
    "corruption": "corruption",
    "walkback": "walkback steps k",
    "walkback_variant": "walkback variant",
    "hidden": "hidden units",
    "tied": "weights",
    "hidden_nonlinearity": "hidden nonlinearity",
    "output_nonlinearity": "output nonlinearity",
    "batch_size": "minibatch b",
    "learning_rate": "learning rate ρ",
    "annealing": "annealing α",
    "epochs": "epochs N",
}


@dataclass(frozen=True)
class Family:
    """All models of one level and family."""

    level: str
    name: str  # of the family, in words
    number: int  # of the family among all of the study
    cells: tuple[Cell, ...]
    shown: tuple[Cell, ...]  # those of the schedule that figures show, by rising seed; at least one

    @property
    def label(self) -> str:
        """The level and the family."""
        return f"{self.level}, {self.name}"


class Models:
    """The models of a study, and what is found out about them.

    Args:
        study: Its specification.
        cells: All of its models.
        found: The folder of a stage of a model, or of the data (None), that is there and whole; else None.
        rows: What is known of the models.
    """

    def __init__(self, study: Study, cells: Sequence[Cell], found: FolderOf, rows: Sequence[Row]) -> None:
        self.study = study
        self.cells = tuple(cells)
        self.folder = found
        self.rows = {row.key: row for row in rows}
        self.varying = tuple(name for name in DIMENSIONS if name != "seed" and len(self.values(name)) > 1)
        self._all_gaussian = {cell.settings.corruption for cell in cells} == {"gaussian"}
        self._results: dict[tuple[str, str], Any] = {}

    def values(self, name: str) -> list[Any]:
        """The values of a setting, in the order of the grid."""
        return list(dict.fromkeys(getattr(cell.settings, name) for cell in self.cells))

    def results(self, cell: Cell | None, stage: str) -> dict[str, Any] | None:
        """What a stage has found of a model, or of the data; None if it is not there."""
        key = ("" if cell is None else cell.key, stage)
        if key not in self._results:
            folder = self.folder(cell, stage)
            self._results[key] = None if folder is None else read_json(folder / RESULTS_FILE)
        return self._results[key]

    def with_stage(self, cells: Sequence[Cell], stage: str) -> list[tuple[Cell, dict[str, Any]]]:
        """Those of the models for which a stage is there, with what it found."""
        return [(cell, results) for cell in cells if (results := self.results(cell, stage)) is not None]

    def films(self, cell: Cell) -> dict[str, Any]:
        """What the film strips of a model show; nothing if they are not there."""
        results = self.results(cell, "iterate")
        return {} if results is None else results["films"]

    def tensors(self, cell: Cell, stage: str, name: str) -> dict[str, Tensor]:
        """The arrays `<name>.safetensors` of a stage of a model, in float32; none if the stage is not there."""
        folder = self.folder(cell, stage)
        found = {} if folder is None else read_tensors(folder / f"{name}.safetensors")[0]
        return {key: values.to(torch.float32) for key, values in found.items()}

    def which(self, cell: Cell) -> str:
        """A model in words."""
        return f"the map of {self.setting(cell.settings)}, seed {cell.settings.seed}"

    def level(self, settings: TrainingSettings | Row) -> str:
        """The level in words."""
        sigma = None if settings.sigma is None else f"σ = {settings.sigma:g}"
        if self._all_gaussian and sigma:
            return sigma
        if sigma is None or ("sigma" not in self.varying and "corruption" in self.varying):
            return settings.corruption
        return f"{settings.corruption}, {sigma}"

    def family(self, settings: TrainingSettings | Row) -> str:
        """The family in words: the walkback steps, and what else differs within the study."""
        names = [name for name in FAMILY if name == "walkback" or name in self.varying]
        return ", ".join(words for name in names if (words := _words(name, settings)))

    def setting(self, settings: TrainingSettings | Row) -> str:
        """All but the seed in words, as far as it differs within the study."""
        return ", ".join(self.setting_lines(settings))

    def setting_lines(self, settings: TrainingSettings | Row) -> list[str]:
        """The same, with the level in a line of its own where it differs."""
        parts = [self.level(settings)] if set(LEVEL) & set(self.varying) else []
        others = [self.family(settings)] if set(FAMILY) & set(self.varying) else []
        others += [_words(name, settings) for name in SCHEDULE if name in self.varying]
        parts += [", ".join(others)] if others else []
        return parts or [self.level(settings), self.family(settings)]

    @functools.cached_property
    def families(self) -> tuple[Family, ...]:
        """The families at each level, level by level, in the order of the grid."""
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault((self.level(cell.settings), self.family(cell.settings)), []).append(cell)
        numbers = {name: number for number, name in enumerate(dict.fromkeys(name for _, name in groups))}
        levels = list(dict.fromkeys(level for level, _ in groups))
        ordered = sorted(groups.items(), key=lambda entry: (levels.index(entry[0][0]), numbers[entry[0][1]]))
        return tuple(
            Family(level, name, numbers[name], tuple(cells), self._shown(cells)) for (level, name), cells in ordered
        )

    @property
    def levels(self) -> list[str]:
        """The levels, in the order of the grid."""
        return list(dict.fromkeys(family.level for family in self.families))

    @property
    def family_count(self) -> int:
        """How many families there are, at whatever level."""
        return len({family.name for family in self.families})

    def representatives(self, stage: str) -> list[tuple[Family, Cell]]:
        """For each family the first of the models that figures show for which a stage is there."""
        return [
            (family, cell)
            for family in self.families
            if (cell := next((cell for cell in family.shown if self.folder(cell, stage)), None))
        ]

    def best(self, *stages: str) -> Cell | None:
        """Of the setting with the highest mean accuracy on the transformed test set, the first model with all stages.

        Without accuracies it is the first model of all.
        """
        groups: dict[str, list[Cell]] = {}
        for cell in self.cells:
            if all(self.folder(cell, stage) for stage in stages):
                groups.setdefault(self.setting(cell.settings), []).append(cell)

        def accuracy(cells: Sequence[Cell]) -> float:
            found = [row.acc_test for cell in cells if (row := self.rows.get(cell.key)) and row.acc_test is not None]
            return sum(found) / len(found) if found else -1.0

        if not groups:
            return None
        return min(max(groups.values(), key=accuracy), key=lambda cell: cell.settings.seed)

    def _shown(self, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        there = [cell for cell in cells if self.folder(cell, "iterate")] or list(cells)
        longest = max(cell.settings.epochs for cell in there)
        first = next(cell for cell in there if cell.settings.epochs == longest)
        same = [cell for cell in there if all(_equal(cell, first, name) for name in SCHEDULE)]
        return tuple(sorted(same, key=lambda cell: cell.settings.seed))


def _equal(one: Cell, other: Cell, name: str) -> bool:
    return getattr(one.settings, name) == getattr(other.settings, name)


def value_words(name: str, value: Any) -> str:
    """A value of a setting as it stands in a table."""
    if name == "tied":
        return "tied" if value else "untied"
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    if value is None:
        return NOTHING
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(name: str, settings: TrainingSettings | Row) -> str:
    value = getattr(settings, name)
    if name == "contraction":
        return f"contraction {value:g}" if value else ""
    if name == "walkback_variant":
        return "" if settings.walkback == 1 else str(value)
    words = value_words(name, value)
    if name in SYMBOLS:
        return f"{SYMBOLS[name]} = {words}"
    if name == "hidden":
        return f"{words} hidden"
    return words if name in ("tied", "loss") else f"{HEADS.get(name, name)} {words}"

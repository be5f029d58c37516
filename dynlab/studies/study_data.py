"""The data sets of a study, and what can be wrong with it that only they tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dynlab.datasets import Dataset, load_dataset
from dynlab.errors import InputError, SpecificationError
from dynlab.files import printable
from dynlab.studies.specification import Study


@dataclass(frozen=True)
class StudyData:
    """The sets of a study, after their limits."""

    train: Dataset
    validation: Dataset | None
    test: Dataset


def load_study_data(study: Study, *, data_dir: str | Path | None = None) -> StudyData:
    """Load the data sets of a study, and check that they fit each other and the study.

    Args:
        study: Its specification.
        data_dir: As in `load_dataset`.

    Raises:
        InputError: If a set cannot be read, samples of two sets differ in shape, classes are asked for and there are
            none, or a corruption needs images and samples are none; with a line for each.
    """
    problems: dict[str, None] = {}  # each once
    names = {"train": study.data.train, "validation": study.data.validation, "test": study.data.test}
    sets: dict[str, Dataset] = {}

    def collect(key: str, load: Callable[[], Dataset]) -> None:
        try:
            sets[key] = load()
        except InputError as error:
            problems[f"data.{key}: {error}"] = None

    for key, name in names.items():
        if name is not None:
            limit = getattr(study.data, f"limit_{key}")
            collect(key, lambda name=name, limit=limit: load_dataset(name, data_dir=data_dir, limit=limit))
    train = sets.get("train")
    for key, data in sets.items():
        if train is not None and data.shape != train.shape:
            problems[f"data.{key}: samples of shape {data.shape}, expected {train.shape} as in data.train"] = None
        if study.analyses.separability is not None and data.labels is None:
            problems[f"data.{key}: {data.name} has no labels, expected some for analyses.separability"] = None
    if train is not None:
        for number, points in enumerate(study.grids):
            for corruption, sigma in {(settings.corruption, settings.sigma): None for settings in points}:
                settings = next(one for one in points if (one.corruption, one.sigma) == (corruption, sigma))
                try:
                    settings.schedule(train.shape)
                except InputError as error:
                    words = str(error).removeprefix("corruption is ")
                    problems[f"grid[{number}].corruption: {words}"] = None
    if problems:
        where = printable(str(study.path))
        raise SpecificationError("\n".join(" ".join(f"{where}: {problem}".split()) for problem in problems))
    return StudyData(sets["train"], sets.get("validation"), sets["test"])

"""The data sets of a study, and what can be wrong with it that only they tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dynlab.datasets import Dataset, load_dataset
from dynlab.errors import InputError
from dynlab.evaluation.inputs import check_classes
from dynlab.studies.specification import Study
from dynlab.studies.wording import refused


@dataclass(frozen=True)
class StudyData:
    """The sets of a study, after their limits."""

    train: Dataset
    validation: Dataset | None
    test: Dataset

    @property
    def sets(self) -> dict[str, Dataset]:
        """Those that there are, by their roles."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: data for role, data in found.items() if data is not None}


def load_study_data(study: Study, *, data_dir: str | Path | None = None) -> StudyData:
    """Load the data sets of a study, and check that they fit each other and the study.

    Args:
        study: Its specification.
        data_dir: As in `load_dataset`.

    Raises:
        InputError: If a set cannot be read, samples of two sets differ in shape, classes are asked for and there are
            none, or none of those of the training set, or a corruption needs images and samples are none; with a line
            for each.
    """
    problems: dict[str, None] = {}  # each once
    sets: dict[str, Dataset] = {}

    for key, (name, limit) in study.data.given.items():
        try:
            sets[key] = load_dataset(name, data_dir=data_dir, limit=limit)
        except InputError as error:
            problems[f"data.{key}: {error}"] = None
    train = sets.get("train")
    for key, data in sets.items():
        if train is not None and data.shape != train.shape:
            problems[f"data.{key}: samples of shape {data.shape}, expected {train.shape} as in data.train"] = None
        if study.analyses.separability is not None and data.labels is None:
            problems[f"data.{key}: {data.name} has no labels, expected some for analyses.separability"] = None
        elif study.analyses.separability is not None and train is not None and train.labels is not None:
            try:
                check_classes(data, train)
            except InputError as error:
                problems[f"data.{key}: {error}"] = None
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
        raise refused(study.path, problems)
    return StudyData(sets["train"], sets.get("validation"), sets["test"])

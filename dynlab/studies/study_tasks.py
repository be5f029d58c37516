"""Which tasks a study needs: its trainings, and the stages of its cells.

Stages of the data come first. Then, training by training, what trains it and all stages of its cells, so that results
of the first are there while the last are trained.
"""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynlab.datasets import DATASET_NAMES
from dynlab.devices import resolve_device
from dynlab.errors import InputError
from dynlab.studies.grid import Cell, Training, cells_of, ensembles_of, trainings_of
from dynlab.studies.keys import TRAIN_VERSION, data_cell_name, data_sha256, sha256_of, stage_inputs
from dynlab.studies.running.task import Order, Task
from dynlab.studies.specification import Study
from dynlab.studies.stage import Cost, Report, Stage, Work
from dynlab.studies.store import Place
from dynlab.studies.study_data import StudyData
from dynlab.studies.training import STAGE, train_one, train_together
from dynlab.training import TrainingSettings
from dynlab.training.batched import obstacle_to_batches

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class StudyTasks:
    """The tasks of a study, and the places where they put what they find."""

    tasks: tuple[Task, ...]
    cells: tuple[Cell, ...]
    places: Mapping[tuple[str, str], Place]  # by the folder of the cell and the name of the stage
    data_cell: str  # the folder of what belongs to the data alone

    def place(self, cell: Cell | None, stage: str) -> Place | None:
        """Where the result of a stage stands; None if the study does not ask for it."""
        return self.places.get((self.data_cell if cell is None else cell.folder, stage))


def tasks_of(
    study: Study,
    data: StudyData,
    stages: Sequence[Stage],
    *,
    device: str = "cpu",
    on_gpu: bool = False,
    together: bool = False,
    data_dir: str | Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> StudyTasks:
    """The tasks of a study, in the order in which to do them.

    Args:
        study: Its specification.
        data: Its data sets.
        stages: Each after those that it needs; all but `train`.
        device: Where trainings and stages compute, as `resolve_device` takes it where they do.
        on_gpu: Whether what computes on the device asks its worker for a GPU.
        together: Whether trainings that can form an ensemble are one task; on a GPU those are only such as can go on
            side by side there.
        data_dir: As in `load_dataset`.
        checkpoint_seconds: How often trainings write checkpoints.

    Raises:
        InputError: If a stage that is asked for needs one that is not.
    """
    maker = _Maker(study, data, stages, device, {"GPU": 1} if on_gpu else {}, checkpoint_seconds, data_dir)
    tasks = [task for stage in stages if stage.scope == "data" for task in maker.of_stage(stage, None)]
    trainings = trainings_of(maker.cells)
    groups: list[tuple[tuple[Training, ...], bool]] = []  # and whether each is done as an ensemble, even of one
    for ensemble in ensembles_of(trainings) if together else ():
        if on_gpu and obstacle_to_batches(ensemble[0].settings) is not None:
            groups += [((training,), False) for training in ensemble]
        else:
            groups.append((ensemble, True))
    for group, as_ensemble in groups or [((training,), False) for training in trainings]:
        tasks.append(maker.of_trainings(group, together=as_ensemble))
        for cell in itertools.chain.from_iterable(training.cells for training in group):
            tasks += [task for stage in stages if stage.scope == "cell" for task in maker.of_stage(stage, cell)]
    return StudyTasks(tuple(tasks), tuple(maker.cells), maker.places, maker.data_cell)


class _Maker:
    """Makes tasks one after the other, each after those that it needs, and knows the places of all that it made."""

    def __init__(
        self,
        study: Study,
        data: StudyData,
        stages: Sequence[Stage],
        device: str,
        resources: Mapping[str, float],
        checkpoint_seconds: float,
        data_dir: str | Path | None,
    ) -> None:
        self.study, self.device, self.resources, self.checkpoint_seconds = study, device, resources, checkpoint_seconds
        self.where = _where(study, data, data_dir)
        self.sets = {role: one["sha256"] for role, one in self.where.items()}
        self.sizes = {role: len(getattr(data, role).images) for role in self.where}
        self.dim = data.train.images.shape[1]
        self.cells = cells_of(study, self.sets["train"])
        self.data_cell = data_cell_name(sha256_of({"data": self.sets}))
        self.scopes = {stage.name: stage.scope for stage in stages}
        self.places: dict[tuple[str, str], Place] = {}
        self.folders: dict[tuple[str, str], list[str]] = defaultdict(list)  # of a stage: one with shards has several
        for cell in self.cells:
            inputs = stage_inputs(STAGE, TRAIN_VERSION, cell=cell.key)
            self.places[cell.folder, STAGE] = Place(cell.folder, STAGE, inputs)
            self.folders[cell.folder, STAGE].append(STAGE)

    def of_stage(self, stage: Stage, cell: Cell | None) -> list[Task]:
        """The task of a stage, or those of all of its shards; none if the study does not ask for it."""
        asked = stage.parameters(self.study, cell)
        if asked is None:
            return []
        name = self.data_cell if cell is None else cell.folder
        roles = [role for role in asked.pop("data", ()) if role in self.where]
        needs = self._needs(stage, name)
        about: dict[str, Any] = {"key": self.data_cell} if cell is None else _about(cell)
        products = 0.0 if cell is None else 2 * weight_operations(cell.settings, self.dim)
        made = []
        for folder, parameters in stage.parts(asked, self.sizes):
            inputs = stage_inputs(
                stage.name,
                stage.version,
                parameters=parameters,
                data={role: self.sets[role] for role in roles},
                cell=None if cell is None else cell.key,
                needs={needed: place.key for needed, place in needs.items()},
            )
            place = self.places[name, folder] = Place(name, folder, inputs)
            self.folders[name, stage.name].append(folder)
            arguments = {
                "compute": stage.compute,
                "cell": about,
                "parameters": parameters | {"data": {role: self.where[role] for role in roles}},
                "needs": list(needs),
                "device": self.device if stage.on_device else "cpu",
            }
            made.append(
                Task(
                    name=place.name,
                    cell=label_of(None if cell is None else cell.settings, self.cells),
                    part=folder,
                    places=(place,),
                    function=fill_stage,
                    arguments=arguments,
                    needs=tuple(needs.values()),
                    resources=self.resources if stage.on_device else {},
                    kind=stage.name,
                    cost=stage.cost(Work(parameters, self.sizes, self.dim, products)) if stage.cost else None,
                )
            )
        return made

    def of_trainings(self, group: Sequence[Training], *, together: bool) -> Task:
        """The task of a training, or of several that go on together."""
        members = [
            {
                "settings": training.settings.as_json(),
                "folder": training.folder,
                "epochs": {self.places[cell.folder, STAGE].name: cell.settings.epochs for cell in training.cells},
            }
            for training in group
        ]
        first, settings = label_of(group[0].settings, self.cells), group[0].settings
        of_samples = sum(one.settings.epochs * training_operations(one.settings, self.dim) for one in group)
        # About as many numbers of 4 bytes as there are operations in an encoder: maps, and the checkpoint that stays.
        disk = sum(4 * weight_operations(one.settings, self.dim) * (len(one.cells) + (not together)) for one in group)
        return Task(
            name=f"{group[0].folder}/training" if len(group) == 1 else f"{group[0].folder}/ensemble",
            cell=first if len(group) == 1 else f"{len(group)} trainings, the first of {first}",
            part=STAGE,
            places=tuple(self.places[cell.folder, STAGE] for training in group for cell in training.cells),
            function=train_together if together else train_one,
            arguments={
                **({"members": members} if together else {"member": members[0]}),
                "data": self.where["train"],
                "device": self.device,
                "checkpoint_seconds": self.checkpoint_seconds,
            },
            resources=self.resources,
            # Trainings of another length or number of steps take another time.
            kind=f"train {len(group)} {settings.epochs} {settings.walkback} {settings.hidden}",
            cost=Cost(self.sizes["train"] * of_samples, disk=disk),
        )

    def _needs(self, stage: Stage, name: str) -> dict[str, Place]:
        """The places of all that a stage of a cell needs, by their folders."""
        needs: dict[str, Place] = {}
        for needed in stage.needs:
            cell = self.data_cell if self.scopes.get(needed) == "data" else name
            if not self.folders[cell, needed]:
                raise InputError(f"{stage.name} needs {needed}, which the study does not ask for")
            needs |= {folder: self.places[cell, folder] for folder in self.folders[cell, needed]}
        return needs


def fill_stage(order: Order, report: Report) -> dict[str, str]:
    """Do one stage of one cell, or of the data; which device "auto" is, is seen here, where it is done."""
    arguments, store = order.arguments, order.store
    (place,) = order.places
    needed = {name: store.path(one) for name, one in zip(arguments["needs"], order.needs, strict=True)}
    parameters = arguments["parameters"] | {"device": str(resolve_device(arguments["device"]))}
    for one in order.needs:
        store.check(one)
    with store.filling(place, order.needs) as folder:
        arguments["compute"](folder, arguments["cell"], parameters, needed, report)
    return {}


def weight_operations(settings: TrainingSettings, dim: int) -> float:
    """Operations of the products with the weights of an encoder, for one sample: two for each weight."""
    hidden = settings.hidden if isinstance(settings.hidden, tuple) else (settings.hidden,)
    return 2.0 * sum(before * after for before, after in itertools.pairwise((dim, *hidden)))


def training_operations(settings: TrainingSettings, dim: int) -> float:
    """Operations of an epoch for each sample: forward, and in both backward products but that of the first input."""
    return (6 * settings.walkback - 1) * weight_operations(settings, dim)


def label_of(settings: TrainingSettings | None, cells: Sequence[Cell]) -> str:
    """The settings of a cell in which the cells of its study differ, in words."""
    if settings is None:
        return "data"
    of_all = [cell.settings.as_json() for cell in cells]
    values = settings.as_json()
    differing = [name for name in values if any(other[name] != values[name] for other in of_all)]
    return ", ".join(f"{name} {_short(values[name])}" for name in differing) or "the one cell"


def _where(study: Study, data: StudyData, data_dir: str | Path | None) -> dict[str, dict[str, Any]]:
    """For each data set what `dataset_at` takes, in words that hold in any process that sees the same files."""
    folder = data_dir or os.environ.get("DYNLAB_DATA")
    return {
        role: {
            "name": name if name in DATASET_NAMES else str(Path(name).absolute()),
            "limit": limit,
            "data_dir": str(Path(folder).absolute()) if folder else None,
            "sha256": data_sha256(data.sets[role]),
        }
        for role, (name, limit) in study.data.given.items()
    }


def _about(cell: Cell) -> dict[str, Any]:
    return {"key": cell.key, "settings": cell.settings.as_json()}


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

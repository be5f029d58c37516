"""What of a study is done, and what the rest may cost.

Costs are estimates. Per epoch a training takes `(6 k - 1) 2 dim hidden` operations for each sample; how many a second
this machine does is measured, in half a second, by training a little. Stages say how many they may take; once some of a
kind are done, their times say it better.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dynlab.datasets import Dataset
from dynlab.devices import one_thread
from dynlab.studies.running.task import Task
from dynlab.studies.store import State, Store
from dynlab.studies.study_data import StudyData
from dynlab.studies.study_tasks import StudyTasks, training_operations
from dynlab.studies.training import train_one, train_together
from dynlab.training import TrainingSettings
from dynlab.training.initialization import beginning
from dynlab.training.run import TrainingRun

_CALIBRATION_SECONDS = 0.5
_PROCESS_BYTES = 450 * 2**20  # of a process that has imported what it needs; measured, as the most on MNIST, 1.4 GiB


@dataclass(frozen=True)
class Planned:
    """A task, and what is known of it before it is run."""

    task: Task
    states: tuple[State, ...]  # of its places
    seconds: float | None  # that it may take; 0 if it is done, None if nothing is known

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        return all(state is State.WHOLE for state in self.states)


@dataclass(frozen=True)
class Plan:
    """What a run would do, with estimates of what it would cost."""

    planned: tuple[Planned, ...]
    cells: int
    workers: int
    memory: float  # bytes, of all processes
    disk: float  # bytes, of what is to do

    @property
    def seconds(self) -> float:
        """How long all that is known may take, with all workers busy."""
        known = [one.seconds for one in self.planned if one.seconds]
        return max([sum(known) / self.workers, *known], default=0.0)

    @property
    def unknown(self) -> int:
        """How many tasks there are of which nothing is known."""
        return sum(one.seconds is None for one in self.planned)


def plan_of(asked: StudyTasks, data: StudyData, folder: Path, *, workers: int = 1) -> Plan:
    """See what is done, and estimate the rest; nothing is changed.

    Args:
        asked: The tasks of a study.
        data: Its data sets.
        folder: Of the study.
        workers: How many tasks go on at a time, at least 1.
    """
    store = Store(folder)
    planned = []
    times: dict[str, list[float]] = defaultdict(list)
    for task in asked.tasks:
        found = [store.look(place, needs=task.needs) for place in task.places]
        planned.append(one := Planned(task, tuple(place.state for place in found), 0.0))
        taken = [place.seconds for place in found if place.seconds is not None]
        if one.is_done and len(taken) == len(found):
            times[task.kind].append(sum(taken))
    to_do = with_estimates([one.task for one in planned if not one.is_done], data)
    seconds = {task.name: task.estimate for task in to_do}
    seconds |= {task.name: sum(times[task.kind]) / len(times[task.kind]) for task in to_do if times[task.kind]}
    planned = [replace(one, seconds=seconds.get(one.task.name, 0.0)) for one in planned]
    disk = sum(task.cost.disk for task in to_do if task.cost is not None)
    return Plan(tuple(planned), len(asked.cells), workers, _memory(data, workers), disk)


def with_estimates(tasks: Sequence[Task], data: StudyData) -> list[Task]:
    """The tasks, those with a cost with the time that they may take on one thread of this machine's CPU."""
    if all(task.cost is None for task in tasks):
        return list(tasks)
    trainings = [settings for task in tasks for settings in _trained(task)]
    dim = data.train.images.shape[1]
    smallest = min(trainings, key=lambda one: training_operations(one, dim), default=None)
    rate = training_rate(smallest or TrainingSettings(sigma=0.5, epochs=1), data.train)
    return [task if task.cost is None else replace(task, estimate=task.cost.operations / rate) for task in tasks]


def training_rate(settings: TrainingSettings, data: Dataset) -> float:
    """Operations a second of a training on one thread of this machine's CPU, measured for half a second."""
    with one_thread():
        run = TrainingRun(data.images, settings, beginning(data.images.shape[1], settings, None, data.shape))
        samples, dim = min(settings.batch_size, len(data.images)), data.images.shape[1]
        of_batch = samples * training_operations(settings, dim)
        started = time.perf_counter()
        batches, measured, since = 0, 0, started

        def stop() -> bool:
            nonlocal batches, measured, since
            now = time.perf_counter()
            if now - started < _CALIBRATION_SECONDS / 2:  # the first ones are slower
                since, measured = now, batches
            batches += 1
            return now - started >= _CALIBRATION_SECONDS

        while run.epoch < run.epochs and run.run_epoch(stop):
            pass
        return of_batch * max(1, batches - 1 - measured) / (time.perf_counter() - since)


def _trained(task: Task) -> list[TrainingSettings]:
    """What a task would train."""
    if task.function not in (train_one, train_together):
        return []
    members = task.arguments.get("members") or [task.arguments["member"]]
    return [TrainingSettings.of_json(member["settings"]) for member in members]


def _memory(data: StudyData, workers: int) -> float:
    """Bytes of all processes: in each the data, and what classifiers make of its transformed copy."""
    images = [one.images for one in data.sets.values()]
    return max(1, workers) * (_PROCESS_BYTES + 4.5 * sum(one.numel() * one.element_size() for one in images))

"""A task of a study, and how it is done wherever an executor takes it.

A task fills places of the store. What goes to an executor is an `Order`: a function of a module and plain values, so
that any process can do it that sees the folder of the study. What comes back is an `Outcome`, also of a task that
failed; only what no task can help, such as the end of its process, is an error of the executor.

A task ends early, with what it can keep, when its run is over (`lock`) or, in a process of its own, at
SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynlab.devices import one_thread_in_all
from dynlab.errors import InputError
from dynlab.files import write_json
from dynlab.studies.running.lock import is_run_by
from dynlab.studies.stage import Cost, Report
from dynlab.studies.store import Place, Store

_SECONDS = 1.0  # between two looks at whether to end, and two progress files
_ALONE = threading.Lock()
PROGRESS = "progress"


class Stopped(BaseException):
    """The task should end; raised by its `report`, and at SIGTERM. No `Exception`, which stages might catch."""


@dataclass(frozen=True)
class Task:
    """What fills one place or several."""

    name: str  # tells it from the others; with a slash
    cell: str  # what of the study it is of, for people: the settings of a model, or "data"
    part: str  # what it finds of that, likewise: the stage, or one of its shards
    places: tuple[Place, ...]
    function: Callable[[Order, Report], Mapping[str, str]]  # of a module; gives reasons for places that stay empty
    arguments: Any = None  # values of JSON, and functions of modules
    needs: tuple[Place, ...] = ()  # filled by other tasks
    resources: Mapping[str, float] = field(default_factory=dict)  # such as {"GPU": 1}
    kind: str = ""  # tasks of one kind take similar times
    cost: Cost | None = None  # what it may cost, if something is known of that
    estimate: float | None = None  # seconds that it may take, likewise

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.cell}: {self.part}"


@dataclass(frozen=True)
class Order:
    """A task on its way to an executor."""

    folder: Path  # of the study
    run: str
    name: str
    function: Callable[[Order, Report], Mapping[str, str]]
    arguments: Any
    places: tuple[Place, ...]  # that are still to be filled
    needs: tuple[Place, ...]

    @property
    def store(self) -> Store:
        """Where the results go."""
        return Store(self.folder)


@dataclass(frozen=True)
class TaskOutcome:
    """What became of a task."""

    seconds: float
    reasons: Mapping[str, str] = field(default_factory=dict)  # why places stay empty, by their names
    failure: str | None = None  # why the task failed, a line
    traceback: str = ""
    stopped: bool = False  # before its end, by request


def perform(order: Order) -> TaskOutcome:
    """Do a task, on one thread, with its progress in a file."""
    started = time.monotonic()
    progress = _Progress(order)
    try:
        # Sums of floating point numbers depend on the order in which threads add up their parts: on one thread a task
        # gives the same bits wherever it runs, and workers that share a machine do not fight for its cores. The number
        # of threads belongs to the process.
        with _ALONE, one_thread_in_all():
            progress(0.0, "")
            reasons = dict(order.function(order, progress))
    except Stopped:
        return TaskOutcome(time.monotonic() - started, stopped=True)
    except Exception as error:
        line = str(error).partition("\n")[0] if isinstance(error, InputError) else _line(error)
        return TaskOutcome(time.monotonic() - started, failure=line, traceback=traceback.format_exc())
    return TaskOutcome(time.monotonic() - started, reasons)


def progress_path(folder: Path, name: str) -> Path:
    """Where a task says how far it is."""
    return folder / PROGRESS / f"{file_name(name)}.json"


def file_name(name: str) -> str:
    """The name of a task as the name of a file."""
    return name.replace("/", "--")


class _Progress:
    """The `report` of a task: writes a file, and ends the task when its run is over."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._path = progress_path(order.folder, order.name)
        self._started = time.time()
        self._next = -1.0

    def __call__(self, share: float, note: str) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _SECONDS
        if not is_run_by(self._order.folder, self._order.run):
            raise Stopped
        told = {
            "task": self._order.name,
            "run": self._order.run,
            "share": share,
            "note": note,
            "started": self._started,
            "updated": time.time(),
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        with contextlib.suppress(InputError):  # a full disk shall end the task at its results, not here
            write_json(self._path, told)


def _line(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

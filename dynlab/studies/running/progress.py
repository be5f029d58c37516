"""How a study stands while it runs: in `status.json` for other programs, and for whoever watches.

Tasks say how far they are in files of their own (`task`); a thread of the runner gathers them, about
once a second, beside what the runner knows.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dynlab.errors import InputError
from dynlab.files import write_json
from dynlab.studies.running.lock import Holder, is_held
from dynlab.studies.running.task import Task, progress_path

STATUS = "status.json"
_SECONDS = 1.0

TaskState = Literal["waiting", "queued", "running", "computed", "reused", "failed", "not run", "stopped"]
RunState = Literal["running", "finished", "interrupted", "killed"]
_OVER = ("computed", "reused", "failed", "not run")


@dataclass(frozen=True)
class TaskStatus:
    """How a task stands."""

    name: str
    cell: str  # as in `Task`
    part: str
    kind: str
    state: TaskState = "waiting"
    share: float = 0.0  # that is done
    note: str = ""  # such as a rate, or why it failed
    seconds: float | None = None  # since it began, or that it took
    left: float | None = None  # seconds to its end, as far as it can be told

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.cell}: {self.part}"

    @property
    def done(self) -> float:
        """The share that need not be waited for any more."""
        return 1.0 if self.state in _OVER else self.share


@dataclass(frozen=True)
class StudyStatus:
    """How a study stands, or stood when its runner was last heard of."""

    title: str
    state: RunState
    runner: Holder
    updated: float  # seconds since 1970
    tasks: tuple[TaskStatus, ...]
    left: float | None = None  # seconds to the end of all, an estimate

    def count(self, *states: TaskState) -> int:
        """How many tasks are in one of the states."""
        return sum(task.state in states for task in self.tasks)

    @property
    def share(self) -> float:
        """The share of tasks that are over, those under way counted in part."""
        return sum(task.done for task in self.tasks) / len(self.tasks) if self.tasks else 1.0


def read_status(folder: Path) -> StudyStatus:
    """How the study in a folder stands; a runner that is gone without a word is told as killed.

    Raises:
        InputError: If no study was run there, or its file is damaged.
    """
    path = folder / STATUS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        tasks = tuple(TaskStatus(**task) for task in found.pop("tasks"))
        status = StudyStatus(**found | {"runner": Holder(**found["runner"]), "tasks": tasks})
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}), expected a study that was run"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: damaged, not the status of a study ({error})") from error
    if status.state == "running" and not is_held(folder):
        return replace(status, state="killed")
    return status


@dataclass
class Board:
    """What the runner knows of its tasks; gathers what they say, and passes it on."""

    folder: Path
    title: str
    runner: Holder
    tasks: Sequence[Task]
    parallel: Callable[[], int]  # how many tasks go on at a time
    show: Callable[[StudyStatus], None]
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _status: dict[str, TaskStatus] = field(default_factory=dict)
    _times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # of tasks that are done, by kind
    _first: dict[str, tuple[float, float]] = field(default_factory=dict)  # when a share was first heard of, and which
    _parallel: int = 1
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self._status = {task.name: TaskStatus(task.name, task.cell, task.part, task.kind) for task in self.tasks}
        self._estimates = {task.name: task.estimate for task in self.tasks if task.estimate is not None}

    def begin(self) -> None:
        """Gather from now on."""
        self._thread = threading.Thread(target=self._gather, daemon=True)
        self._thread.start()

    def end(self, state: RunState) -> None:
        """Gather no more, and write how the study ended."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._pass_on(state)

    def set(self, name: str, state: TaskState, *, note: str = "", seconds: float | None = None) -> None:
        """Note what became of a task."""
        with self._lock:
            before = self._status[name]
            share = 1.0 if state in ("computed", "reused") else 0.0
            self._status[name] = replace(before, state=state, share=share, note=note, seconds=seconds, left=None)
            if state in ("computed", "reused") and seconds is not None:
                self._times[before.kind].append(seconds)
            self._first.pop(name, None)

    def count_parallel(self) -> None:
        """Ask how many tasks go on at a time; from the thread that owns the executor."""
        self._parallel = max(1, self.parallel())

    def status(self, state: RunState) -> StudyStatus:
        """How the study stands."""
        with self._lock:
            for name, status in self._status.items():
                if status.state in ("queued", "running"):
                    self._status[name] = self._heard(status)
            tasks = tuple(self._status.values())
            left = self._left(tasks) if state == "running" else None
        return StudyStatus(self.title, state, self.runner, time.time(), tasks, left)

    def _gather(self) -> None:
        while not self._over.is_set():
            self._pass_on("running")
            self._over.wait(_SECONDS)

    def _pass_on(self, state: RunState) -> None:
        status = self.status(state)
        with contextlib.suppress(InputError):  # a full disk is told of by the tasks
            write_json(self.folder / STATUS, asdict(status))
        self.show(status)

    def _heard(self, status: TaskStatus) -> TaskStatus:
        """What a task says of itself."""
        told = _read(progress_path(self.folder, status.name))
        if told is None or told.get("run") != self.runner.run:
            return status
        try:
            share, note, began = float(told["share"]), str(told["note"]), float(told["started"])
        except (KeyError, TypeError, ValueError):
            return status
        seconds = max(0.0, time.time() - began)
        left = None
        if share > 0:
            since, first = self._first.setdefault(status.name, (time.time(), share))
            if share > first:
                left = (1 - share) * (time.time() - since) / (share - first)
        return replace(status, state="running", share=share, note=note, seconds=seconds, left=left)

    def _left(self, tasks: Sequence[TaskStatus]) -> float | None:
        """Seconds to the end of all: from the times of tasks of the same kind, or what was estimated."""
        total = longest = 0.0
        for task in tasks:
            if task.state in _OVER or task.state == "stopped":
                continue
            left = task.left
            if left is None:
                times = self._times.get(task.kind)
                whole = sum(times) / len(times) if times else self._estimates.get(task.name)
                if whole is None:
                    return None
                left = max(0.0, whole - (task.seconds or 0.0))
            total += left
            longest = max(longest, left)
        return max(longest, total / self._parallel)


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None

"""A study of toys: tasks of milliseconds that write down when they run, for tests of what runs them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from dynlab.files import write_json
from dynlab.studies.keys import stage_inputs
from dynlab.studies.running.task import Order, Task, TaskOutcome, perform
from dynlab.studies.stage import Report
from dynlab.studies.store import MANIFEST, Place
from dynlab.studies.study_tasks import fill_stage

CHUNK = 1500  # bytes of one file
STEPS = 6  # of a toy training
NEEDS = {"train": (), "iterate": ("train",), "basins": ("train", "iterate")}


def tasks(
    diary: Path, cells: Sequence[str] = ("c0", "c1", "c2"), *, pause: float = 0.004, **traits: Mapping[str, Any]
) -> list[Task]:
    """A training of two places for each two cells, and two stages of each.

    Args:
        diary: Where toys write a line when they begin and when they end.
        cells: Names of folders.
        pause: Seconds that toys sleep, several times.
        traits: What is special about a task, by its name with _ in place of slashes: see `compute`.
    """
    places: dict[tuple[str, str], Place] = {}
    found: list[Task] = []
    for first in range(0, len(cells), 2):
        pair = cells[first : first + 2]
        for cell in pair:
            places[cell, "train"] = Place(cell, "train", stage_inputs("train", 1, cell=cell))
        found.append(
            Task(
                name=f"{pair[0]}/training",
                cell=" and ".join(pair),
                part="train",
                places=tuple(places[cell, "train"] for cell in pair),
                function=train,
                arguments={"diary": str(diary), "pause": pause, **traits.get(f"{pair[0]}_training", {})},
                resources={"GPU": 1},
                kind="train",
            )
        )
        for cell in pair:
            for stage in ("iterate", "basins"):
                needs = {name: places[cell, name] for name in NEEDS[stage]}
                inputs = stage_inputs(stage, 1, cell=cell, needs={name: place.key for name, place in needs.items()})
                place = places[cell, stage] = Place(cell, stage, inputs)
                special = traits.get(f"{cell}_{stage}", {})
                parameters = {"diary": str(diary), "pause": pause, "name": place.name, **special}
                found.append(
                    Task(
                        name=place.name,
                        cell=cell,
                        part=stage,
                        places=(place,),
                        function=fill_stage,
                        arguments={
                            "compute": compute,
                            "cell": cell,
                            "parameters": parameters,
                            "needs": list(needs),
                            "device": "cpu",
                        },
                        needs=tuple(needs.values()),
                        kind=stage,
                    )
                )
    return found


def compute(folder: Path, cell: Any, parameters: Any, needed: Mapping[str, Path], report: Report) -> None:
    """Fill a folder with numbers that follow from what is needed.

    `parameters` may hold `fails_while`, a file while which is there it fails; `kills_until`, a file without which it
    makes that and kills its process; and `waits_for`, a file that it waits for.
    """
    write_down(parameters, f"begin {parameters['name']}")
    before = {
        name: [hashlib.sha256(file.read_bytes()).hexdigest() for file in files_of(path)]
        for name, path in needed.items()
    }
    state = json.dumps([cell, parameters["name"], before]).encode()
    for chunk in range(3):
        state = hashlib.sha256(state).digest()
        path = folder / "arrays" / f"{chunk}.bin"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            for part in range(0, CHUNK, len(state)):
                file.write(state[: CHUNK - part])
                file.flush()
        time.sleep(parameters["pause"])
        report(chunk / 3, f"chunk {chunk}")
    _act(parameters, report)
    write_json(folder / "results.json", {"state": state.hex()})
    write_down(parameters, f"end {parameters['name']}")


def train(order: Order, report: Report) -> dict[str, str]:
    """Count to `STEPS`, with a checkpoint after each step, and fill all places.

    Arguments are as in `compute`, and `diverges`, the name of a place that stays empty.
    """
    arguments = order.arguments
    checkpoint = order.folder / "trainings" / f"{order.name.replace('/', '-')}.json"
    done = json.loads(checkpoint.read_text())["done"] if checkpoint.exists() else 0
    write_down(arguments, f"begin {order.name} at {done} in {os.getpid()}")
    for step in range(done, STEPS):
        time.sleep(arguments["pause"])
        write_json(checkpoint, {"done": step + 1})
        report(step / STEPS, f"step {step}")
        if step == STEPS // 2:
            _act(arguments, report)
    diverged = {name: "it diverged" for name in (arguments.get("diverges"),) if name is not None}
    for place in order.places:
        if place.name not in diverged:
            with order.store.filling(place, order.needs) as folder:
                (folder / "map.bin").write_bytes(hashlib.sha256(place.name.encode()).digest() * STEPS)
            write_down(arguments, f"filled {place.name}")
    if not diverged:
        checkpoint.unlink()
    write_down(arguments, f"end {order.name}")
    return diverged


def _act(parameters: Mapping[str, Any], report: Report) -> None:
    if Path(parameters.get("fails_while", "/nowhere")).exists():
        raise ArithmeticError("a number went wrong\nwhich nobody could know")
    marker = parameters.get("kills_until")
    if marker is not None and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    awaited = parameters.get("waits_for")
    while awaited is not None and not Path(awaited).exists():
        time.sleep(0.01)
        report(0.5, "waits")


def write_down(parameters: Mapping[str, Any], line: str) -> None:
    """Add a line to the diary, in one piece."""
    descriptor = os.open(parameters["diary"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def lines_of(diary: Path, beginning: str = "") -> list[str]:
    """What was written down, and begins so."""
    return [line for line in diary.read_text().splitlines() if line.startswith(beginning)] if diary.exists() else []


def files_of(path: Path) -> list[Path]:
    """All results in a folder, without manifests, which say how long each took."""
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != MANIFEST)


def results_of(folder: Path) -> dict[str, bytes]:
    """All that a study found, by the names of files."""
    cells = folder / "cells"
    return {str(file.relative_to(cells)): file.read_bytes() for file in files_of(cells) if ".damaged-" not in str(file)}


class Gathering:
    """Performs what was submitted when nothing more comes for a moment; a deadly task breaks all that are with it.

    Args:
        deadly: Names of tasks.
        moment: In seconds.
    """

    def __init__(self, *deadly: str, moment: float = 0.05) -> None:
        self.deadly = deadly
        self.together: list[set[str]] = []  # tasks that were under way at a time
        self._moment = moment
        self._under_way: list[tuple[Order, Future[TaskOutcome]]] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def submit(self, order: Order, resources: Mapping[str, float]) -> Future[TaskOutcome]:
        """See `Workers`."""
        future: Future[TaskOutcome] = Future()
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._under_way.append((order, future))
            self._timer = threading.Timer(self._moment, self._work)
            self._timer.start()
        return future

    def _work(self) -> None:
        with self._lock:
            begun, self._under_way = self._under_way, []
        names = {order.name for order, _ in begun}
        self.together.append(names)
        broken = bool(names & set(self.deadly))
        outcomes = [None if broken else perform(order) for order, _ in begun]
        for (_, future), outcome in zip(begun, outcomes, strict=True):
            if outcome is None:
                future.set_exception(BrokenProcessPool("a process is gone"))
            else:
                future.set_result(outcome)

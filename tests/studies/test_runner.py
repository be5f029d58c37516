"""Whatever stops the run of a study, the next one goes on from there, to the same results."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest
import toy_study
from rich.console import Console

from dynlab.errors import InputError
from dynlab.studies.running.display import StudyDisplay, summary_line, table_of, task_line
from dynlab.studies.running.executors import InProcess
from dynlab.studies.running.failures import read_failures
from dynlab.studies.running.lock import Holder
from dynlab.studies.running.progress import read_status
from dynlab.studies.running.scheduling import run_tasks
from dynlab.studies.running.task import Order, Task, TaskOutcome
from dynlab.studies.store import State, Store

KILLS = 25
LONGEST = 0.35  # seconds until a kill; a run takes about twice as long


def _forked(work: Callable[[], object]) -> int:
    """Do something in a process with a group of its own; the number of the process."""
    child = os.fork()
    if child:
        with contextlib.suppress(PermissionError):  # it has done that itself
            os.setpgid(child, child)
        return child
    status = 1
    try:
        signal.alarm(60)  # should its test fail
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        work()
        status = 0
    except KeyboardInterrupt:
        status = 130
    finally:
        os._exit(status)


def _status(child: int) -> int:
    """The exit status, or the negative number of the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _wait_for(what: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.005)


def _whole(tasks: Sequence[Task], study: Path) -> set[str]:
    store = Store(study)
    return {place.name for task in tasks for place in task.places if store.look(place).state is State.WHOLE}


def _no_damage(study: Path) -> bool:
    return not [*study.rglob("*.damaged-*")]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Results of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    summary = run_tasks(toy_study.tasks(folder / "diary", pause=0), folder / "study", InProcess())
    assert summary.complete
    assert len(summary.computed) == 8
    return toy_study.results_of(folder / "study")


def test_killed_at_random_points_it_goes_on_to_the_same_results(expected: dict[str, bytes], tmp_path: Path) -> None:
    diary, study = tmp_path / "diary", tmp_path / "study"
    tasks = toy_study.tasks(diary)
    chance = random.Random(20141129)
    killed = 0
    kept: set[str] = set()
    while True:
        diary.unlink(missing_ok=True)
        child = _forked(lambda: run_tasks(tasks, study, InProcess()))
        time.sleep(chance.uniform(0, LONGEST))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        status = _status(child)
        begun = [line.split()[1] for line in toy_study.lines_of(diary, "begin")]
        assert len(begun) == len(set(begun))
        assert not {name for name in begun if name in kept}, "what was whole is computed again"
        whole = _whole(tasks, study)
        assert kept <= whole
        assert _no_damage(study), "what stands under its final name is whole"
        kept = whole
        if status == -signal.SIGKILL:
            killed += 1
        if len(kept) == 9:
            if killed >= KILLS:
                break
            for name in chance.sample(sorted(kept), 6):  # so that there is something to interrupt again
                _remove(study / "cells" / name)
            kept = _whole(tasks, study)
    summary = run_tasks(tasks, study, InProcess())
    assert len(summary.reused) == 8
    assert toy_study.results_of(study) == expected
    assert not [*study.glob("cells/*/.*")], "nothing half written is left"


def _remove(folder: Path) -> None:
    aside = folder.with_name(f".{folder.name}-removed.part")
    folder.rename(aside)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(number: signal.Signals, expected: dict[str, bytes], tmp_path: Path) -> None:
    diary, study, gate = tmp_path / "diary", tmp_path / "study", tmp_path / "gate"
    tasks = toy_study.tasks(diary, c0_training={"waits_for": str(gate)})
    child = _forked(lambda: run_tasks(tasks, study, InProcess()))
    _wait_for((study / "trainings" / "c0-training.json").exists)
    os.kill(child, number)
    assert _status(child) == (130 if number == signal.SIGINT else -number)
    status = read_status(study)
    assert status.state == "interrupted"
    assert status.count("stopped") == 8
    assert "8 stopped" in summary_line(status)
    assert not [*study.glob("cells/*/.*")]
    gate.touch()
    run_tasks(tasks, study, InProcess())
    at = [int(line.split()[3]) for line in toy_study.lines_of(diary, "begin c0/training")]
    assert at[0] == 0
    assert 1 <= at[1] <= toy_study.STEPS, "the training goes on from its checkpoint"
    assert toy_study.results_of(study) == expected


def test_a_full_disk_leaves_nothing_half_written(expected: dict[str, bytes], tmp_path: Path) -> None:
    """The system refuses to write beyond a size, so that files end in the middle, as on a full disk."""
    diary, study = tmp_path / "diary", tmp_path / "study"
    tasks = toy_study.tasks(diary, pause=0)

    def run() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (toy_study.CHUNK - 10, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        summary = run_tasks(tasks, study, InProcess())
        assert summary.computed == ("c0/training", "c2/training")
        assert [failure.task for failure in summary.failed] == ["c0/iterate", "c1/iterate", "c2/iterate"]
        assert all("File too large" in failure.reason for failure in summary.failed)
        assert len(summary.not_run) == 3

    assert _status(_forked(run)) == 0
    assert sorted(_whole(tasks, study)) == ["c0/train", "c1/train", "c2/train"]
    assert sorted(path.name for path in study.glob("cells/*/*")) == ["train"] * 3
    assert len(run_tasks(tasks, study, InProcess()).reused) == 2
    assert toy_study.results_of(study) == expected


def test_a_failure_stops_what_needs_it_and_nothing_else(expected: dict[str, bytes], tmp_path: Path) -> None:
    diary, study, obstacle = tmp_path / "diary", tmp_path / "study", tmp_path / "obstacle"
    obstacle.touch()
    said: list[str] = []

    class _Lines(StudyDisplay):
        def say(self, line: str) -> None:
            said.append(line)

    tasks = toy_study.tasks(
        diary,
        pause=0,
        c1_iterate={"fails_while": str(obstacle)},
        c2_training={"diverges": "c2/train"},
    )
    summary = run_tasks(tasks, study, InProcess(), display=_Lines(None))
    assert summary.computed == ("c0/training", "c0/iterate", "c0/basins")
    assert summary.not_run == ("c1/basins", "c2/iterate", "c2/basins")
    assert not summary.complete
    assert not summary.interrupted
    failed, diverged = summary.failed
    assert (failed.task, failed.places, failed.reason) == (
        "c1/iterate",
        ("c1/iterate",),
        "ArithmeticError: a number went wrong",
    )
    assert (diverged.places, diverged.reason, diverged.file) == (("c2/train",), "it diverged", None)
    traceback = (study / str(failed.file)).read_text()
    assert "which nobody could know" in traceback
    assert "toy_study.py" in traceback
    listed = json.loads((study / "failures.json").read_text())
    assert [one["task"] for one in listed] == ["c1/iterate", "c2/training"]
    assert read_failures(study) == [failed, diverged]
    assert "c1: iterate: failed, ArithmeticError: a number went wrong (failures/c1--iterate.txt)" in said
    assert "c1: basins: not run, as c1: iterate failed" in said
    status = read_status(study)
    assert status.state == "finished"
    assert (status.count("computed"), status.count("failed"), status.count("not run")) == (3, 2, 3)
    assert "c1: iterate: failed ArithmeticError: a number went wrong" in map(task_line, status.tasks)

    obstacle.unlink()
    diary.unlink()
    healed = toy_study.tasks(diary, pause=0)
    again = run_tasks(healed, study, InProcess())
    assert again.complete
    assert again.computed == ("c1/iterate", "c1/basins", "c2/training", "c2/iterate", "c2/basins")
    assert not (study / "failures.json").exists()
    assert toy_study.results_of(study) == expected


def test_another_version_of_a_stage_is_computed_anew_and_what_it_needs_is_reused(tmp_path: Path) -> None:
    diary, study = tmp_path / "diary", tmp_path / "study"
    run_tasks(toy_study.tasks(diary, pause=0), study, InProcess())
    changed = []
    for task in toy_study.tasks(diary, pause=0):
        if task.name == "c1/basins":
            (place,) = task.places
            place = type(place)(place.cell, place.stage, {**place.inputs, "version": 2})
            task = type(task)(**{**vars(task), "places": (place,)})
        changed.append(task)
    summary = run_tasks(changed, study, InProcess())
    assert summary.computed == ("c1/basins",)
    assert summary.set_aside == ()
    assert "c1/basins is stale, other version: computed anew" in (study / "run.log").read_text()


def test_what_was_made_from_something_else_is_computed_anew(tmp_path: Path) -> None:
    """A map may be trained again by another machine, which gives other last digits."""
    diary, study = tmp_path / "diary", tmp_path / "study"
    tasks = toy_study.tasks(diary, pause=0)
    assert run_tasks(tasks, study, InProcess()).complete
    store = Store(study)
    (trained,) = [place for task in tasks for place in task.places if place.name == "c0/train"]
    shutil.rmtree(store.path(trained))
    again = run_tasks(tasks, study, InProcess())
    assert again.computed == ("c0/training",)  # to the same bits

    shutil.rmtree(store.path(trained))
    with store.filling(trained) as folder:
        (folder / "map.bin").write_bytes(b"other last digits")
    other = run_tasks(tasks, study, InProcess())
    assert other.computed == ("c0/iterate", "c0/basins")
    assert other.set_aside == ()
    log = (study / "run.log").read_text()
    assert "c0/iterate is stale, made from another train: computed anew" in log
    assert "c0/basins is stale, made from another train: computed anew" in log
    assert not run_tasks(tasks, study, InProcess()).computed


def test_a_display_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        shown = StudyDisplay(Console(file=full))
        summary = run_tasks(
            toy_study.tasks(tmp_path / "diary", pause=0), tmp_path / "study", InProcess(), display=shown
        )
        assert shown.console is None
        with contextlib.suppress(OSError):
            full.close()
    assert summary.complete
    assert "c0: basins: computed in" in (tmp_path / "study" / "run.log").read_text()


def test_what_killed_processes_left_is_gone_when_a_run_ends(tmp_path: Path) -> None:
    left = tmp_path / "study" / "cells" / "c0" / ".iterate-1234.part"

    class Leaving(InProcess):
        """Where a process was killed in the midst of a task, as one of the first is submitted."""

        def submit(self, order: Order, resources: Mapping[str, float]) -> Future[TaskOutcome]:
            left.mkdir(parents=True, exist_ok=True)
            (left / "orbit.safetensors").touch()
            return super().submit(order, resources)

    assert run_tasks(toy_study.tasks(tmp_path / "diary", pause=0), tmp_path / "study", Leaving()).complete
    assert not left.exists()
    assert "removed 1 folders that killed processes left" in (tmp_path / "study" / "run.log").read_text()


def test_one_run_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    diary, study, gate = tmp_path / "diary", tmp_path / "study", tmp_path / "gate"
    tasks = toy_study.tasks(diary, ("c0",), pause=0, c0_iterate={"waits_for": str(gate)})
    with pytest.raises(InputError, match="cannot be read"):
        read_status(study)
    child = _forked(lambda: run_tasks(tasks, study, InProcess()))
    try:
        _wait_for(lambda: "begin c0/iterate" in toy_study.lines_of(diary))
        before = sorted(study.glob("cells/*/*"))
        with pytest.raises(InputError, match=rf"{study}: another run works here \(process {child} on "):
            run_tasks(tasks, study, InProcess())
        assert sorted(study.glob("cells/*/*")) == before
        _wait_for(lambda: read_status(study).count("running") == 1)
        status = read_status(study)
        holder = Holder(**json.loads((study / "run.json").read_text()))
        assert (status.state, status.runner, status.count("computed")) == ("running", holder, 1)
        (running,) = (task for task in status.tasks if task.state == "running")
        assert running.name == "c0/iterate"
        drawn = _drawn(table_of(status))
        assert any(line.split()[0] == "c0" and "iterate" in line for line in drawn.splitlines() if line.strip())
        assert "running: 3 tasks, 1 computed, 1 running, 1 waiting" in drawn
    finally:
        os.killpg(child, signal.SIGKILL)
        _status(child)
    assert read_status(study).state == "killed"
    gate.touch()
    assert run_tasks(tasks, study, InProcess()).reused == ("c0/training",)
    assert read_status(study).share == 1


def _drawn(table: object) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return cast(io.StringIO, console.file).getvalue()


def test_taking_the_file_of_a_run_away_ends_it(tmp_path: Path) -> None:
    """So do tasks on other machines, whose runner is gone or has been told to end."""
    tasks = toy_study.tasks(tmp_path / "diary", ("c0",), c0_iterate={"waits_for": str(tmp_path / "gate")})

    class _OutOfOrder(StudyDisplay):
        def say(self, line: str) -> None:
            if line.startswith("c0: train: computed"):
                (tmp_path / "study" / "run.json").unlink()

    summary = run_tasks(tasks, tmp_path / "study", InProcess(), display=_OutOfOrder(None))
    assert summary.stopped == ("c0/iterate", "c0/basins")
    assert summary.interrupted
    assert read_status(tmp_path / "study").state == "interrupted"


class _Fragile(toy_study.Gathering):
    """Three tasks at a time, and one with a GPU."""

    restarts = 0

    def room(self, resource: str) -> float:
        return 1

    def in_flight(self) -> int:
        return 3

    def restart(self) -> None:
        self.restarts += 1

    def stop(self, seconds: float) -> None: ...

    def close(self) -> None: ...


def test_a_task_that_kills_its_process_fails_alone(tmp_path: Path) -> None:
    workers = _Fragile("c0/iterate")
    cells = ("c0", "c1", "c2", "c3", "c4", "c5")
    summary = run_tasks(toy_study.tasks(tmp_path / "diary", cells, pause=0), tmp_path / "study", workers)
    (failure,) = summary.failed
    assert failure.task == "c0/iterate"
    assert failure.reason == "its process ended 3 times, the last time while it ran alone"
    assert summary.not_run == ("c0/basins",)
    assert len(summary.computed) == 3 + 2 * 5
    assert workers.restarts == 3
    deadly = [tasks for tasks in workers.together if "c0/iterate" in tasks]
    assert len(deadly) == 3
    assert len(deadly[0]) > 1, "others were under way with it"
    assert deadly[-1] == {"c0/iterate"}
    assert not any({"c0/training", "c2/training"} <= tasks for tasks in workers.together), "one GPU, one training"


def test_a_graph_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    tasks = toy_study.tasks(tmp_path / "diary")
    with pytest.raises(ValueError, match="two tasks are called c0/training"):
        run_tasks([tasks[0], tasks[0]], tmp_path / "study", InProcess())
    with pytest.raises(ValueError, match="c0/iterate needs c0/train, which no task before it fills"):
        run_tasks(tasks[1:], tmp_path / "study", InProcess())
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("damage", [b"\x80x", b"{", b"[3]", b'{"a": 1}', b'[{"task": "t"}]'])
def test_that_a_list_of_failures_is_damaged_is_a_failure(tmp_path: Path, damage: bytes) -> None:
    assert read_failures(tmp_path) == []
    (tmp_path / "failures.json").write_bytes(damage)
    (told,) = read_failures(tmp_path)
    assert (told.label, told.places) == ("failures.json", ())
    assert told.reason == "damaged; what failed in the last run is not known"

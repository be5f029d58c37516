"""A real scheduler and workers in processes of their own: some die, others join, and the results are the same."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest
import toy_study

import dynlab
from dynlab.errors import InputError
from dynlab.files import sha256
from dynlab.studies.runner import run_study, study_tasks
from dynlab.studies.running.display import StudyDisplay
from dynlab.studies.running.executors import DaskWorkers, InProcess
from dynlab.studies.running.progress import StudyStatus, read_status
from dynlab.studies.running.scheduling import run_tasks
from dynlab.studies.running.task import Order, TaskOutcome, progress_path
from dynlab.studies.specification import Study, load_study
from dynlab.studies.stages import STAGES
from dynlab.studies.study_data import load_study_data
from dynlab.studies.training import train_one, train_together

distributed = pytest.importorskip("distributed")

SPECIFICATION = """
[data]
train = "digits/train"
test = "digits/test"
limit_train = 100
limit_test = 60

[[grid]]
sigma = [0.2, 0.3]
epochs = 2
hidden = 12

[analyses]
separability = { orbit_train_samples = 60 }
basins = { samples = 60, shard = 40 }
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the scheduler or a worker, none of which sees a GPU."""
    started: list[subprocess.Popen[bytes]] = []
    paths = os.pathsep.join([str(Path(dynlab.__file__).parents[1]), str(Path(toy_study.__file__).parent)])
    options_of: Mapping[str, tuple[str, ...]] = {
        "scheduler": ("--port", "0", "--host", "127.0.0.1"),
        "worker": ("--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path / "dask")),
    }

    def begin(what: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(tmp_path / "where")]
        with (tmp_path / f"{what}-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--no-dashboard", *options_of[what], *options],
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                cwd=tmp_path,
            )
        started.append(process)
        return process

    yield begin
    for process in reversed(started):
        process.kill()
        process.wait()


def _address(tmp_path: Path, *, workers: int) -> str:
    """Where the scheduler is, once it has some workers."""
    deadline = time.monotonic() + 60
    while not (tmp_path / "where").exists():
        assert time.monotonic() < deadline, (tmp_path / "scheduler-0.log").read_text()
        time.sleep(0.05)
    address = json.loads((tmp_path / "where").read_text())["address"]
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=60)
    return address


def _pid_of(study: Path, task: str) -> int | None:
    """The process that did a task, or does it."""
    with contextlib.suppress(FileNotFoundError):
        return json.loads(progress_path(study, task).read_text())["pid"]
    return None


def test_what_asks_for_a_gpu_waits_for_a_worker_that_has_one(start: Start, tmp_path: Path) -> None:
    """Also what is submitted while the only one is gone; and the results equal the local ones."""
    start("scheduler")
    with_gpu = start("worker", "--resources", "GPU=1")
    without = start("worker", "--resources", "CPU=1")
    address = _address(tmp_path, workers=2)
    marker, study = tmp_path / "killed", tmp_path / "study"
    # The first training kills its worker; only then the second one ends, and there are stages that want a GPU.
    tasks = toy_study.tasks(
        tmp_path / "diary", c0_training={"kills_until": str(marker)}, c2_training={"waits_for": str(marker)}
    )
    asked = {"c2/training": {"CPU": 1}, "c2/iterate": {"GPU": 1}, "c2/basins": {"GPU": 1}}
    tasks = [dataclasses.replace(task, resources=asked.get(task.name, task.resources)) for task in tasks]
    joined: list[subprocess.Popen[bytes]] = []

    class _Watcher(StudyDisplay):
        def show(self, status: StudyStatus) -> None:
            (stage,) = (task for task in status.tasks if task.name == "c2/iterate")
            if stage.state != "waiting" and not joined:
                assert with_gpu.poll() is not None
                joined.append(start("worker", "--resources", "GPU=1"))

    summary = run_tasks(tasks, study, DaskWorkers(address), display=_Watcher(None))
    assert summary.complete
    assert len(summary.computed) == 8
    pids = {task.name: _pid_of(study, task.name) for task in tasks if task.resources}
    assert pids.pop("c2/training") == without.pid
    assert pids == dict.fromkeys(("c0/training", "c2/iterate", "c2/basins"), joined[0].pid)
    local = tmp_path / "local"
    local.mkdir()
    assert run_tasks(toy_study.tasks(local / "diary", pause=0), local / "study", InProcess()).complete
    assert toy_study.results_of(study) == toy_study.results_of(local / "study")
    assert read_status(study).state == "finished"


def _study(folder: Path, specification: str = SPECIFICATION) -> Study:
    (folder / "tiny.toml").write_text(specification)
    return load_study(folder / "tiny.toml")


def test_a_study_on_dask_equals_the_local_one_though_a_worker_is_killed(start: Start, tmp_path: Path) -> None:
    start("scheduler")
    victim = start("worker")
    start("worker")
    study, folder = _study(tmp_path), tmp_path / "dask-study"
    data = load_study_data(study)
    address = _address(tmp_path, workers=2)
    over = threading.Event()

    def kill() -> None:
        """Kill a worker in the midst of a stage, once there are results."""
        while not over.wait(0.01):
            there = {f"{path.parent.name}--{path.name}" for path in folder.glob("cells/*/[!.]*")}
            begun = {path.stem for path in (folder / "progress").glob("*.json")}
            stages = [name for name in begun - there if not name.endswith("--training")]
            if there and any(_pid_of(folder, name.replace("--", "/")) == victim.pid for name in stages):
                victim.send_signal(signal.SIGKILL)
                return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        summary = run_study(study, data, folder, stages=STAGES, workers=DaskWorkers(address))
    finally:
        over.set()
        killer.join()
    assert summary.failed == ()
    assert victim.wait(timeout=10) == -signal.SIGKILL
    names = [name.partition("/")[2] for name in summary.computed]
    of_cell = ["training", "iterate", "separability", "orbits-000", "orbits-001", "basins"]
    assert sorted(names) == sorted(["raw", "recognizer", *of_cell * 2])
    local = tmp_path / "local"
    assert run_study(study, data, local, stages=STAGES, workers=InProcess(), device="cpu").complete
    assert _hashes(folder) == _hashes(local)


def _hashes(study: Path) -> dict[str, str]:
    """Of all results, by the names of files."""
    files = [*study.glob("cells/*/*/*.safetensors"), *study.glob("cells/*/*/results.json")]
    assert len(files) > 50
    return {str(file.relative_to(study)): sha256(file) for file in files}


class _Offering(DaskWorkers):
    """Workers nobody has to start, of which one has a GPU or none has."""

    def __init__(self, gpu: bool) -> None:
        self._gpu, self._looked, self._futures = gpu, float("-inf"), {}

    def _offered(self) -> list[Mapping[str, float]]:
        return [{"GPU": 1.0, "CPU": 2.0} if self._gpu else {}, {"CPU": 0.5}]


@pytest.mark.parametrize(
    ("device", "offered", "expected"),
    [
        ("cuda", False, True),
        ("cuda:1", False, True),
        ("auto", True, True),
        ("auto", False, False),
        ("cpu", True, False),
    ],
)
def test_what_computes_on_the_device_asks_for_a_gpu(device: str, offered: bool, expected: bool, tmp_path: Path) -> None:
    study = _study(tmp_path)
    tasks = study_tasks(study, load_study_data(study), STAGES, _Offering(offered), device=device).tasks
    names = {task.name: task.name.partition("/")[2] for task in tasks}
    on_device = {"recognizer", "iterate", "orbits-000", "orbits-001", "basins", "ensemble" if expected else "training"}
    assert {*names.values()} == {*on_device, "raw", "separability"}
    for task in tasks:
        asks = expected and names[task.name] in on_device
        assert task.resources == ({"GPU": 1} if asks else {})
        assert task.arguments["device"] == (device if names[task.name] in on_device else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_a_device_that_no_worker_can_have_is_refused_before_anything_is_submitted(name: str, tmp_path: Path) -> None:
    study = _study(tmp_path)
    with pytest.raises(InputError, match=rf"^device is '{name}', expected auto, cpu or a CUDA device$"):
        study_tasks(study, load_study_data(study), STAGES, _Offering(True), device=name)


def test_what_waits_for_a_gpu_leaves_room_for_what_wants_none(tmp_path: Path) -> None:
    """Of two workers one has a GPU, and twice two tasks are submitted at a time: never more than two that want it."""
    assert _Offering(True).in_flight() == 4
    assert _Offering(True).room("GPU") == 2
    assert _Offering(True).room("CPU") == 5
    assert _Offering(False).room("GPU") == 2, "for a worker that comes and brings one"

    class _Counted(_Offering):
        def __init__(self) -> None:
            super().__init__(gpu=True)
            self.gathering = toy_study.Gathering(moment=0.5)

        def submit(self, order: Order, resources: Mapping[str, float]) -> Future[TaskOutcome]:
            return self.gathering.submit(order, resources)

        def close(self) -> None: ...

    wanting = {"c0/training", "c2/training", "c0/basins", "c1/basins", "c2/basins"}
    tasks = [
        dataclasses.replace(task, resources={"GPU": 1} if task.name in wanting else {})
        for task in toy_study.tasks(tmp_path / "diary", ("c0", "c1", "c2", "c3"), pause=0)
    ]
    workers = _Counted()
    assert run_tasks(tasks, tmp_path / "study", workers).complete
    assert max(len(names & wanting) for names in workers.gathering.together) == 2
    assert {"c0/basins", "c1/basins", "c3/basins"} in workers.gathering.together


def test_what_waits_for_a_gpu_that_is_gone_keeps_no_slot() -> None:
    workers = _Offering(True)
    waiting, done, running = Future[TaskOutcome](), Future[TaskOutcome](), Future[TaskOutcome]()
    done.set_result(TaskOutcome(0.0))
    workers._futures = {waiting: {"GPU": 1.0}, done: {"GPU": 1.0}, running: {}}
    assert workers.in_flight() == 4
    workers._gpu, workers._looked = False, float("-inf")
    assert workers.in_flight() == 4 + 1
    workers._futures = {waiting: {"CPU": 0.5}, running: {"CPU": 2.0}}
    assert workers.in_flight() == 4 + 1


def test_trainings_that_a_gpu_cannot_do_side_by_side_are_tasks_of_their_own(tmp_path: Path) -> None:
    specification = SPECIFICATION.replace("hidden = 12", "hidden = [12, [12, 6]]")
    study = _study(tmp_path, specification)
    tasks = study_tasks(study, load_study_data(study), STAGES, _Offering(True), device="cuda").tasks
    trainings = [
        (
            task.function,
            [one["settings"]["hidden"] for one in task.arguments.get("members") or [task.arguments["member"]]],
        )
        for task in tasks
        if task.function in (train_one, train_together)
    ]
    assert trainings == [(train_together, [12, 12]), (train_one, [[12, 6]]), (train_one, [[12, 6]])]


@pytest.mark.parametrize("offered", [True, False])
def test_a_run_says_that_it_waits_for_a_gpu(offered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class _Lines(StudyDisplay):
        def say(self, line: str) -> None:
            said.append(line)

    monkeypatch.setattr("dynlab.studies.runner.run_tasks", lambda *arguments, **options: None)
    study = _study(tmp_path)
    run_study(
        study,
        load_study_data(study),
        tmp_path,
        stages=STAGES,
        workers=_Offering(offered),
        device="cuda",
        display=_Lines(None),
    )
    assert ["the resource GPU" in line for line in said] == [True] * (not offered)

"""A real scheduler and workers in processes of their own: one dies, another one joins, and the results are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import toy_study

import dynlab
from dynlab.studies.executors import DaskWorkers, InProcess
from dynlab.studies.progress import StudyStatus, read_status
from dynlab.studies.scheduling import run_tasks
from dynlab.studies.screen import Screen

pytest.importorskip("distributed")

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the scheduler or a worker."""
    started: list[subprocess.Popen[bytes]] = []
    paths = os.pathsep.join([str(Path(dynlab.__file__).parents[1]), str(Path(toy_study.__file__).parent)])

    def begin(what: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(tmp_path / "where")]
        with (tmp_path / f"{what}-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--no-dashboard", *options],
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                cwd=tmp_path,
            )
        started.append(process)
        return process

    yield begin
    for process in reversed(started):
        process.kill()
        process.wait()


def _address(tmp_path: Path) -> str:
    deadline = time.monotonic() + 60
    while not (tmp_path / "where").exists():
        assert time.monotonic() < deadline, (tmp_path / "scheduler-0.log").read_text()
        time.sleep(0.05)
    return json.loads((tmp_path / "where").read_text())["address"]


def test_results_on_dask_equal_the_local_ones_though_a_worker_is_killed(start: Start, tmp_path: Path) -> None:
    options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path / "dask"))
    start("scheduler", "--port", "0", "--host", "127.0.0.1")
    address = _address(tmp_path)
    with_gpu = start("worker", *options, "--resources", "GPU=1")
    start("worker", *options)
    workers = DaskWorkers(address)
    workers.wait_for(2, seconds=60)
    marker, diary, study = tmp_path / "killed", tmp_path / "diary", tmp_path / "study"
    tasks = toy_study.tasks(diary, c2_training={"kills_until": str(marker)})
    joined: list[subprocess.Popen[bytes]] = []

    class _Watcher(Screen):
        """Once the only worker with a GPU is gone, another one comes."""

        def show(self, status: StudyStatus) -> None:
            if marker.exists() and not joined:
                joined.append(start("worker", *options, "--resources", "GPU=1"))

    summary = run_tasks(tasks, study, workers, screen=_Watcher(None))
    assert summary.complete
    assert len(summary.computed) == 8
    assert with_gpu.poll() is not None
    begun = [line.split() for line in toy_study.lines_of(diary, "begin c")]
    trained_by = {words[1]: int(words[5]) for words in begun if words[1].endswith("training")}
    assert trained_by == {"c0/training": with_gpu.pid, "c2/training": joined[0].pid}
    local = tmp_path / "local"
    local.mkdir()
    assert run_tasks(toy_study.tasks(local / "diary", pause=0), local / "study", InProcess()).complete
    assert toy_study.results_of(study) == toy_study.results_of(local / "study")
    assert read_status(study).state == "finished"

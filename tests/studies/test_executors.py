"""Processes of this machine: from any script, one thread each, and through the deaths of processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_study

import dynlab
from dynlab.errors import InputError
from dynlab.studies.running.executors import DaskWorkers, InProcess, LocalProcesses
from dynlab.studies.running.progress import read_status
from dynlab.studies.running.scheduling import run_tasks

# As people write it: without `if __name__ == "__main__"`, which processes that import the main module would need.
SCRIPT = """
import sys
from pathlib import Path
import toy_study
from dynlab.studies.running.executors import LocalProcesses
from dynlab.studies.running.scheduling import run_tasks
from dynlab.studies.running.display import shown_study

folder = Path(sys.argv[1])
tasks = toy_study.tasks(folder / "diary", pause=0.02, **eval(sys.argv[2]))
print("script")
with shown_study() as display:
    summary = run_tasks(tasks, folder / "study", LocalProcesses(2), display=display)
print(sorted(summary.computed), sorted(summary.reused), summary.failed, threads := [])
sys.exit(not summary.complete)
"""


def _started(folder: Path, **traits: object) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(dynlab.__file__).parents[1]), str(Path(toy_study.__file__).parent)])
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), repr(traits)],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _expected(folder: Path) -> dict[str, bytes]:
    assert run_tasks(toy_study.tasks(folder / "diary", pause=0), folder / "study", InProcess()).complete
    return toy_study.results_of(folder / "study")


def _processes_of(session: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if int((path / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                found.append(int(path.name))
    return found


def _wait_for(what: object, seconds: float = 60) -> None:
    assert callable(what)
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)


def test_a_killed_worker_is_replaced_and_its_tasks_are_done_again(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    marker = tmp_path / "killed"
    process = _started(tmp_path / "local", c0_training={"kills_until": str(marker)})
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert out.count("script") == 1, "the main module is imported by no process"
    assert marker.exists()
    assert "c0 and c1: train: its process ended, or another one with it; submitted again" in said
    assert "c2: basins: computed in" in said
    diary = tmp_path / "local" / "diary"
    at = [int(line.split()[3]) for line in toy_study.lines_of(diary, "begin c0/training")]
    assert at[0] == 0
    assert at[-1] > toy_study.STEPS // 2, "the training goes on from its checkpoint"
    assert toy_study.results_of(tmp_path / "local" / "study") == _expected(tmp_path)
    assert not [*(tmp_path / "local" / "study").glob("cells/*/.*")], "nothing half written is left"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="sees processes by Linux's /proc")
@pytest.mark.parametrize("ending", ["SIGTERM", "SIGKILL"])
def test_workers_end_with_their_runner(ending: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = {"waits_for": str(gate)}
    process = _started(tmp_path, c0_training=waits, c2_training=waits)
    diary, study = tmp_path / "diary", tmp_path / "study"
    try:
        _wait_for(lambda: len(toy_study.lines_of(diary, "begin")) >= 1)
        checkpoints = study / "trainings"
        _wait_for(lambda: checkpoints.exists() and [*checkpoints.glob("*.json")])
        started = time.monotonic()
        process.send_signal(signal.Signals[ending])
        process.communicate(timeout=60)
        assert process.returncode == -signal.Signals[ending]
        _wait_for(lambda: not _processes_of(process.pid), 20)
        assert time.monotonic() - started < 15
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert read_status(study).state == ("interrupted" if ending == "SIGTERM" else "killed")
    assert not [*study.glob("cells/*/*")]
    gate.touch()
    run_tasks(toy_study.tasks(diary, pause=0), study, InProcess())
    assert int(toy_study.lines_of(diary, "begin c0/training")[-1].split()[3]) > 0
    (tmp_path / "other").mkdir()
    assert toy_study.results_of(study) == _expected(tmp_path / "other")


def test_workers_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="processes is 0, expected at least 1"):
        LocalProcesses(0)
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="scheduler is 'nonsense', expected an address"):
        DaskWorkers("nonsense")

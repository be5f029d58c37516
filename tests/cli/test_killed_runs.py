"""`dynlab run` of a study of real trainings and stages, killed at random moments, ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import toy_study

import dynlab
from dynlab.studies.answers.files import write_answers
from dynlab.studies.running.executors import InProcess
from dynlab.studies.running.scheduling import run_tasks
from dynlab.studies.specification import load_study
from dynlab.studies.stages import STAGES
from dynlab.studies.study_data import load_study_data
from dynlab.studies.study_tasks import tasks_of

Run = Callable[..., tuple[int, str, str]]
STUDY = """
[data]
train = "digits/train"
test = "digits/test"
limit_train = 45
limit_test = 40
[[grid]]
sigma = 0.2
epochs = [2, 1200]                # the second takes about a second
hidden = 8
[analyses]
separability = { orbit_train_samples = 40 }
basins = { samples = 40, shard = 25 }
spectra = { attractors = 2 }
graph = { attractors = 2 }
[page]
figures = ["table"]
"""
RESULTS = 2 + 2 * 8  # of the data and of both models
MANIFESTS = "cells/*/[!.]*/manifest.json"


def _whole(folder: Path) -> dict[Path, bytes]:
    """The manifests of results, which tell one computation from another."""
    return {path: path.read_bytes() for path in folder.glob(MANIFESTS)}


def test_killed_at_random_moments_a_study_ends_with_the_same_bits(run: Run, tmp_path: Path) -> None:
    Path("tiny.toml").write_text(STUDY)
    chance = random.Random(5)
    folder = tmp_path / "killed"
    kept: dict[Path, bytes] = {}
    # Once before or in the longer training, all processes at once; and once after it, where its worker ends by itself.
    for after, kill in ((chance.randint(1, 3), os.killpg), (chance.randint(4, RESULTS - 3), os.kill)):
        process = subprocess.Popen(
            [sys.executable, "-m", "dynlab", "run", "tiny.toml", "--workers", "1", "--out", str(folder)],
            env=os.environ | {"PYTHONPATH": str(Path(dynlab.__file__).parents[1])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 60
            while len([*folder.glob(MANIFESTS)]) < after:
                assert process.poll() is None, "it ended before its time"
                assert time.monotonic() < deadline, "it does not come"
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.1))
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        whole = _whole(folder)
        assert kept.items() <= whole.items(), "what was whole is computed again"
        assert after <= len(whole) < RESULTS
        kept = whole
    status, _, err = run("run", "tiny.toml", "--workers", "0", "--out", str(folder))
    assert status == 0, err
    assert "damaged" not in err
    whole = _whole(folder)
    assert kept.items() <= whole.items()
    assert len(whole) == RESULTS
    study = load_study("tiny.toml")
    data = load_study_data(study)
    uninterrupted = tmp_path / "uninterrupted"
    assert run_tasks(tasks_of(study, data, STAGES).tasks, uninterrupted, InProcess()).complete
    write_answers(study, data, uninterrupted, page=False)
    assert toy_study.results_of(folder) == toy_study.results_of(uninterrupted)
    assert (folder / "results.csv").read_bytes() == (uninterrupted / "results.csv").read_bytes()

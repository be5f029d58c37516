"""A large set of samples, iterated shard by shard on several workers, and merged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dynlab.attractors import Basins, basins_of_attraction
from dynlab.errors import SpecificationError
from dynlab.files import sha256
from dynlab.maps import load_map
from dynlab.studies.runner import run_study
from dynlab.studies.running.executors import InProcess, LocalProcesses, Workers
from dynlab.studies.specification import load_study
from dynlab.studies.stages import STAGES
from dynlab.studies.study_data import load_study_data
from dynlab.studies.study_tasks import StudyTasks, tasks_of

SPECIFICATION = """
[data]
train = "digits/train"
test = "digits/test"
limit_train = 100
limit_test = 90

[[grid]]
sigma = 0.2
epochs = 2
hidden = 12

[analyses]
basins = { samples = 100, shard = 40 }
"""


def run(folder: Path, specification: str, workers: Workers) -> tuple[StudyTasks, tuple[str, ...], tuple[str, ...]]:
    """Run a study; its tasks, and the names of those that were computed and reused."""
    (folder / "shards.toml").write_text(specification)
    study = load_study(folder / "shards.toml")
    data = load_study_data(study)
    summary = run_study(study, data, folder / "out", stages=STAGES, workers=workers, device="cpu")
    assert not summary.failed
    return tasks_of(study, data, STAGES), summary.computed, summary.reused


def path_of(folder: Path, asked: StudyTasks, stage: str) -> Path:
    """The folder of a stage of the one cell."""
    place = asked.place(asked.cells[0], stage)
    assert place is not None
    return folder / "out" / "cells" / place.name


def test_shards_cover_the_set_once_and_merge_into_its_basins(tmp_path: Path) -> None:
    asked, _, _ = run(tmp_path, SPECIFICATION, InProcess())
    parts = [
        Basins.load(path_of(tmp_path, asked, f"orbits-{number:03d}") / "basins.safetensors") for number in (0, 1, 2)
    ]
    assert asked.place(asked.cells[0], "orbits-003") is None
    assert torch.cat([part.samples for part in parts]).tolist() == list(range(90))
    assert [len(part.samples) for part in parts] == [40, 40, 10]

    merged = Basins.load(path_of(tmp_path, asked, "basins") / "basins.safetensors")
    system = load_map(path_of(tmp_path, asked, "train") / "map.safetensors")
    data = load_study_data(load_study(tmp_path / "shards.toml"))
    whole = basins_of_attraction(system, data.test.images)
    assert torch.equal(merged.labels, whole.labels)
    torch.testing.assert_close(merged.fixed_points, whole.fixed_points, rtol=0, atol=1e-10)

    # Another size of shards iterates anew, and trains nothing.
    asked, computed, reused = run(tmp_path, SPECIFICATION.replace("40", "90"), InProcess())
    assert {name.partition("/")[2] for name in computed} == {"orbits-000", "basins"}
    assert {name.partition("/")[2] for name in reused} >= {"training", "iterate", "recognizer"}
    again = Basins.load(path_of(tmp_path, asked, "basins") / "basins.safetensors")
    assert torch.equal(again.labels, whole.labels)


def test_processes_give_the_same_bits_as_one(tmp_path: Path) -> None:
    hashes = []
    for name, workers in (("one", InProcess()), ("two", LocalProcesses(2))):
        (tmp_path / name).mkdir()
        asked, _, _ = run(tmp_path / name, SPECIFICATION, workers)
        folders = [path_of(tmp_path / name, asked, stage) for stage in ("orbits-002", "basins")]
        hashes.append([sha256(path) for folder in folders for path in sorted(folder.glob("*.safetensors"))])
    assert len(hashes[0]) == 5
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("shard", ["0", "-5", "1.5", '"a"'])
def test_a_shard_is_a_positive_number_of_samples(tmp_path: Path, shard: str) -> None:
    (tmp_path / "wrong.toml").write_text(SPECIFICATION.replace("40", shard))
    with pytest.raises(SpecificationError, match=r"analyses\.basins\.shard"):
        load_study(tmp_path / "wrong.toml")

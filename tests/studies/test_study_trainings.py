"""Trainings as tasks of a study: each alone or together, through interruptions, damage and divergence."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_study

from dynlab.errors import InputError
from dynlab.maps import load_map
from dynlab.studies.plan import plan_of
from dynlab.studies.runner import run_study
from dynlab.studies.running.executors import InProcess
from dynlab.studies.running.scheduling import run_tasks
from dynlab.studies.running.task import Order, Stopped, Task
from dynlab.studies.specification import Study, load_study
from dynlab.studies.stage import Report, Stage, dataset_at
from dynlab.studies.store import State, Store
from dynlab.studies.study_data import StudyData, load_study_data
from dynlab.studies.study_tasks import StudyTasks, tasks_of
from dynlab.studies.training import train_one
from dynlab.training import TrainingFailed, TrainingSettings, train

SPECIFICATION = """
[data]
train = "digits/train"
test = "digits/test"
limit_train = 150
limit_test = 40

[[grid]]
sigma = [0.2, 0.3]
epochs = [2, 5]
hidden = 12
output_nonlinearity = "identity"
"""


def _count(folder: Path, cell: Any, parameters: Any, needed: Mapping[str, Path], report: Report) -> None:
    """Sum up the images of the map, on the first test samples."""
    images = dataset_at(parameters["data"]["test"]).images[: parameters["samples"]]
    with torch.no_grad():
        value = load_map(needed["train"] / "map.safetensors")(images).double().sum().item()
    brightness = json.loads((needed["brightness"] / "results.json").read_text())["mean"]
    (folder / "results.json").write_text(
        json.dumps({"sum": value, "mean": brightness, "seed": cell["settings"]["seed"]})
    )


def _brightness(folder: Path, cell: Any, parameters: Any, needed: Mapping[str, Path], report: Report) -> None:
    assert not needed
    assert set(cell) == {"key"}
    report(0.5, "half")
    (folder / "results.json").write_text(
        json.dumps({"mean": dataset_at(parameters["data"]["train"]).images.mean().item()})
    )


def _stages(samples: int = 10) -> list[Stage]:
    return [
        Stage("brightness", 1, (), lambda study, cell: {"data": ["train", "validation"]}, _brightness, "data"),
        Stage("count", 1, ("train", "brightness"), lambda study, cell: {"samples": samples, "data": ["test"]}, _count),
        Stage("nothing", 1, ("train",), lambda study, cell: None, _count),
    ]


def _study(folder: Path) -> tuple[Study, StudyData]:
    path = folder / "toy.toml"
    path.write_text(SPECIFICATION)
    study = load_study(path)
    return study, load_study_data(study)


def _alone(study: Study, data: StudyData, samples: int = 10) -> StudyTasks:
    return tasks_of(study, data, _stages(samples), checkpoint_seconds=0.0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study, StudyData]:
    """A study that was run without interruption, each training a task; tests must not change its folder."""
    folder = tmp_path_factory.mktemp("finished")
    study, data = _study(folder)
    asked = _alone(study, data)
    assert run_tasks(asked.tasks, folder / "study", InProcess()).complete
    assert len(asked.tasks) == 1 + 2 * (1 + 2)
    return folder / "study", study, data


def test_cells_hold_what_a_training_of_their_epochs_gives(finished: tuple[Path, Study, StudyData]) -> None:
    folder, study, data = finished
    for cell in _alone(study, data).cells:
        kept = load_map(folder / "cells" / cell.folder / "train" / "map.safetensors")
        direct = train(data.train.images, cell.settings, state_shape=data.train.shape, device="cpu")
        assert all(torch.equal(value, direct.state_dict()[name]) for name, value in kept.state_dict().items())
        found = kept.training_settings
        assert {name: found[name] for name in cell.settings.as_json()} == cell.settings.as_json()
        assert found["data_sha256"] == data.train.sha256
    # Where each training stands, for one that is longer.
    assert {file.name for file in (folder / "trainings").glob("*/*")} == {"cpu.safetensors"}


def test_more_epochs_go_on_from_fewer(finished: tuple[Path, Study, StudyData], tmp_path: Path) -> None:
    """In whatever order they are asked for, the files are those of one training, and only what is new is trained."""
    folder, study, data = finished
    trained: list[tuple[float, str]] = []

    def of_epochs(*epochs: int) -> dict[str, bytes]:
        grids = tuple(tuple(one for one in points if one.epochs in epochs) for points in study.grids)
        part = dataclasses.replace(study, grids=grids)
        for task in _alone(part, data).tasks:
            if task.function is train_one:
                missing = tuple(place for place in task.places if Store(out).look(place).state is not State.WHOLE)
                assert train_one(_order(task, out, missing), lambda share, note: trained.append((share, note))) == {}
        return toy_study.results_of(out)

    every = {name: content for name, content in toy_study.results_of(folder).items() if "/train/" in name}
    out = tmp_path / "rising"
    assert len(of_epochs(2)) == 2
    assert of_epochs(2, 5) == every
    assert [note.split(",")[0] for _, note in trained[:5]] == ["epoch 1 of 2", "epoch 2 of 2"] * 2 + ["epoch 3 of 5"]
    out = tmp_path / "falling"
    trained.clear()
    assert len(of_epochs(5)) == 2
    assert of_epochs(2, 5) == every
    assert len(trained) == 2 * 5 + 2 * 2  # what is before a checkpoint is not in it
    assert {file.name for file in (out / "trainings").glob("*/*")} == {"cpu.safetensors"}


def test_together_they_give_the_same_files_and_one_that_diverges_is_told(
    finished: tuple[Path, Study, StudyData], tmp_path: Path
) -> None:
    folder, study, data = finished
    wild = dataclasses.replace(study.grids[0][1], sigma=0.4, learning_rate=1e30)
    study = dataclasses.replace(study, grids=(*study.grids, (wild,)))
    summary = run_study(study, data, tmp_path, stages=_stages(), device="cpu")
    (failure,) = summary.failed
    assert failure.reason.startswith("training diverged in epoch 1 at learning rate 1e+30")
    assert summary.not_run == (f"{_alone(study, data).cells[-1].folder}/count",)
    assert len(summary.computed) == 1 + 4
    assert toy_study.results_of(tmp_path) == toy_study.results_of(folder)
    # Without that one; of an ensemble only what is missing is trained again.
    _, study, data = finished
    (tmp_path / "cells" / _alone(study, data).cells[0].folder / "train" / "map.safetensors").write_bytes(b"")
    again = run_study(study, data, tmp_path, stages=_stages(), device="cpu")
    assert len(again.computed) == len(again.set_aside) == 1
    assert toy_study.results_of(tmp_path) == toy_study.results_of(folder)


def test_what_a_process_raised_is_the_reason_of_its_member(
    finished: tuple[Path, Study, StudyData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: dict[str, str] = {}

    def fail(*arguments: Any, names: list[str], **more: Any) -> None:
        errors = {name: f"MemoryError: no room for {number}" for number, name in enumerate(names)}
        expected.update((name, f"training failed: {error}") for name, error in errors.items())
        raise TrainingFailed(
            {name: f"Traceback (most recent call last):\n  ...\n{error}\n" for name, error in errors.items()}
        )

    _, study, data = finished
    monkeypatch.setattr("dynlab.studies.training.train_ensemble", fail)
    summary = run_study(study, data, tmp_path, stages=_stages(), device="cpu")
    assert len(expected) > 1
    assert {failure.reason for failure in summary.failed} == set(expected.values())


def test_an_error_of_all_trainings_leaves_its_traceback(
    finished: tuple[Path, Study, StudyData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **more: Any) -> None:
        raise torch.OutOfMemoryError("tried to allocate 2 GiB\nof a device that has 1")

    _, study, data = finished
    monkeypatch.setattr("dynlab.studies.training.train_ensemble", fail)
    summary = run_study(study, data, tmp_path, stages=_stages(), device="cpu")
    for failure in summary.failed:
        assert "tried to allocate 2 GiB" in failure.reason
        assert failure.file is not None
        assert "in fail\n" in (tmp_path / failure.file).read_text()
    assert summary.failed


@pytest.mark.parametrize("damage", [None, "snapshot", "checkpoint"])
def test_a_training_that_was_stopped_goes_on(
    damage: str | None, finished: tuple[Path, Study, StudyData], tmp_path: Path
) -> None:
    folder, study, data = finished
    task = next(task for task in _alone(study, data).tasks if task.function is train_one)
    shares: list[float] = []
    stopped: list[bool] = []

    def report(share: float, note: str) -> None:
        shares.append(share)
        assert "samples/s" in note
        if share == 4 / 5 and not stopped:
            stopped.append(True)
            raise Stopped

    with pytest.raises(Stopped):
        train_one(_order(task, tmp_path), report)
    store = Store(tmp_path)
    early, late = sorted(task.places, key=lambda place: task.arguments["member"]["epochs"][place.name])
    assert (store.look(early).state, store.look(late).state) == (State.WHOLE, State.MISSING)
    (checkpoint,) = (tmp_path / "trainings").rglob("*.safetensors")
    if damage == "snapshot":  # its epoch is before the checkpoint
        (store.path(early) / "map.safetensors").unlink()
        store.set_aside(early)
    if damage == "checkpoint":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    del shares[:]
    missing = tuple(place for place in task.places if store.look(place).state is not State.WHOLE)
    assert train_one(_order(task, tmp_path, missing), report) == {}
    assert shares == {None: [1.0], "snapshot": [0.5, 1.0, 1.0], "checkpoint": [0.2, 0.4, 0.6, 0.8, 1.0]}[damage]
    expected = toy_study.results_of(folder)
    found = toy_study.results_of(tmp_path)
    assert len(found) == 2
    assert all(expected[name] == content for name, content in found.items())


def _order(task: Task, folder: Path, places: tuple[Any, ...] | None = None) -> Order:
    return Order(folder, "a run", task.name, task.function, task.arguments, places or task.places, task.needs)


def test_what_is_past_goes_on_from_a_checkpoint_of_its_own(
    finished: tuple[Path, Study, StudyData], tmp_path: Path
) -> None:
    """Unless something before that is missing, too; and what killed processes left is cleared away."""
    folder, study, data = finished
    points = study.grids[0]
    three = dataclasses.replace(study, grids=((points[0], dataclasses.replace(points[0], epochs=4), points[1]),))
    task = next(task for task in _alone(three, data).tasks if task.function is train_one)
    places = {task.arguments["member"]["epochs"][place.name]: place for place in task.places}
    assert sorted(places) == [2, 4, 5]
    notes: list[str] = []

    def report(share: float, note: str) -> None:
        notes.append(note.split(",")[0])
        if notes == ["epoch 1 of 4", "epoch 2 of 4", "epoch 3 of 4"]:
            raise Stopped

    def go_on(*epochs: int) -> None:
        notes.clear()
        assert train_one(_order(task, tmp_path, tuple(places[one] for one in epochs)), report) == {}

    go_on(5)
    with pytest.raises(Stopped):
        go_on(2, 4)
    (trainings,) = (tmp_path / "trainings").iterdir()
    assert sorted(path.name for path in trainings.iterdir()) == ["cpu-4.safetensors", "cpu.safetensors"]
    (trainings / ".0123.part").write_bytes(b"half")
    Store(tmp_path).set_aside(places[2])
    interrupted = (trainings / "cpu-4.safetensors").read_bytes()
    go_on(4)  # from where it was interrupted
    assert notes == ["epoch 4 of 4"]
    assert [path.name for path in trainings.iterdir()] == ["cpu.safetensors"]
    (trainings / "cpu-4.safetensors").write_bytes(interrupted)
    Store(tmp_path).set_aside(places[4])
    notes[:] = ["not to be stopped"]
    assert train_one(_order(task, tmp_path, (places[2], places[4])), report) == {}
    assert notes[1:] == [f"epoch {epoch} of 4" for epoch in range(1, 5)]
    expected = toy_study.results_of(folder)
    found = {name: content for name, content in toy_study.results_of(tmp_path).items() if name in expected}
    assert len(found) == 2
    assert all(expected[name] == content for name, content in found.items())


def test_snapshots_before_a_divergence_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, data = _study(tmp_path)
    task = next(task for task in _alone(study, data).tasks if task.function is train_one)
    rate = TrainingSettings.learning_rate_in
    monkeypatch.setattr(
        TrainingSettings, "learning_rate_in", lambda one, epoch: rate(one, epoch) if epoch < 4 else 1e38
    )
    places = {task.arguments["member"]["epochs"][place.name]: place for place in task.places}
    expected = {places[5].name: "training diverged in epoch 4"}
    for _ in range(2):  # the second time from the checkpoint, which is over
        found = train_one(_order(task, tmp_path), lambda share, note: None)
        assert {name: words[:28] for name, words in found.items()} == expected
        store = Store(tmp_path)
        assert store.look(places[2]).state is State.WHOLE
        store.set_aside(places[2])


def test_another_parameter_trains_nothing_anew(finished: tuple[Path, Study, StudyData]) -> None:
    folder, study, data = finished
    states = {planned.task.kind: planned.states for planned in plan_of(_alone(study, data, 11), data, folder).planned}
    assert states.pop("count") == (State.STALE,)
    assert {state for found in states.values() for state in found} == {State.WHOLE}


def test_a_plan_says_what_is_done_and_what_the_rest_may_cost(
    finished: tuple[Path, Study, StudyData], tmp_path: Path
) -> None:
    folder, study, data = finished
    done = plan_of(_alone(study, data), data, folder)
    assert done.seconds == 0
    assert (done.cells, len(done.planned)) == (4, 7)
    assert all(planned.is_done for planned in done.planned)
    before = sorted(tmp_path.rglob("*"))
    plan = plan_of(_alone(study, data), data, tmp_path, workers=2)
    assert sorted(tmp_path.rglob("*")) == before
    assert plan.unknown == 5
    trainings = [planned.seconds for planned in plan.planned if planned.task.function is train_one]
    assert all(seconds is not None and 0 < seconds < 60 for seconds in trainings)
    assert plan.seconds == pytest.approx(max(trainings[0] or 0, sum(seconds or 0 for seconds in trainings) / 2))


def test_a_stage_that_needs_what_is_not_asked_for_is_refused(finished: tuple[Path, Study, StudyData]) -> None:
    _, study, data = finished
    stages = [*_stages(), Stage("more", 1, ("nothing",), lambda study, cell: {}, _count)]
    with pytest.raises(InputError, match="more needs nothing, which the study does not ask for"):
        tasks_of(study, data, stages)


def test_data_that_changed_since_the_study_was_begun_is_refused(finished: tuple[Path, Study, StudyData]) -> None:
    _, study, data = finished
    where = dict(_alone(study, data).tasks[0].arguments["parameters"]["data"]["train"])
    assert len(dataset_at(where).images) == 150
    with pytest.raises(InputError, match=r"digits/train: has SHA-256 .* as when the study was begun"):
        dataset_at(where | {"limit": 100})

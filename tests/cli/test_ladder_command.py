"""`dynlab ladder`, end to end on scikit-learn's digits: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load, load_file, save_file

from dynlab import cli
from dynlab.attractors.following.follow import follow_attractors
from dynlab.attractors.following.followed import Followed
from dynlab.cli.ladder import parse_levels
from dynlab.datasets import dataset_of, load_dataset
from dynlab.display import Display, shown
from dynlab.errors import InputError
from dynlab.evaluation import Analysis
from dynlab.maps import DenoisingAutoencoder
from dynlab.studies.ladder import finished_levels, run_ladder
from dynlab.training import TrainingDiverged, TrainingSettings, train
from dynlab.training.ladder import ladder_settings, train_ladder

Run = Callable[..., tuple[int, str, str]]

SETTINGS = TrainingSettings(sigma=0.3, epochs=20, walkback=2, annealing=0.99, hidden=32, seed=3)
LEVELS = [0.3, 0.35, 0.4]
COMMAND = (
    *("ladder", "--data", "digits/train", "--sigmas", "0.3:0.4:3", "--epochs", "20", "--epochs-per-level", "4"),
    *("--walkback", "2", "--annealing", "0.99", "--hidden", "32", "--seed", "3", "--limit", "80", "--device", "cpu"),
)
CONTROL = "control-sigma-0.35.safetensors"
CHECKPOINTS = [f"level-{row:03d}-sigma-{level:g}.safetensors" for row, level in enumerate(LEVELS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes; tests must not change it."""
    folder = tmp_path_factory.mktemp("ladder") / "out"
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr("sys.argv", ["dynlab", *COMMAND, "--out", str(folder), "--quiet"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    monkeypatch.undo()
    assert exit_.value.code == 0
    return folder


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "out"))


def test_all_files_are_there(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [
            *CHECKPOINTS,
            CONTROL,
            "level-000-sigma-0.3",
            "level-002-sigma-0.4",
            "followed.safetensors",
            "bands.csv",
            "events.csv",
            "index.html",
        ]
    )
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert 'id="ladder-bands"' in page
    assert page.count('id="analysis-2"') == 1
    for name, level in (("level-000-sigma-0.3", 0.3), ("level-002-sigma-0.4", 0.4)):
        results = Analysis.load(folder / name).results
        assert (results.map.corruption_level, results.data.samples) == (level, 80)


def test_levels_are_those_of_train_ladder(folder: Path) -> None:
    images = load_dataset("digits/train").images
    trained = list(
        train_ladder(images, SETTINGS, LEVELS, epochs_per_level=4, same_noise=True, state_shape=(8, 8), device="cpu")
    )
    again = replace(ladder_settings(SETTINGS, LEVELS, 4, same_noise=True)[2], sigma=0.35)
    control = train(images, again, start=trained[1], device="cpu")
    for autoencoder, name in zip([*trained, control], [*CHECKPOINTS, CONTROL], strict=True):
        found = load_file(folder / name)
        expected = autoencoder.state_dict()
        assert set(found) == set(expected)
        assert all(torch.equal(found[key], expected[key]) for key in found)


def test_the_page_tells_the_noise_of_training(folder: Path) -> None:
    maps = [DenoisingAutoencoder.load(folder / name) for name in (CHECKPOINTS[1], CONTROL)]
    events = follow_attractors(maps, load_dataset("digits/test", limit=80).images, [0.0, 1.0]).events
    followed = Followed.load(folder / "followed.safetensors")
    changed = sum(event.level == 2 for event in followed.events)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert f"at the unchanged level 0.35, {len(events)} branch" in page
    assert f"between 0.35 and 0.4 it is {changed}." in page


def test_attractors_are_those_of_follow_attractors_and_the_tables_hold_them(folder: Path) -> None:
    followed = Followed.load(folder / "followed.safetensors")
    maps = [DenoisingAutoencoder.load(folder / name) for name in CHECKPOINTS]
    again = follow_attractors(maps, load_dataset("digits/test", limit=80).images, LEVELS)
    assert again.events == followed.events or str(again.events) == str(followed.events)  # NaN differs from itself
    assert all(torch.equal(one, other) for one, other in zip(again.branches, followed.branches, strict=True))
    bands, expected = pd.read_csv(folder / "bands.csv"), followed.to_frame()
    pd.testing.assert_frame_equal(bands.drop(columns=["kind", "class"]), expected, check_exact=True)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "events.csv"), followed.events_frame(), check_exact=True)
    assert set(bands["kind"]) <= {"prototype", "stain", "explosion"}
    assert bands["class"].notna().tolist() == (bands["kind"] == "prototype").tolist()
    # The page's analysis of the first level found the same attractors that samples reach.
    results = Analysis.load(folder / "level-000-sigma-0.3").results
    reached = bands.query("level == 0 and basin_size > 0")
    assert [attractor.basin_size for attractor in results.attractors] == reached["basin_size"].tolist()
    assert [attractor.kind.value for attractor in results.attractors] == reached["kind"].tolist()


def test_interrupted_work_goes_on_and_comes_out_the_same(run: Run, tmp_path: Path) -> None:
    np.save("images.npy", load_dataset("digits/train").images[:100].numpy())
    command = (*COMMAND, "--data", "images.npy", "--samples", "images.npy", "--out", "out")
    assert run(*command)[0] == 0
    whole = snapshot(tmp_path / "out")
    for name in (*CHECKPOINTS[1:], "followed.safetensors", "index.html"):
        (tmp_path / "out" / name).unlink()
    stamp = (tmp_path / "out" / CHECKPOINTS[0]).stat().st_mtime_ns
    status, out, err = run(*command)
    assert status == 0
    assert "page: " in out
    assert (tmp_path / "out" / CHECKPOINTS[0]).stat().st_mtime_ns == stamp
    assert "sigma 0.3: training: 0.0 s, already done" in err
    assert err.count("already done") == 1  # the control began from what was lost
    for name in (*CHECKPOINTS, CONTROL):
        found, expected = load_file(tmp_path / "out" / name), load(whole[name] or b"")
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    again = snapshot(tmp_path / "out")
    assert set(again) == set(whole)
    for name in ("bands.csv", "events.csv"):
        assert again[name] == whole[name]
    # Nothing is left to train.
    assert run(*command)[2].count("already done") == 4


def test_the_level_under_way_is_kept_and_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = load_dataset("digits/test", limit=20)
    seen: list[str] = []

    def on(what: str, done: float, _note: str = "") -> None:
        if what == "training" and done == 0.5 and not seen:
            seen.append(what)
            raise KeyboardInterrupt

    monkeypatch.setattr(Display, "__call__", lambda _display, *told: on(*told))
    for _ in range(2):
        with shown(quiet=True) as display, contextlib.suppress(KeyboardInterrupt):
            run_ladder(
                tmp_path,
                load_dataset("digits/train"),
                samples,
                SETTINGS,
                LEVELS[:2],
                epochs_per_level=4,
                device=torch.device("cpu"),
                display=display,
            )
        if not (tmp_path / "index.html").exists():
            (under_way,) = tmp_path.iterdir()
            assert under_way.name == "level-000-sigma-0.3.checkpoint.safetensors"
            assert len(load_file(under_way)["objectives"]) == 10
    assert not list(tmp_path.glob("*.checkpoint.safetensors"))
    for name in CHECKPOINTS[:2]:
        found, expected = load_file(tmp_path / name), load_file(folder / name)
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_longer_ladder_begins_with_the_levels_that_are_there(folder: Path) -> None:
    rungs = ladder_settings(SETTINGS, [*LEVELS, 0.45], 4, same_noise=True)
    names = [*(Path(name).stem for name in CHECKPOINTS), "level-003-sigma-0.45"]
    found = finished_levels(folder, load_dataset("digits/train"), names, rungs)
    assert [autoencoder.training_settings["sigma"] for autoencoder in found] == LEVELS


REFUSED = {
    "other settings": (("--hidden", "33"), ["level-000-sigma-0.3.safetensors", "hidden 32", "33"]),
    "other epochs": (("--epochs-per-level", "5"), ["level-001-sigma-0.35.safetensors", "epochs 4", "5"]),
    "noise of its own": (("--own-noise",), ["level-002-sigma-0.4.safetensors", "seed"]),
    "another seed": (("--seed", "4"), ["level-000-sigma-0.3.safetensors", "seed 3", "4"]),
    "other images": (("--data", "digits"), ["level-000-sigma-0.3.safetensors", "samples 1000", "1797"]),
    "other levels": (("--sigmas", "0.3:0.5:3"), ["level-001-sigma-0.35.safetensors", "another ladder"]),
    "fewer levels": (("--sigmas", "0.3,0.35"), ["level-002-sigma-0.4.safetensors", "another ladder"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_checkpoints_of_another_training_are_left_alone(run: Run, copied: Path, case: str) -> None:
    arguments, words = REFUSED[case]
    before = snapshot(copied)
    status, out, err = run(*COMMAND, "--samples", "digits/test", *arguments, "--out", "out")
    assert (status, out, err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in err
    assert snapshot(copied) == before


def test_a_level_that_began_elsewhere_is_refused(run: Run, copied: Path) -> None:
    path = copied / CHECKPOINTS[0]
    autoencoder = DenoisingAutoencoder.load(path)
    autoencoder.encoder["bias"].data += 1
    autoencoder.save(path)
    status, _, err = run(*COMMAND, "--out", "out")
    assert (status, err.count("\n")) == (2, 1)
    assert "level-001-sigma-0.35.safetensors: was trained with started_from" in err


def test_a_damaged_checkpoint_is_named(run: Run, copied: Path) -> None:
    path = copied / CHECKPOINTS[1]
    path.write_bytes(path.read_bytes()[:-100])
    status, out, err = run(*COMMAND, "--out", "out")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert CHECKPOINTS[1] in err


def test_images_without_classes_have_attractors_of_unknown_kind(run: Run, tmp_path: Path) -> None:
    np.save("images.npy", load_dataset("digits/train").images[:60].numpy())
    arguments = ("--data", "images.npy", "--samples", "images.npy", "--sigmas", "0.4,0.3")
    status, out, _ = run(*COMMAND, *arguments, "--out", "out", "--quiet")
    assert status == 0
    assert "levels: 2" in out
    assert set(pd.read_csv(tmp_path / "out" / "bands.csv")["kind"]) <= {"unknown", "explosion"}
    assert Followed.load(tmp_path / "out" / "followed.safetensors").levels.tolist() == [0.4, 0.3]
    assert (tmp_path / "out" / "control-sigma-0.4.safetensors").is_file()  # there is no other level before the last


def make_files() -> None:
    """In the current folder: data that fits, and what does not."""
    pixels = np.random.default_rng(0).random((5, 64)).astype(np.float32)
    np.save("good.npy", pixels)
    np.save("narrow.npy", pixels[:, :4])
    np.save("nan.npy", np.where(pixels > 0.5, np.nan, pixels))
    np.save("labels.npy", np.arange(4))
    Path("file").write_text("")
    Path("taken").mkdir()
    (Path("taken") / "followed.safetensors").mkdir()
    Path("strange").mkdir()
    save_file({"some": torch.zeros(3)}, "strange/level-000-sigma-0.2.safetensors")


SMALL = (
    *("ladder", "--data", "good.npy", "--samples", "good.npy", "--sigmas", "0.2,0.3", "--epochs", "1"),
    *("--epochs-per-level", "1", "--hidden", "4", "--out", "new"),
)
BAD = {
    "one level": (("--sigmas", "0.2"), ["sigmas", "0.2", "two"]),
    "levels that turn": (("--sigmas", "0.2,0.3,0.25"), ["sigmas", "0.2,0.3,0.25", "rising"]),
    "a level twice": (("--sigmas", "0.2,0.2"), ["sigmas", "0.2,0.2"]),
    "a range of nothing": (("--sigmas", "0.2:0.2:5"), ["sigmas", "0.2:0.2:5"]),
    "no numbers": (("--sigmas", "low,high"), ["sigmas", "low,high", "0.15:0.3:16"]),
    "a range without a count": (("--sigmas", "0.1:0.3"), ["sigmas", "0.1:0.3", "first:last:count"]),
    "a broken count": (("--sigmas", "0.1:0.3:2.5"), ["sigmas", "2.5"]),
    "a count of one": (("--sigmas", "0.1:0.3:1"), ["sigmas", "0.1:0.3:1", "count from 2"]),
    "a count beyond all memory": (("--sigmas", "0.1:0.3:1000000000"), ["sigmas", "count from 2 to 1000"]),
    "levels below zero": (("--sigmas", "-0.1,0.3"), ["sigma", "-0.1"]),
    "a later level below zero": (("--sigmas", "0.1,-0.3"), ["sigma", "-0.3"]),
    "a level that is no number": (("--sigmas", "0.1,nan"), ["sigmas", "nan"]),
    "an infinite level": (("--sigmas", "0.1,inf"), ["sigma", "inf"]),
    "no sigmas": (("--sigmas", ""), ["sigmas", "''"]),
    "no epochs": (("--epochs", "0"), ["epochs", "0"]),
    "no epochs per level": (("--epochs-per-level", "0"), ["epochs_per_level", "0"]),
    "share above one": (("--share", "1.5"), ["share", "1.5", "0 to 1"]),
    "share not a number": (("--share", "nan"), ["share", "nan"]),
    "samples of another dim": (("--samples", "narrow.npy"), ["narrow.npy", "4", "64", "good.npy"]),
    "samples not finite": (("--samples", "nan.npy"), ["nan.npy", "NaN"]),
    "missing samples": (("--samples", "none.npy"), ["none.npy", "no such file"]),
    "no data": (("--data", "none.npy"), ["none.npy", "no such file"]),
    "labels that do not fit": (("--labels", "labels.npy"), ["labels.npy", "4", "5"]),
    "training labels that do not fit": (("--train-labels", "labels.npy"), ["labels.npy", "4", "5"]),
    "no sample": (("--limit", "0"), ["limit", "0"]),
    "unknown device": (("--device", "abacus"), ["device", "abacus"]),
    "folder is a file": (("--out", "file"), ["out", "file"]),
    "folder below a file": (("--out", "file/new"), ["out", "file"]),
    "a folder in place of a file": (("--out", "taken"), ["out", "followed.safetensors", "folder"]),
    "a checkpoint that is none": (("--out", "strange"), ["level-000-sigma-0.2.safetensors"]),
}


@pytest.mark.parametrize("case", BAD)
def test_one_line_and_nothing_left_behind(run: Run, tmp_path: Path, case: str) -> None:
    arguments, words = BAD[case]
    make_files()
    before = snapshot(tmp_path)
    status, out, err = run(*SMALL, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("dynlab: ")
    for word in words:
        assert word in err
    assert snapshot(tmp_path) == before


def test_samples_are_asked_for_where_no_test_set_stands_in(run: Run, tmp_path: Path) -> None:
    make_files()
    before = snapshot(tmp_path)
    status, out, err = run("ladder", "--data", "good.npy", "--sigmas", "0.2,0.3", "--out", "new")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "samples is not given" in err
    assert snapshot(tmp_path) == before


def test_training_that_diverges_ends_with_status_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*arguments: object, **settings: object) -> None:
        raise TrainingDiverged("training diverged in epoch 1")

    make_files()
    monkeypatch.setattr("dynlab.studies.ladder.train_on_dataset", diverge)
    assert run(*SMALL) == (1, "", "dynlab: training diverged in epoch 1\n")


def test_levels_come_evenly_or_one_by_one() -> None:
    assert parse_levels("0.15:0.3:16") == [round(0.15 + 0.01 * row, 2) for row in range(16)]
    assert parse_levels("0.3:0.15:4") == [0.3, 0.25, 0.2, 0.15]
    assert parse_levels("0:1:2") == [0.0, 1.0]
    assert parse_levels("0.2, 0.25,0.3") == [0.2, 0.25, 0.3]
    with pytest.raises(InputError, match="strictly"):
        parse_levels("0.3,0.2,0.25")


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_training_data_may_be_flat_and_samples_images(run: Run, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "flat.npz", x=generator.random((60, 30), dtype=np.float32), y=np.arange(60) % 3)
    np.save(tmp_path / "images.npy", generator.random((10, 5, 6), dtype=np.float32))
    data = ("ladder", "--data", "flat.npz", "--samples", "images.npy", "--sigmas", "0.3,0.4", "--hidden", "4")
    status, _, err = run(*data, "--epochs", "2", "--epochs-per-level", "1", "--out", "out", "--quiet")
    assert (status, err) == (0, "")
    assert (tmp_path / "out" / "index.html").is_file()


def test_labelled_states_that_are_no_pixels_have_no_recognizer_and_no_less(tmp_path: Path) -> None:
    states = 2 * torch.rand(60, 16, generator=torch.Generator().manual_seed(0)) - 1
    data = dataset_of(states, torch.arange(60) % 3, name="states")
    settings, cpu = TrainingSettings(sigma=0.5, epochs=2, hidden=8), torch.device("cpu")
    with shown(quiet=True) as display:
        _, analyses = run_ladder(
            tmp_path, data, data, settings, [0.5, 0.6], epochs_per_level=1, device=cpu, display=display
        )
    for analysis in analyses:
        assert analysis.results.recognizer is None
        assert analysis.results.separability is not None

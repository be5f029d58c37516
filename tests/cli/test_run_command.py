"""`dynlab run`, `dynlab status` and `dynlab report`, from a specification to answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dynlab.errors import InputError
from dynlab.studies.answers.rows import MEASURES, read_results
from dynlab.studies.part import part_of
from dynlab.studies.running.lock import held
from dynlab.studies.specification import load_study

Run = Callable[..., tuple[int, str, str]]
STUDY = """
title = "A tiny study"
question = "Does it run?"
published = "table_1a"
[data]
train = "digits/train"
validation = "digits"
test = "digits/test"
limit_train = 90
limit_validation = 40
limit_test = 30
[[grid]]
sigma = [0.3, 1e38]               # the second diverges
epochs = [1, 2]
hidden = 8
[analyses]
separability = { orbit_train_samples = 40 }
basins = { samples = 10 }
"""


def test_from_a_specification_to_answers(run: Run) -> None:
    Path("tiny.toml").write_text(STUDY)
    status, out, err = run("run", "tiny.toml", "--dry-run", "--workers", "1")
    assert (status, err) == (0, "")
    assert "models: 4, tasks: 20, done: 0" in out  # 2 of the data, 2 trainings, 4 stages of each model
    assert "time: about" in out
    assert "of which nothing is known" not in out
    assert "disk: about 0.0 GiB" in out
    assert [path.name for path in Path().iterdir()] == ["tiny.toml"]

    command = ("run", "tiny.toml", "--workers", "1")
    status, out, err = run(*command, "--only", "sigma=0.3")
    assert status == 0, err
    assert "epochs 2: train: computed in" in err
    folder = Path("reports/tiny")
    rows = read_results(folder / "results.csv")
    assert [(row.sigma, row.epochs) for row in rows] == [(0.3, 1), (0.3, 2)]
    assert all(row.value(name) is not None for row in rows for name in MEASURES)
    assert "models: 2 of 4" in out
    assert (folder / "index.html").is_file()
    assert (folder / "tiny.toml").read_text() == STUDY
    readme = (folder / "README.md").read_text()
    assert "Does it run?" in readme
    assert (folder / "films.png").is_file()
    assert "![films](films.png)\n\nFilms of sample" in readme
    assert "results of 2 of 4 models" in readme

    # The same again: what is there is reused, what diverges keeps the rest from nothing and is told last.
    status, out, err = run(*command, "--quiet")
    assert status == 1
    assert read_results(folder / "results.csv") == rows
    failed, not_run = err.splitlines()
    assert failed.startswith("dynlab: failed: sigma 1e+38")
    assert "diverged" in failed
    assert "8 tasks were not run" in not_run
    assert "diverged" in (folder / "README.md").read_text()
    status, out, _ = run("status", "reports/tiny")
    assert status == 0
    assert "A tiny study" in out
    assert "finished: 20 tasks, 11 reused, 1 failed, 8 not run" in out
    assert "reused" not in out.rpartition("finished")[0]
    assert "basins: reused" in run("status", "reports/tiny", "--all")[1]
    status, out, _ = run(*command, "--dry-run")
    assert "models: 4, tasks: 20, done: 11" in out

    # Without what was computed the answers stay.
    before = (folder / "results.csv").read_bytes(), (folder / "summary.csv").read_bytes()
    shutil.rmtree(folder / "cells")
    (folder / "index.html").unlink()
    status, out, err = run("report", "reports/tiny")
    assert (status, err) == (0, "")
    assert "models: 2 of 4" in out
    assert (folder / "index.html").is_file()
    assert ((folder / "results.csv").read_bytes(), (folder / "summary.csv").read_bytes()) == before


def test_a_plan_of_many_settings_is_whole_on_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    settings = """
walkback = [2, 3]
walkback_variant = ["full", "detached"]
corruption = ["gaussian", "salt-and-pepper"]
contraction = [0.0, 0.01]
"""
    Path("tiny.toml").write_text(
        STUDY.replace("epochs = [1, 2]", "epochs = 1" + settings).replace("[0.3, 1e38]", "0.3")
    )
    status, out, err = run("run", "tiny.toml", "--dry-run", "--workers", "1")
    assert (status, err) == (0, "")
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80
    words = " ".join(out.split())
    for name in ("corruption", "walkback", "variant", "detached", "0 of 5", "estimate"):
        assert name in words


def test_an_interrupted_run_says_how_it_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dynlab.studies.runner.run_study", interrupted)
    Path("tiny.toml").write_text(STUDY)
    status, _, err = run("run", "tiny.toml", "--workers", "0")
    assert status == 130
    assert "the same command goes on from here" in err
    assert "dynlab report reports/tiny" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "walkbak"), "did you mean 'walkback'?"),
        (("run", "tiny.toml", "--only", "sigma"), "only is 'sigma', expected a setting and its value"),
        (("run", "tiny.toml", "--only", "sigmas=1"), "did you mean 'sigma'?"),
        (("run", "tiny.toml", "--only", "sigma=0.4"), "expected a value of the study: 0.3, 1e+38"),
        (("run", "tiny.toml", "--workers", "-1"), "workers is -1, expected from 0 to 1000"),
        (("run", "tiny.toml", "--workers", "1", "--scheduler", "tcp://localhost:1"), "workers is 1, expected none"),
        (("run", "tiny.toml", "--workers", "9" * 20), f"workers is {'9' * 20}, expected from 0 to 1000"),
        (("run", "tiny.toml", "--scheduler", "foo"), "scheduler is 'foo', expected an address such as tcp://"),
        (("run", "tiny.toml", "--scheduler", "tcp://host:port"), "scheduler is 'tcp://host:port', expected an address"),
        (("run", "tiny.toml", "--scheduler", "http://host:80"), "scheduler is 'http://host:80', expected an address"),
        (("run", "tiny.toml", "--only", "sig\x1bma=1"), r"there is no setting 'sig\x1bma'"),
        (("run", "tiny.toml", "--out", "other"), "out other: holds the study walkback.toml"),
        (("run", "tiny.toml", "--out", "broken"), "results.csv: line 1: no column key"),
        (("run", "tiny.toml", "--out", "tiny.toml"), "out tiny.toml"),
        (("status", "other"), "status.json: cannot be read"),
        (("report", "nowhere"), "folder nowhere: no such folder"),
        (("report", "broken"), "folder broken: holds no specification"),
    ],
)
def test_bad_input_is_told_before_any_work(run: Run, arguments: tuple[str, ...], words: str) -> None:
    Path("tiny.toml").write_text(STUDY)
    for name in ("other/walkback.toml", "broken/results.csv"):
        Path(name).parent.mkdir()
        Path(name).write_text("?\n")
    before = sorted(Path().rglob("*"))
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_what_is_refused_changes_nothing_and_a_part_keeps_the_pictures_of_more(run: Run) -> None:
    Path("tiny.toml").write_text(STUDY)
    status, _, err = run("run", "tiny.toml", "--workers", "0", "--only", "sigma=0.3", "--quiet")
    assert status == 0, err
    folder = Path("reports/tiny")
    Path("changed").mkdir()
    Path("changed/tiny.toml").write_text(STUDY.replace("A tiny study", "Another study"))
    with held(folder):
        status, _, err = run("run", "changed/tiny.toml", "--workers", "0", "--out", str(folder))
    assert status == 2
    assert "another run works here" in err
    assert (folder / "tiny.toml").read_text() == STUDY

    # As in a clone of a repository that keeps the answers but not what they were made from.
    shutil.rmtree(folder / "cells")
    pictures = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    assert "films.png" in pictures
    rows = (folder / "results.csv").read_text()
    status, _, err = run("run", "tiny.toml", "--workers", "0", "--only", "sigma=0.3", "--only", "epochs=1", "--quiet")
    assert status == 0, err
    assert {path.name: path.read_bytes() for path in folder.glob("*.png")} == pictures
    assert len((folder / "results.csv").read_text().splitlines()) == len(rows.splitlines()) == 3


def test_a_part_of_a_study_has_the_models_that_are_named(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        '[data]\ntrain = "digits/train"\ntest = "digits/test"\n'
        "[[grid]]\nsigma = [0.5, 1]\nhidden = [8, [8, 4]]\ntied = [true, false]\nepochs = 1\nseeds = 3\n"
        '[[grid]]\ncorruption = "strokes(1)"\nepochs = [1, 2]\n'
    )
    study = load_study(path)
    points = [settings for grid in study.grids for settings in grid]

    def part(*only: str) -> list[object]:
        return [settings for grid in part_of(study, only).grids for settings in grid]

    assert part() == points
    assert part("sigma=1") == [one for one in points if one.sigma == 1.0]
    assert part("hidden=8,4", "tied=true", "seed=0", "seed=2") == [
        one for one in points if one.hidden == (8, 4) and one.tied and one.seed in (0, 2)
    ]
    assert part("corruption=strokes(1)") == points[24:]
    assert len(part("epochs=1")) == 25
    with pytest.raises(InputError, match="no model of the study has all of it"):
        part("sigma=1", "epochs=2")

"""Rows of results.csv: from a store made by hand, through the file and back, kept where the store has nothing."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_rows import row

from dynlab.errors import InputError
from dynlab.studies.answers.groups import correlations, groups_of, statistic, write_summary
from dynlab.studies.answers.rows import COLUMNS, MEASURES, SETTINGS, read_results, rows_of, write_results
from dynlab.studies.specification import load_study
from dynlab.studies.stages import STAGES
from dynlab.studies.store import Store
from dynlab.studies.study_data import load_study_data
from dynlab.studies.study_tasks import StudyTasks, tasks_of

STUDY = """
[data]
train = "digits/train"
test = "digits/test"
limit_train = 20
limit_test = 10
[[grid]]
sigma = 0.3
epochs = [1, 2]
hidden = 4
seeds = 2
[analyses]
separability = {}
basins = { samples = 5 }
"""
RAW = {"acc_raw_train": 1.0, "acc_raw_test": 0.75}
ITERATE = {
    "mse_train": 0.1 + 0.2,
    "mse_test": 1e-17,
    "mse_wb_train": 3.0,
    "mse_wb_test": 4.0,
    "explosions_train": 5,
    "explosions_test": 0,
    "steps_train": 7,
    "steps_test": 8,
    "sets": {"test": {"black_fraction": 0.5, "white_fraction": 0.25}},
}
SEPARABILITY = {"acc_train": 0.9, "acc_test": 2 / 3, "acc_best_test": None, "steps_best": None, "acc_net_test": 0.625}
BASINS = {"attractors": 3, "purity": 0.8}


def asked_for(folder: Path, text: str = STUDY) -> StudyTasks:
    path = folder / "study.toml"
    path.write_text(text)
    study = load_study(path)
    return tasks_of(study, load_study_data(study), STAGES)


def fill(store: Store, asked: StudyTasks, number: int | None, stage: str, results: Mapping[str, Any]) -> Path:
    """Put results to the place of a stage of a cell, by its number in the grid, or of the data."""
    place = asked.place(None if number is None else asked.cells[number], stage)
    assert place is not None
    with store.filling(place) as folder:
        (folder / "results.json").write_text(json.dumps(results))
    return store.path(place)


def filled(folder: Path) -> tuple[StudyTasks, Store]:
    asked, store = asked_for(folder), Store(folder)
    fill(store, asked, None, "raw", RAW)
    fill(store, asked, 0, "iterate", ITERATE)
    fill(store, asked, 0, "separability", SEPARABILITY)
    fill(store, asked, 0, "basins", BASINS)
    fill(store, asked, 2, "iterate", ITERATE | {"explosions_test": 10})
    return asked, store


def test_rows_say_what_stands_in_the_store(tmp_path: Path) -> None:
    asked, store = filled(tmp_path)
    first, other = rows_of(asked, store)  # nothing is known of the other two models
    assert first.key == asked.cells[0].key
    assert (first.sigma, first.epochs, first.hidden, first.seed) == (0.3, 1, 4, 0)
    assert [name.partition(":")[0] for name in first.stages.split()] == ["basins", "iterate", "raw", "separability"]
    expected = RAW | ITERATE | SEPARABILITY | BASINS | {"black_test": 0.5, "white_test": 0.25}
    assert {name: first.value(name) for name in MEASURES} == {name: expected[name] for name in MEASURES}
    assert (other.key, other.explosions_test, other.acc_raw_test) == (asked.cells[2].key, 10, 0.75)
    assert other.acc_test is None
    assert other.attractors is None


def test_what_is_damaged_or_stale_is_not_in_a_row(tmp_path: Path) -> None:
    asked, store = filled(tmp_path)
    fill(store, asked, 1, "iterate", ITERATE)
    path = store.path(asked.places[asked.cells[0].folder, "basins"])
    (path / "results.json").write_text(json.dumps(BASINS | {"attractors": 4}))
    first = rows_of(asked, store)[0]
    assert first.attractors is None
    assert first.explosions_test == 0
    # Sets stop by another rule, so that what stands there is that of other inputs.
    assert rows_of(asked_for(tmp_path, STUDY + "[iteration]\ntolerance = 0.5\n"), store) == []


def test_rows_are_kept_where_the_store_has_nothing(tmp_path: Path) -> None:
    asked, store = filled(tmp_path)
    before = rows_of(asked, store)
    shutil.rmtree(tmp_path / "cells")
    assert rows_of(asked, store) == []
    assert rows_of(asked, store, before) == before
    # What is in the store goes before; a model that is not in the study goes; the order is that of the grid.
    fill(store, asked, 0, "basins", BASINS | {"attractors": 9})
    foreign = replace(before[0], key="f" * 64)
    kept = rows_of(asked, store, [before[1], foreign, before[0]])
    assert kept == [replace(before[0], attractors=9), before[1]]
    # Of other inputs is only what the change concerns: basins of more samples.
    more = asked_for(tmp_path, STUDY.replace("samples = 5", "samples = 6"))
    changed = rows_of(more, Store(tmp_path / "elsewhere"), before)
    assert [(one.attractors, one.purity, one.acc_test) for one in changed] == [(None, None, 2 / 3), (None, None, None)]
    assert "basins" not in changed[0].stages
    # What is not asked for any more is not told.
    less = asked_for(tmp_path, STUDY.replace("basins = { samples = 5 }", ""))
    assert [one.attractors for one in rows_of(less, store, before)] == [None, None]


def test_a_file_gives_back_its_rows_bit_by_bit(tmp_path: Path) -> None:
    rows = [
        row(acc_test=0.1 + 0.2, mse_test=1e-310, explosions_test=0, purity=1.0),
        row(
            key="a" * 64,
            sigma=None,
            corruption='0.5 square(0.4) + 0.5 "x", y',
            hidden=(500, 100),
            tied=True,
            seed=2**62,
        ),
    ]
    path = tmp_path / "results.csv"
    write_results(path, rows)
    assert read_results(path) == rows
    text = path.read_bytes().decode()
    assert text.count("\r\n") == 3
    lines = list(csv.DictReader(text.splitlines()))
    assert tuple(lines[0]) == COLUMNS
    assert (lines[0]["acc_test"], lines[0]["acc_train"], lines[1]["hidden"]) == ("0.30000000000000004", "", "500,100")
    wanted = "sigma, walkback, batch_size, annealing, epochs, seed, acc_train, acc_test, acc_raw_train, acc_raw_test, "
    wanted += "mse_train, mse_test, mse_wb_train, mse_wb_test, explosions_train, explosions_test, steps_train, "
    wanted += "steps_test, attractors"
    assert set(wanted.split(", ")) <= set(COLUMNS)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text.replace(",0.7,", ",high,", 1), "line 2, column sigma: 'high', expected a finite number"),
        (lambda text: text.replace(",0.7,", ",nan,", 1), "line 2, column sigma: 'nan'"),
        (lambda text: text.replace(",False,", ",no,", 1), "line 2, column tied: 'no', expected True or False"),
        (lambda text: text.replace(",12,", ",12.5,", 1), "line 3, column explosions_test: '12.5', expected an integer"),
        (lambda text: text.replace("0" * 64, "0" * 63, 1), "line 2, column key: '000"),
        (lambda text: text.replace("iterate:", "iterate=", 1), "line 2, column stages"),
        (lambda text: text.replace(f"{1:064x}", "0" * 64), "line 3, column key: as in line 2"),
        (lambda text: text + "a,b\r\n", "line 4: 2 cells"),
        (lambda text: text.replace("sigma,", "sigmas,", 1), "line 1: no column sigma, unknown column 'sigmas'"),
        (lambda text: text.replace("acc_train,", "acc_test,", 1), "line 1: a column twice"),
        (lambda text: text.replace("gaussian", '"gaussian', 1), "no CSV"),
        (lambda text: "", "line 1: no column key"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, damage: Callable[[str], str], words: str) -> None:
    path = tmp_path / "results.csv"
    write_results(path, [row(), row(seed=1, explosions_test=12)])
    path.write_bytes(damage(path.read_bytes().decode()).encode())
    with pytest.raises(InputError) as error:
        read_results(path)
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)


def test_an_earlier_file_may_have_fewer_measures(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    write_results(path, [row(purity=0.5, attractors=3)])
    lines = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    assert read_results(path) == [row(attractors=3)]


def test_groups_are_means_over_seeds(tmp_path: Path) -> None:
    accuracies = (0.5, 0.75, None, 0.625)
    rows = [row(seed=seed, acc_test=accuracy, steps_test=2) for seed, accuracy in enumerate(accuracies)]
    groups = groups_of([rows[0], row(seed=7, epochs=100, acc_test=0.25), *rows[1:]])
    assert [len(group.rows) for group in groups] == [4, 1]
    found = groups[0].of("acc_test")
    assert (found.n, found.mean) == (3, 0.625)
    assert found.sd == pytest.approx(0.125, rel=1e-15)  # sqrt((0.125^2 + 0.125^2) / 2)
    assert (groups[1].of("acc_test").n, groups[1].of("acc_test").sd) == (1, None)
    assert statistic([None]) == groups[0].of("purity")
    path = tmp_path / "summary.csv"
    write_summary(path, groups)
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert set(first) == {
        *SETTINGS,
        "seeds",
        *(f"{name}_{part}" for name in MEASURES for part in ("n", "mean", "sd")),
    } - {"seed"}
    assert (first["seeds"], first["acc_test_n"], float(first["acc_test_mean"])) == ("4", "3", 0.625)
    assert (first["steps_test_mean"], first["steps_test_sd"]) == ("2.0", "0.0")
    assert (second["epochs"], second["acc_test_mean"], second["acc_test_sd"]) == ("100", "0.25", "")
    assert (first["purity_n"], first["purity_mean"]) == ("0", "")


def test_snapshots_do_not_count_as_runs_of_their_own() -> None:
    """Without any relation the interval leaves out zero in no more than a twentieth of all cases."""
    draws = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        values = draws.normal(size=(5, 2))
        rows = [
            row(seed=n, epochs=epochs, mse_test=10 + error, acc_test=0.5 + 0.01 * accuracy)
            for n, (error, accuracy) in enumerate(values.tolist())
            for epochs in (100, 250)  # snapshots that are as alike as can be
        ]
        (found,) = correlations(rows)
        assert found.low is not None
        assert found.high is not None
        wrong += found.low > 0 or found.high < 0
    assert wrong < 0.08 * 400


def test_families_have_correlations_of_their_own() -> None:
    rows = [
        row(seed=n, tied=tied, mse_test=1.0 + n, acc_test=0.5 + (0.01 if tied else -0.01) * n)
        for tied in (False, True)
        for n in range(4)
    ]
    untied, tied, both = correlations(rows)
    assert (untied.r, tied.r) == (pytest.approx(-1), pytest.approx(1))
    assert (untied.settings.tied, tied.settings.tied, both.is_pooled) == (False, True, True)
    assert both.r == pytest.approx(0)


def test_correlation_and_its_interval_are_those_of_the_formulas() -> None:
    errors, accuracies = (1.0, 2.0, 3.0, 4.0, 5.0), (0.9, 0.7, 0.8, 0.4, 0.5)
    rows = [
        row(seed=n, mse_test=error, acc_test=accuracy)
        for n, (error, accuracy) in enumerate(zip(errors, accuracies, strict=True))
    ]
    rows += [
        row(seed=0, epochs=100, mse_test=3.0, acc_test=0.66),  # the same training as the first
        row(seed=1, walkback=2, mse_test=2.0, acc_test=0.1),
        row(seed=2, walkback=2, mse_test=2.0, acc_test=0.2),
        row(seed=3, walkback=2, mse_test=None, acc_test=0.2),
        row(seed=3, sigma=0.3, mse_test=1.0, acc_test=0.2),
        row(seed=4, sigma=0.3, mse_test=2.0, acc_test=0.3),
        *(row(seed=n, sigma=0.5, mse_test=1.0 + n, acc_test=0.2 + 0.1 * n) for n in range(3)),
    ]
    one, two, both, low, middle = correlations(rows)
    # Sums of products by hand: sxy = -1.1, sxx = 10, syy = 0.1720 - with the sixth, at both means, nothing changes.
    r = -1.1 / math.sqrt(10 * 0.172)
    assert (one.settings.walkback, one.is_pooled, one.runs, one.trainings) == (1, False, 6, 5)
    assert one.r == pytest.approx(r, abs=1e-12)
    for end, sign in ((one.low, -1), (one.high, 1)):  # of five, as one of the six is a snapshot
        assert end == pytest.approx(math.tanh(math.atanh(r) + sign * 1.959963984540054 / math.sqrt(5 - 3)), abs=1e-12)
    assert (two.settings.walkback, two.runs, two.r, two.low) == (2, 2, None, None)
    assert (both.is_pooled, both.runs, both.trainings) == (True, 8, 7)
    assert (low.settings.sigma, low.runs, low.r) == (0.3, 2, None)  # any two points lie on a line
    assert (middle.runs, middle.low) == (3, None)
    assert middle.r == pytest.approx(1.0)

"""Specifications: what is right is read, and all that is wrong is told at once."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from dynlab import cli
from dynlab.errors import InputError, SpecificationError
from dynlab.studies.points import MOST_CELLS
from dynlab.studies.specification import FIGURES, Figure, load_study
from dynlab.studies.study_data import load_study_data
from dynlab.training import TrainingSettings

DATA = '[data]\ntrain = "digits/train"\ntest = "digits/test"\n'
GRID = "[[grid]]\nsigma = 0.2\nepochs = 3\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> dict[str, list[str]]:
    """What is said of each key."""
    path = written(folder, text)
    with pytest.raises(SpecificationError) as error:
        load_study(path)
    found: dict[str, list[str]] = {}
    for line in error.value.lines:
        where, key, words = line.split(": ", 2)
        assert where == str(path)
        found.setdefault(key, []).append(words)
    return found


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    study = load_study(
        written(
            tmp_path,
            """
            title = "All of it"
            question = "What is read?"
            discussion = "All *that*."
            published = "table_1b"
            [data]
            train = "digits/train"
            validation = "digits/test"
            test = "digits/test"
            limit_train = 300
            limit_test = 20
            [[grid]]
            sigma = [1, 0.5]
            epochs = [2, 3]
            hidden = [8, [8, 4]]
            seeds = [7, 1]
            [[grid]]
            corruption = "strokes(1)"
            epochs = 1
            walkback = 2
            walkback_variant = "last"
            loss = "cross-entropy"
            contraction = 1
            hidden = [[8, 4]]
            tied = true
            hidden_nonlinearity = "tanh"
            batch_size = 5
            learning_rate = 0.2
            annealing = 1
            [iteration]
            tolerance = 1e-3
            share = 0
            max_steps = 7
            [analyses]
            separability = {}
            basins = { samples = 3 }
            graph = { attractors = 2 }
            [page]
            figures = ["films", "table"]
            """,
        )
    )
    assert (study.name, study.title, study.question) == ("study", "All of it", "What is read?")
    assert (study.published, study.discussion) == ("table_1b", "All *that*.")
    # Levels slower than hidden units, these slower than epochs, seeds fastest.
    assert study.grids[0] == tuple(
        TrainingSettings(sigma=sigma, hidden=hidden, epochs=epochs, seed=seed)
        for sigma in (1.0, 0.5)
        for hidden in (8, (8, 4))
        for epochs in (2, 3)
        for seed in (7, 1)
    )
    assert study.grids[1] == (
        TrainingSettings(
            corruption="strokes(1)",
            epochs=1,
            walkback=2,
            walkback_variant="last",
            loss="cross-entropy",
            contraction=1.0,
            hidden=(8, 4),
            tied=True,
            hidden_nonlinearity="tanh",
            batch_size=5,
            learning_rate=0.2,
            annealing=1.0,
        ),
    )
    assert study.iteration.model_dump() == {"tolerance": 1e-3, "share": 0.0, "max_steps": 7}
    assert study.analyses.model_dump() == {
        "separability": {"orbit_train_samples": 20000},
        "basins": {"samples": 3, "shard": 2000},
        "spectra": None,
        "graph": {"attractors": 2},
    }
    assert study.figures == ("films", "table")
    data = load_study_data(study)
    assert (len(data.train.images), len(data.test.images)) == (300, 20)
    assert data.validation is not None
    assert len(data.validation.images) == 797


def test_defaults_are_those_of_training_and_figures_those_that_can_be_drawn(tmp_path: Path) -> None:
    study = load_study(written(tmp_path, DATA + GRID + "[analyses]\nbasins = {}\n"))
    assert study.grids == ((TrainingSettings(sigma=0.2, epochs=3),),)
    assert study.title == "study"
    assert study.figures == ("reconstruction", "films", "convergence", "weights", "explosions")
    assert set(FIGURES) == set(get_args(Figure))


def test_all_errors_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        titel = "x"
        published = "table_1c"
        [data]
        train = "minst/train"
        limit_train = 0
        limit_validation = 5
        [[grid]]
        sigma = [-1, 0.5, 0.5, "x"]
        walkbak = 2
        epochs = "many"
        batch_size = []
        corruption = ["strokes", "gausian"]
        seeds = 0
        [[grid]]
        sigma = 0.3
        tied = 1
        annealing = [0, 2]
        [iteration]
        share = 1
        tolerance = nan
        [analyses]
        graph = { attractors = 1.5 }
        spectra = true
        [page]
        figures = ["table", "films", "films", "tabel"]
        """,
    )
    expected = {
        "titel": ["unknown key.*did you mean 'title'"],
        "published": ["'table_1c', expected one of 'table_1a' or 'table_1b'"],
        "data.train": ["unknown data name.*did you mean mnist/train"],
        "data.test": ["is missing, expected the name of a data set or a file"],
        "data.limit_train": ["0, expected at least 1"],
        "data.limit_validation": ["there is no data.validation"],
        "grid[0].sigma[3]": ["'x', expected a number"],
        "grid[0].sigma": ["-1.0, expected from 0 to", "0.5 twice"],
        "grid[0].walkbak": ["unknown key.*did you mean 'walkback'"],
        "grid[0].epochs": ["'many', expected an integer"],
        "grid[0].batch_size": [r"\[\], expected at least one"],
        "grid[0].corruption": ["'strokes': strokes has the level 0.5", "did you mean 'gaussian'"],
        "grid[0].seeds": ["0, expected a number of seeds"],
        "grid[1].epochs": ["is missing, expected a number of epochs"],
        "grid[1].tied": ["1, expected true or false"],
        "grid[1].annealing": ["0.0, expected above 0 and at most 1", "2.0, expected above 0 and at most 1"],
        "iteration.share": ["1, expected below 1"],
        "iteration.tolerance": ["nan, expected a finite number"],
        "analyses.graph.attractors": ["1.5, expected an integer"],
        "analyses.graph": ["there is no analyses.basins"],
        "analyses.spectra": ["true, expected a table", "there is no analyses.basins"],
        "page.figures[0]": ["'table', expected analyses.separability"],
        "page.figures[2]": ["'films' twice"],
        "page.figures[3]": ["'tabel', expected one of.*did you mean 'table'"],
    }
    assert {key: len(words) for key, words in found.items()} == {key: len(words) for key, words in expected.items()}
    for key, patterns in expected.items():
        for words, pattern in zip(found[key], patterns, strict=True):
            assert re.search(pattern, words), (key, words)


@pytest.mark.parametrize(
    ("grid", "key", "expected"),
    [
        ("epochs = 1", "grid[0].sigma", "is missing, expected a number, or levels in all of corruption"),
        ("epochs = 1\nsigma = 1.5\ncorruption = 'occlusion'", "grid[0].corruption", "from 0 to 1"),
        (
            "epochs = 1\nsigma = 1\nloss = 'cross-entropy'\noutput_nonlinearity = ['sigmoid', 'tanh']",
            "grid[0].output_nonlinearity",
            "'tanh', expected 'sigmoid' for cross-entropy",
        ),
        (
            "epochs = 1\nsigma = 1\nwalkback_variant = ['full', 'detach']",
            "grid[0].walkback_variant[1]",
            "'detach', expected one of 'full', 'detached' or 'last'; did you mean 'detached'",
        ),
        ("epochs = 1\nsigma = 1\nhidden_nonlinearity = 'tan'", "grid[0].hidden_nonlinearity", "'tan', expected one of"),
        ("epochs = 1\nsigma = true", "grid[0].sigma", "true, expected a number"),
        ("epochs = 1.0\nsigma = 1", "grid[0].epochs", "1.0, expected an integer"),
        ("epochs = 1\nsigma = 1\nhidden = [[]]", "grid[0].hidden[0]", "expected an integer, or a list of integers"),
        ("epochs = 1\nsigma = 1\nhidden = [500, [500]]", "grid[0].hidden", "twice, expected each value once"),
        ("epochs = 1\nsigma = 1\nseeds = [1, -1]", "grid[0].seeds", "-1, expected from 0"),
        ("epochs = 1\nsigma = 1\nseeds = 1000000000000", "grid[0]", f"expected at most {MOST_CELLS}"),
        # A level that plays no part, and variants that are one for a single step.
        ("epochs = 1\nsigma = [1, 2]\ncorruption = 'strokes(1)'", "grid[0]", "sigma 2.0.*means the same as sigma 1.0"),
        ("epochs = 1\nsigma = 1\nwalkback_variant = ['full', 'last']", "grid[0]", "means the same as"),
        (
            "epochs = [2, 1]\nsigma = 1\n[[grid]]\nepochs = 1\nsigma = [0.5, 1]\nhidden = [[500]]",
            "grid[1]",
            r"the cell sigma 1.0, epochs 1, seed 0 is one of grid\[0\] already",
        ),
    ],
)
def test_what_is_wrong_with_a_grid_is_told_once(tmp_path: Path, grid: str, key: str, expected: str) -> None:
    found = problems(tmp_path, DATA + "[[grid]]\n" + grid)
    assert list(found) == [key]
    assert len(found[key]) == 1
    assert re.search(expected, found[key][0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "data: is missing"),
        (DATA, r"grid: is missing, expected at least one table \[\[grid\]\]"),
        ("grid = []\n" + DATA, r"grid: \[\], expected at least one"),
        (DATA + "[grid]\nepochs = 1", r"grid: a table, expected at least one table \[\[grid\]\]"),
        (DATA + GRID + "[page]\nfigures = []", r"page.figures: \[\], expected at least one"),
        ('title = " "\n' + DATA + GRID, "title: ' ', expected some text"),
        ('title = "a\\u001b[31m"\n' + DATA + GRID, r"title: has the control character U\+001B at place 1"),
        ('discussion = "a\\u202eb"\n' + DATA + GRID, r"discussion: has the control character U\+202E"),
        ('"a\\u001bb" = 1\n' + DATA + GRID, r"a\\x1bb: unknown key"),
        (
            DATA + GRID + "[analyses]\nbasins = {}\ngraph = { attractors = 99999999999 }",
            r"attractors: 99999999999, expected at most 1e\+09",
        ),
    ],
)
def test_tables_that_are_missing_or_empty(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SpecificationError, match=expected):
        load_study(written(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a = 1\nb = = 2\n", "line 2, column 5: no TOML"),
        (b"a = 1\na = 2\n", "line 2.*no TOML"),
        (b"a = 1\nb = '\xff'\n", "line 2: not UTF-8"),
        (b"a = " + b"[" * 100_000, "cannot be read as TOML"),
    ],
)
def test_what_is_no_toml(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=expected):
        load_study(path)


def test_studies_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'walkback'"):
        load_study("walkbak")
    with pytest.raises(InputError, match=r"none\.toml: no such file$"):
        load_study(str(tmp_path / "none.toml"))
    with pytest.raises(InputError, match=r": is a folder, expected a file$"):
        load_study(tmp_path)


def test_data_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("flat.npy", np.zeros((4, 64), np.float32))
    text = '[data]\ntrain = "flat.npy"\ntest = "digits/test"\n[[grid]]\nepochs = 1\nsigma = [1, 2]\n'
    text += "corruption = ['clean', 'strokes', 'gaussian']\n[analyses]\nseparability = {}\n"
    # Level 1 and 2 are the same to what is clean, which is told before data are loaded.
    with pytest.raises(SpecificationError, match="means the same"):
        load_study(written(tmp_path, text))
    study = load_study(written(tmp_path, text.replace("'clean', ", "")))
    with pytest.raises(SpecificationError) as error:
        load_study_data(study)
    lines = [line.removeprefix(f"{study.path}: ") for line in error.value.lines]
    assert len(lines) == 4
    assert lines[0].startswith("data.train: flat.npy has no labels")
    assert lines[1].startswith("data.test: samples of shape (8, 8), expected (64,)")
    assert "strokes(1) needs images" in lines[2]
    assert "strokes(2) needs images" in lines[3]


def test_errors_are_printed_a_line_each_and_survive_another_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = SpecificationError("a.toml: x: 1, expected 2\na.toml: y: 3, expected 4")
    assert pickle.loads(pickle.dumps(errors)).lines == errors.lines  # noqa: S301

    def refuse(**_: object) -> None:
        raise errors

    monkeypatch.setattr("dynlab.cli.command.app", refuse)
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 2
    assert capsys.readouterr().err.splitlines() == [f"dynlab: {line}" for line in errors.lines]

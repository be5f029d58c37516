"""The page of a study: the words and numbers on it from rows made by hand, pictures from the stages of a tiny map."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dynlab.errors import InputError
from dynlab.files import read_tensors
from dynlab.report.study.page import write_page
from dynlab.studies.answers.comparison import compare
from dynlab.studies.answers.rows import SETTINGS, Row
from dynlab.studies.grid import Cell, cells_of
from dynlab.studies.page.models import Models
from dynlab.studies.page.pictures import film_places
from dynlab.studies.page.sections import study_page
from dynlab.studies.running.failures import Failure
from dynlab.studies.specification import FIGURES, Study, load_study, shipped_studies

HOSTILE = "</script><b>b</b> & co"
TINY = """
title = "Tiny </script><b>b</b> & co"
question = "What is <i>it</i>?"
discussion = "It **differs**, as `a < b` and *so on*.\\n\\n- <img src=x>\\n- two"
[data]
train = "digits/train"
validation = "digits"
test = "digits/test"
limit_train = 200
[[grid]]
sigma = [0.3, 0.5]
walkback = 2
epochs = 1
hidden = 10
seeds = [3, 4]
[analyses]
separability = { orbit_train_samples = 120 }
basins = { samples = 100 }
spectra = { attractors = 3 }
graph = { attractors = 3 }
"""
Findings = Callable[[Cell | None, str], Path | None]


def study_of(folder: Path, text: str = TINY) -> tuple[Study, list[Cell]]:
    path = folder / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    study = load_study(path)
    return study, cells_of(study, 64 * "0")


def row_of(cell: Cell, **values: Any) -> Row:
    settings = {name: getattr(cell.settings, name) for name in SETTINGS}
    return Row(key=cell.key, stages="iterate:0123456789abcdef", **settings, **values)


def rows_of(cells: list[Cell]) -> list[Row]:
    """Accuracies fall as errors do at the first level."""
    return [
        row_of(
            cell,
            acc_test=0.80 + 0.01 * place,
            acc_raw_test=0.9,
            acc_net_test=0.85,
            explosions_test=10 * place,
            mse_test=5.0 + place,
        )
        for place, cell in enumerate(cells)
    ]


def nothing(cell: Cell | None, stage: str) -> None:
    return None


@pytest.fixture
def of_first(stage_folders: Mapping[str, Path]) -> Callable[..., Findings]:
    """What is found where only the first model, and the data, have results, of all stages but those without."""

    def make(cells: list[Cell], *, without: tuple[str, ...] = ()) -> Findings:
        def found(cell: Cell | None, stage: str) -> Path | None:
            is_there = stage not in without and (cell is None or cell.key == cells[0].key)
            return stage_folders[stage] if is_there else None

        return found

    return make


def text_of(page: str) -> str:
    """What stands on a page, without scripts and tags, white space made even."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page[page.index("<body>") :], flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def written(study: Study, cells: list[Cell], found: Findings, rows: list[Row], folder: Path, **more: Any) -> str:
    return write_page(study_page(study, cells, found, rows, **more), folder / "index.html").read_text("utf-8")


def test_all_figures_of_a_whole_model_are_there(tmp_path: Path, of_first: Callable[..., Findings]) -> None:
    study, cells = study_of(tmp_path)
    page = written(study, cells, of_first(cells), rows_of(cells), tmp_path)
    assert re.findall(r'<section id="([\w-]+)"', page) == ["discussion", *FIGURES, "identity"]
    assert "nothing to show yet" not in page
    drawings = re.findall(r'<div class="drawing" id="([\w-]+)"', page)
    links = dict(re.findall(r'<a href="data:text/csv;charset=utf-8,([^"]*)" download="([\w-]+)\.csv"', page))
    assert sorted(links.values()) == sorted(drawings)
    assert {name.split("-")[0] for name in drawings} == {
        *("settings", "errors", "convergence", "weights", "orbit", "explosions", "graph")
    }
    for uri in links:
        header, *rows = csv.reader(io.StringIO(unquote(html.unescape(uri)), newline=""), strict=True)
        assert rows
        assert {len(row) for row in rows} == {len(header)}
    without_scripts = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    sources = re.findall(r'(?:src|href)="([^"#]*)', without_scripts)
    assert {source for source in sources if source and not source.startswith("data:")} == {"results.csv", "summary.csv"}


def test_numbers_are_those_of_the_rows(tmp_path: Path) -> None:
    study, cells = study_of(tmp_path)
    text = text_of(written(study, cells, nothing, rows_of(cells), tmp_path))
    assert "The best setting is σ = 0.5, with an accuracy of 0.825 on the transformed test set, 0.900 on raw" in text
    # sigma, seeds; means 0.805, 0.825, standard deviation 0.01 / sqrt(2); above raw pixels
    assert "0.3 2 0.8050 ± 0.0071 0.8500 ± 0.0000 5.500 ± 0.707 5.0 ± 7.1 −0.0950" in text
    assert "0.5 2 0.8250 ± 0.0071 0.8500 ± 0.0000 7.500 ± 0.707 25.0 ± 7.1 −0.0750" in text
    assert "The study has 4 models, of 2 settings, trained on digits/train." in text
    assert "level σ (0.3, 0.5) and seed (2 of them)" in text
    assert "A correlation takes three models of one level." in text
    study, cells = study_of(tmp_path, TINY.replace("[3, 4]", "[3, 4, 5]"))
    text = text_of(written(study, cells, nothing, rows_of(cells), tmp_path))
    assert "σ = 0.3 k = 2 3 3 +1.00 – –" in text  # three runs have no interval


def test_points_of_figure_5_are_the_rows(tmp_path: Path) -> None:
    study, cells = study_of(tmp_path)
    page = study_page(study, cells, nothing, rows_of(cells))
    (errors,) = [section for section in page.sections if section.anchor == "accuracy_and_explosions"]
    data = unquote(errors.parts[0].charts[1].drawing.data.partition(",")[2])
    rows = [row for row in csv.DictReader(io.StringIO(data)) if row["acc_test"]]
    found = [(row["series"], float(row["mse_test"]), float(row["acc_test"]), row["setting"]) for row in rows]
    assert found == [
        ("runs", 7.0, pytest.approx(0.82), "σ = 0.5"),
        ("runs", 8.0, pytest.approx(0.83), "σ = 0.5"),
        ("averages", 7.5, pytest.approx(0.825), "σ = 0.5"),
    ]


def test_explosions_of_the_tiny_map(tmp_path: Path, of_first: Callable[..., Findings]) -> None:
    study, cells = study_of(tmp_path)
    text = text_of(written(study, cells, of_first(cells), rows_of(cells), tmp_path))
    assert (
        "Test samples explode in the one model. There all explosions at rest are one and the same fixed point" in text
    )
    for heading in (
        "One fixed point or several?",
        "Why it attracts",
        "What they look like",
        "How far its basin reaches",
        "Which classes",
    ):
        assert heading in text


def test_explosions_that_are_not_known_to_be_one_are_told(tmp_path: Path, stage_folders: Mapping[str, Path]) -> None:
    study, cells = study_of(tmp_path)
    folder = Path(shutil.copytree(stage_folders["basins"], tmp_path / "basins"))
    results = json.loads((folder / "results.json").read_text())
    results["explosions"]["points"] |= {"samples": 500, "unresolved": 499, "others": 0}
    (folder / "results.json").write_text(json.dumps(results))

    def found(cell: Cell | None, stage: str) -> Path | None:
        return folder if stage == "basins" else stage_folders[stage]

    text = text_of(written(study, cells[:1], found, rows_of(cells[:1]), tmp_path))
    assert "same fixed point, as the report saw it. Of the 500 samples 499 came to no rest." in text


def test_purity_stands_beside_the_end_on_the_same_samples(
    tmp_path: Path, of_first: Callable[..., Findings], stage_folders: Mapping[str, Path]
) -> None:
    study, cells = study_of(tmp_path)
    page = study_page(study, cells, of_first(cells), rows_of(cells))
    (orbit,) = [section for section in page.sections if section.anchor == "along_orbit"]
    ((maps, seeds, samples, end, purity, others),) = orbit.parts[2].tables[0].rows
    results = json.loads((stage_folders["basins"] / "results.json").read_text())
    right = read_tensors(stage_folders["separability"] / "end.safetensors")[0]["right"]
    assert (maps, seeds, samples) == ("σ = 0.3, k = 2", "1", "100")
    assert end == f"{right[:100].double().mean():.3f}"
    assert (purity, others) == (f"{results['purity']:.3f}", f"{results['purity_left_out']:.3f}")


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        (("iterate", "train"), ["reconstruction", "films", "fixed_points", "weights", "graph"]),
        (("separability",), ["fixed_points", "along_orbit"]),
        (("basins",), ["explosions"]),
        (("graph",), ["graph"]),
        (("spectra",), []),
    ],
)
def test_what_is_missing_is_said(
    without: tuple[str, ...], missing: list[str], tmp_path: Path, of_first: Callable[..., Findings]
) -> None:
    study, cells = study_of(tmp_path)
    page = study_page(study, cells, of_first(cells, without=without), rows_of(cells))
    lacking = [
        section.anchor
        for section in page.sections
        if any("There is nothing to show yet of the stage" in words for part in section.parts for words in part.words)
    ]
    assert lacking == missing


def test_a_study_without_any_results_has_a_page(tmp_path: Path) -> None:
    study, cells = study_of(tmp_path)
    text = text_of(written(study, cells, nothing, [], tmp_path))
    assert "None has results yet." in text
    assert text.count("There is nothing to show yet of the stage") == len(study.figures)


def test_only_what_is_asked_for_is_shown(tmp_path: Path) -> None:
    study, cells = study_of(tmp_path, TINY + '[page]\nfigures = ["films", "table"]\n')
    page = study_page(study, cells, nothing, rows_of(cells))
    assert [section.anchor for section in page.sections] == ["films", "table"]
    assert "does not ask for it: accuracy and explosions, " in " ".join(page.introduction)


def test_text_of_users_is_escaped(tmp_path: Path) -> None:
    study, cells = study_of(tmp_path)
    failures = [Failure("t", "a label", (f"{cells[1].folder}/basins",), f"ValueError: {HOSTILE}", None)]
    page = written(study, cells, nothing, rows_of(cells)[:1], tmp_path, failures=failures)
    assert "<b>" not in page.replace("<body>", "")
    assert "<img src=x>" not in page
    text = text_of(page)
    assert f"Tiny {HOSTILE}" in text
    assert f"σ = 0.3, seed 4: basins: ValueError: {HOSTILE}" in text
    assert "3 models have no results yet." in text
    assert "<strong>differs</strong>, as <code>a &lt; b</code> and <em>so on</em>." in page
    assert "<li>two</li>" in page


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    study = load_study("walkback")
    cells = cells_of(study, 64 * "0")
    rows = []
    for cell in cells:
        settings = cell.settings
        if (settings.sigma, settings.walkback, settings.epochs) == (0.7, 3, 250) and settings.seed < 3:
            rows.append(row_of(cell, acc_test=0.90 + 0.01 * settings.seed, explosions_test=150))
        if (settings.sigma, settings.walkback, settings.epochs, settings.seed) == (0.7, 1, 250, 0):
            rows.append(row_of(cell, acc_test=0.8, explosions_test=900))
    text = text_of(written(study, cells, nothing, rows, tmp_path, comparison=compare(study, rows)))
    # 0.91 - 0.915 in units of 0.01 sqrt(1/3 + 1/5) = 0.0073
    assert "k = 3, σ = 0.7 250 0.99 20 3 0.915 0.9100 ± 0.0100 −0.0050 −0.7" in text
    assert "k = 1, σ = 0.7 250 0.99 20 1 0.822 0.8000 −0.0220 –" in text
    assert "k = 1, σ = 0.7 250 0.99 20 1 887.8 900.0 +12.2 –" in text
    assert "k = 1, σ = 0.7 → k = 3, σ = 0.7 250 +0.0930 +0.1100 yes" in text
    assert "Nothing of ours yet for 7 published settings: k = 1, σ = 0.3;" in text
    assert "contrasts of 2 points or more in Table 1a, after 250 epochs all the published way 1 of 1 yes" in text


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_has_a_page_whose_models_are_told_apart(name: str) -> None:
    study = load_study(name)
    cells = cells_of(study, 64 * "0")
    models = Models(study, cells, nothing, rows := rows_of(cells))
    told = {(models.setting(cell.settings), cell.settings.seed) for cell in cells}
    assert len(told) == len(cells)
    labels = [family.label for family in models.families]
    assert len(set(labels)) == len(labels)
    page = study_page(study, cells, nothing, rows, compare(study, rows))
    (table,) = [section for section in page.sections if section.anchor == "table"]
    assert len(table.parts[0].tables[0].rows) == len({models.setting(cell.settings) for cell in cells})
    assert [part for part in table.parts if part.charts]


def test_models_that_figures_show(tmp_path: Path) -> None:
    text = TINY.replace("epochs = 1", "epochs = [1, 5, 9]").replace("seeds = [3, 4]", "seeds = [2, 0, 1]")
    study, cells = study_of(tmp_path, text)

    def found(cell: Cell | None, stage: str) -> Path | None:
        there = cell is not None and (cell.settings.epochs, cell.settings.seed) not in {(9, 0), (9, 1), (9, 2), (5, 0)}
        return tmp_path if there else None

    models = Models(study, cells, found, [])
    for family, cell in models.representatives("iterate"):
        assert (cell.settings.epochs, cell.settings.seed) == (5, 1)
        assert [one.settings.seed for one in family.shown] == [1, 2]
    known = [replace(row_of(cell), acc_test=cell.settings.sigma) for cell in cells if cell.settings.epochs == 1]
    best = Models(study, cells, found, known).best("separability")
    assert best is not None
    assert (best.settings.sigma, best.settings.epochs, best.settings.seed) == (0.5, 1, 0)


def test_films_are_of_other_classes_and_far_from_their_starts() -> None:
    classes = [0, 0, 1, 1, 8, 8, 2, 3, 4, 5]
    distances = [1.0, 6.0, 5.0, 9.0, 0.0, 7.0, 2.0, 6.0, 7.0, 8.0]
    # the first 8 however near, then of each class the first that is far enough; 2 has none, and there are five others
    assert film_places(classes, distances, 5.0) == ([4, 1, 2, 7, 8, 9], True)
    assert film_places(classes, distances, 6.5) == ([4, 1, 3, 7, 8, 9], False)
    assert film_places(None, [1.0, 6.0, 5.0], 5.0) == ([0, 1, 2], True)
    assert film_places(None, [], 5.0) == ([], True)


def test_a_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    study, cells = study_of(tmp_path)
    with pytest.raises(InputError, match="is a folder, expected a file name"):
        write_page(study_page(study, cells, nothing, []), tmp_path)


def test_stage_folders_are_only_read(tmp_path: Path, stage_folders: Mapping[str, Path]) -> None:
    """The large files may be gone: the page does without the transformed sets."""
    copies = {stage: Path(shutil.copytree(folder, tmp_path / stage)) for stage, folder in stage_folders.items()}
    for name in ("train", "validation", "test"):
        (copies["iterate"] / f"{name}.safetensors").unlink()
    for path in copies["iterate"].glob("orbit-*"):
        path.unlink()
    study, cells = study_of(tmp_path)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    study_page(study, cells, lambda cell, stage: copies.get(stage), rows_of(cells))
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before

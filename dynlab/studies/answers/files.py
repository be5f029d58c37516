"""What a study answers, written into its folder: `results.csv`, `summary.csv`, `README.md` and the page `index.html`.

Everything is made from what stands in the store, and from the `results.csv` that is there already for what does not
(`rows`, beside this file); nothing is computed. Beside them stands a copy of the specification, which says what the
folder holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dynlab.errors import InputError
from dynlab.files import written_atomically
from dynlab.folders import MARKS, check_kind
from dynlab.studies.answers.comparison import Comparison, compare
from dynlab.studies.answers.groups import SUMMARY_CSV, groups_of, write_summary
from dynlab.studies.answers.readme import readme_of
from dynlab.studies.answers.rows import RESULTS_CSV, Row, read_results, rows_of, write_results
from dynlab.studies.grid import Cell
from dynlab.studies.running.failures import read_failures
from dynlab.studies.specification import Study, load_study, shipped_studies
from dynlab.studies.stages import STAGES
from dynlab.studies.store import State, Store
from dynlab.studies.study_data import StudyData
from dynlab.studies.study_tasks import tasks_of

PAGE, README = "index.html", "README.md"
# Of the folders of stages, what a page shows; the sets of states are large and not read again.
_SHOWN = (
    "results.json",
    "map.safetensors",
    "films.safetensors",
    "picks.safetensors",
    "weights.safetensors",
    "starts.safetensors",
    "explosions.safetensors",
    "basins.safetensors",
    "end.safetensors",
    "graph.graphml",
    "graph.safetensors",
)


@dataclass(frozen=True)
class WrittenAnswers:
    """What was written."""

    rows: tuple[Row, ...]
    models: int  # of the study, of which the rows may be some
    comparison: Comparison | None
    page: Path | None


def write_answers(study: Study, data: StudyData, folder: Path, *, page: bool = True) -> WrittenAnswers:
    """Write what is known of a study.

    Args:
        study: All of it.
        data: Its data sets.
        folder: Where it is kept.
        page: Whether to write the page, too.

    Raises:
        InputError: If a file cannot be written, or the `results.csv` that is there cannot be read.
    """
    asked, store = tasks_of(study, data, STAGES), Store(folder)
    rows = rows_of(asked, store, kept_rows(folder))
    comparison = compare(study, rows)
    failures = read_failures(folder)
    write_results(folder / RESULTS_CSV, rows)
    write_summary(folder / SUMMARY_CSV, groups_of(rows))

    @cache
    def found(cell: Cell | None, stage: str) -> Path | None:
        place = asked.place(cell, stage)
        if place is None or store.look(place, files=_SHOWN).state is not State.WHOLE:
            return None
        return store.path(place)

    path = None
    if page:
        from dynlab.report.png import encode_png
        from dynlab.report.study.page import write_page
        from dynlab.report.study.sheets import sheets_of
        from dynlab.studies.page.sections import study_page

        shown = study_page(study, asked.cells, found, rows, comparison, failures)
        path = write_page(shown, folder / PAGE)
        known = {row.key for row in rows}
        is_part = any(found(cell, "iterate") is None for cell in asked.cells if cell.key in known)
        for sheet in sheets_of(shown):
            if is_part and (folder / sheet.name).exists():  # that may be of models which are no longer in the store
                continue
            with written_atomically(folder / sheet.name) as temporary:
                temporary.write_bytes(encode_png(sheet.pixels, sheet.description))
    pictures = {path.name: _description(path) for path in sorted(folder.glob("*.png"))}
    text = readme_of(study, data, rows, comparison, failures=failures, pictures=pictures)
    with written_atomically(folder / README) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return WrittenAnswers(tuple(rows), len(asked.cells), comparison, path)


def _description(picture: Path) -> str:
    from dynlab.report.png import description_in

    try:
        return description_in(picture.read_bytes())
    except OSError:
        return ""


def kept_rows(folder: Path) -> list[Row]:
    """The rows that stand in a folder; none if there is no file.

    Raises:
        InputError: If the file is something else.
    """
    path = folder / RESULTS_CSV
    try:
        return read_results(path) if path.exists() else []
    except InputError as error:
        raise InputError(f"{error}; without the file, rows of what is in the folder are written anew") from error


def check_folder(study: Study, folder: Path) -> None:
    """Check that a folder is that of a study, or of none.

    Raises:
        InputError: If it holds another study, or results of another kind.
    """
    check_kind(folder, "a study", parameter="out")
    others = [path.name for path in sorted(folder.glob("*.toml")) if path.stem != study.name]
    if others:
        raise InputError(f"out {folder}: holds the study {others[0]}, expected a folder of {study.name} or a new one")


def keep_specification(study: Study, folder: Path) -> None:
    """Put a copy of the specification into the folder of a study.

    Raises:
        InputError: If the folder holds another study, or cannot be written to.
    """
    check_folder(study, folder)
    target = folder / f"{study.name}.toml"
    try:
        text = study.path.read_bytes()
    except OSError as error:
        raise InputError(f"{study.path}: cannot be read ({error.strerror or error})") from error
    if not target.exists() or not target.samefile(study.path):
        with written_atomically(target) as temporary:
            temporary.write_bytes(text)


def study_in(folder: Path) -> Study:
    """The study that a folder holds: of the copy in it, or of the package if its results are in a folder of its name.

    Raises:
        InputError: If there is none.
    """
    if not folder.is_dir():
        raise InputError(f"folder {folder}: no such folder, expected that of a study such as reports/walkback")
    copies = sorted(folder.glob("*.toml"))
    if len(copies) == 1:
        return load_study(copies[0])
    name = folder.resolve().name
    if copies:
        found = ", ".join(path.name for path in copies)
        raise InputError(f"folder {folder}: holds {found}, expected the specification of one study")
    if name in shipped_studies() and any((folder / mark).exists() for mark in MARKS["a study"]):
        return load_study(name)
    raise InputError(f"folder {folder}: holds no specification of a study, a .toml file that `dynlab run` puts there")

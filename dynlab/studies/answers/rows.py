"""`results.csv`: what is known of each trained model of a study, a row for each.

    key, stages     the key of the cell; the keys of the stages that its values are of
    sigma ... seed  how it was trained (`TrainingSettings`)
    acc_*           accuracies of logistic regression: on transformed sets, on raw pixels, and on the test set at the
                    step `steps_best` of the orbit that the validation set chose; acc_net_test: of a network with one
                    hidden layer, on the transformed test set
    mse_*, mse_wb_* reconstruction error after one step, and the walkback objective
    explosions_*, steps_*   of the transformed sets: samples that exploded, steps until the set was stopped
    black_test, white_test  mean shares of pixels below 0.01 and above 0.95 of the transformed test set, section 6.1
    attractors, purity      that the first samples of the test set reach, and the share of these samples that have the
                    majority class of their basin

A value is empty where its stage was not asked for, or is not there. Rows are kept where the store has nothing: a study
may be computed on several machines, one after the other with the file carried along, and what fills the store may be
deleted. Of a kept row counts, stage by stage, what was determined by the same inputs, as its `stages` tell; what
is in the store always goes before.

Source: RFC 4180.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dynlab.errors import InputError
from dynlab.files import read_json, written_atomically
from dynlab.report.figure_data import csv_text
from dynlab.studies.keys import FOLDER_DIGITS
from dynlab.studies.stages.computing import RESULTS_FILE
from dynlab.studies.store import Place, State, Store
from dynlab.studies.study_tasks import StudyTasks
from dynlab.training import TrainingSettings

RESULTS_CSV = "results.csv"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trained model; None where a value is not there."""

    key: str
    stages: str  # such as "iterate:0123456789abcdef raw:..."
    sigma: float | None
    corruption: str
    walkback: int
    walkback_variant: str
    loss: str
    contraction: float
    hidden: int | tuple[int, ...]
    hidden_nonlinearity: str
    output_nonlinearity: str
    tied: bool
    batch_size: int
    annealing: float
    epochs: int
    learning_rate: float
    seed: int
    acc_train: float | None = None
    acc_test: float | None = None
    acc_raw_train: float | None = None
    acc_raw_test: float | None = None
    acc_best_test: float | None = None
    steps_best: int | None = None
    acc_net_test: float | None = None
    mse_train: float | None = None
    mse_test: float | None = None
    mse_wb_train: float | None = None
    mse_wb_test: float | None = None
    explosions_train: int | None = None
    explosions_test: int | None = None
    steps_train: int | None = None
    steps_test: int | None = None
    black_test: float | None = None
    white_test: float | None = None
    attractors: int | None = None
    purity: float | None = None

    def value(self, column: str) -> Any:
        """What stands in a column."""
        return getattr(self, column)


COLUMNS = tuple(field.name for field in fields(Row))
SETTINGS = COLUMNS[COLUMNS.index("sigma") : COLUMNS.index("seed") + 1]
MEASURES = COLUMNS[COLUMNS.index("seed") + 1 :]

# Where the values of each stage stand in its results.
_FOUND_IN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "raw": {name: (name,) for name in ("acc_raw_train", "acc_raw_test")},
    "iterate": {
        **{f"{what}_{role}": (f"{what}_{role}",) for what in ("mse", "mse_wb") for role in ("train", "test")},
        **{f"{what}_{role}": (f"{what}_{role}",) for what in ("explosions", "steps") for role in ("train", "test")},
        "black_test": ("sets", "test", "black_fraction"),
        "white_test": ("sets", "test", "white_fraction"),
    },
    "separability": {
        name: (name,) for name in ("acc_train", "acc_test", "acc_best_test", "steps_best", "acc_net_test")
    },
    "basins": {name: (name,) for name in ("attractors", "purity")},
}
_OF_DATA = ("raw",)  # and so the same in all rows


def rows_of(asked: StudyTasks, store: Store, kept: Sequence[Row] = ()) -> list[Row]:
    """What is known of the models of a study, in the order of its grid.

    Args:
        asked: The tasks of the study, which tell where results stand and what determines them.
        store: Where they stand.
        kept: Rows from before, for what is not in the store.

    Returns:
        A row for each model of which something is known.
    """
    before = {row.key: row for row in kept}
    of_data = {stage: _results(store, asked.place(None, stage)) for stage in _OF_DATA}
    rows = []
    for cell in asked.cells:
        old = before.get(cell.key)
        old_stages = {} if old is None else _stages(old.stages)
        values: dict[str, Any] = {}
        stages: dict[str, str] = {}
        for stage, paths in _FOUND_IN.items():
            place = asked.place(None if stage in _OF_DATA else cell, stage)
            if place is None:
                continue
            results = of_data[stage] if stage in _OF_DATA else _results(store, place)
            digits = place.key[:FOLDER_DIGITS]
            if results is not None:
                values |= {column: _value(results, path) for column, path in paths.items()}
            elif old is not None and old_stages.get(stage) == digits:
                values |= {column: old.value(column) for column in paths}
            else:
                continue
            stages[stage] = digits
        if any(stage not in _OF_DATA for stage in stages):
            settings = {name: getattr(cell.settings, name) for name in SETTINGS}
            told = " ".join(f"{stage}:{digits}" for stage, digits in sorted(stages.items()))
            rows.append(Row(key=cell.key, stages=told, **settings, **values))
    return rows


def write_results(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, with all digits of their numbers.

    Raises:
        InputError: If the file cannot be written.
    """
    write_csv(path, COLUMNS, [[as_cell(row.value(column)) for column in COLUMNS] for row in rows])


def read_results(path: Path) -> list[Row]:
    """Read what `write_results` wrote.

    Raises:
        InputError: If the file cannot be read or is something else; named are the line and the column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8, expected CSV") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    lines: dict[str, int] = {}  # of each key
    try:
        names = next(reader, [])
        _check_names(path, names)
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                row = _row(f"{path}: line {line}", names, cells)
                if row.key in lines:
                    raise InputError(f"{path}: line {line}, column key: as in line {lines[row.key]}, expected it once")
                lines[row.key] = line
                rows.append(row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: no CSV ({error})") from error
    return rows


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as CSV, with a header.

    Raises:
        InputError: If the file cannot be written.
    """
    with written_atomically(path) as temporary:
        temporary.write_text(csv_text(columns, rows), encoding="utf-8", newline="")


def differing_settings(models: Sequence[Row] | Sequence[TrainingSettings], *, seeds: bool = False) -> list[str]:
    """The settings in which models differ; the seed only if asked for."""
    return [
        name for name in SETTINGS if (seeds or name != "seed") and len({getattr(model, name) for model in models}) > 1
    ]


def as_cell(value: Any) -> Any:
    """A value as a cell of a table: the widths of layers with commas between them, as the command line takes them."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def _results(store: Store, place: Place | None) -> dict[str, Any] | None:
    if place is None or store.look(place, files=(RESULTS_FILE,)).state is not State.WHOLE:
        return None
    return read_json(store.path(place) / RESULTS_FILE)


def _value(results: Any, path: Sequence[str]) -> Any:
    for name in path:
        results = results[name]
    return results


def _stages(text: str) -> dict[str, str]:
    return dict(part.split(":") for part in text.split())


def _check_names(path: Path, names: Sequence[str]) -> None:
    wanted = COLUMNS[: len(COLUMNS) - len(MEASURES)]  # an earlier version may have had fewer of the others
    missing = [name for name in wanted if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    if missing or unknown or len(set(names)) < len(names):
        words = [f"no column {name}" for name in missing] + [f"unknown column {name!r}" for name in unknown]
        raise InputError(f"{path}: line 1: {', '.join(words) or 'a column twice'}, expected the columns of a study")


def _row(where: str, names: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(names):
        raise InputError(f"{where}: {len(cells)} cells, expected {len(names)} as in the header")
    values = {}
    for name, cell in zip(names, cells, strict=True):
        read, expected = _READ[name]
        try:
            values[name] = read(cell)
        except ValueError as error:
            raise InputError(f"{where}, column {name}: {cell!r}, expected {expected}") from error
    return Row(**values)


def _integer(text: str) -> int:
    if re.fullmatch(r"-?[0-9]+", text) is None:
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _truth(text: str) -> bool:
    return {"True": True, "False": False}[text] if text in ("True", "False") else _refuse()


def _widths(text: str) -> int | tuple[int, ...]:
    widths = tuple(_integer(part) for part in text.split(","))
    return widths[0] if len(widths) == 1 else widths


def _words(text: str) -> str:
    return text or _refuse()


def _key(text: str) -> str:
    return text if re.fullmatch(r"[0-9a-f]{64}", text) else _refuse()


def _stage_keys(text: str) -> str:
    pattern = rf"(\w+:[0-9a-f]{{{FOLDER_DIGITS}}}( |$))+"
    return text if re.fullmatch(pattern, text) else _refuse()


def _refuse() -> Any:
    raise ValueError


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: read(text) if text else None


_Reader = tuple[Callable[[str], Any], str]
_BY_TYPE: dict[str, _Reader] = {
    "int": (_integer, "an integer"),
    "float": (_number, "a finite number"),
    "str": (_words, "a word"),
    "bool": (_truth, "True or False"),
    "int | tuple[int, ...]": (_widths, "integers such as 500 or 500,100"),
    "int | None": (_or_none(_integer), "an integer or nothing"),
    "float | None": (_or_none(_number), "a finite number or nothing"),
}
_READ: dict[str, _Reader] = {
    **{field.name: _BY_TYPE[str(field.type)] for field in fields(Row)},
    "key": (_key, "64 hexadecimal digits"),
    "stages": (_stage_keys, f"names of stages and {FOLDER_DIGITS} digits of their keys"),
}

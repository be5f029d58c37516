"""The points of a grid: lists of values become settings of trainings, and all that is wrong with them is told at once.

A key with a list of values is a dimension, and the points are the product of all dimensions. Each value is tried by
itself first, in settings that are right otherwise; then the values that passed are tried together. What is wrong is so
told once, not once a point.
"""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from dynlab.errors import InputError
from dynlab.studies.wording import Problem, shown
from dynlab.training import TrainingSettings
from dynlab.training.objective import Loss, Variant

MOST_CELLS = 10_000  # of a grid; each is trained
# The order in which values change from point to point: the first slowest, seeds fastest.
DIMENSIONS = (
    "sigma",
    "corruption",
    "walkback",
    "walkback_variant",
    "loss",
    "contraction",
    "hidden",
    "tied",
    "hidden_nonlinearity",
    "output_nonlinearity",
    "batch_size",
    "learning_rate",
    "annealing",
    "epochs",
    "seed",
)
# Settings fall into three parts: how samples are corrupted, how long and how fast a map is trained, and what else the
# map and its objective are; beside them the seed.
LEVEL = ("corruption", "sigma")
SCHEDULE = ("batch_size", "learning_rate", "annealing", "epochs")
FAMILY = tuple(name for name in DIMENSIONS if name not in (*LEVEL, *SCHEDULE, "seed"))
# Nothing is wrong with these, whatever the kind of corruption.
_RIGHT: dict[str, Any] = {"sigma": 1.0, "epochs": 1}
_NEEDED: dict[str, Any] = {"epochs": 1}
_SETTING_IS = re.compile(r"(\w+) is (.*)", re.DOTALL)  # as the checks of settings begin


def _values(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else (given,)


def _width(given: Any) -> Any:
    """Hidden units: of one layer, or of each of a deeper encoder."""
    widths = given if isinstance(given, list) else [given]
    if not widths or not all(map(_is_integer, widths)):
        raise PydanticCustomError("width", "an integer, or a list of integers within the list of values")
    return tuple(given) if isinstance(given, list) else given


def _seeds(given: Any) -> Any:
    """How many, or which."""
    if _is_integer(given) and 0 < given <= sys.maxsize:
        return range(given)
    if isinstance(given, list) and given and all(map(_is_integer, given)):
        return tuple(given)
    raise PydanticCustomError("seeds", "a number of seeds, at least 1, or a list of them")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_Reals = Annotated[tuple[float, ...], BeforeValidator(_values), Field(min_length=1)]
_Integers = Annotated[tuple[int, ...], BeforeValidator(_values), Field(min_length=1)]
_Texts = Annotated[tuple[str, ...], BeforeValidator(_values), Field(min_length=1)]
_Truths = Annotated[tuple[bool, ...], BeforeValidator(_values), Field(min_length=1)]
_Widths = Annotated[
    tuple[Annotated[int | tuple[int, ...], PlainValidator(_width)], ...], BeforeValidator(_values), Field(min_length=1)
]


class Grid(BaseModel):
    """A table of values, one or a list for each setting; what is not there has the default of `TrainingSettings`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    sigma: _Reals | None = None
    corruption: _Texts | None = None
    walkback: _Integers | None = None
    walkback_variant: Annotated[tuple[Variant, ...], BeforeValidator(_values), Field(min_length=1)] | None = None
    loss: Annotated[tuple[Loss, ...], BeforeValidator(_values), Field(min_length=1)] | None = None
    contraction: _Reals | None = None
    hidden: _Widths | None = None
    tied: _Truths | None = None
    hidden_nonlinearity: _Texts | None = None
    output_nonlinearity: _Texts | None = None
    batch_size: _Integers | None = None
    learning_rate: _Reals | None = None
    annealing: _Reals | None = None
    epochs: _Integers = Field(description="a number of epochs, or a list of them")
    seeds: Annotated[Sequence[int], PlainValidator(_seeds)] = range(1)


def readable_grid(table: Mapping[str, Any]) -> Grid:
    """The grid of a table, with something right in place of values that cannot be read."""
    known = {name: value for name, value in table.items() if name in Grid.model_fields}
    try:
        return Grid.model_validate(_NEEDED | known)
    except ValidationError as error:
        unreadable = [found["loc"][:2] for found in error.errors()]
    for name in {str(location[0]) for location in unreadable}:
        value = known.pop(name)
        items = value if isinstance(value, list) and name != "seeds" else []
        kept = [item for place, item in enumerate(items) if (name, place) not in unreadable]
        if kept or name in _RIGHT:
            known[name] = kept or _RIGHT[name]
    return Grid.model_validate(_NEEDED | known)


def points_of(grid: Grid) -> tuple[tuple[TrainingSettings, ...], list[Problem]]:
    """The settings of all points, in the order of `DIMENSIONS`, and what is wrong; then there are points only for what
    is right."""
    given = {
        "seed" if name == "seeds" else name: values for name in Grid.model_fields if (values := getattr(grid, name))
    }
    count = math.prod(len(values) for values in given.values())
    if count > MOST_CELLS:
        return (), [Problem("", f"{count} cells, expected at most {MOST_CELLS}")]
    problems: dict[Problem, None] = {}
    values = {name: _checked(name, values, problems) for name, values in given.items()}
    # Where nothing in a dimension is right, what is right in the others is tried together all the same.
    right = {name: kept or [_RIGHT.get(name, getattr(_settings({}), name))] for name, kept in values.items()}
    # Seeds and epochs fit everything.
    fitting = []
    for settings in _product(right, [name for name in DIMENSIONS if name not in ("epochs", "seed")]):
        try:
            fitting.append((settings, _settings({"sigma": None} | settings)))
        except InputError as error:
            problems.setdefault(_problem(error))
    lengths = list(_product(right, ["epochs", "seed"]))
    points = tuple(replace(settings, **more) for _, settings in fitting for more in lengths)
    return points, list(problems)


def equal_cells(grids: Sequence[tuple[int, Sequence[TrainingSettings]]]) -> list[Problem]:
    """Cells that are one and the same, within a grid and across: for each pair of grids the first.

    Args:
        grids: The number of each grid, and its points.
    """
    first: dict[TrainingSettings, tuple[int, TrainingSettings]] = {}
    problems: dict[tuple[int, int], Problem] = {}
    for number, points in grids:
        for settings in points:
            earlier, other = first.setdefault(settings.meaning(), (number, settings))
            if other is not settings and (earlier, number) not in problems:
                where = "" if earlier == number else f" of grid[{earlier}]"
                same = "" if other == settings else f"; it means the same as {_described(other)}"
                words = f"the cell {_described(settings)} is one{where} already, expected each cell once{same}"
                problems[earlier, number] = Problem(f"grid[{number}]", words)
    return list(problems.values())


def _checked(name: str, values: Iterable[Any], problems: dict[Problem, None]) -> list[Any]:
    """The values that are right by themselves, each once, as settings have them."""
    right: list[Any] = []
    key = "seeds" if name == "seed" else name
    for value in values:
        try:
            # What a corruption says is right or wrong together with a level.
            kept = value if name == "corruption" else getattr(_settings({name: value}), name)
        except InputError as error:
            problems.setdefault(_problem(error))
            continue
        if kept in right:
            problems.setdefault(Problem(key, f"{shown(value)} twice, expected each value once"))
        else:
            right.append(kept)
    return right


def _product(values: Mapping[str, Sequence[Any]], names: Iterable[str]) -> Iterator[dict[str, Any]]:
    used = [name for name in names if name in values]
    for point in itertools.product(*(values[name] for name in used)):
        yield dict(zip(used, point, strict=True))


def _problem(error: InputError) -> Problem:
    """The words of a check of settings, with the setting as the key."""
    match = _SETTING_IS.fullmatch(str(error))
    if match is None or match[1] not in DIMENSIONS:
        return Problem("", str(error))
    name, words = match.groups()
    return Problem("seeds" if name == "seed" else name, re.sub("^None", "is missing", words))


def _settings(values: dict[str, Any]) -> TrainingSettings:
    """Settings with these values, otherwise right."""
    return TrainingSettings(**{**_RIGHT, **values})


def _described(settings: TrainingSettings) -> str:
    default = _settings({})
    names = [
        name
        for name in DIMENSIONS
        if name in ("sigma", "epochs", "seed") or getattr(settings, name) != getattr(default, name)
    ]
    return ", ".join(f"{name} {getattr(settings, name)}" for name in names)

"""A part of a study: the models with certain settings, so that a grid can be computed piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dynlab.errors import InputError
from dynlab.studies.points import DIMENSIONS
from dynlab.studies.specification import Study
from dynlab.studies.wording import meant

_EXPECTED = "expected a setting and its value such as sigma=0.7"


def part_of(study: Study, only: Sequence[str]) -> Study:
    """The same study with fewer models; the keys of those that stay, and so their results, are the same.

    Args:
        study: All of it.
        only: Conditions such as "sigma=0.7"; several for one setting let all of the values stay, and those for
            different settings must all hold. Layers of a deeper encoder are written 500,100.

    Raises:
        InputError: If a condition cannot be read, names no setting, or no model fulfils it, or all of them.
    """
    points = [settings for grid in study.grids for settings in grid]
    wanted: dict[str, list[str]] = {}
    for condition in only:
        name, equals, text = condition.partition("=")
        name, text = name.strip(), text.strip()
        if not equals:
            raise InputError(f"only is {condition!r}, {_EXPECTED}")
        if name not in DIMENSIONS:
            near = meant(name, DIMENSIONS)
            raise InputError(f"only is {condition!r}, {_EXPECTED}; there is no setting {name!r}{near}")
        values = list(dict.fromkeys(getattr(settings, name) for settings in points))
        if not any(_is(value, text) for value in values):
            raise InputError(f"only is {condition!r}, expected a value of the study: {', '.join(map(_text, values))}")
        wanted.setdefault(name, []).append(text)
    grids = tuple(
        tuple(
            settings
            for settings in grid
            if all(any(_is(getattr(settings, name), text) for text in texts) for name, texts in wanted.items())
        )
        for grid in study.grids
    )
    if not any(grids):
        raise InputError(f"only is {', '.join(map(repr, only))}, no model of the study has all of it")
    return replace(study, grids=tuple(grid for grid in grids if grid))


def _is(value: Any, text: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    return _text(value) == text.replace(" ", "") if isinstance(value, tuple) else _text(value).lower() == text.lower()


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

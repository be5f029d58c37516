"""What is wrong with a specification, in words: where, what was found, and what was expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynlab.errors import SpecificationError
from dynlab.files import printable

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_LONGEST = 60  # characters of what was found

# By pydantic's type of the error, with the numbers and lists of its context.
_EXPECTED = {
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "int_type": "an integer",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "one of {expected}",
    "model_type": "a table",
    "string_too_short": "some text",
    "string_type": "text",
    "too_short": "at least one",
    "tuple_type": "a list",
}
_QUOTED = re.compile("'([^']*)'")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    key: str  # dotted, with numbers from 0 on in brackets: `grid[0].sigma[2]`
    words: str

    def __str__(self) -> str:
        return "\n".join(map(printable, f"{self.key}: {self.words}".split("\n")))


def dotted(location: Collection[int | str], raw: Any) -> str:
    """The dotted key of a location in the raw file; places within what is no table or list there are left out."""
    key = ""
    for part in location:
        if isinstance(part, int):
            if not isinstance(raw, list):
                break
            key += f"[{part}]"
            raw = raw[part] if part < len(raw) else None
        else:
            key += f".{part}" if key else part
            raw = raw.get(part) if isinstance(raw, dict) else None
    return key


def shown(value: Any) -> str:
    """A value of a TOML file, as short text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def meant(word: str, known: Collection[str]) -> str:
    """The question whether the nearest of the known words was meant; nothing if none is near."""
    nearest = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def refused(path: Path, problems: Iterable[object]) -> SpecificationError:
    """What is raised for a specification with problems: a line for each."""
    where = printable(str(path))
    return SpecificationError("\n".join(" ".join(f"{where}: {problem}".split()) for problem in problems))


def problems_of(error: ValidationError, raw: Any, tables: Mapping[tuple[str, ...], type[BaseModel]]) -> list[Problem]:
    """What pydantic found, in our words.

    Args:
        error: Its error.
        raw: What was validated.
        tables: The model of each table, by the names on the way to it.
    """
    problems = []
    for found in error.errors(include_url=False):
        location, kind, value, context = found["loc"], found["type"], found["input"], found.get("ctx", {})
        names = tuple(part for part in location if isinstance(part, str))
        table = tables.get(names[:-1])
        field = table.model_fields.get(names[-1]) if table and location[-1] == names[-1] else None
        if kind == "too_short" and value:
            continue  # something is there, and wrong: told by itself
        if kind == "words":
            words = found["msg"]
        elif kind == "missing":
            words = f"is missing, expected {field.description if field else 'it'}"
        elif kind == "extra_forbidden":
            known = list(tables[names[:-1]].model_fields)
            words = f"unknown key, expected one of {', '.join(known)}{meant(names[-1], known)}"
        else:
            template = _EXPECTED.get(kind)
            expected = template.format(**context) if template else found["msg"]
            if kind in ("tuple_type", "model_type") and field and field.description:
                expected = field.description
            words = f"{shown(value)}, expected {expected}"
            if kind == "literal_error" and isinstance(value, str):
                words += meant(value, _QUOTED.findall(context["expected"]))
        problems.append(Problem(dotted(location, raw), words))
    return problems

"""What failed in the last run of a study: `failures.json` in its folder, and tracebacks in `failures/`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dynlab.errors import InputError
from dynlab.files import read_json, write_json

_FAILURES, _TRACEBACKS = "failures.json", "failures"


@dataclass(frozen=True)
class Failure:
    """A task that failed, or a place that it left empty."""

    task: str
    label: str
    places: tuple[str, ...]  # names of those that are not filled: `<folder of the cell>/<stage>`
    reason: str  # a line
    file: str | None  # with the traceback, in the folder of the study


def forget_failures(folder: Path) -> None:
    """Remove those of an earlier run."""
    shutil.rmtree(folder / _TRACEBACKS, ignore_errors=True)
    (folder / _FAILURES).unlink(missing_ok=True)


def write_traceback(folder: Path, name: str, text: str) -> str | None:
    """Write a traceback under a name; where it stands in the folder, None if it cannot be written."""
    path = folder / _TRACEBACKS / f"{name}.txt"
    with contextlib.suppress(OSError):  # a full disk may be what it is about
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path.relative_to(folder).as_posix()
    return None


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """Write all of a run, as far as there is room."""
    with contextlib.suppress(InputError):
        write_json(folder / _FAILURES, [asdict(failure) for failure in failures])


def read_failures(folder: Path) -> list[Failure]:
    """What failed in the last run; nothing if its file is not there, and that alone if it is damaged."""
    path = folder / _FAILURES
    if not path.exists():
        return []
    try:
        return [Failure(**one | {"places": tuple(one["places"])}) for one in read_json(path)]
    except (InputError, TypeError, KeyError):
        return [Failure(_FAILURES, _FAILURES, (), "damaged; what failed in the last run is not known", None)]

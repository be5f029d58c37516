"""What kind of results a folder holds, so that no command writes its page over that of another kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dynlab.errors import InputError

Kind = Literal["an analysis", "a demo", "a ladder", "a study"]
# Files by which each kind is known, as patterns; others, such as the page, have the same name in all of them.
MARKS: Mapping[Kind, tuple[str, ...]] = {
    "an analysis": ("results.json",),
    "a demo": ("sigma-*/dae.safetensors",),
    "a ladder": ("followed.safetensors",),
    "a study": ("results.csv", "run.json"),
}


def check_kind(folder: Path, kind: Kind, *, parameter: str) -> None:
    """Check that a folder holds no results of another kind; it need not exist yet.

    Args:
        folder: Where to look.
        kind: What is to be written there.
        parameter: What the folder was given as.

    Raises:
        InputError: If it does.
    """
    for other, patterns in MARKS.items():
        found = next((path for pattern in patterns for path in sorted(folder.glob(pattern))), None)
        if other != kind and found is not None:
            raise InputError(
                f"{parameter} {folder}: holds {other} ({found.relative_to(folder)}), "
                f"expected a new folder or one of {kind}"
            )

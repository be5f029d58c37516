"""No command writes its page over results of another kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
FILES = {
    "an analysis": "results.json",
    "a demo": "sigma-0.2/dae.safetensors",
    "a ladder": "followed.safetensors",
    "a study": "results.csv",
}
COMMANDS = {
    "an analysis": ("analyse", "dae.safetensors", "--data", "digits/test", "--out"),
    "a ladder": ("ladder", "--data", "digits/train", "--sigmas", "0.2:0.3:2", "--out"),
    "a study": ("run", "quickstart", "--out"),
    "a demo": ("demo", "--out"),
}


@pytest.mark.parametrize(("kind", "found"), [(kind, found) for kind in COMMANDS for found in FILES if kind != found])
def test_results_of_another_kind_are_left_alone(run: Run, kind: str, found: str) -> None:
    folder = Path("quickstart")
    files = [folder / "index.html", folder / FILES[found]]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("kept")
    status, out, err = run(*COMMANDS[kind], str(folder))
    assert (status, out) == (2, "")
    assert err == f"dynlab: out quickstart: holds {found} ({FILES[found]}), expected a new folder or one of {kind}\n"
    if found != "a study":  # though the folder is named as one
        status, _, err = run("report", str(folder))
        assert status == 2
        assert "holds no specification of a study" in err
    assert {path: path.read_text() for path in folder.rglob("*") if path.is_file()} == dict.fromkeys(files, "kept")

"""The store: whole or not there, stale or damaged, and whatever stops a program."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_study

from dynlab.errors import InputError
from dynlab.studies.keys import stage_inputs
from dynlab.studies.running.executors import InProcess
from dynlab.studies.running.scheduling import run_tasks
from dynlab.studies.store import MANIFEST, Place, State, Store


def _place(version: int = 1) -> Place:
    return Place("cell", "stage", stage_inputs("stage", version, parameters={"number": 1.5}))


def _filled(folder: Path, text: str = "some text") -> Store:
    store = Store(folder)
    with store.filling(_place()) as part:
        (part / "text.txt").write_text(text)
        (part / "more").mkdir()
        (part / "more" / "bytes.bin").write_bytes(bytes(1000))
    return store


def test_a_result_is_whole_under_its_key_and_stale_under_another(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.look(_place()).state is State.MISSING
    _filled(tmp_path)
    assert store.look(_place()).state is State.WHOLE
    stale = store.look(_place(2))
    assert (stale.state, stale.words) == (State.STALE, "other version")
    with store.filling(_place(2)) as part:
        (part / "new.txt").write_text("new")
    assert store.look(_place(2)).state is State.WHOLE
    assert [path.name for path in store.path(_place()).parent.iterdir()] == ["stage"]
    assert not (store.path(_place()) / "text.txt").exists()


def test_what_is_read_is_checked_and_what_it_was_made_from_is_known(tmp_path: Path) -> None:
    store, made = _filled(tmp_path), Place("cell", "made", stage_inputs("made", 1))
    with store.filling(made, [_place()]) as part:
        (part / "made.txt").write_text("made")
    assert store.look(made, needs=[_place()]).state is State.WHOLE
    store.check(_place())

    (store.path(_place()) / "text.txt").write_text("another text")
    with pytest.raises(InputError, match=r"cell/stage is damaged, text\.txt has changed .* run again"):
        store.check(_place())
    store.set_aside(_place())
    with pytest.raises(InputError, match="cell/stage is missing; it was whole before"):
        store.check(_place())
    assert store.look(made, needs=[_place()]).state is State.STALE
    _filled(tmp_path, "another text")
    found = store.look(made, needs=[_place()])
    assert (found.state, found.words) == (State.STALE, "made from another stage")
    assert store.look(made).state is State.WHOLE


@pytest.mark.parametrize("made_from", [None, 3, "text", [1]])
def test_a_manifest_that_does_not_say_what_it_was_made_from_is_damaged(tmp_path: Path, made_from: Any) -> None:
    store = _filled(tmp_path)
    manifest = store.path(_place()) / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"made_from": made_from}))
    assert store.look(_place(), needs=[_place()]).state is State.DAMAGED


def test_a_file_in_place_of_a_cell_is_set_aside(tmp_path: Path) -> None:
    store = _filled(tmp_path)
    shutil.rmtree(store.path(_place()).parent)
    store.path(_place()).parent.write_text("no folder")
    found = store.look(_place())
    assert (found.state, found.words) == (State.DAMAGED, "cell is no folder")
    assert store.set_aside(_place()).name == "cell.damaged-1"
    _filled(tmp_path)
    assert store.look(_place()).state is State.WHOLE


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    store = _filled(tmp_path)

    def fill(error: BaseException) -> None:
        with store.filling(_place(2)) as part:
            (part / "half.txt").write_text("half")
            raise error

    for error in (ValueError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            fill(error)
    assert store.look(_place()).state is State.WHOLE
    assert [path.name for path in store.path(_place()).parent.iterdir()] == ["stage"]


def test_the_second_of_two_processes_that_fill_a_place_leaves_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.filling(_place()) as late:
        (late / "text.txt").write_text("some text")
        _filled(tmp_path)
        before = store.path(_place()).stat().st_ino
    assert store.path(_place()).stat().st_ino == before
    assert store.look(_place()).state is State.WHOLE


def test_a_forgotten_process_cannot_complete_what_was_removed(tmp_path: Path) -> None:
    """It might have written a part of its files before, and the others into a folder made anew."""
    store = Store(tmp_path)

    def fill() -> None:
        with store.filling(_place()) as part:
            (part / "first.txt").write_text("first")
            assert store.remove_leftovers() == 1
            part.mkdir()
            (part / "second.txt").write_text("second")

    with pytest.raises(InputError, match="cannot be written"):
        fill()
    assert store.look(_place()).state is State.MISSING
    assert list(store.path(_place()).parent.iterdir()) == []


def _edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        changed = change(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest if changed is None else changed))

    return edit


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _be_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:-size])


def _folder_in_place_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _empty(folder: Path) -> None:
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        file.unlink()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit of a file": lambda folder: _flip(folder / "arrays" / "1.bin"),
    "a file cut": lambda folder: _cut(folder / "results.json", 1),
    "a file gone": lambda folder: (folder / "arrays" / "2.bin").unlink(),
    "a folder in place of a file": lambda folder: _folder_in_place_of(folder / "results.json"),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "an empty manifest": lambda folder: (folder / MANIFEST).write_text(""),
    "a manifest cut": lambda folder: _cut(folder / MANIFEST, 40),
    "a manifest of bytes": lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\x00"),
    "a manifest too deep": lambda folder: (folder / MANIFEST).write_text("[" * 100_000),
    "a manifest that is a list": _edited(lambda manifest: [manifest]),
    "files that are a list": _edited(lambda manifest: manifest.update(files=["results.json"])),
    "another hash": _edited(lambda manifest: manifest["files"].update({"results.json": "0" * 64})),
    "another key": _edited(lambda manifest: manifest.update(key="0" * 64)),
    "other inputs": _edited(lambda manifest: manifest["inputs"].update(version=7)),
    "no inputs": _edited(lambda manifest: manifest.pop("inputs") and None),
    "all files gone": _empty,
    "a file in its place": _be_a_file,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_what_is_damaged_is_named_set_aside_and_computed_anew(damage: Callable[[Path], object], tmp_path: Path) -> None:
    diary, study = tmp_path / "diary", tmp_path / "study"
    tasks = toy_study.tasks(diary, ("c0", "c1"), pause=0)
    run_tasks(tasks, study, InProcess())
    expected = toy_study.results_of(study)
    for number in (1, 2):
        damage(study / "cells" / "c0" / "iterate")
        diary.unlink()
        summary = run_tasks(tasks, study, InProcess())
        assert summary.computed == ("c0/iterate",)
        assert [path.name for path in summary.set_aside] == [f"iterate.damaged-{number}"]
        assert (study / "cells" / "c0" / f"iterate.damaged-{number}").exists()
        assert toy_study.lines_of(diary, "begin") == ["begin c0/iterate"]
        assert "c0/iterate is damaged, " in (study / "run.log").read_text()
        assert toy_study.results_of(study) == expected

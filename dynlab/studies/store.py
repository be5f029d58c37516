"""The results of a study, on disk: a folder for each stage of each cell, whole or not there.

A stage is written into a temporary folder beside its place. Its manifest comes last, with what determined it and the
hashes of its files; then the folder gets its name, in one step. So whatever stops a program, a killed process or a full
disk, leaves under the final name what was there before, or all of the new.

On reading, a result is *whole*; *stale*, as it is that of other inputs, such as an earlier version of its stage, or was
made from what is no longer there, such as a map that another machine trained to other last digits; or *damaged*: its
manifest cannot be read or contradicts itself, a file is missing or has changed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from dynlab.errors import InputError
from dynlab.files import sha256
from dynlab.studies.keys import sha256_of

MANIFEST = "manifest.json"
_CELLS = "cells"
_PART = ".part"
_IS_THERE = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_TRIES = 5  # to put a folder where another process may put one, too


@dataclass(frozen=True)
class Place:
    """Where the result of a stage stands, and what determines it."""

    cell: str  # the name of the cell's folder
    stage: str
    inputs: Mapping[str, Any]  # what its key is made of (`dynlab.studies.keys.stage_inputs`)

    @property
    def name(self) -> str:
        """The cell and the stage, which tell it from the other places of a study."""
        return f"{self.cell}/{self.stage}"

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that determines the result."""
        return sha256_of(self.inputs)


class State(Enum):
    """What stands at a place."""

    WHOLE = "whole"
    MISSING = "missing"
    STALE = "stale"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Found:
    """What stands at a place, and in words what is wrong with it."""

    state: State
    words: str = ""
    seconds: float | None = None  # that it took to compute, of what is whole, if that is known


@dataclass(frozen=True)
class Store:
    """The results of the study that is kept in `folder`."""

    folder: Path

    def path(self, place: Place) -> Path:
        """The folder of a result."""
        return self.folder / _CELLS / place.cell / place.stage

    def look(self, place: Place, files: Collection[str] | None = None, needs: Sequence[Place] = ()) -> Found:
        """See what stands at a place; the files of what is whole have all been read, and have their hashes.

        Args:
            place: Where to look.
            files: Only these, of those that are there: large files take time, and not everybody reads them.
            needs: What it was made from. It is stale if one of these holds something else by now: equal inputs give
                equal bits on one machine, and not on another one.
        """
        path = self.path(place)
        if os.path.lexists(path.parent) and not path.parent.is_dir():
            return Found(State.DAMAGED, f"{path.parent.name} is no folder")
        if not os.path.lexists(path):
            return Found(State.MISSING)
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            inputs, key = manifest["inputs"], manifest["key"]
            seconds = None if manifest["seconds"] is None else float(manifest["seconds"])
            hashes = {str(name): str(digest) for name, digest in manifest["files"].items()}
            made_from = dict(manifest.get("made_from", {}))
            if key != sha256_of(inputs):
                return Found(State.DAMAGED, f"{MANIFEST} has a key that is not that of its inputs")
        except OSError as error:
            return Found(State.DAMAGED, f"{MANIFEST} cannot be read ({error.strerror or error})")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return Found(State.DAMAGED, f"{MANIFEST} is not that of a stage ({type(error).__name__}: {error})")
        if key != place.key:
            return Found(State.STALE, f"other {_differing(inputs, place.inputs)}")
        for needed in needs:
            if needed.name in made_from and made_from[needed.name] != self._content(needed):
                return Found(State.STALE, f"made from another {needed.stage}")
        for name, digest in hashes.items():
            if files is not None and name not in files:
                continue
            try:
                if sha256(path / name) != digest:
                    return Found(State.DAMAGED, f"{name} has changed since it was written")
            except OSError as error:
                return Found(State.DAMAGED, f"{name} cannot be read ({error.strerror or error})")
        return Found(State.WHOLE, seconds=seconds)

    def check(self, place: Place) -> None:
        """Check that a result is whole before it is read.

        Raises:
            InputError: If it is not.
        """
        found = self.look(place)
        if found.state is not State.WHOLE:
            words = f", {found.words}" if found.words else ""
            raise InputError(f"{place.name} is {found.state.value}{words}; it was whole before, run again")

    def set_aside(self, place: Place) -> Path:
        """Rename what stands at a place, or in place of its cell, and return its new path, `<name>.damaged-<n>`."""
        path = self.path(place)
        if not path.parent.is_dir():
            path = path.parent
        number = 1
        while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
            number += 1
        path.rename(aside)
        return aside

    @contextlib.contextmanager
    def filling(self, place: Place, needs: Sequence[Place] = (), *, is_all: bool = True) -> Iterator[Path]:
        """Give a folder to fill, and put it to its place when the block ends without an error.

        What is whole there already stays; anything else there is replaced. After an error nothing is left behind.

        Args:
            place: Where it shall stand.
            needs: What it is made from; what these hold now is noted.
            is_all: Whether all of the work is done within the block, so that its time is noted.

        Raises:
            InputError: If the folder cannot be written, or was removed on the way, as by another run of the study.
        """
        started = time.perf_counter()
        part = self._beside(place)
        made_from = {needed.name: self._content(needed) for needed in needs}
        try:
            with _writing(part):
                part.mkdir(parents=True)
                (part / MANIFEST).touch()
            yield part
            with _writing(part):
                seconds = round(time.perf_counter() - started, 3) if is_all else None
                self._complete(part, place, made_from, seconds)
                self._put(part, place, needs)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def remove_leftovers(self) -> int:
        """Remove what killed processes left half written; no task may be under way.

        Returns:
            How many folders that were.
        """
        count = 0
        for part in self.folder.glob(f"{_CELLS}/*/.*{_PART}"):
            # First out of the way in one step: a process that was forgotten somewhere may still be writing there.
            removed = part.with_name(f".removed-{secrets.token_hex(8)}{_PART}")
            with contextlib.suppress(OSError):
                part.rename(removed)
                shutil.rmtree(removed, ignore_errors=True)
                count += 1
        return count

    def _beside(self, place: Place) -> Path:
        return self.path(place).with_name(f".{place.stage}-{secrets.token_hex(8)}{_PART}")

    def _content(self, place: Place) -> str | None:
        """What tells the files of a place from others, by its manifest; None if that cannot be read."""
        try:
            manifest = json.loads((self.path(place) / MANIFEST).read_text(encoding="utf-8"))
            return sha256_of(manifest["files"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _complete(self, part: Path, place: Place, made_from: Mapping[str, str | None], seconds: float | None) -> None:
        """Write the manifest. Its file must be there, or the folder is not the one that was begun."""
        files = sorted(path for path in part.rglob("*") if path.is_file() and path != part / MANIFEST)
        manifest = {
            "stage": place.stage,
            "version": place.inputs.get("version"),
            "key": place.key,
            "inputs": place.inputs,
            "made_from": made_from,
            "files": {path.relative_to(part).as_posix(): sha256(path) for path in files},
            "seconds": seconds,
        }
        for path in files:
            _flush(path)
        with (part / MANIFEST).open("r+", encoding="utf-8") as file:
            file.write(json.dumps(manifest, indent=1, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _put(self, part: Path, place: Place, needs: Sequence[Place]) -> None:
        path = self.path(place)
        for _ in range(_TRIES):
            try:
                part.rename(path)
            except OSError as error:
                if error.errno not in _IS_THERE:
                    raise
            else:
                _flush(path.parent)
                return
            if self.look(place, needs=needs).state is State.WHOLE:  # two processes came to the same result
                return
            replaced = self._beside(place)
            with contextlib.suppress(FileNotFoundError):
                path.rename(replaced)
                shutil.rmtree(replaced, ignore_errors=True)
        raise InputError(f"{path}: cannot be written, other processes write it all the time")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _flush(path: Path) -> None:
    """See that a file, or the names in a folder, outlast a loss of power; a full file system may say so only here.

    Raises:
        OSError: If a file cannot be written.
    """
    if os.name == "nt":  # folders cannot be opened there, and files only for writing
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot
            raise
    finally:
        os.close(descriptor)


def _differing(found: Any, expected: Mapping[str, Any]) -> str:
    if not isinstance(found, dict):
        return "inputs"
    names = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    return ", ".join(names) or "inputs"

"""One run at a time in the folder of a study, and how its tasks learn that they should end.

The run holds a lock of the operating system on `run.lock`, which goes with its process however that ends. `run.json`
says who it is. Tasks, which may compute on other machines that see the same files, look at it now and then: where it is
gone, or names another run, they keep what they have and end. To take the file away works on a full disk, too.

Where Python has no `fcntl`, on Windows, nothing keeps two runs apart.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from dynlab.errors import InputError
from dynlab.files import write_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_LOCK, _HOLDER = "run.lock", "run.json"
_PATIENCE = 0.5  # seconds that one who only looks may hold the lock


@dataclass(frozen=True)
class Holder:
    """A run of a study."""

    run: str  # a name by chance
    pid: int
    host: str
    started: float  # seconds since 1970

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))
        return f"process {self.pid} on {self.host}, since {since}"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Holder]:
    """Hold the folder of a study for a run.

    Raises:
        InputError: If another run holds it, whose process is named, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("a")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror or error})") from error
    with file:
        deadline = time.monotonic() + _PATIENCE
        while not _locked(file):
            if time.monotonic() >= deadline:
                raise InputError(
                    f"{folder}: another run works here ({_read(folder) or 'it does not say which'}); wait for its end, "
                    "or end it"
                )
            time.sleep(_PATIENCE / 10)
        holder = Holder(secrets.token_hex(8), os.getpid(), socket.gethostname(), time.time())
        write_json(folder / _HOLDER, asdict(holder))
        try:
            yield holder
        finally:
            let_go(folder)


def let_go(folder: Path) -> None:
    """Tell the tasks of the run to end."""
    with contextlib.suppress(OSError):
        (folder / _HOLDER).unlink(missing_ok=True)


def is_run_by(folder: Path, run: str) -> bool:
    """Whether tasks of a run should go on."""
    try:
        text = (folder / _HOLDER).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    except OSError:  # a network that is down for a moment
        return True
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return json.loads(text)["run"] == run
    return True


def is_held(folder: Path) -> bool:
    """Whether a run of the study in a folder is alive."""
    try:
        with (folder / _LOCK).open("r+") as file:
            return not _locked(file)
    except OSError:
        return False


def _locked(file: IO[str]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(folder: Path) -> Holder | None:
    try:
        return Holder(**json.loads((folder / _HOLDER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None

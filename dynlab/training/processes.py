"""Members of an ensemble spread over processes, each of which computes on one thread.

A process is a plain `python -m dynlab.training.worker`: nothing of the program that trains is imported or run again in
it, so that it may be a script, standard input or a notebook. It takes one member after another. The images are in a
file that all of them map into memory.

A process that ends on its own, because memory ran out, say, does no harm: its member goes on from its checkpoint in
another one. If the program that trains ends, whichever way, so do they, with their checkpoints written.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

import dynlab
from dynlab.devices import ONE_THREAD, sigint_blocked
from dynlab.errors import InputError
from dynlab.training.member import Member, Work
from dynlab.training.run import EpochProgress, TrainingDiverged, TrainingFailed

_TRIES = 3  # of a member whose process ends
_PATIENCE = 0.1  # seconds between two looks at whether a signal arrived
# In bytes, for glibc: a training takes and gives back the same memory at every step (`dynlab.training.products`).
_PAGES_ARE_KEPT = {"MALLOC_TRIM_THRESHOLD_": str(1 << 28), "MALLOC_MMAP_THRESHOLD_": str(1 << 26)}


def train_in_processes(work: Work, processes: int) -> None:
    """Train members; those that have a checkpoint go on from it.

    Args:
        work: What to train.
        processes: How many to use, at least 1.

    Raises:
        InputError: If a file is refused or cannot be written; all members have their checkpoints then.
        TrainingFailed: If members cannot be trained, as their processes end again and again or another error comes up.
            Where members are kept, all others are trained before that.
        RuntimeError: If processes end before they can train any.
    """
    path = work.shared / "images.npy"  # numpy aligns the numbers in it as torch does in memory
    try:
        np.save(path, work.images.detach().cpu().contiguous().numpy(), allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    _Team(work, path, processes).train()


def _path_to_dynlab() -> dict[str, str]:
    """What makes another Python find this dynlab, where it does not stand among installed packages."""
    root = Path(dynlab.__file__).parents[1]
    if root in {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}:
        return {}
    paths = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": str(root) + (os.pathsep + paths if paths else "")}


class _Worker:
    """One process. What it says is put into `messages`, and None when it has ended."""

    def __init__(self, images: Path, messages: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]]) -> None:
        self.member: Member | None = None  # which it trains
        self.is_ready = False
        environment = ONE_THREAD | _PAGES_ARE_KEPT | _path_to_dynlab()
        # Not `-m` alone, which would prefer modules in the current folder to all others.
        command = [sys.executable, "-P", "-m", "dynlab.training.worker", str(images)]
        with sigint_blocked():  # and so it stays in the process, which ends when it is told to
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment
            )
        self._listener = threading.Thread(target=self._listen, args=(messages,), daemon=True)
        self._listener.start()

    def begin(self, member: Member) -> None:
        """Tell it to train a member."""
        self.member = member
        self._tell({"member": member.as_json()})

    def stop(self) -> None:
        """Tell it to keep what it has, and to end; at once if it has nothing, as when it is still starting."""
        if self.member is None:
            self._process.kill()
        self._tell({"stop": True})
        with contextlib.suppress(OSError):
            cast(IO[bytes], self._process.stdin).close()

    def status(self) -> str:
        """Wait for its end, and say how it ended."""
        self._listener.join()
        status = self._process.wait()
        if status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-status).name}"
        return f"signal {-status}"

    def _tell(self, message: Mapping[str, Any]) -> None:
        stdin = cast(IO[bytes], self._process.stdin)
        with contextlib.suppress(OSError, ValueError):  # it has ended, as will be noticed by the end of its output
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()

    def _listen(self, messages: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]]) -> None:
        with cast(IO[bytes], self._process.stdout) as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:
                    message = None
                if isinstance(message, dict):
                    messages.put((self, message))
                elif line.strip():  # printed by something that was imported
                    sys.stderr.write(line.decode(errors="replace"))
        self._process.wait()
        messages.put((self, None))


class _Team:
    """The processes, and what is left to do for them."""

    def __init__(self, work: Work, images: Path, processes: int) -> None:
        self._work, self._images, self._processes = work, images, processes
        self._waiting = deque(member for member in work.members if not member.is_over)
        self._workers: list[_Worker] = []
        self._messages: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = queue.SimpleQueue()
        self._ends = Counter[int]()  # of processes, by the number of the member that they trained
        self._false_starts = 0  # of processes that ended before they could train
        self._failures: dict[str, str] = {}  # by the names of members

    def train(self) -> None:
        """Train all members, or end when there is an interruption."""
        try:
            while not self._is_over():
                self._fill()
                with contextlib.suppress(queue.Empty):
                    self._hear(*self._messages.get(timeout=_PATIENCE))
        finally:
            for worker in self._workers:
                worker.stop()
            for worker in self._workers:
                worker.status()
        if self._failures:
            raise TrainingFailed(self._failures)

    def _is_over(self) -> bool:
        if self._work.interruption.requested or (self._failures and not self._work.is_kept):
            return True
        return not self._waiting and not any(worker.member for worker in self._workers)

    def _fill(self) -> None:
        """Give every process something to do, and start as many as there is something to do for."""
        for worker in [worker for worker in self._workers if worker.is_ready and worker.member is None]:
            if self._waiting:
                worker.begin(self._waiting.popleft())
            else:
                worker.stop()
                self._workers.remove(worker)
        unready = sum(not worker.is_ready for worker in self._workers)
        while len(self._workers) < self._processes and unready < len(self._waiting):
            self._workers.append(_Worker(self._images, self._messages))
            unready += 1

    def _hear(self, worker: _Worker, message: dict[str, Any] | None) -> None:
        member = worker.member
        if message is None:
            self._mourn(worker)
        elif "ready" in message:
            worker.is_ready = True
        elif member is None:
            raise RuntimeError(f"a process that trains nothing said {message}")
        elif "progress" in message:
            self._work.report(member.number, EpochProgress(**message["progress"]))
        elif "refused" in message:
            raise InputError(message["refused"])
        else:
            worker.member = None
            if "diverged" in message:
                self._work.report(member.number, TrainingDiverged(message["diverged"]))
            elif "stopped" in message:  # by a signal to it alone
                self._waiting.appendleft(member)
                self._workers.remove(worker)
                worker.status()
            elif "failed" in message:
                self._failures[member.name] = message["failed"]

    def _mourn(self, worker: _Worker) -> None:
        """Go on without a process that ended."""
        if worker not in self._workers:  # it was told to
            return
        self._workers.remove(worker)
        status, member = worker.status(), worker.member
        worker.stop()
        if member is not None:
            self._ends[member.number] += 1
            if self._ends[member.number] < _TRIES:
                self._waiting.appendleft(member)
            else:
                self._failures[member.name] = f"its process ended {_TRIES} times, the last time with {status}"
        elif not worker.is_ready:
            self._false_starts += 1
            if self._false_starts >= _TRIES:
                raise RuntimeError(f"processes for training end before they can begin, the last one with {status}")

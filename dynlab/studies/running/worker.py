"""A process of this machine that does tasks of a study, one after another, on one thread of the CPU.

It is spawned, and imports what it is sent, but not the program that runs the study: that needs no
`if __name__ == "__main__"`, and stages must not be defined in it. It is deaf to SIGINT, which a terminal sends to all
its processes. At SIGTERM its task ends with what it can keep, and the process with it. When the program that started it
is gone, it ends at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from dynlab.devices import ONE_THREAD, sigint_blocked
from dynlab.studies.running.task import Order, Stopped, TaskOutcome, perform

_LAST_SECONDS = 30.0  # that a process may take to end after SIGTERM


class _WorkerProcess(SpawnProcess):
    def start(self) -> None:
        """Start, with one thread for products, without the main module, and deaf to SIGINT."""
        main = sys.modules["__main__"]
        before = {name: os.environ.get(name) for name in ONE_THREAD}
        try:
            os.environ |= ONE_THREAD
            sys.modules["__main__"] = types.ModuleType("__main__")
            with sigint_blocked():
                super().start()
        finally:
            sys.modules["__main__"] = main
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


class WorkerContext(SpawnContext):
    """Of processes, which it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        process = _WorkerProcess(*args, **kwargs)
        self.started.append(process)
        return process


_busy = False  # whether this process, a worker, does a task
_ending = False  # whether it should end


def begin_worker() -> None:
    """Make this process one that does tasks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _end_worker(_number: int, _frame: object) -> None:
    global _ending
    if not _busy or _ending:
        os._exit(0)
    _ending = True
    last = threading.Timer(_LAST_SECONDS, os._exit, (0,))
    last.daemon = True
    last.start()
    raise Stopped


def perform_in_worker(order: Order) -> TaskOutcome:
    """Do a task in this process."""
    global _busy
    _busy = True
    try:
        return perform(order)
    finally:
        _busy = False
        if _ending:
            os._exit(0)

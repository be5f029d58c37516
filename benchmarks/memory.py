"""The peak of a process's anonymous memory (`RssAnon` of /proc/self/status), seen every 10 ms."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def anonymous() -> int:
    """Bytes of anonymous memory that this process holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell how much anonymous memory a process holds")


class Peak:
    """The most bytes that were held so far."""

    def __init__(self) -> None:
        self.bytes = anonymous()


@contextmanager
def watched() -> Iterator[Peak]:
    """Watch the memory of this process while the block runs."""
    peak, stop = Peak(), threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            peak.bytes = max(peak.bytes, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()

"""Signals held back until work is at a point where it can be kept.

A program may be told to end at any moment, also halfway through a change of weights. Inside `held_back` such a signal
is only noted; the work looks at it where nothing is half done, keeps what it has, and leaves the block. There the
signal is raised anew, so that whatever would have happened does: Python's `KeyboardInterrupt`, the program's own
handler, or the end of the process.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

# The first to be held back and the last to be let go: of the two it is the one whose handler usually raises an error.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interruption:
    """What arrived so far."""

    signal_number: int | None = None

    @property
    def requested(self) -> bool:
        """Whether work should keep what it has and end."""
        return self.signal_number is not None


@contextlib.contextmanager
def held_back() -> Iterator[Interruption]:
    """Hold back SIGINT and SIGTERM in the block, and raise them again at its end, where only the last one counts.

    A handler may come back from that, so the block may be left without an error though a signal arrived. A signal that
    is ignored, or that another library than Python handles, is left alone. Outside the main thread nothing is held
    back, as Python has signals there only.
    """
    interruption = Interruption()
    with _noted(interruption, lambda: None):
        yield interruption


@contextlib.contextmanager
def raising_signals() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at SIGINT and SIGTERM in the block; otherwise as `held_back`."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with _noted(Interruption(), interrupt):
        yield


@contextlib.contextmanager
def _noted(interruption: Interruption, react: Callable[[], None]) -> Iterator[None]:
    """Note signals in the block, and react to each, in place of what would have happened; that follows at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, _frame: object) -> None:
        interruption.signal_number = number
        react()

    before: dict[int, Any] = {}
    try:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):
                before[number] = handler
                signal.signal(number, note)
        yield
    finally:
        for number, handler in reversed(before.items()):
            signal.signal(number, handler)
        if interruption.signal_number is not None:
            signal.raise_signal(interruption.signal_number)

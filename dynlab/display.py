"""What the command line shows while it works, on stderr: bars on a terminal, a line for each stage elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


@dataclass
class Display:
    """Stages of work under way. A stage is named, and done to a share from 0 to 1."""

    console: Console
    bars: Progress | None  # None: only a line when a stage is done
    quiet: bool
    prefix: str = ""
    _tasks: dict[str, TaskID] = field(default_factory=dict)
    _started: dict[str, float] = field(default_factory=dict)
    _finished: set[str] = field(default_factory=set)

    def __call__(self, what: str, done: float, note: str = "") -> None:
        """Show that the stage `what` is done to the share `done`, with a note such as the objective."""
        name = f"{self.prefix}{what}"
        started = self._started.setdefault(name, time.monotonic())
        if self.quiet or name in self._finished:
            return
        if done >= 1:
            self._finished.add(name)
        if self.bars is not None:
            if name not in self._tasks:
                self._tasks[name] = self.bars.add_task(name, total=1.0, note="")
            self.bars.update(self._tasks[name], completed=done, note=note)
        elif done >= 1:
            self.console.print(
                f"{name}: {time.monotonic() - started:.1f} s{f', {note}' if note else ''}",
                markup=False,
                highlight=False,
            )


@contextlib.contextmanager
def shown(*, quiet: bool = False) -> Iterator[Display]:
    """Show progress until the block ends."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Display(console, None, quiet)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as bars:
        yield Display(console, bars, quiet)

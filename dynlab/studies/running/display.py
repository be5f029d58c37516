"""What a study shows while it runs, on stderr: a live table on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynlab.studies.running.progress import StudyStatus, TaskStatus

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

_ROWS = 30  # of cells


@dataclass
class StudyDisplay:
    """Where lines and tables go; nowhere once they cannot be written, as all of it is in a log."""

    console: Console | None  # None: nowhere
    live: Live | None = None

    def say(self, line: str) -> None:
        """Write a line that stays."""
        if self.console is not None:
            try:
                self.console.print(line, markup=False, highlight=False, soft_wrap=True)
            except OSError:
                self.console = None

    def show(self, status: StudyStatus) -> None:
        """Show how the study stands now, where there is a terminal."""
        if self.live is not None:
            self.live.update(table_of(status))


@contextlib.contextmanager
def shown_study(*, quiet: bool = False) -> Iterator[StudyDisplay]:
    """Show a study until the block ends."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet:
        yield StudyDisplay(None)
    elif console.is_terminal:
        from rich.live import Live

        with Live(console=console, refresh_per_second=2) as live:
            yield StudyDisplay(console, live)
    else:
        yield StudyDisplay(console)


def table_of(status: StudyStatus) -> RenderableType:
    """A row for each cell, those under way first, with what they say; and how many tasks there are in each state."""
    from rich.box import SIMPLE_HEAD
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table("cell", "", "time", "left", "", title=Text(status.title), title_justify="left", box=SIMPLE_HEAD)
    cells: dict[str, list[TaskStatus]] = {}
    for task in status.tasks:
        cells.setdefault(task.cell, []).append(task)
    ordered = sorted(cells.items(), key=lambda cell: _rank(cell[1]))  # stable
    for name, tasks in ordered[:_ROWS]:
        running = [task for task in tasks if task.state == "running"]
        table.add_row(
            Text(name),
            ProgressBar(total=1.0, completed=sum(task.done for task in tasks) / len(tasks), width=20),
            duration(sum(task.seconds or 0.0 for task in tasks) or None),
            duration(max((task.left for task in running if task.left is not None), default=None)),
            Text(_words(tasks)),
        )
    table.caption = Text(summary_line(status) + (f"; {len(cells)} cells in all" if len(cells) > _ROWS else ""))
    table.caption_justify = "left"
    return table


def _rank(tasks: Sequence[TaskStatus]) -> int:
    """Where a cell stands: under way, failed, begun, waiting, done."""
    states = {task.state for task in tasks}
    if "running" in states:
        return 0
    if states & {"failed", "not run"}:
        return 1
    if states <= {"computed", "reused"}:
        return 4
    return 2 if states & {"computed", "reused"} else 3


def _words(tasks: Sequence[TaskStatus]) -> str:
    """What is under way of a cell, or what became of it."""
    words = [f"{task.part} {task.note}".strip() for task in tasks if task.state == "running"]
    words += [f"{task.part} failed" for task in tasks if task.state == "failed"]
    if not words and all(task.state in ("computed", "reused") for task in tasks):
        return "done"
    return ", ".join(words)


def summary_line(status: StudyStatus) -> str:
    """How many tasks are in which state, and the time to the end."""
    states = ("computed", "reused", "running", "queued", "waiting", "failed", "not run", "stopped")
    counts = [f"{count} {state}" for state in states if (count := status.count(state))]
    left = f", about {duration(status.left)} left" if status.left is not None else ""
    return f"{status.state}: {len(status.tasks)} tasks, {', '.join(counts) or 'nothing to do'}{left}"


def task_line(task: TaskStatus) -> str:
    """How a task stands, in a line."""
    parts = [f"{task.share:.0%}"] if task.state == "running" else []
    if task.seconds is not None:
        parts.append(duration(task.seconds))
    if task.left is not None:
        parts.append(f"{duration(task.left)} left")
    if task.note:
        parts.append(task.note)
    return f"{task.label}: {task.state}{' ' if parts else ''}{', '.join(parts)}"


def duration(seconds: float | None) -> str:
    """A time that people can read, such as 3 h 05 min, 2 min 10 s, 4.2 s or 12 ms; nothing if it is unknown."""
    if seconds is None:
        return ""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"

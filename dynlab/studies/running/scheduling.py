"""Run the tasks of a study: in order, once, and through whatever stops a program.

Tasks form a graph: each fills places of the store, and may need places that others fill. What is whole in the store is
reused, what is damaged is set aside and computed anew, and of the rest each task is submitted to an executor as soon as
what it needs is there, the first in their order first. A task that fails keeps no other from being done, except those
that need what it should have filled.

A worker process that dies takes the executor with it. It is begun again, and the tasks that were under way are
submitted again. As it is not known which of them is to blame, a task whose process ended twice goes on alone, and fails
if its process ends once more.

At SIGINT and SIGTERM no task is begun any more, those under way are asked to end, which trainings do with their
checkpoints written, and what does not end in time is killed. A second signal kills it at once. The next run goes on
from there, as it would after any other end.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from dynlab.studies.running.display import StudyDisplay, duration
from dynlab.studies.running.executors import Workers
from dynlab.studies.running.failures import Failure, forget_failures, write_failures, write_traceback
from dynlab.studies.running.lock import Holder, held, let_go
from dynlab.studies.running.progress import Board
from dynlab.studies.running.summary import Summary
from dynlab.studies.running.task import PROGRESS, Order, Stopped, Task, TaskOutcome, file_name, progress_path
from dynlab.studies.store import Place, State, Store
from dynlab.training.interruption import Interruption, held_back, raising_signals

LOG = "run.log"
_PATIENCE = 0.2  # seconds between two looks at whether a signal arrived
_TRIES = 3  # of a task whose process ends
GRACE_SECONDS = 25.0  # seconds for tasks to end in order; schedulers of clusters often kill 30 s after SIGTERM


def run_tasks(
    tasks: Sequence[Task],
    folder: Path,
    workers: Workers,
    *,
    title: str = "",
    display: StudyDisplay | None = None,
    grace_seconds: float = GRACE_SECONDS,
    on_begin: Callable[[], None] | None = None,
) -> Summary:
    """Do what is not done yet of the tasks of a study.

    Args:
        tasks: In the order in which to do them; each after those it needs.
        folder: Of the study; one run at a time may work there.
        workers: Where tasks are done. They are closed at the end.
        title: Of the study.
        display: Where to say what happens; nowhere if not given. All of it is in `run.log`, too.
        grace_seconds: How long tasks may take to end after a signal, at least 0.
        on_begin: Called once the folder belongs to this run.

    Returns:
        What was done. After a signal there is no return: it has its usual effect, such as a `KeyboardInterrupt`, once
        all is in order.

    Raises:
        InputError: If another run works in the folder, it cannot be written to, or a scheduler is gone for good.
        ValueError: If two tasks have one name or one place, or one needs what no task before it fills.
    """
    _check(tasks)
    # The signal is raised anew when the outermost block ends, as it may end the process there and then.
    with held_back() as interruption, contextlib.closing(workers), held(folder) as holder:
        if on_begin:
            on_begin()
        return _Run(
            tasks, folder, workers, holder, interruption, title, display or StudyDisplay(None), grace_seconds
        ).go()


def _check(tasks: Sequence[Task]) -> None:
    names: set[str] = set()
    places: dict[str, Place] = {}
    for task in tasks:
        if task.name in names:
            raise ValueError(f"two tasks are called {task.name}, expected names that tell them apart")
        names.add(task.name)
        for place in task.needs:
            if places.get(place.name) != place:
                raise ValueError(f"{task.name} needs {place.name}, which no task before it fills")
        for place in task.places:
            if place.name in places:
                raise ValueError(f"{task.name} fills {place.name}, as another task does")
            places[place.name] = place


@dataclass
class _Run:
    tasks: Sequence[Task]
    folder: Path
    workers: Workers
    holder: Holder
    interruption: Interruption
    title: str
    display: StudyDisplay
    grace_seconds: float
    _waiting: dict[str, Task] = field(default_factory=dict)  # by name, in order
    _running: dict[Future[TaskOutcome], Task] = field(default_factory=dict)
    _todo: dict[str, tuple[Place, ...]] = field(default_factory=dict)  # places to fill, by the task
    _filled: set[str] = field(default_factory=set)  # names of places
    _empty: dict[str, str] = field(default_factory=dict)  # and of those that stay empty, with the task that failed
    _ends: Counter[str] = field(default_factory=Counter)  # of processes, by the task they did
    _computed: list[str] = field(default_factory=list)
    _reused: list[str] = field(default_factory=list)
    _failed: list[Failure] = field(default_factory=list)
    _not_run: list[str] = field(default_factory=list)
    _stopped: list[str] = field(default_factory=list)
    _aside: list[Path] = field(default_factory=list)
    _is_over: bool = False  # told to end

    def go(self) -> Summary:
        started = time.monotonic()
        self._store = Store(self.folder)
        self._board = Board(self.folder, self.title, self.holder, self.tasks, self.workers.in_flight, self.display.show)
        self._clear()
        self._board.begin()
        try:
            self._look()
            while not self._told_to_end() and (self._running or self._waiting):
                self._board.count_parallel()
                self._submit()
                self._collect()
            if self._is_over:
                self._end()
            else:
                self._remove_leftovers("killed processes")
        except BaseException:
            self._board.end("interrupted")
            raise
        self._board.end("interrupted" if self._is_over else "finished")
        return Summary(
            tuple(self._computed),
            tuple(self._reused),
            tuple(self._failed),
            tuple(self._not_run),
            tuple(self._stopped),
            tuple(self._aside),
            time.monotonic() - started,
        )

    def _clear(self) -> None:
        """Remove what an earlier run left that is no result."""
        shutil.rmtree(self.folder / PROGRESS, ignore_errors=True)
        forget_failures(self.folder)
        self._say(f"run {self.holder.run} of {len(self.tasks)} tasks, {self.holder}")
        self._remove_leftovers("an earlier run")

    def _remove_leftovers(self, whose: str) -> None:
        if count := self._store.remove_leftovers():
            self._say(f"removed {count} folders that {whose} left half written")

    def _look(self) -> None:
        """See what is there. What is made from something that is not there yet is looked at when that is."""
        for task in self.tasks:
            self._waiting[task.name] = task
            if self._told_to_end():
                continue
            if all(place.name in self._filled for place in task.needs):
                self._look_at(task)

    def _look_at(self, task: Task) -> None:
        """See which places of a task, whose needs are there, are to be filled."""
        todo, times = [], []
        for place in task.places:
            found = self._store.look(place, needs=task.needs)
            if found.state is State.WHOLE:
                self._filled.add(place.name)
                times.append(found.seconds)
                continue
            todo.append(place)
            if found.state is State.DAMAGED:
                aside = self._store.set_aside(place)
                self._aside.append(aside)
                self._say(f"{task.label}: {place.name} is damaged, {found.words}: set aside as {aside.name}")
            elif found.state is State.STALE:
                self._say(f"{task.label}: {place.name} is stale, {found.words}: computed anew")
        self._todo[task.name] = tuple(todo)
        if not todo:
            del self._waiting[task.name]
            self._reused.append(task.name)
            self._board.set(task.name, "reused", seconds=None if None in times else sum(times))
            self._say(f"{task.label}: reused")

    def _told_to_end(self) -> bool:
        self._is_over = self._is_over or self.interruption.requested
        return self._is_over

    def _submit(self) -> None:
        """Submit what can be done, as far as there is room."""
        most = self.workers.in_flight()
        for task in list(self._waiting.values()):
            blocked = next((self._empty[place.name] for place in task.needs if place.name in self._empty), None)
            if blocked is not None:
                del self._waiting[task.name]
                self._not_run.append(task.name)
                self._empty |= dict.fromkeys((place.name for place in self._todo.get(task.name, task.places)), blocked)
                self._board.set(task.name, "not run", note=f"{blocked} failed")
                self._say(f"{task.label}: not run, as {blocked} failed")
        for task in list(self._waiting.values()):
            if len(self._running) >= most or any(future.done() for future in self._running):
                return
            if any(self._ends[other.name] >= _TRIES - 1 for other in self._running.values()):
                return  # that one goes on alone; they come first, so that nothing else is under way before
            if not all(place.name in self._filled for place in task.needs) or not self._has_room(task):
                continue
            if task.name not in self._todo:
                self._look_at(task)
            if task.name in self._waiting:
                self._begin(task)

    def _has_room(self, task: Task) -> bool:
        for name, amount in task.resources.items():
            used = sum(other.resources.get(name, 0.0) for other in self._running.values())
            if used and used + amount > self.workers.room(name):
                return False
        return True

    def _begin(self, task: Task) -> None:
        del self._waiting[task.name]
        with contextlib.suppress(OSError):
            progress_path(self.folder, task.name).unlink(missing_ok=True)
        self._board.set(task.name, "queued")
        order = Order(
            self.folder.absolute(),
            self.holder.run,
            task.name,
            task.function,
            task.arguments,
            self._todo[task.name],
            task.needs,
        )
        try:
            future = self.workers.submit(order, task.resources)
        except BrokenExecutor as error:  # that was not known yet
            future = Future()
            future.set_exception(error)
        self._running[future] = task

    def _collect(self) -> None:
        """Take what is done."""
        if not self._running:
            return
        done, _ = wait(self._running, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
        if any(_is_lost(future) for future in done):
            if self._told_to_end():  # which may have been told to the processes as well
                return
            wait(self._running, timeout=_PATIENCE * 10)  # the others end as well
            lost = [future for future in self._running if not future.done() or _is_lost(future)]
            alone = len(self._running) == 1
            done = set(self._running)
            self.workers.restart()
            for future in lost:
                self._mourn(self._running.pop(future), alone=alone)
            done -= set(lost)
        for future in done:
            self._take(self._running.pop(future), future)

    def _mourn(self, task: Task, *, alone: bool) -> None:
        """Go on without the process that did a task."""
        self._ends[task.name] += 1
        if alone and self._ends[task.name] >= _TRIES:
            self._fail(task, f"its process ended {self._ends[task.name]} times, the last time while it ran alone", "")
            return
        self._say(f"{task.label}: its process ended, or another one with it; submitted again")
        self._board.set(task.name, "waiting")
        self._waiting = {task.name: task} | self._waiting

    def _take(self, task: Task, future: Future[TaskOutcome]) -> None:
        try:
            outcome = future.result()
        except (KeyboardInterrupt, Stopped):  # in this process, or one that was told to end
            outcome = TaskOutcome(0.0, stopped=True)
        except Exception as error:  # of the executor
            outcome = TaskOutcome(0.0, failure=f"{type(error).__name__}: {error}".partition("\n")[0])
        if outcome.stopped:
            self._is_over = True  # as a signal said, or whoever took away the file of the run
            self._stopped.append(task.name)
            self._board.set(task.name, "stopped")
            self._say(f"{task.label}: stopped after {duration(outcome.seconds)}")
        elif outcome.failure is not None:
            self._fail(task, outcome.failure, outcome.traceback)
        else:
            self._finish(task, outcome)

    def _finish(self, task: Task, outcome: TaskOutcome) -> None:
        reasons = dict(outcome.reasons)
        for place in self._todo[task.name]:
            if place.name not in reasons and not self._store.path(place).is_dir():
                reasons[place.name] = f"{place.name} is not there, though its task ended without an error"
            if place.name in reasons:
                self._fail_places(task, (place,), reasons[place.name], "")
            else:
                self._filled.add(place.name)
        if reasons:
            self._board.set(task.name, "failed", note=next(iter(reasons.values())), seconds=outcome.seconds)
            return
        self._computed.append(task.name)
        self._board.set(task.name, "computed", seconds=outcome.seconds)
        self._say(f"{task.label}: computed in {duration(outcome.seconds)}")

    def _fail(self, task: Task, reason: str, traceback: str) -> None:
        # What a task filled before it failed is there for others.
        empty = []
        for place in self._todo[task.name]:
            if self._store.look(place).state is State.WHOLE:
                self._filled.add(place.name)
            else:
                empty.append(place)
        self._fail_places(task, tuple(empty), reason, traceback)
        self._board.set(task.name, "failed", note=reason)

    def _fail_places(self, task: Task, places: tuple[Place, ...], reason: str, traceback: str) -> None:
        file = None
        if traceback:
            file = write_traceback(self.folder, file_name(task.name), f"{task.label}\n\n{traceback}")
        names = tuple(place.name for place in places)
        self._failed.append(Failure(task.name, task.label, names, reason, file))
        self._empty |= dict.fromkeys(names, task.label)
        write_failures(self.folder, self._failed)
        self._say(f"{task.label}: failed, {reason}{f' ({file})' if file else ''}")

    def _end(self) -> None:
        """End in order, and at a second signal without."""
        if self._running:
            under_way = f"{len(self._running)} under way"
            self._say(f"interrupted: tasks are asked to end, {under_way}, within {self.grace_seconds:g} s")
        let_go(self.folder)
        with _killing(self.workers):
            self.workers.stop(self.grace_seconds)
        for future, task in self._running.items():
            if future.done() and not _is_lost(future):
                self._take(task, future)
            else:
                self._stop(task)
        for task in self._waiting.values():
            self._stop(task)
        self._running.clear()
        self._waiting.clear()
        self._say("interrupted; run again, the study goes on from here")

    def _stop(self, task: Task) -> None:
        self._stopped.append(task.name)
        self._board.set(task.name, "stopped")

    def _say(self, line: str) -> None:
        self.display.say(line)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError), (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")


def _is_lost(future: Future[TaskOutcome]) -> bool:
    """Whether the task of a future must be done again, as the executor broke."""
    return future.cancelled() or isinstance(future.exception(), BrokenExecutor | CancelledError)


@contextlib.contextmanager
def _killing(workers: Workers) -> Iterator[None]:
    try:
        with raising_signals():
            yield
    except KeyboardInterrupt:
        workers.close()

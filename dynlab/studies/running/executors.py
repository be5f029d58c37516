"""Where the tasks of a study are done: in this process, in processes of this machine, or on the workers of Dask.

The runner knows executors of `concurrent.futures` and the little more that `Workers` has: how to begin again when an
executor broke, and how to let tasks end in order.

Workers of Dask need a folder for the study that all of them see under one path, and the data. A worker that dies is
replaced by the others, and one that joins gets its share. `dask worker tcp://... --nthreads 1 --resources "GPU=1"`
starts one that computes on a GPU. What asks for that resource waits until a worker has it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from dynlab.errors import InputError
from dynlab.studies.running.task import Order, TaskOutcome, perform
from dynlab.studies.running.worker import WorkerContext, begin_worker, perform_in_worker
from dynlab.training.interruption import raising_signals

_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx")
_TIMEOUT = 10  # seconds to reach a scheduler
_FRESH = 2.0  # seconds that the workers of a scheduler are taken for known
_AHEAD = 2  # tasks submitted for each worker, and for each unit of a resource


class Workers(Protocol):
    """An executor, and what the runner needs beside it."""

    def room(self, resource: str) -> float:
        """How much of a resource the tasks that are submitted at a time may ask for; one may always ask for more."""
        ...

    def in_flight(self) -> int:
        """How many tasks to submit at a time, at least 1."""
        ...

    def submit(self, order: Order, resources: Mapping[str, float]) -> Future[TaskOutcome]:
        """Have a task performed."""
        ...

    def restart(self) -> None:
        """Begin again after the executor broke; its futures are all done."""
        ...

    def stop(self, seconds: float) -> None:
        """Let the tasks that are under way end within some seconds, as their run is over; then end."""
        ...

    def close(self) -> None:
        """End at once."""
        ...


class InProcess:
    """One task at a time, in this process and thread. SIGINT and SIGTERM end it with an error that `submit` keeps."""

    def room(self, resource: str) -> float:
        """See `Workers`."""
        return float("inf")

    def in_flight(self) -> int:
        """See `Workers`."""
        return 1

    def submit(self, order: Order, resources: Mapping[str, float]) -> Future[TaskOutcome]:
        """See `Workers`."""
        future: Future[TaskOutcome] = Future()
        try:
            with raising_signals():
                outcome = perform(order)
            future.set_result(outcome)
        except BaseException as error:
            future.set_exception(error)
        return future

    def restart(self) -> None:
        """See `Workers`."""

    def stop(self, seconds: float) -> None:
        """See `Workers`."""

    def close(self) -> None:
        """See `Workers`."""


class LocalProcesses:
    """Processes of this machine.

    Args:
        processes: How many, at least 1.
        gpus: How many tasks that want a GPU are done at a time.

    Raises:
        InputError: If `processes` is below 1.
    """

    def __init__(self, processes: int, gpus: int = 1) -> None:
        if processes < 1:
            raise InputError(f"processes is {processes}, expected at least 1")
        self._processes, self._gpus = processes, gpus
        self._begin()

    def _begin(self) -> None:
        self._context = WorkerContext()
        self.executor = ProcessPoolExecutor(self._processes, mp_context=self._context, initializer=begin_worker)

    def room(self, resource: str) -> float:
        """See `Workers`."""
        return self._gpus if resource == "GPU" else float("inf")

    def in_flight(self) -> int:
        """See `Workers`."""
        return self._processes

    def submit(self, order: Order, resources: Mapping[str, float]) -> Future[TaskOutcome]:
        """See `Workers`."""
        return self.executor.submit(perform_in_worker, order)

    def restart(self) -> None:
        """See `Workers`."""
        self.close()
        self._begin()

    def stop(self, seconds: float) -> None:
        """See `Workers`."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        for process in self._alive():
            process.terminate()
        deadline = time.monotonic() + seconds
        while (alive := self._alive()) and time.monotonic() < deadline:
            connection.wait([process.sentinel for process in alive], timeout=deadline - time.monotonic())
        self.close()

    def close(self) -> None:
        """See `Workers`."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        for process in self._alive():
            process.kill()

    def _alive(self) -> list[SpawnProcess]:
        return [process for process in self._context.started if process.is_alive()]


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        is_right = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port is not None
    except ValueError:
        is_right = False
    if not is_right:
        raise InputError(f"scheduler is {address!r}, expected an address such as tcp://10.0.0.1:8786")


class DaskWorkers:
    """Workers of a Dask scheduler.

    Args:
        address: Of the scheduler, such as tcp://10.0.0.1:8786.

    Raises:
        InputError: If `distributed` is not installed, this is no address, or no scheduler answers there.
    """

    def __init__(self, address: str) -> None:
        _check_address(address)
        self._address = address
        self._looked = -_FRESH
        self._count = 1
        self._resources: dict[str, float] = {}
        self._futures: dict[Future[TaskOutcome], Mapping[str, float]] = {}  # with what each asks for
        self._begin()

    def _begin(self) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise InputError("scheduler: needs the package distributed, `pip install dynlab[cluster]`") from error
        try:
            self._client = Client(self._address, timeout=_TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"scheduler {self._address}: cannot be reached ({error or type(error).__name__})"
            ) from error
        self.executor: Executor = self._client.get_executor(pure=False)
        self._by_resources: dict[tuple[tuple[str, float], ...], Executor] = {(): self.executor}

    def in_flight(self) -> int:
        """See `Workers`. Two for each worker, so that none waits for the next one; the runner waits for no worker.

        What asks for something that no worker has now comes on top: it waits, and keeps nothing else from being done.
        """
        self._look()
        lost = [
            future
            for future, asked in self._futures.items()
            if not future.done() and any(self._resources.get(name, 0.0) < amount for name, amount in asked.items())
        ]
        return _AHEAD * self._count + len(lost)

    def room(self, resource: str) -> float:
        """See `Workers`. As much again as there is waits for it, and what else is to be done does not wait behind.

        Also where there is none at the moment, so that the worker who brings it finds something to do.
        """
        self._look()
        return _AHEAD * max(1.0, self._resources.get(resource, 0.0))

    def _look(self) -> None:
        """See which workers there are, if that is not known."""
        if time.monotonic() - self._looked >= _FRESH:
            with contextlib.suppress(OSError):  # a scheduler that is away for a moment
                workers = self._offered()
                self._count = max(1, len(workers))
                names = {name for resources in workers for name in resources}
                self._resources = {name: sum(one.get(name, 0.0) for one in workers) for name in names}
            self._looked = time.monotonic()

    def _offered(self) -> list[Mapping[str, float]]:
        """The resources of each worker at this moment."""
        # Not `scheduler_info`, which tells of no workers while the scheduler is away, or another call is answered.
        client = cast(Any, self._client)  # whose types know of no synchronous use
        workers = client.sync(client.scheduler.identity, n_workers=-1)["workers"].values()
        return [worker.get("resources") or {} for worker in workers]

    def submit(self, order: Order, resources: Mapping[str, float]) -> Future[TaskOutcome]:
        """See `Workers`. While no worker has what is asked for, the task waits for one."""
        asked = tuple(sorted(resources.items()))
        if asked not in self._by_resources:
            self._by_resources[asked] = self._client.get_executor(pure=False, resources=dict(resources))
        future = self._by_resources[asked].submit(perform, order)
        self._futures = {one: its for one, its in self._futures.items() if not one.done()} | {future: resources}
        return future

    def offers(self, resource: str) -> bool:
        """Whether a worker has a resource at this moment."""
        return any(resource in resources for resources in self._offered())

    def restart(self) -> None:
        """See `Workers`."""
        self.close()
        self._begin()

    def stop(self, seconds: float) -> None:
        """See `Workers`."""
        wait(self._futures, timeout=seconds)
        self.close()

    def close(self) -> None:
        """See `Workers`."""
        for future in self._futures:
            future.cancel()
        self._futures.clear()
        with contextlib.suppress(Exception):  # a scheduler that is gone
            self._client.close(timeout=_TIMEOUT)

"""Which device computes, on how many threads, and what processes that compute beside each other are started with."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dynlab.errors import InputError

if TYPE_CHECKING:
    import torch

# In the environment of a process, which then multiplies on one thread.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_NAMES = re.compile(r"auto|cpu|cuda(:\d+)?", flags=re.ASCII)


def check_device(name: str) -> None:
    """Check that `name` may be a device, such as one of another machine: "auto", "cpu", "cuda", "cuda:1", ...

    Raises:
        InputError: If it is none of these.
    """
    if _NAMES.fullmatch(name) is None:
        raise InputError(f"device is {name!r}, expected auto, cpu or a CUDA device")


def resolve_device(name: str) -> torch.device:
    """The device called `name`: "cpu", "cuda", "cuda:1", ..., or "auto" for CUDA where there is some, else the CPU.

    Raises:
        InputError: If there is no such device here.
    """
    import torch

    refusal = f"device is {name!r}, expected auto, cpu or a CUDA device of this machine"
    if _NAMES.fullmatch(name) is None:
        raise InputError(refusal)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device(name)
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{refusal} ({reason})") from error
    return device


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def sigint_blocked() -> Iterator[None]:
    """Let a process that is started in the block be deaf to SIGINT, which a terminal sends to all; it stays so."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread of the CPU in the block, or in the function that this decorates."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def one_thread_in_all() -> Iterator[None]:
    """The same for all libraries, such as those that numpy and scikit-learn call."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), one_thread():
        yield

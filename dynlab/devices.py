"""Which device computes, and on how many threads."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dynlab.errors import InputError

if TYPE_CHECKING:
    import torch

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

"""An epoch in launches: several steps of training at a time, which on a GPU are one launch of a recorded CUDA graph.

A step on minibatches of 20 is some thirty kernels of a few microseconds, and to launch them one by one takes longer
than to run them. What a launch does is therefore recorded once, and then replayed. A recording repeats the same kernels
on the same memory, so what differs between launches, such as which minibatch it is, must be read from the device, and
changed there.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynlab.recordings import can_record, record


@dataclass(frozen=True)
class Launch:
    """Some minibatches in succession."""

    rows: int  # samples of each minibatch
    steps: int  # minibatches


def launches(samples: int, batch_size: int, done: int, steps_per_launch: int) -> Iterator[Launch]:
    """The launches from a minibatch of an epoch to its end: each minibatch is in one of them, in order.

    Most have `steps_per_launch` steps, the rest before the end one; so has a last minibatch that is not full.

    Args:
        samples: Of the epoch.
        batch_size: Samples of a minibatch, of the last one at most.
        done: Minibatches that are behind.
        steps_per_launch: At least 1.
    """
    full, remainder = divmod(samples, batch_size)
    while done < full:
        steps = steps_per_launch if full - done >= steps_per_launch else 1
        yield Launch(batch_size, steps)
        done += steps
    if remainder and done == full:
        yield Launch(remainder, 1)


class Launcher:
    """Does the work of launches: by recordings of it on CUDA, on other devices by calling it.

    Args:
        work: What a launch does. It neither waits for the device nor copies from the host, and it changes nothing that
            is read later but `changed`.
        changed: What `work` changes, tensors that stay where they are.
        device: Where.
    """

    def __init__(self, work: Callable[[Launch], None], changed: Sequence[Tensor], device: torch.device) -> None:
        self._work, self._changed, self._device = work, changed, device
        self._replays: dict[Launch, Callable[[], None]] = {}

    def __call__(self, launch: Launch) -> None:
        """Do a launch, or on CUDA have it done when its turn has come."""
        if launch not in self._replays:
            self._replays[launch] = self._recorded(launch)
        self._replays[launch]()

    def forget(self) -> None:
        """Record anew from now on: `work` has become something else."""
        self._replays.clear()

    def _recorded(self, launch: Launch) -> Callable[[], None]:
        work = functools.partial(self._work, launch)
        recorded = record(work, self._device, changed=self._changed) if can_record(self._device) else None
        return work if recorded is None else recorded[0]


@contextlib.contextmanager
def precision_of_products(*, tf32: bool) -> Iterator[None]:
    """Let products of float32 matrices on CUDA round to TF32, or be in float32, in the block.

    TF32 numbers have 10 bits after the leading one instead of 23, and the same range.
    """
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = "tf32" if tf32 else "ieee"
    try:
        yield
    finally:
        products.fp32_precision = before

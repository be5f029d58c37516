"""Work that CUDA does many times over, recorded once as a graph and from then on replayed in one launch.

Many short kernels take longer to launch than to run. A graph repeats the same kernels on the same memory, so what
differs from one time to the next must be read from the device, and changed there. Before it is recorded the work is
done a few times as a trial, on the stream that records, so that libraries are loaded, kernels compiled and buffers
made.

A recording that fails leaves torch's allocator believing that one is under way, and no other can be made in the
process. So `reads_device` tells beforehand of work that cannot be recorded; should a recording fail all the same,
nothing is recorded any more, and all work is done step by step.

Source: PyTorch, CUDA semantics, section "CUDA Graphs".
"""

from __future__ import annotations

import functools
import gc
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

_TRIALS = 3  # as torch's documentation has it
_aten = torch.ops.aten
_DECIDING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_INDEXING = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}
_COPIES = {_aten._to_copy, _aten.copy, _aten.copy_}
_CHECKED = {_aten._linalg_check_errors}

_DEVICE = "cuda"  # the type of devices that record
_failed: list[torch.cuda.CUDAGraph] = []  # kept, as the allocator still refers to it
_lock = threading.Lock()  # one recording at a time in a process

Result = TypeVar("Result")


def can_record(device: torch.device) -> bool:
    """Whether work on `device` can be recorded: on CUDA, as long as no recording has failed."""
    return device.type == _DEVICE and not _failed


def record(
    work: Callable[[], Result], device: torch.device, *, changed: Sequence[Tensor] = ()
) -> tuple[Callable[[], None], Result] | None:
    """Record some work.

    Args:
        work: What to do. It neither waits for the device nor copies from the host, and it changes nothing that is read
            later but `changed`.
        device: A device that `can_record`.
        changed: What `work` changes, tensors that stay where they are; they are as before when this returns.

    Returns:
        What does the work anew, on the current stream of the device.
        What `work` returned while it was recorded: tensors that have no values until then, and new ones each time.
        Or None, with a warning, if the recording failed.
    """
    with _lock, torch.cuda.device(device):
        stream, current = _stream(device), torch.cuda.current_stream()
        kept = [tensor.clone() for tensor in changed]
        stream.wait_stream(current)
        # The outer block puts the stream back where torch's own, which records, fails to.
        with torch.cuda.stream(stream):
            for _ in range(_TRIALS):
                work()
                for tensor, value in zip(changed, kept, strict=True):
                    tensor.copy_(value)
            current.wait_stream(stream)
            # Nothing may be freed during the recording, as recordings that are over could be.
            gc.collect()
            graph = torch.cuda.CUDAGraph()
            try:
                # Other threads may go on using the device.
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    result = work()
            except RuntimeError as error:
                _failed.append(graph)
                reason = str(error).partition("\n")[0]
                warnings.warn(
                    f"work on {device} is not recorded any more, and may take longer ({reason})", stacklevel=2
                )
                return None

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay, result


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The stream that records: one for all recordings, as libraries keep memory for each stream they have met."""
    return torch.cuda.Stream(device)


def reads_device(work: Callable[[], object]) -> bool:
    """Do some work, and tell whether the host waits for the device meanwhile, or copies to it, as a recording may not.

    Seen is what torch's operations are called with and how they are tagged, not what kernels do themselves.
    """
    try:
        with _Reads() as reads:
            work()
    except Exception:  # what cannot be looked into may do anything
        return True
    return reads.found


class _Reads(TorchDispatchMode):
    """Looks for values of tensors that decide what comes next, and for copies between devices."""

    found = False
    supports_higher_order_operators = True

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Whether compiled code stays compiled; else dynamo would not compile it any more, here and ever after."""
        return True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.found |= _reads(func, args, result)
        return result


def _reads(operation: Any, args: Sequence[Any], result: Any) -> bool:
    packet, tags = getattr(operation, "overloadpacket", None), getattr(operation, "tags", ())
    if packet is None:  # an operator of operators
        return True
    if (
        packet in _INDEXING
    ):  # a mask has to be counted, an index of the host to be copied; others leave shapes as they are
        indices = _tensors(args[1])
        return any(index.dtype in (torch.bool, torch.uint8) or index.device != args[0].device for index in indices)
    if packet in _COPIES:
        return len({tensor.device for tensor in _tensors((args, result))}) > 1
    if packet is _aten.lift_fresh:  # made of numbers of the host
        return result.device.type != "cpu"
    return packet in _CHECKED or not _DECIDING.isdisjoint(tags)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]

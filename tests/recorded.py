"""What a CUDA graph is, on the CPU: operations that can be repeated, on the same memory, whatever Python knows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from dynlab import recordings


class Recordings:
    """Has `dynlab.recordings` record what the CPU does, from `begin` on; `made` counts what was begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch, self.made = monkeypatch, 0

    def begin(self, *, failing: bool = False) -> None:
        """From now on the CPU can record, or fails to in the way CUDA does.

        Torch's own context does not put the stream back when a recording fails; here streams are no streams at all.
        """
        stream = SimpleNamespace(wait_stream=lambda other: None)
        for name in ("Stream", "current_stream"):
            self._patch.setattr(torch.cuda, name, lambda *_: stream)
        for name in ("stream", "device"):
            self._patch.setattr(torch.cuda, name, lambda _: contextlib.nullcontext())
        self._patch.setattr(torch.cuda, "CUDAGraph", _Operations)
        self._patch.setattr(torch.cuda, "graph", self._failing if failing else self._graph)
        self._patch.setattr(recordings, "_DEVICE", "cpu")
        self._patch.setattr(recordings, "_failed", [])
        recordings._stream.cache_clear()

    @contextlib.contextmanager
    def _graph(self, operations: _Operations, **_options: Any) -> Iterator[None]:
        self.made += 1
        with operations:
            yield
        operations.undo()  # a recording does not compute

    @contextlib.contextmanager
    def _failing(self, operations: _Operations, **options: Any) -> Iterator[None]:
        with self._graph(operations, **options):
            yield
        raise RuntimeError("operation not permitted\nwhen stream is capturing")


class _Operations(TorchDispatchMode):
    """The operations of a recording."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, Any, Any, Any]] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._made: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        for tensor in tensors_of((args, kwargs)):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._made:
                self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_of(result):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._before:
                self._made[storage.data_ptr()] = storage
        self._operations.append((func, args, kwargs or {}, result))
        return result

    def undo(self) -> None:
        """Put back what the operations have changed, and leave no value in what they have made."""
        for storage, before in self._before.values():
            storage.copy_(before)
        for storage in self._made.values():
            torch.empty(0, dtype=torch.uint8).set_(storage).fill_(255)  # all bits set: NaN, or a number far off

    def replay(self) -> None:
        for function, args, kwargs, result in self._operations:
            taken = {leaf.untyped_storage().data_ptr() for leaf in tensors_of((args, kwargs))}
            for value, recorded in zip(tensors_of(function(*args, **kwargs)), tensors_of(result), strict=True):
                if recorded.untyped_storage().data_ptr() not in taken:
                    recorded.copy_(value)


def tensors_of(tree: Any) -> list[Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]

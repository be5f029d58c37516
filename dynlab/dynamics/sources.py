"""Where samples come from: a tensor, an array, a memory-mapped file, or an iterator of batches.

Samples are taken in order, a few at a time, and checked as they are taken, so that no more of them are in memory than
are being worked on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.dynamics.blocks import home_of
from dynlab.maps import Map, check_map, check_states

Batch: TypeAlias = Tensor | np.ndarray
Samples: TypeAlias = Batch | Iterable[Batch]


def tensor_of(array: np.ndarray) -> Tensor:
    """A copy that torch can take: memory-mapped files are read-only, and their pages can go."""
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


class Source:
    """Initial states for one map, in order.

    Args:
        system: The map that the samples are for.
        samples: Shape (samples, dim) or `(samples, *state_shape)`: a tensor, an array, or batches of these.
        parameter: What the samples are called in messages.

    Raises:
        ValueError: If samples that are there as a whole have another shape or type than the map takes. That their
            values are finite is checked when they are taken; with a tensor, at once.
    """

    def __init__(self, system: Map, samples: Samples, *, parameter: str) -> None:
        check_map(system)
        self._system, self._parameter = system, parameter
        self.taken = 0
        self.count: int | None = None  # how many there are, None where only the end will tell
        self.is_shaped = False  # whether states come in the map's `state_shape` of more than one axis
        if isinstance(samples, Tensor | np.ndarray):
            self._check_form(samples)
            self.count = len(samples)
            if isinstance(samples, Tensor):
                check_states(system, samples.reshape(len(samples), system.dim), parameter=parameter)
            self._batches: Iterator[Batch] = iter((samples,))
        elif isinstance(samples, Iterable):
            self._batches = iter(samples)
        else:
            raise ValueError(
                f"{parameter} is a {type(samples).__name__}, expected a tensor, an array or batches of them"
            )
        self._current: Batch | None = None
        self._position = 0

    @property
    def device(self) -> torch.device:
        """Where the map will compute with these samples."""
        self._advance()
        like = self._current if isinstance(self._current, Tensor) else torch.empty(0)
        return home_of(self._system, like).device

    def take(self, count: int) -> Float[Tensor, "rows dim"]:
        """The next samples, `count` of them or as many as are left.

        Raises:
            ValueError: If a sample is not what the map takes; the message says which.
        """
        parts: list[Tensor] = []
        missing = count
        while missing and self._advance():
            assert self._current is not None
            part = self._current[self._position : self._position + missing]
            self._position += len(part)
            missing -= len(part)
            parts.append(self._as_states(part))
            self.taken += len(part)
        return torch.cat(parts) if parts else torch.empty(0, self._system.dim)

    def _advance(self) -> bool:
        """Whether there is a sample left; fetches the next batch if need be."""
        while self._current is None or self._position >= len(self._current):
            self._current, self._position = next(self._batches, None), 0
            if self._current is None:
                return False
            self._check_form(self._current)
        return True

    def _check_form(self, samples: Any) -> None:
        shapes = [(self._system.dim,), self._system.state_shape]
        if not isinstance(samples, Tensor | np.ndarray):
            raise ValueError(f"{self._parameter} holds a {type(samples).__name__}, expected tensors or arrays")
        if tuple(samples.shape[1:]) not in shapes or samples.ndim < 2:
            expected = " or ".join(str(("batch", *shape)).replace("'", "") for shape in dict.fromkeys(shapes))
            raise ValueError(f"{self._parameter} has shape {tuple(samples.shape)}, expected {expected}")
        is_floating = samples.is_floating_point() if isinstance(samples, Tensor) else samples.dtype.kind == "f"
        if not is_floating:
            raise ValueError(f"{self._parameter} is of type {samples.dtype}, expected floating point")
        self.is_shaped = samples.ndim > 2

    def _as_states(self, part: Batch) -> Tensor:
        if isinstance(part, np.ndarray):
            part = tensor_of(part)
        states = part.reshape(len(part), self._system.dim)
        finite = torch.isfinite(states).all(dim=1)
        if not bool(finite.all()):
            row = self.taken + int((~finite).nonzero()[0, 0])
            raise ValueError(f"{self._parameter} is not finite in row {row}")
        return states

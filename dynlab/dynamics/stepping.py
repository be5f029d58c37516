"""Several steps of a map at a time: on a CPU one after the other, on CUDA as one graph.

A step of few rows is some short kernels, and launching them can cost a device more than running them. So the steps of
a stride are recorded for numbers of rows that are asked for again and again, powers of two, and replayed from then on.
A map that cannot be recorded, for it waits for the host or chooses its kernels by what it sees, takes its steps one by
one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.maps import Map
from dynlab.recordings import can_record, reads_device, record

# With more rows kernels take longer than their launch, and rows added to fill up a recording cost more than it saves.
_MOST_ROWS = 8192
# A recording with its trials takes about as long as eight strides without: at worst twice the time is spent.
_RECORD_AFTER = 8


@dataclass
class _Recorded:
    states: Tensor
    replay: Callable[[], None]
    ends: Tensor
    measured: Tensor


class Strides:
    """Takes a fixed number of steps, `stride`, with all rows of a block.

    Args:
        stride: How many steps.
        copies: 2 where the second half of a block are the twins of the first, else 1.
        record_after: Strides with about as many rows after which they are recorded.
    """

    def __init__(self, stride: int, copies: int = 1, *, record_after: int = _RECORD_AFTER) -> None:
        self.stride, self.copies, self._record_after = stride, copies, record_after
        self._asked: Counter[int] = Counter()
        self._recorded: dict[int, _Recorded] = {}
        self._recordable: bool | None = None  # not known yet

    @torch.no_grad()
    def take(
        self, system: Map, states: Float[Tensor, "rows dim"], steps: int
    ) -> tuple[Float[Tensor, "rows dim"], Float[Tensor, "steps copies samples"]]:
        """Take some steps.

        Args:
            system: The map, the same each time but for `Map.for_samples`.
            states: The block.
            steps: How many, `stride` of them or fewer.

        Returns:
            Where they lead.
            The length of each step, and, if there are twins, how far each is from its sample after it.
        """
        count = len(states) // self.copies
        rows = 1 << (count - 1).bit_length()
        recorded = None
        if steps == self.stride and self.copies * rows <= _MOST_ROWS and system.held_samples is None:
            recorded = self._recording(system, states, rows)
        if recorded is None:
            return _steps(system, states, steps, self.copies)
        recorded.states.unflatten(0, (self.copies, rows))[:, :count] = states.unflatten(0, (self.copies, count))
        recorded.replay()
        # The next replay overwrites what this one has written.
        ends = recorded.ends.unflatten(0, (self.copies, rows))[:, :count].flatten(0, 1).clone()
        return ends, recorded.measured[:, :, :count].clone()

    def _recording(self, system: Map, states: Tensor, rows: int) -> _Recorded | None:
        if rows in self._recorded:
            return self._recorded[rows]
        self._asked[rows] += 1
        if self._recordable is False or not can_record(states.device) or self._asked[rows] <= self._record_after:
            return None
        # Rows that nobody needs are copies of the first, so that nothing unheard of happens in them.
        static = states[:1].repeat(self.copies * rows, 1)

        def work() -> tuple[Tensor, Tensor]:
            return _steps(system, static, self.stride, self.copies)

        if self._recordable is None:
            self._recordable = not reads_device(work)
        found = record(work, states.device) if self._recordable else None
        if found is not None:
            replay, (ends, measured) = found
            self._recorded[rows] = _Recorded(static, replay, ends, measured)
        return self._recorded.get(rows)


def _steps(system: Map, states: Tensor, steps: int, copies: int) -> tuple[Tensor, Tensor]:
    measured = torch.empty(steps, copies, len(states) // copies, dtype=states.dtype, device=states.device)
    differences = torch.empty_like(states)
    lengths, *apart = differences.chunk(copies)
    for step in range(steps):
        following = system(states)
        ends, *twins = following.chunk(copies)
        torch.sub(ends, states[: len(ends)], out=lengths)
        if twins:
            torch.sub(twins[0], ends, out=apart[0])
        torch.linalg.vector_norm(differences, dim=1, out=measured[step].view(-1))
        states = following
    return states, measured

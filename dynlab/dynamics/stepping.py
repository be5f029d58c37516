"""Several steps of a map at a time: on a CPU one after the other, on CUDA as one graph.

A step of a small map is many short kernels, and launching them can cost a device more than running them. So the steps
of a stride are captured once for each number of rows, that of the first block or a power of two below it, and replayed
from then on. A map that cannot be captured, for it waits for the host or chooses its kernels by what it sees, takes its
steps one by one.

Source: the CUDA graphs section of the documentation of torch.cuda (capture on a side stream after a warm-up).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.maps import Map

_WARM_UP = 2


@dataclass
class _Captured:
    graph: torch.cuda.CUDAGraph
    states: Tensor
    ends: Tensor
    measured: Tensor


class Strides:
    """Takes a fixed number of steps, `stride`, with all rows of a block.

    Args:
        stride: How many steps.
        copies: 2 where the second half of a block are the twins of the first, else 1.
    """

    def __init__(self, stride: int, copies: int = 1) -> None:
        self.stride, self.copies = stride, copies
        self._captured: dict[int, _Captured] = {}
        self._most = 0  # samples of the first block, the largest
        self._capturable = True

    @torch.no_grad()
    def take(
        self, system: Map, states: Float[Tensor, "rows dim"], steps: int
    ) -> tuple[Float[Tensor, "rows dim"], Float[Tensor, "steps copies samples"]]:
        """Take some steps.

        Args:
            system: The map.
            states: The block.
            steps: How many, `stride` of them or fewer.

        Returns:
            Where they lead.
            The length of each step, and, if there are twins, how far each is from its sample after it.
        """
        replayable = states.is_cuda and steps == self.stride and system.held_samples is None and self._capturable
        if not replayable:
            return _steps(system, states, steps, self.copies)
        count = len(states) // self.copies
        self._most = max(self._most, count)
        rows = min(self._most, 1 << (count - 1).bit_length())
        if rows not in self._captured:
            captured = self._capture(system, states, rows)
            if captured is None:
                self._capturable = False
                return _steps(system, states, steps, self.copies)
            self._captured[rows] = captured
        captured = self._captured[rows]
        captured.states.unflatten(0, (self.copies, rows))[:, :count] = states.unflatten(0, (self.copies, count))
        captured.graph.replay()
        # The next replay overwrites what this one has written.
        ends = captured.ends.unflatten(0, (self.copies, rows))[:, :count].flatten(0, 1).clone()
        return ends, captured.measured[:, :, :count].clone()

    def _capture(self, system: Map, states: Tensor, rows: int) -> _Captured | None:
        # Rows that nobody needs are copies of the first, so that nothing unheard of happens in them.
        static = states[:1].repeat(self.copies * rows, 1)
        stream = torch.cuda.Stream(states.device)
        stream.wait_stream(torch.cuda.current_stream(states.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                _steps(system, static, self.stride, self.copies)
        torch.cuda.current_stream(states.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                ends, measured = _steps(system, static, self.stride, self.copies)
        except RuntimeError:
            return None
        return _Captured(graph, static, ends, measured)


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

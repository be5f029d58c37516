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
    lengths: Tensor


class Strides:
    """Takes a fixed number of steps, `stride`, with all rows of a block."""

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self._captured: dict[int, _Captured] = {}
        self._most = 0  # rows of the first block, the largest
        self._capturable = True

    @torch.no_grad()
    def take(
        self, system: Map, states: Float[Tensor, "rows dim"], steps: int
    ) -> tuple[Float[Tensor, "rows dim"], Float[Tensor, "steps rows"]]:
        """Where `steps` steps, `stride` of them or fewer, lead, and the length of each."""
        replayable = states.is_cuda and steps == self.stride and system.held_samples is None and self._capturable
        if not replayable:
            return _steps(system, states, steps)
        self._most = max(self._most, len(states))
        rows = min(self._most, 1 << (len(states) - 1).bit_length())
        if rows not in self._captured:
            captured = self._capture(system, states, rows)
            if captured is None:
                self._capturable = False
                return _steps(system, states, steps)
            self._captured[rows] = captured
        captured = self._captured[rows]
        captured.states[: len(states)].copy_(states)
        captured.graph.replay()
        # The next replay overwrites what this one has written.
        return captured.ends[: len(states)].clone(), captured.lengths[:, : len(states)].clone()

    def _capture(self, system: Map, states: Tensor, rows: int) -> _Captured | None:
        # Rows that nobody needs are copies of the first, so that nothing unheard of happens in them.
        static = states[:1].repeat(rows, 1)
        stream = torch.cuda.Stream(states.device)
        stream.wait_stream(torch.cuda.current_stream(states.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                _steps(system, static, self.stride)
        torch.cuda.current_stream(states.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                ends, lengths = _steps(system, static, self.stride)
        except RuntimeError:
            return None
        return _Captured(graph, static, ends, lengths)


def _steps(system: Map, states: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    lengths = torch.empty(steps, len(states), dtype=states.dtype, device=states.device)
    difference = torch.empty_like(states)
    for step in range(steps):
        following = system(states)
        torch.sub(following, states, out=difference)
        torch.linalg.vector_norm(difference, dim=1, out=lengths[step])
        states = following
    return states, lengths

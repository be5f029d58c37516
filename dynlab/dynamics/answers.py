"""Where samples went: what `dynlab.iterate` gives back, and how it is gathered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.cycles import Cycle
from dynlab.dynamics.decision import CODES, Decision, Status
from dynlab.dynamics.fixed_points import FixedPoint
from dynlab.dynamics.plain import Finished
from dynlab.dynamics.recording import StepLengthHistogram
from dynlab.short_repr import short_repr

if TYPE_CHECKING:
    import pandas as pd


class Statuses(Sequence[Status]):
    """The status of each sample, a byte for each."""

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        self.codes = codes  # indices into `list(Status)`

    @overload
    def __getitem__(self, index: int) -> Status: ...
    @overload
    def __getitem__(self, index: slice) -> Statuses: ...
    def __getitem__(self, index: int | slice) -> Status | Statuses:
        return Statuses(self.codes[index]) if isinstance(index, slice) else _STATUSES[self.codes[index]]

    def __len__(self) -> int:
        return len(self.codes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return f"Statuses({self.counts()})"

    def are(self, status: Status) -> Bool[Tensor, " samples"]:
        """Which samples have that status."""
        return torch.from_numpy(self.codes == CODES[status])

    def counts(self) -> dict[str, int]:
        """How many samples have each status."""
        return {str(status): int((self.codes == code).sum()) for status, code in CODES.items()}


_STATUSES = list(Status)


@dataclass(frozen=True)
class Orbits:
    """Where samples went, in their order; all on the CPU."""

    __repr__ = short_repr

    kept_states: Float64[Tensor, "samples ..."] | None  # `states`, or None if they were not kept
    # Of plain iteration, also where rounding sent it elsewhere than exact iteration: the first step with a length below
    # the tolerance, or the one after which a sample was labelled early; -1 if the limit came first.
    steps: Int64[Tensor, " samples"]
    status: Statuses
    period: Int64[Tensor, " samples"]  # 1 for a fixed point, 0 where unknown
    fixed_points: Sequence[FixedPoint]  # those that samples reached, in the order found
    fixed_point: Int64[Tensor, " samples"]  # index into `fixed_points`, -1 for none
    recorded: Int64[Tensor, " recorded"]  # samples whose step lengths were recorded
    step_lengths: Float32[Tensor, "recorded_steps recorded"]  # NaN after a sample was finished
    histogram: StepLengthHistogram | None  # of the step lengths of all samples, if it was asked for
    cycles: Sequence[Cycle]  # the periodic attractors that samples reached
    # Index into `cycles`, -1 for none, also of a periodic sample where that from which it came back is no attractor.
    cycle: Int64[Tensor, " samples"]

    @property
    def states(self) -> Float64[Tensor, "samples ..."]:
        """The fixed point of a converged sample, else where iteration ended; shaped as the initial states were.

        Raises:
            ValueError: If they were not kept.
        """
        if self.kept_states is None:
            raise ValueError("states were not kept, as keep_states was False")
        return self.kept_states

    def to_frame(self) -> pd.DataFrame:
        """One row for each sample, in their order, in pandas, which the extra `frames` installs.

        Columns are `status`, `period`, `steps`, `fixed_point` and `cycle`, as the fields of these names.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "status": [str(status) for status in self.status],
                "period": self.period.numpy(),
                "steps": self.steps.numpy(),
                "fixed_point": self.fixed_point.numpy(),
                "cycle": self.cycle.numpy(),
            }
        )


class Answers:
    """What is known of the samples that are decided."""

    def __init__(self, keep_states: bool) -> None:
        self.points: list[FixedPoint] = []
        self.samples = 0
        self._keep_states = keep_states
        self._ids: list[NDArray[np.int64]] = []
        self._steps: list[NDArray[np.int64]] = []
        self._codes: list[NDArray[np.uint8]] = []
        self._periods: list[NDArray[np.int64]] = []
        self._points: list[NDArray[np.int32]] = []
        self._cycles: dict[Cycle, list[int]] = {}  # the samples that reach each
        self._states: list[Tensor | None] = []  # None for samples whose fixed points are all that is wanted

    def add_labelled(self, finished: Finished) -> None:
        """Samples that are in the safe balls of fixed points."""
        count = len(finished.ids)
        if count:
            codes, periods = np.full(count, CODES[Status.CONVERGED]), np.ones(count)
            self._append(finished, codes, periods, finished.labels, None)

    def add(self, finished: Finished, decision: Decision, offset: int) -> None:
        """Samples that were decided; `offset` is that of their fixed points among all."""
        points = np.where(decision.fixed_point >= 0, decision.fixed_point + offset, -1)
        for row, cycle in decision.cycles.items():
            self._cycles.setdefault(cycle, []).append(int(finished.ids[row]))
        self._append(finished, decision.status, decision.period, points, decision.states)

    def _append(
        self, finished: Finished, codes: np.ndarray, periods: np.ndarray, points: np.ndarray, states: Tensor | None
    ) -> None:
        self.samples += len(finished.ids)
        self._ids.append(finished.ids)
        self._steps.append(finished.steps)
        self._codes.append(codes.astype(np.uint8))
        self._periods.append(periods.astype(np.int64))
        self._points.append(points.astype(np.int32))
        self._states.append(states if self._keep_states else None)

    def orbits(
        self,
        *,
        state_shape: tuple[int, ...],
        recorded: Int64[Tensor, " recorded"],
        step_lengths: Float32[Tensor, "recorded_steps recorded"],
        histogram: StepLengthHistogram | None,
    ) -> Orbits:
        """All of it, in the order of the samples."""
        order = np.argsort(_joined(self._ids, np.int64))
        found = _joined(self._points, np.int32)[order]
        # Fixed points that Newton's method met but no sample reached are not part of the answer.
        reached, inverse = np.unique(found[found >= 0], return_inverse=True)
        fixed_point = np.full(len(found), -1)
        fixed_point[found >= 0] = inverse
        points = [self.points[index] for index in reached]
        cycle = torch.full((len(found),), -1)
        for index, samples in enumerate(self._cycles.values()):
            cycle[samples] = index
        return Orbits(
            kept_states=self._ends(points, fixed_point, state_shape) if self._keep_states else None,
            steps=torch.from_numpy(_joined(self._steps, np.int64)[order]),
            status=Statuses(_joined(self._codes, np.uint8)[order]),
            period=torch.from_numpy(_joined(self._periods, np.int64)[order]),
            fixed_points=points,
            fixed_point=torch.from_numpy(fixed_point),
            recorded=recorded,
            step_lengths=step_lengths,
            histogram=histogram,
            cycles=list(self._cycles),
            cycle=cycle,
        )

    def _ends(
        self, points: Sequence[FixedPoint], fixed_point: NDArray[np.int64], state_shape: tuple[int, ...]
    ) -> Float64[Tensor, "samples ..."]:
        dim = math.prod(state_shape)
        ends = torch.empty(self.samples, dim, dtype=torch.float64)
        for ids, states in zip(self._ids, self._states, strict=True):
            if states is not None:
                ends[torch.from_numpy(ids)] = states
        converged = np.flatnonzero(fixed_point >= 0)
        if len(converged):
            targets = torch.stack([point.state for point in points])
            ends[torch.from_numpy(converged)] = targets[torch.from_numpy(fixed_point[converged])]
        return ends.reshape(self.samples, *state_shape)


def _joined(parts: Sequence[NDArray], dtype: type) -> NDArray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)

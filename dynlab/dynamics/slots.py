"""What plain iteration knows of each sample in a block."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass
class Slots:
    """What is known of the samples in the block, an entry for each row."""

    ids: NDArray[np.int64]
    ages: NDArray[np.int64]  # steps taken
    due: NDArray[np.float64]  # step length below which a search for a fixed point is worth its cost
    mark: NDArray[np.float64]  # a step length to come back to, NaN before there is one
    marked: NDArray[np.int64]  # steps taken by then
    # What only twins tell, or are told.
    shortest: NDArray[np.float64]  # step length so far
    rounding: NDArray[np.float64]  # errors of a step, in units of the state
    doubtful: NDArray[np.bool_]

    @staticmethod
    def fresh(ids: NDArray[np.int64]) -> Slots:
        """Slots of samples that are yet to take a step."""
        count = len(ids)
        infinite = np.full(count, np.inf)
        return Slots(
            ids=ids,
            ages=np.zeros(count, dtype=np.int64),
            due=infinite,
            mark=np.full(count, np.nan),
            marked=np.zeros(count, dtype=np.int64),
            shortest=infinite.copy(),
            rounding=np.zeros(count),
            doubtful=np.zeros(count, dtype=bool),
        )

    def put(self, rows: NDArray[np.int64], others: Slots) -> None:
        """Let others take the place of some."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(others, field.name)

    def keep(self, rows: NDArray[np.int64]) -> Slots:
        """Some of them."""
        return Slots(*(getattr(self, field.name)[rows] for field in fields(self)))

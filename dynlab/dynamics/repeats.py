"""Samples whose plain orbits repeat themselves, bit for bit, and so go on for ever with steps as long as they are.

What is computed of a state depends on nothing but the state. One that comes back exactly has fallen into a cycle, that
of a periodic attractor once the digits are used up, or one that rounding makes of a chaotic orbit; no step of it will
ever be short. Such a sample need not go on to the limit of steps.

States are compared at the ends of strides with one that is kept for a while, twice as long each time, so that a cycle
of any length is found after a few times the steps that led into it. Only those are compared whose last step had the
length of the step that led to the state that is kept, exactly, which the host sees.

Source: Brent, An improved Monte Carlo factorization algorithm, BIT 20, 1980.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.blocks import rows_of
from dynlab.dynamics.slots import Slots

_FIRST_AGE = 64  # steps before which most samples come to rest


class Repeats:
    """Says which samples of a block repeat themselves.

    Args:
        skipped: Samples that go on all the same, as their steps are recorded.
    """

    def __init__(self, skipped: NDArray[np.int64] | Sequence[int] = ()) -> None:
        self._skipped = np.asarray(skipped, dtype=np.int64)
        self._kept: Tensor | None = None  # a state for each row, of those that have a mark

    def __call__(
        self, states: Float[Tensor, "rows dim"], last: NDArray[np.floating], slots: Slots
    ) -> NDArray[np.bool_]:
        """Whether each row stands where it stood before.

        Args:
            states: The block, at the end of a stride.
            last: Length of the step that led there.
            slots: What is known of the samples; `mark` and `marked` are changed.
        """
        repeats = np.zeros(len(states), dtype=bool)
        rows = np.flatnonzero(last == slots.mark)
        if len(rows) and self._kept is not None:
            repeats[rows] = (rows_of(states, rows) == rows_of(self._kept, rows)).all(dim=1).cpu().numpy()
        is_due = (slots.ages >= _FIRST_AGE) & (slots.ages >= 2 * slots.marked)
        if len(self._skipped):
            is_due &= ~np.isin(slots.ids, self._skipped)
        rows = np.flatnonzero(is_due)
        if len(rows):
            slots.mark[rows], slots.marked[rows] = last[rows], slots.ages[rows]
            if self._kept is None:
                self._kept = torch.empty_like(states)
            self._kept[torch.from_numpy(rows).to(states.device)] = rows_of(states, rows)
        return repeats

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Go on with some rows of the block."""
        if self._kept is not None:
            self._kept = rows_of(self._kept, rows)

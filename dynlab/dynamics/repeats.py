"""Samples whose plain orbits repeat themselves, bit for bit, and so go on for ever with steps as long as they are.

What is computed of a state depends on nothing but the state. One that comes back exactly has fallen into a cycle, that
of a periodic attractor once the digits are used up, or one that rounding makes of a chaotic orbit; no step of it will
ever be short. Such a sample need not go on to the limit of steps.

States are compared at the ends of strides with one that is kept for a while, twice as long each time, so that a cycle
of any length is found after a few times the steps that led into it. To spare memory a state is kept only of who comes
back to a step length, exactly.

Source: Brent, An improved Monte Carlo factorization algorithm, BIT 20, 1980.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.slots import Slots

_FIRST_AGE = 64  # steps before which most samples come to rest


class Repeats:
    """Says which samples repeat themselves.

    Args:
        skipped: Samples that go on all the same, as their steps are recorded.
    """

    def __init__(self, skipped: NDArray[np.int64] | Sequence[int] = ()) -> None:
        self._skipped = np.asarray(skipped, dtype=np.int64)
        self._kept: dict[int, Tensor] = {}  # states, by the sample

    def __call__(
        self, states: Float[Tensor, "rows dim"], last: NDArray[np.floating], slots: Slots
    ) -> NDArray[np.bool_]:
        """Whether each row stands where it stood before.

        Args:
            states: The block, at the end of a stride.
            last: Length of the step that led there.
            slots: What is known of the samples; `slots.mark` is changed.
        """
        repeats = np.zeros(len(states), dtype=bool)
        for row in np.flatnonzero(last == slots.mark).tolist():
            sample = int(slots.ids[row])
            if sample in self._kept:
                repeats[row] = torch.equal(self._kept[sample], states[row])
            else:
                self._kept[sample] = states[row].clone()
        is_due = (slots.ages >= _FIRST_AGE) & (slots.ages >= 2 * slots.marked) & ~np.isin(slots.ids, self._skipped)
        slots.mark[is_due], slots.marked[is_due] = last[is_due], slots.ages[is_due]
        self.forget(slots.ids[is_due])
        return repeats

    def forget(self, samples: NDArray[np.int64]) -> None:
        """Keep no states of samples any more."""
        if self._kept:
            for sample in samples.tolist():
                self._kept.pop(sample, None)

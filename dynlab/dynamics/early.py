"""Early labels: a sample inside the safe ball of a known attractor is finished, long before its steps are short.

Attractors must be known early for that. So Newton's method starts from a sample as soon as its step lengths predict
that its end is near: steps that shrink by a factor `r` each leave a way of `l r / (1 - r)`. What Newton's method finds
may be the end of another orbit; it decides nothing, only the balls do. A sample whose predicted end is a known
attractor waits for its ball.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.blocks import rows_of
from dynlab.dynamics.decision import LARGEST_RADIUS, Search
from dynlab.dynamics.slots import Slots

_REACH = 1.0  # largest radii within which a predicted end is near
_STEADY = 0.2  # relative change of the rate in the course of a stride, above which it predicts nothing
_ASTRAY = 4.0  # predicted ways from its start at which Newton's method has gone somewhere else
_STEP = 2.5  # largest radii: a longer step is not one inside a ball, as no Jacobian is that large along an orbit
_ENOUGH, _PATIENCE = 128, 8  # starts worth a search, and strides after which fewer are
_AGAIN = 0.25  # of the step length at a search, at which the next one is due
_KNOWN = 3.0  # predicted ways: a fixed point this near is most likely the end


class EarlyLabels:
    """Labels samples by the safe balls they are in, and finds the attractors that it needs for that.

    Args:
        search: Knows the attractors, and finds new ones.
        skipped: Samples that are never labelled, as their steps are recorded.
    """

    def __init__(self, search: Search, skipped: NDArray[np.int64]) -> None:
        self._search = search
        self._skipped = skipped
        self._waited = 0

    def __call__(
        self,
        states: Float[Tensor, "rows dim"],
        lengths: NDArray[np.floating],
        slots: Slots,
        twins: Float[Tensor, "rows dim"] | None,
    ) -> NDArray[np.int64]:
        """The index of the attractor that each row is decided for, -1 for none."""
        largest = LARGEST_RADIUS * self._search.tolerance
        labels = np.full(len(states), -1)
        last = lengths[-1].astype(float)
        near = np.flatnonzero(last < _STEP * largest)
        if len(near):
            labels[near] = self._search.known.balls_of(rows_of(states, near))
        way = _predicted_way(lengths.astype(float))
        due = np.flatnonzero((labels < 0) & (way < _REACH * largest) & (last < slots.due))
        if len(due):
            self._waited += 1
        if len(due) >= _ENOUGH or self._waited > _PATIENCE:
            self._waited = 0
            self._look(states, due, way, last, labels, slots)
        found = np.flatnonzero((labels >= 0) & ~slots.doubtful)
        if twins is not None and len(found):
            # A twin that is not there goes on with its sample; most are only late.
            is_there = self._search.known.balls_of(rows_of(twins, found)) == labels[found]
            labels[found[~is_there]] = -1
        if len(self._skipped):
            labels[np.isin(slots.ids, self._skipped)] = -1
        return labels

    def _look(
        self,
        states: Tensor,
        due: NDArray[np.int64],
        way: NDArray[np.floating],
        last: NDArray[np.floating],
        labels: NDArray[np.int64],
        slots: Slots,
    ) -> None:
        search = self._search
        at = rows_of(states, due).double()
        awaited = search.nearest(at).cpu().numpy() < _KNOWN * way[due]
        slots.due[due[awaited]] = _AGAIN * last[due[awaited]]
        due, at = due[~awaited], rows_of(at, ~awaited)
        if not len(due):
            return
        chosen, _ = search.representatives(at, float(way[due].max()))
        slots.due[due[chosen]] = _AGAIN * last[due[chosen]]
        search.find(rows_of(at, chosen), torch.from_numpy(_ASTRAY * way[due[chosen]]).to(at))
        labels[due] = search.known.balls_of(rows_of(states, due))


def _predicted_way(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the end of each row is, if its last steps go on as they are; infinite where they say nothing."""
    if len(lengths) < 3:
        return np.full(lengths.shape[1], np.inf)
    middle = len(lengths) // 2
    with np.errstate(divide="ignore", invalid="ignore"):  # steps of no length, and orbits that left
        logs = np.log(lengths)
        before, rate = (logs[middle] - logs[0]) / middle, (logs[-1] - logs[middle]) / (len(logs) - 1 - middle)
        way = lengths[-1] / np.expm1(-rate)
        is_steady = (rate < 0) & (np.abs(before - rate) < -_STEADY * rate)
    return np.where(is_steady, way, np.inf)

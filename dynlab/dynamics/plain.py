"""Plain iteration of many samples, each until its own step length is below the tolerance, or until it is labelled.

A block of samples is iterated together. A sample that is finished makes room for the next one, so that the products
stay as wide as the cache holds for as long as there are samples left, and no more samples are in memory than a block
holds. Step lengths are looked at every few steps only, which spares a device most of the round trips to the host; the
step at which a length fell below the tolerance is exact all the same.

That the step length is small says nothing yet about where an orbit ends: see `dynlab.dynamics.orbits`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.blocks import block_rows, home_of, rows_of
from dynlab.dynamics.shadows import Shadows
from dynlab.dynamics.sources import Source
from dynlab.dynamics.stepping import Strides
from dynlab.maps import Map

# Steps between two looks at the step lengths.
STRIDE = 8


@dataclass(frozen=True)
class Finished:
    """Samples that have left the block; all on the CPU."""

    ids: NDArray[np.int64]  # place of each sample in the source
    initial: Float[Tensor, "rows dim"]  # where it began
    states: Float[Tensor, "rows dim"]  # a few steps, fewer than eight, after it was finished
    steps: NDArray[np.int64]  # first step with a length below the tolerance, or the one after which it was labelled; -1
    labels: NDArray[np.int64]  # what `label` gave it, -1 for nothing
    doubtful: NDArray[np.bool_]  # whether rounding may have decided the way; never without shadows
    shadows: Float[Tensor, "rows dim"] | None  # where the shadows stand

    def chosen(self, rows: NDArray) -> Finished:
        """Some of them, by indices or a mask."""
        return Finished(
            ids=self.ids[rows],
            initial=rows_of(self.initial, rows),
            states=rows_of(self.states, rows),
            steps=self.steps[rows],
            labels=self.labels[rows],
            doubtful=self.doubtful[rows],
            shadows=None if self.shadows is None else rows_of(self.shadows, rows),
        )

    @staticmethod
    def together(parts: Sequence[Finished]) -> Finished:
        """Several of them as one."""
        shadows = [part.shadows for part in parts if part.shadows is not None]
        return Finished(
            ids=np.concatenate([part.ids for part in parts]),
            initial=torch.cat([part.initial for part in parts]),
            states=torch.cat([part.states for part in parts]),
            steps=np.concatenate([part.steps for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            doubtful=np.concatenate([part.doubtful for part in parts]),
            shadows=torch.cat(shadows) if shadows else None,
        )


@dataclass
class Slots:
    """What is known of the samples in the block, an entry for each row."""

    ids: NDArray[np.int64]
    ages: NDArray[np.int64]  # steps taken
    shortest: NDArray[np.float64]  # step length so far
    rounding: NDArray[np.float64]  # errors of a step, in units of the state
    doubtful: NDArray[np.bool_]
    due: NDArray[np.float64]  # step length below which a search for a fixed point is worth its cost

    @staticmethod
    def fresh(ids: NDArray[np.int64], rounding: NDArray[np.float64] | None = None) -> Slots:
        """Slots of samples that are yet to take a step."""
        count = len(ids)
        infinite = np.full(count, np.inf)
        return Slots(
            ids=ids,
            ages=np.zeros(count, dtype=np.int64),
            shortest=infinite,
            rounding=np.zeros(count) if rounding is None else rounding,
            doubtful=np.zeros(count, dtype=bool),
            due=infinite.copy(),
        )

    def put(self, rows: NDArray[np.int64], others: Slots) -> None:
        """Let others take the place of some."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(others, field.name)

    def keep(self, rows: NDArray[np.int64]) -> Slots:
        """Some of them."""
        return Slots(*(getattr(self, field.name)[rows] for field in fields(self)))


# Called after a stride with the states, the step lengths of the stride, shape (steps, rows), and the slots, whose `due`
# it may change; gives the label of each row, -1 for none.
Label = Callable[[Tensor, NDArray, Slots], NDArray[np.int64]]
# Called after a stride with the slots, its step lengths, and how many of these count for each row.
Observe = Callable[[Slots, NDArray, NDArray[np.int64]], None]


@torch.no_grad()
def iterate_plainly(
    system: Map,
    source: Source,
    *,
    tolerance: float,
    max_steps: int,
    label: Label | None = None,
    observe: Observe | None = None,
    shadows: Shadows | None = None,
) -> Iterator[Finished]:
    """Iterate each sample until its step length is below `tolerance`, in the dtype and on the device of `system`.

    Args:
        system: The map.
        source: The samples.
        tolerance: Step length `||x_i - x_{i-1}||_2`, in units of the state, positive.
        max_steps: Limit of steps for each sample, at least 1.
        label: Asked after each stride which samples need not go on.
        observe: Told the step lengths.
        shadows: Iterated beside the samples, if given, which says for which of them rounding may have decided; of no
            use to a map in float64.

    Yields:
        Samples that have finished, in the order in which they do.
    """
    entering = source.take(1)
    home = home_of(system, entering)
    if home.dtype == torch.float64:
        shadows = None  # what would decide in doubt is this map
    copies = 2 if shadows else 1
    others = source.take(block_rows(system.dim, home) // copies - 1)
    entering = torch.cat([entering, others]) if len(others) else entering
    initial = entering.to("cpu", copy=True)  # in its own precision, which may be higher than the map's
    current, slots = _start(entering.to(home.device, home.dtype, copy=True), np.arange(len(entering)), shadows)
    strides = Strides(STRIDE)
    bound = _bound(system, slots.ids, copies)

    while count := len(slots.ids):
        stride = min(STRIDE, max_steps - int(slots.ages.max()))
        current, lengths = strides.take(bound, current, stride)
        states, observed = current[:count], as_array(lengths[:, :count])

        not_finite = ~np.isfinite(observed).all(axis=0)
        below = observed < tolerance
        done = below.any(axis=0)
        taken = np.where(done, below.argmax(axis=0) + 1, stride)
        if observe:
            observe(slots, observed, taken)
        if shadows:
            lows = np.minimum.accumulate(np.vstack([slots.shortest, observed]), axis=0)
            # What happens after a sample finished is not part of its orbit.
            regrown = shadows.regrown(observed, lows[:-1], slots.rounding) & (np.arange(stride)[:, None] < taken)
            slots.shortest = lows[-1]
            slots.doubtful |= regrown.any(axis=0) | shadows.parted(states, current[count:], slots.rounding)
        labels = label(states, observed, slots) if label else np.full(count, -1)
        slots.ages += stride
        leaving = np.flatnonzero(done | not_finite | (labels >= 0) | (slots.ages >= max_steps))
        if not len(leaving):
            continue
        ended = slots.ages - stride + taken
        yield Finished(
            ids=slots.ids[leaving],
            initial=rows_of(initial, leaving),
            states=rows_of(states, leaving).cpu(),
            steps=np.where(done | (labels >= 0), ended, -1)[leaving],
            labels=labels[leaving],
            doubtful=slots.doubtful[leaving],
            shadows=rows_of(current[count:], leaving).cpu() if shadows else None,
        )
        entering = source.take(len(leaving))
        places = leaving[: len(entering)]
        if len(entering):
            initial[torch.from_numpy(places)] = entering.to("cpu", initial.dtype)
            ids = np.arange(source.taken - len(entering), source.taken)
            started, others = _start(entering.to(home.device, home.dtype), ids, shadows)
            current[torch.from_numpy(_in_copies(places, copies, count)).to(current.device)] = started
            slots.put(places, others)
        if len(places) < len(leaving):
            staying = np.delete(np.arange(count), leaving[len(places) :])
            initial = rows_of(initial, staying)
            current = rows_of(current, _in_copies(staying, copies, count))
            slots = slots.keep(staying)
        bound = _bound(system, slots.ids, copies)


def _start(states: Tensor, ids: NDArray[np.int64], shadows: Shadows | None) -> tuple[Tensor, Slots]:
    """Samples that are yet to take a step, and below them their shadows."""
    if not shadows:
        return states, Slots.fresh(ids)
    moved, rounding = shadows.beside(states, ids)
    return torch.cat([states, moved]), Slots.fresh(ids, rounding)


def _in_copies(rows: NDArray[np.int64], copies: int, count: int) -> NDArray[np.int64]:
    """Where samples stand in a block, and their shadows, if there are any, `count` rows below."""
    return np.concatenate([rows + copy * count for copy in range(copies)])


def as_array(lengths: Tensor) -> NDArray[np.floating]:
    """Step lengths as numpy knows them, which has no bfloat16."""
    return lengths.to(torch.promote_types(lengths.dtype, torch.float32)).cpu().numpy()


def _bound(system: Map, ids: NDArray[np.int64], copies: int) -> Map:
    """The map for the samples in the block, and for their shadows."""
    return system.for_samples(torch.from_numpy(np.tile(ids, copies)))

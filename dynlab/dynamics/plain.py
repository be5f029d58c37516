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
from dynlab.dynamics.sources import Source
from dynlab.dynamics.stepping import Strides
from dynlab.maps import Map

# Steps between two looks at the step lengths.
STRIDE = 8
# An orbit that nears a saddle slows down, and speeds up again as it leaves. Slowing to this share of its longest step
# and speeding up by this factor afterwards marks it. Orbits of images bisected to a basin boundary, as near as float32
# can tell, slowed to between 0.002 and 0.028 of their longest step.
_DIP = 0.05
_REGROWTH = 1.5


@dataclass(frozen=True)
class Finished:
    """Samples that have left the block; all on the CPU."""

    ids: NDArray[np.int64]  # place of each sample in the source
    initial: Float[Tensor, "rows dim"]  # where it began
    states: Float[Tensor, "rows dim"]  # a few steps, fewer than eight, after it was finished
    steps: NDArray[np.int64]  # first step with a length below the tolerance, or the one after which it was labelled; -1
    labels: NDArray[np.int64]  # what `label` gave it, -1 for nothing
    passed_saddle: NDArray[np.bool_]  # slowed down and sped up again on the way

    def chosen(self, rows: NDArray) -> Finished:
        """Some of them, by indices or a mask."""
        return Finished(
            ids=self.ids[rows],
            initial=rows_of(self.initial, rows),
            states=rows_of(self.states, rows),
            steps=self.steps[rows],
            labels=self.labels[rows],
            passed_saddle=self.passed_saddle[rows],
        )

    @staticmethod
    def together(parts: Sequence[Finished]) -> Finished:
        """Several of them as one."""
        return Finished(
            ids=np.concatenate([part.ids for part in parts]),
            initial=torch.cat([part.initial for part in parts]),
            states=torch.cat([part.states for part in parts]),
            steps=np.concatenate([part.steps for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            passed_saddle=np.concatenate([part.passed_saddle for part in parts]),
        )


@dataclass
class Slots:
    """What is known of the samples in the block, an entry for each row."""

    ids: NDArray[np.int64]
    ages: NDArray[np.int64]  # steps taken
    shortest: NDArray[np.float64]  # step length so far
    longest: NDArray[np.float64]
    passed_saddle: NDArray[np.bool_]
    due: NDArray[np.float64]  # step length below which a search for a fixed point is worth its cost

    @staticmethod
    def fresh(ids: NDArray[np.int64]) -> Slots:
        """Slots of samples that are yet to take a step."""
        count = len(ids)
        infinite = np.full(count, np.inf)
        return Slots(
            ids=ids,
            ages=np.zeros(count, dtype=np.int64),
            shortest=infinite,
            longest=np.zeros(count),
            passed_saddle=np.zeros(count, dtype=bool),
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
) -> Iterator[Finished]:
    """Iterate each sample until its step length is below `tolerance`, in the dtype and on the device of `system`.

    Args:
        system: The map.
        source: The samples.
        tolerance: Step length `||x_i - x_{i-1}||_2`, in units of the state, positive.
        max_steps: Limit of steps for each sample, at least 1.
        label: Asked after each stride which samples need not go on.
        observe: Told the step lengths.

    Yields:
        Samples that have finished, in the order in which they do.
    """
    entering = source.take(1)
    home = home_of(system, entering)
    rows = block_rows(system.dim, home)
    others = source.take(rows - 1)
    entering = torch.cat([entering, others]) if len(others) else entering
    initial = entering.to("cpu", copy=True)  # in its own precision, which may be higher than the map's
    current = entering.to(home.device, home.dtype, copy=True)
    slots = Slots.fresh(np.arange(len(entering)))
    strides = Strides(STRIDE)
    bound = _bound(system, slots.ids)

    while len(slots.ids):
        stride = min(STRIDE, max_steps - int(slots.ages.max()))
        current, lengths = strides.take(bound, current, stride)
        observed = as_array(lengths)

        not_finite = ~np.isfinite(observed).all(axis=0)
        below = observed < tolerance
        done = below.any(axis=0)
        taken = np.where(done, below.argmax(axis=0) + 1, stride)
        if observe:
            observe(slots, observed, taken)
        lows = np.minimum.accumulate(np.vstack([slots.shortest, observed]), axis=0)
        highs = np.maximum.accumulate(np.vstack([slots.longest, observed]), axis=0)
        regrown = (observed > _REGROWTH * lows[:-1]) & (lows[:-1] < _DIP * highs[:-1])
        # What happens after a sample finished is not part of its orbit.
        regrown &= np.arange(stride)[:, None] < taken
        slots.shortest, slots.longest = lows[-1], highs[-1]
        slots.passed_saddle |= regrown.any(axis=0)
        labels = label(current, observed, slots) if label else np.full(len(slots.ids), -1)
        slots.ages += stride
        leaving = np.flatnonzero(done | not_finite | (labels >= 0) | (slots.ages >= max_steps))
        if not len(leaving):
            continue
        ended = slots.ages - stride + taken
        yield Finished(
            ids=slots.ids[leaving],
            initial=rows_of(initial, leaving),
            states=rows_of(current, leaving).cpu(),
            steps=np.where(done | (labels >= 0), ended, -1)[leaving],
            labels=labels[leaving],
            passed_saddle=slots.passed_saddle[leaving],
        )
        entering = source.take(len(leaving))
        places = leaving[: len(entering)]
        if len(entering):
            initial[torch.from_numpy(places)] = entering.to("cpu", initial.dtype)
            current[torch.from_numpy(places).to(current.device)] = entering.to(home.device, home.dtype)
            slots.put(places, Slots.fresh(np.arange(source.taken - len(entering), source.taken)))
        if len(places) < len(leaving):
            staying = np.delete(np.arange(len(slots.ids)), leaving[len(places) :])
            initial = rows_of(initial, staying)
            current = rows_of(current, staying)
            slots = slots.keep(staying)
        bound = _bound(system, slots.ids)


def as_array(lengths: Tensor) -> NDArray[np.floating]:
    """Step lengths as numpy knows them, which has no bfloat16."""
    return lengths.to(torch.promote_types(lengths.dtype, torch.float32)).cpu().numpy()


def _bound(system: Map, ids: NDArray[np.int64]) -> Map:
    """The map for the samples in the block."""
    return system.for_samples(torch.from_numpy(ids))

"""Plain iteration of many samples, each until its own step length is below the tolerance, or until it is labelled.

A block of samples is iterated together. A sample that is finished makes room for the next one, so that the products
stay as wide as the cache holds for as long as there are samples left, and no more samples are in memory than a block
holds. Step lengths are looked at every few steps only, which spares a device most of the round trips to the host; the
step at which a length fell below the tolerance is exact all the same. Where twins are asked for, they are the second
half of the block (`dynlab.dynamics.twins`).

That the step length is small says nothing yet about where an orbit ends: see `dynlab.dynamics.orbits`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.blocks import block_rows, home_of, rows_of
from dynlab.dynamics.repeats import Repeats
from dynlab.dynamics.slots import Slots
from dynlab.dynamics.sources import Source
from dynlab.dynamics.stepping import Strides
from dynlab.dynamics.twins import Twins
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
    doubtful: NDArray[np.bool_]  # whether rounding may have decided the way
    twins: Float[Tensor, "rows dim"] | None  # where the twins stand; None where there were none, and nobody is doubtful

    def chosen(self, rows: NDArray) -> Finished:
        """Some of them, by indices or a mask."""
        return Finished(
            ids=self.ids[rows],
            initial=rows_of(self.initial, rows),
            states=rows_of(self.states, rows),
            steps=self.steps[rows],
            labels=self.labels[rows],
            doubtful=self.doubtful[rows],
            twins=None if self.twins is None else rows_of(self.twins, rows),
        )

    @staticmethod
    def together(parts: Sequence[Finished]) -> Finished:
        """Several of them as one."""
        twins = [part.twins for part in parts if part.twins is not None]
        return Finished(
            ids=np.concatenate([part.ids for part in parts]),
            initial=torch.cat([part.initial for part in parts]),
            states=torch.cat([part.states for part in parts]),
            steps=np.concatenate([part.steps for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            doubtful=np.concatenate([part.doubtful for part in parts]),
            twins=torch.cat(twins) if twins else None,
        )


# Called after a stride with the states, the step lengths of the stride, shape (steps, rows), the slots, whose `due` it
# may change, and the twins, if there are any; gives the label of each row, -1 for none.
Label = Callable[[Tensor, NDArray, Slots, Tensor | None], NDArray[np.int64]]
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
    twins: Twins | None = None,
    repeats: Repeats | None = None,
) -> Iterator[Finished]:
    """Iterate each sample until its step length is below `tolerance`, in the dtype and on the device of `system`.

    Args:
        system: The map.
        source: The samples.
        tolerance: Step length `||x_i - x_{i-1}||_2`, in units of the state, positive.
        max_steps: Limit of steps for each sample, at least 1.
        label: Asked after each stride which samples need not go on.
        observe: Told the step lengths.
        twins: Iterated beside the samples, if given, to say for which of them rounding may have decided; of no use to
            a map in float64.
        repeats: Says, if given, which samples have fallen into a cycle, for these to end as at the limit of steps.

    Yields:
        Samples that have finished, in the order in which they do.
    """
    entering = source.take(1)
    home = home_of(system, entering)
    if home.dtype == torch.float64:
        twins = None  # what would decide in doubt is this map
    copies = 2 if twins else 1
    others = source.take(block_rows(system.dim, home) // copies - 1)
    entering = torch.cat([entering, others]) if len(others) else entering
    initial = entering.to("cpu", copy=True)  # in its own precision, which may be higher than the map's
    current, slots = _start(entering.to(home.device, home.dtype, copy=True), np.arange(len(entering)), twins)
    strides = Strides(STRIDE, copies)
    bound = _bound(system, slots.ids, copies)

    while count := len(slots.ids):
        stride = min(STRIDE, max_steps - int(slots.ages.max()))
        if twins:
            kicked = twins.kick(current[count:], slots.rounding, slots.ids + slots.ages)
            current = torch.cat([current[:count], kicked])  # what a map gives may be its own, and not ours to change
        current, measured = strides.take(bound, current, stride)
        states, beside = current[:count], current[count:] if twins else None
        ulp = torch.finfo(states.dtype).eps * torch.linalg.vector_norm(states, dim=1)
        # All that the host wants to know, in one piece, as it waits for it.
        known = as_array(torch.cat([measured.flatten(0, 1), ulp[None]]))
        observed = known[:-1:copies]

        not_finite = ~np.isfinite(observed).all(axis=0)
        below = observed < tolerance
        done = below.any(axis=0)
        taken = np.where(done, below.argmax(axis=0) + 1, stride)
        if observe:
            observe(slots, observed, taken)
        if twins:
            _doubt(twins, slots, observed, known[1:-1:copies], known[-1], taken)
        labels = label(states, observed, slots, beside) if label else np.full(count, -1)
        slots.ages += stride
        endless = slots.ages >= max_steps
        if repeats:
            endless |= repeats(states, observed[-1], slots)
        leaving = np.flatnonzero(done | not_finite | (labels >= 0) | endless)
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
            twins=None if beside is None else rows_of(beside, leaving).cpu(),
        )
        entering = source.take(len(leaving))
        places = leaving[: len(entering)]
        if len(entering):
            initial[torch.from_numpy(places)] = entering.to("cpu", initial.dtype)
            ids = np.arange(source.taken - len(entering), source.taken)
            started, others = _start(entering.to(home.device, home.dtype), ids, twins)
            rows = torch.from_numpy(_in_copies(places, copies, count)).to(current.device)
            current = current.index_copy(0, rows, started)
            slots.put(places, others)
        if len(places) < len(leaving):
            staying = np.delete(np.arange(count), leaving[len(places) :])
            initial = rows_of(initial, staying)
            current = rows_of(current, _in_copies(staying, copies, count))
            slots = slots.keep(staying)
            if repeats:
                repeats.keep(staying)
        bound = _bound(system, slots.ids, copies)


def _start(states: Tensor, ids: NDArray[np.int64], twins: Twins | None) -> tuple[Tensor, Slots]:
    """Samples that are yet to take a step, and below them their twins."""
    slots = Slots.fresh(ids)
    if not twins or not len(ids):
        return states, slots
    slots.rounding = twins.rounding(states, ids)
    slots.doubtful = twins.starts_in_doubt(slots.rounding)
    return torch.cat([states, twins.start(states, slots.rounding, ids)]), slots


def _doubt(
    twins: Twins,
    slots: Slots,
    lengths: NDArray[np.floating],
    apart: NDArray[np.floating],
    ulp: NDArray[np.floating],
    taken: NDArray[np.int64],
) -> None:
    """Note for which samples rounding may have decided in a stride; arguments of shape (steps, rows) and (rows,)."""
    slots.rounding = np.maximum(slots.rounding, ulp)
    lows = np.minimum.accumulate(np.vstack([slots.shortest, lengths]), axis=0)
    slots.shortest = lows[-1]
    in_doubt = twins.have_parted(apart, slots.rounding) | twins.have_regrown(lengths, lows[:-1], slots.rounding)
    in_doubt[1:] |= twins.have_merged(apart[:-1], lengths[1:], slots.rounding)
    # What happens after a sample finished is not part of its orbit.
    slots.doubtful |= (in_doubt & (np.arange(len(lengths))[:, None] < taken)).any(axis=0)


def _in_copies(rows: NDArray[np.int64], copies: int, count: int) -> NDArray[np.int64]:
    """Where samples stand in a block, and their twins, if there are any, `count` rows below."""
    return np.concatenate([rows + copy * count for copy in range(copies)])


def as_array(lengths: Tensor) -> NDArray[np.floating]:
    """Lengths as numpy knows them, which has no bfloat16."""
    return lengths.to(torch.promote_types(lengths.dtype, torch.float32)).cpu().numpy()


def _bound(system: Map, ids: NDArray[np.int64], copies: int) -> Map:
    """The map for the samples in the block, and for their twins."""
    return system.for_samples(torch.from_numpy(np.tile(ids, copies)))

"""What is written down of orbits on their way: step lengths of some, quantiles of step lengths of all, single states.

Quantiles over any number of samples come from a histogram for each step, with bins of equal width in the logarithm, so
that memory does not grow with the samples. A sample that has finished counts as one with a step length below the
tolerance from there on, one that has left the floating point numbers as one whose steps are longest.

The report judges convergence by the distances `d_i = ||x_i - x_{i0}||_2` to the state at a fixed step `i0`, section
5.4: if they stay at the precision of 32-bit floating point numbers, the orbit is taken to have converged to `x_{i0}`.

Source: Bahdanau and Jaeger 2014, sections 5.4 and 6 (figure 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.blocks import block_rows, home_of, rows_of
from dynlab.dynamics.plain import as_array
from dynlab.dynamics.repeats import Repeats
from dynlab.dynamics.slots import Slots
from dynlab.dynamics.stepping import Strides
from dynlab.errors import check_count
from dynlab.maps import Map, flat_states
from dynlab.short_repr import short_repr

_LOWEST, _HIGHEST = -12.0, 12.0  # decades that the histogram spans
_BINS_PER_DECADE = 50
_BINS = int((_HIGHEST - _LOWEST) * _BINS_PER_DECADE)
# The rounding floor is reached when step lengths have found no new minimum for so many steps.
_FLOOR_STEPS = 64
# Rounding errors of this many units in the last place are the precision that the report speaks of.
_PRECISION = 16


class Recorder:
    """Notes step lengths while `iterate_plainly` runs.

    Args:
        samples: Whose step lengths are kept whole.
        histogram: Whether quantiles over all samples will be asked for.
    """

    def __init__(self, samples: NDArray[np.int64], *, histogram: bool) -> None:
        self._parts: dict[int, list[NDArray[np.float32]]] = {int(sample): [] for sample in samples}
        self._samples = samples
        self._counts = np.zeros((64, _BINS), dtype=np.uint32) if histogram else None
        self._left = np.zeros(64, dtype=np.int64)  # samples with their first step that is not finite
        self._last = 0

    def observe(self, slots: Slots, lengths: NDArray[np.floating], taken: NDArray[np.int64]) -> None:
        """Note the step lengths of a stride, as many of them as count for each row."""
        for row in np.flatnonzero(np.isin(slots.ids, self._samples)):
            self._parts[int(slots.ids[row])].append(lengths[: taken[row], row].astype(np.float32))
        if self._counts is None:
            return
        finite = np.isfinite(lengths)
        counted = np.arange(len(lengths))[:, None] < taken
        step, row = np.nonzero(counted & finite)
        steps = slots.ages[row] + step
        leaves = (counted & ~finite).any(axis=0)
        left_at = (slots.ages + finite.argmin(axis=0))[leaves]
        self._last = max(self._last, int(max(steps.max(initial=-1), left_at.max(initial=-1))) + 1)
        while self._last > len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._left = np.concatenate([self._left, np.zeros_like(self._left)])
        np.add.at(self._counts, (steps, _bin_of(lengths[step, row])), 1)
        np.add.at(self._left, left_at, 1)

    def step_lengths(self) -> Float32[Tensor, "recorded_steps recorded"]:
        """What was kept whole, a column for each sample, NaN after its end."""
        return columns([np.concatenate(parts or [np.zeros(0)]) for parts in self._parts.values()])

    def histogram(self, samples: int) -> StepLengthHistogram | None:
        """The histogram, of `samples` samples in all; None if none was asked for."""
        return (
            None
            if self._counts is None
            else StepLengthHistogram(self._counts[: self._last], np.cumsum(self._left[: self._last]), samples)
        )


def columns(sequences: Sequence[NDArray[np.floating]]) -> Float32[Tensor, "length count"]:
    """Sequences side by side, NaN after the end of each."""
    found = np.full((max(map(len, sequences), default=0), len(sequences)), np.nan, dtype=np.float32)
    for column, sequence in enumerate(sequences):
        found[: len(sequence), column] = sequence
    return torch.from_numpy(found)


@dataclass(frozen=True)
class StepLengthHistogram:
    """How long the steps of all samples were, step by step."""

    __repr__ = short_repr

    counts: NDArray[np.uint32]  # (steps, bins) of samples still on their way
    left: NDArray[np.int64]  # (steps,) that have left the floating point numbers by then
    samples: int  # all samples, those that have finished included

    def quantiles(self, levels: Sequence[float]) -> NDArray[np.float64]:
        """Quantiles of the step length over all samples, for each step.

        Args:
            levels: From 0 to 1.

        Returns:
            Shape (steps, levels), within 2.4% for lengths from 1e-12 to 1e12; zero where so many samples have finished
            that the quantile is one of theirs, infinite where so many have left. The first row belongs to the first
            step.

        Raises:
            ValueError: If a level is out of its range.
        """
        for level in levels:
            if not 0 <= level <= 1:
                raise ValueError(f"levels holds {level}, expected numbers from 0 to 1")
        moving = self.counts.sum(axis=1, dtype=np.int64)
        finished = self.samples - moving - self.left
        below = finished[:, None] + np.cumsum(self.counts, axis=1, dtype=np.int64)
        found = np.zeros((len(self.counts), len(levels)))
        for column, level in enumerate(levels):
            rank = min(int(level * self.samples), self.samples - 1)  # how many are smaller
            index = (below > rank).argmax(axis=1)
            found[:, column] = np.where(finished > rank, 0.0, _middle_of(index))
            found[finished + moving <= rank, column] = np.inf
        return found


def _bin_of(lengths: NDArray[np.floating]) -> NDArray[np.int64]:
    with np.errstate(divide="ignore"):
        position = (np.log10(lengths.astype(float)) - _LOWEST) * _BINS_PER_DECADE
    return np.clip(np.floor(position), 0, _BINS - 1).astype(np.int64)


def _middle_of(index: NDArray[np.int64]) -> NDArray[np.float64]:
    return 10 ** (_LOWEST + (index + 0.5) / _BINS_PER_DECADE)


@torch.no_grad()
def step_lengths_to_floor(
    system: Map, initial_states: Float[Tensor, "samples dim"], *, max_steps: int
) -> Float32[Tensor, "recorded_steps recorded"]:
    """Step lengths down to the rounding floor of the map's precision, where they find no new minimum any more.

    Args:
        system: The map.
        initial_states: Shape (samples, dim), finite.
        max_steps: Limit of steps, at least 1.

    Returns:
        A column for each sample, NaN after its last step, its shortest if it came to rest; of an orbit that repeats
        itself bit for bit a few rounds. Float32, whatever the precision.
    """
    home = home_of(system, initial_states)
    strides = Strides(_FLOOR_STEPS)
    samples = len(initial_states)
    parts: list[list[NDArray[np.floating]]] = [[] for _ in range(samples)]
    lowest, at_floor = np.full(samples, np.inf), np.zeros(samples, dtype=bool)
    for block in torch.arange(samples).split(block_rows(system.dim, home)):
        ids, taken = block.numpy(), 0
        slots, repeats = Slots.fresh(ids), Repeats()
        current = initial_states[block.to(initial_states.device)].to(home.device, home.dtype)
        while len(ids) and taken < max_steps:
            steps = min(_FLOOR_STEPS, max_steps - taken)
            current, measured = strides.take(system.for_samples(torch.from_numpy(ids)), current, steps)
            taken += steps
            observed = as_array(measured[:, 0])
            for column, sample in enumerate(ids):
                parts[sample].append(observed[:, column])
            low = np.where(np.isfinite(observed), observed, np.inf).min(axis=0)
            found_shorter = low < lowest[ids]
            lowest[ids] = np.minimum(low, lowest[ids])
            scale = as_array(torch.linalg.vector_norm(current, dim=1).clamp(min=1.0))
            # A pause at a saddle is no floor.
            at_floor[ids] = lowest[ids] <= _PRECISION * torch.finfo(home.dtype).eps * scale
            slots.ages += steps
            repeat = repeats(current, observed[-1], slots)
            going = np.flatnonzero(np.isfinite(observed[-1]) & (found_shorter | ~at_floor[ids]) & ~repeat)
            ids, current, slots = ids[going], rows_of(current, going), slots.keep(going)
            repeats.keep(going)
    return columns([_to_rest(np.concatenate(lengths), at_floor[sample]) for sample, lengths in enumerate(parts)])


def _to_rest(lengths: NDArray[np.floating], at_floor: np.bool_) -> NDArray[np.floating]:
    """Step lengths up to the shortest, where that is the rounding floor, or up to the first that is not finite."""
    finite = np.isfinite(lengths)
    if not finite.all():
        return lengths[: int((~finite).argmax()) + 1]
    return lengths[: int(lengths.argmin()) + 1] if at_floor else lengths


@torch.no_grad()
def states_at(
    system: Map, initial_states: Float[Tensor, " samples *state"], steps: Sequence[int]
) -> Float[Tensor, "frames samples dim"]:
    """The states of orbits at chosen steps.

    Args:
        system: The map; its device and dtype compute.
        initial_states: Shape (samples, dim) or `(samples, *state_shape)`, finite.
        steps: At which steps, from 0, in any order.

    Returns:
        The states on the CPU, in the order of `steps`.

    Raises:
        ValueError: If a step is below 0, or the states have another dim than the map or are not finite.
    """
    initial_states = flat_states(system, initial_states, parameter="initial_states")
    for place, step in enumerate(steps):
        check_count(f"steps[{place}]", step, 0)
    home = home_of(system, initial_states)
    frames = torch.empty(len(steps), len(initial_states), system.dim, dtype=home.dtype)
    frames_of: dict[int, list[int]] = {}
    for frame, step in enumerate(steps):
        frames_of.setdefault(step, []).append(frame)
    for rows in torch.arange(len(initial_states)).split(block_rows(system.dim, home)):
        bound = system.for_samples(rows)
        current = initial_states[rows.to(initial_states.device)].to(home.device, home.dtype)
        for step in range(max(steps, default=-1) + 1):
            for frame in frames_of.get(step, ()):
                frames[frame, rows] = current.cpu()
            current = bound(current) if step < max(steps) else current
    return frames


@dataclass(frozen=True)
class ReferenceDistances:
    """Distances `d_i = ||x_i - x_{i0}||_2` of orbits to their own state at a reference step `i0`."""

    __repr__ = short_repr

    reference_step: int  # i0
    distances: Float[Tensor, "steps samples"]  # row i belongs to x_i; row i0 is zero
    # The report's criterion: from `i0` on, distances stay at the precision of the floating point numbers.
    converged: Bool[Tensor, " samples"]


@torch.no_grad()
def reference_distances(
    system: Map,
    initial_states: Float[Tensor, " samples *state"],
    *,
    reference_step: int = 500,
    steps: int = 600,
) -> ReferenceDistances:
    """The distances by which the report judges convergence, with its criterion, section 5.4.

    An orbit counts as converged if from step `i0` to the last it stays within 16 units in the last place of its norm.
    That it does so says little about a slow one: with steps far below the precision it may creep on. `iterate` decides.

    Args:
        system: The map; its device and dtype compute.
        initial_states: Shape (samples, dim) or `(samples, *state_shape)`, finite.
        reference_step: `i0`, from 1 to below `steps`.
        steps: How many steps to take, at least 2.

    Returns:
        Shape (steps + 1, samples), on the CPU.

    Raises:
        ValueError: If an argument is out of its range, or the states have another dim than the map or are not finite.

    Source: Bahdanau and Jaeger 2014, section 5.4 and figure 7.
    """
    initial_states = flat_states(system, initial_states, parameter="initial_states")
    check_count("steps", steps, 2)
    check_count("reference_step", reference_step, 1, steps - 1)
    home = home_of(system, initial_states)
    reference = states_at(system, initial_states, [reference_step])[0]
    distances = torch.empty(steps + 1, len(initial_states), dtype=home.dtype)
    for rows in torch.arange(len(initial_states)).split(block_rows(system.dim, home)):
        bound, target = system.for_samples(rows), reference[rows].to(home.device)
        current = initial_states[rows.to(initial_states.device)].to(home.device, home.dtype)
        found = []
        for step in range(steps + 1):
            found.append(torch.linalg.vector_norm(current - target, dim=1))
            current = bound(current) if step < steps else current
        distances[:, rows] = torch.stack(found).cpu()
    precision = _PRECISION * torch.finfo(home.dtype).eps * torch.linalg.vector_norm(reference, dim=1).clamp(min=1.0)
    return ReferenceDistances(reference_step, distances, (distances[reference_step:] <= precision).all(dim=0))

"""`iterate`: apply a map again and again, and say where each sample ends.

A small step length proves nothing: near a saddle, or with a multiplier close to one, steps are short far from any
attractor. A sample has converged once it is inside the safe ball (`dynlab.dynamics.fixed_points`) of a stable fixed
point with a relative residual of at most 1e-12. So the work is done in two parts.

1. Plain iteration in the map's own precision, mostly float32, until each sample's step length is below the tolerance,
   or until it is in the safe ball of an attractor that other samples have led to (`dynlab.dynamics.early`). Samples for
   which rounding may have decided take their way once more in float64: those that their twins
   (`dynlab.dynamics.twins`) leave in doubt, those that stand at no attractor when their steps are short, those that met
   the limit of steps or diverged.
2. The decision, in float64 (`dynlab.dynamics.decision`): iteration goes on until a sample is in the safe ball of a
   fixed point, which Newton's method has found, or is seen to be on a cycle.

Samples stream: a block of them is worked on at a time, and of those that are done only their answers are kept.

Source: Bahdanau and Jaeger 2014, section 5.4 (step length and tolerance).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.answers import Answers, Orbits
from dynlab.dynamics.decision import LARGEST_RADIUS, Decision, Search
from dynlab.dynamics.early import EarlyLabels
from dynlab.dynamics.fixed_points import FixedPoint, check_known
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.dynamics.plain import Finished, iterate_plainly
from dynlab.dynamics.recording import Recorder, step_lengths_to_floor
from dynlab.dynamics.repeats import Repeats
from dynlab.dynamics.sources import Samples, Source
from dynlab.dynamics.twins import Twins
from dynlab.errors import check_count, check_positive
from dynlab.maps import Map, float64_copy

# Samples decided together: bounds the memory for their float64 states.
_TOGETHER_BYTES = 2**23


def iterate(
    system: Map,
    initial_states: Samples,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 100_000,
    early_labels: bool = True,
    recheck: bool = True,
    recorded: int | Sequence[int] = 0,
    to_floor: bool = False,
    histogram: bool = False,
    keep_states: bool = True,
    known: Sequence[FixedPoint] = (),
    on_progress: Callable[[float], None] | None = None,
) -> Orbits:
    """Iterate each sample to the attractor that exact iteration reaches.

    The report's transformed set, where a whole set stops at one step, is what `transform` gives.

    Args:
        system: The map; its device and dtype are those of plain iteration.
        initial_states: Shape (samples, dim) or `(samples, *state_shape)`, finite: a tensor, an array, which may be
            memory-mapped, or an iterable of such batches. A map that holds inputs needs one for each sample.
        tolerance: Step length that ends plain iteration, in units of the state, positive.
        max_steps: Limit of steps of plain iteration for each sample, at least 1.
        max_exact_steps: Limit of further steps in float64, at least 0, for samples that are not decided by then.
        early_labels: Whether a sample in the safe ball of a known attractor is finished, however long its steps are.
            It is by far the fastest; without it, `steps` counts up to the tolerance for every sample.
        recheck: Whether samples for which rounding may have decided go once more in float64. To know which, a second
            orbit is iterated beside each. Without it, labels are those of iteration in the map's own precision.
        recorded: Samples to record the step lengths of, never labelled early: their indices, or how many, the first.
        to_floor: Whether recorded step lengths go on to the rounding floor, where steps get no shorter any more.
        histogram: Whether to count the step lengths of all samples, for `orbits.histogram.quantiles`; no sample is
            labelled early then.
        keep_states: Whether the final states are wanted; all else takes a few bytes a sample.
        known: Stable fixed points of this map that earlier orbits found, so as not to look for them again; of no use
            to a map that holds inputs for several samples.
        on_progress: Called with the share of samples that are decided, from 0 to 1, where their number is known.

    Returns:
        Where each sample went.

    Raises:
        ValueError: If an argument is out of its range, the states have another shape than those of the map or are not
            finite, or what is known are no fixed points of this map.
    """
    _check(tolerance, max_steps, max_exact_steps)
    source = Source(system, initial_states, parameter="initial_states")
    if not system.is_one_map and source.count != system.held_samples:
        found = "batches" if source.count is None else f"{source.count} samples"
        raise ValueError(f"initial_states holds {found}, expected {system.held_samples}, as the map holds inputs for")
    chosen = _recorded(recorded, source.count)
    # To the rounding floor step lengths are measured afterwards.
    observed = chosen[:0] if to_floor else chosen
    recorder = Recorder(observed, histogram=histogram)
    exact = float64_copy(system)
    if system.is_one_map:
        check_known(exact, known, source.device)
    decide = _Decide(system, exact, tolerance, max_steps, max_exact_steps, early_labels, source.device)
    answers = Answers(keep_states)
    shared = decide.search(system, exact, known) if system.is_one_map else None
    twins = Twins(system, exact, LARGEST_RADIUS * tolerance) if recheck else None
    label = EarlyLabels(shared, chosen) if early_labels and shared and not histogram else None
    first = dict[int, Tensor]()  # where recorded samples began

    def finished_together() -> Iterator[Finished]:
        rows = max(64, _TOGETHER_BYTES // (8 * system.dim))
        parts: list[Finished] = []
        for part in iterate_plainly(
            system,
            source,
            tolerance=tolerance,
            max_steps=max_steps,
            label=label,
            observe=recorder.observe,
            twins=twins,
            repeats=None if histogram else Repeats(observed),
        ):
            if to_floor:
                first.update(
                    (int(part.ids[row]), part.initial[row]) for row in np.flatnonzero(np.isin(part.ids, chosen))
                )
            certain = (part.labels >= 0) & ~part.doubtful
            answers.add_labelled(part.chosen(certain))
            if not certain.all():
                parts.append(part.chosen(~certain))
            if on_progress and source.count:
                on_progress(answers.samples / source.count)
            if sum(len(part.ids) for part in parts) >= rows:
                yield Finished.together(parts)
                parts = []
        yield from [Finished.together(parts)] if parts else []

    for finished in finished_together():
        if shared:
            answers.add(finished, decide(shared, finished), 0)
        else:
            # Samples with inputs of their own have maps of their own, and these have fixed points of their own.
            for row in range(len(finished.ids)):
                one = finished.chosen(np.array([row]))
                sample = torch.from_numpy(one.ids)
                search = decide.search(system.for_samples(sample), exact.for_samples(sample), ())
                answers.add(one, decide(search, one), len(answers.points))
                answers.points += search.known.found_after(0)
        if on_progress and source.count:
            on_progress(answers.samples / source.count)
    if shared:
        answers.points = shared.known.found_after(len(known))

    step_lengths = recorder.step_lengths()
    chosen = chosen[chosen < source.taken]
    if to_floor and len(chosen):
        rows = torch.from_numpy(chosen)
        initial = torch.stack([first[sample] for sample in chosen.tolist()])
        bound = system.for_samples(rows)
        step_lengths = step_lengths_to_floor(bound, initial, max_steps=max_steps)
    return answers.orbits(
        state_shape=system.state_shape if source.is_shaped else (system.dim,),
        recorded=torch.from_numpy(chosen),
        step_lengths=step_lengths[:, : len(chosen)],
        histogram=recorder.histogram(source.taken),
    )


@dataclass(frozen=True)
class _Decide:
    """How samples that plain iteration has finished are decided."""

    system: Map
    exact: Map
    tolerance: float
    max_steps: int
    max_exact_steps: int
    early_labels: bool
    device: torch.device

    def search(self, system: Map, exact: Map, known: Sequence[FixedPoint]) -> Search:
        """A search for the fixed points of a map, some of which may be known."""
        found, unsafe = KnownFixedPoints(self.device, exact.dim), KnownFixedPoints(self.device, exact.dim)
        search = Search(system, exact, self.tolerance, self.max_exact_steps, found, unsafe)
        for point in known:
            search.known.add(point)
        return search

    def __call__(self, search: Search, finished: Finished) -> Decision:
        states = finished.states.double()
        found = np.full(len(finished.ids), -1)

        def repeat(again: NDArray[np.bool_]) -> None:
            """Take some samples the way from their initial states once more, in float64."""
            rows = np.flatnonzero(again)
            if not len(rows):
                return
            initial = finished.initial[torch.from_numpy(rows)].to(self.device, torch.float64)
            source = Source(search.exact, initial, parameter="samples")
            label = EarlyLabels(search, np.array([], dtype=np.int64)) if self.early_labels else None
            for part in iterate_plainly(
                search.exact,
                source,
                tolerance=self.tolerance,
                max_steps=self.max_steps,
                label=label,
                repeats=Repeats(),
            ):
                states[torch.from_numpy(rows[part.ids])] = part.states
                found[rows[part.ids]] = part.labels

        def match() -> None:
            open_ = np.flatnonzero(found < 0)
            found[open_] = search.match(states[torch.from_numpy(open_)], thorough=self.max_exact_steps == 0)

        again = finished.doubtful | (finished.steps < 0)
        if finished.twins is not None:
            repeat(again)
        match()
        if finished.twins is not None:
            # Who is in no ball, or not in that of its twin.
            elsewhere = search.known.balls_of(finished.twins.to(self.device)) != found
            repeat(((found < 0) | elsewhere) & ~again)
            match()
        return search.decide(states, found)


def _check(tolerance: float, max_steps: int, max_exact_steps: int) -> None:
    check_positive("tolerance", tolerance)
    check_count("max_steps", max_steps, 1)
    check_count("max_exact_steps", max_exact_steps, 0)


def _recorded(recorded: int | Sequence[int], samples: int | None) -> NDArray[np.int64]:
    """Indices of the samples to record, rising."""
    given = recorded.cpu().numpy() if isinstance(recorded, Tensor) else np.asarray(recorded)
    if given.ndim == 0:
        number = given.item()
        check_count("recorded", number, 0)
        return np.arange(number if samples is None else min(number, samples))
    if given.ndim != 1 or (len(given) and not np.issubdtype(given.dtype, np.integer)):
        raise ValueError(f"recorded is an array {given.shape} of {given.dtype}, expected indices in a row, or a number")
    outside = given[(given < 0) | (given >= (np.inf if samples is None else samples))]
    if len(outside):
        limit = "" if samples is None else f" to {samples - 1}"
        raise ValueError(f"recorded holds {outside[0]}, expected indices from 0{limit}")
    return np.unique(given.astype(np.int64))

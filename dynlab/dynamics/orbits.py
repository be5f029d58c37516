"""`iterate`: apply a map again and again, and say where each sample ends.

A small step length proves nothing: near a saddle, or with a multiplier close to one, steps are short far from any
attractor. A sample has converged once it is inside the safe ball (`dynlab.dynamics.fixed_points`) of a stable fixed
point with a relative residual of at most 1e-12. So the work is done in two parts.

1. Plain iteration in the map's own precision, mostly float32, until each sample's step length is below the tolerance.
   Samples for which rounding may have decided take their way once more in float64: those that passed near a saddle,
   those that stand at no attractor when their steps are short, those that met the limit of steps or diverged.
2. The decision, in float64 (`dynlab.dynamics.decision`): iteration goes on until a sample is in the safe ball of a
   fixed point, which Newton's method has found, or is seen to be on a cycle.

Source: Bahdanau and Jaeger 2014, section 5.4 (step length and tolerance).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.decision import Decision, Search, Status
from dynlab.dynamics.fixed_points import FixedPoint
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.dynamics.plain import PlainOrbits, iterate_plainly
from dynlab.maps import Map, check_states, float64_copy

# Samples decided together: bounds the memory for their float64 states.
_BATCH = 8192


@dataclass(frozen=True)
class Orbits:
    """Where a batch of initial states went."""

    states: Float64[Tensor, "samples dim"]  # the fixed point of a converged sample, else where iteration ended
    # Of plain iteration, also where rounding sent it elsewhere than exact iteration:
    steps: Int64[Tensor, " samples"]  # first step with a step length below the tolerance, -1 if the limit came first
    step_lengths: Float32[Tensor, "recorded_steps recorded"]  # of the first samples; NaN after a sample was finished
    status: Sequence[Status]
    period: Int64[Tensor, " samples"]  # 1 for a fixed point, 0 where unknown
    fixed_points: Sequence[FixedPoint]  # those that samples reached, in the order found
    fixed_point: Int64[Tensor, " samples"]  # index into `fixed_points`, -1 for none


def iterate(
    system: Map,
    initial_states: Float[Tensor, "samples dim"],
    *,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 100_000,
    recorded: int | None = None,
    known: Sequence[FixedPoint] = (),
    on_progress: Callable[[float], None] | None = None,
) -> Orbits:
    """Iterate each sample to the attractor that exact iteration reaches.

    Args:
        system: The map; its device and dtype are those of plain iteration.
        initial_states: Shape (samples, dim), finite.
        tolerance: Step length that ends plain iteration, in units of the state, positive.
        max_steps: Limit of steps of plain iteration for each sample, at least 1.
        max_exact_steps: Limit of further steps in float64, at least 0, for samples that are not decided by then.
        recorded: How many samples, the first ones, to record the step lengths of; all if not given.
        known: Stable fixed points of this map that earlier orbits found, so as not to look for them again.
        on_progress: Called with the share that is done, from 0 to 1: half of it is plain iteration, half the decision.

    Returns:
        Where each sample went, in the order of `initial_states`; all tensors on the CPU.

    Raises:
        ValueError: If an argument is out of its range, or the states have another dim than the map or are not finite.
    """
    check_states(system, initial_states, parameter="initial_states")
    if not 0 < tolerance < float("inf"):
        raise ValueError(f"tolerance is {tolerance}, expected a finite number above 0")
    if max_steps < 1:
        raise ValueError(f"max_steps is {max_steps}, expected at least 1")
    if max_exact_steps < 0:
        raise ValueError(f"max_exact_steps is {max_exact_steps}, expected at least 0")
    if recorded is not None and recorded < 0:
        raise ValueError(f"recorded is {recorded}, expected at least 0")
    samples = len(initial_states)
    recorded = samples if recorded is None else min(recorded, samples)
    exact = float64_copy(system)
    points = KnownFixedPoints(home_of(exact, initial_states.double()), system.dim)
    for point in known:
        points.add(point)
    search = Search(exact, tolerance, max_exact_steps, points)
    done = 0.0

    def progress(finished: int) -> None:
        nonlocal done
        done += finished / 2
        if on_progress:
            on_progress(min(1.0, done / max(1, samples)))

    parts: list[tuple[PlainOrbits, Decision]] = []
    for start in range(0, max(samples, 1), _BATCH):
        batch = initial_states[start : start + _BATCH]
        plain = iterate_plainly(
            system,
            batch,
            tolerance=tolerance,
            max_steps=max_steps,
            recorded=max(0, recorded - start),
            on_finished=progress,
        )
        states = plain.states.double()
        is_exact = plain.states.dtype == torch.float64

        def repeat(again: Bool[Tensor, " batch"], batch: Tensor = batch, states: Tensor = states) -> None:
            """Take some samples the way from their initial states once more, in float64."""
            if bool(again.any()):
                chosen = batch[again.to(batch.device)].double()
                states[again] = iterate_plainly(exact, chosen, tolerance=tolerance, max_steps=max_steps).states

        again = plain.passed_saddle | (plain.steps < 0)
        if not is_exact:
            repeat(again)
        found = search.match(states)
        if not is_exact:
            repeat(torch.from_numpy(found < 0) & ~again)
        parts.append((plain, search.decide(states, found, progress)))
    return _assembled(parts, points.points, recorded)


def _assembled(parts: list[tuple[PlainOrbits, Decision]], known: Sequence[FixedPoint], recorded: int) -> Orbits:
    found = np.concatenate([decision.fixed_point for _, decision in parts])
    codes = np.concatenate([decision.status for _, decision in parts])
    # Fixed points that Newton's method met but no sample reached are not part of the answer.
    reached, inverse = np.unique(found[found >= 0], return_inverse=True)
    fixed_point = np.full(len(found), -1)
    fixed_point[found >= 0] = inverse
    points = [known[index] for index in reached]
    states = torch.cat([decision.states for _, decision in parts])
    if points:
        converged = torch.from_numpy(fixed_point >= 0)
        states[converged] = torch.stack([point.state for point in points])[torch.from_numpy(inverse)]
    recordings = [recording for plain, _ in parts for recording in plain.step_lengths.values()]
    lengths = np.full((max((len(r) for r in recordings), default=0), recorded), np.nan, dtype=np.float32)
    for column, recording in enumerate(recordings):
        lengths[: len(recording), column] = recording
    statuses = list(Status)
    return Orbits(
        states=states,
        steps=torch.cat([plain.steps for plain, _ in parts]),
        step_lengths=torch.from_numpy(lengths),
        status=[statuses[code] for code in codes],
        period=torch.from_numpy(np.concatenate([decision.period for _, decision in parts])),
        fixed_points=points,
        fixed_point=torch.from_numpy(fixed_point),
    )

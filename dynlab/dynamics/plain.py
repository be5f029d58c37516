"""Plain iteration of many samples, each until its own step length is below the tolerance.

A block of samples is iterated together. A sample that is finished makes room for the next one, so that the products
stay as wide as the cache holds for as long as there are samples left. Step lengths are looked at every few steps only,
which spares a device most of the round trips to the host; the step at which a sample finished is exact all the same.

That the step length is small says nothing yet about where an orbit ends: see `dynlab.dynamics.orbits`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.blocks import block_rows, home_of
from dynlab.maps import Map

# Steps between two looks at the step lengths.
_STRIDE = 8
# An orbit that nears a saddle slows down, and speeds up again as it leaves. Slowing to this share of its longest step
# and speeding up by this factor afterwards marks it. Orbits of images bisected to a basin boundary, as near as float32
# can tell, slowed to between 0.002 and 0.028 of their longest step.
_DIP = 0.05
_REGROWTH = 1.5


@dataclass(frozen=True)
class PlainOrbits:
    """Where plain iteration took each sample; all on the CPU."""

    states: Float[Tensor, "samples dim"]  # a few steps, fewer than eight, after the first short one
    steps: Int64[Tensor, " samples"]  # first step with a step length below the tolerance, -1: the limit came first
    passed_saddle: Bool[Tensor, " samples"]  # slowed down and sped up again on the way
    diverged: Bool[Tensor, " samples"]  # met a value that is not finite
    step_lengths: dict[int, NDArray[np.float32]]  # of the samples recorded, up to the step at which each finished


@torch.no_grad()
def iterate_plainly(
    system: Map,
    initial_states: Float[Tensor, "samples dim"],
    *,
    tolerance: float,
    max_steps: int,
    recorded: int = 0,
    on_finished: Callable[[int], None] | None = None,
) -> PlainOrbits:
    """Iterate each sample until its step length is below `tolerance`, in the dtype and on the device of `system`.

    Args:
        system: The map.
        initial_states: Shape (samples, dim), finite.
        tolerance: Step length `||x_i - x_{i-1}||_2`, in units of the state, positive.
        max_steps: Limit of steps for each sample, at least 1.
        recorded: How many samples, the first ones, to record the step lengths of.
        on_finished: Called with the number of samples that finished since the last call.

    Returns:
        The orbits' ends, in the order of the initial states.
    """
    home = home_of(system, initial_states)
    samples = len(initial_states)
    ends = torch.empty(samples, system.dim, dtype=home.dtype)
    steps = np.full(samples, -1, dtype=np.int64)
    passed_saddle, diverged = np.zeros(samples, dtype=bool), np.zeros(samples, dtype=bool)
    recordings: dict[int, list[NDArray[np.float32]]] = {sample: [] for sample in range(min(recorded, samples))}

    rows = min(samples, block_rows(system.dim, home))
    current = initial_states[:rows].to(home.device, home.dtype, copy=True)
    ids, waiting = np.arange(rows), rows
    ages = np.zeros(rows, dtype=np.int64)
    shortest, longest = np.full(rows, np.inf), np.zeros(rows)

    while len(ids):
        stride = min(_STRIDE, max_steps - int(ages.max()))
        lengths = torch.empty(stride, len(ids), dtype=home.dtype, device=home.device)
        for step in range(stride):
            following = system(current)
            torch.linalg.vector_norm(following - current, dim=1, out=lengths[step])
            current = following
        observed = lengths.cpu().numpy()

        not_finite = ~np.isfinite(observed).all(axis=0)
        below = observed < tolerance
        done = below.any(axis=0)
        taken = np.where(done, below.argmax(axis=0) + 1, stride)
        for column in np.flatnonzero(ids < len(recordings)):
            recordings[int(ids[column])].append(observed[: taken[column], column].astype(np.float32))
        lows = np.minimum.accumulate(np.vstack([shortest, observed]), axis=0)
        highs = np.maximum.accumulate(np.vstack([longest, observed]), axis=0)
        regrown = (observed > _REGROWTH * lows[:-1]) & (lows[:-1] < _DIP * highs[:-1])
        # What happens after a sample finished is not part of its orbit.
        regrown &= np.arange(stride)[:, None] < taken
        passed_saddle[ids[regrown.any(axis=0)]] = True
        shortest, longest = lows[-1], highs[-1]

        steps[ids[done]] = (ages + taken)[done]
        diverged[ids[not_finite & ~done]] = True
        ages += stride
        leaving = np.flatnonzero(done | not_finite | (ages >= max_steps))
        if not len(leaving):
            continue
        ends[torch.from_numpy(ids[leaving])] = current[torch.from_numpy(leaving).to(current.device)].cpu()
        if on_finished:
            on_finished(len(leaving))
        entering = leaving[: samples - waiting]
        if len(entering):
            coming = initial_states[waiting : waiting + len(entering)]
            current[torch.from_numpy(entering).to(current.device)] = coming.to(home.device, home.dtype)
            ids[entering] = np.arange(waiting, waiting + len(entering))
            ages[entering], shortest[entering], longest[entering] = 0, np.inf, 0
            waiting += len(entering)
        if len(entering) < len(leaving):
            staying = np.delete(np.arange(len(ids)), leaving[len(entering) :])
            current = current[torch.from_numpy(staying).to(current.device)]
            ids, ages, shortest, longest = ids[staying], ages[staying], shortest[staying], longest[staying]

    return PlainOrbits(
        states=ends,
        steps=torch.from_numpy(steps),
        passed_saddle=torch.from_numpy(passed_saddle),
        diverged=torch.from_numpy(diverged),
        step_lengths={sample: np.concatenate(parts) for sample, parts in recordings.items()},
    )

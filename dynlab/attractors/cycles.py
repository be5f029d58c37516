"""Periodic attractors of a set of samples: in one order, merged up to phase, and as arrays in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.attractors.copies import best_copies, copies_of, widened
from dynlab.dynamics.cycles import Cycle

ARRAYS = ("cycle_states", "cycle_periods", "cycle_residuals", "cycle_multipliers", "cycle_labels")


def cycles_by_size(cycles: Sequence[Cycle], found: NDArray[np.int64]) -> tuple[tuple[Cycle, ...], Tensor]:
    """Cycles by falling basin size, then by period, then lexicographically; and the labels of the samples.

    Args:
        cycles: All different.
        found: Index of the cycle of each sample, -1 for none.
    """
    sizes = np.bincount(found[found >= 0], minlength=len(cycles))
    keys = [(-int(size), cycle.period, cycle.states.tolist()) for size, cycle in zip(sizes, cycles, strict=True)]
    order = sorted(range(len(cycles)), key=keys.__getitem__)
    rank = np.full(len(cycles) + 1, -1)
    rank[order] = np.arange(len(order))
    return tuple(cycles[index] for index in order), torch.from_numpy(rank[found])


def merge_cycle_sets(
    sets: Sequence[Sequence[Cycle]], labels: Sequence[Int64[Tensor, " _samples"]]
) -> tuple[tuple[Cycle, ...], Int64[Tensor, " _all"]]:
    """Combine the cycles that parts of a data set reach, each once.

    Two cycles are one where they have one period and their states, for some rotation, stand within the relative
    distance 1e-6, or where they are joined by others that do. Which copy stays is told as for fixed points.

    Args:
        sets: The cycles of each part.
        labels: The cycle of each sample of each part, -1 for none.

    Returns:
        The cycles of all parts, as `cycles_by_size` orders them, and the labels of the samples, part after part.
    """
    everything = [cycle for cycles in sets for cycle in cycles]
    copy_of, kept = np.full(len(everything) + 1, -1), list[Cycle]()
    for period in sorted({cycle.period for cycle in everything}):
        rows = np.flatnonzero([cycle.period == period for cycle in everything])
        cycles = [_plain(everything[row]) for row in rows]
        states = torch.stack([cycle.states for cycle in cycles])
        width = max(len(cycle.multipliers) for cycle in cycles)
        copies = copies_of(states)
        residuals = torch.tensor([cycle.residual for cycle in cycles], dtype=torch.float64)
        multipliers = torch.cat([widened(cycle.multipliers[None], width) for cycle in cycles])
        best = best_copies(copies, states.flatten(1), residuals, multipliers)
        copy_of[rows] = len(kept) + copies
        kept += [cycles[row] for row in best]
    firsts = np.cumsum([0, *(len(cycles) for cycles in sets)])
    found = [np.where(part >= 0, part.numpy() + first, -1) for part, first in zip(labels, firsts, strict=False)]
    return cycles_by_size(kept, copy_of[np.concatenate(found)])


def identified(known: Sequence[Cycle], found: Sequence[Cycle]) -> tuple[NDArray[np.int64], list[Cycle]]:
    """Which cycles that were found are known ones, and which of the others are one.

    Two cycles are one by the rule of `merge_cycle_sets`.

    Returns:
        For each of those found its index into `known`, followed by the others; and the others, each once.
    """
    everything = [*known, *found]
    number, others = np.arange(len(everything)), list[Cycle]()
    for period in sorted({cycle.period for cycle in found}):
        rows = np.flatnonzero([cycle.period == period for cycle in everything])
        copies = copies_of(torch.stack([everything[row].states for row in rows]))
        for copy in np.unique(copies):
            same = rows[copies == copy]  # known ones first
            if same[0] >= len(known):
                number[same] = len(known) + len(others)
                others.append(everything[same[0]])
            number[same[same >= len(known)]] = number[same[0]]
    return number[len(known) :], others


def _plain(cycle: Cycle) -> Cycle:
    """The same without signs of zeros, so that what compares as equal is equal bit for bit."""
    return Cycle(cycle.states + 0.0, cycle.residual, cycle.multipliers + 0.0)


def cycle_arrays(cycles: Sequence[Cycle], labels: Int64[Tensor, " samples"], dim: int) -> dict[str, Tensor]:
    """Cycles and the labels of samples as arrays for a file."""
    width = max((len(cycle.multipliers) for cycle in cycles), default=1)
    multipliers = [widened(cycle.multipliers[None], width) for cycle in cycles]
    return {
        "cycle_states": torch.cat([torch.zeros(0, dim, dtype=torch.float64), *(cycle.states for cycle in cycles)]),
        "cycle_periods": torch.tensor([cycle.period for cycle in cycles], dtype=torch.int64),
        "cycle_residuals": torch.tensor([cycle.residual for cycle in cycles], dtype=torch.float64),
        "cycle_multipliers": torch.view_as_real(
            torch.cat([torch.zeros(0, width, dtype=torch.complex128), *multipliers])
        ),
        "cycle_labels": labels,
    }


def cycles_of_arrays(
    arrays: Mapping[str, Tensor], dim: int, labels: Int64[Tensor, " samples"]
) -> tuple[tuple[Cycle, ...], tuple[Tensor, ...]]:
    """The cycles that `cycle_arrays` made arrays of, and their members; none where none of the arrays is there.

    Args:
        arrays: By name; others than these may be there, too.
        dim: Length of a state.
        labels: Fixed point of each sample, -1 for none.

    Raises:
        ValueError: If the arrays do not fit together, with each other or with the labels.
    """
    if not any(name in arrays for name in ARRAYS):
        return (), ()
    if not all(name in arrays for name in ARRAYS):
        raise ValueError(f"array {next(name for name in ARRAYS if name not in arrays)} is missing")
    states, periods, residuals, multipliers, found = (arrays[name] for name in ARRAYS)
    count = periods.numel()
    fits = (
        states.dtype == residuals.dtype == multipliers.dtype == torch.float64
        and periods.dtype == found.dtype == torch.int64
        and (periods.ndim, states.ndim, multipliers.ndim) == (1, 2, 3)
        and bool(((periods >= 2) & (periods <= len(states))).all())  # so that their sum is no wrapped one
        and states.shape == (int(periods.sum()), dim)
        and residuals.shape == (count,)
        and (multipliers.shape[0], multipliers.shape[2]) == (count, 2)
        and multipliers.shape[1] >= 1
        and found.shape == labels.shape
        and bool(((found >= -1) & (found < count) & ((found < 0) | (labels < 0))).all())
        and bool(states.isfinite().all() and multipliers[:, :1].isfinite().all())
        and bool((residuals.isfinite() & (residuals >= 0)).all())
    )
    if not fits:
        raise ValueError("the arrays of the cycles do not fit together, or not with those of the fixed points")
    spectra = torch.view_as_complex(multipliers.contiguous())
    rows = zip(states.split(periods.tolist()), residuals.tolist(), spectra, strict=True)
    cycles = tuple(Cycle(one, residual, spectrum[~spectrum.isnan()]) for one, residual, spectrum in rows)
    return cycles, members_of(found, count)


def members_of(labels: Int64[Tensor, " samples"], cycles: int) -> tuple[Tensor, ...]:
    """Rows of the samples with each label, rising."""
    sizes = torch.bincount(labels[labels >= 0], minlength=cycles)
    rows = labels.argsort(stable=True)[len(labels) - int(sizes.sum()) :]
    return rows.split(sizes.tolist()) if cycles else ()

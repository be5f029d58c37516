"""Which attractors of several parts of a data set are one, and which copy of each stays.

Fixed points and cycles alike: a fixed point is a cycle of period 1, and the distance of two cycles of one period is the
largest one over their phases, for the rotation that makes it smallest.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Complex128, Float64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.attractors.merging import merge_states
from dynlab.dynamics.known import SAME_POINT


def copies_of(orbits: Float64[Tensor, "attractors period dim"]) -> NDArray[np.int64]:
    """Number of the attractor that each row is a copy of, from 0.

    Two are one where they stand within the relative distance 1e-6 that `iterate` calls one fixed point, or are joined
    by others that do.
    """
    from scipy.sparse.csgraph import connected_components

    if not len(orbits):
        return np.zeros(0, dtype=np.int64)
    scales = torch.linalg.vector_norm(orbits, dim=2).amax(dim=1).clamp(min=1.0)
    # One distance for all that is nowhere too small, between means, which stand no farther apart than the orbits: who
    # is joined by it is looked at again.
    roughly = merge_states(orbits.mean(dim=1), SAME_POINT * float(scales.max())).numpy()
    copy_of = np.empty(len(orbits), dtype=np.int64)
    count = 0
    by_group = np.argsort(roughly, kind="stable")
    for group in np.split(by_group, np.flatnonzero(np.diff(roughly[by_group])) + 1):
        if len(group) == 1:
            copy_of[group], count = count, count + 1
            continue
        chosen = torch.from_numpy(group)
        reach = SAME_POINT * torch.maximum(scales[chosen, None], scales[chosen])
        found, components = connected_components(_are_near(orbits[chosen], reach).numpy(), directed=False)
        copy_of[group], count = count + components, count + found
    return copy_of


def _are_near(orbits: Float64[Tensor, "copies period dim"], reach: Float64[Tensor, "copies copies"]) -> Tensor:
    period = orbits.shape[1]
    near = torch.zeros_like(reach, dtype=torch.bool)
    for shift in range(period):
        together = torch.ones_like(near)
        for phase in range(period):
            if not bool(together.any()):
                break
            one, other = orbits[:, phase], orbits[:, (phase + shift) % period]
            # Products would round away such small distances.
            together &= torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist") < reach
        near |= together
    return near


def best_copies(
    copy_of: NDArray[np.int64],
    states: Float64[Tensor, "attractors numbers"],
    residuals: Float64[Tensor, " attractors"],
    multipliers: Complex128[Tensor, "attractors leading"],
) -> NDArray[np.int64]:
    """Row of the copy that stays, for each attractor: that with the smallest residual, of equal ones the first.

    Args:
        copy_of: Number of the attractor that each row is a copy of, from 0.
        states: All numbers of each copy, which are compared in lexicographic order.
        residuals: Of each copy.
        multipliers: Of each copy.
    """
    smallest = np.full(copy_of.max(initial=-1) + 1, np.inf)
    np.minimum.at(smallest, copy_of, residuals.numpy())
    rows = np.flatnonzero(residuals.numpy() == smallest[copy_of])
    # Copies found by equal steps are equal, but their multipliers, computed among others, can differ by rounding.
    parts = torch.view_as_real(multipliers).flatten(1).numpy()
    keys = np.concatenate([states.numpy()[rows], parts[rows]], axis=1)
    rows = rows[np.lexsort((*keys.T[::-1], copy_of[rows]))]
    return rows[np.unique(copy_of[rows], return_index=True)[1]]


def by_size(found: NDArray[np.int64], states: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number attractors by falling basin size, then lexicographically: the new labels, and the order taken.

    Args:
        found: Attractor of each sample, -1 for none.
        states: What the attractors are compared by, a row for each.
    """
    sizes = np.bincount(found[found >= 0], minlength=len(states))
    order = np.lexsort((*states.T[::-1], -sizes))  # sorts by its last key first
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.append(rank, -1)[found], order  # none, -1, is what stands last


def widened(multipliers: Complex128[Tensor, "attractors leading"], width: int) -> Complex128[Tensor, "attractors wide"]:
    """The same with rows that end in NaN, `width` long."""
    missing = width - multipliers.shape[1]
    return torch.cat([multipliers, multipliers.new_full((len(multipliers), missing), complex("nan+nanj"))], dim=1)

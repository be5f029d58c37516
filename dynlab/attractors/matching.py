"""Which attractors of one model correspond to which of another, trained separately?

Two answers, which need not agree. *By distance*: pairs of fixed points that stand close together, as many and as close
as an optimal assignment makes them. *By shared samples*: both models label the same samples, and how far their
partitions into basins agree is in the table of how many samples each pair of basins shares. Between independent models
nothing merges or splits: attractors are matched, or unmatched.

Sources: Schuhmacher, Vo and Vo 2008, A consistent metric for performance evaluation of multi-object filters (the
assignment with a cut-off); Hubert and Arabie 1985, Comparing partitions (adjusted Rand index); Jaccard 1901.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from dynlab.attractors.basins import Basins
from dynlab.errors import InputError
from dynlab.short_repr import short_repr

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SharedSamples:
    """How many samples the basins of two models share: the cells of their contingency table that are not zero.

    A sample without an attractor in one of the models, or both, is left out of all but `left_out`.
    """

    first: Int64[Tensor, " cells"]  # attractor of the first model, rising
    second: Int64[Tensor, " cells"]  # attractor of the second model, rising for each of the first
    counts: Int64[Tensor, " cells"]  # samples that both have, at least 1
    first_sizes: Int64[Tensor, " first_attractors"]  # samples of each attractor, those that are left out excepted
    second_sizes: Int64[Tensor, " second_attractors"]
    left_out: int  # samples

    @property
    def samples(self) -> int:
        """Samples that have an attractor in both models."""
        return int(self.counts.sum())

    @property
    def jaccard(self) -> Float64[Tensor, " cells"]:
        """Samples that both basins of a cell have, as a share of those that at least one of them has."""
        united = self.first_sizes[self.first] + self.second_sizes[self.second] - self.counts
        return self.counts.double() / united

    @property
    def adjusted_rand_index(self) -> float:
        """Agreement of the two partitions: 1 for equal ones, 0 on average for unrelated ones; NaN below two samples.

        The share of the pairs of samples on which the partitions agree, adjusted for chance.
        """
        if self.samples < 2:
            return math.nan
        together, in_first, in_second = (_pairs(sizes) for sizes in (self.counts, self.first_sizes, self.second_sizes))
        everything = math.comb(self.samples, 2)
        # Whole numbers until the last division: the differences are exact.
        above = 2 * (everything * together - in_first * in_second)
        below = everything * (in_first + in_second) - 2 * in_first * in_second
        return above / below if below else 1.0  # both have one basin only, or one for each sample

    def of_first(self, attractor: int) -> tuple[Int64[Tensor, " found"], Int64[Tensor, " found"]]:
        """Where the samples of an attractor of the first model are in the second.

        Returns:
            Attractors of the second model and how many of the samples each has, by falling number.

        Raises:
            ValueError: If the first model has no such attractor.
        """
        if not 0 <= attractor < len(self.first_sizes):
            raise ValueError(f"attractor is {attractor}, expected from 0 to below {len(self.first_sizes)}")
        cells = self.first == attractor
        counts, order = self.counts[cells].sort(descending=True, stable=True)
        return self.second[cells][order], counts

    def to_frame(self) -> pd.DataFrame:
        """One row for each cell, in pandas, which the extra `frames` installs.

        Columns are `first`, `second`, `samples`, `share_of_first`, `share_of_second` and `jaccard`.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "first": self.first.numpy(),
                "second": self.second.numpy(),
                "samples": self.counts.numpy(),
                "share_of_first": (self.counts / self.first_sizes[self.first].double()).numpy(),
                "share_of_second": (self.counts / self.second_sizes[self.second].double()).numpy(),
                "jaccard": self.jaccard.numpy(),
            }
        )


@dataclass(frozen=True)
class Matching:
    """Attractors of two models that are matched by the distance of their fixed points."""

    __repr__ = short_repr

    first: Int64[Tensor, " pairs"]  # matched attractors of the first model, rising
    second: Int64[Tensor, " pairs"]  # and theirs of the second
    distances: Float64[Tensor, " pairs"]  # between their fixed points, Euclidean, in units of the state
    are_mutual: Bool[Tensor, " pairs"]  # whether each is the nearest to the other among all of the other's model
    jaccard: Float64[Tensor, " pairs"]  # overlap of their basins; NaN where neither has a sample that is compared
    unmatched_first: Int64[Tensor, " unmatched_first"]
    unmatched_second: Int64[Tensor, " unmatched_second"]
    largest_distance: float  # up to which attractors were matched, in units of the state
    shared: SharedSamples

    def to_frame(self) -> pd.DataFrame:
        """One row for each matched pair, in pandas, which the extra `frames` installs.

        Columns are `first`, `second`, `distance`, `is_mutual` and `jaccard`.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "first": self.first.numpy(),
                "second": self.second.numpy(),
                "distance": self.distances.numpy(),
                "is_mutual": self.are_mutual.numpy(),
                "jaccard": self.jaccard.numpy(),
            }
        )


def match_attractors(first: Basins, second: Basins, *, largest_distance: float | None = None) -> Matching:
    """Match the attractors of two models by distance, and compare their basins by the samples that they share.

    The matching has the least total cost, where a matched pair costs its distance and each pair that could have been
    matched and is not costs `largest_distance`. So no pair farther apart than that is matched, and a close pair is not
    given up so that two distant ones come a little nearer. Pairs need not be nearest to each other: `are_mutual` says
    which are.

    Args:
        first: Basins of one model.
        second: Basins of the other, of the same samples in the same order.
        largest_distance: In units of the state, above 0, may be infinite. By default the smaller one of two median
            distances, that from an attractor of the first model to its nearest neighbour in the first model, and the
            same in the second: farther apart, a pair is no more alike than different attractors of one model are. A
            model with one attractor sets no limit.

    Returns:
        Matched and unmatched attractors, and the table of shared samples. Its memory is that of the distances between
        all attractors of the one and the other.

    Raises:
        InputError: If the models have other samples, by their indices, or states of another dim.
        ValueError: If `largest_distance` is out of its range.
    """
    from scipy.optimize import linear_sum_assignment

    if largest_distance is not None and not largest_distance > 0:
        raise ValueError(f"largest_distance is {largest_distance}, expected above 0")
    shared = shared_samples(first, second)
    dims = first.fixed_points.shape[1], second.fixed_points.shape[1]
    if dims[0] != dims[1]:
        raise InputError(f"second has attractors of dim {dims[1]}, expected {dims[0]} as in first")
    if largest_distance is None:
        largest_distance = min(_median_spacing(basins.fixed_points) for basins in (first, second))
    distances = _distances(first.fixed_points, second.fixed_points)
    is_close = distances <= largest_distance
    # Just above the limit, so that a pair at the limit is matched.
    costs = torch.where(is_close, distances, math.nextafter(largest_distance, math.inf))
    rows, columns = (torch.from_numpy(index.astype(np.int64)) for index in linear_sum_assignment(costs.numpy()))
    chosen = is_close[rows, columns]
    rows, columns = rows[chosen], columns[chosen]
    return Matching(
        first=rows,
        second=columns,
        distances=distances[rows, columns],
        are_mutual=_are_mutual(distances, rows, columns),
        jaccard=_jaccard(shared, rows, columns),
        unmatched_first=_others(rows, len(first.fixed_points)),
        unmatched_second=_others(columns, len(second.fixed_points)),
        largest_distance=float(largest_distance),
        shared=shared,
    )


def shared_samples(first: Basins, second: Basins) -> SharedSamples:
    """Count the samples that each basin of one model shares with each basin of another.

    Args:
        first: Basins of one model.
        second: Basins of the other, of the same samples in the same order.

    Returns:
        The contingency table of the two partitions; only pairs of basins that share samples take memory.

    Raises:
        InputError: If the models have other samples, by their indices.
    """
    if len(first.samples) != len(second.samples):
        raise InputError(f"second labels {len(second.samples)} samples, expected the {len(first.samples)} of first")
    differs = (first.samples != second.samples).nonzero()[:, 0].tolist()
    if differs:
        found, expected = (int(basins.samples[differs[0]]) for basins in (second, first))
        raise InputError(f"second labels the sample {found} of its data set, expected {expected} as in first")
    is_compared = (first.labels >= 0) & (second.labels >= 0)
    ones, others = first.labels[is_compared], second.labels[is_compared]
    width = max(1, len(second.fixed_points))
    cells, counts = torch.unique(ones * width + others, return_counts=True)
    return SharedSamples(
        first=cells // width,
        second=cells % width,
        counts=counts,
        first_sizes=torch.bincount(ones, minlength=len(first.fixed_points)),
        second_sizes=torch.bincount(others, minlength=len(second.fixed_points)),
        left_out=int((~is_compared).sum()),
    )


def _pairs(sizes: Tensor) -> int:
    """How many pairs of samples are in one set together."""
    return sum(size * (size - 1) // 2 for size in sizes.tolist())


def _distances(ones: Tensor, others: Tensor) -> Float64[Tensor, "ones others"]:
    # By products, a state may stand far from itself.
    return torch.cdist(ones, others, compute_mode="donot_use_mm_for_euclid_dist")


def _median_spacing(points: Float64[Tensor, "attractors dim"]) -> float:
    """Median distance of a point to its nearest neighbour; infinite where there is none."""
    if len(points) < 2:
        return math.inf
    return float(_distances(points, points).fill_diagonal_(math.inf).amin(dim=1).quantile(0.5))


def _are_mutual(
    distances: Float64[Tensor, "ones others"], rows: Int64[Tensor, " pairs"], columns: Int64[Tensor, " pairs"]
) -> Bool[Tensor, " pairs"]:
    if not len(rows):
        return torch.zeros(0, dtype=torch.bool)
    found = distances[rows, columns]
    return (found == distances.amin(dim=1)[rows]) & (found == distances.amin(dim=0)[columns])


def _jaccard(
    shared: SharedSamples, rows: Int64[Tensor, " pairs"], columns: Int64[Tensor, " pairs"]
) -> Float64[Tensor, " pairs"]:
    cells = zip(shared.first.tolist(), shared.second.tolist(), strict=True)
    known = dict(zip(cells, shared.jaccard.tolist(), strict=True))
    is_empty = (shared.first_sizes[rows] + shared.second_sizes[columns] == 0).tolist()
    pairs = zip(rows.tolist(), columns.tolist(), is_empty, strict=True)
    values = [math.nan if empty else known.get((row, column), 0.0) for row, column, empty in pairs]
    return torch.tensor(values, dtype=torch.float64)


def _others(chosen: Int64[Tensor, " pairs"], count: int) -> Int64[Tensor, " unmatched"]:
    is_left = torch.ones(count, dtype=torch.bool)
    is_left[chosen] = False
    return is_left.nonzero()[:, 0]

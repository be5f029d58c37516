"""How the attractors of neighbouring maps on a page correspond: by the distance of fixed points, by shared samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float64
from torch import Tensor

from dynlab.attractors.following.followed import Followed
from dynlab.attractors.matching import Matching, SharedSamples, match_attractors, shared_samples
from dynlab.evaluation.analysis import Analysis

# Pairs of attractors of two maps, above which a page would wait for their distances for half a minute and more.
MOST_PAIRS = 5_000_000


@dataclass(frozen=True)
class MatchRow:
    """Two maps; a cell is empty where nothing can be said."""

    first: str
    second: str
    first_attractors: int
    second_attractors: int
    matched: str
    mutual: str  # of the matched pairs, those in which each is the nearest to the other
    unmatched_first: str
    unmatched_second: str
    median_distance: str  # of matched pairs
    largest_distance: str  # up to which they were matched
    overlap: str  # median over matched pairs
    agreement: str  # adjusted Rand index
    samples: int  # that have an attractor in both
    are_followed: bool  # whether both maps are among those along which attractors were followed


def match_rows(analyses: Sequence[Analysis], labels: Sequence[str], followed: Followed | None = None) -> list[MatchRow]:
    """A row for each two neighbours that saw the same samples."""
    maps = set() if followed is None else {basins.map_sha256 for basins in followed.basins}
    return [
        _row(first, second, *names, are_followed={first.results.map.sha256, second.results.map.sha256} <= maps)
        for (first, second), names in zip(pairwise(analyses), pairwise(labels), strict=True)
        if _saw_the_same(first, second)
    ]


def _saw_the_same(first: Analysis, second: Analysis) -> bool:
    one, other = first.results, second.results
    return one.data.sha256 == other.data.sha256 and (one.data.samples, one.map.dim) == (
        other.data.samples,
        other.map.dim,
    )


def _row(first: Analysis, second: Analysis, first_name: str, second_name: str, *, are_followed: bool) -> MatchRow:
    one, other = first.basins(), second.basins()
    matching: Matching | None = None
    if len(one.fixed_points) * len(other.fixed_points) <= MOST_PAIRS:
        matching = match_attractors(one, other)
    shared: SharedSamples = shared_samples(one, other) if matching is None else matching.shared
    index = shared.adjusted_rand_index
    return MatchRow(
        first=first_name,
        second=second_name,
        first_attractors=len(one.fixed_points),
        second_attractors=len(other.fixed_points),
        matched="" if matching is None else f"{len(matching.first):,}",
        mutual="" if matching is None else f"{int(matching.are_mutual.sum()):,}",
        unmatched_first="" if matching is None else f"{len(matching.unmatched_first):,}",
        unmatched_second="" if matching is None else f"{len(matching.unmatched_second):,}",
        median_distance="" if matching is None else _median(matching.distances),
        largest_distance="" if matching is None else _distance(matching.largest_distance),
        overlap="" if matching is None else _median(matching.jaccard[~matching.jaccard.isnan()]),
        agreement="" if math.isnan(index) else f"{index:.3f}",
        samples=shared.samples,
        are_followed=are_followed,
    )


def _median(values: Float64[Tensor, " values"]) -> str:
    return f"{float(values.quantile(0.5)):.3g}" if len(values) else ""


def _distance(distance: float) -> str:
    return f"{distance:.3g}" if math.isfinite(distance) else "any"

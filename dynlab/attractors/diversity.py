"""How many attractors are there, and how even are their basins? Estimates that compare maps at equal sample size.

The number of attractors that samples reach grows with the samples, so counts of sets of unequal size say little. This
is the problem of counting species, with attractors for species and samples for individuals.

*Rarefaction* asks how many attractors fewer samples would have reached. Of `m` samples drawn from the `N` resolved
ones without replacement, an attractor with a basin of `n` samples is missed with the hypergeometric probability
`C(N - n, m) / C(N, m)`. The expected number of attractors is the sum of what is left to 1. The standard deviation is of
the unconditional kind: it also covers that other `N` samples would have shown other attractors, and so does not vanish
at `m = N`. It takes the number of all attractors, seen and unseen, to be the lower bound of Chao.

*Chao1* is that lower bound: attractors reached once and twice tell how many were not reached at all. *Coverage* is the
share of the whole space, as samples see it, that lies in basins of the attractors seen. *Entropy* is that of the basin
fractions among the resolved samples, and its exponential the number of equally large basins with the same entropy.

Source: Hurlbert 1971, The nonconcept of species diversity (expectation); Colwell et al. 2012, Models and estimators
linking individual-based and sample-based rarefaction, equations 4 and 5; Chao 1984, Nonparametric estimation of the
number of classes in a population, with the correction for samples without doubletons; Chao 1987, Estimating the
population size for capture-recapture data with unequal catchability (interval); Chao, Ma, Hsieh and Chiu 2016, User's
guide for SpadeR, of which the program has the variances for small sets, and the interval where nothing is estimated
unseen; Chao and Jost 2012, Coverage-based rarefaction and extrapolation, equation 4a.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynlab.errors import check_count

BasinSizes = Sequence[int] | NDArray[np.integer] | Tensor


@dataclass(frozen=True)
class AttractorCount:
    """The number of attractors among `samples` samples."""

    samples: int
    expected: float
    standard_deviation: float


@dataclass(frozen=True)
class AttractorEstimate:
    """How many attractors there are at least, those not seen included, with a confidence interval."""

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Diversity:
    """How many attractors the resolved samples reach, how many there may be, and how even their basins are."""

    samples: int  # resolved ones
    attractors: int  # that they reach
    chao1: AttractorEstimate  # at 95% confidence
    coverage: float | None  # share of new samples that would reach an attractor already seen; None below two samples
    entropy: float  # of the basin fractions, in nats
    effective_attractors: float  # exp(entropy), from 1 to `attractors`


@dataclass(frozen=True)
class _Counts:
    """Basin sizes in short: the sizes that occur, and how often each does."""

    sizes: NDArray[np.int64]
    how_many: NDArray[np.int64]

    @property
    def total(self) -> int:
        return int((self.sizes * self.how_many).sum())

    @property
    def observed(self) -> int:
        return int(self.how_many.sum())

    def of_size(self, size: int) -> int:
        return int(self.how_many[self.sizes == size].sum())


def basin_diversity(basin_sizes: BasinSizes) -> Diversity:
    """All estimates of this file at once.

    Args:
        basin_sizes: Number of samples in each basin, each at least 1.

    Returns:
        The estimates; without any basin, counts and entropy of 0, and no coverage.

    Raises:
        ValueError: If these are not whole numbers, or a basin is empty.
    """
    counts = _counts(basin_sizes)
    entropy = basin_entropy(basin_sizes)
    return Diversity(
        samples=counts.total,
        attractors=counts.observed,
        chao1=chao1(basin_sizes),
        coverage=sample_coverage(basin_sizes) if counts.total > 1 else None,
        entropy=entropy,
        effective_attractors=math.exp(entropy) if counts.total else 0.0,
    )


def attractor_count(basin_sizes: BasinSizes, samples: int) -> AttractorCount:
    """Expected number of attractors among `samples` of the resolved samples.

    Args:
        basin_sizes: Number of samples in each basin, each at least 1; their sum is the number of resolved samples.
        samples: How many to draw, from 0 to that sum.

    Returns:
        The expected number and its standard deviation.

    Raises:
        ValueError: If an argument is out of its range.
    """
    counts = _counts(basin_sizes)
    sizes, how_many, total = counts.sizes, counts.how_many, counts.total
    check_count("samples", samples, 0, total)
    found = np.array([_found(int(size), samples, total) for size in sizes])
    expected = float((how_many * found).sum())
    variance = float((how_many * found**2).sum())
    if expected > 0:
        variance -= expected**2 / (counts.observed + _unseen(counts))
    return AttractorCount(samples, expected, max(0.0, variance) ** 0.5)


def _found(size: int, samples: int, total: int) -> float:
    """Probability that one of `samples` drawn from `total` is one of `size`."""
    if size + samples > total:
        return 1.0
    # That none is: a product of as many factors as there are draws, or members, which gives the same. Not by
    # factorials, whose logarithms are so large that of their differences nothing may remain.
    fewer, more = sorted((size, samples))
    return float(-np.expm1(np.log1p(-more / (total - np.arange(fewer))).sum()))


def rarefaction_curve(basin_sizes: BasinSizes, points: int) -> list[AttractorCount]:
    """Expected number of attractors among ever more samples, from none to all resolved ones.

    Args:
        basin_sizes: Number of samples in each basin, each at least 1.
        points: At how many numbers of samples, evenly spaced, at least 2; fewer come back where there are too few.

    Returns:
        The expected number at each, by rising number of samples.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_count("points", points, 2)
    at = np.unique(np.linspace(0, _counts(basin_sizes).total, points).round().astype(np.int64))
    return [attractor_count(basin_sizes, samples) for samples in at.tolist()]


def equal_sample_counts(basin_sizes: Sequence[BasinSizes]) -> list[AttractorCount]:
    """Attractors of several maps among as many samples as the one with the fewest resolved has.

    Args:
        basin_sizes: For each map the number of samples in each basin.

    Returns:
        The expected number for each map, and its standard deviation.
    """
    samples = min((_counts(sizes).total for sizes in basin_sizes), default=0)
    return [attractor_count(sizes, samples) for sizes in basin_sizes]


def chao1(basin_sizes: BasinSizes, confidence: float = 0.95) -> AttractorEstimate:
    """Lower bound of the number of all attractors, from how many were reached once and twice.

    With `f1` attractors reached once and `f2` twice, about `f1^2 / (2 f2)` were not reached. The interval is log-normal
    in the number of those, and so never goes below what was seen. Where none is estimated unseen, it goes from what was
    seen to the upper end for a number of samples that is Poisson distributed.

    Args:
        basin_sizes: Number of samples in each basin, each at least 1.
        confidence: Probability that the interval is to cover the estimated number, above 0 and below 1.

    Returns:
        The estimate and its interval; 0 without any basin.

    Raises:
        ValueError: If an argument is out of its range.
    """
    from scipy.special import ndtri

    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected above 0 and below 1")
    counts = _counts(basin_sizes)
    observed, unseen = counts.observed, _unseen(counts)
    quantile = float(ndtri((1 + confidence) / 2))
    if not observed:
        return AttractorEstimate(0.0, 0.0, 0.0)
    if unseen == 0:
        return AttractorEstimate(float(observed), float(observed), _poisson_upper(counts, quantile))
    factor = math.exp(quantile * math.sqrt(math.log1p(_variance_of_unseen(counts, unseen) / unseen**2)))
    return AttractorEstimate(observed + unseen, observed + unseen / factor, observed + unseen * factor)


def sample_coverage(basin_sizes: BasinSizes) -> float:
    """Share of new samples that would reach an attractor already seen, estimated from those reached once and twice.

    Args:
        basin_sizes: Number of samples in each basin, each at least 1.

    Returns:
        From 0 to 1; NaN for fewer than two samples, which say nothing about it.

    Raises:
        ValueError: If these are not whole numbers, or a basin is empty.
    """
    counts = _counts(basin_sizes)
    total, once, twice = counts.total, counts.of_size(1), counts.of_size(2)
    if total < 2:
        return math.nan
    if not once:
        return 1.0
    # f1^2 / (2 f2) unseen attractors, or f1 (f1 - 1) / 2 where none was reached twice.
    seen_once, pairs = ((total - 1) * once, 2 * twice) if twice else ((total - 1) * (once - 1), 2)
    return 1 - once / total * seen_once / (seen_once + pairs)


def basin_entropy(basin_sizes: BasinSizes) -> float:
    """Shannon entropy of the basin fractions among the resolved samples.

    Args:
        basin_sizes: Number of samples in each basin, each at least 1.

    Returns:
        In nats, from 0 to the logarithm of the number of basins; 0 without any.

    Raises:
        ValueError: If these are not whole numbers, or a basin is empty.
    """
    counts = _counts(basin_sizes)
    shares = counts.sizes / max(1, counts.total)
    return max(0.0, -float((counts.how_many * shares * np.log(shares)).sum()))


def _counts(basin_sizes: BasinSizes) -> _Counts:
    try:
        given = basin_sizes.cpu().numpy() if isinstance(basin_sizes, Tensor) else np.asarray(basin_sizes)
        are_numbers = given.ndim == 1 and given.dtype.kind in "iuf" and bool(np.isfinite(given).all())
        are_counts = are_numbers and bool((given == np.round(given)).all())
    except (TypeError, ValueError):  # no array at all, or rows of unequal length
        given, are_counts = np.zeros(0), False
    if not are_counts:
        raise ValueError(
            f"basin_sizes is no sequence of whole numbers ({type(basin_sizes).__name__}), expected the number of "
            "samples in each basin, such as Basins.sizes"
        )
    sizes, how_many = np.unique(given.astype(np.int64), return_counts=True)
    if len(sizes) and sizes[0] < 1:
        raise ValueError(f"basin_sizes has {sizes[0]}, expected at least 1 in each basin")
    return _Counts(sizes, how_many)


def _unseen(counts: _Counts) -> float:
    """How many attractors no sample reached, at least."""
    if not counts.total:
        return 0.0
    once, twice = counts.of_size(1), counts.of_size(2)
    unseen = once**2 / (2 * twice) if twice else once * (once - 1) / 2
    return (counts.total - 1) / counts.total * unseen


def _variance_of_unseen(counts: _Counts, unseen: float) -> float:
    once, twice = counts.of_size(1), counts.of_size(2)
    shrink = (counts.total - 1) / counts.total
    if twice:
        ratio = once / twice
        return twice * (shrink * ratio**2 / 2 + shrink**2 * ratio**3 + shrink**2 * ratio**4 / 4)
    variance = shrink * once * (once - 1) / 2 + shrink**2 * once * (2 * once - 1) ** 2 / 4
    return variance - shrink**2 * once**4 / 4 / (counts.observed + unseen)


def _poisson_upper(counts: _Counts, quantile: float) -> float:
    """Upper end of an interval for all attractors, were each basin size Poisson with its observed mean."""
    absent = np.exp(-counts.sizes.astype(np.float64))
    missed = float((counts.how_many * absent).sum()) / counts.observed
    variance = float((counts.how_many * (absent - absent**2)).sum())
    variance -= float((counts.how_many * counts.sizes * absent).sum()) ** 2 / counts.total
    return (counts.observed + quantile * math.sqrt(max(0.0, variance))) / (1 - missed)

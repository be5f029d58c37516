"""How many attractors would fewer samples have reached? Rarefaction, to compare maps at equal sample size.

The number of attractors that samples reach grows with the samples, so counts of sets of unequal size say little. Of
`m` samples drawn from the `N` resolved ones without replacement, an attractor with a basin of `n` samples is missed
with the hypergeometric probability `C(N - n, m) / C(N, m)`. The expected number of attractors is the sum of what is
left to 1. The standard deviation is of the unconditional kind: it also covers that other `N` samples would have shown
other attractors, and so does not vanish at `m = N`. It takes the number of all attractors, seen and unseen, to be the
lower bound of Chao.

Source: Hurlbert 1971, The nonconcept of species diversity (expectation); Colwell et al. 2012, Models and estimators
linking individual-based and sample-based rarefaction, equations 4 and 5; Chao 1984 (lower bound, with its correction
for samples without doubletons).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AttractorCount:
    """The number of attractors among `samples` samples."""

    samples: int
    expected: float
    standard_deviation: float


def attractor_count(basin_sizes: Sequence[int], samples: int) -> AttractorCount:
    """Expected number of attractors among `samples` of the resolved samples.

    Args:
        basin_sizes: Number of samples in each basin, each at least 1; their sum is the number of resolved samples.
        samples: How many to draw, from 0 to that sum.

    Returns:
        The expected number and its standard deviation.

    Raises:
        ValueError: If an argument is out of its range.
    """
    from scipy.special import gammaln

    sizes, how_many = np.unique(np.asarray(basin_sizes, dtype=np.int64), return_counts=True)
    total = int((sizes * how_many).sum())
    if len(sizes) and sizes[0] < 1:
        raise ValueError(f"basin_sizes has {sizes[0]}, expected at least 1 in each basin")
    if not 0 <= samples <= total:
        raise ValueError(f"samples is {samples}, expected 0 to {total}, the samples in all basins")
    left = total - samples
    rest = np.maximum(left - sizes, 0)  # where it would be negative, the basin cannot be missed
    log_missed = gammaln(total - sizes + 1) + gammaln(left + 1) - gammaln(rest + 1) - gammaln(total + 1)
    # Few numbers near 1 remain after large ones cancel, so probabilities can leave [0, 1] by rounding.
    missed = np.where(sizes > left, 0.0, np.exp(np.minimum(log_missed, 0.0)))
    found = 1 - missed if samples else np.zeros(len(sizes))
    expected = float((how_many * found).sum())
    variance = float((how_many * found**2).sum())
    if expected > 0:
        variance -= expected**2 / _chao1(sizes, how_many, total)
    return AttractorCount(samples, expected, max(0.0, variance) ** 0.5)


def equal_sample_counts(basin_sizes: Sequence[Sequence[int]]) -> list[AttractorCount]:
    """Attractors of several maps among as many samples as the one with the fewest resolved has.

    Args:
        basin_sizes: For each map the number of samples in each basin.

    Returns:
        The expected number for each map, and its standard deviation.
    """
    samples = min((sum(sizes) for sizes in basin_sizes), default=0)
    return [attractor_count(sizes, samples) for sizes in basin_sizes]


def _chao1(sizes: np.ndarray, how_many: np.ndarray, total: int) -> float:
    """Lower bound of the number of all attractors, from how many were reached once and twice."""
    once = int(how_many[sizes == 1].sum())
    twice = int(how_many[sizes == 2].sum())
    unseen = once**2 / (2 * twice) if twice else once * (once - 1) / 2
    return float(how_many.sum()) + (total - 1) / total * unseen

"""Rarefaction against enumeration, exact rational arithmetic and sampling."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from dynlab.report.rarefaction import attractor_count


@pytest.mark.parametrize("samples", range(9))
def test_expectation_is_the_mean_over_all_subsets(samples: int) -> None:
    owners = [0, 0, 0, 1, 1, 2, 3, 3]
    subsets = list(combinations(owners, samples))
    mean = sum(len(set(subset)) for subset in subsets) / len(subsets)
    assert attractor_count([3, 2, 1, 2], samples).expected == pytest.approx(mean, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("samples", [0, 1, 17, 1000, 1996, 2000])
def test_large_sets_against_exact_arithmetic(samples: int) -> None:
    sizes = [900, 400, 250, *[20] * 15, 10, 9, 8, 7, *[2] * 33, *[1] * 50]
    assert sum(sizes) == 2000
    found = attractor_count(sizes, samples)
    missed = [Fraction(math.comb(2000 - size, samples), math.comb(2000, samples)) for size in sizes]
    expected = sum((1 - share for share in missed), Fraction(0))
    chao = len(sizes) + Fraction(1999, 2000) * Fraction(50**2, 2 * 33)
    variance = sum(((1 - share) ** 2 for share in missed), Fraction(0)) - expected**2 / chao
    assert found.expected == pytest.approx(float(expected), rel=1e-9)
    assert found.standard_deviation == pytest.approx(math.sqrt(variance), rel=1e-8)


def test_a_million_samples_stay_accurate() -> None:
    # One sample in each of a million basins: any m samples are m attractors.
    assert attractor_count([1] * 1_000_000, 123_456).expected == pytest.approx(123_456, rel=1e-6)
    assert attractor_count([1_000_000], 123_456).expected == 1


def test_without_doubletons_the_corrected_bound_is_used() -> None:
    found = attractor_count([5, 1, 1, 1], 8)
    chao = 4 + Fraction(7, 8) * 3
    assert found.expected == pytest.approx(4, rel=1e-13)
    assert found.standard_deviation == pytest.approx(math.sqrt(4 - 16 / chao), rel=1e-12)


def test_standard_deviation_is_that_between_fresh_samples() -> None:
    # Where hardly any attractor is unseen, the estimate from one data set must be what many data sets vary by.
    rng = np.random.default_rng(0)
    shares = np.array([0.05] * 12 + [0.01] * 40)
    draws = rng.multinomial(400, shares / shares.sum(), size=4000)
    spread = (draws > 0).sum(axis=1).std()
    estimates = [attractor_count(draw[draw > 0].tolist(), 400).standard_deviation for draw in draws[:300]]
    assert np.mean(estimates) == pytest.approx(spread, rel=0.2)


def test_no_attractors_at_all() -> None:
    found = attractor_count([], 0)
    assert (found.expected, found.standard_deviation) == (0, 0)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="samples is 4, expected 0 to 3"):
        attractor_count([2, 1], 4)
    with pytest.raises(ValueError, match="basin_sizes has 0"):
        attractor_count([2, 0], 1)

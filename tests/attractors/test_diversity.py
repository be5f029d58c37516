"""Estimates of the number and evenness of attractors: enumeration, exact arithmetic, published numbers, sampling."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch

from dynlab.attractors.diversity import (
    attractor_count,
    basin_diversity,
    basin_entropy,
    chao1,
    equal_sample_counts,
    rarefaction_curve,
    sample_coverage,
)


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
    assert found.expected == pytest.approx(float(expected), rel=1e-12)
    assert found.standard_deviation == pytest.approx(math.sqrt(variance), rel=1e-8)


def test_a_million_samples_stay_accurate() -> None:
    # One sample in each of a million basins: any m samples are m attractors.
    assert attractor_count([1] * 1_000_000, 123_456).expected == pytest.approx(123_456, rel=1e-12)
    assert attractor_count([1_000_000], 123_456).expected == 1


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_few_of_millions_of_samples_in_exact_arithmetic(samples: int) -> None:
    sizes = [*range(1, 3000), 2_000_000, 3_000_000]
    total = sum(sizes)
    exact = sum(1 - Fraction(math.comb(total - size, samples), math.comb(total, samples)) for size in sizes)
    assert attractor_count(sizes, samples).expected == pytest.approx(float(exact), rel=1e-12)


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
    with pytest.raises(ValueError, match="points is 1, expected at least 2"):
        rarefaction_curve([2, 1], 1)
    with pytest.raises(ValueError, match=r"confidence is 1\.0, expected above 0 and below 1"):
        chao1([2, 1], confidence=1.0)
    for function in (chao1, sample_coverage, basin_entropy, basin_diversity, lambda sizes: attractor_count(sizes, 1)):
        with pytest.raises(ValueError, match="basin_sizes has 0"):
            function([2, 0])
        for sizes in (
            torch.tensor([1.5, 2.0]),
            torch.ones(2, 1, dtype=torch.int64),
            torch.tensor([1.0, math.nan]),
            torch.tensor([math.inf]),
        ):
            with pytest.raises(ValueError, match=r"^basin_sizes is no sequence of whole numbers \(Tensor\), expected"):
                function(sizes)


def test_sizes_come_as_lists_arrays_or_tensors() -> None:
    sizes = [4, 2, 1, 1]
    expected = basin_diversity(sizes)
    assert basin_diversity(np.array(sizes)) == basin_diversity(torch.tensor(sizes)) == expected
    assert equal_sample_counts([torch.tensor(sizes), np.array([2, 1])])[1] == attractor_count([2, 1], 3)


def test_the_curve_goes_from_nothing_to_all() -> None:
    sizes = [40, 30, 20, 5, 3, 1, 1]
    curve = rarefaction_curve(sizes, 11)
    assert [point.samples for point in curve] == list(range(0, 101, 10))
    assert curve == [attractor_count(sizes, point.samples) for point in curve]
    assert curve[-1].expected == pytest.approx(7, rel=1e-12)
    rises = np.diff([point.expected for point in curve])
    assert (rises > 0).all()
    assert (np.diff(rises) < 0).all()
    assert [point.samples for point in rarefaction_curve([2, 1], 50)] == [0, 1, 2, 3]


def test_maps_are_compared_at_the_smallest_number_of_samples() -> None:
    counts = equal_sample_counts([[5, 5], [2, 1, 1]])
    assert counts == [attractor_count([5, 5], 4), attractor_count([2, 1, 1], 4)]
    assert equal_sample_counts([]) == []


def test_chao1_without_the_correction_for_few_samples_is_that_of_scikit_bio() -> None:
    # Its example, which EstimateS confirms: counts 1 1 1 2 2 2 4 4 5, interval (9.17, 21.89). One huge basin instead of
    # the 5 leaves the attractors reached once and twice and the number of all, and takes the factor (n - 1) / n to 1.
    # It takes the quantile to be 1.96.
    found = chao1([1, 1, 1, 2, 2, 2, 4, 4, 10**12], confidence=math.erf(1.96 / math.sqrt(2)))
    assert found.estimate == pytest.approx(10.5, rel=1e-9)
    assert (round(found.lower, 2), round(found.upper, 2)) == (9.17, 21.89)


def test_chao1_in_exact_arithmetic() -> None:
    # n = 12, f1 = 4, f2 = 2, S = 7.
    found = chao1([1, 1, 1, 1, 2, 2, 4])
    shrink = Fraction(11, 12)
    unseen = shrink * Fraction(4**2, 2 * 2)
    variance = 2 * (shrink * 2**2 / 2 + shrink**2 * 2**3 + shrink**2 * Fraction(2**4, 4))
    factor = math.exp(1.959963984540054 * math.sqrt(math.log(1 + variance / unseen**2)))
    assert found.estimate == pytest.approx(float(7 + unseen), rel=1e-13)
    assert found.lower == pytest.approx(7 + float(unseen) / factor, rel=1e-12)
    assert found.upper == pytest.approx(7 + float(unseen) * factor, rel=1e-12)


def test_chao1_without_doubletons_in_exact_arithmetic() -> None:
    # n = 8, f1 = 3, f2 = 0, S = 4: unseen 7/8 * 3 * 2 / 2 = 21/8.
    found = chao1([5, 1, 1, 1], confidence=0.9)
    shrink, unseen = Fraction(7, 8), Fraction(21, 8)
    variance = shrink * 3 + shrink**2 * Fraction(3 * 25, 4) - shrink**2 * Fraction(81, 4) / (4 + unseen)
    factor = math.exp(1.6448536269514722 * math.sqrt(math.log(1 + variance / unseen**2)))
    assert found.estimate == pytest.approx(float(4 + unseen), rel=1e-13)
    assert found.lower == pytest.approx(4 + float(unseen) / factor, rel=1e-12)
    assert found.upper == pytest.approx(4 + float(unseen) * factor, rel=1e-12)


def test_chao1_where_all_attractors_were_reached_often() -> None:
    found = chao1([500, 300, 200])
    assert (found.estimate, found.lower) == (3, 3)
    assert found.upper == pytest.approx(3, abs=1e-12)
    # Basins of two samples: each attractor is missed with probability exp(-2), as if basin sizes were Poisson.
    missed = math.exp(-2)
    deviation = math.sqrt(50 * (missed - missed**2) - (100 * missed) ** 2 / 100)
    found = chao1([2] * 50)
    assert (found.estimate, found.lower) == (50, 50)
    assert found.upper == pytest.approx((50 + 1.959963984540054 * deviation) / (1 - missed), rel=1e-12)
    # Unequal ones, each with its own probability.
    missed = [math.exp(-size) for size in (2, 2, 4, 5)]
    mean = sum(size * share for size, share in zip((2, 2, 4, 5), missed, strict=True))
    deviation = math.sqrt(sum(share * (1 - share) for share in missed) - mean**2 / 13)
    expected = (4 + 1.959963984540054 * deviation) / (1 - sum(missed) / 4)
    assert chao1([5, 2, 4, 2]).upper == pytest.approx(expected, rel=1e-12)


def test_chao1_covers_the_number_of_equally_large_basins() -> None:
    # For equal basins Chao1 is not only a bound but the number itself.
    rng = np.random.default_rng(0)
    draws = rng.multinomial(150, np.full(100, 0.01), size=2000)
    found = [chao1(draw[draw > 0].tolist()) for draw in draws]
    assert np.mean([estimate.estimate for estimate in found]) == pytest.approx(100, abs=3)
    covered = np.mean([estimate.lower <= 100 <= estimate.upper for estimate in found])
    assert 0.93 <= covered <= 0.98


def test_coverage_in_exact_arithmetic() -> None:
    # n = 9, f1 = 2, f2 = 2, and n = 8, f1 = 3, f2 = 0 (equation 4a, and its form without doubletons).
    assert sample_coverage([3, 1, 2, 2, 1]) == pytest.approx(1 - 2 / 9 * 16 / 20, rel=1e-14)
    assert sample_coverage([5, 1, 1, 1]) == pytest.approx(1 - 3 / 8 * 14 / 16, rel=1e-14)
    assert sample_coverage([2, 2, 7]) == 1
    assert math.isnan(sample_coverage([1]))
    assert math.isnan(sample_coverage([]))


def test_coverage_is_the_share_of_the_basins_seen() -> None:
    rng = np.random.default_rng(0)
    shares = 0.95 ** np.arange(200)
    shares /= shares.sum()
    draws = rng.multinomial(100, shares, size=3000)
    truth = ((draws > 0) * shares).sum(axis=1).mean()
    estimates = np.mean([sample_coverage(draw[draw > 0].tolist()) for draw in draws])
    assert truth < 0.85
    assert estimates == pytest.approx(truth, abs=0.005)


def test_entropy_of_known_fractions() -> None:
    assert basin_entropy([7]) == 0
    assert basin_entropy([3] * 8) == pytest.approx(math.log(8), rel=1e-14)
    assert basin_entropy([50, 25, 25]) == pytest.approx(1.5 * math.log(2), rel=1e-14)
    assert basin_entropy([]) == 0


def test_all_estimates_at_once() -> None:
    sizes = [50, 25, 20, 2, 2, 1]
    found = basin_diversity(sizes)
    assert (found.samples, found.attractors) == (100, 6)
    assert found.chao1 == chao1(sizes)
    assert found.coverage == sample_coverage(sizes)
    assert found.entropy == basin_entropy(sizes)
    assert basin_diversity([4] * 5).effective_attractors == pytest.approx(5, rel=1e-14)
    nothing = basin_diversity([])
    assert (nothing.samples, nothing.attractors, nothing.entropy, nothing.effective_attractors) == (0, 0, 0, 0)
    assert nothing.chao1.upper == 0

"""Random numbers addressed by presentations, against numpy's Philox and the distributions they are said to have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from dynlab.training.draws import Draws, MembersNoise, Noise, _to_normal, _to_uniform, philox
from dynlab.training.streams import STREAMS, generator, key_of

CPU = torch.device("cpu")
SEEDS = (3, 2**63 - 1, 0)


def _members(device: torch.device, first: int, rows: int) -> Draws:
    return MembersNoise(SEEDS, "corruption", device).at(torch.tensor(first, device=device), rows)


@pytest.mark.parametrize(("channel", "size"), [(0, 0), (1, 98), (1023, 1), (2**62 + 2**33, 2**40)])
def test_words_are_those_of_numpy(channel: int, size: int, device: torch.device) -> None:
    counters = [1, 0, 2, 2**31, 2**32 - 1, 2**32, 2**62 + 12345, 2**63 - 1, -(2**63), -1]
    keys = [[0, 0], [2**63 - 1, -(2**63)], [-1, -1], [0x0123456789ABCDEF, -0x0123456789ABCDEF]]
    words = philox(torch.tensor(keys, device=device), torch.tensor(counters, device=device), channel, size)
    found = words.cpu().numpy()
    for words, key in zip(found, keys, strict=True):
        for block, counter in zip(words, counters, strict=True):
            # numpy adds one to the counter, of 256 bits, before it makes a block.
            before = (counter % 2**64 + (channel << 128) + (size << 192) - 1) % 2**256
            parts = [before >> shift & 2**64 - 1 for shift in (0, 64, 128, 192)]
            numpy_key = np.array([word % 2**64 for word in key], np.uint64)
            expected = np.random.Philox(counter=np.array(parts, np.uint64), key=numpy_key).random_raw(4)
            assert block.view(np.uint64).tolist() == expected.tolist()


@pytest.mark.parametrize("count", [1, 4, 7, 784])
def test_a_presentation_has_its_numbers_whatever_is_drawn_with_it(count: int, device: torch.device) -> None:
    noise = Noise(3, "corruption", device)
    at_once = noise.at(100, 9)
    part = at_once.part(2).part(0)
    expected = [at_once.uniform(4, count), at_once.normal(4, count), at_once.normal(0, count), part.normal(4, count)]
    for rows in (1, 2, 9):
        for first in sorted(range(0, 9 - rows + 1, rows), key=lambda first: -first):  # going back, too
            draws = noise.at(100 + first, rows)
            part = draws.part(2).part(0)
            found = [draws.uniform(4, count), draws.normal(4, count), draws.normal(0, count), part.normal(4, count)]
            for numbers, all_numbers in zip(found, expected, strict=True):
                assert numbers.shape == (*draws.shape, count)
                assert numbers.equal(all_numbers[first : first + rows])


@pytest.mark.parametrize("first", [0, 25_000_000, 2**52 + 1])
def test_members_have_the_numbers_they_have_alone(first: int, device: torch.device) -> None:
    together = _members(device, first, 6)
    assert together.shape == (3, 6)
    for member, seed in enumerate(SEEDS):
        alone = Noise(seed, "corruption", CPU).at(first, 6)
        assert alone.shape == (6,)
        assert together.uniform(1, 11)[member].cpu().equal(alone.uniform(1, 11))
        assert together.part(3).uniform(1, 11)[member].cpu().equal(alone.part(3).uniform(1, 11))
        torch.testing.assert_close(together.normal(1, 11)[member].cpu(), alone.normal(1, 11), rtol=1e-6, atol=1e-6)


def test_uniform_numbers() -> None:
    numbers = Noise(5, "corruption", CPU).at(0, 300).uniform(0, 1000)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert (numbers * 2**24).frac().eq(0).all()
    assert stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > 0.001


def test_the_upper_24_bits_of_each_half_of_a_word_count() -> None:
    key = np.array(key_of(5, "corruption"), np.uint64)
    halves = np.random.Philox(key=key, counter=4 << 192).random_raw(16).view(np.uint32).astype(np.int64)
    # Shifted by half of the range: 2^31 gives 0.
    expected = ((halves + 2**31) % 2**32 >> 8) / 2**24
    assert Noise(5, "corruption", CPU).at(0, 1).uniform(0, 32).double().numpy().tolist() == [expected.tolist()]


def test_the_extreme_words() -> None:
    extremes = torch.tensor([-(2**31), 2**31 - 1], dtype=torch.int32)
    assert _to_uniform(extremes).tolist() == [0, 1 - 2**-24]
    # Where the radius comes from the one or the other, the angle is anything.
    for word, radius in zip(extremes, (0.0, math.sqrt(2 * 24 * math.log(2))), strict=True):
        cosine, sine = _to_normal(torch.stack([word, torch.tensor(1 << 29, dtype=torch.int32)]), 2).tolist()
        assert math.hypot(cosine, sine) == pytest.approx(radius, rel=1e-6)


def test_normal_numbers() -> None:
    numbers = Noise(5, "corruption", CPU).at(0, 1000).normal(0, 999).double().flatten()
    count = len(numbers)
    # With 99.9% confidence: the mean is normal, the sum of squares chi-squared, what lies beyond 4 is binomial.
    assert abs(numbers.mean()) < stats.norm.isf(0.0005) / math.sqrt(count)
    low, high = stats.chi2.interval(0.999, count)
    assert low < numbers.square().sum() < high
    assert stats.kstest(numbers.numpy(), "norm").pvalue > 0.001
    for tail in (numbers > 4, numbers < -4):
        low, high = stats.binom.interval(0.999, count, stats.norm.sf(4))
        assert low <= tail.sum() <= high
    assert numbers.abs().max() < 5.8


def test_numbers_of_different_origin_are_not_correlated() -> None:
    rows, count = 500, 40
    draws = Noise(5, "corruption", CPU).at(0, rows + 1)
    drawn: list[Tensor] = [
        draws.normal(0, count)[:-1],
        draws.normal(0, count)[1:],  # the next presentation
        draws.normal(0, count)[:-1].roll(1, dims=1),  # the next number
        draws.normal(0, count)[:-1].roll(count // 2, dims=1),  # the other one of a pair
        draws.normal(1, count)[:-1],
        draws.part(0).normal(0, count)[:-1],
        draws.part(1).normal(0, count)[:-1],
        draws.part(0).part(0).normal(0, count)[:-1],
        Noise(5, "evaluation", CPU).at(0, rows).normal(0, count),
        *(Noise(seed, "corruption", CPU).at(0, rows).normal(0, count) for seed in (6, 4, 2**62)),
    ]
    for numbers in (drawn, [values.square() for values in drawn]):
        correlations = torch.corrcoef(torch.stack([values.flatten() for values in numbers]).double())
        off_diagonal = correlations[~torch.eye(len(numbers), dtype=torch.bool)]
        assert off_diagonal.abs().max() < 4 / math.sqrt(rows * count)


def test_streams_and_seeds_are_unrelated() -> None:
    count = 10_000
    drawn = [torch.randn(count, generator=generator(seed, stream)) for seed in (0, 1, 2**63 - 1) for stream in STREAMS]
    correlations = torch.corrcoef(torch.stack(drawn).double())
    off_diagonal = correlations[~torch.eye(len(drawn), dtype=torch.bool)]
    assert off_diagonal.abs().max() < stats.norm.isf(0.0005 / len(off_diagonal)) / math.sqrt(count)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    for asked in (lambda: generator(seed, "corruption"), lambda: Noise(seed, "corruption", CPU)):
        with pytest.raises(ValueError, match=f"seed is {seed}, expected from 0 to 2\\^63 - 1"):
            asked()

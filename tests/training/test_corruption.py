"""The noise is Gaussian, never clipped, and the same however it is taken."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from dynlab.training import GaussianNoise, corrupt
from dynlab.training.corruption import _BLOCK
from dynlab.training.streams import STREAMS, generator

CPU = torch.device("cpu")


def test_corruption_is_gaussian_of_the_given_standard_deviation(device: torch.device) -> None:
    sigma, images = 0.7, torch.rand(400, 500, generator=torch.Generator().manual_seed(1)).to(device)
    noise = (corrupt(images, sigma, GaussianNoise(5, "corruption", device)) - images).double().flatten().cpu()
    # With 99.9% confidence: the mean is normal, and the sum of squares has a chi-squared distribution.
    count = len(noise)
    assert abs(noise.mean()) < stats.norm.isf(0.0005) * sigma / math.sqrt(count)
    low, high = stats.chi2.interval(0.999, count)
    assert low < noise.square().sum() / sigma**2 < high
    assert stats.kstest(noise.numpy() / sigma, "norm").pvalue > 0.001


def test_corruption_is_never_clipped(device: torch.device) -> None:
    images = torch.cat([torch.zeros(100, 500), torch.ones(100, 500)]).to(device)
    corrupted = corrupt(images, 0.5, GaussianNoise(5, "corruption", device))
    # Half of all pixels leave [0, 1] on their own side, and some of them by several standard deviations.
    outside = ((corrupted < 0) | (corrupted > 1)).double().mean()
    expected = 0.5 + stats.norm.sf(2)
    assert abs(outside - expected) < stats.norm.isf(0.0005) * math.sqrt(expected * (1 - expected) / images.numel())
    assert corrupted.min() < -1.5
    assert corrupted.max() > 2.5


def test_every_use_of_an_image_is_corrupted_anew() -> None:
    noise, images = GaussianNoise(5, "corruption", CPU), torch.rand(3, 4)
    first, second = corrupt(images, 1.0, noise), corrupt(images, 1.0, noise)
    assert not (first == second).any()
    assert len(first.unique()) == first.numel()


def test_sigma_0_leaves_images_as_they_are(device: torch.device) -> None:
    images = torch.rand(3, 4).to(device)
    assert corrupt(images, 0.0, GaussianNoise(5, "corruption", device)).equal(images)


def test_float64_images_get_the_same_noise() -> None:
    images = torch.rand(3, 4, dtype=torch.float64)
    noise = corrupt(images, 1.0, GaussianNoise(5, "corruption", CPU)) - images
    torch.testing.assert_close(noise, GaussianNoise(5, "corruption", CPU).take((3, 4)).double(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("portions", [[1] * 50, [_BLOCK - 1, 2, 7], [_BLOCK, _BLOCK], [3 * _BLOCK + 5, 11], [0, 20, 0]])
def test_the_stream_does_not_depend_on_the_portions(portions: list[int], device: torch.device) -> None:
    at_once = GaussianNoise(5, "corruption", CPU).take((sum(portions),))
    noise = GaussianNoise(5, "corruption", device)
    assert torch.cat([noise.take((portion,)).cpu() for portion in portions]).equal(at_once)


def test_numbers_that_were_handed_out_stay() -> None:
    noise = GaussianNoise(5, "corruption", CPU)
    taken = noise.take((100,))
    copy = taken.clone()
    noise.take((3 * _BLOCK,))
    assert taken.equal(copy)


def test_streams_and_seeds_are_unrelated() -> None:
    count = 10_000
    drawn = [torch.randn(count, generator=generator(seed, stream)) for seed in (0, 1, 2**63 - 1) for stream in STREAMS]
    correlations = torch.corrcoef(torch.stack(drawn).double())
    off_diagonal = correlations[~torch.eye(len(drawn), dtype=torch.bool)]
    assert off_diagonal.abs().max() < stats.norm.isf(0.0005 / len(off_diagonal)) / math.sqrt(count)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"seed is {seed}, expected from 0 to 2\\^63 - 1"):
        GaussianNoise(seed, "corruption", CPU)

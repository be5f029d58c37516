"""The noise is Gaussian, never clipped, and the same whatever the minibatches, the dtype and the device."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from dynlab.training import corrupt, generator
from dynlab.training.streams import STREAMS


def test_corruption_is_gaussian_of_the_given_standard_deviation(device: torch.device) -> None:
    sigma, images = 0.7, torch.rand(400, 500, generator=torch.Generator().manual_seed(1)).to(device)
    noise = (corrupt(images, sigma, generator(5, "corruption")) - images).double().flatten().cpu()
    # With 99.9% confidence: the mean is normal, and the sum of squares has a chi-squared distribution.
    count = len(noise)
    assert abs(noise.mean()) < stats.norm.isf(0.0005) * sigma / math.sqrt(count)
    low, high = stats.chi2.interval(0.999, count)
    assert low < noise.square().sum() / sigma**2 < high
    assert stats.kstest(noise.numpy() / sigma, "norm").pvalue > 0.001


def test_corruption_is_never_clipped(device: torch.device) -> None:
    images = torch.cat([torch.zeros(100, 500), torch.ones(100, 500)]).to(device)
    corrupted = corrupt(images, 0.5, generator(5, "corruption"))
    # Half of all pixels leave [0, 1] on their own side, and some more on the other, two standard deviations away.
    outside = ((corrupted < 0) | (corrupted > 1)).double().mean()
    expected = 0.5 + stats.norm.sf(2)
    assert abs(outside - expected) < stats.norm.isf(0.0005) * math.sqrt(expected * (1 - expected) / images.numel())
    assert corrupted.min() < -1.5
    assert corrupted.max() > 2.5


def test_every_use_of_an_image_is_corrupted_anew() -> None:
    noise, images = generator(5, "corruption"), torch.rand(5, 7)
    first, second = corrupt(images, 1.0, noise), corrupt(images, 1.0, noise)
    assert not (first == second).any()
    assert len(first.unique()) == first.numel()


def test_sigma_0_leaves_images_as_they_are(device: torch.device) -> None:
    images = torch.rand(3, 4).to(device)
    assert corrupt(images, 0.0, generator(5, "corruption")).equal(images)


@pytest.mark.parametrize("dim", [7, 8, 16])
def test_the_noise_depends_on_neither_dtype_nor_device_nor_layout(dim: int, device: torch.device) -> None:
    images = torch.rand(10, dim, generator=torch.Generator().manual_seed(1))
    expected = corrupt(images.double(), 0.5, generator(5, "corruption"))
    by_columns = images.t().contiguous().t()
    for same in (images, images.to(device), by_columns):
        found = corrupt(same, 0.5, generator(5, "corruption"))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double().cpu(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("sizes", [[1] * 6, [2, 3, 1], [6], [5, 1]])
def test_the_noise_does_not_depend_on_the_minibatches(sizes: list[int], device: torch.device) -> None:
    images = torch.rand(6, 48, generator=torch.Generator().manual_seed(1)).to(device)
    at_once = corrupt(images, 0.5, generator(5, "corruption"))
    noise = generator(5, "corruption")
    assert torch.cat([corrupt(part, 0.5, noise) for part in images.split(sizes)]).equal(at_once)


def test_corrupted_images_go_where_they_are_wanted() -> None:
    images = torch.rand(6, 10)
    expected = corrupt(images, 0.5, generator(5, "corruption"))
    out = torch.empty(6, 10)
    assert corrupt(images, 0.5, generator(5, "corruption"), out) is out
    assert out.equal(expected)


def test_streams_and_seeds_are_unrelated() -> None:
    count = 10_000
    drawn = [torch.randn(count, generator=generator(seed, stream)) for seed in (0, 1, 2**63 - 1) for stream in STREAMS]
    correlations = torch.corrcoef(torch.stack(drawn).double())
    off_diagonal = correlations[~torch.eye(len(drawn), dtype=torch.bool)]
    assert off_diagonal.abs().max() < stats.norm.isf(0.0005 / len(off_diagonal)) / math.sqrt(count)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"seed is {seed}, expected from 0 to 2\\^63 - 1"):
        generator(seed, "corruption")

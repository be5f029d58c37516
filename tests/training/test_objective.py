"""Equation 8 against calculations by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from dynlab.maps import DenoisingAutoencoder, Map
from dynlab.training import corrupt, generator, initialize, reconstruction_errors, walkback_objective

ARGUMENTS: dict[str, Any] = {"sigma": 0.5, "walkback": 2, "seed": 0}


class Halving(Map):
    def forward(self, states: Tensor) -> Tensor:
        return states / 2


class Constant(Map):
    def forward(self, states: Tensor) -> Tensor:
        return torch.full_like(states, 0.25)


class Identity(Map):
    def forward(self, states: Tensor) -> Tensor:
        return states.clone()


def test_walkback_objective_by_hand(device: torch.device) -> None:
    clean = torch.tensor([[2.0, 0.0], [0.0, 0.0]], device=device)
    corrupted = torch.tensor([[4.0, 4.0], [0.0, 8.0]], device=device)
    # First sample: (2, 2), (1, 1), (1/2, 1/2) are at squared distance 4, 2, 2.5 from (2, 0); second: 16, 4, 1.
    assert walkback_objective(Halving(2), clean, corrupted, 1).item() == (4 + 16) / 2
    assert walkback_objective(Halving(2), clean, corrupted, 2).item() == (6 / 2 + 20 / 2) / 2
    assert walkback_objective(Halving(2), clean, corrupted, 3).item() == pytest.approx((8.5 / 3 + 21 / 3) / 2)


def test_gradient_goes_through_all_steps() -> None:
    corrupted = torch.tensor([[4.0, 4.0]], requires_grad=True)
    walkback_objective(Halving(2), torch.zeros(1, 2), corrupted, 2).backward()
    # ||x/2||^2 and ||x/4||^2, averaged: gradient (x/2 + x/8) / 2.
    assert corrupted.grad is not None
    assert corrupted.grad.equal(torch.full((1, 2), 1.25))


def test_reconstruction_errors_of_a_map_that_forgets_its_input() -> None:
    images = torch.rand(2500, 3, generator=torch.Generator().manual_seed(1))
    expected = (images.double() - 0.25).square().sum(dim=1).mean().item()
    errors = reconstruction_errors(Constant(3), images, **ARGUMENTS)
    assert errors.clean == pytest.approx(expected, rel=1e-6)
    assert errors.corrupted == pytest.approx(expected, rel=1e-6)
    assert errors.walkback == pytest.approx(expected, rel=1e-6)


def test_reconstruction_errors_of_the_identity_are_the_variance_of_the_noise() -> None:
    images, sigma = torch.rand(2500, 40, generator=torch.Generator().manual_seed(1)), 0.5
    errors = reconstruction_errors(Identity(40), images, sigma=sigma, walkback=3, seed=0)
    assert errors.clean == 0
    low, high = stats.chi2.interval(0.999, images.numel())
    assert low < errors.corrupted * len(images) / sigma**2 < high
    assert errors.walkback == pytest.approx(errors.corrupted)


def test_reconstruction_errors_do_not_depend_on_blocks(device: torch.device) -> None:
    images = torch.rand(2345, 16, generator=torch.Generator().manual_seed(1))
    autoencoder = DenoisingAutoencoder(16, 8)
    initialize(autoencoder, 3)
    found = reconstruction_errors(autoencoder.to(device), images, sigma=0.7, walkback=3, seed=9)
    exact, clean = autoencoder.double().cpu(), images.double()
    corrupted = corrupt(clean, 0.7, generator(9, "evaluation"))
    with torch.no_grad():
        assert found.walkback == pytest.approx(walkback_objective(exact, clean, corrupted, 3).item(), rel=1e-6)
        assert found.corrupted == pytest.approx(walkback_objective(exact, clean, corrupted, 1).item(), rel=1e-6)
        assert found.clean == pytest.approx(walkback_objective(exact, clean, clean, 1).item(), rel=1e-6)


def test_without_corruption_both_reconstruction_errors_agree() -> None:
    autoencoder = DenoisingAutoencoder(16, 8)
    initialize(autoencoder, 3)
    errors = reconstruction_errors(autoencoder, torch.rand(50, 16), sigma=0.0, walkback=1, seed=0)
    assert errors.clean == errors.corrupted == errors.walkback > 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sigma": -0.1}, "sigma is -0.1, expected a finite number of at least 0"),
        ({"sigma": math.inf}, "sigma is inf"),
        ({"walkback": 0}, "walkback is 0, expected at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"images": torch.rand(0, 3)}, "images is empty"),
        ({"images": torch.rand(4, 2)}, r"images has shape \(4, 2\), expected \(batch, 3\)"),
        ({"images": torch.tensor([[0.0, 0.5, math.nan]])}, "images is not finite in row 0"),
    ],
)
def test_bad_arguments_are_refused(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"images": torch.rand(4, 3), **ARGUMENTS, **changed}
    with pytest.raises(ValueError, match=message):
        reconstruction_errors(Identity(3), **arguments)


def test_a_walkback_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="walkback is 0, expected at least 1"):
        walkback_objective(Identity(2), torch.zeros(1, 2), torch.zeros(1, 2), 0)

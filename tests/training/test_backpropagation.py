"""The gradients written out by hand against those of torch's autograd and its `SGD`."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from dynlab.maps import NONLINEARITIES, DenoisingAutoencoder
from dynlab.training import walkback_objective
from dynlab.training.backpropagation import GradientDescent

DIM, HIDDEN = 9, 5
LEARNING_RATE = 0.1
PAIRS = [("sigmoid", "sigmoid"), ("tanh", "identity"), ("relu", "tanh"), ("identity", "relu")]


def random_autoencoder(
    device: torch.device, *, tied: bool = False, f: str = "sigmoid", g: str = "sigmoid"
) -> DenoisingAutoencoder:
    autoencoder = DenoisingAutoencoder(DIM, HIDDEN, tied=tied, hidden_nonlinearity=f, output_nonlinearity=g)
    generator = torch.Generator().manual_seed(3)
    for parameter in autoencoder.parameters():
        # Small, so that the unbounded nonlinearities do not diverge.
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return autoencoder.double().to(device)


def minibatches(device: torch.device, sizes: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(4)
    pairs = []
    for size in sizes:
        clean = torch.rand(size, DIM, dtype=torch.float64, generator=generator)
        noise = torch.randn(size, DIM, dtype=torch.float64, generator=generator)
        pairs.append((clean.to(device), (clean + 0.4 * noise).to(device)))
    return pairs


def check_against_autograd(
    autoencoder: DenoisingAutoencoder, walkback: int, batches: list[tuple[Tensor, Tensor]]
) -> None:
    reference = copy.deepcopy(autoencoder)
    start = copy.deepcopy(autoencoder)
    optimizer = torch.optim.SGD(reference.parameters(), lr=LEARNING_RATE)
    descent = GradientDescent(autoencoder, walkback)
    for clean, corrupted in batches:
        squared_error = descent.step(clean, corrupted, LEARNING_RATE)
        objective = walkback_objective(reference, clean, corrupted, walkback)
        optimizer.zero_grad()
        objective.backward()
        optimizer.step()
        torch.testing.assert_close(squared_error / (len(clean) * walkback), objective.detach(), rtol=1e-12, atol=0)
    for (name, found), expected, before in zip(
        autoencoder.named_parameters(), reference.parameters(), start.parameters(), strict=True
    ):
        moved = (expected - before).norm()
        assert 1e-4 < moved < 1e3, f"{name} moved by {moved}: nothing is compared"
        assert (found - expected).norm() <= 1e-12 * moved, name


@pytest.mark.parametrize("walkback", [1, 2, 5])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("f", "g"), PAIRS)
def test_weights_equal_those_of_autograd(f: str, g: str, tied: bool, walkback: int, device: torch.device) -> None:
    assert {name for pair in PAIRS for name in pair} == set(NONLINEARITIES)
    autoencoder = random_autoencoder(device, tied=tied, f=f, g=g)
    check_against_autograd(autoencoder, walkback, minibatches(device, (6, 6, 6)))


def test_minibatches_of_changing_sizes_do_not_mix(device: torch.device) -> None:
    check_against_autograd(random_autoencoder(device), 3, minibatches(device, (6, 2, 6, 1, 2, 6)))


def test_a_decoder_stored_by_columns_is_trained_alike(device: torch.device) -> None:
    autoencoder = random_autoencoder(device)
    weight = autoencoder.decoder["weight"]
    weight.data = weight.data.t().contiguous().t()
    check_against_autograd(autoencoder, 2, minibatches(device, (6, 6)))


def test_walkback_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="walkback is 0, expected at least 1"):
        GradientDescent(DenoisingAutoencoder(DIM, HIDDEN), 0)

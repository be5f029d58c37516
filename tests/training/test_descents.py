"""A step by autograd and a step by hand are one step, with one interface."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from dynlab.errors import InputError
from dynlab.maps import DeepAutoencoder, DenoisingAutoencoder, Map, as_map
from dynlab.training.autograd_descent import AutogradDescent
from dynlab.training.backpropagation import GradientDescent
from dynlab.training.objective import Loss, Objective, Variant, objective_value


class Half(Map):
    def forward(self, states: Tensor) -> Tensor:
        return states / 2


def filled(system: nn.Module, device: torch.device) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for parameter in system.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return system.double().to(device)


def images(device: torch.device) -> tuple[Tensor, Tensor]:
    clean, noise = torch.rand(2, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).to(device)
    return clean, clean + noise


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("loss", get_args(Loss))
@pytest.mark.parametrize("variant", get_args(Variant))
def test_both_descents_take_the_same_steps(
    variant: Variant, loss: Loss, tied: bool, inference: bool, device: torch.device
) -> None:
    by_hand = filled(DenoisingAutoencoder(9, 5, tied=tied), device)
    by_autograd, start = copy.deepcopy(by_hand), copy.deepcopy(by_hand)
    assert isinstance(by_hand, DenoisingAutoencoder)
    assert isinstance(by_autograd, DenoisingAutoencoder)
    objective = Objective(3, variant, loss, 0.2)
    descents = GradientDescent(by_hand, objective), AutogradDescent(by_autograd, objective)
    with torch.inference_mode(inference):  # as training takes its steps
        for _ in range(3):
            values = [descent.step(*images(device), 0.1) for descent in descents]
            torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=0)
            assert values[1].shape == ()
    for found, expected, before in zip(by_autograd.parameters(), by_hand.parameters(), start.parameters(), strict=True):
        assert (found - expected).norm() <= 1e-11 * (expected - before).norm()


@pytest.mark.parametrize("contraction", [0.0, 0.2])
def test_steps_of_a_deep_autoencoder_are_those_of_sgd(contraction: float, device: torch.device) -> None:
    system = filled(DeepAutoencoder(9, (6, 4), tied=True), device)
    assert isinstance(system, DeepAutoencoder)
    reference = copy.deepcopy(system)
    objective = Objective(2, contraction=contraction)
    clean, corrupted = images(device)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.3)
    descent = AutogradDescent(system, objective)
    for _ in range(3):
        value = descent.step(clean, corrupted, 0.3)
        optimizer.zero_grad()
        expected = objective_value(reference, clean, corrupted, objective)
        expected.backward()
        optimizer.step()
        assert value.item() == pytest.approx(6 * expected.item(), rel=1e-12)
    for found, parameter in zip(system.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, parameter, rtol=1e-12, atol=1e-14)


def test_parameters_that_are_kept_or_not_used_stay(device: torch.device) -> None:
    network = nn.Sequential(nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 9))
    network.register_parameter("unused", nn.Parameter(torch.ones(3)))
    # `as_map` takes a copy that asks for no gradients.
    system = as_map(filled(network, device), (9,)).requires_grad_()
    system.get_submodule("function.0").requires_grad_(False)
    before = copy.deepcopy(system)
    clean, corrupted = images(device)
    descent = AutogradDescent(system, Objective(2))
    values = [descent.step(clean, corrupted, 0.01).item() for _ in range(5)]
    assert values == sorted(set(values), reverse=True)  # steps down
    for (name, parameter), old in zip(system.named_parameters(), before.parameters(), strict=True):
        assert parameter.equal(old) == (not name.startswith("function.2.")), name


def test_a_map_without_parameters_to_train_is_refused() -> None:
    with pytest.raises(
        InputError, match="system is a Half of which no parameter requires a gradient, expected at least one"
    ):
        AutogradDescent(Half(4), Objective())


def test_a_contractive_penalty_without_encoder_is_refused_at_the_start() -> None:
    system = as_map(nn.Linear(4, 4), (4,))
    with pytest.raises(InputError, match=r"contraction is 0\.1, expected 0 for a FunctionMap, which has no"):
        AutogradDescent(system, Objective(contraction=0.1))


def test_a_cross_entropy_of_a_last_layer_that_leaves_the_interval_is_refused_at_the_start() -> None:
    system = DeepAutoencoder(4, (3, 2), output_nonlinearity="identity")
    with pytest.raises(InputError, match="loss is 'cross-entropy' where the output nonlinearity is 'identity'"):
        AutogradDescent(system, Objective(loss="cross-entropy"))

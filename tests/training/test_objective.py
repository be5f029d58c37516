"""Objectives against their formulas, written out, and calculations by hand."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from dynlab.errors import InputError
from dynlab.maps import NONLINEARITIES, DeepAutoencoder, DenoisingAutoencoder, Map
from dynlab.training import corrupt, initialize, reconstruction_errors, walkback_objective
from dynlab.training.objective import Loss, Objective, Variant, objective_value

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


class Sigmoids(Map):
    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits.shape[1])
        self.logits = logits

    def forward(self, states: Tensor) -> Tensor:
        return torch.sigmoid(self.logits).expand_as(states)


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


def random_autoencoder(
    kind: str, device: torch.device, f: str = "tanh"
) -> tuple[DenoisingAutoencoder | DeepAutoencoder, nn.Sequential, int]:
    """An autoencoder, the same of torch's own layers, and how many of these are the encoder."""
    nonlinearities = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "identity": nn.Identity}
    if kind == "deep":
        autoencoder, widths = DeepAutoencoder(6, (5, 3), hidden_nonlinearity=f), (6, 5, 3, 5, 6)
    else:
        autoencoder, widths = DenoisingAutoencoder(6, 4, hidden_nonlinearity=f), (6, 4, 6)
    autoencoder.double().to(device)
    generator = torch.Generator().manual_seed(5)
    layers = []
    for layer, inputs, outputs in zip([*autoencoder.layers()], widths[:-1], widths[1:], strict=True):
        for tensor in (layer.weight, layer.bias):
            tensor.copy_(torch.randn(tensor.shape, dtype=torch.float64, generator=generator))
        linear = nn.Linear(inputs, outputs, dtype=torch.float64, device=device)
        linear.weight.data, linear.bias.data = layer.weight.clone(), layer.bias.clone()
        layers += [linear, nonlinearities[layer.nonlinearity]()]
    return autoencoder, nn.Sequential(*layers), len(layers) // 2


def written_out(network: nn.Sequential, clean: Tensor, corrupted: Tensor, objective: Objective, encoder: int) -> Tensor:
    """The formulas, sample by sample."""
    total = torch.zeros((), dtype=torch.float64, device=clean.device)
    for x, start in zip(clean, corrupted, strict=True):
        state, errors = start, []
        for _ in range(objective.walkback):
            state = network(state.detach() if objective.variant == "detached" else state)
            if objective.loss == "cross-entropy":
                errors.append(F.binary_cross_entropy(state, x, reduction="sum"))
            else:
                errors.append(((x - state) ** 2).sum())
        total = total + (errors[-1] if objective.variant == "last" else sum(errors) / objective.walkback)
        jacobian = torch.autograd.functional.jacobian(network[:encoder], start, create_graph=True)
        assert isinstance(jacobian, Tensor)
        total = total + objective.contraction * (jacobian**2).sum()
    return total / len(clean)


@pytest.mark.parametrize("contraction", [0.0, 0.7])
@pytest.mark.parametrize("loss", get_args(Loss))
@pytest.mark.parametrize("variant", get_args(Variant))
@pytest.mark.parametrize("kind", ["one hidden layer", "deep"])
def test_objectives_are_their_formulas(
    kind: str, variant: Variant, loss: Loss, contraction: float, device: torch.device
) -> None:
    clean, noise = torch.rand(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).to(device)
    corrupted = clean + noise
    for walkback, f in [(1, "tanh"), (3, "sigmoid"), (3, "relu"), (2, "identity")]:
        autoencoder, network, encoder = random_autoencoder(kind, device, f)
        objective = Objective(walkback, variant, loss, contraction)
        found = objective_value(autoencoder, clean, corrupted, objective)
        expected = written_out(network, clean, corrupted, objective, encoder)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
        with torch.no_grad():
            assert objective_value(autoencoder, clean, corrupted, objective).item() == pytest.approx(found.item())
        found.backward()
        expected.backward()
        linears = [layer for layer in network if isinstance(layer, nn.Linear)]
        names = [f"{part}.{i}" for part in ("encoder", "decoder") for i in (0, 1)]
        names = names if kind == "deep" else ["encoder", "decoder"]
        for linear, of_layer in zip(linears, names, strict=True):
            for name, parameter in linear.named_parameters():
                gradient = autoencoder.get_parameter(f"{of_layer}.{name}").grad
                torch.testing.assert_close(gradient, parameter.grad, rtol=1e-10, atol=1e-12)


def test_all_nonlinearities_are_tried() -> None:
    assert set(NONLINEARITIES) == {"tanh", "sigmoid", "relu", "identity"}


def test_the_variants_are_one_for_one_step(device: torch.device) -> None:
    autoencoder, _, _ = random_autoencoder("one hidden layer", device)
    clean = torch.rand(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).to(device)
    values = {objective_value(autoencoder, clean, clean, Objective(1, v)).item() for v in get_args(Variant)}
    assert len(values) == 1


def test_cross_entropy_of_saturated_outputs_is_finite(device: torch.device) -> None:
    logits = torch.tensor([[200.0, -200.0, 200.0, -200.0, 0.0]], device=device, requires_grad=True)
    clean = torch.tensor([[0.0, 0.75, 1.0, 0.0, 0.25]], device=device)
    value = objective_value(Sigmoids(logits), clean, clean, Objective(loss="cross-entropy"))
    assert torch.sigmoid(logits).tolist() == [[1, 0, 1, 0, 0.5]]
    assert value.item() == pytest.approx(F.binary_cross_entropy(torch.sigmoid(logits), clean, reduction="sum").item())
    value.backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0, 0, 0, 0, 0.25]]


def test_what_is_no_number_stays_so() -> None:
    for loss in get_args(Loss):
        assert objective_value(
            Identity(2), torch.zeros(1, 2), torch.full((1, 2), math.nan), Objective(loss=loss)
        ).isnan()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"walkback": 0}, "walkback is 0, expected an integer of at least 1"),
        ({"walkback": 1.5}, "walkback is 1.5, expected an integer"),
        ({"variant": "half"}, "variant is 'half', expected one of full, detached, last"),
        ({"loss": "hinge"}, "loss is 'hinge', expected one of squared-error, cross-entropy"),
        ({"contraction": -1.0}, "contraction is -1.0, expected a finite number of at least 0"),
        ({"contraction": math.inf}, "contraction is inf, expected a finite"),
        ({"contraction": math.nan}, "contraction is nan, expected a finite"),
    ],
)
def test_parts_of_an_objective_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        inspect.unwrap(Objective.__init__)(object.__new__(Objective), **changed)


@pytest.mark.parametrize(
    ("system", "clean", "objective", "message"),
    [
        (
            Halving(2),
            0.5,
            Objective(contraction=0.1),
            "contraction is 0.1, expected 0 for a Halving, which has no `encode`",
        ),
        (
            Halving(2),
            1.5,
            Objective(loss="cross-entropy"),
            "clean is 1.5, expected from 0 to 1 where loss is 'cross-entropy'",
        ),
        (Identity(2), 1.0, Objective(loss="cross-entropy"), "an output of the map is 3, expected from 0 to 1"),
        (
            DenoisingAutoencoder(2, 3, output_nonlinearity="relu"),
            1.0,
            Objective(loss="cross-entropy"),
            "loss is 'cross-entropy' where the output nonlinearity is 'relu', expected 'squared-error'",
        ),
    ],
)
def test_objectives_that_a_map_does_not_have_are_refused(
    system: Map, clean: float, objective: Objective, message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        objective_value(system, torch.full((1, 2), clean), torch.full((1, 2), 3.0), objective)


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
    corrupted = corrupt(clean, "gaussian(0.7)", seed=9)
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
    with pytest.raises(InputError, match="walkback is 0, expected an integer of at least 1"):
        walkback_objective(Identity(2), torch.zeros(1, 2), torch.zeros(1, 2), 0)

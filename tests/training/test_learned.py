"""A learned corruption: within its budget, up the objective, and kept with the training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dynlab.datasets import Dataset
from dynlab.errors import InputError
from dynlab.maps import DenoisingAutoencoder, map_hash
from dynlab.training import TrainingSettings, initialize, objective_value, train, train_ensemble
from dynlab.training.adversary import Adversary, proposer_of
from dynlab.training.corruption import parse_schedule
from dynlab.training.corruption.learned import Proposer
from dynlab.training.draws import Noise
from dynlab.training.objective import Objective
from dynlab.training.run import TrainingRun

CPU = torch.device("cpu")
LEARNED = parse_schedule("learned", 0.2).at(1)


def random_images(samples: int = 50, dim: int = 16) -> Tensor:
    return torch.rand(samples, dim, generator=torch.Generator().manual_seed(6))


def test_what_is_proposed_stays_within_the_budget(device: torch.device) -> None:
    images, draws = random_images().to(device), Noise(3, "corruption", device).at(0, 50)
    network = Proposer(16, seed=1).to(device)
    added = parse_schedule("learned(0.65)", None).at(1).with_network(network)(images, draws, (16,)) - images
    budget = 0.65 * math.sqrt(16)
    # What the formula says, row by row in float64.
    noise = draws.normal(0, 16).double()
    parameters = {name: value.detach().double() for name, value in network.named_parameters()}
    hidden = images.double() @ parameters["from_image"].T + noise @ parameters["from_noise"].T
    proposed = torch.tanh(hidden + parameters["hidden_bias"]) @ parameters["outputs"].T + parameters["output_bias"]
    lengths = proposed.norm(dim=1, keepdim=True)
    assert 0 < (lengths < budget).sum() < 50  # rows of either sort
    expected = torch.where(lengths < budget, proposed, proposed * budget / lengths)
    assert (added - expected).abs().max() < 1e-6
    assert parse_schedule("learned(0)", None).at(1).with_network(network)(images, draws, (16,)).equal(images)


def test_a_step_goes_up_the_objective() -> None:
    images, system, adversary = random_images(), DenoisingAutoencoder(16, 8), Adversary(16, 2, CPU)
    initialize(system, 0)
    corruption = adversary.corruption(LEARNED)
    before = {name: value.clone() for name, value in adversary.state().items()}

    def objective(walkback: Objective) -> Tensor:
        draws = Noise(3, "corruption", CPU).at(0, 50)
        return objective_value(system, images, corruption(images, draws, (16,)), walkback)

    chosen, rate = Objective(walkback=2), 0.1
    value = objective(chosen)
    parameters = list(_network(corruption).parameters())
    gradients = torch.autograd.grad(value, parameters)
    corrupted = corruption(images, Noise(3, "corruption", CPU).at(0, 50), (16,))
    adversary.step(system, images, corrupted, chosen, rate)
    for (name, old), gradient in zip(before.items(), gradients, strict=True):
        assert torch.allclose(adversary.state()[name], old + rate * gradient, rtol=1e-5, atol=1e-8), name
    # To first order the objective rises by the rate times the squared length of the gradient.
    rise = rate * sum(gradient.square().sum().item() for gradient in gradients)
    assert (objective(chosen) - value).item() == pytest.approx(rise, rel=0.02)
    assert all(parameter.grad is None for parameter in system.parameters())


def _network(corruption: object) -> nn.Module:
    network = getattr(corruption, "network", None)
    assert isinstance(network, nn.Module)
    return network


def test_it_learns_what_is_harder_to_undo_than_what_it_began_with(digits_train: Dataset) -> None:
    settings = TrainingSettings(sigma=0.15, epochs=15, hidden=64, corruption="learned", learning_rate=0.1)
    run = TrainingRun(digits_train.images, settings, _initial(digits_train, 64))
    begun = Proposer(64, seed=0)
    for _ in range(15):
        assert run.run_epoch(lambda: False)
    trained = run.trained(0)
    learned = proposer_of(run.state())

    def error(network: Proposer) -> float:
        draws = Noise(9, "evaluation", CPU).at(0, 1000)
        with torch.no_grad():
            corrupted = LEARNED.with_network(network)(digits_train.images, draws, (8, 8))
            return (trained(corrupted) - digits_train.images).square().sum(dim=1).mean().item()

    assert error(learned) > 1.2 * error(begun)


def _initial(data: Dataset, hidden: int) -> DenoisingAutoencoder:
    system = DenoisingAutoencoder(data.images.shape[1], hidden, state_shape=data.shape)
    initialize(system, 0)
    return system


def test_an_interrupted_training_keeps_what_was_learned(tmp_path: Path) -> None:
    images = random_images()
    settings = TrainingSettings(
        sigma=0.2, epochs=4, hidden=8, corruption="gaussian until 1, 0.5 learned + 0.5 gaussian", batch_size=15
    )
    whole = train(images, settings, device=CPU)

    class EnoughError(Exception):
        pass

    def interrupt(progress: object) -> None:
        if getattr(progress, "epoch", 0) == 2:
            raise EnoughError

    path = tmp_path / "state.safetensors"
    with pytest.raises(EnoughError):
        train(images, settings, device=CPU, checkpoint=path, on_epoch=interrupt)
    again = train(images, settings, device=CPU, checkpoint=path)
    assert map_hash(again) == map_hash(whole)
    assert again.training_settings["objective"] == whole.training_settings["objective"]
    (member,) = train_ensemble(images, [settings], backend="processes")
    assert member.autoencoder is not None
    assert map_hash(member.autoencoder) == map_hash(whole)


def test_it_cannot_be_used_without_a_training() -> None:
    with pytest.raises(InputError, match="'learned' is learned while a map is trained"):
        LEARNED(random_images(), Noise(0, "corruption", CPU).at(0, 50), (16,))
    with pytest.raises(InputError, match="learned"):
        train_ensemble(
            random_images(), [TrainingSettings(sigma=0.2, epochs=1, corruption="learned")] * 2, backend="batched"
        )

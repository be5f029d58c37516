"""Training as a whole: against a plain loop of torch, by its seeds, and on digits."""

from __future__ import annotations

import inspect
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dynlab.datasets import Dataset
from dynlab.errors import InputError
from dynlab.maps import DeepAutoencoder, DenoisingAutoencoder, Map, as_map, load_map, map_hash
from dynlab.training import (
    EpochProgress,
    TrainingDiverged,
    TrainingSettings,
    initialize,
    reconstruction_errors,
    train,
    train_map,
    train_on_dataset,
)
from dynlab.training.draws import Noise

CPU = torch.device("cpu")


def random_images(samples: int, dim: int) -> Tensor:
    return torch.rand(samples, dim, generator=torch.Generator().manual_seed(6))


def parameters_of(autoencoder: Map) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in autoencoder.named_parameters()}


def trained_by_plain_loop(images: Tensor, settings: TrainingSettings) -> dict[str, Tensor]:
    """Section 5.3 with `nn.Linear`, autograd and `optim.SGD`, in float64, and the same random numbers."""
    hidden = settings.hidden
    assert isinstance(hidden, int)
    autoencoder = DenoisingAutoencoder(images.shape[1], hidden)
    initialize(autoencoder, settings.seed)
    encoder, decoder = nn.Linear(images.shape[1], hidden), nn.Linear(hidden, images.shape[1])
    encoder.load_state_dict(autoencoder.encoder.state_dict())
    decoder.load_state_dict(autoencoder.decoder.state_dict())
    model = nn.Sequential(encoder, nn.Sigmoid(), decoder, nn.Sigmoid()).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate)
    annealing = torch.optim.lr_scheduler.ExponentialLR(optimizer, settings.annealing)
    noise = Noise(settings.seed, "corruption", CPU)
    for epoch in range(settings.epochs):
        for first in range(0, len(images), settings.batch_size):
            clean = images[first : first + settings.batch_size].double()
            numbers = noise.at(epoch * len(images) + first, len(clean)).normal(0, images.shape[1])
            assert settings.sigma is not None
            state = clean + settings.sigma * numbers.double()
            loss = torch.zeros((), dtype=torch.float64)
            for _ in range(settings.walkback):
                state = model(state)
                loss = loss + (state - clean).square().sum(dim=1).mean() / settings.walkback
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        annealing.step()
    layers = {"encoder": encoder, "decoder": decoder}
    return {f"{part}.{name}": value for part, layer in layers.items() for name, value in layer.state_dict().items()}


@pytest.mark.parametrize("walkback", [1, 4])
def test_training_equals_the_plain_loop(walkback: int, device: torch.device) -> None:
    # 110 samples in minibatches of 20: the last of each epoch has 10.
    images = random_images(110, 784)
    settings = TrainingSettings(sigma=0.5, walkback=walkback, epochs=3, annealing=0.9, hidden=50, seed=11)
    found = parameters_of(train(images, settings, device=device))
    for name, expected in trained_by_plain_loop(images, settings).items():
        assert (found[name] - expected).norm() <= 1e-5 * expected.norm(), name


def test_a_seed_gives_the_same_weights_again_and_another_seed_others() -> None:
    images = random_images(45, 16)
    torch.manual_seed(1)
    first = parameters_of(train(images, TrainingSettings(sigma=0.3, epochs=2, hidden=8, seed=5), device=CPU))
    torch.manual_seed(2)
    again = parameters_of(train(images, TrainingSettings(sigma=0.3, epochs=2, hidden=8, seed=5), device=CPU))
    other = parameters_of(train(images, TrainingSettings(sigma=0.3, epochs=2, hidden=8, seed=6), device=CPU))
    for name, value in first.items():
        assert value.equal(again[name]), name
        assert not value.equal(other[name]), name


def test_training_leaves_its_images_and_torchs_own_random_numbers_alone() -> None:
    images = random_images(45, 16)
    copy, state = images.clone(), torch.get_rng_state()
    train(images, TrainingSettings(sigma=0.3, epochs=1, hidden=8), device=CPU)
    assert images.equal(copy)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("tied", [False, True])
def test_initial_weights_are_glorots(tied: bool, device: torch.device) -> None:
    autoencoder = DenoisingAutoencoder(300, 200, tied=tied).to(device)
    for parameter in autoencoder.parameters():
        parameter.data.fill_(7)
    initialize(autoencoder, seed=4)
    bound = math.sqrt(6 / 500)
    weights = [value for name, value in parameters_of(autoencoder).items() if name.endswith("weight")]
    assert len(weights) == (1 if tied else 2)
    for weight in weights:
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.999 * bound
        # Standard errors of the mean and of the mean square of a uniform distribution; 4 of them.
        assert abs(weight.double().mean()) < 4 * bound / math.sqrt(3 * weight.numel())
        assert abs(weight.double().square().mean() - bound**2 / 3) < 4 * bound**2 * math.sqrt(4 / 45 / weight.numel())
    if not tied:
        correlation = torch.corrcoef(torch.stack([weight.flatten() for weight in weights]))[0, 1]
        assert abs(correlation) < 4 / math.sqrt(weights[0].numel())
    assert not autoencoder.encoder["bias"].any()
    assert not autoencoder.decoder["bias"].any()


def test_training_reduces_the_errors_on_digits(
    digits_train: Dataset, digits_test: Dataset, device: torch.device
) -> None:
    settings = TrainingSettings(sigma=0.3, walkback=2, epochs=20, hidden=64)
    objectives: list[float] = []
    trained = train(
        digits_train.images, settings, device=device, on_epoch=lambda progress: objectives.append(progress.objective)
    )
    untrained = DenoisingAutoencoder(64, 64)
    initialize(untrained, settings.seed)
    for data in (digits_train, digits_test):
        before = reconstruction_errors(untrained, data.images, sigma=0.3, walkback=2, seed=1)
        after = reconstruction_errors(trained, data.images, sigma=0.3, walkback=2, seed=1)
        # What the best constant leaves, the variance of the pixels, is 4.8.
        variance = digits_train.images.double().var(dim=0).sum().item()
        assert after.clean < 0.5 * variance < before.clean
        assert after.corrupted < 0.7 * variance < before.corrupted
        assert after.walkback < 0.7 * variance < before.walkback
        assert after.clean < after.corrupted
    assert objectives[-1] < objectives[0]
    # The objective reported is that of the last epoch's minibatches, close to that of the trained map on the same set.
    final = reconstruction_errors(trained, digits_train.images, sigma=0.3, walkback=2, seed=1)
    assert objectives[-1] == pytest.approx(final.walkback, rel=0.05)


def test_a_tied_autoencoder_is_trained() -> None:
    images = random_images(40, 16)
    autoencoder = train(images, TrainingSettings(sigma=0.1, epochs=5, hidden=8, tied=True), device=CPU)
    assert autoencoder.tied
    objective = autoencoder.training_settings["objective"]
    assert objective[-1] < objective[0]


def test_without_corruption_the_objective_is_the_reconstruction_error() -> None:
    # One minibatch with a vanishing learning rate: the objective is that of the initial weights.
    images = random_images(30, 16)
    settings = TrainingSettings(sigma=0.0, epochs=1, batch_size=100, learning_rate=1e-12, hidden=8)
    autoencoder = train(images, settings, device=CPU)
    errors = reconstruction_errors(autoencoder, images, sigma=0.0, walkback=1, seed=0)
    assert autoencoder.training_settings["objective"] == [pytest.approx(errors.clean, rel=1e-6)]


def test_progress_is_told_after_every_epoch() -> None:
    told: list[EpochProgress] = []
    settings = TrainingSettings(sigma=0.3, epochs=3, annealing=0.5, learning_rate=0.2, hidden=8)
    autoencoder = train(random_images(45, 16), settings, device=CPU, on_epoch=told.append)
    assert [(progress.epoch, progress.epochs) for progress in told] == [(1, 3), (2, 3), (3, 3)]
    assert [progress.learning_rate for progress in told] == pytest.approx([0.2, 0.1, 0.05])
    assert [progress.objective for progress in told] == autoencoder.training_settings["objective"]
    assert all(progress.samples_per_second > 0 for progress in told)


def test_what_it_was_trained_with_is_in_the_checkpoint(tmp_path: Path) -> None:
    settings = TrainingSettings(sigma=0.3, epochs=2, walkback=2, hidden=8, seed=2**63 - 1)
    autoencoder = train(random_images(45, 16), settings, state_shape=(2, 8), device=CPU)
    autoencoder.save(tmp_path / "dae.safetensors")
    loaded = DenoisingAutoencoder.load(tmp_path / "dae.safetensors")
    known = json.loads(json.dumps(loaded.training_settings))
    assert {name: known[name] for name in settings.as_json()} == settings.as_json()
    assert known["samples"] == 45
    assert len(known["objective"]) == 2
    assert known["versions"]["torch"] == torch.__version__
    assert loaded.state_shape == (2, 8)
    for name, value in parameters_of(autoencoder).items():
        assert value.equal(parameters_of(loaded)[name]), name


def test_weights_come_back_stored_by_rows_and_ready_for_autograd() -> None:
    autoencoder = train(random_images(45, 16), TrainingSettings(sigma=0.3, epochs=1, hidden=8), device=CPU)
    assert all(parameter.is_contiguous() for parameter in autoencoder.parameters())
    autoencoder(torch.rand(2, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in autoencoder.parameters())


def test_divergence_is_told() -> None:
    settings = TrainingSettings(sigma=0.3, epochs=50, learning_rate=10.0, hidden=8, output_nonlinearity="identity")
    with pytest.raises(TrainingDiverged, match=r"diverged in epoch \d+ at learning rate \d"):
        train(10 * random_images(45, 16), settings, device=CPU)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sigma", -0.1),
        ("sigma", math.nan),
        ("sigma", math.inf),
        ("epochs", 0),
        ("walkback", 0),
        ("annealing", 0.0),
        ("annealing", 1.01),
        ("annealing", math.nan),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("hidden", 0),
        ("seed", -1),
        ("seed", 2**63),
        ("hidden", True),
        ("hidden", ()),
        ("hidden", (20, 0)),
        ("walkback_variant", "first"),
        ("loss", "absolute"),
        ("contraction", -1.0),
        ("contraction", math.inf),
        ("hidden_nonlinearity", "sine"),
        ("output_nonlinearity", "sine"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(name: str, value: object) -> None:
    settings: dict[str, Any] = {"sigma": 0.5, "epochs": 1} | {name: value}
    with pytest.raises(InputError, match=f"^{name} is {re.escape(repr(value))}, expected "):
        # Without the check of types that tests have, as a user calls it.
        inspect.unwrap(TrainingSettings.__init__)(object.__new__(TrainingSettings), **settings)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InputError, match=r"^corruption is 'snow': .* expected one of "):
        TrainingSettings(sigma=0.5, epochs=1, corruption="snow")
    with pytest.raises(InputError, match="output_nonlinearity is 'tanh', expected 'sigmoid' for cross-entropy"):
        TrainingSettings(sigma=0.5, epochs=1, loss="cross-entropy", output_nonlinearity="tanh")
    with pytest.raises(ValueError, match="images holds pixels from 0 to 2, expected from 0 to 1 for cross-entropy"):
        train(2 * torch.eye(16), TrainingSettings(sigma=0.5, epochs=1, loss="cross-entropy"), device=CPU)
    with pytest.raises(InputError, match="square"):
        train(random_images(4, 15), TrainingSettings(sigma=0.5, epochs=1, corruption="square"), device=CPU)


@pytest.mark.parametrize("epoch", [0, 3])
def test_a_snapshot_of_an_epoch_that_there_is_not_is_refused(epoch: int) -> None:
    with pytest.raises(InputError, match=f"snapshots holds {epoch}, expected epochs from 1 to 2"):
        train(random_images(4, 16), TrainingSettings(sigma=0.5, epochs=2), device=CPU, snapshots=[1, epoch])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(0, 16), "images is empty, expected at least one sample"),
        (torch.full((2, 16), math.nan), "images holds NaN or infinite values"),
        (torch.zeros(2, 16, dtype=torch.uint8), r"images is torch.uint8 of shape \(2, 16\), expected torch.float32"),
        (torch.rand(2, 4, 4), r"images is torch.float32 of shape \(2, 4, 4\), expected .* \(samples, dim\)"),
    ],
)
def test_images_that_cannot_be_used_are_refused(images: Tensor, message: str) -> None:
    # Without the check of shapes that tests have, as a user calls it.
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(train)(images, TrainingSettings(sigma=0.5, epochs=1), device=CPU)


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(InputError, match="device is 'cuda:99'"):
        train(random_images(4, 16), TrainingSettings(sigma=0.5, epochs=1), device="cuda:99")


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    unchecked = inspect.unwrap(TrainingSettings.__init__)  # of types, as a user calls it
    settings = object.__new__(TrainingSettings)
    numbers = {"sigma": np.float32(0.25), "learning_rate": np.float64(0.1), "annealing": 1}
    unchecked(settings, **numbers, epochs=np.int64(1), hidden=(np.int64(4),), seed=np.int64(3))
    assert settings == TrainingSettings(sigma=0.25, learning_rate=0.1, annealing=1.0, epochs=1, hidden=4, seed=3)
    autoencoder = train(random_images(4, 16), settings, device=CPU)
    autoencoder.save(tmp_path / "dae.safetensors")
    for wrong in ({"sigma": True}, {"tied": 1}, {"seed": 1.5}, {"corruption": None}):
        with pytest.raises(InputError, match=f"^{next(iter(wrong))} is "):
            unchecked(settings, **{"sigma": 0.5, "epochs": 1} | wrong)


# From given weights


def test_training_goes_on_from_given_weights(device: torch.device) -> None:
    # Without corruption nothing is random, so that one epoch and two more are three.
    images = random_images(110, 16)
    whole, first, rest = (
        TrainingSettings(sigma=0.0, walkback=2, epochs=epochs, annealing=1.0, hidden=8) for epochs in (3, 1, 2)
    )
    start = train(images, first, state_shape=(2, 8), device=device)
    kept = parameters_of(start)
    found = train(images, rest, start=start, device=device)
    expected = parameters_of(train(images, whole, device=device))
    for name, value in parameters_of(found).items():
        assert value.equal(expected[name]), name
        assert not value.equal(kept[name]), name
        assert kept[name].equal(parameters_of(start)[name]), name
    assert found.training_settings["started_from"] == map_hash(start)
    assert found.state_shape == (2, 8)
    assert train(images, rest, start=start, state_shape=(4, 4), device=device).state_shape == (4, 4)


def test_given_weights_may_be_tied_and_need_not_be_trained() -> None:
    images = random_images(40, 16)
    start = DenoisingAutoencoder(16, 8, tied=True)
    initialize(start, seed=3)
    settings = TrainingSettings(sigma=0.2, epochs=2, hidden=8, tied=True, seed=3)
    started, drawn = train(images, settings, start=start, device=CPU), train(images, settings, device=CPU)
    for name, value in parameters_of(started).items():
        assert value.equal(parameters_of(drawn)[name]), name
    assert "started_from" not in drawn.training_settings


def test_a_data_set_is_trained_on_from_given_weights(digits_train: Dataset) -> None:
    settings = TrainingSettings(sigma=0.2, epochs=1, hidden=8)
    start = train_on_dataset(digits_train, settings, device=CPU)
    found = train_on_dataset(digits_train, settings, start=start, device=CPU)
    expected = train(digits_train.images, settings, start=start, device=CPU)
    for name, value in parameters_of(found).items():
        assert value.equal(parameters_of(expected)[name]), name
    assert found.training_settings["started_from"] == map_hash(start)
    assert found.training_settings["data"] == digits_train.name


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (DenoisingAutoencoder(9, 8), "start has dim 9, expected 16"),
        (DenoisingAutoencoder(16, 7), "start has hidden 7, expected 8"),
        (DenoisingAutoencoder(16, 8, tied=True), "start has tied True, expected False"),
        (DenoisingAutoencoder(16, 8, hidden_nonlinearity="tanh"), "start has hidden_nonlinearity 'tanh'"),
        (DenoisingAutoencoder(16, 8, output_nonlinearity="relu"), "start has output_nonlinearity 'relu'"),
        (DenoisingAutoencoder(16, 8).double(), "start has encoder.bias in torch.float64, expected torch.float32"),
    ],
)
def test_weights_of_another_autoencoder_are_refused(start: DenoisingAutoencoder, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        train(random_images(4, 16), TrainingSettings(sigma=0.2, epochs=1, hidden=8), start=start, device=CPU)


# Other maps


class Filter(Map):
    """`x -> sigmoid(A x)` with one matrix, as nobody but autograd knows its gradient."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.matrix = nn.Parameter(0.01 * torch.arange(dim * dim).view(dim, dim).sin())

    def forward(self, states: Tensor) -> Tensor:
        return torch.sigmoid(states @ self.matrix.t())


def test_any_map_is_trained_by_autograd(device: torch.device) -> None:
    images = random_images(50, 12)
    settings = TrainingSettings(sigma=0.4, walkback=3, epochs=2, annealing=0.5, learning_rate=0.05, seed=4)
    system = Filter(12)
    found = train_map(system, images, settings, device=device)
    assert isinstance(found, Filter)
    assert system.matrix.equal(Filter(12).matrix)

    matrix, noise = system.matrix.detach().double().requires_grad_(), Noise(4, "corruption", CPU)
    for epoch, rate in enumerate((0.05, 0.025)):
        for first in range(0, 50, 20):
            clean = images[first : first + 20].double()
            state = clean + 0.4 * noise.at(50 * epoch + first, len(clean)).normal(0, 12)
            loss = torch.zeros((), dtype=torch.float64)
            for _ in range(3):
                state = torch.sigmoid(state @ matrix.t())
                loss = loss + (state - clean).square().sum() / (3 * len(clean))
            (gradient,) = torch.autograd.grad(loss, matrix)
            matrix = (matrix - rate * gradient).detach().requires_grad_()
    assert (found.matrix.detach().cpu() - matrix).norm() <= 1e-5 * matrix.norm()


def test_a_module_is_trained_as_a_map_of_ones_own_is() -> None:
    images, settings = random_images(50, 12), TrainingSettings(sigma=0.4, walkback=2, epochs=2, seed=4)
    expected = train_map(Filter(12), images, settings, device=CPU).matrix
    linear = nn.Linear(12, 12, bias=False)
    linear.weight.data = Filter(12).matrix.data
    system = as_map(nn.Sequential(nn.Flatten(), linear, nn.Sigmoid(), nn.Unflatten(1, (3, 4))), (3, 4))
    found = train_map(system, images.view(50, 3, 4), settings, device=CPU)
    (trained,) = found.parameters()
    torch.testing.assert_close(trained, expected, rtol=1e-6, atol=1e-8)
    assert torch.equal(next(system.parameters()), Filter(12).matrix)
    assert not trained.requires_grad
    (module,) = found.children()
    assert module is found.function
    # What its owner froze stays as it is, and snapshots are as frozen as what comes at the end.
    layers = nn.Sequential(nn.Linear(12, 5), nn.Sigmoid(), nn.Linear(5, 12))
    layers[0].requires_grad_(False)
    own = [value.clone() for value in layers.parameters()]
    snapshots: list[Map] = []
    found = train_map(as_map(layers, (12,)), images, settings, device=CPU, snapshots=[1], on_snapshot=snapshots.append)
    for one in (found, *snapshots):
        equal = [torch.equal(value, before) for value, before in zip(one.parameters(), own, strict=True)]
        assert equal == [True, True, False, False]
        assert not any(value.requires_grad for value in one.parameters())
    assert len(snapshots) == 1


def test_a_deeper_autoencoder_is_trained_and_kept(tmp_path: Path, digits_train: Dataset) -> None:
    settings = TrainingSettings(sigma=0.2, epochs=3, hidden=(32, 16), learning_rate=0.3)
    found = train(digits_train.images, settings, device=CPU)
    assert isinstance(found, DeepAutoencoder)
    found.save(tmp_path / "deep.safetensors")
    loaded = load_map(tmp_path / "deep.safetensors")
    assert loaded.training_settings == json.loads(json.dumps(found.training_settings))
    assert loaded.training_settings["hidden"] == [32, 16]
    objective = found.training_settings["objective"]
    assert objective[-1] < objective[0]
    begun = DeepAutoencoder(64, (32, 16))
    initialize(begun, settings.seed)
    assert map_hash(train_map(begun, digits_train.images, settings, device=CPU)) == map_hash(found)


def test_a_map_without_parameters_or_of_another_dim_is_refused() -> None:
    settings = TrainingSettings(sigma=0.2, epochs=1)
    with pytest.raises(InputError, match="images have 16 pixels, expected 12 as the map has"):
        train_map(Filter(12), random_images(4, 16), settings, device=CPU)
    with pytest.raises(InputError, match="system has no parameters to train"):
        train_map(Filter(12).requires_grad_(False), random_images(4, 12), settings, device=CPU)
    with pytest.raises(InputError, match=r"system has matrix in torch.float64, expected torch.float32"):
        train_map(Filter(12).double(), random_images(4, 12), settings, device=CPU)
    with pytest.raises(InputError, match="contraction"):
        train_map(Filter(12), random_images(4, 12), replace(settings, contraction=1.0), device=CPU)

"""Ladders of corruption levels, each level trained from the weights of the one before."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import pytest
import torch
from torch import Tensor

from dynlab.datasets import Dataset
from dynlab.errors import InputError
from dynlab.maps import DenoisingAutoencoder, Map, map_hash
from dynlab.training import EpochProgress, TrainingDiverged, TrainingSettings, reconstruction_errors, train
from dynlab.training.ladder import ladder_settings, noise_of_level, train_ladder

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(sigma=0.1, walkback=2, epochs=4, annealing=0.5, learning_rate=0.2, hidden=8, seed=5)
LEVELS = [0.1, 0.2, 0.4]


def random_images(samples: int = 45, dim: int = 16) -> Tensor:
    return torch.rand(samples, dim, generator=torch.Generator().manual_seed(6))


def same_weights(one: Map, other: Map) -> bool:
    return map_hash(one.cpu()) == map_hash(other.cpu())


def test_each_level_is_a_training_that_starts_from_the_one_before(device: torch.device) -> None:
    images = random_images()
    ladder = list(train_ladder(images, SETTINGS, LEVELS, epochs_per_level=3, device=device))
    assert same_weights(ladder[0], train(images, SETTINGS, device=device))
    assert "started_from" not in ladder[0].training_settings
    for level, (before, after) in zip(LEVELS[1:], pairwise(ladder), strict=True):
        known = after.training_settings
        settings = TrainingSettings(
            sigma=level, walkback=2, epochs=3, annealing=1.0, learning_rate=0.2 * 0.5**3, hidden=8, seed=known["seed"]
        )
        assert known["started_from"] == map_hash(before)
        assert same_weights(after, train(images, settings, start=before, device=device))
        assert not same_weights(after, before)


def test_the_same_arguments_give_the_same_weights_and_other_seeds_others() -> None:
    images = random_images()

    def hashes(seed: int, *, same_noise: bool = False) -> list[str]:
        settings = TrainingSettings(sigma=0.1, epochs=1, hidden=8, seed=seed)
        ladder = train_ladder(images, settings, LEVELS, epochs_per_level=1, same_noise=same_noise, device=CPU)
        return [map_hash(autoencoder) for autoencoder in ladder]

    torch.manual_seed(1)
    first = hashes(5)
    torch.manual_seed(2)
    assert hashes(5) == first
    assert not set(first) & set(hashes(6))
    assert hashes(5, same_noise=True)[:2] == first[:2]
    assert hashes(5, same_noise=True)[2] != first[2]


@pytest.mark.parametrize(("same_noise", "seeds"), [(False, 3), (True, 2)])
def test_noise_is_new_at_each_level_or_the_same_after_the_first(same_noise: bool, seeds: int) -> None:
    ladder = list(
        train_ladder(random_images(), SETTINGS, LEVELS, epochs_per_level=1, same_noise=same_noise, device=CPU)
    )
    found = [autoencoder.training_settings["seed"] for autoencoder in ladder]
    assert found[0] == SETTINGS.seed
    assert len(set(found)) == seeds
    assert found[1] != found[0]


@pytest.mark.parametrize("same_noise", [False, True])
def test_a_seed_tells_the_noise_of_its_level(same_noise: bool) -> None:
    _, second, third = ladder_settings(SETTINGS, LEVELS, 1, same_noise=same_noise)
    assert noise_of_level(SETTINGS.seed, second.seed, 1) == {False, True}
    assert noise_of_level(SETTINGS.seed, third.seed, 2) == {same_noise}
    assert noise_of_level(SETTINGS.seed + 1, third.seed, 2) == set()
    assert noise_of_level(SETTINGS.seed, None, 2) == set()


def test_levels_may_fall_and_the_largest_seed_will_do() -> None:
    settings = TrainingSettings(sigma=0.3, epochs=1, hidden=8, tied=True, seed=2**63 - 1)
    ladder = train_ladder(random_images(), settings, [0.3, 0.2, 0.0], epochs_per_level=1, device=CPU)
    assert [autoencoder.training_settings["sigma"] for autoencoder in ladder] == [0.3, 0.2, 0.0]


def test_a_level_is_trained_when_it_is_asked_for() -> None:
    told: list[tuple[int, int, int]] = []

    def on_epoch(level: int, progress: EpochProgress) -> None:
        told.append((level, progress.epoch, progress.epochs))

    ladder = train_ladder(
        random_images(), SETTINGS, LEVELS, epochs_per_level=2, state_shape=(2, 8), device=CPU, on_epoch=on_epoch
    )
    assert told == []
    first = next(ladder)
    assert told == [(0, 1, 4), (0, 2, 4), (0, 3, 4), (0, 4, 4)]
    second = next(ladder)
    assert told[4:] == [(1, 1, 2), (1, 2, 2)]
    assert first.state_shape == second.state_shape == (2, 8)
    assert len(list(ladder)) == 1
    assert told[6:] == [(2, 1, 2), (2, 2, 2)]


def test_a_ladder_follows_the_corruption_level_on_digits(digits_train: Dataset, digits_test: Dataset) -> None:
    settings = TrainingSettings(sigma=0.2, epochs=30, annealing=0.97, hidden=64)
    first, *_, last = train_ladder(digits_train.images, settings, [0.2, 0.4, 0.6, 0.8], epochs_per_level=10, device=CPU)

    def error(autoencoder: Map) -> float:
        return reconstruction_errors(autoencoder, digits_test.images, sigma=0.8, walkback=1, seed=1).walkback

    alone = error(train(digits_train.images, TrainingSettings(sigma=0.8, epochs=60, hidden=64), device=CPU))
    assert error(last) < 1.1 * alone
    # Further from it than from where it started.
    assert error(first) - error(last) > 2 * abs(error(last) - alone)


def test_divergence_is_told_at_its_level() -> None:
    settings = TrainingSettings(sigma=0.1, epochs=1, learning_rate=0.1, hidden=8)
    # So many numbers that some noise of this level is infinite.
    ladder = train_ladder(random_images(2000), settings, [0.1, 1e38], epochs_per_level=1, device=CPU)
    next(ladder)
    with pytest.raises(TrainingDiverged, match="diverged in epoch 1"):
        next(ladder)


@pytest.mark.parametrize("corruption", ["gaussian(0.5)", "clean until 2, gaussian"])
def test_a_corruption_that_does_not_follow_the_levels_is_refused(corruption: str) -> None:
    with pytest.raises(InputError, match=r"^corruption is '.*', expected one with"):
        ladder_settings(replace(SETTINGS, corruption=corruption), LEVELS, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": [0.1]}, r"^levels is \[0.1\], expected at least two, strictly rising or strictly falling$"),
        ({"levels": []}, r"^levels is \[\], expected at least two"),
        ({"levels": [0.1, 0.1]}, r"^levels is \[0.1, 0.1\], expected at least two"),
        ({"levels": [0.1, 0.3, 0.2]}, r"^levels is .*, expected at least two, strictly rising"),
        ({"levels": [0.1, math.nan]}, r"^levels is .*, expected at least two, strictly rising"),
        ({"levels": [0.2, 0.3]}, r"^levels begins with 0.2, expected sigma of the settings, 0.1$"),
        ({"levels": [0.1, 0.0, -0.1]}, r"^sigma is -0.1, expected from 0"),
        ({"levels": [0.1, math.inf]}, r"^sigma is inf, expected from 0"),
        ({"epochs_per_level": 0}, r"^epochs_per_level is 0, expected at least 1"),
    ],
)
def test_what_is_no_ladder_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"levels": LEVELS, "epochs_per_level": 1} | arguments
    # Without the check of shapes that tests have, as a user calls it.
    with pytest.raises(InputError, match=message):
        inspect.unwrap(train_ladder)(random_images(), SETTINGS, device=CPU, **given)


@pytest.mark.parametrize("levels", [torch.tensor([0.5, 0.25]), np.array([0.5, 0.25], dtype=np.float32)])
def test_levels_of_any_type_can_be_saved(levels: Iterable[SupportsFloat], tmp_path: Path) -> None:
    settings = TrainingSettings(sigma=0.5, epochs=1, hidden=8)
    for autoencoder in train_ladder(random_images(), settings, levels, epochs_per_level=1, device=CPU):
        autoencoder.save(tmp_path / "dae.safetensors")
    assert DenoisingAutoencoder.load(tmp_path / "dae.safetensors").training_settings["sigma"] == 0.25


def test_a_learning_rate_that_annealing_uses_up_is_named() -> None:
    settings = TrainingSettings(sigma=0.1, epochs=1100, annealing=0.5)
    with pytest.raises(InputError, match=r"annealing is 0\.5, expected more: after 1100 epochs"):
        train_ladder(random_images(), settings, [0.1, 0.2], epochs_per_level=1)

"""Training along a ladder of corruption levels, each level beginning from the weights of the one before.

Autoencoders trained apart differ by their random numbers far more than by a small change of the corruption level. On a
ladder a level differs from the one before by a few more epochs only, so that attractors can be followed along it
(`dynlab.attractors.follow_attractors`).

The learning rate stays where the first training ended. It decides how far minibatches and their noise throw the weights
about, whatever the corruption level, and how soon they follow it. Measured on 8 x 8 digits (hidden 64, two seeds, a
first training at 0.2 that ended at a rate of 0.0018 with 28 and 33 attractors):

- A further level at the *same* corruption level changes 4 and 2 attractors; for the first seed, it changes 9 at five
  times the rate, and 7 with the rate back at 0.1 and annealed once more, which would hide the effect of small steps.
- Six steps up to 0.5 arrive with 18 and 13 attractors after 10 epochs each, with 14 and 9 after 40; one trained there
  from the start has 8 and 9. So a ladder lags behind its levels, the less so the more epochs it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import SupportsFloat

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from dynlab.errors import InputError
from dynlab.maps import Autoencoder
from dynlab.training.run import EpochProgress
from dynlab.training.settings import TrainingSettings
from dynlab.training.streams import MAX_SEED
from dynlab.training.trainer import train

_SPAWN_KEY = 0  # with the number of the level it makes a key of two, which no stream of `generator` has


def train_ladder(
    images: Float32[Tensor, "samples dim"],
    settings: TrainingSettings,
    levels: Iterable[SupportsFloat],
    *,
    epochs_per_level: int,
    same_noise: bool = True,
    state_shape: tuple[int, ...] | None = None,
    device: torch.device | str = "auto",
    on_epoch: Callable[[int, EpochProgress], None] | None = None,
) -> Iterator[Autoencoder]:
    """Train one denoising autoencoder after the other, along a ladder of corruption levels.

    Args:
        images: As in `train`.
        settings: How to train at the first level; its `sigma` is that level.
        levels: Corruption levels, at least two, strictly rising or strictly falling.
        epochs_per_level: Passes over the images at each further level, at least 1.
        same_noise: Whether all further levels see the same noise, scaled to their level, in place of noise of their
            own. Then chance throws the weights about in the same way at each, and much less of what changes between two
            levels is its doing; that of the first of them it is still.
        state_shape: As in `train`.
        device: As in `train`.
        on_epoch: Called after each epoch with the number of its level, from 0, and how training stands.

    Returns:
        An iterator over the autoencoder of each level, trained when it is asked for, as by `train` with the settings
        that its `training_settings` hold and the one before as `start`.

    Raises:
        InputError: If `levels` are no ladder or do not begin with `settings.sigma`, or `epochs_per_level` is out of its
            range; at once. Else, at the first level and before it is trained, as `train` does.
        TrainingDiverged: If the objective or a weight stops being finite.
    """
    rungs = ladder_settings(settings, levels, epochs_per_level, same_noise=same_noise)
    return _trained(images, rungs, state_shape, device, on_epoch)


def _trained(
    images: Tensor,
    rungs: Sequence[TrainingSettings],
    state_shape: tuple[int, ...] | None,
    device: torch.device | str,
    on_epoch: Callable[[int, EpochProgress], None] | None,
) -> Iterator[Autoencoder]:
    autoencoder = None
    for number, rung in enumerate(rungs):
        told = None if on_epoch is None else partial(on_epoch, number)
        autoencoder = train(images, rung, start=autoencoder, state_shape=state_shape, device=device, on_epoch=told)
        yield autoencoder


def ladder_settings(
    settings: TrainingSettings, levels: Iterable[SupportsFloat], epochs_per_level: int, *, same_noise: bool = True
) -> list[TrainingSettings]:
    """How `train_ladder` trains at each level, for work that is done a level at a time.

    Args:
        settings: As in `train_ladder`, like what follows.
        levels: See there.
        epochs_per_level: See there.
        same_noise: See there.

    Returns:
        The settings of each level; `train` takes them with the autoencoder of the level before as `start`.

    Raises:
        InputError: If `levels` are no ladder or do not begin with `settings.sigma`, or `epochs_per_level` is out of its
            range, or so many epochs of annealing leave no learning rate.
    """
    levels = [float(level) for level in levels]
    steps = [after - before for before, after in pairwise(levels)]
    if not steps or not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        raise InputError(f"levels is {list(levels)}, expected at least two, strictly rising or strictly falling")
    if levels[0] != settings.sigma:
        raise InputError(f"levels begins with {levels[0]}, expected sigma of the settings, {settings.sigma}")
    if len(settings.schedule().phases) > 1:
        raise InputError(f"corruption is {settings.corruption!r}, expected one without 'until' along a ladder")
    if settings.schedule() == replace(settings, sigma=levels[1]).schedule():
        raise InputError(f"corruption is {settings.corruption!r}, expected one with a level that is not in the text")
    if epochs_per_level < 1:
        raise InputError(f"epochs_per_level is {epochs_per_level}, expected at least 1")
    learning_rate = settings.learning_rate_in(settings.epochs)
    if not learning_rate > 0:
        raise InputError(
            f"annealing is {settings.annealing}, expected more: after {settings.epochs} epochs nothing is left of the "
            "learning rate, which further levels go on with"
        )
    further = [
        replace(
            settings,
            sigma=level,
            epochs=epochs_per_level,
            annealing=1.0,
            learning_rate=learning_rate,
            seed=_seed_of_level(settings.seed, 1 if same_noise else number),
        )
        for number, level in enumerate(levels[1:], start=1)
    ]
    return [settings, *further]


def noise_of_level(seed: int, level_seed: int | None, number: int) -> set[bool]:
    """The values of `same_noise` with which `train_ladder` gives a level this seed.

    Args:
        seed: The seed of the first level.
        level_seed: That of a later one.
        number: Which level that is, from 1 on.

    Returns:
        Both values at the level after the first, where they are the same; none where the seed is that of no ladder.
    """
    return {same for same in (False, True) if _seed_of_level(seed, 1 if same else number) == level_seed}


def _seed_of_level(seed: int, number: int) -> int:
    """A seed of its own for the noise of a level, from 1 on; unrelated to that of the first training."""
    sequence = np.random.SeedSequence(seed, spawn_key=(_SPAWN_KEY, number))
    return int(sequence.generate_state(1, np.uint64)[0]) & MAX_SEED

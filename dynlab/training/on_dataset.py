"""Train on a data set, and keep with the autoencoder what it was trained on and how well it reconstructs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import torch

from dynlab.datasets import Dataset
from dynlab.maps import DenoisingAutoencoder
from dynlab.training.objective import reconstruction_errors
from dynlab.training.trainer import EpochProgress, TrainingSettings, train


def train_on_dataset(
    training: Dataset,
    settings: TrainingSettings,
    *,
    start: DenoisingAutoencoder | None = None,
    test: Dataset | None = None,
    device: torch.device | str = "auto",
    on_epoch: Callable[[EpochProgress], None] | None = None,
) -> DenoisingAutoencoder:
    """Train a denoising autoencoder and measure its reconstruction errors.

    Args:
        training: The images to train on, in their order of use.
        settings: How to train.
        start: Whose weights to begin from, as in `train`.
        test: Held-out images of the same dim, to measure errors on as well.
        device: Where to compute; "auto" is CUDA where there is some, else the CPU.
        on_epoch: Called after each epoch.

    Returns:
        The autoencoder. Beside what `train` puts there, its `training_settings` hold the name (`data`) and hash
        (`data_sha256`) of the training set, and `errors`: for "train" and "test" the walkback objective (`walkback`)
        and the plain errors of clean and of corrupted input (`clean`, `corrupted`), summed over pixels.

    Raises:
        InputError: If there is no such device, or `start` is not of the shape that is trained.
        TrainingDiverged: If the objective or a weight stops being finite.
    """
    autoencoder = train(
        training.images, settings, start=start, state_shape=training.shape, device=device, on_epoch=on_epoch
    )
    errors = {
        name: asdict(
            reconstruction_errors(
                autoencoder, data.images, sigma=settings.sigma, walkback=settings.walkback, seed=settings.seed
            )
        )
        for name, data in (("train", training), ("test", test))
        if data is not None
    }
    autoencoder.training_settings |= {"data": training.name, "data_sha256": training.sha256, "errors": errors}
    return autoencoder

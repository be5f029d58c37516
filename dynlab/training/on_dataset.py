"""Train on a data set, and keep with the autoencoder what it was trained on and how well it reconstructs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from dynlab.datasets import Dataset
from dynlab.maps import Autoencoder
from dynlab.training.objective import reconstruction_errors
from dynlab.training.run import EpochProgress
from dynlab.training.settings import TrainingSettings
from dynlab.training.trainer import train


def train_on_dataset(
    training: Dataset,
    settings: TrainingSettings,
    *,
    start: Autoencoder | None = None,
    test: Dataset | None = None,
    device: torch.device | str = "auto",
    checkpoint: str | Path | None = None,
    on_epoch: Callable[[EpochProgress], None] | None = None,
) -> Autoencoder:
    """Train a denoising autoencoder and measure its reconstruction errors.

    Args:
        training: The images to train on, in their order of use.
        settings: How to train.
        start: Whose weights to begin from, as in `train`.
        test: Held-out images of the same dim, to measure errors on as well.
        device: Where to compute; "auto" is CUDA where there is some, else the CPU.
        checkpoint: A file to keep the training in while it goes on, as in `train`.
        on_epoch: Called after each epoch.

    Returns:
        The autoencoder. Beside what `train` puts there, its `training_settings` hold the name (`data`) and hash
        (`data_sha256`) of the training set, and `errors`: for "train" and "test" the walkback objective
        (`walkback`) and the plain errors of clean and of corrupted input (`clean`, `corrupted`), summed over pixels,
        under the corruption that `errors_corruption` names.

    Raises:
        InputError: If there is no such device, `start` is not of the shape that is trained, or the checkpoint is
            damaged, of another training, or cannot be written.
        TrainingDiverged: If the objective or a weight stops being finite.
    """
    autoencoder = train(
        training.images,
        settings,
        start=start,
        state_shape=training.shape,
        device=device,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    measure_on_datasets(autoencoder, settings, training, test)
    return autoencoder


def measure_on_datasets(
    autoencoder: Autoencoder, settings: TrainingSettings, training: Dataset, test: Dataset | None
) -> None:
    """Add to the `training_settings` of a trained autoencoder what `train_on_dataset` has there.

    Images are corrupted as in the last epoch, with Gaussian noise in place of what was learned; `errors_corruption`
    says how.

    Args:
        autoencoder: What was trained, changed in place.
        settings: How.
        training: On which images.
        test: Held-out images, to measure errors on as well.
    """
    corruption = str(settings.schedule().at(autoencoder.training_settings["epochs"]).without_network())
    errors = {
        name: asdict(
            reconstruction_errors(
                autoencoder,
                data.images,
                walkback=settings.walkback,
                seed=settings.seed,
                corruption=corruption,
            )
        )
        for name, data in (("train", training), ("test", test))
        if data is not None
    }
    autoencoder.training_settings |= {
        "data": training.name,
        "data_sha256": training.sha256,
        "errors": errors,
        "errors_corruption": corruption,
    }

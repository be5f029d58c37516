"""The autoencoder of MNIST that a benchmark looks at: that of a checkpoint, or one trained for the purpose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynlab.maps import DenoisingAutoencoder

CHECKPOINT_HELP = "a trained autoencoder of MNIST; one is trained if not given"
BRIEF: Mapping[str, Any] = {"sigma": 0.5, "walkback": 2, "epochs": 3, "annealing": 0.9}  # half a minute on a core
LONG: Mapping[str, Any] = {"sigma": 0.7, "walkback": 4, "epochs": 60, "annealing": 0.99}  # some minutes


def mnist_autoencoder(checkpoint: Path | None, settings: Mapping[str, Any] = BRIEF) -> DenoisingAutoencoder:
    """Read the checkpoint, or train with these settings."""
    from dynlab import DenoisingAutoencoder, TrainingSettings, load_dataset, train

    if checkpoint is not None:
        return DenoisingAutoencoder.load(checkpoint)
    trained = train(load_dataset("mnist/train").images, TrainingSettings(**settings), device="cpu")
    assert isinstance(trained, DenoisingAutoencoder)  # as it has one hidden layer
    return trained

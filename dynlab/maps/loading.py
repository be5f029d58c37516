"""Reading a checkpoint of whatever kind dynlab writes."""

from __future__ import annotations

from pathlib import Path

from dynlab.maps.autoencoder import DenoisingAutoencoder
from dynlab.maps.checkpoint import DEEP_AUTOENCODER, DENOISING_AUTOENCODER, Checkpoint
from dynlab.maps.deep import DeepAutoencoder

Autoencoder = DenoisingAutoencoder | DeepAutoencoder


def load_map(path: str | Path) -> Autoencoder:
    """Read a checkpoint, and make of it the map of the kind that its metadata name.

    Args:
        path: A safetensors file; one that names no kind is that of a `DenoisingAutoencoder`.

    Returns:
        The map, in float32 on the CPU.

    Raises:
        InputError: If the file is missing, damaged or of another kind; see `DenoisingAutoencoder.load`.
    """
    checkpoint = Checkpoint.read(path)
    checkpoint.check_kind(DENOISING_AUTOENCODER, DEEP_AUTOENCODER)
    kind = DeepAutoencoder if checkpoint.kind == DEEP_AUTOENCODER else DenoisingAutoencoder
    return kind.of_checkpoint(checkpoint)

"""Where training begins: weights uniform within the bound of Glorot and Bengio, biases at zero.

Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010, equation 16.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from dynlab.errors import InputError
from dynlab.maps import Autoencoder, DeepAutoencoder, DenoisingAutoencoder, Map
from dynlab.training.settings import TrainingSettings
from dynlab.training.streams import generator


@torch.no_grad()
def initialize(autoencoder: Autoencoder, seed: int) -> None:
    """Draw each weight uniformly from `+-sqrt(6 / (inputs + outputs))`, and set the biases to zero.

    The encoder's weights are drawn first, then those of the decoder if it has its own, each in the order in which they
    are applied; always on the CPU, so that a seed gives the same weights on every device.

    Raises:
        ValueError: If `seed` is not from 0 to 2^63 - 1.
    """
    stream = generator(seed, "initialization")
    for layer in autoencoder.modules():  # in the order in which they are applied
        if not isinstance(layer, nn.ParameterDict):
            continue
        if "weight" in layer:
            outputs, inputs = layer["weight"].shape
            bound = math.sqrt(6 / (inputs + outputs))
            layer["weight"].copy_(torch.empty(outputs, inputs).uniform_(-bound, bound, generator=stream))
        layer["bias"].zero_()


def beginning(
    dim: int, settings: TrainingSettings, start: Autoencoder | None, state_shape: tuple[int, ...] | None
) -> Autoencoder:
    """The autoencoder that a training begins with, on the CPU: drawn by the seed, or a copy of `start`.

    Raises:
        InputError: If `start` is not what `settings` make, or there is no memory.
        ValueError: If `state_shape` does not hold `dim` numbers.
    """
    if start is not None:
        _check_start(start, dim, settings)
        state_shape = state_shape or start.state_shape
    options: dict[str, Any] = {
        "tied": settings.tied,
        "hidden_nonlinearity": settings.hidden_nonlinearity,
        "output_nonlinearity": settings.output_nonlinearity,
        "state_shape": state_shape,
    }
    try:
        if isinstance(settings.hidden, int):
            autoencoder = DenoisingAutoencoder(dim, settings.hidden, **options)
        else:
            autoencoder = DeepAutoencoder(dim, settings.hidden, **options)
    except (RuntimeError, MemoryError) as error:
        raise InputError(f"hidden is {settings.hidden}, expected a number for which there is memory") from error
    if start is None:
        initialize(autoencoder, settings.seed)
    else:
        autoencoder.load_state_dict(start.state_dict())
    return autoencoder


def _check_start(start: Autoencoder, dim: int, settings: TrainingSettings) -> None:
    expected = {
        "dim": dim,
        "hidden": settings.hidden,
        "tied": settings.tied,
        "hidden_nonlinearity": settings.hidden_nonlinearity,
        "output_nonlinearity": settings.output_nonlinearity,
    }
    for name, value in expected.items():
        if getattr(start, name) != value:
            raise InputError(f"start has {name} {getattr(start, name)!r}, expected {value!r}")
    check_float32("start", start)


def check_float32(name: str, system: Map) -> None:
    """Check that a map, of this name in messages, has its parameters in float32.

    Raises:
        InputError: If one is of another type.
    """
    for parameter_name, parameter in system.named_parameters():
        if parameter.dtype != torch.float32:
            raise InputError(f"{name} has {parameter_name} in {parameter.dtype}, expected torch.float32")

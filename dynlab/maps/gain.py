"""A family of autoencoders with one parameter, the gain, for continuation: `F(x) = g(W2 f(gain W1 x + b1) + b2)`.

At gain 0 the map is constant, so it has one fixed point; at gain 1 it is the autoencoder that was trained.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from dynlab.maps.autoencoder import DenoisingAutoencoder


@torch.no_grad()
def with_gain(system: DenoisingAutoencoder, gain: float) -> DenoisingAutoencoder:
    """The autoencoder in float64 with its encoder's weights, but neither its biases nor its decoder, times `gain`.

    At gain 1 exactly the map of `float64_copy(system)`. Always float64, in which it depends smoothly on the gain.

    Args:
        system: The autoencoder; it stays as it is. One in float64 shares what the gain leaves alone with the result,
            which makes the latter cheap.
        gain: Finite.

    Returns:
        An autoencoder with a decoder of its own, also where `system` is tied.

    Raises:
        ValueError: If `gain` is not finite, or `system` is another map.
    """
    if not isinstance(system, DenoisingAutoencoder):
        raise ValueError(f"system is a {type(system).__name__}, expected a DenoisingAutoencoder")
    if not math.isfinite(gain):
        raise ValueError(f"gain is {gain}, expected a finite number")
    weight = system.encoder["weight"]
    # On the meta device the parameters, all of which are replaced, take no memory.
    with torch.device("meta"):
        scaled = DenoisingAutoencoder(
            system.dim,
            system.hidden,
            hidden_nonlinearity=system.hidden_nonlinearity,
            output_nonlinearity=system.output_nonlinearity,
            state_shape=system.state_shape,
            training=system.training_settings,
        )
    scaled.encoder["weight"] = nn.Parameter(gain * weight.detach().double())
    scaled.encoder["bias"] = nn.Parameter(system.encoder["bias"].detach().double())
    scaled.decoder["weight"] = nn.Parameter(system.decoder_weight.detach().double())
    scaled.decoder["bias"] = nn.Parameter(system.decoder["bias"].detach().double())
    return scaled.train(system.training)

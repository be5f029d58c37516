"""Where training begins: weights uniform within the bound of Glorot and Bengio, biases at zero.

Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010, equation 16.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from dynlab.maps import DeepAutoencoder, DenoisingAutoencoder
from dynlab.training.streams import generator


@torch.no_grad()
def initialize(autoencoder: DenoisingAutoencoder | DeepAutoencoder, seed: int) -> None:
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

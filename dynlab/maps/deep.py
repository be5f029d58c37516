"""A deeper autoencoder: several hidden layers, the decoder a mirror image of the encoder.

    h_0 = x,    h_i = f(W_i h_(i-1) + b_i) for i below n,    F(x) = g(W_n h_(n-1) + b_n)

Widths go from that of a state to the last of the encoder and back the same way.

Source: Hinton and Salakhutdinov, Reducing the dimensionality of data with neural networks, Science 313, 2006 (without
its pretraining); Bahdanau and Jaeger, Smart Decisions by Small Adjustments, 2014, section 2, is the case of one hidden
layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynlab.maps import composition
from dynlab.maps.autoencoder import check_nonlinearities, image_shape
from dynlab.maps.checkpoint import DEEP_AUTOENCODER, Checkpoint, write_checkpoint
from dynlab.maps.layers import Layer
from dynlab.maps.map import Map


class DeepAutoencoder(Map):
    """Autoencoder of several hidden layers, `dim -> hidden[0] -> ... -> hidden[-1] -> ... -> hidden[0] -> dim`.

    Args:
        dim: Length of a state, at least 1.
        hidden: Widths of the encoder's layers, the first applied first; at least two, each at least 1. One hidden layer
            is a `DenoisingAutoencoder`.
        tied: Whether each weight of the decoder is the transpose of the encoder's weight between the same two widths,
            and the decoder has no weights of its own.
        hidden_nonlinearity: `f`, of all layers but the last: one of "sigmoid", "tanh", "relu", "identity".
        output_nonlinearity: `g`, of the last layer, one of the same.
        state_shape: How a state is looked at; a square image where `dim` is a square number above 1, else `(dim,)`.
        training: Whatever is known of the training, kept in the checkpoint; values that JSON can hold.

    The parameters start as zeros; `dynlab.training.initialize` draws them.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...],
        *,
        tied: bool = False,
        hidden_nonlinearity: str = "sigmoid",
        output_nonlinearity: str = "sigmoid",
        state_shape: tuple[int, ...] | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(dim, state_shape or image_shape(dim))
        if not isinstance(hidden, tuple) or len(hidden) < 2 or not all(type(w) is int and w >= 1 for w in hidden):
            raise ValueError(f"hidden is {hidden!r}, expected a tuple of at least two widths, each at least 1")
        check_nonlinearities(hidden_nonlinearity, output_nonlinearity)
        self.hidden = hidden
        self.tied = tied
        self.hidden_nonlinearity = hidden_nonlinearity
        self.output_nonlinearity = output_nonlinearity
        self.training_settings = dict(training or {})
        widths = (dim, *hidden)
        self.encoder = nn.ModuleList(_zeros(inputs, outputs) for inputs, outputs in pairwise(widths))
        self.decoder = nn.ModuleList(
            _zeros(inputs, outputs, has_weight=not tied) for inputs, outputs in pairwise(reversed(widths))
        )

    @property
    def decoder_weights(self) -> tuple[Tensor, ...]:
        """Weights of the decoder's layers, the first applied first; transposes of the encoder's if they are tied."""
        if self.tied:
            return tuple(layer["weight"].t() for layer in _of(self.encoder)[::-1])
        return tuple(layer["weight"] for layer in _of(self.decoder))

    def encode(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch code"]:
        """The activations of the innermost layer, of width `hidden[-1]`."""
        return composition.applied(self._encoder_layers(), states)

    def decode(self, code: Float[Tensor, "*batch code"]) -> Float[Tensor, "*batch dim"]:
        """The output for given activations of the innermost layer."""
        return composition.applied(self._decoder_layers(), code)

    def forward(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Apply the autoencoder once to each row."""
        return self.decode(self.encode(states))

    def layers(self) -> tuple[Layer, ...]:
        """All layers, those of the encoder and then those of the decoder."""
        both = self._encoder_layers() + self._decoder_layers()
        return tuple(Layer(weight.detach(), bias.detach(), name) for weight, bias, name in both)

    def extra_repr(self) -> str:
        """Settings that determine the map, besides its parameters."""
        return (
            f"dim={self.dim}, hidden={self.hidden}, tied={self.tied}, "
            f"hidden_nonlinearity={self.hidden_nonlinearity!r}, output_nonlinearity={self.output_nonlinearity!r}"
        )

    def save(self, path: str | Path) -> None:
        """Write a checkpoint: safetensors in the layout of `nn.Linear`, with settings as string metadata.

        Raises:
            InputError: If `path` cannot be written.
        """
        write_checkpoint(Path(path), DEEP_AUTOENCODER, self)

    @staticmethod
    def load(path: str | Path) -> DeepAutoencoder:
        """Read a checkpoint; all metadata but its kind may be missing.

        Weights of another floating point type are brought to float32.

        Raises:
            InputError: If the file is missing, damaged or of another kind, a tensor is missing, of a wrong shape, or
                not finite in float32, or the metadata holds something else than the settings of an autoencoder.
        """
        return DeepAutoencoder.of_checkpoint(Checkpoint.read(path))

    @staticmethod
    def of_checkpoint(checkpoint: Checkpoint) -> DeepAutoencoder:
        """The autoencoder of a file that has been read; see `load`."""
        checkpoint.check_kind(DEEP_AUTOENCODER)
        # By whatever is left of each layer, so that one without its weight is missed.
        named = (re.fullmatch(r"encoder\.(0|[1-9][0-9]*)\.(weight|bias)", name) for name in checkpoint.tensors)
        depth = max(1, len({match[1] for match in named if match}))
        tied = checkpoint.is_tied([f"decoder.{index}.weight" for index in range(depth)])
        weights = [checkpoint.weight(f"encoder.{index}.weight", "(outputs, inputs)") for index in range(depth)]
        widths = (weights[0].shape[1], *(weight.shape[0] for weight in weights))
        expected: dict[str, tuple[int, ...]] = {}
        for part, its_widths in (("encoder", widths), ("decoder", widths[::-1])):
            for index, (inputs, outputs) in enumerate(pairwise(its_widths)):
                if part == "encoder" or not tied:
                    expected[f"{part}.{index}.weight"] = (outputs, inputs)
                expected[f"{part}.{index}.bias"] = (outputs,)
        checkpoint.check_tensors(expected)
        settings = checkpoint.settings()
        try:
            autoencoder = DeepAutoencoder(widths[0], widths[1:], tied=tied, **settings)
        except ValueError as error:
            raise checkpoint.damage(str(error)) from error
        autoencoder.load_state_dict(checkpoint.tensors)
        return autoencoder

    def _encoder_layers(self) -> list[Layer]:
        return [Layer(layer["weight"], layer["bias"], self.hidden_nonlinearity) for layer in _of(self.encoder)]

    def _decoder_layers(self) -> list[Layer]:
        nonlinearities = (self.hidden_nonlinearity,) * (len(self.hidden) - 1) + (self.output_nonlinearity,)
        biases = (layer["bias"] for layer in _of(self.decoder))
        return list(map(Layer, self.decoder_weights, biases, nonlinearities))


def _zeros(inputs: int, outputs: int, *, has_weight: bool = True) -> nn.ParameterDict:
    weight = {"weight": nn.Parameter(torch.zeros(outputs, inputs))} if has_weight else {}
    return nn.ParameterDict({**weight, "bias": nn.Parameter(torch.zeros(outputs))})


def _of(part: nn.ModuleList) -> list[nn.ParameterDict]:
    """The parameters of each layer; torch's lists do not know what they hold."""
    return cast("list[nn.ParameterDict]", list(part))

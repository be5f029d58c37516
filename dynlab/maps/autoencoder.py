"""The denoising autoencoder of the report: one hidden layer, equations 1 and 2.

    h    = f(W1 x + b1)
    F(x) = g(W2 h + b2)

Its Jacobian is `diag(g') W2 diag(f') W1`, a product through the hidden layer, so its nonzero multipliers are the
eigenvalues of a matrix of the size of the hidden layer.

Source: Bahdanau and Jaeger, Smart Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynlab.errors import check_count
from dynlab.maps.checkpoint import DENOISING_AUTOENCODER, Checkpoint, write_checkpoint
from dynlab.maps.layers import NONLINEARITIES, Layer, output_of
from dynlab.maps.map import Map


class DenoisingAutoencoder(Map):
    """One-hidden-layer autoencoder, `F(x) = g(W2 f(W1 x + b1) + b2)`.

    Args:
        dim: Length of a state, at least 1.
        hidden: Number of hidden units, at least 1.
        tied: Whether `W2` is the transpose of `W1` and has no parameter of its own.
        hidden_nonlinearity: `f`, one of "sigmoid", "tanh", "relu", "identity".
        output_nonlinearity: `g`, one of the same.
        state_shape: How a state is looked at; a square image where `dim` is a square number above 1, else `(dim,)`.
        training: Whatever is known of the training, kept in the checkpoint; values that JSON can hold.

    The parameters start as zeros; `dynlab.training.initialize` draws them.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        tied: bool = False,
        hidden_nonlinearity: str = "sigmoid",
        output_nonlinearity: str = "sigmoid",
        state_shape: tuple[int, ...] | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(dim, state_shape or image_shape(dim))
        check_count("hidden", hidden, 1)
        check_nonlinearities(hidden_nonlinearity, output_nonlinearity)
        self.hidden = hidden
        self.tied = tied
        self.hidden_nonlinearity = hidden_nonlinearity
        self.output_nonlinearity = output_nonlinearity
        self.training_settings = dict(training or {})
        self.encoder = nn.ParameterDict(
            {"weight": nn.Parameter(torch.zeros(hidden, dim)), "bias": nn.Parameter(torch.zeros(hidden))}
        )
        self.decoder = nn.ParameterDict({"bias": nn.Parameter(torch.zeros(dim))})
        if not tied:
            self.decoder["weight"] = nn.Parameter(torch.zeros(dim, hidden))

    @property
    def decoder_weight(self) -> Float[Tensor, "dim hidden"]:
        """`W2`, the transpose of the encoder's weight if the two are tied."""
        return self.encoder["weight"].t() if self.tied else self.decoder["weight"]

    def encode(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch hidden"]:
        """Equation 1: the activations of the hidden layer."""
        return output_of(Layer(self.encoder["weight"], self.encoder["bias"], self.hidden_nonlinearity), states)

    def decode(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch dim"]:
        """Equation 2: the output for given activations of the hidden layer."""
        return output_of(Layer(self.decoder_weight, self.decoder["bias"], self.output_nonlinearity), hidden)

    def forward(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Apply the autoencoder once to each row."""
        return self.decode(self.encode(states))

    def layers(self) -> tuple[Layer, ...]:
        """The two layers, equations 1 and 2."""
        return (
            Layer(self.encoder["weight"].detach(), self.encoder["bias"].detach(), self.hidden_nonlinearity),
            Layer(self.decoder_weight.detach(), self.decoder["bias"].detach(), self.output_nonlinearity),
        )

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
        write_checkpoint(Path(path), DENOISING_AUTOENCODER, self)

    @staticmethod
    def load(path: str | Path) -> DenoisingAutoencoder:
        """Read a checkpoint; a file with just the four tensors (three if tied) is a sigmoid autoencoder.

        Weights of another floating point type are brought to float32.

        Raises:
            InputError: If the file is missing, damaged or of another kind, a tensor is missing, of a wrong shape, or
                not finite in float32, or the metadata holds something else than the settings of an autoencoder.
        """
        return DenoisingAutoencoder.of_checkpoint(Checkpoint.read(path))

    @staticmethod
    def of_checkpoint(checkpoint: Checkpoint) -> DenoisingAutoencoder:
        """The autoencoder of a file that has been read; see `load`."""
        checkpoint.check_kind(DENOISING_AUTOENCODER)
        tied = checkpoint.is_tied(["decoder.weight"])
        hidden, dim = checkpoint.weight("encoder.weight", "(hidden, dim)").shape
        expected = {"encoder.weight": (hidden, dim), "encoder.bias": (hidden,), "decoder.bias": (dim,)}
        if not tied:
            expected["decoder.weight"] = (dim, hidden)
        checkpoint.check_tensors(expected)
        settings = checkpoint.settings()
        try:
            autoencoder = DenoisingAutoencoder(dim, hidden, tied=tied, **settings)
        except ValueError as error:
            raise checkpoint.damage(str(error)) from error
        autoencoder.load_state_dict(checkpoint.tensors)
        return autoencoder


def check_nonlinearities(hidden: str, output: str) -> None:
    """Check the names of the nonlinearities of an autoencoder.

    Raises:
        ValueError: If there is no such nonlinearity.
    """
    for parameter, name in (("hidden", hidden), ("output", output)):
        if name not in NONLINEARITIES:
            raise ValueError(f"{parameter}_nonlinearity is {name!r}, expected one of {', '.join(NONLINEARITIES)}")


def image_shape(dim: int) -> tuple[int, ...]:
    """How a state is looked at by default: as a square image where `dim` is a square number above 1."""
    side = math.isqrt(dim)
    return (side, side) if side > 1 and side * side == dim else (dim,)

"""Training a denoising autoencoder, as the report did: plain stochastic gradient descent on the walkback objective.

Minibatches are taken in the order of the images, around and around, every sample corrupted anew each time. After each
epoch the learning rate is multiplied by the annealing factor. Weights start uniform within the bound of Glorot and
Bengio, biases at zero.

Source: Bahdanau and Jaeger, Smart Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 5.3;
Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010, equation 16.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

import dynlab
from dynlab.devices import resolve_device
from dynlab.errors import InputError
from dynlab.maps import DenoisingAutoencoder, map_hash
from dynlab.training.backpropagation import GradientDescent
from dynlab.training.corruption import corrupt
from dynlab.training.streams import MAX_SEED, generator

# Beyond these limits float32 ends, or the memory.
_LARGEST = 1e38
_MOST, _MOST_STEPS = 10**9, 1000


class TrainingDiverged(RuntimeError):  # noqa: N818
    """The objective or a weight is no finite number any more."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What determines a training, besides the images.

    Raises:
        InputError: If a setting is out of its range.
    """

    sigma: float  # corruption level: standard deviation of the noise, in units of a pixel, at least 0
    epochs: int  # passes over the images, at least 1
    walkback: int = 1  # steps k of equation 8, at least 1
    annealing: float = 0.99  # factor of the learning rate after each epoch, above 0 and at most 1
    batch_size: int = 20  # samples of a minibatch, at least 1
    learning_rate: float = 0.1  # in the first epoch, above 0
    hidden: int = 500  # hidden units, at least 1
    tied: bool = False  # whether W2 is the transpose of W1
    seed: int = 0  # of initialization and corruption, from 0 to 2^63 - 1

    def __post_init__(self) -> None:
        _check("sigma", self.sigma, f"from 0 to {_LARGEST:g}", 0 <= self.sigma <= _LARGEST)
        for name, most in (("epochs", _MOST), ("walkback", _MOST_STEPS), ("batch_size", _MOST), ("hidden", _MOST)):
            value = getattr(self, name)
            _check(name, value, f"an integer from 1 to {most}", isinstance(value, int) and 1 <= value <= most)
        _check("annealing", self.annealing, "above 0 and at most 1", 0 < self.annealing <= 1)
        _check(
            "learning_rate", self.learning_rate, f"above 0, at most {_LARGEST:g}", 0 < self.learning_rate <= _LARGEST
        )
        _check("seed", self.seed, "from 0 to 2^63 - 1", 0 <= self.seed <= MAX_SEED)


@dataclass(frozen=True)
class EpochProgress:
    """How training stands after an epoch."""

    epoch: int  # from 1
    epochs: int
    objective: float  # walkback objective of the corrupted minibatches, mean over the epoch while the weights moved
    learning_rate: float  # in this epoch
    samples_per_second: float  # in this epoch


def train(
    images: Float32[Tensor, "samples dim"],
    settings: TrainingSettings,
    *,
    start: DenoisingAutoencoder | None = None,
    state_shape: tuple[int, ...] | None = None,
    device: torch.device | str = "auto",
    on_epoch: Callable[[EpochProgress], None] | None = None,
) -> DenoisingAutoencoder:
    """Train a sigmoid denoising autoencoder.

    The same images, settings and device give the same weights. On another device all random numbers are the same, and
    the weights differ by rounding.

    Args:
        images: Shape (samples, dim), in their order of use, at least one.
        settings: How to train.
        start: Whose weights to begin from, which it keeps; without it they are drawn.
        state_shape: How a state is looked at, kept in the autoencoder; by default as in `start`, if that is given.
        device: Where to compute; "auto" is CUDA where there is some, else the CPU.
        on_epoch: Called after each epoch; what it raises ends the training.

    Returns:
        The autoencoder, on `device`. Its `training_settings` hold all of `settings`, the `objective` after each epoch,
        what it was trained with, and, if it began from `start`, the hash of that map as `started_from`.

    Raises:
        InputError: If there is no such device, no memory for so many hidden units, or `start` is no autoencoder with
            sigmoid units in float32 of the shape that is trained.
        ValueError: If `images` is empty, not finite, or not float32 of shape (samples, dim), or `state_shape` does not
            hold `dim` numbers.
        TrainingDiverged: If the objective or a weight stops being finite.
    """
    _check_images(images)
    device = resolve_device(device) if isinstance(device, str) else device
    samples, dim = images.shape
    if start is not None:
        _check_start(start, dim, settings)
        state_shape = state_shape or start.state_shape
    try:
        autoencoder = DenoisingAutoencoder(dim, settings.hidden, tied=settings.tied, state_shape=state_shape)
    except (RuntimeError, MemoryError) as error:
        raise InputError(f"hidden is {settings.hidden}, expected a number for which there is memory") from error
    if start is None:
        initialize(autoencoder, settings.seed)
    else:
        autoencoder.load_state_dict(start.state_dict())
    autoencoder.to(device)
    images = images.to(device)
    noise = generator(settings.seed, "corruption")
    objectives: list[float] = []
    if not settings.tied:
        # Stored by columns while it is trained: its products, the update most of all, are a few percent faster so.
        decoder_weight = autoencoder.decoder["weight"]
        decoder_weight.data = decoder_weight.data.t().contiguous().t()
    descent = GradientDescent(autoencoder, settings.walkback)
    for epoch in range(1, settings.epochs + 1):
        started = time.perf_counter()
        learning_rate = settings.learning_rate * settings.annealing ** (epoch - 1)
        with torch.inference_mode():  # the gradients are written out, so autograd need not keep watch
            squared_errors = [
                descent.step(clean, corrupt(clean, settings.sigma, noise, descent.inputs(len(clean))), learning_rate)
                for clean in images.split(settings.batch_size)
            ]
        objectives.append(torch.stack(squared_errors).double().sum().item() / (samples * settings.walkback))
        _check_finite(autoencoder, objectives[-1], epoch, learning_rate)
        if on_epoch:
            seconds = time.perf_counter() - started
            on_epoch(EpochProgress(epoch, settings.epochs, objectives[-1], learning_rate, samples / seconds))
    for parameter in autoencoder.parameters():
        parameter.data = parameter.data.contiguous()
    autoencoder.training_settings = {
        **asdict(settings),
        "samples": samples,
        "objective": objectives,
        "device": device.type,
        "versions": {"dynlab": dynlab.__version__, "torch": str(torch.__version__)},
        **({} if start is None else {"started_from": map_hash(start)}),
    }
    return autoencoder


@torch.no_grad()
def initialize(autoencoder: DenoisingAutoencoder, seed: int) -> None:
    """Draw the weights uniformly from `+-sqrt(6 / (dim + hidden))`, and set the biases to zero.

    Raises:
        ValueError: If `seed` is not from 0 to 2^63 - 1.
    """
    bound = math.sqrt(6 / (autoencoder.dim + autoencoder.hidden))
    stream = generator(seed, "initialization")
    for part in (autoencoder.encoder, autoencoder.decoder):
        if "weight" in part:
            part["weight"].copy_(torch.empty(part["weight"].shape).uniform_(-bound, bound, generator=stream))
        part["bias"].zero_()


def _check(name: str, value: object, expected: str, holds: bool) -> None:
    if not holds:
        raise InputError(f"{name} is {value!r}, expected {expected}")


def _check_images(images: Tensor) -> None:
    if images.ndim != 2 or images.dtype != torch.float32:
        found = f"{images.dtype} of shape {tuple(images.shape)}"
        raise ValueError(f"images is {found}, expected torch.float32 of shape (samples, dim)")
    if len(images) == 0:
        raise ValueError("images is empty, expected at least one sample")
    if not torch.isfinite(images).all():
        raise ValueError("images holds NaN or infinite values, expected finite pixels")


def _check_start(start: DenoisingAutoencoder, dim: int, settings: TrainingSettings) -> None:
    expected = {
        "dim": dim,
        "hidden": settings.hidden,
        "tied": settings.tied,
        "hidden_nonlinearity": "sigmoid",
        "output_nonlinearity": "sigmoid",
    }
    for name, value in expected.items():
        if getattr(start, name) != value:
            raise InputError(f"start has {name} {getattr(start, name)!r}, expected {value!r}")
    for name, parameter in start.named_parameters():
        if parameter.dtype != torch.float32:
            raise InputError(f"start has {name} in {parameter.dtype}, expected torch.float32")


def _check_finite(autoencoder: DenoisingAutoencoder, objective: float, epoch: int, learning_rate: float) -> None:
    if not (math.isfinite(objective) and all(bool(torch.isfinite(p).all()) for p in autoencoder.parameters())):
        raise TrainingDiverged(
            f"training diverged in epoch {epoch} at learning rate {learning_rate:g}, the objective was {objective:g}: "
            "a smaller learning rate may help"
        )

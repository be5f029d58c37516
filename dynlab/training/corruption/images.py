"""Corrupt images at once, outside of training."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.errors import InputError
from dynlab.training.corruption.text import parse_schedule
from dynlab.training.draws import Noise
from dynlab.training.streams import Stream

_BLOCK_ROWS = 1024


@torch.no_grad()
def corrupt(
    images: Float[Tensor, "samples dim"],
    corruption: str,
    *,
    seed: int,
    level: float | None = None,
    state_shape: tuple[int, ...] | None = None,
    first: int = 0,
    stream: Stream = "evaluation",
) -> Float[Tensor, "samples dim"]:
    """Corrupt each image once, as if it were presented for training.

    Image `i` gets the random numbers of presentation `first + i`, so a part of a data set is corrupted as it is within
    the whole, and every device draws the same numbers.

    Args:
        images: Shape (samples, dim).
        corruption: What to do, as text without a schedule: "gaussian(0.5)", "rotation(15) then gaussian(0.3)".
        seed: From 0 to 2^63 - 1.
        level: Of kinds for which the text gives none.
        state_shape: How an image is looked at, which holds `dim` numbers; by default `(dim,)`. Kinds that hide, draw
            over or move parts of images need at least two axes, the last two height and width.
        first: Number of the first presentation, from 0.
        stream: Whose numbers are used: "corruption" gives the images that training saw.

    Returns:
        The corrupted images, a new tensor of shape (samples, dim), with the dtype and on the device of `images`.

    Raises:
        InputError: If the text cannot be read or does not suit the shape, or a level is out of its range.
        ValueError: If `seed` or `first` is out of its range or `state_shape` does not hold `dim` numbers.
    """
    state_shape = (images.shape[1],) if state_shape is None else state_shape
    if torch.Size(state_shape).numel() != images.shape[1]:
        raise ValueError(f"state_shape is {state_shape}, expected a shape that holds {images.shape[1]} numbers")
    if not images.is_floating_point():
        raise ValueError(f"images is of type {images.dtype}, expected floating point")
    if first < 0:
        raise ValueError(f"first is {first}, expected at least 0")
    schedule = parse_schedule(corruption, level, state_shape)
    if len(schedule.phases) > 1:
        raise InputError(f"corruption is {corruption!r}, expected one without 'until', for all images")
    noise, corrupted = Noise(seed, stream, images.device), torch.empty_like(images)
    for start in range(0, len(images), _BLOCK_ROWS):
        clean = images[start : start + _BLOCK_ROWS]
        draws = noise.at(first + start, len(clean))
        corrupted[start : start + _BLOCK_ROWS] = schedule.at(1)(clean, draws, state_shape)
    return corrupted

"""Gaussian corruption: `x~ = x + sigma n`, with `n` standard normal in every pixel.

Drawn anew for every sample each time it is used, and never clipped: corrupted pixels leave [0, 1].

Source: Bahdanau and Jaeger, Smart Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 5.2.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dynlab.training.streams import Stream, generator

# Numbers are drawn in blocks of this length, and the block is copied to the device: it stays in a core's second-level
# cache. The stream is the row of blocks, so its numbers depend on this constant and on nothing else.
_BLOCK = 2**16


class GaussianNoise:
    """The standard normal numbers of one random stream, handed out in order.

    Which numbers come out depends on how many were taken before, not on the portions or the device.

    Args:
        seed: From 0 to 2^63 - 1.
        stream: "corruption" for training, "evaluation" for measuring.
        device: Where the numbers are wanted; they are drawn on the CPU.

    Raises:
        ValueError: If `seed` or `stream` is not one of these.
    """

    def __init__(self, seed: int, stream: Stream, device: torch.device) -> None:
        self._generator = generator(seed, stream)
        self._device = device
        self._numbers = torch.empty(0, dtype=torch.float32, device=device)
        self._taken = 0

    def take(self, shape: tuple[int, ...]) -> Float32[Tensor, "*shape"]:
        """The next numbers of the stream, float32, which fill `shape` row by row."""
        count = math.prod(shape)
        if self._taken + count > len(self._numbers):
            self._draw(count)
        first, self._taken = self._taken, self._taken + count
        return self._numbers[first : self._taken].view(shape)

    def _draw(self, count: int) -> None:
        """Draw blocks until at least `count` numbers are there that were not taken."""
        left = self._numbers[self._taken :]
        blocks = [
            torch.empty(_BLOCK, dtype=torch.float32).normal_(generator=self._generator).to(self._device)
            for _ in range(math.ceil((count - len(left)) / _BLOCK))
        ]
        self._numbers, self._taken = torch.cat([left, *blocks]), 0


def corrupt(images: Float[Tensor, "batch dim"], sigma: float, noise: GaussianNoise) -> Float[Tensor, "batch dim"]:
    """Add Gaussian noise of standard deviation `sigma` to every pixel, with the next numbers of `noise`.

    Args:
        images: Clean images, shape (batch, dim), on the device of `noise`.
        sigma: The corruption level, in units of a pixel, at least 0.
        noise: Moves on by `batch * dim` numbers.
    """
    return torch.add(images, noise.take(images.shape).to(images.dtype), alpha=sigma)

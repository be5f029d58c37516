"""Gaussian corruption: `x~ = x + sigma n`, with `n` standard normal in every pixel.

Drawn anew for every sample each time it is used, and never clipped: corrupted pixels leave [0, 1].

Source: Bahdanau and Jaeger, Smart Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 5.2.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

# torch makes normal numbers in groups of 16, and where the last one is not full it draws that one in another way.
_GROUP = 16


def corrupt(
    images: Float[Tensor, "batch dim"],
    sigma: float,
    noise: torch.Generator,
    out: Float[Tensor, "batch dim"] | None = None,
) -> Float[Tensor, "batch dim"]:
    """Add Gaussian noise of standard deviation `sigma` to every pixel.

    The noise is drawn in float32 on the CPU, whatever the dtype and device of the images, and in whole groups of 16
    numbers: where `batch * dim` is a multiple of 16, minibatches get the noise that all of them would get at once.

    Args:
        images: Clean images, shape (batch, dim).
        sigma: The corruption level, in units of a pixel, at least 0.
        noise: A generator on the CPU (`dynlab.training.generator`); it moves on by `batch * dim` numbers, rounded up.
        out: Where the corrupted images go, if given; another tensor than `images`.
    """
    corrupted = torch.empty_like(images, memory_format=torch.contiguous_format) if out is None else out
    _draw_normal(corrupted, noise)
    return torch.add(images, corrupted, alpha=sigma, out=corrupted)


def _draw_normal(out: Tensor, noise: torch.Generator) -> None:
    """Fill a tensor with standard normal numbers, row by row."""
    count = out.numel()
    if out.device.type == "cpu" and out.dtype == torch.float32 and out.is_contiguous() and count % _GROUP == 0:
        out.normal_(generator=noise)
    else:
        numbers = torch.randn(math.ceil(count / _GROUP) * _GROUP, dtype=torch.float32, generator=noise)
        out.copy_(numbers[:count].view(out.shape))

"""Corruptions that move the image: scaling and rotation about its centre.

Each pixel takes what is at the place it comes from, by linear interpolation between the four pixels around that place;
there is 0 outside of the image.

Source: Bahdanau and Jaeger, Smart Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 7
(moderate scaling and rotation, as a wish).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.training.corruption.corruption import ImageCorruption
from dynlab.training.corruption.places import image_size, pixel_places
from dynlab.training.draws import Draws


@dataclass(frozen=True)
class Scaling(ImageCorruption):
    """Larger or smaller, by a factor whose logarithm is uniform: from `1 / (1 + level)` to `1 + level`.

    Args:
        level: How much larger the image becomes at most, as a share of its size, at least 0.
    """

    name: ClassVar[str] = "scaling"

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`."""
        factor = torch.exp((2 * draws.uniform(0, 1) - 1) * torch.log1p(self.level_on(images.device)))
        down, right = pixel_places(image_size(state_shape), images.device)
        return _taken_from(images, down / factor, right / factor, state_shape)


@dataclass(frozen=True)
class Rotation(ImageCorruption):
    """Turned by an angle that is uniform from `-level` to `level`.

    Args:
        level: The largest angle, in degrees, from 0 to 180.
    """

    name: ClassVar[str] = "rotation"
    most: ClassVar[float] = 180.0

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`."""
        angle = (2 * draws.uniform(0, 1) - 1) * (self.level_on(images.device) * (math.pi / 180))
        cosine, sine = torch.cos(angle), torch.sin(angle)
        down, right = pixel_places(image_size(state_shape), images.device)
        # Against the clock for angles above 0, so what comes to a place is found by turning with the clock.
        return _taken_from(images, right * sine + down * cosine, right * cosine - down * sine, state_shape)


def _taken_from(
    images: Float[Tensor, "*rows dim"],
    down: Float[Tensor, "*drawn pixels"],
    right: Float[Tensor, "*drawn pixels"],
    state_shape: tuple[int, ...],
) -> Float[Tensor, "*drawn dim"]:
    """Images whose pixels are what the given images have at these places, in pixels from their centre."""
    height, width = image_size(state_shape)
    rows = down.shape[:-1]
    # There the edges of the image, half a pixel beyond the centres of its first and last pixels, are at -1 and 1.
    places = torch.stack([right * (2 / width), down * (2 / height)], dim=-1).to(images.dtype)
    moved = torch.nn.functional.grid_sample(
        images.expand(*rows, images.shape[-1]).reshape(-1, images.shape[-1] // (height * width), height, width),
        places.view(-1, height, width, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return moved.view(*rows, images.shape[-1])

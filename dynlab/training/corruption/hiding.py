"""Corruptions that hide a part of the image, whose pixels become 0: a square, and a half-plane.

Source: Seung, Learning Continuous Attractors in Recurrent Networks, 1997 (the square); Bahdanau and Jaeger, Smart
Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 7 (partial occlusion, as a wish).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.training.corruption.corruption import ImageCorruption
from dynlab.training.corruption.places import hide, image_size, pixel_places
from dynlab.training.draws import Draws


@dataclass(frozen=True)
class Square(ImageCorruption):
    """A square at a random place, wholly inside the image, is set to 0; all places in whole pixels are as likely.

    Args:
        level: Side of the square as a share of the smaller side of the image, from 0 to 1. It is rounded to whole
            pixels, halves up.
    """

    name: ClassVar[str] = "square"
    most: ClassVar[float] = 1.0

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`."""
        height, width = image_size(state_shape)
        side = _rounded(self.level_on(images.device) * min(height, width))
        chance = draws.uniform(0, 2)
        top = torch.floor(chance[..., :1] * (height - side + 1))
        left = torch.floor(chance[..., 1:] * (width - side + 1))
        down, right = pixel_places((height, width), images.device)
        down, right = down + (height - 1) / 2 - top, right + (width - 1) / 2 - left
        return hide(images, (down >= 0) & (down < side) & (right >= 0) & (right < side))


@dataclass(frozen=True)
class Occlusion(ImageCorruption):
    """A half-plane in a random direction is set to 0.

    Args:
        level: Share of the pixels that is hidden, from 0 to 1. Their number is rounded, halves up; it is exact even
            where the edge of the half-plane meets several pixels, of which the first ones by rows are hidden then.
    """

    name: ClassVar[str] = "occlusion"
    most: ClassVar[float] = 1.0

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`."""
        down, right = pixel_places(image_size(state_shape), images.device)
        count = _rounded(self.level_on(images.device) * len(down))
        angle = draws.uniform(0, 1) * (2 * math.pi)
        inward = down * torch.sin(angle) + right * torch.cos(angle)
        order = inward.argsort(dim=-1, stable=True)
        comes_first = torch.arange(len(down), device=images.device) < count
        hidden = torch.empty(inward.shape, dtype=torch.bool, device=images.device)
        return hide(images, hidden.scatter_(-1, order, comes_first.expand(order.shape)))


def _rounded(numbers: Tensor) -> Tensor:
    return torch.floor(numbers + 0.5)

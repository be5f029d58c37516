"""Random strokes of a pen over the image.

Each stroke is a segment between two places drawn uniformly from the image's area. Ink is 1 within half the pen's width
of the segment and falls off to 0 over one pixel around that, and a pixel keeps the larger of its value and the ink.

Source: Bahdanau and Jaeger, Smart Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 7
(random strokes, as a wish).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.errors import InputError
from dynlab.training.corruption.corruption import Corruption, check_level, number_text
from dynlab.training.corruption.places import image_size, pixel_places
from dynlab.training.draws import Draws

_MOST_STROKES = 100.0
_SMALLEST = 1e-12  # squared length of a segment, in pixels: a dot has no direction to divide by


@dataclass(frozen=True)
class Strokes(Corruption):
    """Strokes of ink 1 with random ends.

    Args:
        level: How many, a whole number from 0 to 100.
        width: Of the pen, as a share of the smaller side of the image, from 0 to 1. By default as wide as the strokes
            of MNIST's digits are.

    Raises:
        InputError: If a number is out of its range.
    """

    level: float
    width: float = 0.1
    name: ClassVar[str] = "strokes"

    def __post_init__(self) -> None:
        check_level(self.name, "level", self.level, _MOST_STROKES)
        if self.level != int(self.level):
            raise InputError(f"{self.name} has the level {number_text(self.level)}, expected a whole number of strokes")
        check_level(self.name, "width", self.width, 1.0)

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`."""
        size = image_size(state_shape)
        reach = self.width * min(size) / 2 + 0.5
        down, right = pixel_places(size, images.device)
        ink = torch.zeros(*draws.shape, len(down), device=images.device)
        for stroke in range(int(self.level)):
            ends = draws.uniform(stroke, 4) - 0.5
            down_0, right_0, down_1, right_1 = (ends[..., end : end + 1] * size[end % 2] for end in range(4))
            distance = _distance(down - down_0, right - right_0, down_1 - down_0, right_1 - right_0)
            ink = torch.maximum(ink, reach - distance)
        ink = ink.clamp_(max=1).to(images.dtype).unsqueeze(-2)
        return torch.maximum(images.unflatten(-1, (-1, len(down))), ink).flatten(-2)

    def __str__(self) -> str:
        pen = "" if self.width == Strokes.width else f", {number_text(self.width)}"
        return f"{self.name}({number_text(self.level)}{pen})"

    @property
    def needs_images(self) -> bool:
        """See `Corruption`."""
        return True

    @property
    def structure(self) -> Hashable:
        """See `Corruption`."""
        return self

    @property
    def numbers(self) -> tuple[float, ...]:
        """See `Corruption`."""
        return ()

    def with_numbers(self, numbers: Sequence[Tensor]) -> Corruption:
        """See `Corruption`."""
        return self


def _distance(down: Tensor, right: Tensor, along_down: Tensor, along_right: Tensor) -> Tensor:
    """How far places, seen from one end of a segment, are from the nearest place of it."""
    squared_length = (along_down.square() + along_right.square()).clamp_(min=_SMALLEST)
    share = ((down * along_down + right * along_right) / squared_length).clamp_(0, 1)
    return (down - share * along_down).square_().add_((right - share * along_right).square_()).sqrt_()

"""Where the pixels of an image are, for corruptions that look at states as images.

The last two axes of a state are height and width, down and to the right. The axes before are channels, and what
happens to one channel happens to all. Places are in pixels from the centre of the image: pixel 0 of 28 is at -13.5.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def image_size(state_shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of an image.

    Raises:
        ValueError: If a state has less than two axes.
    """
    if len(state_shape) < 2:
        raise ValueError(f"state_shape is {state_shape}, expected that of images, with at least two axes")
    return state_shape[-2], state_shape[-1]


def pixel_places(
    size: tuple[int, int], device: torch.device
) -> tuple[Float[Tensor, " pixels"], Float[Tensor, " pixels"]]:
    """How far below and to the right of the centre each pixel is, row by row."""
    down, right = (torch.arange(length, dtype=torch.float32, device=device) - (length - 1) / 2 for length in size)
    return down[:, None].expand(size).flatten(), right.expand(size).flatten()


def hide(images: Float[Tensor, "*rows dim"], hidden: Bool[Tensor, "*drawn pixels"]) -> Float[Tensor, "*drawn dim"]:
    """Set the pixels that are hidden to 0, in all channels."""
    return images.unflatten(-1, (-1, hidden.shape[-1])).masked_fill(hidden.unsqueeze(-2), 0).flatten(-2)

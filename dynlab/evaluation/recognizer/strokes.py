"""Drawing on images: coordinates, moving pixels about, cutting along a line, and strokes of a pen.

Images are `(samples, height, width)`; both axes run from -1 to 1, down and to the right, whatever the number of pixels.
All randomness comes from the generator that is passed.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32
from torch import Tensor

Images = Float32[Tensor, "samples height width"]

_SMALLEST_SIDE = 6
_BANK_STROKES = 1000
_STROKE_POINTS = 24
_PEN_RADIUS = (0.08, 0.13)  # strokes of 2 to 4 pixels where an image has 28


def grey_image_sides(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of a state of that shape, which may have a channel axis of length 1; None if it is no image."""
    if len(shape) == 3 and 1 in (shape[0], shape[-1]):
        shape = shape[1:] if shape[0] == 1 else shape[:-1]
    return (shape[0], shape[1]) if len(shape) == 2 and min(shape) > 1 else None


def has_geometry(images: Float[Tensor, "samples height width"]) -> bool:
    """Whether the images have two dimensions worth the name: at least 6 x 6 pixels."""
    return min(images.shape[1:]) >= _SMALLEST_SIDE


def uniform(samples: int, low: float, high: float, generator: torch.Generator) -> Float[Tensor, "samples 1 1"]:
    """One number for each image, from `low` to `high`."""
    return low + (high - low) * torch.rand(samples, 1, 1, generator=generator)


def centred_coordinates(height: int, width: int) -> tuple[Float[Tensor, "height width"], Float[Tensor, "height width"]]:
    """Vertical and horizontal coordinate of the middle of each pixel."""
    y = (2 * torch.arange(height) + 1) / height - 1
    x = (2 * torch.arange(width) + 1) / width - 1
    return y[:, None].expand(height, width), x.expand(height, width)


def one_side(
    images: Images, generator: torch.Generator
) -> tuple[Bool[Tensor, "samples height width"], Float[Tensor, "samples 1 1"]]:
    """The pixels on one side of a random line near the centre of mass, and the angle of its normal."""
    y, x = centred_coordinates(*images.shape[1:])
    mass = images.sum(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    y = y - (images * y).sum(dim=(1, 2), keepdim=True) / mass
    x = x - (images * x).sum(dim=(1, 2), keepdim=True) / mass
    angle = uniform(len(images), 0.0, 2 * math.pi, generator)
    return angle.cos() * x + angle.sin() * y > uniform(len(images), -0.15, 0.15, generator), angle


def displaced(images: Images, right: Tensor, down: Tensor) -> Images:
    """Each pixel takes the value found `right` and `down` of it; black comes in from outside."""
    y, x = centred_coordinates(*images.shape[1:])
    places = torch.stack([(x + right).expand_as(images), (y + down).expand_as(images)], dim=-1)
    return F.grid_sample(images[:, None], places, align_corners=False)[:, 0]


def strokes(images: Images, fewest: int, most: int, generator: torch.Generator) -> Images:
    """White pen strokes on black, as many as drawn between two bounds."""
    samples, height, width = images.shape
    bank = _stroke_bank(min(_BANK_STROKES, samples), height, width, generator)
    count = torch.randint(fewest, most + 1, (samples, 1, 1), generator=generator)
    result = torch.zeros_like(images)
    for stroke in range(most):
        drawn = bank[torch.randint(len(bank), (samples,), generator=generator)]
        upside_down = torch.rand(samples, 1, 1, generator=generator) < 0.5
        drawn = torch.where(upside_down, drawn.flip(1), drawn)
        result = torch.maximum(result, drawn * (count > stroke))
    return result


def _stroke_bank(count: int, height: int, width: int, generator: torch.Generator) -> Images:
    """One stroke an image: a round soft pen on a path whose direction drifts, of random length, bend and place."""
    times = torch.linspace(0, 1, _STROKE_POINTS)
    bend = [amplitude * torch.randn(count, 1, generator=generator) for amplitude in (math.pi, 2.0, 1.5)]
    phase = 2 * math.pi * torch.rand(count, 3, generator=generator)
    angle = phase[:, :1] + bend[0] * times
    for wave in (1, 2):
        angle = angle + bend[wave] * torch.sin(wave * math.pi * times + phase[:, wave : wave + 1])
    path = torch.stack([angle.cos().cumsum(dim=1), angle.sin().cumsum(dim=1)], dim=2)
    path = path - (path.amin(dim=1, keepdim=True) + path.amax(dim=1, keepdim=True)) / 2
    size = path.abs().amax(dim=(1, 2)).clamp(min=1e-6)
    half_extent = 0.15 + 0.6 * torch.rand(count, generator=generator)
    path = path * (half_extent / size)[:, None, None]
    room = (0.8 - half_extent[:, None, None]).clamp(min=0)
    path = path + room * (2 * torch.rand(count, 1, 2, generator=generator) - 1)
    radius = uniform(count, *_PEN_RADIUS, generator)
    y, x = centred_coordinates(height, width)
    squared = torch.full((count, height, width), math.inf)
    for point in path.unbind(dim=1):
        squared = torch.minimum(squared, (x - point[:, :1, None]) ** 2 + (y - point[:, 1:, None]) ** 2)
    edge = 2.4 / max(height, width)
    return ((radius - squared.sqrt()) / edge + 0.5).clamp(0, 1)

"""The looks of attractors, put on real images: smoothed, thickened, softened, with grey flesh around the strokes.

A denoising autoencoder's fixed point is a smooth image even where it is a perfect digit. A recognizer that is to judge
fixed points must know such looks, of members and stains alike, or it would take smoothness itself for a sign of either.
Lengths are in pixels of an image of 28 and scale with the image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from dynlab.evaluation.recognizer.strokes import centred_coordinates, displaced

_MOST_NEIGHBOURS, _FEWEST_NEIGHBOURS, _NEIGHBOUR_SHARE = 60, 6, 0.05  # of an image in its class, itself among them
_AVERAGED = 12
_BLUR, _FLESH = 1.2, 2.0  # standard deviations
_UNCHANGED = 0.3  # share of images that keep the look they have


def nearest_of_class(
    images: Float32[Tensor, "samples height width"], classes: Int64[Tensor, " samples"]
) -> Int64[Tensor, "samples neighbours"]:
    """Indices of each image and of the nearest of its class, a twentieth of it; the image itself fills the rest."""
    result = torch.arange(len(images))[:, None].repeat(1, _MOST_NEIGHBOURS)
    flat = images.flatten(1)
    for known in classes.unique():
        own = (classes == known).nonzero()[:, 0]
        count = min(len(own), _MOST_NEIGHBOURS, max(_FEWEST_NEIGHBOURS, round(_NEIGHBOUR_SHARE * len(own))))
        for block in own.split(1000):
            distances = torch.cdist(flat[block], flat[own])
            distances[block[:, None] == own] = -1.0
            result[block, :count] = own[distances.topk(count, dim=1, largest=False).indices]
    return result


def local_means(
    images: Float32[Tensor, "samples height width"],
    neighbours: Int64[Tensor, "samples neighbours"],
    generator: torch.Generator,
) -> Float32[Tensor, "samples height width"]:
    """Half of the images as they are, instead of the others averages of near ones of their class.

    The best possible denoiser answers with such averages, the wider the stronger the corruption. Here twelve draws from
    a neighbourhood of random size are averaged at random weights.
    """
    samples, most = neighbours.shape
    width = torch.randint(2, most + 1, (samples, 1), generator=generator)
    drawn = (torch.rand(samples, _AVERAGED, generator=generator) * width).long()
    weights = torch.rand(samples, _AVERAGED, generator=generator)
    weights = weights / weights.sum(dim=1, keepdim=True)
    averages = torch.zeros_like(images)
    for draw in range(_AVERAGED):
        averages += weights[:, draw, None, None] * images[neighbours.gather(1, drawn[:, draw : draw + 1])[:, 0]]
    unchanged = torch.rand(samples, 1, 1, generator=generator) < 0.5
    return torch.where(unchanged, images, averages)


def with_looks(
    images: Float32[Tensor, "samples height width"], generator: torch.Generator
) -> Float32[Tensor, "samples height width"]:
    """The images, moved a little, most of them with a look of their own; rows of numbers only change in contrast."""
    samples, height, width = images.shape
    if height == 1:
        return _contrasted(images, generator)
    moved = _moved(images, generator)
    unit = max(height, width) / 28
    thick = _weights(samples, -1.5, 1.0, generator)
    look = torch.lerp(moved, _thickened(moved), thick)
    look = torch.lerp(look, _blurred(look, _BLUR * unit), _weights(samples, -1.0, 1.0, generator))
    flesh = _weights(samples, -0.8, 0.8, generator)
    look = torch.maximum(look, flesh * _blurred(look, _FLESH * unit))
    unchanged = torch.rand(samples, 1, 1, generator=generator) < _UNCHANGED
    return torch.where(unchanged, moved, _contrasted(look, generator))


def _weights(samples: int, low: float, high: float, generator: torch.Generator) -> Float[Tensor, "samples 1 1"]:
    """Uniform from `low` to `high`, what is negative taken as 0: so many have none of a look."""
    return (low + (high - low) * torch.rand(samples, 1, 1, generator=generator)).clamp(min=0)


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turned by up to 10 degrees, sheared, scaled and shifted a little."""
    samples, height, width = images.shape

    def between(bound: float) -> Tensor:
        return bound * (2 * torch.rand(samples, 1, 1, generator=generator) - 1)

    angle, scale, shear = between(0.17), 1 + between(0.1), between(0.15)
    y, x = centred_coordinates(height, width)
    right = (angle.cos() * scale - 1) * x + (shear - angle.sin()) * y + between(0.09)
    down = angle.sin() * x + (angle.cos() * scale - 1) * y + between(0.09)
    return displaced(images, right, down)


def _thickened(images: Tensor) -> Tensor:
    """Strokes one pixel of 28 thicker on each side."""
    wide = F.max_pool2d(images[:, None], 3, stride=1, padding=1)[:, 0]
    return torch.lerp(images, wide, min(1.0, max(images.shape[1:]) / 28))


def _blurred(images: Tensor, deviation: float) -> Tensor:
    rows, columns = (_gaussian_matrix(side, deviation) for side in images.shape[1:])
    return rows @ images @ columns.T


def _gaussian_matrix(side: int, deviation: float) -> Float[Tensor, "side side"]:
    offset = torch.arange(side)[:, None] - torch.arange(side)
    kernel = torch.exp(-((offset / deviation) ** 2) / 2)
    whole = torch.exp(-((torch.arange(-side, side + 1) / deviation) ** 2) / 2).sum()
    return kernel / whole


def _contrasted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Another gamma, from exp(-0.6) to exp(0.6), and another maximum, from 0.55 to saturated."""
    samples = len(images)
    gamma = torch.exp(0.6 * (2 * torch.rand(samples, 1, 1, generator=generator) - 1))
    bent = images.clamp(min=1e-6) ** gamma
    peak = bent.amax(dim=(1, 2), keepdim=True).clamp(min=1e-3)
    height = 0.55 + 0.65 * torch.rand(samples, 1, 1, generator=generator)
    return (bent / peak * height).clamp(max=1)

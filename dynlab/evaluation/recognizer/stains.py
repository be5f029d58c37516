"""Images that are no longer a digit: stains made from real images, to fit a recognizer and to judge it.

Two collections that share no kind. Fitting kinds are shown to the recognizer as examples of what is no member of any
class. `JUDGED_KINDS` are never shown to it, neither for its weights nor for its threshold: they tell what it makes of
stains that it does not know.

How far apart the two are, plainly. Judged are blobs, shuffled pixels, two images laid over each other, mirror images,
images cut in half, and averages of two images. Fitted are quarter turns (no turn is a reflection), halves of two images
joined at a seam (all ink is there, nothing lies over anything), halves pulled apart and quarters exchanged (nothing is
missing), warps, and pen strokes that mean nothing, alone, drawn over an image or shining through it. The last two are
the nearest relatives of overlays and averages: they show what ink that belongs to no class looks like on top of an
image, but never two images of the data together.

Images are `(samples, height, width)` with pixels in [0, 1]. A state that is no image is a row, `(samples, 1, dim)`, for
which only kinds without geometry exist. All randomness comes from the generator that is passed.

Source: Hendrycks, Mazeika and Dietterich, Deep Anomaly Detection with Outlier Exposure, 2019, for the idea of fitting
with outliers of other kinds than those to be found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor

from dynlab.evaluation.recognizer.strokes import (
    centred_coordinates,
    displaced,
    has_geometry,
    one_side,
    strokes,
    uniform,
)

Images = Float32[Tensor, "samples height width"]
# Takes images, for each of them one of another class, and a generator.
StainMaker = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def fitting_stains(
    images: Float32[Tensor, "samples height width"], classes: Int64[Tensor, " samples"], generator: torch.Generator
) -> Float32[Tensor, "stains height width"]:
    """About as many stains as there are images, of all fitting kinds.

    Args:
        images: Pixels in [0, 1], of at least two classes.
        classes: Class of each image.
        generator: Source of all randomness, on the CPU.
    """
    shares = FITTING_SHARES if has_geometry(images) else ROW_FITTING_SHARES
    stains = []
    for maker, share in shares.items():
        count = math.ceil(share * len(images) / sum(shares.values()))
        chosen = torch.randperm(len(images), generator=generator)[:count]
        others = of_another_class(classes, generator)[chosen]
        stains.append(maker(images[chosen], images[others], generator))
    return torch.cat(stains)


def judged_stains(
    images: Float32[Tensor, "samples height width"],
    classes: Int64[Tensor, " samples"],
    generator: torch.Generator,
    *,
    symmetric_classes: frozenset[int] = frozenset(),
) -> dict[str, Tensor]:
    """One stain an image of each judged kind.

    Args:
        images: Pixels in [0, 1], of at least two classes; held out from all fitting.
        classes: Class of each image.
        generator: Source of all randomness, on the CPU.
        symmetric_classes: Classes whose mirror images are no stains; they are left out among the mirrored.

    Returns:
        By name of the kind, shape (stains, height, width); kinds of which there are none are left out.
    """
    stains = {}
    for name, maker in JUDGED_KINDS.items():
        if name not in ROW_JUDGED_KINDS and not has_geometry(images):
            continue
        made = maker(images, images[of_another_class(classes, generator)], generator)
        if name == MIRRORED:
            made = made[~torch.isin(classes, torch.tensor(sorted(symmetric_classes), dtype=torch.int64))]
        if len(made):
            stains[name] = made
    return stains


def symmetric_classes(
    images: Float32[Tensor, "samples height width"], classes: Int64[Tensor, " samples"]
) -> frozenset[int]:
    """Classes whose mirror images are still members: for half of them or more, the nearest image is of their own class.

    Distances are Euclidean, and an image and its own mirror image do not count. On MNIST these are 0, 1, 4, 8 and 9. Of
    4 and 9 one may argue; their mirror images are nearly always found out, so leaving them out makes judging harder.
    """
    flat, mirrored = images.flatten(1), images.flip(2).flatten(1)
    nearest = []
    for start in range(0, len(flat), 1000):
        distances = torch.cdist(mirrored[start : start + 1000], flat)
        rows = torch.arange(len(distances))
        distances[rows, start + rows] = math.inf
        nearest.append(distances.argmin(dim=1))
    own = classes[torch.cat(nearest)] == classes
    return frozenset(int(known) for known in classes.unique() if own[classes == known].double().mean() >= 0.5)


def of_another_class(classes: Int64[Tensor, " samples"], generator: torch.Generator) -> Int64[Tensor, " samples"]:
    """For each sample the index of one drawn from all samples of other classes, of which there must be some."""
    order = torch.argsort(classes, stable=True)
    first = torch.searchsorted(classes[order], classes)
    own = torch.searchsorted(classes[order], classes, right=True) - first
    drawn = (torch.rand(len(classes), generator=generator, dtype=torch.float64) * (len(classes) - own)).long()
    return order[torch.where(drawn < first, drawn, drawn + own)]


# Judged kinds


def _blobs(images: Images, _: Images, generator: torch.Generator) -> Images:
    """One to four soft spots, white in the middle."""
    samples, height, width = images.shape
    y, x = centred_coordinates(height, width)
    total = torch.zeros_like(images)
    for spot in range(4):
        column, row = (uniform(samples, -0.6, 0.6, generator) for _ in range(2))
        wide, high = (uniform(samples, 0.1, 0.3, generator) for _ in range(2))
        there = (torch.rand(samples, 1, 1, generator=generator) < 0.75) | (spot == 0)
        total += 1.5 * there * torch.exp(-(((x - column) / wide) ** 2 + ((y - row) / high) ** 2) / 2)
    return total.clamp(max=1)


def _shuffled(images: Images, _: Images, generator: torch.Generator) -> Images:
    flat = images.flatten(1)
    return flat.gather(1, torch.rand(flat.shape, generator=generator).argsort(dim=1)).view_as(images)


def _overlays(images: Images, others: Images, _: torch.Generator) -> Images:
    return torch.maximum(images, others)


def _mirrored(images: Images, _: Images, __: torch.Generator) -> Images:
    return images.flip(2)


def _cut(images: Images, _: Images, generator: torch.Generator) -> Images:
    """What lies on one side of a line, near the centre of mass and of any direction, is erased."""
    return images * one_side(images, generator)[0]


def _interpolations(images: Images, others: Images, generator: torch.Generator) -> Images:
    return torch.lerp(images, others, uniform(len(images), 0.4, 0.6, generator))


# Fitting kinds


def _quarter_turns(images: Images, _: Images, generator: torch.Generator) -> Images:
    """Turned by 90 degrees, to the left or to the right; what is not square is stretched back into shape."""
    left = torch.rand(len(images), 1, 1, generator=generator) < 0.5
    turned = torch.where(left, images.flip(2), images).transpose(1, 2)
    turned = torch.where(left, turned, turned.flip(2))
    if turned.shape == images.shape:
        return turned
    return F.interpolate(turned[:, None], images.shape[1:], mode="bilinear")[:, 0]


def _mosaics(images: Images, others: Images, generator: torch.Generator) -> Images:
    """One side of a line from one image, the other side from another."""
    return torch.where(one_side(images, generator)[0], images, others)


def _torn(images: Images, _: Images, generator: torch.Generator) -> Images:
    """The two sides of a line moved along it, against each other."""
    side, angle = one_side(images, generator)
    shift = uniform(len(images), 0.35, 0.8, generator)
    shift = torch.where(torch.rand(len(images), 1, 1, generator=generator) < 0.5, shift, -shift)
    return torch.maximum(images * ~side, displaced(images * side, -angle.sin() * shift, angle.cos() * shift))


def _exchanged_quarters(images: Images, _: Images, generator: torch.Generator) -> Images:
    """The four quarters in another order."""
    samples, height, width = images.shape
    rows = (slice(0, height // 2), slice(height - height // 2, height))
    columns = (slice(0, width // 2), slice(width - width // 2, width))
    quarters = [(row, column) for row in rows for column in columns]
    order = torch.rand(samples, 4, generator=generator).argsort(dim=1)
    order[(order == torch.arange(4)).all(dim=1)] = torch.tensor([3, 2, 1, 0])
    pieces = torch.stack([images[:, row, column] for row, column in quarters], dim=1)
    result = torch.zeros_like(images)
    for place, (row, column) in enumerate(quarters):
        result[:, row, column] = pieces[torch.arange(samples), order[:, place]]
    return result


def _warped(images: Images, _: Images, generator: torch.Generator) -> Images:
    """Pixels moved by a smooth random field, far enough to break the shape."""
    samples, height, width = images.shape
    field = 0.33 * torch.randn(samples, 2, 4, 4, generator=generator)
    field = F.interpolate(field, (height, width), mode="bicubic", align_corners=True)
    return displaced(images, field[:, 0], field[:, 1])


def _scribbles(images: Images, _: Images, generator: torch.Generator) -> Images:
    """Two to four pen strokes that mean nothing."""
    return strokes(images, 2, 4, generator)


def _overdrawn(images: Images, _: Images, generator: torch.Generator) -> Images:
    """One to three pen strokes, white or grey, over an image."""
    grey = uniform(len(images), 0.4, 1.0, generator)
    return torch.maximum(images, grey * strokes(images, 1, 3, generator))


def _veiled(images: Images, _: Images, generator: torch.Generator) -> Images:
    """An image with two or three pen strokes shining through it."""
    return torch.lerp(images, strokes(images, 2, 3, generator), uniform(len(images), 0.3, 0.6, generator))


def _exchanged_coordinates(images: Images, others: Images, generator: torch.Generator) -> Images:
    """Half of the numbers, anywhere, from another sample."""
    return torch.where(torch.rand(images.shape, generator=generator) < 0.5, images, others)


def _independent_coordinates(images: Images, _: Images, generator: torch.Generator) -> Images:
    """Each number from a sample of its own."""
    return images.gather(0, torch.randint(len(images), images.shape, generator=generator))


MIRRORED = "mirrored"
JUDGED_KINDS: Mapping[str, StainMaker] = {
    "blobs": _blobs,
    "shuffled pixels": _shuffled,
    "overlays": _overlays,
    MIRRORED: _mirrored,
    "cut": _cut,
    "interpolations": _interpolations,
}
ROW_JUDGED_KINDS = frozenset({"shuffled pixels", "overlays", "interpolations"})
# How often each is shown, relative to the others: more often what is hard to tell from a member.
FITTING_SHARES: Mapping[StainMaker, float] = {
    _quarter_turns: 1.0,
    _mosaics: 1.0,
    _torn: 1.0,
    _exchanged_quarters: 0.5,
    _warped: 1.0,
    _scribbles: 0.5,
    _overdrawn: 2.0,
    _veiled: 2.0,
}
ROW_FITTING_SHARES: Mapping[StainMaker, float] = {_exchanged_coordinates: 1.0, _independent_coordinates: 1.0}

"""Each basin of an analysis in numbers, and the samples that are typical of it, with their states for pictures.

The numbers are those of `basin_statistics`; here they become part of the attractors of the results. The starts that are
nearest to an attractor look most like it; those that are farthest show how far its basin reaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from dynlab.attractors.statistics import BasinStatistics
from dynlab.evaluation.results import Attractor

MEMBERS = 3  # nearest starts that are named, and as many farthest ones
PICTURED = 30  # attractors whose typical members are kept as states, those with the largest basins


def with_statistics(attractors: Sequence[Attractor], found: BasinStatistics) -> list[Attractor]:
    """The attractors with what is known of their basins.

    Args:
        attractors: In the order of the statistics.
        found: Their statistics.

    Returns:
        The attractors; what is not known, such as the purity of a basin without classes, is None.

    Raises:
        ValueError: If there are more or fewer statistics than attractors.
    """
    if len(attractors) != len(found.sizes):
        raise ValueError(f"found is of {len(found.sizes)} attractors, expected {len(attractors)}")
    lows, highs = found.intervals.unbind(dim=1)
    return [
        replace(
            attractor,
            basin_interval=(float(lows[row]), float(highs[row])),
            class_counts={known: count for known, count in enumerate(found.class_counts[row].tolist()) if count},
            purity=_known(found.purities[row]),
            majority_class=majority if (majority := int(found.majority_classes[row])) >= 0 else None,
            median_steps=_known(found.median_steps[row]),
            slow_steps=_known(found.slow_steps[row]),
            nearest=_named(found.nearest[row]),
            farthest=_named(found.farthest[row]),
        )
        for row, attractor in enumerate(attractors)
    ]


def typical_members(
    found: BasinStatistics, images: Float[Tensor, "samples dim"]
) -> tuple[Int64[Tensor, " members"], Float32[Tensor, "members dim"]]:
    """The nearest and farthest starts of the largest basins, each once.

    Args:
        found: The statistics, by falling basin size.
        images: Where all samples started.

    Returns:
        Their indices, rising, and their states; on the CPU.
    """
    named = torch.cat([found.nearest[:PICTURED], found.farthest[:PICTURED]]).unique()
    samples = named[named >= 0]
    return samples, images[samples.to(images.device)].float().cpu()


def _known(value: Tensor) -> float | None:
    return None if math.isnan(float(value)) else float(value)


def _named(samples: Int64[Tensor, " members"]) -> list[int]:
    return samples[samples >= 0].tolist()

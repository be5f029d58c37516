"""Each basin of an analysis in numbers, and the samples that are typical of it, with their states for pictures.

The numbers are those of `basin_statistics`; here they become part of the attractors of the results. The starts that are
nearest to an attractor look most like it; those that are farthest show how far its basin reaches.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from dynlab.attractors.statistics import BasinStatistics
from dynlab.evaluation.numbers import finite_or_none

NAMED_STARTS = 3  # nearest starts that are named, and as many farthest ones
PICTURED = 30  # attractors whose typical members are kept as states, those with the largest basins


def basin_numbers(found: BasinStatistics, row: int) -> dict[str, Any]:
    """What `Attractor` has of a basin, by its names; what is not known, as the purity without classes, is None."""
    low, high = found.intervals[row].tolist()
    majority = int(found.majority_classes[row])
    return {
        "basin_interval": (low, high),
        "class_counts": {known: count for known, count in enumerate(found.class_counts[row].tolist()) if count},
        "purity": finite_or_none(float(found.purities[row])),
        "majority_class": majority if majority >= 0 else None,
        "median_steps": finite_or_none(float(found.median_steps[row])),
        "slow_steps": finite_or_none(float(found.slow_steps[row])),
        "nearest": _named(found.nearest[row]),
        "farthest": _named(found.farthest[row]),
    }


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


def _named(samples: Int64[Tensor, " members"]) -> list[int]:
    return samples[samples >= 0].tolist()

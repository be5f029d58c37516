"""What the samples of each basin say about its attractor: how large, how pure, how near, how fast.

A basin fraction is a share of a sample, and comes with the score interval of Wilson, which stays within [0, 1] and
holds for the small counts that most basins have. It is the interval of one fraction, not of all of them at once.

Source: Wilson 1927, Probable inference, the law of succession, and statistical inference; Manning, Raghavan and
Schuetze, Introduction to Information Retrieval, section 16.3 (purity).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from dynlab.attractors.basins import Basins
from dynlab.errors import check_count
from dynlab.short_repr import short_repr

if TYPE_CHECKING:
    import pandas as pd

_BLOCK_BYTES = 2**26  # of float64 states that are held at once


@dataclass(frozen=True)
class BasinStatistics:
    """Each basin in numbers, a row for each attractor in the order of `Basins`; on the CPU."""

    __repr__ = short_repr

    sizes: Int64[Tensor, " attractors"]
    fractions: Float64[Tensor, " attractors"]  # of all samples, those without an attractor included
    intervals: Float64[Tensor, "attractors 2"]  # ends of the 95% interval of the fraction
    class_counts: Int64[Tensor, "attractors classes"]  # members of each class; without classes no columns
    purities: Float64[Tensor, " attractors"]  # share of the majority class among members with a class; NaN without any
    majority_classes: Int64[Tensor, " attractors"]  # the smallest of equally large ones; -1 without any
    # The starts nearest to the fixed point and farthest from it, as indices in the data set, nearest or farthest first,
    # and their Euclidean distances to it. Smaller basins end in -1 and NaN.
    nearest: Int64[Tensor, "attractors members"]
    nearest_distances: Float64[Tensor, "attractors members"]
    farthest: Int64[Tensor, "attractors members"]
    farthest_distances: Float64[Tensor, "attractors members"]
    median_steps: Float64[Tensor, " attractors"]  # to converge, of members that did before the limit; NaN without any
    slow_steps: Float64[Tensor, " attractors"]  # the 90% quantile of them

    def to_frame(self) -> pd.DataFrame:
        """One row for each attractor, in pandas, which the extra `frames` installs.

        Columns are `attractor`, `size`, `fraction`, `low` and `high` end of its interval, `purity`, `majority_class`,
        `median_steps`, `slow_steps`, and `class_0`, `class_1` and so on, how many members have each class.
        """
        import pandas as pd

        columns = {
            "attractor": range(len(self.sizes)),
            "size": self.sizes.numpy(),
            "fraction": self.fractions.numpy(),
            "low": self.intervals[:, 0].numpy(),
            "high": self.intervals[:, 1].numpy(),
            "purity": self.purities.numpy(),
            "majority_class": self.majority_classes.numpy(),
            "median_steps": self.median_steps.numpy(),
            "slow_steps": self.slow_steps.numpy(),
        }
        for number, counts in enumerate(self.class_counts.T):
            columns[f"class_{number}"] = counts.numpy()
        return pd.DataFrame(columns)


def basin_statistics(
    basins: Basins,
    initial_states: Float[Tensor, "samples dim"],
    steps: Int64[Tensor, " samples"],
    classes: Int64[Tensor, " samples"] | None = None,
    members: int = 5,
) -> BasinStatistics:
    """Statistics of each basin.

    Args:
        basins: The basins.
        initial_states: Where the samples of `basins` started, in their order.
        steps: Steps each sample took to converge, as in `Orbits.steps`; -1 where the limit came first.
        classes: Class of each sample from 0, -1 for none.
        members: How many nearest and farthest starts to name, at least 1.

    Returns:
        The statistics; quantiles interpolate linearly, equal distances are in the order of the samples.

    Raises:
        ValueError: If arguments do not fit the basins, or are out of their range.
    """
    _check(basins, initial_states, steps, classes, members)
    sizes = basins.sizes
    count = len(sizes)
    trials = torch.full_like(sizes, len(basins.labels))
    counts = _class_counts(basins.labels, classes, count)
    classified = counts.sum(dim=1)
    has_class = classified > 0
    largest, majority = counts.max(dim=1) if counts.shape[1] else (torch.zeros_like(sizes), torch.zeros_like(sizes))
    distances = _distances(basins, initial_states)
    nearest = torch.full((count, members), -1)
    farthest = nearest.clone()
    nearest_distances = torch.full((count, members), torch.nan, dtype=torch.float64)
    farthest_distances = nearest_distances.clone()
    quantiles = torch.full((count, 2), torch.nan, dtype=torch.float64)
    # Sorted by label, the members of each basin are one slice, after the samples that have none.
    by_label = basins.labels.argsort(stable=True)
    for row, rows in enumerate(by_label[len(by_label) - int(sizes.sum()) :].split(sizes.tolist())):
        for descending, indices, lengths in (
            (False, nearest, nearest_distances),
            (True, farthest, farthest_distances),
        ):
            chosen = rows[distances[rows].argsort(descending=descending, stable=True)[:members]]
            indices[row, : len(chosen)] = basins.samples[chosen]
            lengths[row, : len(chosen)] = distances[chosen]
        taken = steps[rows.to(steps.device)].cpu().double()
        taken = taken[taken >= 0]
        if len(taken):
            quantiles[row] = taken.quantile(torch.tensor([0.5, 0.9], dtype=torch.float64))
    return BasinStatistics(
        sizes=sizes,
        fractions=basins.fractions,
        intervals=wilson_interval(sizes, trials),
        class_counts=counts,
        purities=torch.where(has_class, largest.double() / classified, torch.nan),
        majority_classes=torch.where(has_class, majority, -1),
        nearest=nearest,
        nearest_distances=nearest_distances,
        farthest=farthest,
        farthest_distances=farthest_distances,
        median_steps=quantiles[:, 0],
        slow_steps=quantiles[:, 1],
    )


def wilson_interval(
    successes: Int64[Tensor, " rows"], trials: Int64[Tensor, " rows"], confidence: float = 0.95
) -> Float64[Tensor, "rows 2"]:
    """Score interval of a share, from a count: all shares that a test would not reject.

    Args:
        successes: How often it was seen, from 0 to `trials`.
        trials: Of how many; of none the interval is that from 0 to 1.
        confidence: Probability that the interval covers the share, above 0 and below 1.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected above 0 and below 1")
    if bool(((successes < 0) | (successes > trials)).any()):
        raise ValueError("successes is out of its range, expected 0 to trials in each row")
    square = float(torch.special.ndtri(torch.tensor((1 + confidence) / 2, dtype=torch.float64))) ** 2
    seen, of = successes.double(), trials.double()
    half = (square * (seen * (of - seen) / of.clamp(min=1.0) + square / 4)).sqrt()
    ends = torch.stack([seen + square / 2 - half, seen + square / 2 + half], dim=1) / (of + square)[:, None]
    # Exact ends, which rounding would put a little inside or outside.
    ends[successes == 0, 0] = 0.0
    ends[successes == trials, 1] = 1.0
    return ends


def _check(basins: Basins, states: Tensor, steps: Tensor, classes: Tensor | None, members: int) -> None:
    count, dim = len(basins.labels), basins.fixed_points.shape[1]
    if states.shape != (count, dim):
        raise ValueError(f"initial_states has shape {tuple(states.shape)}, expected {(count, dim)}, that of the basins")
    for name, array in (("steps", steps), ("classes", classes)):
        if array is None:
            continue
        if array.shape != (count,):
            raise ValueError(f"{name} has shape {tuple(array.shape)}, expected {(count,)}, the samples of the basins")
        if bool((array < -1).any()):
            raise ValueError(f"{name} has {int(array.min())}, expected -1 or more")
    check_count("members", members, 1)


def _class_counts(labels: Tensor, classes: Tensor | None, attractors: int) -> Tensor:
    if classes is None:
        return torch.zeros(attractors, 0, dtype=torch.int64)
    classes = classes.cpu()
    width = int(classes.max()) + 1 if len(classes) else 0
    counted = (labels >= 0) & (classes >= 0)
    cells = labels[counted] * width + classes[counted]
    return torch.bincount(cells, minlength=attractors * width).reshape(attractors, width)


def _distances(basins: Basins, states: Tensor) -> Tensor:
    """Distance of each start to its fixed point, NaN where there is none."""
    distances = torch.full((len(states),), torch.nan, dtype=torch.float64)
    for rows in (basins.labels >= 0).nonzero()[:, 0].split(max(1, _BLOCK_BYTES // (8 * states.shape[1]))):
        starts = states[rows.to(states.device)].cpu().double()
        distances[rows] = torch.linalg.vector_norm(starts - basins.fixed_points[basins.labels[rows]], dim=1)
    return distances

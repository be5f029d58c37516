"""Attractors along a parameter: branches, their basins at each level, and where they begin and end.

A *level* is one value of the parameter, a *branch* the attractors of consecutive levels that are one and the same
attractor as it moves. `dynlab.attractors.following.follow` says when they are.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from dynlab.attractors.basins import Basins
from dynlab.attractors.cycles import cycle_arrays, cycles_of_arrays
from dynlab.attractors.statistics import wilson_interval
from dynlab.errors import InputError
from dynlab.files import read_tensors, write_tensors
from dynlab.short_repr import short_repr

if TYPE_CHECKING:
    import pandas as pd

KIND = "followed-attractors"
EVENT_COLUMNS = ("level", "value", "change", "branch", "other", "share")


class Change(StrEnum):
    """How a branch begins or ends between two levels; `follow_attractors` says exactly when which is said."""

    APPEARED = "appeared"  # it begins, and where no branch can be named
    SPLIT = "split"  # it begins, in what was the basin of another branch
    MERGED = "merged"  # it ends, and its basin becomes part of that of another branch
    DISAPPEARED = "disappeared"  # it ends, and no branch takes its place


_CHANGES = list(Change)
_BEGINNINGS = (Change.APPEARED, Change.SPLIT)
_NAMED = (Change.SPLIT, Change.MERGED)  # changes that have another branch


@dataclass(frozen=True)
class Event:
    """A branch that begins or ends."""

    change: Change
    level: int  # index of the level at which it is first seen, at least 1
    branch: int  # the branch that appeared, split off, merged or disappeared
    other: int  # the branch it split off from or merged into, -1 for none
    share: float  # share of its basin's samples that came from, or went to, `other`; NaN where there is none to tell


@dataclass(frozen=True)
class Followed:
    """Attractors at each level of a parameter, and which of them are one branch.

    Branches are numbered from 0 by their first level, then by falling basin size there. Each has an attractor at every
    level from its first to its last one.
    """

    __repr__ = short_repr

    parameter: str  # what it is called
    levels: Float64[Tensor, " levels"]  # its values, at least two, strictly rising or strictly falling
    basins: list[Basins]  # of each level; attractors that no sample reaches come last, and cycles are in no branch
    branches: list[Int64[Tensor, " _attractors"]]  # for each level, the branch of each attractor
    events: list[Event]  # by level, then branch
    share: float  # of a basin's samples that had to go one way for a branch to have merged or split, from 0 to 1

    @property
    def branch_count(self) -> int:
        """How many branches there are."""
        return 1 + max((int(branches.max()) for branches in self.branches if len(branches)), default=-1)

    @property
    def sizes(self) -> Int64[Tensor, "levels branches"]:
        """Samples in the basin of each branch at each level, -1 where the branch does not exist."""
        sizes = torch.full((len(self.levels), self.branch_count), -1)
        for row, basins, branches in zip(sizes, self.basins, self.branches, strict=True):
            row[branches] = basins.sizes
        return sizes

    @property
    def fractions(self) -> Float64[Tensor, "levels branches"]:
        """Basin fraction of each branch at each level: 0 where no sample reaches it, NaN where it does not exist."""
        sizes = self.sizes
        samples = max(1, len(self.basins[0].labels))
        return torch.where(sizes >= 0, sizes.double() / samples, torch.nan)

    @property
    def first_levels(self) -> Int64[Tensor, " branches"]:
        """Index of the first level at which each branch exists."""
        return (self.sizes >= 0).int().argmax(dim=0)

    @property
    def last_levels(self) -> Int64[Tensor, " branches"]:
        """Index of the last level at which each branch exists."""
        return len(self.levels) - 1 - (self.sizes >= 0).flip(0).int().argmax(dim=0)

    def states_of(self, branch: int) -> tuple[Int64[Tensor, " found"], Float64[Tensor, "found dim"]]:
        """Where a branch is: indices of the levels at which it exists, rising, and its fixed point at each.

        Raises:
            ValueError: If there is no such branch.
        """
        if not 0 <= branch < self.branch_count:
            raise ValueError(f"branch is {branch}, expected from 0 to below {self.branch_count}")
        rows = [basins.fixed_points[of == branch] for basins, of in zip(self.basins, self.branches, strict=True)]
        return torch.tensor([level for level, found in enumerate(rows) if len(found)]), torch.cat(rows)

    def attractor_columns(self) -> dict[str, Tensor]:
        """The columns of `to_frame` by name, each of shape (attractors of all levels,)."""
        counts = torch.tensor([len(branches) for branches in self.branches])
        sizes = torch.cat([basins.sizes for basins in self.basins])
        ends = wilson_interval(sizes, torch.full_like(sizes, len(self.basins[0].labels)))
        return {
            "level": torch.arange(len(counts)).repeat_interleave(counts),
            "value": self.levels.repeat_interleave(counts),
            "branch": torch.cat(self.branches),
            "attractor": torch.cat([torch.arange(count) for count in counts.tolist()]),
            "basin_size": sizes,
            "fraction": torch.cat([basins.fractions for basins in self.basins]),
            "low": ends[:, 0],
            "high": ends[:, 1],
            "spectral_radius": torch.cat([basins.spectral_radii for basins in self.basins]),
        }

    def to_frame(self) -> pd.DataFrame:
        """One row for each attractor of each level, in pandas, which the extra `frames` installs.

        Columns are `level` (its index), `value` (of the parameter), `branch`, `attractor` (its row in the basins of the
        level), `basin_size`, `fraction`, `low` and `high` (95% interval of the fraction, Wilson's), `spectral_radius`.
        """
        import pandas as pd

        return pd.DataFrame({name: column.numpy() for name, column in self.attractor_columns().items()})

    def event_rows(self) -> list[tuple[int, float, str, int, int, float]]:
        """The rows of `events_frame`."""
        values: list[float] = self.levels.tolist()
        return [
            (event.level, values[event.level], event.change.value, event.branch, event.other, event.share)
            for event in self.events
        ]

    def events_frame(self) -> pd.DataFrame:
        """One row for each event, in pandas, which the extra `frames` installs.

        Columns are `level` (its index), `value` (of the parameter there), `change`, `branch`, `other` and `share`.
        """
        import pandas as pd

        return pd.DataFrame(self.event_rows(), columns=list(EVENT_COLUMNS))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, which `load` reads back without loss.

        Raises:
            InputError: If `path` cannot be written.
        """
        widths = [basins.multipliers.shape[1] for basins in self.basins]
        arrays = {
            "levels": self.levels,
            "attractors": torch.tensor([len(branches) for branches in self.branches]),
            "branches": torch.cat(self.branches),
            "fixed_points": torch.cat([basins.fixed_points for basins in self.basins]),
            "residuals": torch.cat([basins.residuals for basins in self.basins]),
            "leading": torch.tensor(widths),
            # safetensors holds no complex128.
            "multipliers": torch.cat(
                [
                    torch.nn.functional.pad(
                        torch.view_as_real(basins.multipliers), (0, 0, 0, max(widths) - width), value=torch.nan
                    )
                    for basins, width in zip(self.basins, widths, strict=True)
                ]
            ),
            "labels": torch.stack([basins.labels for basins in self.basins]),
            "samples": self.basins[0].samples,
            "events": torch.tensor(
                [(_CHANGES.index(one.change), one.level, one.branch, one.other) for one in self.events],
                dtype=torch.int64,
            ).reshape(-1, 4),
            "shares": torch.tensor([one.share for one in self.events], dtype=torch.float64),
        }
        for level, basins in enumerate(self.basins):
            if basins.cycles:
                found = cycle_arrays(basins.cycles, basins.cycle_labels, basins.fixed_points.shape[1])
                arrays |= {f"{level}.{name}": array for name, array in found.items()}
        maps = json.dumps([basins.map_sha256 for basins in self.basins])
        metadata = {"kind": KIND, "parameter": self.parameter, "share": repr(self.share), "map_sha256": maps}
        write_tensors(Path(path), arrays, metadata)

    @staticmethod
    def load(path: str | Path) -> Followed:
        """Read it back.

        Raises:
            InputError: If the file is missing, damaged or of another kind, or what it holds does not fit together.
        """
        path = Path(path)
        arrays, metadata = read_tensors(path)
        if metadata.get("kind") != KIND:
            raise InputError(f"{path}: holds no followed attractors")
        try:
            followed = _from_arrays(arrays, metadata)
            fits = _fits_together(followed)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: not a file of followed attractors that dynlab wrote") from error
        if not fits:
            raise InputError(f"{path}: the arrays of these followed attractors do not fit together")
        return followed


def _from_arrays(arrays: dict[str, Tensor], metadata: dict[str, str]) -> Followed:
    """What the arrays of a file hold; raises whatever Python and torch raise where they are others."""
    integers = ("attractors", "branches", "leading", "labels", "samples", "events")
    numbers = ("levels", "fixed_points", "residuals", "multipliers", "shares")
    if any(arrays[name].dtype != torch.int64 for name in integers):
        raise TypeError("expected integers")
    if any(arrays[name].dtype != torch.float64 for name in numbers):
        raise TypeError("expected float64")
    counts, widths, maps = arrays["attractors"].tolist(), arrays["leading"].tolist(), json.loads(metadata["map_sha256"])
    if not (isinstance(maps, list) and all(isinstance(one, str) for one in maps)):
        raise TypeError("expected hashes of maps")
    if not (min(widths) >= 1 and max(widths) == arrays["multipliers"].shape[1]):
        raise ValueError("expected at least one multiplier, and all of them")
    if not len(arrays["levels"]) == len(counts) == len(widths) == len(maps) == len(arrays["labels"]):
        raise ValueError("expected as much of each as there are levels")
    dim = arrays["fixed_points"].shape[1]
    parts = [arrays[name].split(counts) for name in ("fixed_points", "residuals", "multipliers")]
    basins = []
    for level, (points, residuals, multipliers) in enumerate(zip(*parts, strict=True)):
        labels, width = arrays["labels"][level], widths[level]
        prefix = f"{level}."
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        cycles, members = cycles_of_arrays(own, dim, labels)
        spectra = torch.view_as_complex(multipliers[:, :width].contiguous())
        basins.append(
            Basins(maps[level], points, residuals, spectra, labels, arrays["samples"], cycles=cycles, members=members)
        )
    events = [
        Event(_CHANGES[change], level, branch, other, share)
        for (change, level, branch, other), share in zip(
            arrays["events"].tolist(), arrays["shares"].tolist(), strict=True
        )
    ]
    return Followed(
        parameter=metadata["parameter"],
        levels=arrays["levels"],
        basins=basins,
        branches=list(arrays["branches"].split(counts)),
        events=events,
        share=float(metadata["share"]),
    )


def _fits_together(followed: Followed) -> bool:
    steps, count = followed.levels.diff(), len(followed.levels)
    return (
        followed.levels.ndim == 1
        and count == len(followed.basins) == len(followed.branches) >= 2
        and bool(followed.levels.isfinite().all() and ((steps > 0).all() or (steps < 0).all()))
        and all(_are_sound(basins) for basins in followed.basins)
        and all(
            one.shape == (len(basins.residuals),)
            for one, basins in zip(followed.branches, followed.basins, strict=True)
        )
        and _branches_are_sound(followed)
        and _events_are_sound(followed)
        and 0 <= followed.share <= 1
    )


def _are_sound(basins: Basins) -> bool:
    points, labels, samples = basins.fixed_points, basins.labels, basins.samples
    return (
        (points.ndim, labels.ndim, basins.multipliers.ndim) == (2, 1, 2)
        and basins.residuals.shape == (len(points),)
        and len(basins.multipliers) == len(points)
        and labels.shape == samples.shape
        and bool(((labels >= -1) & (labels < len(points))).all())
        and bool((samples >= 0).all() and (samples.diff() > 0).all())
        and bool(points.isfinite().all() and basins.residuals.isfinite().all() and (basins.residuals >= 0).all())
        and bool(basins.multipliers[:, :1].isfinite().all())
    )


def _branches_are_sound(followed: Followed) -> bool:
    """Whether each branch is one run of levels, once at each, and new ones are numbered as they come."""
    seen = 0
    before: set[int] = set()
    for branches in followed.branches:
        found = branches.tolist()
        new = [branch for branch in found if branch not in before]
        if len(set(found)) < len(found) or new != list(range(seen, seen + len(new))):
            return False
        seen, before = seen + len(new), set(found)
    return True


def _events_are_sound(followed: Followed) -> bool:
    """Whether there is an event for each branch that begins or ends between two levels, and no other one."""
    expected = set()
    for level, (before, after) in enumerate(pairwise(set(row.tolist()) for row in followed.branches), start=1):
        expected |= {(level, branch, True) for branch in after - before}
        expected |= {(level, branch, False) for branch in before - after}
    found = [(event.level, event.branch, event.change in _BEGINNINGS) for event in followed.events]
    return (
        found == sorted(expected)
        and all((event.other >= 0) == (event.change in _NAMED) for event in followed.events)
        and all(event.other < followed.branch_count for event in followed.events)
        and all(math.isnan(event.share) or 0 <= event.share <= 1 for event in followed.events)
    )

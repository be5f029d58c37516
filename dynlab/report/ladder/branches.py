"""Branches of followed attractors with all that the page says of each: where it is, what it is, how large its basin is.

What a branch is may change from level to level. As a whole it is called what it is for the most samples.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch

from dynlab.attractors.following.followed import Change, Event, Followed
from dynlab.attractors.statistics import wilson_interval
from dynlab.evaluation.followed_kinds import FollowedKinds
from dynlab.evaluation.kinds import Kind
from dynlab.report.words import kind_words, percent


@dataclass(frozen=True)
class BranchAtLevel:
    """A branch at one level."""

    level: int  # its index
    attractor: int  # row in the basins of the level
    kind: Kind
    label: int | None  # class of a prototype
    size: int  # samples in the basin
    fraction: float
    low: float  # ends of the fraction's 95% interval
    high: float

    @property
    def what(self) -> tuple[Kind, int | None]:
        """Its kind and class."""
        return self.kind, self.label

    @property
    def words(self) -> str:
        """What it is."""
        return kind_words(self.kind, self.label)

    @property
    def share(self) -> str:
        """Its basin fraction with the interval."""
        return f"{percent(self.fraction)} of samples, 95% interval {percent(self.low)} to {percent(self.high)}"


@dataclass(frozen=True)
class BranchView:
    """One attractor along the levels."""

    number: int
    stages: list[BranchAtLevel]  # at consecutive levels, at least one

    @property
    def first(self) -> int:
        """Index of the first level at which it exists."""
        return self.stages[0].level

    @property
    def last(self) -> int:
        """Index of the last one."""
        return self.stages[-1].level

    @property
    def most(self) -> float:
        """Its largest basin fraction."""
        return max(stage.fraction for stage in self.stages)

    @property
    def kind(self) -> tuple[Kind, int | None]:
        """Kind and class that it has for the most samples over all levels; without samples, for the most levels."""
        votes: Counter[tuple[Kind, int | None]] = Counter()
        reached = any(stage.size for stage in self.stages)
        for stage in self.stages:
            votes[stage.what] += stage.size if reached else 1
        return votes.most_common(1)[0][0]

    @property
    def words(self) -> str:
        """Its number, and what it is."""
        return f"branch {self.number} ({kind_words(*self.kind)})"

    def at(self, level: int) -> BranchAtLevel | None:
        """Where it is at the level of that index, if it exists there."""
        return self.stages[level - self.first] if self.first <= level <= self.last else None


def branches_of(followed: Followed, kinds: FollowedKinds) -> list[BranchView]:
    """All branches, by number.

    Raises:
        ValueError: If `kinds` is not that of the attractors followed.
    """
    expected = [len(branches) for branches in followed.branches]
    if [len(row) for row in kinds.kinds] != expected or [len(row) for row in kinds.classes] != expected:
        raise ValueError(f"kinds are of {[len(row) for row in kinds.kinds]} attractors, expected {expected}")
    stages: list[list[BranchAtLevel]] = [[] for _ in range(followed.branch_count)]
    for level, (basins, branches) in enumerate(zip(followed.basins, followed.branches, strict=True)):
        sizes, fractions = basins.sizes, basins.fractions.tolist()
        intervals = wilson_interval(sizes, torch.full_like(sizes, len(basins.labels))).tolist()
        for attractor, (branch, size) in enumerate(zip(branches.tolist(), sizes.tolist(), strict=True)):
            what = kinds.kinds[level][attractor], kinds.classes[level][attractor]
            stages[branch].append(
                BranchAtLevel(level, attractor, *what, size, fractions[attractor], *intervals[attractor])
            )
    return [BranchView(number, found) for number, found in enumerate(stages)]


def largest_first(branches: list[BranchView]) -> list[BranchView]:
    """By falling largest basin fraction."""
    return sorted(branches, key=lambda branch: (-branch.most, branch.number))


def level_words(followed: Followed) -> list[str]:
    """The levels as text, with as many digits as tell them apart, three at least."""
    digits = level_digits(followed)
    return [f"{level:.{digits}g}" for level in followed.levels.tolist()]


def level_digits(followed: Followed) -> int:
    """How many significant digits tell the levels apart, three at least."""
    levels: list[float] = followed.levels.tolist()
    distinct = (digits for digits in range(3, 17) if len({f"{level:.{digits}g}" for level in levels}) == len(levels))
    return next(distinct, 17)


CHANGE_WORDS = {
    Change.APPEARED: "appeared",
    Change.SPLIT: "split off",
    Change.MERGED: "merged into",
    Change.DISAPPEARED: "disappeared",
}


def stages_of(event: Event, branches: list[BranchView]) -> tuple[BranchAtLevel, BranchAtLevel | None]:
    """The branch of an event where it begins or ends, and the other one, if there is one, at the level beside that.

    What split off did so from what there was before, and what merged did so into what there is now.
    """
    stages = branches[event.branch].stages
    begins = event.change in (Change.APPEARED, Change.SPLIT)
    other = branches[event.other].at(event.level - 1 if begins else event.level) if event.other >= 0 else None
    return stages[0] if begins else stages[-1], other


def event_words(event: Event, branches: list[BranchView]) -> str:
    """What happened to which branch, and what its samples did, in a sentence without its place."""
    stage, other = stages_of(event, branches)
    happened = f"branch {event.branch} ({stage.words}) {CHANGE_WORDS[event.change]}"
    if other is None:
        return happened
    shared = "" if event.share != event.share else f", with {percent(event.share)} of its samples"
    return f"{happened} branch {event.other} ({other.words}){shared}"

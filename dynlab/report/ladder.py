"""What the page says of followed attractors beside the figure of bands: a summary, tables, and films of branches."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import torch

from dynlab.attractors.followed import Change, Event, Followed
from dynlab.evaluation.kinds import Kind
from dynlab.report.branches import CHANGE_WORDS, Branch, Stage, largest_first, level_words
from dynlab.report.gallery import Mark, kind_mark
from dynlab.report.pictures import Screen
from dynlab.report.stacking import Bands
from dynlab.report.words import number, percent

FILMS = 16  # branches, those with the largest fractions
SHOWN = 12  # events that are shown at once, those of the largest basins
FOLDED = 300  # events that can be unfolded, the first ones
TRAINED = "corruption level"  # the parameter along which maps are trained, not given
_ROUNDING = 1e-6  # by which a state may leave [0, 1]


@dataclass(frozen=True)
class Key:
    """An entry of the figure's key."""

    name: str
    sign: str
    colour: str
    patterned: bool
    branches: int  # 0 where that says nothing
    shares: str  # of the samples, at the first and the last level; of one branch, the largest one


@dataclass(frozen=True)
class Rung:
    """One level in numbers."""

    level: str
    attractors: int
    unsampled: int  # of these: no sample reaches them, attractors of neighbouring levels led to them
    continued: int | None  # attractors that came from the level before
    changes: list[int] | None  # events between the level before and this one, in the order of `Change`
    no_fixed_point: float  # share of the samples that reach none


@dataclass(frozen=True)
class Sight:
    """A branch at one level, as a small picture with its mark."""

    source: str
    mark: Mark
    note: str
    words: str  # what a reader who cannot see the picture is told


@dataclass(frozen=True)
class EventRow:
    """One event in the table."""

    between: str
    branch: Sight
    change: str
    other: Sight | None
    share: str


@dataclass(frozen=True)
class BranchFilm:
    """A branch at each level; None where it does not exist."""

    frames: list[Sight | None]
    mark: Mark
    caption: str


def ladder_words(followed: Followed, branches: list[Branch]) -> list[str]:
    """How many branches live through all levels, and how many events of each kind there are."""
    levels = len(followed.levels)
    through = [branch for branch in branches if len(branch.stages) == levels]
    changes = Counter(event.change for event in followed.events)
    samples = max(1, len(followed.basins[0].labels))
    shares = [percent(sum(branch.stages[row].size for branch in through) / samples) for row in (0, -1)]
    lives = f"{number(len(through))} {'lives' if len(through) == 1 else 'live'} through all levels"
    happened = (
        f"Between levels {number(changes[Change.APPEARED])} appeared, {number(changes[Change.SPLIT])} split off "
        f"another one, {number(changes[Change.MERGED])} merged into another one and "
        f"{number(changes[Change.DISAPPEARED])} disappeared."
    )
    return [
        (
            f"From {_ends(followed)}, over {number(levels)} levels, there {'is' if len(branches) == 1 else 'are'} "
            f"{_count(len(branches))}: attractors as they move from one level to the next."
        ),
        f"{lives}{f', with {shares[0]} of the samples at the first and {shares[1]} at the last' if through else ''}.",
        happened if changes else "No branch begins or ends in between.",
    ]


def noise_words(followed: Followed, control: Followed | None) -> str:
    """How much of what happened may be noise of training; empty where the maps were not trained along the levels.

    Args:
        followed: The attractors along the levels.
        control: Attractors followed from the map of one of the levels, but the last, to one that was trained on from it
            like the next level, without a change of the level.

    Raises:
        ValueError: If `control` is not of two maps, the first of them that of a level before the last.
    """
    if control is None:
        if followed.parameter != TRAINED:
            return ""
        return (
            "Each level was trained on from the one before, so every change holds noise of training as well: some of "
            "these events would come about at an unchanged level, too."
        )
    maps = [basins.map_sha256 for basins in followed.basins[:-1]]
    start = control.basins[0].map_sha256
    if start not in maps or len(control.levels) != 2:
        raise ValueError("control begins with no map of a level before the last, expected two maps, one of these first")
    row = maps.index(start)
    between = sum(event.level == row + 1 for event in followed.events)
    unchanged, before, after = len(control.events), *level_words(followed)[row : row + 2]
    verb = "begins or ends" if unchanged == 1 else "begin or end"
    return (
        "Each level was trained on from the one before, so every change holds noise of training as well. How much: "
        f"trained on for as long at the unchanged level {before}, {_count(unchanged)} {verb}; between {before} and "
        f"{after} it is {number(between)}."
    )


def _count(branches: int) -> str:
    return f"{number(branches)} {'branch' if branches == 1 else 'branches'}"


def bands_words(followed: Followed, bands: Bands) -> str:
    """The largest groups at both ends, for a reader who cannot see the figure."""
    keys = keys_of(bands)
    return (
        f"Basin fractions as stacked bands over the {followed.parameter}, {_ends(followed)}; shares of the samples at "
        f"both ends: {'; '.join(f'{key.name} {key.shares}' for key in keys)}."
    )


def keys_of(bands: Bands) -> list[Key]:
    """The key of the figure, from the bottom up."""
    keys, first = [], 0
    for group in bands.groups:
        end = first + len(group.branches)
        shares, counted = _shares(bands, first, end), len(group.branches)
        if group.branches[0].kind[0] is Kind.UNKNOWN:
            shares, counted = f"up to {percent(group.branches[0].most)}", 0
        keys.append(Key(group.name, group.sign, group.colour, bool(group.pattern), counted, shares))
        first = end
    if bands.rest:
        keys.append(Key("smaller branches", "", "rule", False, len(bands.rest), _shares(bands, first, first + 1)))
    if bool((bands.edges[:, -2] < 1 - _ROUNDING).any()):
        keys.append(Key("no fixed point", "", "unresolved", True, 0, _shares(bands, first + 1, first + 2)))
    return keys


def rungs_of(followed: Followed, branches: list[Branch]) -> list[Rung]:
    """Each level in numbers."""
    rungs = []
    for row, (level, basins) in enumerate(zip(level_words(followed), followed.basins, strict=True)):
        changes = Counter(event.change for event in followed.events if event.level == row)
        rungs.append(
            Rung(
                level=level,
                attractors=len(basins.fixed_points),
                unsampled=int((basins.sizes == 0).sum()),
                continued=sum(branch.first < row <= branch.last for branch in branches) if row else None,
                changes=[changes[change] for change in Change] if row else None,
                no_fixed_point=int((basins.labels < 0).sum()) / max(1, len(basins.labels)),
            )
        )
    return rungs


def event_rows(
    followed: Followed, branches: list[Branch], screen: Screen
) -> tuple[list[EventRow], list[EventRow], int]:
    """Events of the largest basins, by level; all others that can be unfolded; and how many are left out.

    Where there are few, all are shown at once.
    """
    events = followed.events
    ranked = sorted(range(len(events)), key=lambda row: (-_beside(events[row], branches).fraction, row))
    at_once = sorted(ranked[:SHOWN])
    folded = sorted(ranked[SHOWN : SHOWN + FOLDED])
    shown, others = (
        [_event_row(events[row], followed, branches, screen) for row in rows] for rows in (at_once, folded)
    )
    return shown, others, len(events) - len(shown) - len(others)


def branch_films(followed: Followed, branches: list[Branch], screen: Screen) -> list[BranchFilm]:
    """The branches with the largest basin fractions, as they look at each level."""
    films = []
    for branch in largest_first(branches)[:FILMS]:
        frames: list[Sight | None] = [None] * len(followed.levels)
        for stage in branch.stages:
            frames[stage.level] = _sight(branch, stage, followed, screen)
        caption = f"branch {branch.number}, up to {percent(branch.most)}"
        films.append(BranchFilm(frames, kind_mark(*branch.kind), caption))
    return films


def fitted(screen: Screen, followed: Followed) -> Screen:
    """The screen with black and white fitted to the states that were followed, as `dynlab.report.pictures` does it."""
    states = torch.cat([basins.fixed_points for basins in followed.basins])
    if not states.numel():
        return replace(screen, low=0.0, high=1.0)
    low, high = float(states.min()), float(states.max())
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        low, high = 0.0, 1.0
    return replace(screen, low=low, high=high)


def _ends(followed: Followed) -> str:
    levels = level_words(followed)
    return f"{followed.parameter} {levels[0]} to {levels[-1]}"


def _shares(bands: Bands, first: int, end: int) -> str:
    return " → ".join(percent(round(float(bands.edges[row, end] - bands.edges[row, first]), 9)) for row in (0, -1))


def _beside(event: Event, branches: list[Branch]) -> Stage:
    """The branch of an event where it begins or ends."""
    stages = branches[event.branch].stages
    return stages[0] if event.change in (Change.APPEARED, Change.SPLIT) else stages[-1]


def _event_row(event: Event, followed: Followed, branches: list[Branch], screen: Screen) -> EventRow:
    before, after = level_words(followed)[event.level - 1 : event.level + 1]
    other = None
    if event.other >= 0:
        # The branch split off what there was before, and merged into what there is now.
        stage = branches[event.other].at(event.level - 1 if event.change is Change.SPLIT else event.level)
        other = None if stage is None else _sight(branches[event.other], stage, followed, screen)
    return EventRow(
        between=f"{before} → {after}",
        branch=_sight(branches[event.branch], _beside(event, branches), followed, screen),
        change=CHANGE_WORDS[event.change],
        other=other,
        share="–" if math.isnan(event.share) else percent(event.share),
    )


def _sight(branch: Branch, stage: Stage, followed: Followed, screen: Screen) -> Sight:
    return Sight(
        source=screen.picture(followed.basins[stage.level].fixed_points[stage.attractor]),
        mark=kind_mark(stage.kind, stage.label),
        note=f"{branch.number} ({percent(stage.fraction)})",
        words=f"Branch {branch.number} at {level_words(followed)[stage.level]}: {stage.words}, {stage.share}",
    )

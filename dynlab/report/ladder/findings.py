"""What the page says of followed attractors beside the figure of bands: a summary, tables, and films of branches."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from dynlab.attractors.following.followed import Change, Event, Followed
from dynlab.evaluation.kinds import Kind
from dynlab.report.gallery import Mark, kind_mark
from dynlab.report.ladder.branches import CHANGE_WORDS, BranchAtLevel, BranchView, largest_first, level_words, stages_of
from dynlab.report.ladder.stacking import Bands
from dynlab.report.pictures import Screen
from dynlab.report.words import count, number, percent

FILMS = 16  # branches, those with the largest fractions
SHOWN = 12  # events that are shown at once, those of the largest basins
FOLDED = 300  # events that can be unfolded, the first ones
TRAINED = "corruption level"  # the parameter along which maps are trained, not given
_ROUNDING = 1e-6  # share of samples that is nothing but rounding


@dataclass(frozen=True)
class BandKey:
    """An entry of the figure's key."""

    name: str
    sign: str
    colour: str  # "" where no band has it
    patterned: bool
    shares: str  # of the samples, at the first and the last level; of one branch, the largest one
    note: str  # how many bands or branches that is, "" where that says nothing


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

    @property
    def changes(self) -> bool:
        """Whether it is something else at some level."""
        return any(frame is not None and frame.mark != self.mark for frame in self.frames)


def ladder_words(followed: Followed, branches: list[BranchView]) -> list[str]:
    """How many branches live through all levels, and how many events of each kind there are."""
    levels = len(followed.levels)
    opening = f"From {_ends(followed)}, over {number(levels)} levels, there"
    if not branches:
        return [f"{opening} are 0 branches: no attractor that is a fixed point was found at any of them."]
    through = [branch for branch in branches if len(branch.stages) == levels]
    changes = Counter(event.change for event in followed.events)
    lives = (
        f"{number(len(through)) if through else 'None'} {'live' if len(through) > 1 else 'lives'} through all levels"
    )
    if through and (samples := len(followed.basins[0].labels)):
        shares = [percent(sum(branch.stages[row].size for branch in through) / samples) for row in (0, -1)]
        lives += f", with {shares[0]} of the samples at the first and {shares[1]} at the last"
    happened = (
        f"Between levels {number(changes[Change.APPEARED])} appeared, {number(changes[Change.SPLIT])} split off "
        f"another one, {number(changes[Change.MERGED])} merged into another one and "
        f"{number(changes[Change.DISAPPEARED])} disappeared."
    )
    return [
        (
            f"{opening} {'is' if len(branches) == 1 else 'are'} {count(len(branches), 'branch')}: attractors as they "
            "move from one level to the next."
        ),
        f"{lives}.",
        happened if changes else "No branch begins or ends in between.",
    ]


def noise_words(followed: Followed, control: Followed | None, trained: str = "") -> str:
    """How much of what happened may be noise of training; empty where the maps were not trained along the levels.

    Args:
        followed: The attractors along the levels.
        control: Attractors followed from the map of one of the levels, but the last, to one that was trained on from it
            like the next level, without a change of the level.
        trained: How each level was trained on, where that is known.

    Raises:
        ValueError: If `control` is not of two maps, the first of them that of a level before the last.
    """
    opening = (
        f"Each level was trained on from the one before{trained and f', {trained}'}, so every change holds noise of"
    )
    if control is None:
        if followed.parameter != TRAINED:
            return ""
        some = ": some of these events would come about at an unchanged level, too" if followed.events else ""
        return f"{opening} training as well{some}."
    maps = [basins.map_sha256 for basins in followed.basins[:-1]]
    start = control.basins[0].map_sha256
    if start not in maps or len(control.levels) != 2:
        raise ValueError("control begins with no map of a level before the last, expected two maps, one of these first")
    row = maps.index(start)
    between = sum(event.level == row + 1 for event in followed.events)
    unchanged, before, after = len(control.events), *level_words(followed)[row : row + 2]
    happened = f"{count(unchanged, 'branch')} begin or end" if unchanged else "no branch begins or ends"
    if unchanged == 1:
        happened = "1 branch begins or ends"
    return (
        f"{opening} training as well. How much: trained on for as long at the unchanged level {before}, {happened}; "
        f"between {before} and {after} it is {number(between) if between else 'none'}."
    )


def bands_words(followed: Followed, branches: list[BranchView], bands: Bands) -> str:
    """The key in words, for a reader who cannot see the figure."""
    key = "; ".join(f"{key.name} {key.shares}" for key in keys_of(branches, bands))
    return (
        f"Basin fractions as stacked bands over the {followed.parameter}, {_ends(followed)}. Shares of the samples "
        f"whose attractor is of a class or kind at the first and the last level, whatever its band: {key}."
    )


def keys_of(branches: list[BranchView], bands: Bands) -> list[BandKey]:
    """The key of the figure, from the bottom up.

    A band has one colour, but what its branch is may change from level to level. So the shares of a class or kind are
    those of all attractors that are of it at the level, whatever their band; the smaller branches are among them.
    """
    drawn = [group.branches[0].kind for group in bands.groups]
    keys = []
    for group, what in zip(bands.groups, drawn, strict=True):
        shares, note = _between(_at_ends(branches, bands, {what})), count(len(group.branches), "band")
        if what[0] is Kind.UNKNOWN:
            shares, note = f"up to {percent(group.branches[0].most)}", ""
        keys.append(BandKey(group.name, group.sign, group.colour, bool(group.pattern), shares, note))
    others = {stage.what for branch in branches for stage in branch.stages if stage.kind is not Kind.UNKNOWN}
    found = _at_ends(branches, bands, others - set(drawn))
    if any(found):
        keys.append(BandKey("classes and kinds without a band", "", "", False, _between(found), ""))
    if bands.rest:
        note = f"{count(len(bands.rest), 'branch')} in one band"
        keys.append(BandKey("smaller branches", "", "rule", False, _between(_at_ends(bands.rest, bands)), note))
    unresolved = 1 - bands.edges[:, -2]
    if bool((unresolved > _ROUNDING).any()):
        ends = float(unresolved[0]), float(unresolved[-1])
        keys.append(BandKey("no fixed point", "", "unresolved", True, _between(ends), ""))
    return keys


def rungs_of(followed: Followed, branches: list[BranchView]) -> list[Rung]:
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
    followed: Followed, branches: list[BranchView], screen: Screen
) -> tuple[list[EventRow], list[EventRow], int]:
    """Events of the largest basins, by level; all others that can be unfolded; and how many are left out.

    Where there are few, all are shown at once.
    """
    events = followed.events
    ranked = sorted(range(len(events)), key=lambda row: (-stages_of(events[row], branches)[0].fraction, row))
    at_once = sorted(ranked[:SHOWN])
    folded = sorted(ranked[SHOWN : SHOWN + FOLDED])
    shown, others = (
        [_event_row(events[row], followed, branches, screen) for row in rows] for rows in (at_once, folded)
    )
    return shown, others, len(events) - len(shown) - len(others)


def branch_films(followed: Followed, branches: list[BranchView], screen: Screen) -> list[BranchFilm]:
    """The branches with the largest basin fractions, as they look at each level."""
    films = []
    for branch in largest_first(branches)[:FILMS]:
        frames: list[Sight | None] = [None] * len(followed.levels)
        for stage in branch.stages:
            frames[stage.level] = _sight(branch, stage, followed, screen)
        caption = f"branch {branch.number}, up to {percent(branch.most)}"
        films.append(BranchFilm(frames, kind_mark(*branch.kind), caption))
    return films


def _ends(followed: Followed) -> str:
    levels = level_words(followed)
    return f"{followed.parameter} {levels[0]} to {levels[-1]}"


def _at_ends(
    branches: list[BranchView], bands: Bands, counted: set[tuple[Kind, int | None]] | None = None
) -> tuple[float, float]:
    """Share of the samples in basins of branches at the first and the last level, of those that are so there."""
    found = [
        [
            stage.fraction
            for branch in branches
            if (stage := branch.at(level)) and (counted is None or stage.what in counted)
        ]
        for level in (0, len(bands.edges) - 1)
    ]
    return sum(found[0]), sum(found[1])


def _between(shares: tuple[float, float]) -> str:
    return " → ".join(percent(round(share, 9)) for share in shares)


def _event_row(event: Event, followed: Followed, branches: list[BranchView], screen: Screen) -> EventRow:
    before, after = level_words(followed)[event.level - 1 : event.level + 1]
    stage, other = stages_of(event, branches)
    return EventRow(
        between=f"{before} → {after}",
        branch=_sight(branches[event.branch], stage, followed, screen),
        change=CHANGE_WORDS[event.change],
        other=None if other is None else _sight(branches[event.other], other, followed, screen),
        share="–" if math.isnan(event.share) else percent(event.share),
    )


def _sight(branch: BranchView, stage: BranchAtLevel, followed: Followed, screen: Screen) -> Sight:
    return Sight(
        source=screen.picture(followed.basins[stage.level].fixed_points[stage.attractor]),
        mark=kind_mark(stage.kind, stage.label),
        note=f"{branch.number} ({percent(stage.fraction)})",
        words=f"Branch {branch.number} at {level_words(followed)[stage.level]}: {stage.words}, {stage.share}",
    )

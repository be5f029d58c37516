"""Which bands stand where: the branches that have one of their own, in groups of one colour, and the edges of all.

Groups are the classes of prototypes in their order, then stains and explosions. Within a group the largest branches
come first, each followed by those that split off it or merged into it, and by theirs. Branches of unknown kind stand in
the same order, each with a colour of its own as far as colours go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynlab.attractors.following.followed import Event, Followed
from dynlab.evaluation.kinds import Kind
from dynlab.report.ladder.branches import BranchView, largest_first
from dynlab.report.palette import CLASSES

DRAWN = 60  # branches with a band of their own, at most
LARGE = 0.01  # basin fraction that such a branch reaches at some level
_KINDS = {  # of what has no class: name, sign, colour and pattern
    Kind.PROTOTYPE: ("prototypes", "P", "kept", ""),
    Kind.STAIN: ("stains", "S", "stain", "/"),
    Kind.EXPLOSION: ("explosions", "E", "explosion", "x"),
}


@dataclass(frozen=True)
class BandGroup:
    """Bands of one class or of another kind, from the lowest one up; or the one band of a branch of unknown kind."""

    name: str
    sign: str  # what is written in the figure, so that colour is never all that tells groups apart
    colour: str  # its name in the palette
    pattern: str  # as plotly calls it, "" for none
    branches: list[BranchView]


@dataclass(frozen=True)
class Bands:
    """What the figure shows, from the bottom up."""

    groups: list[BandGroup]
    rest: list[BranchView]  # those without a band of their own
    # Edges of the bands at each level, shape (levels, bands + 1), rising from 0 to 1: a band for each branch of each
    # group, then that of the rest, then that of samples that reach no fixed point.
    edges: NDArray[np.float64]


def bands_of(followed: Followed, branches: list[BranchView]) -> Bands:
    """Which bands there are, in their order, and where their edges are."""
    drawn = [branch for branch in largest_first(branches)[:DRAWN] if branch.most >= LARGE]
    groups = _groups(drawn, followed.events)
    ordered = [branch.number for group in groups for branch in group.branches]
    rest = [branch for branch in branches if branch.number not in set(ordered)]
    fractions: NDArray[np.float64] = np.nan_to_num(followed.fractions.numpy())
    smaller = fractions[:, [branch.number for branch in rest]].sum(axis=1)
    tops = np.column_stack([fractions[:, ordered], smaller]).cumsum(axis=1)
    edges = np.column_stack([np.zeros(len(tops)), tops, np.ones(len(tops))])
    return Bands(groups, rest, np.minimum(edges, 1.0))  # rounding may have gone above 1


def looks(bands: Bands) -> Iterator[tuple[int, BandGroup, BranchView]]:
    """Number of each branch's band, its group and the branch."""
    band = 0
    for group in bands.groups:
        for branch in group.branches:
            yield band, group, branch
            band += 1


def _groups(drawn: list[BranchView], events: list[Event]) -> list[BandGroup]:
    classes = sorted({label for _, label in (branch.kind for branch in drawn) if label is not None})
    # A class keeps its colour whichever others there are, as long as there are colours enough.
    enough = all(0 <= label < CLASSES for label in classes)
    colours = {label: label if enough else row for row, label in enumerate(classes)}
    found = [
        BandGroup(f"class {label}", str(label), f"class-{colour % CLASSES}", "", _of_kind(drawn, events, label))
        for label, colour in colours.items()
    ]
    found += [BandGroup(*look, _of_kind(drawn, events, None, kind)) for kind, look in _KINDS.items()]
    found += [
        BandGroup(f"branch {branch.number}", str(branch.number), f"class-{row % CLASSES}", "", [branch])
        for row, branch in enumerate(_of_kind(drawn, events, None, Kind.UNKNOWN))
    ]
    return [group for group in found if group.branches]


def _of_kind(
    branches: list[BranchView], events: list[Event], label: int | None, kind: Kind = Kind.PROTOTYPE
) -> list[BranchView]:
    return _side_by_side([branch for branch in branches if branch.kind == (kind, label)], events)


def _side_by_side(branches: list[BranchView], events: list[Event]) -> list[BranchView]:
    """The branches, the largest first, each followed by those that split off it or merged into it."""
    inside = {branch.number: branch for branch in branches}
    neighbours: dict[int, list[int]] = defaultdict(list)
    for event in events:
        if event.branch in inside and event.other in inside:
            neighbours[event.branch].append(event.other)
            neighbours[event.other].append(event.branch)
    order: dict[int, BranchView] = {}
    for start in branches:
        waiting = [start.number]
        while waiting:
            found = waiting.pop()
            if found in order:
                continue
            order[found] = inside[found]
            waiting += sorted(neighbours[found], key=lambda other: inside[other].most)
    return list(order.values())

"""Everything the page shows of attractors that were followed over the levels of a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dynlab.attractors.following.followed import Change, Followed
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.followed_kinds import FollowedKinds
from dynlab.evaluation.kinds import Kind
from dynlab.report.drawing import Drawing, drawing_of
from dynlab.report.ladder.bands import band_figure
from dynlab.report.ladder.branches import branches_of, level_words
from dynlab.report.ladder.findings import (
    BandKey,
    BranchFilm,
    EventRow,
    Rung,
    bands_words,
    branch_films,
    event_rows,
    keys_of,
    ladder_words,
    noise_words,
    rungs_of,
)
from dynlab.report.ladder.identity import analysed_words, identity_of, share_words, training_along, training_words
from dynlab.report.ladder.stacking import DRAWN, LARGE, bands_of
from dynlab.report.pictures import Screen


@dataclass(frozen=True)
class Ladder:
    """What the page shows of attractors that were followed over several levels."""

    parameter: str
    levels: list[str]
    words: list[str]
    noise: str
    bands: Drawing | None
    keys: list[BandKey]
    large: float  # fraction that a branch with a band of its own reaches
    most: int  # such branches
    rungs: list[Rung]
    changes: list[Change]  # columns of the rungs
    films: list[BranchFilm]
    events: list[EventRow]
    folded_events: list[EventRow]
    left_out: int  # events that are not shown
    share: str  # of a basin's samples that went along with what merged or split
    by_kind: bool  # whether bands have the colours of classes and kinds
    analysed: str  # which of the levels the page has an analysis of
    identity: dict[str, str]  # what exactly was followed
    training: dict[str, Any]  # how levels were trained on, as far as that is known
    screen: Screen


def ladder_of(
    followed: Followed,
    kinds: FollowedKinds,
    looked_at: Screen,
    control: Followed | None,
    analyses: Sequence[Analysis],
) -> Ladder:
    """Everything the page shows of followed attractors, whose states are looked at as on that screen.

    By `control` the noise of training is told; see `noise_words`. The analyses are those on the same page.
    """
    states = [basins.fixed_points for basins in followed.basins]
    branches, screen = branches_of(followed, kinds), looked_at.fitted_to(*states)
    bands = bands_of(followed, branches)
    events, folded, left_out = event_rows(followed, branches, screen)
    training = training_along(followed, analyses)
    return Ladder(
        parameter=followed.parameter,
        levels=level_words(followed),
        words=ladder_words(followed, branches),
        noise=noise_words(followed, control, training_words(training)),
        bands=drawing_of(
            "ladder-bands", band_figure(followed, branches, bands), bands_words(followed, branches, bands)
        ),
        keys=keys_of(branches, bands),
        large=LARGE,
        most=DRAWN,
        rungs=rungs_of(followed, branches),
        changes=list(Change),
        films=branch_films(followed, branches, screen),
        events=events,
        folded_events=folded,
        left_out=left_out,
        share=share_words(followed.share),
        by_kind=any(group.branches[0].kind[0] is not Kind.UNKNOWN for group in bands.groups),
        analysed=analysed_words(followed, analyses),
        identity=identity_of(followed, control),
        training=training,
        screen=screen,
    )

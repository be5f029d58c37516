"""Ours beside the published figures: Table 1, and what else section 6 says in numbers.

A difference is ours minus the published one. From three seeds on it is told in units of what it would be by chance,
`sd sqrt(1/n + 1/5)`: the report has five seeds, whose standard deviation it does not say and which is taken to be ours.

Source: Bahdanau and Jaeger 2014, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dynlab import protocol
from dynlab.published import (
    RAW_GAIN,
    Entry,
    Published,
    PublishedFigures,
    published_figures,
)
from dynlab.studies.answers.acceptance import Check, TableContrast, contrast_checks, contrasts_of, winner_checks
from dynlab.studies.answers.groups import SeedGroup, Statistic, groups_of, statistic
from dynlab.studies.answers.rows import Row
from dynlab.studies.specification import Study

FEWEST_SEEDS = 3  # for a difference in units of chance

_BATCH, _ANNEALING = 20, 0.99  # "the best classification results without walkback", section 5.3

ASSUMPTIONS: dict[Published, str] = {
    "table_1a": (
        "Table 1a says neither the batch size b nor the annealing factor alpha nor the number of epochs N of its "
        "entries. Each of its nine mean counts of explosions is a multiple of 0.2, as means over five runs are and "
        "means over more rarely would be, so each entry is taken to be one setting with five seeds. Which one is an "
        f"assumption: b = {_BATCH} and alpha = {_ANNEALING}, which section 5.3 calls the best without walkback (it "
        "prints alpha as 0.9), and of the N that the report trained for (250 and 500 for k = 1, 100 and 250 for k = 2 "
        "and 3) the one for which there are most seeds here, of equal ones the largest."
    ),
    "table_1b": (
        "Table 1b is of sigma = 0.7 and b = 20, section 5.3. What is not legible in the text of the report has no "
        "published figure here."
    ),
}


@dataclass(frozen=True)
class Quantity:
    """A figure of ours beside a published one."""

    name: str  # a column of `results.csv`, or words
    published: float | None  # None: not legible, or not in the table
    ours: Statistic
    difference: float | None  # ours minus published
    in_sd: float | None  # the difference in units of chance; None for fewer than three seeds, or if they are all equal


@dataclass(frozen=True)
class TableLine:
    """One of our settings beside an entry of a table."""

    entry: Entry
    group: SeedGroup | None  # None: there are no such rows
    stands: bool  # of our settings that may be meant by the entry, the one that stands for it
    quantities: tuple[Quantity, ...]


@dataclass(frozen=True)
class Comparison:
    """A study beside what was published."""

    table: Published
    assumption: str  # about what the table does not say
    caveats: tuple[str, ...]  # where the study is not as the report was
    lines: tuple[TableLine, ...]  # entry by entry, the setting that stands for it first
    others: tuple[Quantity, ...]  # what the text says beside the table
    contrasts: tuple[TableContrast, ...]
    checks: tuple[Check, ...]


def compare(study: Study, rows: Sequence[Row]) -> Comparison | None:
    """Put rows beside the published table that a study names; None if it names none.

    Args:
        study: Its specification.
        rows: What is known of its models.
    """
    if study.published is None:
        return None
    figures = published_figures()
    groups = [group for group in groups_of(rows) if _is_like_the_report(group.settings)]
    lines = [line for entry in figures.table(study.published) for line in _lines(entry, groups, figures)]
    standing = {line.entry: line.group for line in lines if line.stands}
    contrasts: list[TableContrast] = []
    if study.published == "table_1a":
        contrasts = contrasts_of({entry: _by_epochs(entry, groups) for entry in figures.table_1a}, standing)
        checks, others = contrast_checks(contrasts), _pixels(figures, standing)
    else:
        winner = standing.get(figures.winner)
        checks, others = winner_checks(figures.winner, winner), _gains(figures, winner)
    return Comparison(
        study.published,
        ASSUMPTIONS[study.published],
        tuple(_caveats(study)),
        tuple(lines),
        tuple(others),
        tuple(contrasts),
        tuple(checks),
    )


def quantity(name: str, published: float | None, ours: Statistic) -> Quantity:
    """A figure of ours beside a published one."""
    if published is None or ours.mean is None:
        return Quantity(name, published, ours, None, None)
    difference = ours.mean - published
    in_sd = None
    if ours.n >= FEWEST_SEEDS and ours.sd:
        in_sd = difference / (ours.sd * math.sqrt(1 / ours.n + 1 / published_figures().seeds))
    return Quantity(name, published, ours, difference, in_sd)


def _is_like_the_report(row: Row) -> bool:
    wanted = {"corruption": "gaussian", **protocol.ALL_TRAININGS}
    return all(row.value(name) == value for name, value in wanted.items())


def _candidates(entry: Entry, groups: Sequence[SeedGroup]) -> list[SeedGroup]:
    """What may be meant by an entry."""
    return [
        group
        for group in groups
        if (group.settings.walkback, group.settings.sigma) == (entry.k, entry.sigma)
        and entry.epochs in (None, group.settings.epochs)
        and entry.alpha in (None, group.settings.annealing)
        and any(group.of(column).n for column in entry.columns)
    ]


def _is_of_the_series(row: Row, figures: PublishedFigures) -> bool:
    return any(
        row.walkback in one.k
        and row.sigma in one.sigma
        and row.batch_size in one.batch_size
        and row.epochs in one.epochs
        for one in figures.series
    )


def _by_epochs(entry: Entry, groups: Sequence[SeedGroup]) -> dict[int, SeedGroup]:
    """What may be meant by an entry of Table 1a, at the best b and alpha, by the number of epochs."""
    return {
        group.settings.epochs: group
        for group in _candidates(entry, groups)
        if (group.settings.batch_size, group.settings.annealing) == (_BATCH, _ANNEALING) and group.of("acc_test").n
    }


def _lines(entry: Entry, groups: Sequence[SeedGroup], figures: PublishedFigures) -> list[TableLine]:
    def rank(group: SeedGroup) -> tuple[Any, ...]:
        row = group.settings
        is_best = row.batch_size == _BATCH and entry.alpha in (None, row.annealing)
        is_best = is_best and (entry.alpha is not None or row.annealing == _ANNEALING)
        seeds = max(group.of(column).n for column in entry.columns)
        return is_best, _is_of_the_series(row, figures), seeds, row.epochs, -row.batch_size, -row.annealing

    ranked = sorted(_candidates(entry, groups), key=rank, reverse=True)
    if not ranked:
        nothing = statistic(())
        return [
            TableLine(
                entry, None, True, tuple(quantity(column, entry.value(column), nothing) for column in entry.columns)
            )
        ]
    return [
        TableLine(
            entry,
            group,
            group is ranked[0],
            tuple(quantity(column, entry.value(column), group.of(column)) for column in entry.columns),
        )
        for group in ranked
    ]


def _pixels(figures: PublishedFigures, standing: dict[Entry, SeedGroup | None]) -> list[Quantity]:
    """Section 6.1; the maps of Figure 4 are without walkback, one at each level."""
    found = []
    for entry, group in standing.items():
        if entry.k == 1 and group is not None and entry.sigma in figures.pixels:
            pixels = figures.pixels[entry.sigma]
            for column, words, published in (
                ("black_test", "below 0.01", pixels.black),
                ("white_test", "above 0.95", pixels.white),
            ):
                name = f"share of pixels {words} in the transformed test set, k = 1, sigma = {entry.sigma:g}"
                found.append(_single(name, published, group.of(column)))
    return found


def _gains(figures: PublishedFigures, winner: SeedGroup | None) -> list[Quantity]:
    """Sections 6.2 and 6.3."""
    rows = () if winner is None else winner.rows
    above_raw = [_less(row.acc_test, row.acc_raw_test) for row in rows]
    by_network = [_less(row.acc_net_test, row.acc_test) for row in rows]
    return [
        _single("accuracy of the winner above that on raw pixels", RAW_GAIN, statistic(above_raw)),
        _single(
            "accuracy gained on the winner's transformed set by a network with one hidden layer",
            figures.network_gain,
            statistic(by_network),
        ),
    ]


def _single(name: str, published: float, ours: Statistic) -> Quantity:
    """Beside a figure that is rounded, or of a single map, so that chance has no unit."""
    return Quantity(name, published, ours, None if ours.mean is None else ours.mean - published, None)


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _caveats(study: Study) -> list[str]:
    caveats = []
    for role, name in (("train", "mnist/train"), ("test", "mnist/test")):
        found, limit = study.data.given[role]
        if found != name or limit is not None:
            first = f"the first {limit} samples of " if limit is not None else ""
            caveats.append(f"The {role} set is {first}{found}; the report has all of {name}.")
    rule = study.iteration
    if (rule.tolerance, rule.share) != (protocol.TOLERANCE, protocol.SHARE):
        caveats.append(
            f"Sets are stopped when more than {rule.share:g} of their samples have steps below {rule.tolerance:g}; "
            f"in the report when more than {protocol.SHARE:g} have steps below {protocol.TOLERANCE:g}."
        )
    return caveats

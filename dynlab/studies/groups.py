"""Rows put together over seeds: `summary.csv`, and whether reconstruction error tells accuracy.

seeds           how many rows a group has
*_n, *_mean, *_sd   how many of them have a value, its mean, and its standard deviation with n - 1; empty for n = 1
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynlab.studies.rows import MEASURES, SETTINGS, Row, as_cell, write_csv

SUMMARY_CSV = "summary.csv"
_SHARED = tuple(name for name in SETTINGS if name != "seed")
_FEWEST, _FEWEST_WITH_INTERVAL = 3, 4  # runs for a correlation; that of two is one or minus one


@dataclass(frozen=True)
class Statistic:
    """Values of a column over seeds."""

    n: int
    mean: float | None  # None: there is no value
    sd: float | None  # with n - 1; None for fewer than two values


@dataclass(frozen=True)
class Group:
    """Rows that differ in their seed only."""

    rows: tuple[Row, ...]  # at least one

    @property
    def settings(self) -> Row:
        """A row to read the settings from that all have in common."""
        return self.rows[0]

    def of(self, column: str) -> Statistic:
        """The values of a column, of the rows that have one."""
        return statistic([row.value(column) for row in self.rows])


@dataclass(frozen=True)
class Correlation:
    """Pearson's correlation of `mse_test` and `acc_test` over runs with one corruption."""

    sigma: float | None
    corruption: str
    walkback: int | None  # None: over runs of all numbers of steps
    runs: int
    trainings: (
        int  # that they come from: runs that differ in epochs only are snapshots of one, and depend on each other
    )
    r: float | None  # None: fewer than three runs, or one of the two is the same in all
    low: float | None  # of its 95 % confidence interval by Fisher's transform, which takes runs for independent
    high: float | None  # None: fewer than four runs


def statistic(values: Sequence[float | None]) -> Statistic:
    """Number, mean and standard deviation of the values that are there."""
    known = [float(value) for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    return Statistic(len(known), mean, statistics.stdev(known) if len(known) > 1 else None)


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """Groups over seeds, in the order of the first row of each."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.value(name) for name in _SHARED), []).append(row)
    return [Group(tuple(group)) for group in groups.values()]


def write_summary(path: Path, groups: Sequence[Group]) -> None:
    """Write groups as CSV, with all digits of their numbers.

    Raises:
        InputError: If the file cannot be written.
    """
    columns = [*_SHARED, "seeds"]
    columns += [f"{name}_{part}" for name in MEASURES for part in ("n", "mean", "sd")]
    lines = []
    for group in groups:
        line = [as_cell(group.settings.value(name)) for name in _SHARED]
        line.append(len(group.rows))
        for found in map(group.of, MEASURES):
            line += [found.n, found.mean, found.sd]
        lines.append(line)
    write_csv(path, columns, lines)


def correlations(rows: Sequence[Row]) -> list[Correlation]:
    """Whether reconstruction error tells accuracy, at each level of corruption.

    Args:
        rows: Of a study; those without one of the two values are left out.

    Returns:
        In the order of the rows: for each corruption each number of walkback steps and, if there are several, all of
        them together.

    Source: Fisher, On the probable error of a coefficient of correlation deduced from a small sample, 1921.
    """
    known = [row for row in rows if row.mse_test is not None and row.acc_test is not None]
    found = []
    for level in dict.fromkeys((row.sigma, row.corruption) for row in known):
        of_level = [row for row in known if (row.sigma, row.corruption) == level]
        steps = list(dict.fromkeys(row.walkback for row in of_level))
        for walkback in [*steps, *([None] if len(steps) > 1 else [])]:
            runs = [row for row in of_level if walkback in (None, row.walkback)]
            trainings = {tuple(row.value(name) for name in SETTINGS if name != "epochs") for row in runs}
            found.append(Correlation(*level, walkback, len(runs), len(trainings), *_pearson(runs)))
    return found


def _pearson(runs: Sequence[Row]) -> tuple[float | None, float | None, float | None]:
    from scipy.stats import pearsonr

    errors, accuracies = [row.mse_test for row in runs], [row.acc_test for row in runs]
    if len(runs) < _FEWEST or len(set(errors)) < 2 or len(set(accuracies)) < 2:
        return None, None, None
    result: Any = pearsonr(errors, accuracies)
    if len(runs) < _FEWEST_WITH_INTERVAL:
        return float(result.statistic), None, None
    low, high = result.confidence_interval(0.95)
    return float(result.statistic), float(low), float(high)

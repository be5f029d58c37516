"""Rows put together over seeds: `summary.csv`, and whether reconstruction error tells accuracy.

seeds           how many rows a group has
*_n, *_mean, *_sd   how many of them have a value, its mean, and its standard deviation with n - 1; empty for n = 1
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynlab.studies.answers.rows import MEASURES, SETTINGS, Row, as_cell, write_csv
from dynlab.studies.points import FAMILY, LEVEL

SUMMARY_CSV = "summary.csv"
_SHARED = tuple(name for name in SETTINGS if name != "seed")
_FEWEST = 3  # runs for a correlation; that of two is one or minus one
_FEWEST_WITH_INTERVAL = 4  # trainings


@dataclass(frozen=True)
class Statistic:
    """Values of a column over seeds."""

    n: int
    mean: float | None  # None: there is no value
    sd: float | None  # with n - 1; None for fewer than two values


@dataclass(frozen=True)
class SeedGroup:
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
    """Pearson's correlation of `mse_test` and `acc_test` over runs with one corruption.

    Runs that differ in epochs only are snapshots of one training, and depend on each other. So the confidence interval,
    by Fisher's transform, is as wide as if there were no more runs than trainings.
    """

    settings: Row  # of one of the runs: all have its level and, unless they are pooled, its family
    is_pooled: bool  # over all families at that level
    runs: int
    trainings: int  # that they come from
    r: float | None  # None: fewer than three runs, or one of the two is the same in all
    low: float | None  # of the 95 % confidence interval
    high: float | None  # None: fewer than four trainings


def statistic(values: Sequence[float | None]) -> Statistic:
    """Number, mean and standard deviation of the values that are there."""
    known = [float(value) for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    return Statistic(len(known), mean, statistics.stdev(known) if len(known) > 1 else None)


def groups_of(rows: Sequence[Row]) -> list[SeedGroup]:
    """Groups over seeds, in the order of the first row of each."""
    return [SeedGroup(tuple(group)) for group in _parted(rows, _SHARED)]


def write_summary(path: Path, groups: Sequence[SeedGroup]) -> None:
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
        In the order of the rows: for each corruption each family of maps and, if there are several, all of them
        together.

    Source: Fisher, On the probable error of a coefficient of correlation deduced from a small sample, 1921.
    """
    known = [row for row in rows if row.mse_test is not None and row.acc_test is not None]
    found = []
    for of_level in _parted(known, LEVEL):
        families = _parted(of_level, FAMILY)
        found += [_correlation(runs, is_pooled=False) for runs in families]
        if len(families) > 1:
            found.append(_correlation(of_level, is_pooled=True))
    return found


def _parted(rows: Sequence[Row], names: Sequence[str]) -> list[list[Row]]:
    """Rows with equal settings of these names together, in the order of the first of each."""
    parts: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        parts.setdefault(tuple(row.value(name) for name in names), []).append(row)
    return list(parts.values())


def _correlation(runs: Sequence[Row], *, is_pooled: bool) -> Correlation:
    trainings = len(_parted(runs, [name for name in SETTINGS if name != "epochs"]))
    errors, accuracies = ([float(row.value(name)) for row in runs] for name in ("mse_test", "acc_test"))
    r = low = high = None
    if len(runs) >= _FEWEST and min(len(set(errors)), len(set(accuracies))) > 1:
        r = max(-1.0, min(1.0, statistics.correlation(errors, accuracies)))
        if trainings >= _FEWEST_WITH_INTERVAL:
            low, high = _interval(r, trainings)
    return Correlation(runs[0], is_pooled, len(runs), trainings, r, low, high)


def _interval(r: float, count: int) -> tuple[float, float]:
    if abs(r) == 1:
        return r, r
    away = statistics.NormalDist().inv_cdf(0.975) / math.sqrt(count - 3)
    return math.tanh(math.atanh(r) - away), math.tanh(math.atanh(r) + away)

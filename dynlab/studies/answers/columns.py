"""Columns of `results.csv` as README and page of a study show them: what they are called, and with how many digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dynlab.report.words import signed
from dynlab.studies.answers.groups import Statistic

NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """How a column is shown."""

    name: str
    digits: int  # after the point, of a mean over seeds


_SHARE = 4  # digits of what is a share of 10000 samples
DISPLAYED: Mapping[str, Column] = {
    "acc_train": Column("accuracy, training set", _SHARE),
    "acc_test": Column("accuracy, test set", _SHARE),
    "acc_best_test": Column("best on the orbit", _SHARE),
    "steps_best": Column("at step", 1),
    "acc_net_test": Column("by a network", _SHARE),
    "mse_test": Column("MSE, test set", 3),
    "mse_wb_train": Column("walkback MSE, training set", 3),
    "mse_wb_test": Column("walkback MSE, test set", 3),
    "explosions_train": Column("explosions, training set", 1),
    "explosions_test": Column("explosions, test set", 1),
    "steps_test": Column("steps, test set", 1),
    "attractors": Column("attractors", 1),
    "purity": Column("purity of basins", _SHARE),
}
# Of each setting; those that no row has are left out.
OF_SETTINGS = (
    *("acc_test", "acc_best_test", "steps_best", "acc_net_test", "mse_test", "mse_wb_test", "explosions_test"),
    *("steps_test", "attractors", "purity"),
)


def column_of(name: str) -> Column:
    """How a column is shown; what is none, and has a name in words, is shown as a share."""
    return DISPLAYED.get(name, Column(name, _SHARE))


def number_text(value: float | None, digits: int, *, is_difference: bool = False) -> str:
    """A number with so many digits after the point, and a sign if it is a difference; zero has none."""
    if value is None:
        return NOTHING
    shown = round(value, digits) or 0.0
    return signed(shown, f"{'+' if is_difference and shown else ''}.{digits}f")


def interval_text(low: float | None, high: float | None, digits: int) -> str:
    """An interval of differences; one without an end is none."""
    if low is None or high is None:
        return NOTHING
    return " to ".join(number_text(end, digits, is_difference=True) for end in (low, high))


def with_spread(value: float | None, spread: float | None, digits: int, *, is_difference: bool = False) -> str:
    """A number, with how far it may be off if that is known."""
    beside = "" if spread is None else f" ± {number_text(spread, digits)}"
    return number_text(value, digits, is_difference=is_difference) + beside


def measured(found: Statistic, digits: int) -> str:
    """A mean, with its standard deviation if there is one."""
    return with_spread(found.mean, found.sd, digits)

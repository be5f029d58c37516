"""What must come out alike for the report to be reproduced: contrasts of Table 1a, and the winner.

Source: Bahdanau and Jaeger 2014, sections 6.2 and 6.3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dynlab.published import Entry
from dynlab.studies.answers.groups import SeedGroup, Statistic, statistic

CONTRAST = 0.02  # of accuracy; pairs of Table 1a that differ by less need not come out the published way
WINNER_ACCURACY, WINNER_EXPLOSIONS, WINNER_ERROR = 0.929, 60, 0.03  # at least, at most, relative at most
_ROUNDING = 1e-9


@dataclass(frozen=True)
class TableContrast:
    """Two entries that differ in accuracy, and whether ours differ the same way."""

    first: Entry
    second: Entry
    published: float  # accuracy of the second minus that of the first
    ours: float | None  # of means over seeds; None: one of the two is not there
    first_epochs: int | None
    second_epochs: int | None  # the same, unless there are no rows with the same
    standard_error: float | None  # of ours; None: one of them has fewer than two seeds

    @property
    def same_way(self) -> bool | None:
        """Whether ours has the sign of the published one; None if it is not there."""
        return None if self.ours is None else self.ours * self.published > 0


@dataclass(frozen=True)
class Check:
    """Something that must hold for the report to be reproduced."""

    what: str
    wanted: str
    found: str
    holds: bool | None  # None: there is nothing to judge


def contrasts_of(
    by_epochs: Mapping[Entry, Mapping[int, SeedGroup]], standing: Mapping[Entry, SeedGroup | None]
) -> list[TableContrast]:
    """Pairs of entries of Table 1a, for each number of epochs that both were trained for.

    Args:
        by_epochs: For each entry what there is of ours, by the number of epochs.
        standing: What stands for each entry, for pairs that have no number of epochs in common.
    """
    found = []
    for first, second in itertools.combinations(by_epochs, 2):
        if first.acc_test is None or second.acc_test is None:
            continue
        published = second.acc_test - first.acc_test
        if abs(published) < CONTRAST - _ROUNDING:
            continue
        common = sorted(by_epochs[first].keys() & by_epochs[second].keys())
        pairs = [(by_epochs[first][epochs], by_epochs[second][epochs]) for epochs in common]
        for one, other in pairs or [(standing[first], standing[second])]:
            found.append(_contrast(first, second, published, one, other))
    return found


def _contrast(
    first: Entry, second: Entry, published: float, one: SeedGroup | None, other: SeedGroup | None
) -> TableContrast:
    before, after = (statistic(()) if group is None else group.of("acc_test") for group in (one, other))
    epochs = [None if group is None else group.settings.epochs for group in (one, other)]
    ours = None if before.mean is None or after.mean is None else after.mean - before.mean
    error = (
        None if before.sd is None or after.sd is None else math.sqrt(before.sd**2 / before.n + after.sd**2 / after.n)
    )
    return TableContrast(first, second, published, ours, epochs[0], epochs[1], error)


def contrast_checks(contrasts: Sequence[TableContrast]) -> list[Check]:
    """Whether all contrasts come out the published way: a check for each number of epochs, and one for mixed pairs."""
    checks = []
    wanted = "all the published way"
    known = [one for one in contrasts if one.ours is not None]
    numbers = sorted({one.first_epochs for one in known if one.first_epochs == one.second_epochs and one.first_epochs})
    for number in [*numbers, None]:
        if number is None:
            of_number = [one for one in known if one.first_epochs != one.second_epochs]
            words = "of different numbers of epochs, as no pair has the same"
        else:
            of_number = [one for one in known if (one.first_epochs, one.second_epochs) == (number, number)]
            words = f"after {number} epochs"
        if of_number:
            same = sum(bool(one.same_way) for one in of_number)
            checks.append(
                Check(
                    f"contrasts of {100 * CONTRAST:g} points or more in Table 1a, {words}",
                    wanted,
                    f"{same} of {len(of_number)}",
                    same == len(of_number),
                )
            )
    pairs = {(one.first, one.second) for one in contrasts}
    missing = len(pairs - {(one.first, one.second) for one in known})
    if missing:
        what = f"{missing} of {len(pairs)} contrasts of {100 * CONTRAST:g} points or more in Table 1a"
        checks.append(Check(what, wanted, "no results for both", None))
    return checks


def winner_checks(winner: Entry, group: SeedGroup | None) -> list[Check]:
    """Whether the winner is as good as the published one, in means over seeds."""
    accuracy, explosions = (
        statistic(()) if group is None else group.of(column) for column in ("acc_test", "explosions_test")
    )
    checks = [
        Check(
            "accuracy of the winner on the test set",
            f"at least {WINNER_ACCURACY}",
            _found(accuracy, ".4f"),
            None if accuracy.mean is None else accuracy.mean >= WINNER_ACCURACY - _ROUNDING,
        ),
        Check(
            "explosions of the winner in the test set",
            f"at most {WINNER_EXPLOSIONS}",
            _found(explosions, ".1f"),
            None if explosions.mean is None else explosions.mean <= WINNER_EXPLOSIONS,
        ),
    ]
    for role in ("train", "test"):
        published = winner.value(f"mse_wb_{role}")
        error = statistic(()) if group is None else group.of(f"mse_wb_{role}")
        away = None if error.mean is None or published is None else abs(error.mean / published - 1)
        checks.append(
            Check(
                f"walkback error of the winner, {role} set",
                f"within {100 * WINNER_ERROR:g} % of {published}",
                _found(error, ".3f"),
                None if away is None else away <= WINNER_ERROR,
            )
        )
    return checks


def _found(ours: Statistic, digits: str) -> str:
    if ours.mean is None:
        return "no results"
    return f"{ours.mean:{digits}}, {ours.n} seed{'s' if ours.n > 1 else ''}"

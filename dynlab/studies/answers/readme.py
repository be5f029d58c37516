"""`README.md` of a study: its question and its answers as text that code hosts show.

Made from the rows of `results.csv`, the specification and what failed, and nothing else, so that equal rows give equal
text on one installation.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from dynlab import __version__
from dynlab.studies.answers.acceptance import TableContrast
from dynlab.studies.answers.columns import (
    DISPLAYED,
    NOTHING,
    OF_SETTINGS,
    column_of,
    interval_text,
    measured,
    number_text,
)
from dynlab.studies.answers.comparison import Comparison, Quantity, TableLine
from dynlab.studies.answers.groups import Correlation, SeedGroup, correlations, groups_of
from dynlab.studies.answers.rows import SETTINGS, Row, as_cell, differing_settings
from dynlab.studies.points import FAMILY
from dynlab.studies.running.failures import Failure
from dynlab.studies.specification import Study, shipped_studies
from dynlab.studies.study_data import StudyData

_TITLES = {"table_1a": "Table 1a", "table_1b": "Table 1b"}
_HOLDS: dict[bool | None, str] = {True: "yes", False: "**no**", None: NOTHING}
_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")


def readme_of(
    study: Study,
    data: StudyData,
    rows: Sequence[Row],
    comparison: Comparison | None,
    *,
    failures: Sequence[Failure] = (),
    pictures: Mapping[str, str] | None = None,
) -> str:
    """The text of `README.md`.

    Args:
        study: Its specification.
        data: Its data sets.
        rows: What is known of its models.
        comparison: The published figures beside ours; None if there are none.
        failures: What failed in the last run.
        pictures: Files beside it to show, by name, with what they show.
    """
    parts = [f"# {escaped(study.title)}", escaped(study.question)]
    parts += _state(study, rows, failures)
    if comparison is not None:
        parts += _beside_published(comparison)
    if study.discussion.strip():
        parts += ["## Discussion", study.discussion.strip()]
    if rows:
        parts += _all_settings(rows)
        parts += _error_and_accuracy(correlations(rows), rows)
    for name, description in (pictures or {}).items():
        parts += [f"![{escaped(_plain(name))}]({name.replace(' ', '%20')})", escaped(description)]
    parts += _how(study, data)
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Text on one line that Markdown shows letter by letter, in a table too."""
    line = re.sub(r"([\\`*_{}\[\]<>#|~$&!])", r"\\\1", " ".join(text.split()))
    return re.sub(r"^([-+=]|\d+[.)])(?=\s)", r"\\\1", line)


def table(head: Sequence[str], lines: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """A table in Markdown of cells that are escaped already; the first columns, `words` of them, are flush left."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(name: str) -> str:
    return name.rpartition(".")[0].replace("_", " ").replace("-", " ")


def _state(study: Study, rows: Sequence[Row], failures: Sequence[Failure]) -> list[str]:
    models = sum(len(grid) for grid in study.grids)
    parts = []
    if len(rows) < models:
        parts.append(f"So far there are results of {len(rows)} of {models} models.")
    if failures:
        lines = dict.fromkeys(f"- {escaped(one.label)}: {escaped(one.reason)}" for one in failures)
        parts.append("\n".join(["In the last run failed:", "", *lines]))
    return parts


def _beside_published(comparison: Comparison) -> list[str]:
    title = _TITLES[comparison.table]
    standing = [line for line in comparison.lines if line.stands and line.group is not None]
    others = [line for line in comparison.lines if not line.stands]
    without = [line.entry.label for line in comparison.lines if line.group is None]
    parts = [f"## Beside {title}", *(f"**{escaped(caveat)}**" for caveat in comparison.caveats)]
    parts += _lines_tables(standing)
    if without:
        parts.append(f"There are no models of ours for {escaped('; '.join(without))}.")
    parts.append(
        "Ours are means over seeds ± their standard deviation (with n − 1), the published ones means over five seeds. "
        "The last column, from three seeds on, is the difference in units of our standard deviation times "
        "√(1/n + 1/5)."
    )
    parts.append(escaped(comparison.assumption))
    if others:
        parts += [f"### Other settings that {title} may mean", *_lines_tables(others)]
    if comparison.others:
        parts += ["### Beside the text", _others_table(comparison.others)]
    if comparison.checks:
        lines = [
            (
                escaped(one.what),
                escaped(one.wanted),
                escaped(one.found),
                _HOLDS[one.holds],
            )
            for one in comparison.checks
        ]
        parts += ["### What must come out alike", table(("", "wanted", "found", "holds"), lines, words=4)]
    wrong = [one for one in comparison.contrasts if one.same_way is False]
    if wrong:
        parts += ["Contrasts that come out the other way:", _contrasts_table(wrong)]
    return parts


def _lines_tables(lines: Sequence[TableLine]) -> list[str]:
    """A table for each quantity."""
    head = ("k", "sigma", "N", "alpha", "b", "seeds", "ours", "published", "difference", "in units of chance")
    cells: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        if line.group is not None:
            row = line.group.settings
            values = (row.walkback, row.sigma, row.epochs, row.annealing, row.batch_size)
            setting = tuple(map(_text, values))
            for one in line.quantities:
                cells.setdefault(one.name, []).append((*setting, *_quantity_cells(one)))
    return [f"{_capitalized(column_of(name).name)}:\n\n{table(head, rows, words=5)}" for name, rows in cells.items()]


def _others_table(quantities: Sequence[Quantity]) -> str:
    head = ("", "seeds", "ours", "published", "difference")
    return table(head, [(escaped(one.name), *_quantity_cells(one)[:-1]) for one in quantities])


def _quantity_cells(one: Quantity) -> tuple[str, ...]:
    digits = column_of(one.name).digits
    return (
        str(one.ours.n),
        measured(one.ours, digits),
        _text(one.published),
        number_text(one.difference, digits, is_difference=True),
        number_text(one.in_sd, 1, is_difference=True),
    )


def _contrasts_table(contrasts: Sequence[TableContrast]) -> str:
    head = ("from", "to", "N", "published", "ours", "standard error")
    lines, digits = [], DISPLAYED["acc_test"].digits
    for one in contrasts:
        same = one.first_epochs == one.second_epochs
        epochs = str(one.first_epochs) if same else f"{one.first_epochs} and {one.second_epochs}"
        lines.append(
            (
                escaped(one.first.label),
                escaped(one.second.label),
                epochs,
                number_text(one.published, digits, is_difference=True),
                number_text(one.ours, digits, is_difference=True),
                number_text(one.standard_error, digits),
            )
        )
    return table(head, lines, words=3)


def _all_settings(rows: Sequence[Row]) -> list[str]:
    groups = groups_of(rows)
    differing = differing_settings(rows)
    shown = [column for column in OF_SETTINGS if any(group.of(column).n for group in groups)]
    lines = [
        (
            *(escaped(_text(as_cell(group.settings.value(name)))) for name in differing),
            str(len(group.rows)),
            *(_with_n(group, column) for column in shown),
        )
        for group in groups
    ]
    head = (*map(escaped, differing), "seeds", *(DISPLAYED[column].name for column in shown))
    common = [name for name in SETTINGS if name != "seed" and name not in differing]
    first = groups[0].settings
    told = ", ".join(f"{name} {_text(as_cell(first.value(name)))}" for name in common)
    parts = ["## All settings", table(head, lines, words=len(differing)), f"All have: {escaped(told)}."]
    words = []
    if any(row.acc_test is not None for row in rows):
        words.append("Accuracies are those of logistic regression on the transformed test set;")
        words.append("the network has one hidden layer.")
    if any(row.acc_best_test is not None for row in rows):
        words.append("The best on the orbit is that after the number of steps which the validation set chose.")
    if any(row.purity is not None for row in rows):
        words.append("Purity is the share of samples that have the majority class of their basin.")
    raw = next((row for row in rows if row.acc_raw_test is not None), None)
    if raw is not None:
        digits = DISPLAYED["acc_test"].digits
        words.append(
            f"On raw pixels logistic regression has {number_text(raw.acc_raw_test, digits)} on the test set and "
            f"{number_text(raw.acc_raw_train, digits)} on the training set."
        )
    words.append("A mean is followed by the standard deviation over seeds.")
    return [*parts, " ".join(words)]


def _with_n(group: SeedGroup, column: str) -> str:
    found = group.of(column)
    return measured(found, DISPLAYED[column].digits) + (f" ({found.n} seeds)" if 0 < found.n < len(group.rows) else "")


def _error_and_accuracy(found: Sequence[Correlation], rows: Sequence[Row]) -> list[str]:
    known = [one for one in found if one.r is not None]
    if not known:
        return []
    names = [name for name in differing_settings(rows) if name in FAMILY] or ["walkback"]

    def level(row: Row) -> str:
        return escaped(_text(row.sigma) if row.corruption == "gaussian" else f"{row.corruption}, {_text(row.sigma)}")

    def family(row: Row) -> str:
        return escaped(", ".join(f"{name} {_text(as_cell(row.value(name)))}" for name in names))

    lines = [
        (
            level(one.settings),
            "all" if one.is_pooled else family(one.settings),
            str(one.runs),
            str(one.trainings),
            number_text(one.r, 2, is_difference=True),
            interval_text(one.low, one.high, 2),
        )
        for one in known
    ]
    caveat = (
        "Where there are more runs than trainings, some are snapshots of one training and depend on each other; the "
        "intervals (Fisher's transform) are as wide as if there were no more runs than trainings."
    )
    return [
        "## Does reconstruction error tell accuracy?",
        "Correlation of reconstruction error and accuracy, both on the test set, over runs with one corruption.",
        table(("corruption", "maps", "runs", "trainings", "r", "95 % confidence"), lines, words=2),
        caveat,
    ]


def _how(study: Study, data: StudyData) -> list[str]:
    packages = [f"{name} {version(name)}" for name in _PACKAGES]
    sets = [
        f"- {role}: {escaped(one.name)}, {len(one.images)} samples, SHA-256 {one.sha256[:16]}…"
        for role, one in data.sets.items()
    ]
    name = study.name if study.name in shipped_studies() else f"{study.name}.toml"
    commands = (
        f"`dynlab run {name}` computes the study; `dynlab report` makes this file, "
        "`results.csv` (a row for each model), `summary.csv` (means and standard deviations over seeds) and the page "
        "`index.html` anew from what was computed."
    )
    return [
        "## How it was made",
        commands,
        "\n".join(sets),
        f"Written by dynlab {__version__}, Python {platform.python_version()}, {', '.join(packages)}.",
    ]


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    return f"{value:.12g}" if isinstance(value, float) else str(value)

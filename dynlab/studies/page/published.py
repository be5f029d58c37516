"""The page of a study beside the published figures."""

from __future__ import annotations

from collections.abc import Sequence

from dynlab.report.study.parts import Part, Table
from dynlab.report.words import count, number
from dynlab.studies.answers.columns import DISPLAYED, NOTHING, column_of, measured, number_text, with_spread
from dynlab.studies.answers.comparison import Comparison, Quantity, TableLine
from dynlab.studies.page.models import Answer


def published_answer(comparison: Comparison) -> Answer:
    """Table 1 of the report beside ours, and what must come out alike."""
    judged = [check for check in comparison.checks if check.holds is not None]
    holding, unjudged = sum(bool(check.holds) for check in judged), len(comparison.checks) - len(judged)
    lede = (
        f"Of {count(len(judged), 'thing')} that must come out alike, {number(holding)} "
        f"{'does' if holding == 1 else 'do'}." + (f" {number(unjudged)} more cannot be judged yet." if unjudged else "")
        if judged
        else "There is nothing yet to put beside the published figures."
    )
    marks = {True: "yes", False: "no", None: NOTHING}
    checks = Table(
        "What must come out alike",
        ("what", "wanted", "found", "holds"),
        [(check.what, check.wanted, check.found, marks[check.holds]) for check in comparison.checks],
    )
    parts = [Part(words=[comparison.assumption, *comparison.caveats], tables=[checks] if checks.rows else [])]
    standing = [line for line in comparison.lines if line.stands]
    missing = [line for line in standing if line.group is None]
    how = (
        "A difference is ours minus the published mean of five seeds. From three seeds on it is also told in units of "
        "chance, our standard deviation times √(1/n + 1/5); beyond 2 chance alone is unlikely."
    )
    words = [how]
    if missing:
        entries = "; ".join(_entry(line) for line in missing)
        words.append(f"Nothing of ours yet for {count(len(missing), 'published setting')}: {entries}.")
    parts.append(Part("Ours and the published means", words, _line_tables(standing)))
    others = [line for line in comparison.lines if not line.stands]
    if others:
        parts.append(
            Part(
                words=["Other settings of ours that the published ones may mean."],
                tables=_line_tables(others),
                folded=f"Show {count(len(others), 'setting')} more",
            )
        )
    if any(found.ours.n for found in comparison.others):
        rows = [(found.name, *_beside(found)) for found in comparison.others if found.ours.n]
        heads = ("what the text says", "seeds", "published", "ours", "difference", "in units of chance")
        parts.append(Part("What the text says beside the table", tables=[Table("Figures of the text", heads, rows)]))
    if any(one.ours is not None for one in comparison.contrasts):
        parts.append(_contrasts(comparison))
    return lede, parts


def _entry(line: TableLine) -> str:
    entry = line.entry
    words = f"k = {entry.k}, σ = {entry.sigma:g}"
    return words + (f", N = {entry.epochs}, α = {entry.alpha:g}" if entry.epochs and entry.alpha else "")


def _beside(found: Quantity) -> tuple[str, ...]:
    digits = column_of(found.name).digits
    return (
        number(found.ours.n),
        NOTHING if found.published is None else f"{found.published:.12g}",
        measured(found.ours, digits),
        number_text(found.difference, digits, is_difference=True),
        number_text(found.in_sd, 1, is_difference=True),
    )


def _line_tables(lines: Sequence[TableLine]) -> list[Table]:
    """A table for each quantity, a row for each setting that is there and has a published figure."""
    tables = []
    names = dict.fromkeys(found.name for line in lines for found in line.quantities)
    for name in names:
        words = column_of(name).name
        rows = []
        for line in lines:
            found = next((one for one in line.quantities if one.name == name), None)
            if found is None or line.group is None or found.published is None:
                continue
            ours = line.group.settings
            rows.append((_entry(line), str(ours.epochs), f"{ours.annealing:g}", str(ours.batch_size), *_beside(found)))
        if rows:
            heads = (words, "N", "α", "b", "seeds", "published", "ours", "difference", "in units of chance")
            tables.append(Table(f"{words}: ours beside the published", heads, rows))
    return tables


def _contrasts(comparison: Comparison) -> Part:
    known = [one for one in comparison.contrasts if one.ours is not None]
    same = sum(bool(one.same_way) for one in known)
    rows, digits = [], DISPLAYED["acc_test"].digits
    for one in known:
        epochs = {one.first_epochs, one.second_epochs}
        rows.append(
            (
                f"k = {one.first.k}, σ = {one.first.sigma:g} → k = {one.second.k}, σ = {one.second.sigma:g}",
                " → ".join(str(value) for value in dict.fromkeys((one.first_epochs, one.second_epochs)))
                if len(epochs) > 1
                else str(one.first_epochs),
                number_text(one.published, digits, is_difference=True),
                with_spread(one.ours, one.standard_error, digits, is_difference=True),
                "yes" if one.same_way else "no",
            )
        )
    heads = ("from → to", "N", "published", "ours ± standard error", "the same way")
    return Part(
        "Contrasts of two points of accuracy or more",
        [f"Of {count(len(known), 'contrast')} that both have, {number(same)} come out the published way."],
        [Table("Contrasts", heads, rows)],
        folded="Show all contrasts",
    )

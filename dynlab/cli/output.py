"""What several commands print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dynlab.evaluation.analysis import Analysis


def print_error(message: str) -> None:
    print(f"dynlab: {' '.join(message.split())}", file=sys.stderr)


def print_summary(analyses: Sequence[Analysis], names: Sequence[str] | None = None) -> None:
    """Print a table, one column an analysis, headed by its title if no names are given."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dynlab.dynamics import Status
    from dynlab.evaluation.kinds import Outcome

    results = [analysis.results for analysis in analyses]
    table = Table("", *(escape(name) for name in names or [r.title for r in results]), box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("samples", *(str(r.data.samples) for r in results))
    table.add_row("attractors", *(str(len(r.attractors)) for r in results))
    if any(r.cycles for r in results):
        table.add_row("stable cycles", *(str(len(r.cycles)) for r in results))
    # How orbits end, and below those that come to rest what they end in.
    ends = {str(status): [r.statuses.get(status, 0) for r in results] for status in Status}
    # Where kinds are known, only the class of a sample that ends at a prototype can be unknown.
    unknown = "at a prototype" if all(r.recognizer for r in results) else "of unknown kind"
    kinds = {
        f"  {unknown if outcome is Outcome.UNKNOWN else outcome}": [r.outcomes.get(outcome, 0) for r in results]
        for outcome in (Outcome.KEPT, Outcome.CHANGED, Outcome.STAIN, Outcome.EXPLOSION, Outcome.UNKNOWN)
    }
    at_rest = {str(Status.CONVERGED): ends.pop(Status.CONVERGED)}
    for words, counts in (at_rest | kinds | ends).items():
        if any(counts):
            shares = (f"{samples / r.data.samples:.1%}" for samples, r in zip(counts, results, strict=True))
            table.add_row(words, *shares)
    # The limit is no number of steps after which the rule stops the set.
    table.add_row(
        "steps to transform",
        *(f"{'' if r.transformed.stopped_by_rule else 'over '}{r.transformed.steps}" for r in results),
    )
    if any(r.separability for r in results):
        accuracies = [
            (r.separability.raw.test, r.separability.transformed.test) if r.separability else () for r in results
        ]
        for index, what in enumerate(("test accuracy, raw", "test accuracy, transformed")):
            table.add_row(what, *(f"{pair[index]:.3f}" if pair else "" for pair in accuracies))
    console = Console()
    console.print(table)
    reports = [r.recognizer for r in results if r.recognizer]
    for place, report in enumerate(reports):
        if report in reports[:place]:  # one recognizer may judge several maps
            continue
        confusion = Table("recognizer, judged on", "a member", "a stain", box=SIMPLE_HEAD)
        for judgement in report.confusion:
            confusion.add_row(
                judgement.images if judgement.stains else "held-out images",
                str(judgement.called_member),
                str(judgement.called_stain),
            )
        console.print(confusion)
        console.print(f"balanced accuracy of the recognizer: {report.balanced_accuracy:.3f}", highlight=False)

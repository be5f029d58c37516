"""The page of a study on separability along the orbit.

Where is the peak, how high is it, and what is lost on the way to the fixed points? Who sees only fixed points knows of
a sample no more than its basin; so no classifier of fixed points is right more often than the basins are pure. Sets are
stopped before all of their samples are there, so on the samples whose basins are known the way is told in two parts: to
where the rule stops them, and from there to their fixed points.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from dynlab.report.study.figures import OrbitLine, Series, along_orbit, range_of
from dynlab.report.study.parts import Chart, Part, Table
from dynlab.report.words import count, number
from dynlab.studies.page.models import Answer, Family, Models


def orbit_answer(models: Models) -> Answer:
    """Test accuracy along the orbit at each level, the peak, and what is lost after it."""
    lines = [
        (family, found)
        for family in models.families
        if (found := [results for _, results in models.with_stage(family.shown, "separability")])
    ]
    if not lines:
        return None
    drawn = [(family, _line(models, family, found)) for family, found in lines]
    raw = _raw(models)
    values = [value for _, line in drawn for value in (*line.accuracies, *([] if line.end is None else [line.end]))]
    accuracies = range_of(values)
    charts = []
    for place, level in enumerate(models.levels):
        panel = [line for family, line in drawn if family.level == level]
        if panel:
            figure = along_orbit(panel, raw, accuracies)
            charts += Chart.of(level, f"orbit-{place}", figure, f"Test accuracy along the orbit, {level}")
    rows, losses = [], []
    for family, found in lines:
        row, loss = _peak(family, found)
        rows.append(row)
        losses.append((loss, family, row))
    samples = {results["orbit_train_samples"] for _, found in lines for results in found}
    has_validation = all(results["steps_best"] is not None for _, found in lines for results in found)
    chosen = (
        "The step is the one that the validation set chooses; its accuracy is that on the test set."
        if has_validation
        else "There is no validation set, so the step is the one that is best on the test set itself, and its accuracy "
        "a little too high."
    )
    learned = f"learned from {count(min(samples), 'training sample')}" if len(samples) == 1 else "learned from a part"
    how = (
        f"Logistic regression, {learned} after 0, 1, 2, 4, … steps and where the quantile rule stops the sets (end). "
        f"Lines are means over seeds; the dotted line is the accuracy on raw pixels. {chosen}"
    )
    heads = ("maps", "seeds", "raw", "peak at step", "there", "end", "lost")
    table = Table("The peak, and what is lost", heads, rows)
    parts = [Part(words=[how], charts=charts), Part(table.words, tables=[table])]
    return _loss_words(losses), parts + _bound(models)


def _bound(models: Models) -> list[Part]:
    """What basins leave of the classes, beside where the sets were stopped, on the same samples."""
    rows = [row for family in models.families if (row := _bound_row(models, family))]
    if not rows:
        return []
    why = (
        "At fixed points nothing is left of a sample but its basin. So no classifier of fixed points can be right more "
        "often than samples have the majority class of their basin, the purity. Told from the other samples of the "
        "basin alone it is the last column, where a sample alone in its basin counts as wrong; the truth for new "
        "samples lies between the two. Where the sets were stopped, samples that were still on their way can be told "
        "apart better than that. All columns are of the same test samples; those that reach no fixed point count as "
        "wrong in the last two."
    )
    heads = ("maps", "seeds", "test samples", "at the end", "purity of their basins", "by the other samples")
    return [Part("Why: what basins leave of the classes", [why], [Table("Basins and classes", heads, rows)])]


def _bound_row(models: Models, family: Family) -> tuple[str, ...] | None:
    ends, purities, others, samples = [], [], [], set()
    for cell, basins in models.with_stage(family.shown, "basins"):
        right = models.tensors(cell, "separability", "end").get("right")
        if right is None or basins["purity"] is None:
            continue
        samples.add(basins["samples"])
        ends.append(float(right[: basins["samples"]].mean()))
        purities.append(basins["purity"])
        others.append(basins["purity_left_out"])
    if not ends:
        return None
    means = (f"{statistics.fmean(values):.3f}" for values in (ends, purities, others))
    return (family.label, number(len(ends)), ", ".join(map(number, sorted(samples))), *means)


def _line(models: Models, family: Family, found: Sequence[dict[str, Any]]) -> OrbitLine:
    steps = [entry["step"] for entry in found[0]["along_orbit"]]
    return OrbitLine(
        Series(family.name, family.number, models.family_count),
        steps,
        [statistics.fmean(results["along_orbit"][place]["test"] for results in found) for place in range(len(steps))],
        statistics.fmean(results["at_the_end"]["test"] for results in found),
        len(found),
    )


def _raw(models: Models) -> float | None:
    raw = models.results(None, "raw")
    return None if raw is None else raw["orbit_start"]["test"]


def _peak(family: Family, found: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], float]:
    """A row of the table, and what is lost from the peak to the end."""
    steps, peaks = [], []
    for results in found:
        best = max(results["along_orbit"], key=lambda entry: entry["test"])
        chosen = results["steps_best"] is not None
        steps.append(results["steps_best"] if chosen else best["step"])
        peaks.append(results["acc_best_test"] if chosen else best["test"])
    raw = statistics.fmean(results["along_orbit"][0]["test"] for results in found)
    peak, end = statistics.fmean(peaks), statistics.fmean(results["at_the_end"]["test"] for results in found)
    row = (
        family.label,
        number(len(found)),
        f"{raw:.3f}",
        ", ".join(map(str, sorted(set(steps)))),
        f"{peak:.3f}",
        f"{end:.3f}",
        f"{peak - end:.3f}",
    )
    return row, peak - end


def _loss_words(losses: Sequence[tuple[float, Family, tuple[str, ...]]]) -> str:
    loss, _, row = max(losses, key=lambda entry: entry[0])
    least, _, little = min(losses, key=lambda entry: entry[0])
    if len(losses) == 1:
        return f"From its peak, {row[4]} after step {row[3]}, the accuracy falls by {loss:.3f} to {row[5]}."
    if f"{loss:.3f}" == f"{least:.3f}":
        return f"From the peak to the end each of them loses {loss:.3f}."
    most = f"From the peak to the end {row[0]} loses most, {loss:.3f}: from {row[4]} after step {row[3]} to {row[5]}."
    return f"{most} The least that is lost is {least:.3f}, with {little[0]}."

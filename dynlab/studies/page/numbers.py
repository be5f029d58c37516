"""The page of a study in numbers: setting by setting, and reconstruction error against accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from dynlab.protocol import OBJECTIVE
from dynlab.report.study.figures import (
    ErrorPoints,
    RunPoint,
    Series,
    accuracy_and_explosions,
    range_of,
    setting_dots,
)
from dynlab.report.study.parts import Chart, Part, Table
from dynlab.report.words import count, number, percent
from dynlab.studies.answers.columns import DISPLAYED, NOTHING, OF_SETTINGS, interval_text, measured, number_text
from dynlab.studies.answers.groups import SeedGroup, correlations, groups_of
from dynlab.studies.answers.rows import Row
from dynlab.studies.page.models import HEADS, Answer, Models, value_words

_LONG = 8  # rows of a table that is folded away
MOST_DOTS = 40  # settings in a figure with a row for each


def settings_answer(models: Models, rows: Sequence[Row]) -> Answer:
    """A row for each setting, pixels, and the network as a classifier."""
    groups = groups_of(rows)
    if not groups:
        return None
    best = max((group for group in groups if group.of("acc_test").n), key=_accuracy, default=None)
    lede = "No model has been classified yet."
    if best is not None:
        raw = best.of("acc_raw_test").mean
        beside = "" if raw is None else f", {raw:.3f} on raw pixels"
        alike = sum(_accuracy(group) == _accuracy(best) for group in groups if group.of("acc_test").n)
        which = (
            "The best setting is" if alike == 1 else f"Of {count(alike, 'setting')} that are best alike the first is"
        )
        lede = (
            f"{which} {models.setting(best.settings)}, with an accuracy of {_accuracy(best):.3f} on the transformed "
            f"test set{beside}."
        )
    parts = [Part(words=[_notes(models, groups) + _unstopped(models)], tables=[_settings_table(models, groups)])]
    charts = _dots(models, groups)
    if charts:
        parts.append(Part("Setting by setting", charts=charts))
    parts += [_pixels(models, groups), _network(models, groups)]
    return lede, [part for part in parts if part.tables or part.charts]


def _accuracy(group: SeedGroup) -> float:
    return group.of("acc_test").mean or 0.0


def _notes(models: Models, groups: Sequence[SeedGroup]) -> str:
    sentences = [
        "Accuracies are those of logistic regression on transformed sets, and of a network with one hidden layer.",
        "The MSE, summed over pixels, is of one step from corrupted images; the walkback MSE is "
        + ("what was minimized." if _is_minimized(models) else "that of the report, whatever was minimized."),
    ]
    if any(group.of("steps_best").n for group in groups):
        sentences.append("The step of the best accuracy on the orbit is chosen on the validation set.")
    if any(len(group.rows) > 1 for group in groups):
        sentences.append("± is one standard deviation over seeds.")
    return " ".join(sentences)


def _unstopped(models: Models) -> str:
    """Of how many models a set was still on its way at the limit of steps; nothing where there is none."""
    found = [results for _, results in models.with_stage(models.cells, "iterate")]
    limited = sum(not all(one["stopped_by_rule"] for one in results["sets"].values()) for results in found)
    if not limited:
        return ""
    return (
        f" In {number(limited)} of {count(len(found), 'map')} the limit of {number(models.study.iteration.max_steps)} "
        "steps came before the rule stopped all sets: the numbers are of sets on their way."
    )


def _is_minimized(models: Models) -> bool:
    """Whether all maps were trained on the report's objective, from first to last with one corruption."""
    meant = [cell.settings.meaning() for cell in models.cells]
    return all(getattr(settings, name) == value for settings in meant for name, value in OBJECTIVE.items()) and all(
        len(settings.schedule().phases) == 1 for settings in meant
    )


def _settings_table(models: Models, groups: Sequence[SeedGroup]) -> Table:
    names = models.varying or ("sigma", "walkback")
    measures = [name for name in OF_SETTINGS if any(group.of(name).n for group in groups)]
    raw = any(group.of("acc_raw_test").n for group in groups)
    heads = [HEADS.get(name, name) for name in names] + ["seeds"] + [DISPLAYED[name].name for name in measures]
    heads += ["above raw pixels"] if raw else []
    rows = []
    for group in groups:
        row = [value_words(name, group.settings.value(name)) for name in names] + [number(len(group.rows))]
        row += [measured(group.of(name), DISPLAYED[name].digits) for name in measures]
        if raw:
            ours, pixels = group.of("acc_test").mean, group.of("acc_raw_test").mean
            above = None if ours is None or pixels is None else ours - pixels
            row.append(number_text(above, DISPLAYED["acc_test"].digits, is_difference=True))
        rows.append(row)
    return Table("All settings", heads, rows)


def _dots(models: Models, groups: Sequence[SeedGroup]) -> list[Chart]:
    if not 1 < len(groups) <= MOST_DOTS:
        return []
    charts = []
    for name, heading in (("acc_test", "Accuracy"), ("explosions_test", "Explosions")):
        rows = []
        for group in groups:
            known = [row for row in group.rows if row.value(name) is not None]
            rows.append(
                (models.setting_lines(group.settings), [float(row.value(name)) for row in known], _seeds(known))
            )
        if not any(value for _, values, _ in rows for value in values):
            continue
        figure = setting_dots(rows, DISPLAYED[name].name, name)
        words = f"{DISPLAYED[name].name} of {count(len(groups), 'setting')}, a row of points each"
        charts += Chart.of(heading, f"settings-{name.replace('_', '-')}", figure, words)
    return charts


def _seeds(rows: Sequence[Row]) -> list[str]:
    return [f"seed {row.seed}" for row in rows]


def _pixels(models: Models, groups: Sequence[SeedGroup]) -> Part:
    """Section 6.1: shares of black and white pixels of transformed test sets."""
    raw = models.results(None, "raw")
    rows = []
    if raw is not None:
        black, white = raw["black_fraction"].get("test"), raw["white_fraction"].get("test")
        rows = [("the test images", NOTHING, percent(black), percent(white))] if black is not None else []
    for group in groups:
        found = group.of("black_test"), group.of("white_test")
        if found[0].mean is not None and found[1].mean is not None:
            shares = [percent(one.mean or 0.0) for one in found]
            rows.append((models.setting(group.settings), number(found[0].n), shares[0], shares[1]))
    heads = ("transformed test set", "seeds", "below 0.01", "above 0.95")
    tables = [Table("Shares of pixels", heads, rows)] if rows else []
    return Part("Black and white pixels", tables=tables, folded=_folded(rows))


def _network(models: Models, groups: Sequence[SeedGroup]) -> Part:
    """Section 6.3: what a network with one hidden layer gains on transformed sets."""
    raw = models.results(None, "raw")
    rows = []
    if raw is not None and raw.get("acc_raw_net_test") is not None:
        rows.append(("raw pixels", NOTHING, *_gained(raw["acc_raw_test"], raw["acc_raw_net_test"])))
    known = [group for group in groups if group.of("acc_net_test").n]
    for group in known:
        before, after = group.of("acc_test").mean or 0.0, group.of("acc_net_test").mean or 0.0
        rows.append((models.setting(group.settings), number(group.of("acc_net_test").n), *_gained(before, after)))
    words = "Test accuracy."
    if models.study.published is not None:
        words += " The report gained 0.003 on the transformed set of its winner."
    heads = ("states", "seeds", "logistic regression", "network", "gained")
    return Part(
        "A network with one hidden layer instead of logistic regression",
        [words],
        [Table("Two classifiers", heads, rows)] if known else [],
        folded=_folded(rows),
    )


def _gained(before: float, after: float) -> tuple[str, str, str]:
    digits = DISPLAYED["acc_test"].digits
    gain = number_text(after - before, digits, is_difference=True)
    return number_text(before, digits), number_text(after, digits), gain


def _folded(rows: Sequence[Sequence[str]]) -> str:
    """Long tables beside that of all settings are folded away."""
    return f"Show {count(len(rows), 'row')}" if len(rows) > _LONG else ""


def errors_answer(models: Models, rows: Sequence[Row]) -> Answer:
    """Figure 5: accuracy and explosions against reconstruction error, and their correlation."""
    known = [row for row in rows if None not in (row.mse_test, row.acc_test, row.explosions_test)]
    if not known:
        return None
    accuracies = range_of([row.acc_test for row in known if row.acc_test is not None])
    most = max(row.explosions_test or 0 for row in known)
    explosions = (-0.06 * max(most, 1), 1.06 * max(most, 1))
    charts = []
    for place, level in enumerate(models.levels):
        panel = []
        for family in (family for family in models.families if family.level == level):
            keys = {cell.key for cell in family.cells}
            of_family = [row for row in known if row.key in keys]
            series = Series(family.name, family.number, models.family_count)
            panel.append(ErrorPoints(series, *_points(models, of_family)))
        panel = [points for points in panel if points.runs]
        if not panel:
            continue
        figure = accuracy_and_explosions(panel, accuracies, explosions)
        words = f"Accuracy and explosions against reconstruction error, {level}"
        charts += Chart.of(level, f"errors-{place}", figure, words)
    words = (
        "Each small point is one model; a diamond is the average of those that differ in their seed only. Panels share "
        "their vertical axes."
    )
    question = "Does a map that reconstructs better also have fixed points that are easier to classify?"
    return question, [Part(words=[words], charts=charts), _correlations(models, known)]


def _points(models: Models, rows: Sequence[Row]) -> tuple[list[RunPoint], list[RunPoint]]:
    def point(found: SeedGroup | Row, seeds: str) -> RunPoint:
        settings = found.settings if isinstance(found, SeedGroup) else found
        error, accuracy, explosions = (
            float((found.of(name).mean if isinstance(found, SeedGroup) else found.value(name)) or 0.0)
            for name in ("mse_test", "acc_test", "explosions_test")
        )
        return RunPoint(error, accuracy, explosions, models.setting(settings), seeds)

    runs = [point(row, str(row.seed)) for row in rows]
    averages = [point(group, str(len(group.rows))) for group in groups_of(rows) if len(group.rows) > 1]
    return runs, averages


def _correlations(models: Models, rows: Sequence[Row]) -> Part:
    table = []
    for found in correlations(rows):
        if found.r is None:
            continue
        low, high = found.low, found.high
        verdict = NOTHING
        if low is not None and high is not None:
            verdict = (
                "lower error, better accuracy" if high < 0 else "lower error, worse accuracy" if low > 0 else "open"
            )
        table.append(
            (
                models.level(found.settings),
                "all" if found.is_pooled else models.family(found.settings),
                number(found.runs),
                number(found.trainings),
                number_text(found.r, 2, is_difference=True),
                interval_text(low, high, 2),
                verdict,
            )
        )
    words = (
        "Pearson's correlation of the reconstruction error with the accuracy, over runs, and its 95% interval by "
        "Fisher's transform. Runs that differ in epochs only are snapshots of one training and depend on each other, "
        "so the interval is as wide as if there were no more runs than trainings."
    )
    heads = ("level", "maps", "runs", "trainings", "correlation", "95% interval", "what it says")
    if any(row[1] == "all" for row in table):
        words += " All maps together also tell of what they differ in, which changes both numbers."
    if not table:
        return Part("Does the error tell the accuracy?", ["A correlation takes three models of one level."])
    return Part("Does the error tell the accuracy?", [words], [Table("Correlations", heads, table)])

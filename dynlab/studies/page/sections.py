"""The page of a study, `reports/<study>/index.html`: what it asked, what was found, and what is missing.

It shows the figures that the specification asks for, of the stages that are there; of what is not there a sentence
says so. Only results and small files are read, never the transformed sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dynlab
from dynlab.report.study.parts import Failed, Link, Part, StudyPage, StudySection
from dynlab.report.words import LONGEST_LIST, count, enumeration, number, plural, setting
from dynlab.studies.answers.comparison import Comparison
from dynlab.studies.answers.rows import Row
from dynlab.studies.grid import Cell
from dynlab.studies.page.explosions import explosions_answer
from dynlab.studies.page.graph import graph_answer
from dynlab.studies.page.models import HEADS, Answer, FolderOf, Models, value_words
from dynlab.studies.page.numbers import errors_answer, settings_answer
from dynlab.studies.page.orbits import orbit_answer
from dynlab.studies.page.pictures import films_answer, fixed_points_answer, reconstruction_answer, screen_for_models
from dynlab.studies.page.published import published_answer
from dynlab.studies.page.weights import convergence_answer, weights_answer
from dynlab.studies.points import DIMENSIONS
from dynlab.studies.running.failures import Failure
from dynlab.studies.specification import FIGURES, Study

# What a figure is called, and the stage whose results it shows.
_TITLES = {
    "published": ("Beside the published figures", "separability"),
    "table": ("All settings", "iterate"),
    "accuracy_and_explosions": ("Reconstruction error and accuracy", "separability"),
    "reconstruction": ("Reconstruction", "iterate"),
    "films": ("Film strips", "iterate"),
    "fixed_points": ("Good and misclassified fixed points", "separability"),
    "convergence": ("How samples come to rest", "iterate"),
    "weights": ("Weights", "iterate"),
    "along_orbit": ("Separability along the orbit", "separability"),
    "explosions": ("Explosions", "basins"),
    "graph": ("Saddles between basins", "graph"),
}
_LINKS = (
    ("results.csv", "results.csv, a row a model"),
    ("summary.csv", "summary.csv, means and standard deviations over seeds"),
)


def study_page(
    study: Study,
    cells: Sequence[Cell],
    found: FolderOf,
    rows: Sequence[Row],
    comparison: Comparison | None = None,
    failures: Sequence[Failure] = (),
) -> StudyPage:
    """All that the page of a study shows; `dynlab.report.study.page.write_page` writes it.

    Args:
        study: Its specification.
        cells: All of its models.
        found: The folder of a stage of a model, or of the data (None), if it is there and whole; else None.
        rows: What is known of the models.
        comparison: Ours beside the published figures.
        failures: What failed in the last run.

    Returns:
        The page. It links to `results.csv` and `summary.csv` beside it.
    """
    models = Models(study, cells, found, rows)
    screen = screen_for_models(models)
    made: dict[str, Callable[[], Answer]] = {
        "table": lambda: settings_answer(models, rows),
        "accuracy_and_explosions": lambda: errors_answer(models, rows),
        "along_orbit": lambda: orbit_answer(models),
        "explosions": lambda: explosions_answer(models, screen),
        "convergence": lambda: convergence_answer(models),
    }
    if screen is not None:
        made |= {
            "reconstruction": lambda: reconstruction_answer(models, screen),
            "films": lambda: films_answer(models, screen),
            "fixed_points": lambda: fixed_points_answer(models, screen),
            "weights": lambda: weights_answer(models, screen),
            "graph": lambda: graph_answer(models, screen),
        }
    sections = []
    if comparison is not None:
        sections.append(_section("published", published_answer(comparison)))
    sections += [_section(figure, made[figure]() if figure in made else None) for figure in study.figures]
    return StudyPage(
        title=study.title,
        question=study.question,
        introduction=_introduction(models, rows),
        failures=_failures(models, failures),
        discussion=study.discussion,
        links=[Link(target, words) for target, words in _LINKS],
        sections=sections,
        identity=_identity(models),
    )


def _section(name: str, answer: Answer) -> StudySection:
    title, stage = _TITLES[name]
    if answer is None:
        return StudySection(name, title, parts=[Part(words=[f"There is nothing to show yet of the stage {stage}."])])
    return StudySection(name, title, *answer)


def _introduction(models: Models, rows: Sequence[Row]) -> list[str]:
    study = models.study
    settings = len({models.setting(cell.settings) for cell in models.cells})
    of_them = f", of {count(settings, 'setting')}" if settings < len(models.cells) else ""
    sentences = [f"The study has {count(len(models.cells), 'model')}{of_them}, trained on {study.data.train}."]
    differ = [f"{HEADS.get(name, name)} ({_values(models, name)})" for name in models.varying]
    seeds = models.values("seed")
    if len(seeds) > 1:
        differ.append(f"seed ({len(seeds)} of them)")
    if differ:
        sentences.append(f"They differ in {enumeration(differ)}.")
    missing = len(models.cells) - len(rows)
    if not rows:
        sentences.append("None has results yet.")
    elif missing:
        sentences.append(f"{count(missing, 'model')} {'has' if missing == 1 else 'have'} no results yet.")
    lacking = [name for name in FIGURES if name not in study.figures]
    if lacking:
        words = enumeration([name.replace("_", " ") for name in lacking])
        sentences.append(f"Not on this page, as the study does not ask for it: {words}.")
    return sentences


def _values(models: Models, name: str) -> str:
    words = [value_words(name, value) for value in models.values(name)]
    return ", ".join(words) if len(words) <= 2 * LONGEST_LIST else setting(words)


def _failures(models: Models, failures: Sequence[Failure]) -> list[Failed]:
    """One for each place that stays empty, in the words of the page where it is that of a model."""
    by_folder = {cell.folder: cell for cell in models.cells}
    told = []
    for failure in failures:
        for place in failure.places or ("",):
            folder, _, stage = place.rpartition("/")
            cell, which = by_folder.get(folder), stage or failure.label
            if cell is not None:
                which = f"{models.setting(cell.settings)}, seed {cell.settings.seed}: {stage}"
            told.append(Failed(f"{which}:", failure.reason))
    return told


def _identity(models: Models) -> list[tuple[str, str]]:
    study = models.study
    sets = [
        (f"{role} set", name if limit is None else f"the first {number(limit)} of {name}")
        for role, (name, limit) in study.data.given.items()
    ]
    same = [
        value_words(name, models.values(name)[0]) + " weights"
        if name == "tied"
        else f"{name} = {value_words(name, models.values(name)[0])}"
        for name in DIMENSIONS
        if name != "seed" and len(models.values(name)) == 1
    ]
    rule, asked = study.iteration, study.analyses.model_dump(exclude_none=True)
    analyses = [
        name + (f" ({', '.join(f'{key} = {value}' for key, value in table.items())})" if table else "")
        for name, table in asked.items()
    ]
    return [
        ("study", study.name),
        *sets,
        (plural(len(same), "setting") + " of all models", ", ".join(same)),
        ("seeds", _values(models, "seed")),
        (
            "iteration",
            (
                f"a set stops when the steps of more than {100 * rule.share:g}% are shorter than {rule.tolerance:g}, "
                f"or after {number(rule.max_steps)} steps"
            ),
        ),
        ("analyses", ", ".join(analyses) or "none"),
        ("version", f"dynlab {dynlab.__version__}"),
    ]

"""`dynlab run`, `dynlab status` and `dynlab report`: studies."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynlab.cli.options import DataDir, Device, Quiet, integer
from dynlab.cli.output import print_error
from dynlab.devices import available_cores
from dynlab.errors import InputError

if TYPE_CHECKING:
    from dynlab.studies.answers.files import WrittenAnswers
    from dynlab.studies.plan import Plan
    from dynlab.studies.running.executors import Workers
    from dynlab.studies.running.summary import Summary
    from dynlab.studies.specification import Study
    from dynlab.studies.study_tasks import StudyTasks

_MOST_WORKERS = 1000  # processes of one machine
_INTERRUPTED = 130  # the exit status of what SIGINT ended, in shells
_MEASURES = ("acc_test", "explosions_test", "attractors")  # shown at the end


def run(
    study: Annotated[
        str,
        typer.Argument(
            help="A specification, such as analyses/walkback.toml, or the name of one that comes with dynlab, such as "
            "quickstart.",
            metavar="STUDY",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the study, for all that is computed and for the answers.  [default: reports/<study>]",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Compute only models with this setting, such as sigma=0.7. Given several times: those with one of the "
            "values of each setting that is named.",
            metavar="SETTING=VALUE",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the models, what is done of each, and what the rest may cost; no more."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes to compute in, a thread each; 0: in this one.  [default: as many as there are cores]",
            parser=integer,
            metavar="INTEGER",
            show_default=False,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Compute on the workers of this Dask scheduler, such as tcp://10.0.0.1:8786; they must see the "
            "folder and the data under the same paths.",
            metavar="ADDRESS",
        ),
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Compute a study: train what it asks for, find out what it asks about, and write its answers.

    Answers are results.csv, with a row for each model; summary.csv, with means over seeds; README.md, where the
    published figures stand beside them; and the page index.html.

    What is computed stays in the folder, and is never computed twice: an interrupted study goes on when the same
    command is given again, and a changed analysis trains nothing anew. What fails keeps nothing else from being
    computed; it is listed at the end, and the exit status is 1.
    """
    from dynlab.files import check_writable_folder
    from dynlab.studies.answers.files import check_folder, keep_specification, kept_rows, write_answers
    from dynlab.studies.part import part_of
    from dynlab.studies.plan import plan_of
    from dynlab.studies.runner import run_study, study_tasks
    from dynlab.studies.running.display import shown_study
    from dynlab.studies.specification import load_study
    from dynlab.studies.stages import STAGES
    from dynlab.studies.study_data import load_study_data

    if scheduler is not None and workers is not None:
        raise InputError(f"workers is {workers}, expected none beside a scheduler, whose workers compute")
    whole = load_study(study)
    part = part_of(whole, only or ())
    folder = Path("reports", whole.name) if out is None else out
    check_writable_folder(folder, parameter="out")
    check_folder(whole, folder)
    data = load_study_data(part, data_dir=data_dir)
    count = available_cores() if workers is None else workers
    kept_rows(folder)  # a file that cannot be read is told now, and not after hours
    with contextlib.closing(_workers(scheduler, count)) as chosen:
        if dry_run:
            asked = study_tasks(part, data, STAGES, chosen, device=device, data_dir=data_dir)
            _print_plan(part, plan_of(asked, data, folder, workers=chosen.in_flight()), asked)
            return
        try:
            with shown_study(quiet=quiet) as display:
                summary = run_study(
                    part,
                    data,
                    folder,
                    stages=STAGES,
                    workers=chosen,
                    device=device,
                    data_dir=data_dir,
                    display=display,
                    on_begin=lambda: keep_specification(whole, folder),
                )
        except KeyboardInterrupt:
            _print_interrupted(folder)
            raise typer.Exit(_INTERRUPTED) from None
    try:
        _print_answers(write_answers(whole, data, folder), folder)
    finally:  # what failed is told even where answers cannot be written
        _print_end(summary, folder)
    if not summary.complete:
        raise typer.Exit(1)


def status(
    folder: Annotated[
        Path, typer.Argument(help="Of a study, such as reports/walkback.", metavar="FOLDER", show_default=False)
    ],
    every: Annotated[bool, typer.Option("--all", help="Show every task, and not only what is under way or failed.")] = (
        False
    ),
) -> None:
    """Show how a study stands, while it runs or after."""
    from dynlab.studies.running.display import summary_line, task_line
    from dynlab.studies.running.progress import read_status

    found = read_status(folder)
    print(found.title)
    for task in found.tasks:
        if every or task.state in ("running", "failed", "not run"):
            print(f"  {task_line(task)}")
    print(summary_line(found))
    if found.state == "killed":
        print(f"its process is gone: {found.runner}; `dynlab run` goes on from here")


def report(
    folder: Annotated[
        Path, typer.Argument(help="Of a study, such as reports/walkback.", metavar="FOLDER", show_default=False)
    ],
    study: Annotated[
        str | None,
        typer.Option(
            help="Its specification, if not the one that stands in the folder, such as one with another discussion.",
            metavar="STUDY",
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the answers of a study anew from what is computed: results.csv, summary.csv, README.md and index.html.

    Nothing is computed, so that it can be done while the study runs. Rows of results.csv stay where what they were
    made from is no longer in the folder, or was computed on another machine.
    """
    from dynlab.studies.answers.files import keep_specification, study_in, write_answers
    from dynlab.studies.specification import load_study
    from dynlab.studies.study_data import load_study_data

    if study is None:
        found = study_in(folder)
    else:
        found = load_study(study)
        keep_specification(found, folder)
    answers = write_answers(found, load_study_data(found, data_dir=data_dir), folder)
    _print_answers(answers, folder)


def _workers(scheduler: str | None, count: int) -> Workers:
    from dynlab.studies.running.executors import DaskWorkers, InProcess, LocalProcesses

    if scheduler is not None:
        return DaskWorkers(scheduler)
    if not 0 <= count <= _MOST_WORKERS:
        raise InputError(f"workers is {count}, expected from 0 to {_MOST_WORKERS}")
    return LocalProcesses(count) if count else InProcess()


def _print_plan(study: Study, plan: Plan, asked: StudyTasks) -> None:
    """A line for each model, with the stages that are not done."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dynlab.studies.answers.rows import as_cell, differing_settings
    from dynlab.studies.running.display import duration
    from dynlab.studies.store import State

    names = list(dict.fromkeys(place.stage for one in plan.planned for place in one.task.places))
    seconds: dict[str, float] = {}  # of each folder of a cell
    unknown: set[str] = set()
    found: dict[str, State] = {}
    for one in plan.planned:
        for place, state in zip(one.task.places, one.states, strict=True):
            found[place.name] = state
            seconds[place.cell] = seconds.get(place.cell, 0.0) + (one.seconds or 0.0) / len(one.task.places)
            unknown |= {place.cell} if one.seconds is None else set()
    differing = differing_settings([cell.settings for cell in asked.cells], seeds=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in differing or ["model"]:
        table.add_column(name.replace("_", " "), overflow="fold")  # long ones, and values, go on in the next line
    for name in ("done", "to do", "estimate"):
        table.add_column(name, no_wrap=name != "to do")
    for cell in (None, *asked.cells):
        places = [place for name in names if (place := asked.place(cell, name)) is not None]
        if not places:
            continue
        states = {place.stage: found[place.name] for place in places}
        todo = [
            name if state is State.MISSING else f"{name} ({state.value})"
            for name, state in states.items()
            if state is not State.WHOLE
        ]
        folder = places[0].cell
        known = duration(seconds[folder]) if seconds.get(folder) else ""
        values = ["data" if cell is None else "the one"] if not differing else []
        if differing and cell is None:
            values = ["data", *([""] * (len(differing) - 1))]
        elif cell is not None:
            values += [str(as_cell(getattr(cell.settings, name))) for name in differing]
        table.add_row(
            *map(Text, values),
            f"{len(places) - len(todo)} of {len(places)}",
            Text("all" if todo == list(states) else ", ".join(todo)),
            " + ".join(part for part in (known, "?" if folder in unknown else "") if part),
        )
    console = Console()
    console.print(Text(study.title))
    console.print(table)
    done = sum(one.is_done for one in plan.planned)
    print(f"models: {plan.cells}, tasks: {len(plan.planned)}, done: {done}")
    if done < len(plan.planned):
        more = f", and {plan.unknown} tasks of which nothing is known before one of their kind is done (?)"
        print(f"time: about {duration(plan.seconds)} with {plan.workers} at a time{more if plan.unknown else ''}")
        print(f"memory: about {plan.memory / 2**30:.1f} GiB in all, disk: about {plan.disk / 2**30:.1f} GiB")


def _print_answers(answers: WrittenAnswers, folder: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dynlab.studies.answers.columns import DISPLAYED, measured
    from dynlab.studies.answers.groups import groups_of
    from dynlab.studies.answers.rows import as_cell, differing_settings

    groups = groups_of(answers.rows)
    differing = differing_settings([group.settings for group in groups])
    shown = [column for column in _MEASURES if any(group.of(column).n for group in groups)]
    if groups:
        table = Table(*differing, "seeds", *(DISPLAYED[column].name for column in shown), box=SIMPLE_HEAD)
        for group in groups:
            table.add_row(
                *(Text(str(as_cell(group.settings.value(name)))) for name in differing),
                str(len(group.rows)),
                *(measured(group.of(column), DISPLAYED[column].digits) for column in shown),
            )
        Console().print(table)
    print(f"models: {len(answers.rows)} of {answers.models}")
    for check in answers.comparison.checks if answers.comparison is not None else ():
        holds = {True: "holds", False: "does not hold", None: "cannot be told yet"}[check.holds]
        print(f"{check.what}: {holds}, wanted {check.wanted}, found {check.found}")
    print(f"answers: {folder / 'README.md'}, {folder / 'results.csv'}, {folder / 'summary.csv'}")
    if answers.page is not None:
        print(f"page: {answers.page}")


def _print_end(summary: Summary, folder: Path) -> None:
    """What did not go well, last, where it is seen."""
    for path in summary.set_aside:
        print_error(f"was damaged, and computed anew: {path}")
    failed = {(one.label, one.reason, one.file) for one in summary.failed}  # a task may have left several places empty
    for label, reason, file in sorted(failed, key=str):
        where = f", see {folder / file}" if file else ""
        print_error(f"failed: {label}: {reason}{where}")
    if summary.not_run:
        print_error(f"{len(summary.not_run)} tasks were not run, as what they need failed")
    if summary.interrupted:
        _print_interrupted(folder)


def _print_interrupted(folder: Path) -> None:
    print_error(
        f"interrupted; the same command goes on from here, `dynlab report {folder}` writes what is known so far"
    )

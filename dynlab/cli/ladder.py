"""`dynlab ladder`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from dynlab.cli.options import (
    DATA_HELP,
    PAGE,
    BatchSize,
    DataDir,
    Device,
    Hidden,
    Labels,
    LearningRate,
    Limit,
    Quiet,
    Tied,
    Walkback,
    integer,
    number,
)
from dynlab.cli.output import print_error, print_summary
from dynlab.errors import InputError

_MOST_LEVELS = 1000
_EXPECTED = "expected first:last:count such as 0.15:0.3:16, or values such as 0.15,0.2,0.25"


def ladder(
    data: Annotated[str, typer.Option(help=f"Training images: {DATA_HELP}.")],
    sigmas: Annotated[
        str,
        typer.Option(
            help="Corruption levels, rising or falling: first:last:count such as 0.15:0.3:16, or 0.15,0.2,0.25.",
            metavar="LEVELS",
        ),
    ],
    samples: Annotated[
        str | None, typer.Option(help="Samples to follow attractors of; the test set of a named data set.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the page, the results and the checkpoints.")] = Path(
        "reports/ladder"
    ),
    epochs: Annotated[
        int, typer.Option(help="Passes over the images at the first level.", parser=integer, metavar="INTEGER")
    ] = 400,
    epochs_per_level: Annotated[
        int, typer.Option(help="Passes over the images at each further level.", parser=integer, metavar="INTEGER")
    ] = 100,
    walkback: Walkback = 3,
    annealing: Annotated[
        float,
        typer.Option(
            help="Factor of the learning rate after each epoch of the first level; it stays for the others.",
            parser=number,
            metavar="NUMBER",
        ),
    ] = 0.99,
    batch_size: BatchSize = 20,
    learning_rate: LearningRate = 0.1,
    hidden: Hidden = 256,
    tied: Tied = False,
    same_noise: Annotated[
        bool,
        typer.Option(
            "--same-noise/--own-noise",
            help="Whether all further levels see the same noise, so that less of what changes is chance, or their own.",
        ),
    ] = True,
    share: Annotated[
        float,
        typer.Option(
            help="Share of a basin's samples that must go one way for it to have merged or split.",
            parser=number,
            metavar="NUMBER",
        ),
    ] = 0.5,
    labels: Labels = None,
    train_labels: Annotated[
        Path | None, typer.Option(help="Classes of the training images in a file: .npy or IDX.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random stream.", parser=integer, metavar="INTEGER")] = 0,
    limit: Limit = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train along a ladder of corruption levels, follow the attractors, and write a page of bands.

    Levels whose checkpoints are in the folder are not trained again, so interrupted work goes on where it stopped.
    """
    levels = parse_levels(sigmas)
    from dynlab.training import TrainingSettings

    settings = TrainingSettings(
        sigma=levels[0],
        epochs=epochs,
        walkback=walkback,
        annealing=annealing,
        batch_size=batch_size,
        learning_rate=learning_rate,
        hidden=hidden,
        tied=tied,
        seed=seed,
    )
    from dynlab.cli.training import interruption_told
    from dynlab.datasets import load_dataset, testing_set_of
    from dynlab.devices import resolve_device
    from dynlab.display import shown
    from dynlab.files import check_writable_folder
    from dynlab.folders import check_kind
    from dynlab.studies.ladder import run_ladder
    from dynlab.training import TrainingDiverged

    check_writable_folder(out, parameter="out")
    check_kind(out, "a ladder", parameter="out")
    chosen = resolve_device(device)
    training = load_dataset(data, labels=train_labels, data_dir=data_dir)
    name = samples if samples is not None else testing_set_of(data)
    if name is None:
        raise InputError(f"samples is not given, and {data} has no test set to stand in; expected {DATA_HELP}")
    followed_samples = load_dataset(name, labels=labels, data_dir=data_dir, limit=limit)
    with shown(quiet=quiet) as display, interruption_told():
        try:
            followed, analyses = run_ladder(
                out,
                training,
                followed_samples,
                settings,
                levels,
                epochs_per_level=epochs_per_level,
                same_noise=same_noise,
                share=share,
                device=chosen,
                display=display,
            )
        except TrainingDiverged as error:
            print_error(str(error))
            raise typer.Exit(1) from error
    print_summary(analyses)
    print(f"levels: {len(levels)}, branches: {followed.branch_count}, events: {len(followed.events)}")
    print(f"page: {out / PAGE}")


def parse_levels(text: str) -> list[float]:
    """Levels from `first:last:count`, evenly spread with both ends, or from values with commas between them.

    Raises:
        InputError: If the text is neither, or the levels are not at least two, finite, strictly rising or falling.
    """
    levels = _parsed(text)
    steps = [after - before for before, after in pairwise(levels)]
    if not steps or not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        raise InputError(f"sigmas is {text!r}, expected at least two levels, strictly rising or strictly falling")
    return levels


def _parsed(text: str) -> list[float]:
    try:
        if ":" not in text:
            return [float(value) for value in text.split(",")]
        start, end, count = text.split(":")
        first, last, how_many = float(start), float(end), int(count)
    except ValueError as error:
        raise InputError(f"sigmas is {text!r}, {_EXPECTED}") from error
    if not 2 <= how_many <= _MOST_LEVELS:
        raise InputError(f"sigmas is {text!r}, expected a count from 2 to {_MOST_LEVELS}")
    step = (last - first) / (how_many - 1)
    # Rounded to what a user would have written: 0.17, not 0.16999999999999998.
    return [float(f"{first + step * row:.12g}") for row in range(how_many)]

"""The `dynlab` command. Errors that the user can mend are one line on stderr and exit status 2."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from dynlab import __version__
from dynlab.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dynlab.datasets import Dataset
    from dynlab.evaluation.analysis import Analysis

app = typer.Typer(
    name="dynlab",
    help="Where does everything go when a learned map is applied again and again?",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Data sets.", rich_markup_mode=None)
app.add_typer(data_app, name="data")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}, expected an integer") from error


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}, expected a number") from error


PAGE = "index.html"
_DATA_HELP = (
    "mnist, mnist/train, mnist/validation, mnist/test, digits, digits/train, digits/test, or a .npy, .npz or IDX file"
)
DataDir = Annotated[
    Path | None, typer.Option(help="Folder that has MNIST; DYNLAB_DATA, or the user's cache, if not given.")
]
Labels = Annotated[Path | None, typer.Option(help="Classes of the images in a file: .npy or IDX.")]
Limit = Annotated[
    int | None, typer.Option(help="Take only the first samples, in file order.", parser=_integer, metavar="INTEGER")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no error
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except (InputError, TyperException) as error:
        _print_error(error.format_message() if isinstance(error, TyperException) else str(error))
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush when Python ends
        sys.exit(1)
    except OSError as error:
        _print_error(f"{error.filename or 'output'}: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _print_error(message: str) -> None:
    print(f"dynlab: {' '.join(message.split())}", file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dynlab {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the page and the results.")] = Path("reports/demo"),
    seed: Annotated[int, typer.Option(help="Seed of every random stream.", parser=_integer, metavar="INTEGER")] = 0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train on 8 x 8 digits at four corruption levels, analyse, and write one page. Needs no data and no network."""
    from dynlab.devices import resolve_device
    from dynlab.display import shown
    from dynlab.files import check_writable_folder
    from dynlab.studies.demo import run_demo

    check_writable_folder(out, parameter="out")
    chosen = resolve_device(device)
    with shown(quiet=quiet) as display:
        analyses = run_demo(out, seed=seed, device=chosen, display=display)
    _print_summary(analyses)
    print(f"page: {out / PAGE}")


@app.command()
def train(
    data: Annotated[str, typer.Option(help=f"Training images: {_DATA_HELP}.")],
    sigma: Annotated[
        float,
        typer.Option(
            help="Corruption level: standard deviation of the Gaussian noise.", parser=_number, metavar="NUMBER"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint to write, .safetensors.")],
    epochs: Annotated[int, typer.Option(help="Passes over the images.", parser=_integer, metavar="INTEGER")] = 100,
    walkback: Annotated[int, typer.Option(help="Walkback steps k.", parser=_integer, metavar="INTEGER")] = 1,
    annealing: Annotated[
        float, typer.Option(help="Factor of the learning rate after each epoch.", parser=_number, metavar="NUMBER")
    ] = 0.99,
    batch_size: Annotated[int, typer.Option(help="Samples in a minibatch.", parser=_integer, metavar="INTEGER")] = 20,
    learning_rate: Annotated[
        float, typer.Option(help="Learning rate of the first epoch.", parser=_number, metavar="NUMBER")
    ] = 0.1,
    hidden: Annotated[int, typer.Option(help="Hidden units.", parser=_integer, metavar="INTEGER")] = 500,
    tied: Annotated[bool, typer.Option("--tied", help="Decode with the transpose of the encoder's weight.")] = False,
    seed: Annotated[
        int, typer.Option(help="Seed of initialization and corruption.", parser=_integer, metavar="INTEGER")
    ] = 0,
    test_data: Annotated[
        str | None, typer.Option(help="Images to report errors on; the test set of a named data set.")
    ] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a denoising autoencoder and write its checkpoint."""
    from dynlab.training import TrainingSettings

    settings = TrainingSettings(
        sigma=sigma,
        epochs=epochs,
        walkback=walkback,
        annealing=annealing,
        batch_size=batch_size,
        learning_rate=learning_rate,
        hidden=hidden,
        tied=tied,
        seed=seed,
    )
    import torch

    from dynlab.datasets import load_dataset, testing_set_of
    from dynlab.devices import resolve_device
    from dynlab.display import shown
    from dynlab.files import check_writable_file
    from dynlab.training import EpochProgress, TrainingDiverged, train_on_dataset

    check_writable_file(out, parameter="out")
    chosen = resolve_device(device)
    images = load_dataset(data, data_dir=data_dir, limit=limit)
    test_name = test_data if test_data is not None else testing_set_of(data)
    tests = load_dataset(test_name, data_dir=data_dir) if test_name is not None else None
    if tests is not None:
        _check_same_dim(tests, images.images.shape[1], f"the training images {images.name}")
    torch.set_num_threads(1)  # a second thread slows products of a minibatch's size down

    with shown(quiet=quiet) as display:

        def report(progress: EpochProgress) -> None:
            note = f"objective {progress.objective:.3f}, {progress.samples_per_second:.0f} samples/s"
            display("training", progress.epoch / progress.epochs, note)

        try:
            autoencoder = train_on_dataset(images, settings, test=tests, device=chosen, on_epoch=report)
        except TrainingDiverged as error:
            _print_error(str(error))
            raise typer.Exit(1) from error
    autoencoder.save(out)
    for which, errors in autoencoder.training_settings["errors"].items():
        print(
            f"{which}: walkback objective {errors['walkback']:.3f}, "
            f"reconstruction error {errors['clean']:.3f} (clean), {errors['corrupted']:.3f} (corrupted)"
        )
    print(f"checkpoint: {out}")


@app.command()
def analyse(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of a denoising autoencoder, .safetensors.")],
    data: Annotated[str, typer.Option(help=f"Samples to iterate: {_DATA_HELP}.")],
    out: Annotated[Path, typer.Option(help="Folder for the page and the results.")],
    train_data: Annotated[str | None, typer.Option(help="Labelled training set, for separability.")] = None,
    labels: Labels = None,
    train_labels: Annotated[
        Path | None, typer.Option(help="Classes of the images in a file given as --train-data.")
    ] = None,
    limit: Limit = None,
    tolerance: Annotated[
        float, typer.Option(help="Step length that ends plain iteration.", parser=_number, metavar="NUMBER")
    ] = 1e-4,
    max_steps: Annotated[
        int, typer.Option(help="Limit of steps of plain iteration.", parser=_integer, metavar="INTEGER")
    ] = 10_000,
    recorded_samples: Annotated[
        int,
        typer.Option(help="Samples to record the step lengths of, the first ones.", parser=_integer, metavar="INTEGER"),
    ] = 500,
    certify: Annotated[
        int,
        typer.Option(
            help="Attractors to certify, those with the largest basins; 0 for none.", parser=_integer, metavar="INTEGER"
        ),
    ] = 10,
    proof: Annotated[
        bool,
        typer.Option(
            "--proof", help="Prove the certificates in ball arithmetic, not estimate them; slow, needs python-flint."
        ),
    ] = False,
    graph: Annotated[
        bool,
        typer.Option("--graph", help="Join attractors by the saddles between their basins; writes graph.graphml too."),
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Seed of the recognizer and of the film strips.", parser=_integer, metavar="INTEGER")
    ] = 0,
    data_dir: DataDir = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Find out where a denoising autoencoder takes samples; write a page, results.json and arrays.safetensors."""
    from dynlab.evaluation.settings import AnalysisSettings

    settings = AnalysisSettings(
        tolerance=tolerance,
        max_steps=max_steps,
        recorded_samples=recorded_samples,
        certified_attractors=certify,
        certificate_method="proof" if proof else "estimate",
        graph=graph,
        seed=seed,
    )
    from dynlab.attractors.graph_files import GRAPH_FILE, STATES_FILE
    from dynlab.datasets import load_dataset, training_set_of
    from dynlab.devices import resolve_device
    from dynlab.display import shown
    from dynlab.evaluation.analyse import analyse as analyse_map
    from dynlab.evaluation.analysis import ARRAYS_FILE, RESULTS_FILE
    from dynlab.files import check_writable_file, check_writable_folder
    from dynlab.maps import DenoisingAutoencoder
    from dynlab.report import write_report

    check_writable_folder(out, parameter="out")
    for file_name in (RESULTS_FILE, ARRAYS_FILE, GRAPH_FILE, STATES_FILE, PAGE):
        check_writable_file(out / file_name, parameter="out")
    chosen = resolve_device(device)
    autoencoder = DenoisingAutoencoder.load(checkpoint)
    samples = load_dataset(data, labels=labels, data_dir=data_dir, limit=limit)
    if train_data is None and train_labels is not None:
        raise InputError(f"train_labels {train_labels}: given without train_data, expected both")
    training = None if train_data is None else load_dataset(train_data, labels=train_labels, data_dir=data_dir)
    recognizer_name = training_set_of(data) if training is None else None
    for_recognizer = load_dataset(recognizer_name, data_dir=data_dir) if recognizer_name else training
    for used in (samples, training, for_recognizer):
        if used is not None:
            _check_same_dim(used, autoencoder.dim, f"the checkpoint {checkpoint}")
    with shown(quiet=quiet) as display:
        analysis = analyse_map(
            autoencoder.to(chosen),
            samples,
            train_data=training,
            recognizer_data=for_recognizer,
            settings=settings,
            name=checkpoint.name,
            on_progress=display,
        )
        analysis.save(out)
        write_report([analysis], out / PAGE)
    _print_summary([analysis])
    print(f"page: {out / PAGE}")


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="mnist")],
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Download a data set into the user's cache; check one that a named folder has."""
    from dynlab.datasets import fetch_dataset

    folder = fetch_dataset(name, data_dir=data_dir, progress=not quiet and sys.stderr.isatty())
    print(f"{name}: {folder}")


def _check_same_dim(data: Dataset, dim: int, other: str) -> None:
    if data.images.shape[1] != dim:
        raise InputError(f"{data.name}: images have {data.images.shape[1]} pixels, expected {dim} as {other} has")


def _print_summary(analyses: Sequence[Analysis]) -> None:
    """Print a table, one column an analysis."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dynlab.evaluation.kinds import Outcome

    results = [analysis.results for analysis in analyses]
    table = Table("", *(escape(r.title) for r in results), box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("samples", *(str(r.data.samples) for r in results))
    table.add_row("attractors", *(str(len(r.attractors)) for r in results))
    for outcome in Outcome:
        if any(r.outcomes[outcome] for r in results):
            table.add_row(str(outcome), *(f"{r.outcomes[outcome] / r.data.samples:.1%}" for r in results))
    table.add_row("steps to transform", *(str(r.transformed.steps) for r in results))
    if any(r.separability for r in results):
        accuracies = [
            (r.separability.raw.test, r.separability.transformed.test) if r.separability else () for r in results
        ]
        for index, what in enumerate(("test accuracy, raw", "test accuracy, transformed")):
            table.add_row(what, *(f"{pair[index]:.3f}" if pair else "" for pair in accuracies))
    console = Console()
    console.print(table)
    # One recognizer judges all maps of the demo.
    for report in {id(r.recognizer): r.recognizer for r in results if r.recognizer}.values():
        confusion = Table("recognizer, judged on", "a member", "a stain", box=SIMPLE_HEAD)
        for judgement in report.confusion:
            confusion.add_row(judgement.images, str(judgement.called_member), str(judgement.called_stain))
        console.print(confusion)
        console.print(f"balanced accuracy of the recognizer: {report.balanced_accuracy:.3f}", highlight=False)

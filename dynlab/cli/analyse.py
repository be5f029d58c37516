"""`dynlab analyse`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynlab.cli.options import DATA_HELP, PAGE, DataDir, Device, Labels, Limit, Quiet, check_same_dim, integer, number
from dynlab.cli.output import print_error, print_summary
from dynlab.errors import InputError

if TYPE_CHECKING:
    from dynlab.datasets import Dataset
    from dynlab.maps import Map

# Options that are called otherwise than the setting.
_OPTIONS = {"certified_attractors": "certify", "basin_planes": "planes", "noise_draws": "draws"}
# Of the parts of the results that are there only if they are asked for: what they are, and the options.
_PARTS = {
    "connections": ("the connection graph", "--graph"),
    "robustness": ("the robustness", "--robustness"),
    "separability": ("the separability", "--train-data"),
}


def analyse(
    map_name: Annotated[
        str,
        typer.Argument(
            help="Checkpoint of an autoencoder, .safetensors; or FILE.py:NAME or MODULE:NAME, a map, torch module or "
            "batched function in Python, or a function without arguments that makes one.",
            metavar="MAP",
        ),
    ],
    data: Annotated[str, typer.Option(help=f"Samples to iterate: {DATA_HELP}.")],
    out: Annotated[Path, typer.Option(help="Folder for the page and the results.")],
    train_data: Annotated[str | None, typer.Option(help="Labelled training set, for separability.")] = None,
    labels: Labels = None,
    train_labels: Annotated[
        Path | None, typer.Option(help="Classes of the images in a file given as --train-data.")
    ] = None,
    limit: Limit = None,
    any_values: Annotated[
        bool, typer.Option("--any-values", help="Take states that are no pixels in [0, 1], from files of numbers.")
    ] = False,
    corruption: Annotated[
        str | None,
        typer.Option(
            help="Start at corrupted samples: gaussian(0.7), square(0.4), ...; without level, at the training's sigma."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Step length that ends plain iteration.", parser=number, metavar="NUMBER")
    ] = 1e-4,
    max_steps: Annotated[
        int, typer.Option(help="Limit of steps of plain iteration.", parser=integer, metavar="INTEGER")
    ] = 10_000,
    max_exact_steps: Annotated[
        int,
        typer.Option(
            help="Limit of further steps, in float64, of samples that are not decided by then.",
            parser=integer,
            metavar="INTEGER",
        ),
    ] = 100_000,
    recorded_samples: Annotated[
        int,
        typer.Option(help="Samples to record the step lengths of, the first ones.", parser=integer, metavar="INTEGER"),
    ] = 500,
    certify: Annotated[
        int,
        typer.Option(
            help="Attractors to certify, those with the largest basins; 0 for none.", parser=integer, metavar="INTEGER"
        ),
    ] = 10,
    proof: Annotated[
        bool,
        typer.Option(
            "--proof", help="Prove the certificates in ball arithmetic, not estimate them; slow, needs python-flint."
        ),
    ] = False,
    planes: Annotated[
        int,
        typer.Option(
            help="Pictures of basins, on planes through three attractors; maps of one or two numbers have one; 0: no.",
            parser=integer,
            metavar="INTEGER",
        ),
    ] = 1,
    graph: Annotated[
        bool,
        typer.Option(
            "--graph",
            help="Join attractors by the saddles between their basins; writes graph.graphml and a picture, graph.svg.",
        ),
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness", help="Look for the smallest shocks, and count escapes by noise; writes escapes.graphml too."
        ),
    ] = False,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of that noise; the corruption level of the training if not given.",
            parser=number,
            metavar="NUMBER",
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            help="Perturbations of each attractor and each shocked sample; 20 to 200 if not given.",
            parser=integer,
            metavar="INTEGER",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of the recognizer, the film strips and the corruption.", parser=integer, metavar="INTEGER"
        ),
    ] = 0,
    data_dir: DataDir = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Find out where a map takes samples; write a page, results.json and arrays.safetensors."""
    from dynlab.evaluation.settings import AnalysisSettings

    for option, given in (("noise", noise), ("draws", draws)):
        if given is not None and not robustness:
            raise InputError(f"{option} {given}: given without robustness, expected both")
    try:
        settings = AnalysisSettings(
            tolerance=tolerance,
            max_steps=max_steps,
            max_exact_steps=max_exact_steps,
            recorded_samples=recorded_samples,
            certified_attractors=certify,
            certificate_method="proof" if proof else "estimate",
            basin_planes=planes,
            graph=graph,
            robustness=robustness,
            noise=noise,
            noise_draws=draws,
            seed=seed,
        )
    except InputError as error:
        option = _OPTIONS.get(str(error).partition(" ")[0])
        raise InputError(f"{option}: {error}" if option else str(error)) from error
    from dynlab.attractors.connections.files import GRAPH_FILE, STATES_FILE
    from dynlab.attractors.robustness.escape_files import ESCAPES_FILE
    from dynlab.cli.map_argument import found_map, map_on
    from dynlab.datasets import load_dataset, training_set_of
    from dynlab.devices import resolve_device
    from dynlab.display import shown
    from dynlab.evaluation.analyse import analyse as analyse_map
    from dynlab.evaluation.arrays import ARRAYS_FILE, RESULTS_FILE
    from dynlab.evaluation.identity import map_identity
    from dynlab.evaluation.inputs import learnable
    from dynlab.files import check_writable_file, check_writable_folder
    from dynlab.folders import check_kind
    from dynlab.report import write_report
    from dynlab.report.graph_picture import PICTURE_FILE, write_graph_picture
    from dynlab.training.corrupted_data import corrupt_dataset

    check_writable_folder(out, parameter="out")
    check_kind(out, "an analysis", parameter="out")
    for file_name in (RESULTS_FILE, ARRAYS_FILE, GRAPH_FILE, STATES_FILE, PICTURE_FILE, ESCAPES_FILE, PAGE):
        check_writable_file(out / file_name, parameter="out")
    chosen = resolve_device(device)
    found = found_map(map_name)
    samples = load_dataset(data, labels=labels, data_dir=data_dir, limit=limit, any_values=any_values)
    system = map_on(found, map_name, samples.shape, chosen, is_asked_for=device != "auto")
    if train_data is None and train_labels is not None:
        raise InputError(f"train_labels {train_labels}: given without train_data, expected both")
    training = (
        None
        if train_data is None
        else load_dataset(train_data, labels=train_labels, data_dir=data_dir, any_values=any_values)
    )
    recognizer_name = training_set_of(data) if training is None else None
    # Raw images, also where what is analysed is corrupted.
    for_recognizer = (
        load_dataset(recognizer_name, data_dir=data_dir)
        if recognizer_name
        else learnable(training) or learnable(samples)
    )
    for used in (samples, training, for_recognizer):
        if used is not None:
            check_same_dim(used, system.dim, f"the map {map_name}")
    if corruption is not None:
        level = map_identity(system, map_name, system.state_shape).corruption_level
        sigma = getattr(system, "training_settings", {}).get("sigma")
        if level is None and isinstance(sigma, int | float):  # trained with another corruption
            level = float(sigma)
        after_samples = len(samples.images)
        samples = corrupt_dataset(samples, corruption, seed=seed, level=level)
        training = training and corrupt_dataset(training, corruption, seed=seed, level=level, first=after_samples)
    _check_kept(out, system, samples, {"connections": graph, "robustness": robustness, "separability": bool(training)})
    with shown(quiet=quiet) as display:
        try:
            analysis = analyse_map(
                system,
                samples,
                train_data=training,
                recognizer_data=for_recognizer,
                settings=settings,
                name=Path(map_name).name,
                on_progress=display,
            )
        except KeyboardInterrupt:
            print_error("interrupted before there were results to write")
            raise
        (out / PAGE).unlink(missing_ok=True)  # should anything fail now, no older page stands beside new numbers
        analysis.save(out)
        if analysis.graph is None:
            (out / PICTURE_FILE).unlink(missing_ok=True)
        else:
            write_graph_picture(analysis, out / PICTURE_FILE)
        write_report([analysis], out / PAGE)
    print_summary([analysis])
    print(f"page: {out / PAGE}")


def _check_kept(out: Path, system: Map, samples: Dataset, asked: Mapping[str, bool]) -> None:
    """Check that nothing is lost that an analysis of the same map and samples has found, and this one does not ask for.

    Args:
        out: Where the results may be.
        system: The map.
        samples: What is to be analysed.
        asked: Of each optional part of `Results`, whether it is asked for.

    Raises:
        InputError: If something would be.
    """
    from dynlab.evaluation.arrays import RESULTS_FILE
    from dynlab.files import read_json
    from dynlab.maps import map_hash

    try:
        found = read_json(out / RESULTS_FILE)
        is_same = (found["map"]["sha256"], found["data"]["sha256"]) == (map_hash(system), samples.sha256)
        lost = [part for part, is_asked in asked.items() if is_same and not is_asked and found[part] is not None]
    except (OSError, ValueError, KeyError, TypeError):  # none, or a damaged one, which nobody can read
        return
    if lost:
        options = " ".join(_PARTS[part][1] for part in lost)
        raise InputError(
            f"out {out}: holds {' and '.join(_PARTS[part][0] for part in lost)} of this map and these samples, which "
            f"would be lost: expected {options} as well, or another folder"
        )

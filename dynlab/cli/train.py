"""`dynlab train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from dynlab.cli.options import (
    DATA_HELP,
    BatchSize,
    DataDir,
    Device,
    Limit,
    Quiet,
    Tied,
    Walkback,
    check_same_dim,
    integer,
    integers,
    number,
    numbers,
    one_of,
)
from dynlab.errors import InputError

_LIST = "one, or several such as"


def train(
    data: Annotated[str, typer.Option(help=f"Training images: {DATA_HELP}.")],
    out: Annotated[
        Path, typer.Option(help="Checkpoint to write, .safetensors; if several maps are trained, a folder for them.")
    ],
    sigma: Annotated[
        str | None,
        typer.Option(
            help=f"Corruption level, of Gaussian noise its standard deviation; {_LIST} 0.3,0.5,0.7.", metavar="NUMBERS"
        ),
    ] = None,
    corruption: Annotated[
        list[str] | None,
        typer.Option(
            help="How images are corrupted, see above; may be given several times.  [default: gaussian]", metavar="TEXT"
        ),
    ] = None,
    hidden: Annotated[
        str,
        typer.Option(help="Hidden units; 500,100 for a deeper encoder, which the decoder mirrors.", metavar="INTEGERS"),
    ] = "500",
    tied: Tied = False,
    hidden_nonlinearity: Annotated[
        str, typer.Option(help="Of hidden units: sigmoid, tanh, relu or identity.", metavar="NAME")
    ] = "sigmoid",
    output_nonlinearity: Annotated[str, typer.Option(help="Of output units, likewise.", metavar="NAME")] = "sigmoid",
    walkback: Walkback = 1,
    walkback_variant: Annotated[
        str,
        typer.Option(
            help="full: the mean distance after all k steps; detached: the same, with gradients through one step only; "
            "last: the distance after the k-th step.",
            metavar="NAME",
        ),
    ] = "full",
    loss: Annotated[str, typer.Option(help="Distance: squared-error or cross-entropy.", metavar="NAME")] = (
        "squared-error"
    ),
    contraction: Annotated[
        float,
        typer.Option(
            help="Factor of the contractive penalty, the squared norm of the encoder's Jacobian.",
            parser=number,
            metavar="NUMBER",
        ),
    ] = 0.0,
    epochs: Annotated[int, typer.Option(help="Passes over the images.", parser=integer, metavar="INTEGER")] = 100,
    batch_size: BatchSize = 20,
    learning_rate: Annotated[
        str, typer.Option(help=f"Learning rate of the first epoch; {_LIST} 0.1,0.2.", metavar="NUMBERS")
    ] = "0.1",
    annealing: Annotated[
        str,
        typer.Option(help=f"Factor of the learning rate after each epoch; {_LIST} 0.99,0.999.", metavar="NUMBERS"),
    ] = "0.99",
    seed: Annotated[
        str, typer.Option(help=f"Seed of initialization and corruption; {_LIST} 0,1,2.", metavar="INTEGERS")
    ] = "0",
    snapshots: Annotated[
        str | None,
        typer.Option(help="Epochs after which to keep checkpoints as well, such as 100,250.", metavar="INTEGERS"),
    ] = None,
    checkpoint_seconds: Annotated[
        float,
        typer.Option(
            help="Seconds between two savings of the state of training, to go on from.", parser=number, metavar="NUMBER"
        ),
    ] = 60.0,
    backend: Annotated[
        str,
        typer.Option(
            help="How several maps are trained: processes, a thread each; batched, side by side; or auto.",
            metavar="NAME",
        ),
    ] = "auto",
    processes: Annotated[
        int | None,
        typer.Option(help="Processes to use; as many as cores if not given.", parser=integer, metavar="INTEGER"),
    ] = None,
    tf32: Annotated[
        bool,
        typer.Option("--tf32", help="Round factors to TF32 when several maps train on a GPU: faster, less exact."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another map that the file --out holds.")
    ] = False,
    test_data: Annotated[
        str | None, typer.Option(help="Images to report errors on; the test set of a named data set.")
    ] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train an autoencoder, or an ensemble, and write checkpoints.

    Options with several values make an ensemble: a map is trained for each combination of them, all at once. Files are
    named for what differs, such as sigma-0.5-seed-1.safetensors.

    A corruption is one of gaussian, clean, salt-and-pepper, square, strokes, occlusion, scaling, rotation and learned,
    with its level in parentheses where that is not --sigma: square(0.4). Corruptions follow one another, "rotation(15)
    then gaussian"; are mixed by chance, "0.8 gaussian + 0.2 clean"; and change with the epochs, "clean until 10,
    gaussian". docs/corruption.md says what each does and in which unit its level is.

    An interrupted training goes on, to the same weights, when the same command is given again.
    """
    from dynlab.training import TrainingSettings
    from dynlab.training.ensemble import Backend
    from dynlab.training.objective import Loss, Variant

    kinds = corruption or ["gaussian"]
    if sigma is not None and all(_has_levels(kind) for kind in kinds):
        given = " and ".join(map(repr, kinds))
        raise InputError(f"sigma {sigma}: given with corruption {given}, expected one without a level of its own")
    levels = numbers("sigma", sigma) if sigma is not None else ()
    widths = integers("hidden", hidden)
    members = [
        TrainingSettings(
            sigma=level,
            corruption=kind,
            epochs=epochs,
            walkback=walkback,
            walkback_variant=one_of("walkback_variant", walkback_variant, get_args(Variant)),
            loss=one_of("loss", loss, get_args(Loss)),
            contraction=contraction,
            annealing=factor,
            batch_size=batch_size,
            learning_rate=rate,
            hidden=widths[0] if len(widths) == 1 else widths,
            hidden_nonlinearity=hidden_nonlinearity,
            output_nonlinearity=output_nonlinearity,
            tied=tied,
            seed=number,
        )
        for kind in kinds
        for level in (levels if levels and not _has_levels(kind) else (None,))
        for rate in numbers("learning_rate", learning_rate)
        for factor in numbers("annealing", annealing)
        for number in integers("seed", seed)
    ]
    from dynlab.cli.training import Hardware, train_ensemble_to, train_one_to
    from dynlab.datasets import load_dataset, testing_set_of
    from dynlab.devices import resolve_device

    resolve_device(device)  # to refuse at once what there is not
    hardware = Hardware(device, one_of("backend", backend, get_args(Backend)), processes, tf32)
    epochs_kept = () if snapshots is None else integers("snapshots", snapshots)
    images = load_dataset(data, data_dir=data_dir, limit=limit)
    test_name = test_data if test_data is not None else testing_set_of(data)
    tests = load_dataset(test_name, data_dir=data_dir) if test_name is not None else None
    if tests is not None:
        check_same_dim(tests, images.images.shape[1], f"the training images {images.name}")
    if len(members) == 1:
        train_one_to(
            out,
            images,
            tests,
            members[0],
            epochs_kept,
            checkpoint_seconds,
            hardware,
            overwrite=overwrite,
            quiet=quiet,
        )
    else:
        if overwrite:
            raise InputError("overwrite True: given for several maps, expected one to be trained")
        train_ensemble_to(out, images, tests, members, epochs_kept, checkpoint_seconds, hardware, quiet=quiet)


def _has_levels(corruption: str) -> bool:
    """Whether a corruption says all of its levels itself."""
    from dynlab.training.corruption import parse_schedule

    try:
        parse_schedule(corruption, None)
    except InputError:  # a level is missing, or something is wrong with it that the settings will tell
        return False
    return True

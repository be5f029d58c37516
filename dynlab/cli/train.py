"""`dynlab train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynlab.cli.options import (
    DATA_HELP,
    BatchSize,
    DataDir,
    Device,
    Hidden,
    LearningRate,
    Limit,
    Quiet,
    Tied,
    Walkback,
    check_same_dim,
    integer,
    number,
)
from dynlab.cli.output import print_error


def train(
    data: Annotated[str, typer.Option(help=f"Training images: {DATA_HELP}.")],
    sigma: Annotated[
        float,
        typer.Option(
            help="Corruption level: standard deviation of the Gaussian noise.", parser=number, metavar="NUMBER"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint to write, .safetensors.")],
    epochs: Annotated[int, typer.Option(help="Passes over the images.", parser=integer, metavar="INTEGER")] = 100,
    walkback: Walkback = 1,
    annealing: Annotated[
        float, typer.Option(help="Factor of the learning rate after each epoch.", parser=number, metavar="NUMBER")
    ] = 0.99,
    batch_size: BatchSize = 20,
    learning_rate: LearningRate = 0.1,
    hidden: Hidden = 500,
    tied: Tied = False,
    seed: Annotated[
        int, typer.Option(help="Seed of initialization and corruption.", parser=integer, metavar="INTEGER")
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
        check_same_dim(tests, images.images.shape[1], f"the training images {images.name}")
    torch.set_num_threads(1)  # a second thread slows products of a minibatch's size down

    with shown(quiet=quiet) as display:

        def report(progress: EpochProgress) -> None:
            note = f"objective {progress.objective:.3f}, {progress.samples_per_second:.0f} samples/s"
            display("training", progress.epoch / progress.epochs, note)

        try:
            autoencoder = train_on_dataset(images, settings, test=tests, device=chosen, on_epoch=report)
        except TrainingDiverged as error:
            print_error(str(error))
            raise typer.Exit(1) from error
    autoencoder.save(out)
    for which, errors in autoencoder.training_settings["errors"].items():
        print(
            f"{which}: walkback objective {errors['walkback']:.3f}, "
            f"reconstruction error {errors['clean']:.3f} (clean), {errors['corrupted']:.3f} (corrupted)"
        )
    print(f"checkpoint: {out}")

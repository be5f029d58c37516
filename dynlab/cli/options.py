"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynlab.errors import InputError

if TYPE_CHECKING:
    from dynlab.datasets import Dataset


def integer(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}, expected an integer") from error


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}, expected a number") from error


PAGE = "index.html"
DATA_HELP = (
    "mnist, mnist/train, mnist/validation, mnist/test, digits, digits/train, digits/test, or a .npy, .npz or IDX file"
)
DataDir = Annotated[
    Path | None, typer.Option(help="Folder that has MNIST; DYNLAB_DATA, or the user's cache, if not given.")
]
Labels = Annotated[Path | None, typer.Option(help="Classes of the images in a file: .npy or IDX.")]
Limit = Annotated[
    int | None, typer.Option(help="Take only the first samples, in file order.", parser=integer, metavar="INTEGER")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Walkback = Annotated[int, typer.Option(help="Walkback steps k.", parser=integer, metavar="INTEGER")]
BatchSize = Annotated[int, typer.Option(help="Samples in a minibatch.", parser=integer, metavar="INTEGER")]
LearningRate = Annotated[float, typer.Option(help="Learning rate of the first epoch.", parser=number, metavar="NUMBER")]
Hidden = Annotated[int, typer.Option(help="Hidden units.", parser=integer, metavar="INTEGER")]
Tied = Annotated[bool, typer.Option("--tied", help="Decode with the transpose of the encoder's weight.")]


def check_same_dim(data: Dataset, dim: int, other: str) -> None:
    if data.images.shape[1] != dim:
        raise InputError(f"{data.name}: images have {data.images.shape[1]} pixels, expected {dim} as {other} has")

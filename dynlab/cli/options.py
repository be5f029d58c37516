"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from dynlab.errors import InputError

if TYPE_CHECKING:
    from dynlab.datasets import Dataset

ChoiceT = TypeVar("ChoiceT", bound=str)


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


def integers(option: str, text: str) -> tuple[int, ...]:
    """The integers of a list such as 0,1,2."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{option} is {text!r}, expected an integer, or several such as 1,2") from error


def numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers of a list such as 0.3,0.5."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{option} is {text!r}, expected a number, or several such as 0.1,0.2") from error


def one_of(option: str, text: str, choices: tuple[ChoiceT, ...]) -> ChoiceT:
    """The choice that was named."""
    found = next((choice for choice in choices if choice == text), None)
    if found is None:
        raise InputError(f"{option} is {text!r}, expected one of {', '.join(choices)}")
    return found


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

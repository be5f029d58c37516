"""What the technical report printed, from `published.json`: typed, and checked on loading.

Means over five seeds. Only what is legible in the text is there.

Source: Bahdanau and Jaeger 2014, section 6, Table 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

Published = Literal["table_1a", "table_1b"]
_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[float, Field(ge=0)]
RAW_GAIN = 0.01  # of the winner's accuracy over logistic regression on raw pixels, "a 1% gain" in section 6.2
_LEVELS = {"low": 0.3, "middle": 0.5, "high": 0.7}  # section 5.2


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Entry(_Strict):
    """An entry of Table 1; None where the table does not say, or is not legible."""

    table: Published
    k: PositiveInt
    sigma: PositiveFloat
    epochs: PositiveInt | None = None
    alpha: _Share | None = None
    acc_train: _Share | None = None
    acc_test: _Share | None = None
    mse_wb_train: PositiveFloat | None = None
    mse_wb_test: PositiveFloat | None = None
    explosions_train: _Count | None = None
    explosions_test: _Count | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `results.csv` that the table has."""
        return _COLUMNS[self.table]

    def value(self, column: str) -> float | None:
        """What is printed for a column of `results.csv`."""
        return getattr(self, column)

    @property
    def label(self) -> str:
        """The entry in a few words."""
        more = f", N = {self.epochs}, alpha = {self.alpha:g}" if self.epochs and self.alpha else ""
        return f"k = {self.k}, sigma = {self.sigma:g}{more}"


_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "table_1a": ("acc_test", "explosions_test"),
    "table_1b": ("acc_train", "acc_test", "mse_wb_train", "mse_wb_test", "explosions_train", "explosions_test"),
}


class Series(_Part):
    """A series of experiments, section 5.3."""

    k: tuple[PositiveInt, ...]
    sigma: tuple[PositiveFloat, ...]
    batch_size: tuple[PositiveInt, ...]
    epochs: tuple[PositiveInt, ...]


class Pixels(_Strict):
    """Mean shares of pixels below 0.01 and above 0.95, section 6.1."""

    black: _Share
    white: _Share


def _unique(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    if len({(entry.k, entry.sigma, entry.epochs, entry.alpha) for entry in entries}) < len(entries):
        raise ValueError("two entries of one setting")
    return entries


_Entries = Annotated[tuple[Entry, ...], Field(min_length=1), AfterValidator(_unique)]


class PublishedFigures(_Strict):
    """All figures that ours are compared with."""

    table_1a: _Entries
    table_1b: _Entries  # what is legible of it
    series: tuple[Series, ...]
    pixels: Mapping[float, Pixels]  # of transformed test sets without walkback, by the level
    original_pixels: Pixels  # of the test images
    network_gain: _Share  # in accuracy, by a network with one hidden layer on the winner's transformed set
    seeds: PositiveInt
    explosion_intensity: _Share  # of the brightest pixel of the explosion in figure 4

    def table(self, name: Published) -> tuple[Entry, ...]:
        """The entries of a table."""
        return self.table_1a if name == "table_1a" else self.table_1b

    @property
    def winner(self) -> Entry:
        """The entry of the model that section 6.3 explores."""
        return next(one for one in self.table_1b if (one.k, one.sigma, one.epochs, one.alpha) == (5, 0.7, 250, 0.999))


@lru_cache(maxsize=1)
def published_figures() -> PublishedFigures:
    """The published figures.

    Raises:
        ValueError: If the file of the package is not what it should be.
    """
    return figures_of(resources.files("dynlab").joinpath("published.json").read_text(encoding="utf-8"))


def figures_of(text: str) -> PublishedFigures:
    """The published figures in the text of `published.json`.

    Raises:
        ValueError: If it holds something else.
    """
    try:
        given: dict[str, Any] = json.loads(text)
        other = given["other_figures"]
        black, white = other["pixels_black_below_0.01_percent"], other["pixels_white_above_0.95_percent"]

        def pixels(name: str) -> Pixels:
            return Pixels(black=round(black[name] / 100, 6), white=round(white[name] / 100, 6))

        figures = PublishedFigures(
            table_1a=tuple(Entry(table="table_1a", **entry) for entry in given["table_1a"]),
            table_1b=tuple(Entry(table="table_1b", **entry) for entry in given["table_1b_legible"]),
            series=tuple(Series(**{"batch_size": (20,)} | one) for one in given["protocol"]["series"].values()),
            pixels={sigma: pixels(level) for level, sigma in _LEVELS.items()},
            original_pixels=pixels("original_test_images"),
            network_gain=other["neural_network_classifier_gain"],
            seeds=given["protocol"]["seeds"],
            explosion_intensity=other["explosion_max_intensity_example"],
        )
        if given["protocol"]["corruption"]["sigma"] != _LEVELS:
            raise ValueError(f"levels other than {_LEVELS}")
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ValueError(f"published.json: {error}") from error
    return figures

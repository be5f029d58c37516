"""States as small pictures: images as they are, states that are no images as strips, one cell a coordinate.

White is 1 and black is 0 as long as all states of an analysis lie in [0, 1]; else black and white are the least and
the greatest value there is, and the page says which these are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.recognizer.strokes import grey_image_sides
from dynlab.report.png import png_uri

_ROUNDING = 1e-6  # by which a state in float32 may leave [0, 1]


@dataclass(frozen=True)
class Screen:
    """How the states of one analysis are shown."""

    height: int  # of a picture, in pixels
    width: int
    colours: bool  # red, green and blue
    channels_first: bool
    low: float = 0.0  # the value that is black
    high: float = 1.0  # the value that is white

    @property
    def is_strip(self) -> bool:
        """Whether states are no images."""
        return self.height == 1 and not self.colours

    @property
    def is_unit(self) -> bool:
        """Whether black is 0 and white is 1."""
        return self.low == 0.0 and self.high == 1.0

    def fitted_to(self, *states: Tensor) -> Screen:
        """The screen with black and white at 0 and 1, or at the least and greatest value of states that leave these."""
        values = np.concatenate([_numbers(array).ravel() for array in states])
        values = values[np.isfinite(values)]
        low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
        if low >= -_ROUNDING and high <= 1 + _ROUNDING:  # also if there are none
            low, high = 0.0, 1.0
        return replace(self, low=low, high=high)

    def picture(self, state: Tensor) -> str:
        """One state, shape (dim,), as the data URI of a PNG file."""
        return png_uri(self.pixels(state))

    def stretched(self, state: Tensor) -> str:
        """The same with its own least value black and its own greatest white."""
        return png_uri(self.stretched_pixels(state))

    def pixels(self, state: Tensor) -> NDArray[np.uint8]:
        """One state, shape (dim,), as `encode_png` takes it."""
        return self._draw(_numbers(state), self.low, self.high)

    def stretched_pixels(self, state: Tensor) -> NDArray[np.uint8]:
        """The same with its own least value black and its own greatest white."""
        values = _numbers(state)
        finite = values[np.isfinite(values)]
        return self._draw(values, float(finite.min(initial=self.high)), float(finite.max(initial=self.low)))

    def _draw(self, values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
        scaled = (values - low) / (high - low if high > low else 1.0)
        greys = np.rint(np.clip(np.nan_to_num(scaled, nan=0.5), 0.0, 1.0) * 255).astype(np.uint8)
        if not self.colours:
            return greys.reshape(self.height, self.width)
        if self.channels_first:
            return np.moveaxis(greys.reshape(3, self.height, self.width), 0, 2)
        return greys.reshape(self.height, self.width, 3)


def screen_of(analysis: Analysis) -> Screen:
    """How to show the states of an analysis: by the shape of its states, and their range."""
    screen = screen_for(analysis.results.map.state_shape)
    return screen.fitted_to(analysis.arrays.fixed_points, analysis.arrays.film_states)


def screen_for(shape: tuple[int, ...]) -> Screen:
    """How to show states in [0, 1] of that shape: as grey or coloured images where it is one of them, else strips."""
    sides = grey_image_sides(shape)
    if sides is not None:
        return Screen(*sides, colours=False, channels_first=False)
    if len(shape) == 3 and shape[2] == 3:
        return Screen(shape[0], shape[1], colours=True, channels_first=False)
    if len(shape) == 3 and shape[0] == 3:
        return Screen(shape[1], shape[2], colours=True, channels_first=True)
    return Screen(1, math.prod(shape), colours=False, channels_first=False)


def _numbers(array: Tensor) -> NDArray[np.float64]:
    return array.detach().cpu().double().numpy()

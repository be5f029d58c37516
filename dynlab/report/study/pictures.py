"""Pictures of a study: states in grey, in the sensitive colour scale of figure 3, and weights of hidden units.

The sensitive scale spends its colours where the report looks closely: intensities below 0.05 run from black through
blue to light blue, those above 0.95 from orange through yellow to white, and all between are greys. Lightness rises all
the way, so that the scale also reads without its hues, and blue and orange are told apart with any kind of colour
vision.

Source: Bahdanau and Jaeger 2014, figure 3 (which does not give the colours of its scale).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynlab.report.pictures import Screen
from dynlab.report.png import png_uri
from dynlab.report.study.parts import Scale

LOW, HIGH = 0.05, 0.95  # below and above these the scale is sensitive
_STOPS = np.array([0.0, LOW / 2, LOW, LOW, HIGH, HIGH, (1 + HIGH) / 2, 1.0])
_COLOURS = np.array(
    [
        [2, 3, 14],
        [16, 40, 140],
        [40, 96, 220],
        [118, 118, 118],
        [158, 158, 158],
        [240, 140, 20],
        [252, 208, 60],
        [255, 255, 240],
    ],
    dtype=np.float64,
)
_BAR = 48  # pixels for each third of the legend


def sensitive_colours(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Intensities in the sensitive scale; those below 0 and above 1 as 0 and 1, what is no number as middle grey.

    Args:
        values: Any shape.

    Returns:
        Red, green and blue, shape (..., 3).
    """
    values = np.clip(np.nan_to_num(values, nan=0.5), 0.0, 1.0)
    upper = np.clip(np.searchsorted(_STOPS, values, side="right"), 1, len(_STOPS) - 1)
    lower = upper - 1
    width = _STOPS[upper] - _STOPS[lower]
    share = np.where(width > 0, (values - _STOPS[lower]) / np.where(width > 0, width, 1.0), 1.0)[..., None]
    return np.rint((1 - share) * _COLOURS[lower] + share * _COLOURS[upper]).astype(np.uint8)


def sensitive_pixels(state: Tensor, screen: Screen) -> NDArray[np.uint8]:
    """One grey state, shape (dim,), in the sensitive scale."""
    return sensitive_colours(state.detach().cpu().double().numpy().reshape(screen.height, screen.width))


def sensitive_scale() -> Scale:
    """The legend: a third for what is below 0.05, one for what is between, one for what is above 0.95."""
    thirds = [(0.0, np.nextafter(LOW, 0)), (LOW, np.nextafter(HIGH, 0)), (HIGH, 1.0)]
    row = np.concatenate([np.linspace(low, high, _BAR) for low, high in thirds])
    words = (
        "Legend of the sensitive colour scale: black over blue to light blue from 0 to 0.05, greys from 0.05 to 0.95, "
        "orange over yellow to white from 0.95 to 1"
    )
    return Scale(png_uri(sensitive_colours(row)[None]), words, ("0", f"{LOW:g}", f"{HIGH:g}", "1"))


def signed_pixels(values: Tensor, screen: Screen) -> NDArray[np.uint8]:
    """Weights of one hidden unit, shape (dim,): middle grey is 0, white and black the largest modulus."""
    most = float(values.abs().max()) or 1.0
    signed = replace(screen, low=-most, high=most)
    return signed.pixels(values)

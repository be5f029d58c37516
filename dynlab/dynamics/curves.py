"""The nonlinearities of layers, and how far the slopes of their secants stray from a derivative.

The slope of a secant is a mean of the derivative, so for one between points at distances `a` and `b` of `u` it differs
from `f'(u)` by at most `sup |f''| (a + b) / 2`, and by no more than `f'` itself does in between. `dynlab.maps` has the
same functions for tensors; these compute with balls, too.

Source: the mean value theorem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dynlab.dynamics.balls import Arithmetic


@dataclass(frozen=True)
class Curve:
    """A nonlinearity of one variable, on arrays of either arithmetic."""

    function: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray], np.ndarray]
    # Bounds `|slope - f'(u)|` for the secants between points whose distances from `u` add up to at most the given one.
    stray: Callable[[Arithmetic, np.ndarray, np.ndarray], np.ndarray]


def _sigmoid_slope(inputs: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(inputs))
    return small / (1 + small) ** 2


def _sigmoid_stray(arithmetic: Arithmetic, inputs: np.ndarray, distances: np.ndarray) -> np.ndarray:
    # By symmetry all depends on |u|: f' falls with it, |f''| rises up to log(2 + sqrt 3) and falls from there on.
    largest = np.abs(inputs) + distances
    smallest = arithmetic.larger(np.abs(inputs) - distances, 0.0)
    peak = np.log(2 + np.sqrt(arithmetic.exact(np.array([3.0]))))[0]
    small = np.exp(-arithmetic.larger(smallest, arithmetic.smaller(largest, peak)))
    curvature = small * (1 - small) / (1 + small) ** 3
    here = _sigmoid_slope(inputs)
    apart = arithmetic.larger(_sigmoid_slope(smallest) - here, here - _sigmoid_slope(largest))
    return arithmetic.smaller(curvature * distances / 2, apart)


def _relu_stray(arithmetic: Arithmetic, inputs: np.ndarray, distances: np.ndarray) -> np.ndarray:
    return arithmetic.exact(1.0 - (np.abs(inputs) > distances).astype(float))


CURVES: Mapping[str, Curve] = {
    "sigmoid": Curve(lambda u: (1 + np.tanh(u / 2)) / 2, _sigmoid_slope, _sigmoid_stray),
    # tanh(u) = 2 sigmoid(2 u) - 1
    "tanh": Curve(
        np.tanh,
        lambda u: 4 * _sigmoid_slope(2 * u),
        lambda arithmetic, u, distances: 4 * _sigmoid_stray(arithmetic, 2 * u, 2 * distances),
    ),
    "relu": Curve(lambda u: (u + np.abs(u)) / 2, lambda u: (u > 0).astype(float), _relu_stray),
    "identity": Curve(lambda u: u, lambda u: 0 * u + 1, lambda arithmetic, u, distances: 0 * u),
}

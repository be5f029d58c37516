"""Is the iterated data easier to classify? Logistic regression on raw and on transformed data, section 5.5.

Logistic regression without regularization, scikit-learn's L-BFGS with a fixed limit of iterations, is trained on the
training set and judged on training and test set: on raw pixels, on the transformed sets, along the orbit after
0, 1, 2, 4, ... steps, and beside them what the basins alone give, by each basin's majority class.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accuracy:
    """Share of correct predictions on the training and on the test set."""

    train: float
    test: float
    converged: bool  # whether the solver ended before its limit of iterations


@dataclass(frozen=True)
class OrbitAccuracy:
    """The same after a fixed number of steps."""

    step: int
    train: float
    test: float
    converged: bool


@dataclass(frozen=True)
class Separability:
    """How well linear classifiers, and basins, tell the classes apart."""

    solver: str
    max_iterations: int
    train_samples: int
    test_samples: int
    raw: Accuracy
    transformed: Accuracy
    basins: Accuracy  # `converged`: whether every sample was resolved
    basins_train_samples: int
    along_orbit_train_samples: int
    along_orbit: list[OrbitAccuracy]

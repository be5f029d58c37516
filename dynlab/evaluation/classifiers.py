"""Classifiers that judge states: logistic regression without regularization, and a network with one hidden layer.

Both are scikit-learn's and see the states as they are. *Logistic regression* is fitted by L-BFGS from zeros, with a
limit of iterations. The *network* has one layer of sigmoid units and a softmax, equation 11 of the report, which tells
no more of it than that it is "simple". How it is trained is chosen here: Adam, minibatches in random order, a fixed
number of epochs, so that accuracies differ by the states alone and not by when somebody stopped.

Source: Bahdanau and Jaeger 2014, sections 4, 5.5 and 6.3; Murphy, Machine Learning: a Probabilistic Perspective, 2012,
chapter 8; Kingma and Ba, Adam: a Method for Stochastic Optimization, 2015.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.errors import check_count

SOLVER = "lbfgs"
# Raw digits never reach the optimum: the limit acts like an early stop, and accuracies compare only at equal limits.
MAX_ITERATIONS = 100
HIDDEN_UNITS = 500  # as many as the report's autoencoders have
# Of a network: so many samples are shown to it in all, but small sets not more often than that.
_PRESENTED, _MOST_EPOCHS = 1_000_000, 200
_BATCH, _LEARNING_RATE = 100, 1e-3


@dataclass(frozen=True)
class Classifier:
    """What was learned from a training set."""

    rule: Callable[[NDArray[Any]], NDArray[np.int64]]  # from finite rows to classes
    converged: bool  # whether the solver ended before its limit of iterations; a network never says so

    def predict(self, states: Float[Tensor, "samples dim"]) -> Int64[Tensor, " samples"]:
        """Class of each state; -1 for one that is not finite, as of an orbit that diverged. On the CPU."""
        rows = states.cpu().numpy()
        finite = np.isfinite(rows).all(axis=1)
        found = np.full(len(rows), -1, dtype=np.int64)
        if finite.any():
            found[finite] = self.rule(rows[finite])
        return torch.from_numpy(found)

    def accuracy(self, states: Float[Tensor, "samples dim"], classes: Int64[Tensor, " samples"]) -> float:
        """Share of correct predictions; a state that is not finite counts as wrong."""
        return int((self.predict(states) == classes.cpu()).sum()) / len(classes)


def logistic_regression(
    states: Float[Tensor, "samples dim"],
    classes: Int64[Tensor, " samples"],
    *,
    max_iterations: int = MAX_ITERATIONS,
) -> Classifier:
    """Fit logistic regression without regularization.

    Args:
        states: The training set, in whose dtype the fit is computed; states that are not finite teach nothing.
        classes: Its classes; if there is only one, every sample is given that class.
        max_iterations: Limit of iterations of L-BFGS, at least 1.

    Returns:
        The classifier; `converged` is False where the solver gave up, by the limit or otherwise.

    Raises:
        ValueError: If `max_iterations` is below 1.
    """
    check_count("max_iterations", max_iterations, 1)
    from sklearn.linear_model import LogisticRegression

    return _fitted(LogisticRegression(C=np.inf, solver=SOLVER, max_iter=max_iterations), states, classes)


def single_hidden_layer(
    states: Float[Tensor, "samples dim"],
    classes: Int64[Tensor, " samples"],
    *,
    hidden: int = HIDDEN_UNITS,
    epochs: int | None = None,
    seed: int = 0,
) -> Classifier:
    """Train a network with one hidden layer of sigmoid units.

    Args:
        states: The training set, in whose dtype the network computes; states that are not finite teach nothing.
        classes: Its classes; if there is only one, every sample is given that class.
        hidden: Number of hidden units, at least 1.
        epochs: Passes over the training set, at least 1; if not given, as many as show it a million samples, but 200
            at most: 20 for the 50000 images of MNIST.
        seed: Of initialization and order, from 0 to 2^32 - 1.

    Returns:
        The classifier; a network that is stopped after its epochs has not `converged`.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if epochs is None:
        epochs = max(1, min(_MOST_EPOCHS, _PRESENTED // max(1, len(states))))
    for name, value in (("hidden", hidden), ("epochs", epochs)):
        check_count(name, value, 1)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}, expected from 0 to 2^32 - 1")
    from sklearn.neural_network import MLPClassifier

    # Sets may be smaller than a minibatch. scikit-learn's own annotations forget that this may be a number.
    batch: Any = max(1, min(_BATCH, int(states.isfinite().all(dim=1).sum())))
    network = MLPClassifier(
        hidden_layer_sizes=(hidden,),
        activation="logistic",
        solver="adam",
        alpha=0.0,
        batch_size=batch,
        learning_rate_init=_LEARNING_RATE,
        max_iter=epochs,
        n_iter_no_change=epochs,  # so that all of them are taken
        random_state=seed,
    )
    return _fitted(network, states, classes)


def _fitted(model: Any, states: Tensor, classes: Tensor) -> Classifier:
    """Fit a model of scikit-learn to the finite states."""
    from sklearn.exceptions import ConvergenceWarning

    rows, targets = states.cpu().numpy(), classes.cpu().numpy()
    finite = np.isfinite(rows).all(axis=1)
    known = np.unique(targets[finite])
    if len(known) < 2:  # nothing to tell apart: scikit-learn refuses
        only = known[0] if len(known) else -1
        return Classifier(lambda found: np.full(len(found), only), converged=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(rows if finite.all() else rows[finite], targets[finite])
    others = [warning for warning in caught if not issubclass(warning.category, ConvergenceWarning)]
    for warning in others:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    # The warning also comes where the line search gave up before the limit.
    return Classifier(lambda found: np.asarray(model.predict(found)), converged=len(others) == len(caught))

"""Is the iterated data easier to classify? Logistic regression on raw and on transformed data, section 5.5.

Logistic regression without regularization, scikit-learn's L-BFGS with a fixed limit of iterations, is trained on the
training set and judged on training and test set: on raw pixels, on the transformed sets, along the orbit after
0, 1, 2, 4, ... steps, and beside them what the basins alone give, by each basin's majority class. Every fit starts from
zeros, so that the accuracies along the orbit differ by the states alone and not by what was learned at the step before.

Source: Bahdanau and Jaeger 2014, section 5.5; Murphy, Machine Learning: a Probabilistic Perspective, 2012, chapter 8.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.transform import step_in_place
from dynlab.errors import check_count
from dynlab.evaluation.classifiers import MAX_ITERATIONS, SOLVER, logistic_regression
from dynlab.maps import Map, check_states

ORBIT_STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
ORBIT_TRAIN_SAMPLES = 20_000


@dataclass(frozen=True)
class LabelledSet:
    """Samples and their classes."""

    states: Float[Tensor, "samples dim"]
    classes: Int64[Tensor, " samples"]


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


def separability(
    system: Map,
    train: LabelledSet,
    test: LabelledSet,
    *,
    transformed_train: Float[Tensor, "train dim"],
    transformed_test: Float[Tensor, "test dim"],
    train_basins: Int64[Tensor, " basins_train"],
    test_basins: Int64[Tensor, " test"],
    orbit_steps: Collection[int] = ORBIT_STEPS,
    orbit_train_samples: int = ORBIT_TRAIN_SAMPLES,
    max_iterations: int = MAX_ITERATIONS,
    on_fit: Callable[[str], None] | None = None,
) -> Separability:
    """How well the classes can be told apart from raw pixels, transformed sets, basins, and along the orbit.

    Args:
        system: The map; along the orbit, states go to its device and dtype.
        train: The raw training set, shape (train, dim), of at least one sample.
        test: The raw test set, shape (test, dim), of at least one sample.
        transformed_train: Where the training set stands when the quantile rule stops it, in the same order.
        transformed_test: Where the test set stands when the quantile rule stops it, in the same order.
        train_basins: Attractor of each of the first `basins_train` training samples, at least one; -1 for none.
        test_basins: Attractor of each test sample, numbered as those of `train_basins`; -1 for none.
        orbit_steps: Numbers of steps after which to classify; 0 is the raw set.
        orbit_train_samples: How many training samples are iterated and trained on along the orbit, at least 1, the
            first ones; all of them if there are fewer. The whole test set judges.
        max_iterations: Limit of iterations of every fit, at least 1.
        on_fit: Called before each fit with the name of what is classified.

    Returns:
        All accuracies, shares of 1.

    Raises:
        ValueError: If an argument is out of its range, or two sets do not fit together.
    """
    _check_sets(system, train, test, transformed_train, transformed_test, train_basins, test_basins)
    _check_steps("orbit_steps", orbit_steps)
    check_count("orbit_train_samples", orbit_train_samples, 1)
    check_count("max_iterations", max_iterations, 1)

    def fit(name: str, train_states: Tensor, test_states: Tensor) -> Accuracy:
        if on_fit:
            on_fit(name)
        train_classes = train.classes[: len(train_states)]
        return logistic_regression_accuracy(
            train_states, train_classes, test_states, test.classes, max_iterations=max_iterations
        )

    raw = fit("raw pixels", train.states, test.states)
    transformed = fit("transformed sets", transformed_train, transformed_test)

    along_orbit = accuracies_along_orbit(
        system,
        LabelledSet(train.states[:orbit_train_samples], train.classes[:orbit_train_samples]),
        test,
        steps=orbit_steps,
        max_iterations=max_iterations,
        on_fit=on_fit,
    )
    return Separability(
        solver=SOLVER,
        max_iterations=max_iterations,
        train_samples=len(train.states),
        test_samples=len(test.states),
        raw=raw,
        transformed=transformed,
        basins=majority_class_accuracy(train_basins, train.classes[: len(train_basins)], test_basins, test.classes),
        basins_train_samples=len(train_basins),
        along_orbit_train_samples=min(orbit_train_samples, len(train.states)),
        along_orbit=along_orbit,
    )


def accuracies_along_orbit(
    system: Map,
    train: LabelledSet,
    test: LabelledSet,
    *,
    steps: Collection[int] = ORBIT_STEPS,
    max_iterations: int = MAX_ITERATIONS,
    on_fit: Callable[[str], None] | None = None,
) -> list[OrbitAccuracy]:
    """Accuracy of logistic regression on the states after each of some numbers of steps.

    Args:
        system: The map; states go to its device and dtype.
        train: Where the training samples start.
        test: Where the test samples start.
        steps: Numbers of steps, from 0, in any order.
        max_iterations: Limit of iterations of every fit, at least 1.
        on_fit: Called before each fit with the name of what is classified.

    Returns:
        One entry for each number of steps, rising.

    Raises:
        ValueError: If a number of steps is below 0.
    """
    _check_steps("steps", steps)
    home = home_of(system, train.states)
    train_states, test_states = (given.states.to(home.device, home.dtype, copy=True) for given in (train, test))
    found, taken = [], 0
    for step in sorted(set(steps)):
        for _ in range(step - taken):
            step_in_place(system, train_states)
            step_in_place(system, test_states)
        taken = step
        if on_fit:
            on_fit(f"orbit after {step} steps")
        accuracy = logistic_regression_accuracy(
            train_states, train.classes, test_states, test.classes, max_iterations=max_iterations
        )
        found.append(OrbitAccuracy(step, accuracy.train, accuracy.test, accuracy.converged))
    return found


def logistic_regression_accuracy(
    train_states: Float[Tensor, "train dim"],
    train_classes: Int64[Tensor, " train"],
    test_states: Float[Tensor, "test dim"],
    test_classes: Int64[Tensor, " test"],
    *,
    max_iterations: int = MAX_ITERATIONS,
) -> Accuracy:
    """Accuracy of logistic regression without regularization, trained on one set and judged on both.

    Args:
        train_states: The training set, shape (train, dim). The fit is computed in its dtype; of a single class, every
            sample is given that class.
        train_classes: Its classes, shape (train,).
        test_states: The test set, shape (test, dim).
        test_classes: Its classes, shape (test,).
        max_iterations: Limit of iterations of L-BFGS, at least 1.

    Returns:
        Shares of 1. A state that is not finite, as of an orbit that diverged, is not trained on and counts as wrong.
        `converged` is False where the solver gave up, by the limit or otherwise.
    """
    classifier = logistic_regression(train_states, train_classes, max_iterations=max_iterations)
    return Accuracy(
        train=classifier.accuracy(train_states, train_classes),
        test=classifier.accuracy(test_states, test_classes),
        converged=classifier.converged,
    )


def majority_class_accuracy(
    train_basins: Int64[Tensor, " train"],
    train_classes: Int64[Tensor, " train"],
    test_basins: Int64[Tensor, " test"],
    test_classes: Int64[Tensor, " test"],
) -> Accuracy:
    """Accuracy of giving every sample the class that most training samples of its basin have.

    Args:
        train_basins: Attractor of each training sample, -1 for none, shape (train,).
        train_classes: Their classes, shape (train,).
        test_basins: Attractor of each test sample, -1 for none, shape (test,).
        test_classes: Their classes, shape (test,).

    Returns:
        Shares of 1. Among classes equally frequent in a basin the smallest is taken. A sample that is unresolved, or
        in a basin without training samples, counts as wrong. `converged` says whether every sample was resolved.
    """
    resolved = train_basins >= 0
    pairs, counts = torch.stack((train_basins, train_classes))[:, resolved].unique(dim=1, return_counts=True)
    majority: dict[int, int] = {}
    most: dict[int, int] = {}
    # The pairs are sorted: of classes equally frequent, the smallest comes first and stays.
    for basin, known_class, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        if count > most.get(basin, 0):
            majority[basin], most[basin] = known_class, count

    def share_correct(basins: Tensor, classes: Tensor) -> float:
        pairs = zip(basins.tolist(), classes.tolist(), strict=True)
        return sum(majority.get(basin) == known_class for basin, known_class in pairs) / len(basins)

    return Accuracy(
        train=share_correct(train_basins, train_classes),
        test=share_correct(test_basins, test_classes),
        converged=bool(resolved.all() and (test_basins >= 0).all()),
    )


def left_out_accuracy(basins: Int64[Tensor, " samples"], classes: Int64[Tensor, " samples"]) -> float:
    """Accuracy of giving every sample the class that most *other* samples of its basin have.

    What a set says of its own basins flatters them: a basin with one sample is always pure. Here that sample counts as
    wrong. Where many basins are small, the truth for more samples lies between this and the share of majority classes;
    where two classes are about equally frequent in a basin this is too strict, as a sample misses its own vote.

    Args:
        basins: Attractor of each sample, -1 for none.
        classes: Their classes, any integers.

    Returns:
        Share of 1. Among classes equally frequent the smallest is taken. A sample that is unresolved, or alone, counts
        as wrong.
    """
    resolved = basins >= 0
    labels, known = basins[resolved], classes[resolved].unique(return_inverse=True)[1]
    if not len(labels):
        return 0.0
    width = int(known.max()) + 1
    counts = torch.bincount(labels * width + known, minlength=(int(labels.max()) + 1) * width).reshape(-1, width)
    others = counts[labels]
    others[torch.arange(len(labels)), known] -= 1
    right = (others.argmax(dim=1) == known) & (others.amax(dim=1) > 0)
    return int(right.sum()) / len(basins)


def _check_steps(name: str, steps: Collection[int]) -> None:
    if any(step < 0 for step in steps):
        raise ValueError(f"{name} is {list(steps)}, expected none below 0")


def _check_sets(
    system: Map,
    train: LabelledSet,
    test: LabelledSet,
    transformed_train: Tensor,
    transformed_test: Tensor,
    train_basins: Tensor,
    test_basins: Tensor,
) -> None:
    for name, given in (("train", train), ("test", test)):
        check_states(system, given.states, parameter=f"{name}.states")
        if not len(given.states):
            raise ValueError(f"{name}.states is empty, expected at least one sample")
        if given.classes.shape != given.states.shape[:1]:
            raise ValueError(f"{name}.classes has shape {tuple(given.classes.shape)}, expected ({len(given.states)},)")
    for name, states, expected in (
        ("transformed_train", transformed_train, train.states.shape),
        ("transformed_test", transformed_test, test.states.shape),
        ("test_basins", test_basins, test.classes.shape),
    ):
        if states.shape != expected:
            raise ValueError(f"{name} has shape {tuple(states.shape)}, expected {tuple(expected)}")
    if train_basins.ndim != 1 or not 1 <= len(train_basins) <= len(train.states):
        shape = tuple(train_basins.shape)
        raise ValueError(f"train_basins has shape {shape}, expected 1 to {len(train.states)} labels in a row")

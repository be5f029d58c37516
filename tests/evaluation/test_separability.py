"""Accuracies against a second method (scipy's BFGS on the likelihood in float64), closed forms and counts by hand."""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from dynlab.datasets import Dataset, load_dataset
from dynlab.evaluation.separability import (
    Accuracy,
    LabelledSet,
    OrbitAccuracy,
    accuracies_along_orbit,
    left_out_accuracy,
    logistic_regression_accuracy,
    majority_class_accuracy,
    separability,
)
from dynlab.maps import DenoisingAutoencoder, Map


def _overlapping_blobs(samples: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Three overlapping classes of unequal size, close together, so that any penalty on the weights would show."""
    random = np.random.default_rng(seed)
    classes = random.choice(3, size=samples, p=(0.6, 0.25, 0.15))
    centres = np.array([[0.0, 0.0, 0.0], [0.3, 0.1, -0.1], [-0.2, 0.3, 0.1]])
    return centres[classes] + 0.15 * random.standard_normal((samples, 3)), classes


def _maximum_likelihood_classes(
    train: NDArray[np.float64], classes: NDArray[np.int64], test: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Murphy, equation 8.33 ff., without the prior: multinomial likelihood maximized by BFGS."""
    rows = np.column_stack([train, np.ones(len(train))])
    one_hot = np.eye(3)[classes]

    def negative_log_likelihood(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = rows @ flat.reshape(-1, 3)
        log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        return -(one_hot * log_p).sum() / len(rows), (rows.T @ (np.exp(log_p) - one_hot)).ravel() / len(rows)

    best = minimize(negative_log_likelihood, np.zeros(12), jac=True, method="BFGS", options={"gtol": 1e-8})
    assert best.success
    return (np.column_stack([test, np.ones(len(test))]) @ best.x.reshape(-1, 3)).argmax(axis=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_accuracy_is_that_of_maximum_likelihood(dtype: torch.dtype, device: torch.device) -> None:
    train, train_classes = _overlapping_blobs(600, seed=1)
    test, test_classes = _overlapping_blobs(5000, seed=2)
    accuracy = logistic_regression_accuracy(
        torch.from_numpy(train).to(device, dtype),
        torch.from_numpy(train_classes).to(device),
        torch.from_numpy(test).to(device, dtype),
        torch.from_numpy(test_classes).to(device),
        max_iterations=1000,
    )
    expected_train = (_maximum_likelihood_classes(train, train_classes, train) == train_classes).mean()
    expected_test = (_maximum_likelihood_classes(train, train_classes, test) == test_classes).mean()
    assert accuracy.converged
    # scikit-learn ends at a gradient of 1e-4, which moves the border past one sample in a thousand at most.
    assert accuracy.train == pytest.approx(expected_train, abs=1 / 600)
    assert accuracy.test == pytest.approx(expected_test, abs=5 / 5000)


def test_nothing_is_learned_from_exclusive_or() -> None:
    # The likelihood of the four points of exclusive or is largest at weights of zero, which predict the first class.
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    classes = torch.tensor([4, 4, 7, 7])
    assert logistic_regression_accuracy(points, classes, points, classes) == Accuracy(0.5, 0.5, converged=True)


def test_weights_may_grow_without_bound() -> None:
    # A gap of 0.05 between nine and one: with scikit-learn's default penalty everything would go to the majority.
    points = torch.linspace(0, 0.95, 100)[:, None].clone()
    points[90:] += 0.05
    classes = (torch.arange(100) >= 90).long()
    accuracy = logistic_regression_accuracy(points, classes, points, classes, max_iterations=10_000)
    assert accuracy.train == accuracy.test == 1.0


def test_limit_of_iterations_is_said_and_no_warning_leaks() -> None:
    digits = load_dataset("digits")
    assert digits.labels is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short = logistic_regression_accuracy(
            digits.images, digits.labels, digits.images, digits.labels, max_iterations=1
        )
        long = logistic_regression_accuracy(
            digits.images, digits.labels, digits.images, digits.labels, max_iterations=5000
        )
    assert not short.converged
    assert short.train < 0.9
    assert long == Accuracy(1.0, 1.0, converged=True)


def test_states_that_diverged_count_as_wrong() -> None:
    inf, nan = float("inf"), float("nan")
    train = torch.tensor([[0.0], [0.1], [0.9], [1.0], [nan]])
    test = torch.tensor([[0.05], [inf], [0.95], [-inf]])
    accuracy = logistic_regression_accuracy(train, torch.tensor([0, 0, 1, 1, 1]), test, torch.tensor([0, 1, 1, 0]))
    assert (accuracy.train, accuracy.test) == (0.8, 0.5)


def test_a_single_class_is_given_to_all() -> None:
    states, nowhere = torch.rand(3, 2), torch.full((3, 2), float("nan"))
    train_classes, test_classes = torch.tensor([5, 5, 5]), torch.tensor([5, 2, 5])
    accuracy = logistic_regression_accuracy(states, train_classes, states, test_classes)
    assert accuracy == Accuracy(1.0, 2 / 3, converged=True)
    assert logistic_regression_accuracy(nowhere, train_classes, states, test_classes).test == 0


def test_majority_class_by_hand(device: torch.device) -> None:
    # Basin 0: classes 2, 2, 1, so 2. Basin 1: 3 and 1 tie, so 1. Basin 4: 0 alone. Basin 2 is unknown to the training.
    train_basins = torch.tensor([0, 0, 0, 1, 1, 4, -1], device=device)
    train_classes = torch.tensor([2, 2, 1, 3, 1, 0, 2], device=device)
    test_basins = torch.tensor([0, 0, 1, 1, 2, 4, -1, -1], device=device)
    test_classes = torch.tensor([2, 1, 1, 1, 2, 0, 2, 0], device=device)
    accuracy = majority_class_accuracy(train_basins, train_classes, test_basins, test_classes)
    assert accuracy == Accuracy(train=4 / 7, test=4 / 8, converged=False)


@pytest.mark.parametrize(
    ("train_basins", "test_basins", "resolved"), [([0, 1], [0, 9], True), ([0, 1], [0, -1], False)]
)
def test_basins_converged_says_whether_all_are_resolved(
    train_basins: list[int], test_basins: list[int], resolved: bool
) -> None:
    classes = torch.tensor([0, 1])
    accuracy = majority_class_accuracy(torch.tensor(train_basins), classes, torch.tensor(test_basins), classes)
    assert accuracy == Accuracy(train=1.0, test=0.5, converged=resolved)


def test_unresolved_training_samples_teach_nothing() -> None:
    nowhere, classes = torch.tensor([-1, -1]), torch.tensor([3, 3])
    assert majority_class_accuracy(nowhere, classes, nowhere, classes) == Accuracy(0.0, 0.0, converged=False)


def test_left_out_majority_by_hand(device: torch.device) -> None:
    # Basin 0: each of three 2 sees two more, class 1 is outvoted. Basin 1: 3 and 1 vote for each other. Basin 2: alone.
    # Basin 3: each 0 sees a 0 and a 4 and takes the smaller; the 4 sees two 0. The last one is unresolved.
    basins = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3, 3, 3, -1], device=device)
    classes = torch.tensor([2, 2, 2, 1, 3, 1, 5, 0, 0, 4, 6], device=device)
    assert left_out_accuracy(basins, classes) == 5 / 11
    assert left_out_accuracy(torch.tensor([-1]), torch.tensor([3])) == 0
    # Classes may be any integers, such as ones that would not fit into a table.
    assert left_out_accuracy(basins, 9 * 10**16 * (classes - 1)) == 5 / 11


class _Rotation(Map):
    """A quarter turn about (0.5, 0.5): it has no parameters, and four steps lead back."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, states: Tensor) -> Tensor:
        return torch.stack((1 - states[:, 1], states[:, 0]), dim=1)


def _digits_sets(device: torch.device) -> tuple[LabelledSet, LabelledSet]:
    train, test = load_dataset("digits/train", limit=300), load_dataset("digits/test", limit=200)
    assert train.labels is not None
    assert test.labels is not None
    return (
        LabelledSet(train.images.to(device), train.labels.to(device)),
        LabelledSet(test.images.to(device), test.labels.to(device)),
    )


def _random_autoencoder() -> DenoisingAutoencoder:
    torch.manual_seed(0)
    autoencoder = DenoisingAutoencoder(64, 20)
    for parameter in autoencoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return autoencoder


def test_separability_puts_the_parts_together(device: torch.device) -> None:
    train, test = _digits_sets(device)
    system = _random_autoencoder().to(device)
    before = train.states.clone(), test.states.clone()
    random = torch.Generator().manual_seed(0)
    transformed_train = torch.rand(300, 64, generator=random) + train.classes.cpu()[:, None]
    transformed_test = torch.rand(200, 64, generator=random) + test.classes.cpu()[:, None]
    fits: list[str] = []
    found = separability(
        system,
        train,
        test,
        transformed_train=transformed_train,
        transformed_test=transformed_test,
        train_basins=train.classes[:50],
        test_basins=test.classes,
        orbit_steps=(4, 0, 1),
        orbit_train_samples=120,
        max_iterations=40,
        on_fit=fits.append,
    )

    assert torch.equal(train.states, before[0])
    assert torch.equal(test.states, before[1])
    assert fits == ["raw pixels", "transformed sets", *(f"orbit after {step} steps" for step in (0, 1, 4))]
    assert (found.solver, found.max_iterations) == ("lbfgs", 40)
    assert (found.train_samples, found.test_samples) == (300, 200)
    assert (found.basins_train_samples, found.along_orbit_train_samples) == (50, 120)
    assert found.basins == Accuracy(1.0, 1.0, converged=True)

    def fit(train_states: Tensor, test_states: Tensor) -> Accuracy:
        classes = train.classes[: len(train_states)]
        return logistic_regression_accuracy(train_states, classes, test_states, test.classes, max_iterations=40)

    assert found.raw == fit(train.states, test.states)
    assert found.transformed == fit(transformed_train, transformed_test)
    assert found.transformed != found.raw
    with torch.no_grad():
        one_train, one_test = system(train.states[:120]), system(test.states)
        four_train, four_test = (system(system(system(states))) for states in (one_train, one_test))
    expected = {
        0: fit(train.states[:120], test.states),
        1: fit(one_train, one_test),
        4: fit(four_train, four_test),
    }
    # Which products a block is cut into changes the last bits of the states, and with them a border case at most.
    assert [accuracy.step for accuracy in found.along_orbit] == [0, 1, 4]
    for accuracy in found.along_orbit:
        assert accuracy.train == pytest.approx(expected[accuracy.step].train, abs=1 / 120)
        assert accuracy.test == pytest.approx(expected[accuracy.step].test, abs=2 / 200)
        assert accuracy.converged == expected[accuracy.step].converged


def test_orbit_of_a_rotation_returns() -> None:
    # Along the first coordinate the classes are apart; a quarter turn keeps them so, and four of them change nothing.
    states = torch.tensor([[0.1, 0.4], [0.2, 0.9], [0.8, 0.2], [0.9, 0.7]])
    samples = LabelledSet(states, torch.tensor([0, 0, 1, 1]))
    found = separability(
        _Rotation(),
        samples,
        LabelledSet(torch.tensor([[0.15, 0.5], [0.85, 0.5], [0.1, 0.1]]), torch.tensor([0, 1, 1])),
        transformed_train=states,
        transformed_test=torch.full((3, 2), float("nan")),
        train_basins=torch.tensor([0]),
        test_basins=torch.tensor([0, 0, 0]),
        orbit_steps=(1, 4),
        max_iterations=10_000,
    )
    assert found.along_orbit_train_samples == 4
    assert [asdict(accuracy) for accuracy in found.along_orbit] == [
        asdict(OrbitAccuracy(step, 1.0, 2 / 3, converged=True)) for step in (1, 4)
    ]
    assert found.transformed.test == 0


def _arguments() -> dict[str, Any]:
    samples = LabelledSet(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    return {
        "system": _Rotation(),
        "train": samples,
        "test": samples,
        "transformed_train": samples.states,
        "transformed_test": samples.states,
        "train_basins": torch.tensor([0]),
        "test_basins": torch.tensor([0, 1]),
    }


_SAMPLES = LabelledSet(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"orbit_steps": (0, -1)}, "orbit_steps is"),
        ({"orbit_train_samples": 0}, "orbit_train_samples is 0"),
        ({"max_iterations": 0}, "max_iterations is 0"),
        ({"train_basins": torch.zeros(0, dtype=torch.int64)}, "train_basins has shape"),
        ({"train_basins": torch.zeros(3, dtype=torch.int64)}, "train_basins has shape"),
        ({"test": LabelledSet(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))}, "test.states is empty"),
        ({"train": replace(_SAMPLES, states=torch.zeros(2, 3))}, "train.states has shape"),
        ({"test": replace(_SAMPLES, states=torch.full((2, 2), float("nan")))}, "test.states is not finite"),
    ],
)
def test_wrong_arguments_are_named_before_any_work(changed: dict[str, Any], message: str) -> None:
    fits: list[str] = []
    with pytest.raises(ValueError, match=message):
        separability(**(_arguments() | changed), on_fit=fits.append)
    assert fits == []


def test_a_negative_step_is_refused() -> None:
    with pytest.raises(ValueError, match="steps is"):
        accuracies_along_orbit(_Rotation(), _SAMPLES, _SAMPLES, steps=(0, -1))


@pytest.mark.slow
def test_raw_mnist_is_classified_as_published(mnist_train: Dataset, mnist_test: Dataset) -> None:
    # Section 6.2: the best 93.2% were "a 1% gain over usual logistic regression with no regularization".
    assert mnist_train.labels is not None
    assert mnist_test.labels is not None
    accuracy = logistic_regression_accuracy(
        mnist_train.images, mnist_train.labels, mnist_test.images, mnist_test.labels
    )
    assert accuracy.test == pytest.approx(0.922, abs=0.005)

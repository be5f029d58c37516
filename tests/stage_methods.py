"""How a stage learns, written down while it does: what its accuracies and scores are too coarse to tell.

    constants   limits that the tiny sets of tests do not reach, from the modules themselves
    fits        of each model of scikit-learn its settings, what it was fitted to, and how a network's loss went down
    networks    of each network of torch where it begins, its first gradient, and the learning rates of all its steps
    scored      the images that the recognizer scores to set its threshold and to judge itself, and which share of the
                first of them its threshold keeps
    best        which step the validation set chooses along the orbit, by accuracies that are made up: several steps are
                equally good there, and others are better on the training or the test set

What is learned from is the same on all machines, and so are the first steps: only the last digits differ.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from stage_summaries import of_tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from dynlab.evaluation import classifiers, kinds
from dynlab.evaluation.recognizer import looks, networks, recognizer
from dynlab.studies.stages import separability

# Of each stage that learns.
CONSTANTS: dict[str, tuple[tuple[ModuleType, str], ...]] = {
    "raw": (
        (classifiers, "_PRESENTED"),
        (classifiers, "_MOST_EPOCHS"),
        (kinds, "BLACK_BELOW"),
        (kinds, "WHITE_ABOVE"),
    ),
    "separability": (
        (classifiers, "_PRESENTED"),
        (classifiers, "_MOST_EPOCHS"),
        (kinds, "EXPLOSION_MAX_INTENSITY"),
    ),
    "recognizer": (
        (recognizer, "_FEWEST"),
        (recognizer, "_MOST_FITTED"),
        (recognizer, "_MOST_HELD_OUT"),
        (recognizer, "_LARGEST_SIDE"),
        (networks, "_FEWEST_EPOCHS"),
        (networks, "_PRESENTED_MEMBERS"),
        (networks, "_BATCH"),
        (looks, "_MOST_NEIGHBOURS"),
        (looks, "_NEIGHBOUR_SHARE"),
    ),
}
_OF_MODELS = ("C", "solver", "max_iter", "tol", "fit_intercept", "activation", "alpha")  # also where they are defaults
_OF_OPTIMIZERS = ("betas", "eps", "weight_decay")


@contextmanager
def recorded(stage: str) -> Iterator[dict[str, Any]]:
    """What the module lists, as values that JSON can hold, complete when the block is left; without `best`."""
    method: dict[str, Any] = {"fits": [], "networks": [], "scored": []}
    method["constants"] = {f"{module.__name__}.{name}": getattr(module, name) for module, name in CONSTANTS[stage]}
    optimizers: list[Optimizer] = []
    first: list[torch.Tensor] = []  # scores by which the threshold is set

    def before_step(optimizer: Optimizer, *_: Any) -> None:
        if not any(optimizer is known for known in optimizers):
            optimizers.append(optimizer)
            method["networks"].append(_network(optimizer))
        method["networks"][-1]["rates"].append(optimizer.param_groups[0]["lr"])

    def scores_of(networks: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, indices = score(networks, images)
        method["scored"].append(of_tensor(images))
        if len(method["scored"]) == 1:
            first.append(scores)
        return scores, indices

    def report(networks: Any, threshold: float, *others: Any) -> recognizer.RecognizerReport:
        method["threshold"] = _place(threshold, first[0])
        return write_report(networks, threshold, *others)

    score, write_report = recognizer.scores_of, recognizer._report
    hook = register_optimizer_step_pre_hook(before_step)
    try:
        with (
            mock.patch.object(LogisticRegression, "fit", _recorded(LogisticRegression.fit, method["fits"])),
            mock.patch.object(MLPClassifier, "fit", _recorded(MLPClassifier.fit, method["fits"])),
            mock.patch.object(recognizer, "scores_of", scores_of),
            mock.patch.object(recognizer, "_report", report),
        ):
            yield method
    finally:
        hook.remove()


@contextmanager
def made_up_accuracies() -> Iterator[None]:
    """In it, the stage `separability` finds accuracies that are made up, better ones than any real ones of the start.

    Of any three fits in a row one is best on the validation set; the training set prefers the first fits, the test set
    the last. The network is left out, to be quick.
    """
    fits = 0

    def accuracies(*_: Any) -> dict[str, float]:
        nonlocal fits
        fits += 1
        return {"train": 1.1 - fits / 100, "validation": 0.95 if fits % 3 == 1 else 0.9, "test": 1.0 + fits / 100}

    with (
        mock.patch.object(separability, "accuracies", accuracies),
        mock.patch.object(separability, "single_hidden_layer", separability.logistic_regression),
    ):
        yield


def _recorded(fit: Callable[..., Any], fits: list[dict[str, Any]]) -> Callable[..., Any]:
    """`fit` of scikit-learn, which also writes down what it does."""

    def recording(model: Any, rows: np.ndarray, classes: np.ndarray, *others: Any, **named: Any) -> Any:
        fitted = fit(model, rows, classes, *others, **named)
        defaults = inspect.signature(type(model)).parameters
        found: dict[str, Any] = {
            "model": type(model).__name__,
            "settings": {
                name: repr(value)
                for name, value in model.get_params().items()
                if name in _OF_MODELS or value != defaults[name].default
            },
            "others": repr([len(others), sorted(named)]),
            "rows": of_tensor(torch.from_numpy(rows)),
            "classes": of_tensor(torch.from_numpy(classes)),
        }
        if isinstance(model, MLPClassifier):
            losses = model.loss_curve_
            found |= {"epochs": len(losses), "first_losses": losses[:3], "last_loss": losses[-1]}
        fits.append(found)
        return fitted

    return recording


def _network(optimizer: Optimizer) -> dict[str, Any]:
    (group,) = optimizer.param_groups
    return {
        "optimizer": type(optimizer).__name__,
        "settings": {name: repr(group[name]) for name in _OF_OPTIMIZERS},
        "begins": [of_tensor(parameter.detach()) for parameter in group["params"]],
        "first_gradient": [of_tensor(parameter.grad) for parameter in group["params"]],
        "rates": [],
    }


def _place(threshold: float, scores: torch.Tensor) -> float:
    """Where a number stands among others, from 0 at the least to 1 at the largest, between two by its distances."""
    ordered = scores.sort().values.tolist()
    return float(np.interp(threshold, ordered, np.linspace(0, 1, len(ordered))))

"""Classifiers on sets whose answer is known; logistic regression has its accuracy judged in test_separability."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dynlab.evaluation.classifiers import Classifier, logistic_regression, single_hidden_layer

CIRCLE = 20 * torch.rand(600, 2, generator=torch.Generator().manual_seed(0)) - 10
INSIDE = (CIRCLE.square().sum(dim=1) < 50).long() + 3  # classes 3 and 4


def test_a_hidden_layer_learns_what_no_line_tells_apart(device: torch.device) -> None:
    states, classes = CIRCLE.to(device), INSIDE.to(device)
    line = logistic_regression(states, classes)
    network = single_hidden_layer(states, classes, hidden=50, epochs=400)
    assert line.accuracy(states, classes) < 0.7
    assert network.accuracy(states, classes) > 0.93
    assert set(network.predict(states).tolist()) == {3, 4}


def test_the_seed_decides_and_nothing_else() -> None:
    def learned(seed: int) -> list[int]:
        return single_hidden_layer(CIRCLE, INSIDE, hidden=5, epochs=3, seed=seed).predict(CIRCLE).tolist()

    before = torch.get_rng_state()
    first = learned(1)
    torch.manual_seed(7)
    assert learned(1) == first
    assert learned(2) != first
    torch.set_rng_state(before)


@pytest.mark.parametrize("fit", [logistic_regression, single_hidden_layer])
def test_states_that_are_not_finite_teach_nothing_and_have_no_class(fit: Any) -> None:
    lost = torch.full((2, 2), float("nan"))
    classifier: Classifier = fit(torch.cat([CIRCLE[:50], lost]), torch.cat([INSIDE[:50], torch.tensor([9, 9])]))
    assert torch.equal(classifier.predict(CIRCLE), fit(CIRCLE[:50], INSIDE[:50]).predict(CIRCLE))
    assert classifier.predict(lost).tolist() == [-1, -1]
    assert classifier.accuracy(torch.cat([lost, CIRCLE[:1]]), torch.tensor([3, 4, 9])) == 0
    assert fit(lost, torch.tensor([1, 2])).predict(CIRCLE[:1]).tolist() == [-1]


@pytest.mark.parametrize(
    ("fit", "arguments", "message"),
    [
        (logistic_regression, {"max_iterations": 0}, "max_iterations is 0"),
        (single_hidden_layer, {"hidden": 0}, "hidden is 0"),
        (single_hidden_layer, {"epochs": 0}, "epochs is 0"),
        (single_hidden_layer, {"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_arguments_are_named(fit: Any, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(CIRCLE, INSIDE, **arguments)

"""Stage `raw`: how well the raw pixels are classified, once for the data of a study.

`results.json`
    acc_raw_train, acc_raw_validation (null: no such set), acc_raw_test: logistic regression on raw pixels, section 5.5;
        `converged`: whether it reached its optimum, which raw digits never do
    acc_raw_net_train, acc_raw_net_test: the network with one hidden layer, section 6.3
    orbit_start: the beginning of separability along the orbit, learned from the first `train_samples`: `train`,
        `validation`, `test`, `converged`
    black_fraction, white_fraction: for each set, mean shares of pixels below 0.01 and above 0.95, section 6.1

Cost: 44 s of one core for MNIST (50000, 10000 and 10000 samples, 20000 along the orbit), most of it for the network.

Source: Bahdanau and Jaeger 2014, sections 5.5, 6.1 and 6.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dynlab.datasets import Dataset, labels_of
from dynlab.evaluation.classifiers import Classifier, logistic_regression, single_hidden_layer
from dynlab.evaluation.kinds import black_fraction, white_fraction
from dynlab.files import write_json
from dynlab.studies.stage import Cost, Json, Report, Stage, Work
from dynlab.studies.stages.computing import RESULTS_FILE, ROLES, on_separability, sets_of


def _cost(work: Work) -> Cost:
    return Cost(1.5e5 * work.sizes["train"] * work.dim)


def compute(folder: Path, cell: Json, parameters: Json, needed: Mapping[str, Path], report: Report) -> None:
    """Write the file that the module describes; arguments as in `Stage`.

    `parameters` is `orbit_train_samples`, at least 1.
    """
    data = sets_of(parameters)
    train = data["train"]
    images, classes = train.images, labels_of(train)
    first = min(parameters["orbit_train_samples"], len(images))
    results: dict[str, Any] = {}

    report(0.0, "logistic regression")
    regression = logistic_regression(images, classes)
    found = accuracies(regression, data, {role: one.images for role, one in data.items()})
    results |= {f"acc_raw_{role}": found[role] for role in ROLES} | {"converged": regression.converged}

    report(0.3, "network")
    network = single_hidden_layer(images, classes)
    found = accuracies(network, data, {role: one.images for role, one in data.items()})
    results |= {f"acc_raw_net_{role}": found[role] for role in ("train", "test")}

    report(0.8, "logistic regression along the orbit")
    start = logistic_regression(images[:first], classes[:first])
    states = {role: one.images[: first if role == "train" else None] for role, one in data.items()}
    results["orbit_start"] = {"train_samples": first, **accuracies(start, data, states), "converged": start.converged}

    for name, share in (("black_fraction", black_fraction), ("white_fraction", white_fraction)):
        results[name] = {role: float(share(one.images).mean()) for role, one in data.items()}
    write_json(folder / RESULTS_FILE, results)


def accuracies(
    classifier: Classifier, data: Mapping[str, Dataset], states: Mapping[str, Tensor]
) -> dict[str, float | None]:
    """Accuracy on each of the three sets; None where there is no such set.

    Args:
        classifier: What is judged.
        data: The sets, for their classes.
        states: Where their samples, or the first ones, stand.
    """
    return {
        role: classifier.accuracy(states[role], labels_of(data[role])[: len(states[role])]) if role in states else None
        for role in ROLES
    }


RAW = Stage("raw", 1, (), on_separability, compute, scope="data", on_device=False, cost=_cost)

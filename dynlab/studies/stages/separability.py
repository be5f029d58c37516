"""Stage `separability`: is the iterated data easier to classify? Sections 5.5 and 6.3, figure 6, and along the orbit.

`results.json`
    acc_train, acc_validation (null: no such set), acc_test: logistic regression learned from the transformed training
        set; `converged`; acc_test_without_explosions: of the test samples that did not explode (null: all did)
    acc_net_train, acc_net_test: the network with one hidden layer, section 6.3
    along_orbit: for 0, 1, 2, 4, ... 128 `step`s: `train`, `validation`, `test`, `converged`, learned from the first
        `orbit_train_samples` training samples; at_the_end: the same of the transformed sets, to compare with; which
        test samples it has right, `end.safetensors` says
    steps_best, acc_best_validation, acc_best_test: the step with the best accuracy on the validation set, of equally
        good ones the first, and what it has on the test set, which had no part in the choice; null without that set
    picks: for figure 6, 12 `good` and 12 `misclassified` samples of the test set (fewer where there are fewer):
        `samples`, true `classes`, `predicted` classes of the transformed state, `distances` between the two. Chosen at
        random, in one order for all maps: good ones are classified correctly and have `moved` by 5 or more,
        misclassified ones are just that.

Files
    picks.safetensors: `good_originals`, `good_transformed`, `misclassified_originals`, `misclassified_transformed`, and
        for all picks, good ones first, `step_lengths` and `distances` as `convergence_of` gives them (figure 7)
    end.safetensors: `right`, for each test sample 1 if `at_the_end` has its class right, else 0

Cost: 61 s of one core for MNIST (50000, 10000 and 10000 samples, 20000 along the orbit): half of it for the network,
3 s for each fit along the orbit. Memory: 1.4 GB, the images among it.

Source: Bahdanau and Jaeger 2014, sections 5.5 and 6.3, figures 6 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynlab.datasets import Dataset, labels_of
from dynlab.evaluation.classifiers import Classifier, logistic_regression, single_hidden_layer
from dynlab.evaluation.kinds import is_explosion
from dynlab.evaluation.separability import ORBIT_STEPS
from dynlab.files import read_json, write_json, write_tensors
from dynlab.studies.stage import Cost, Json, Report, Stage, Work
from dynlab.studies.stages.computing import RESULTS_FILE, ROLES, map_of, on_separability, sets_of, states_of
from dynlab.studies.stages.convergence import convergence_of, moved
from dynlab.studies.stages.iterate import orbit_file
from dynlab.studies.stages.raw import accuracies

PICKS = 12


def _cost(work: Work) -> Cost:
    return Cost(2.2e5 * work.sizes["train"] * work.dim)


def compute(folder: Path, cell: Json, parameters: Json, needed: Mapping[str, Path], report: Report) -> None:
    """Write the files that the module lists; arguments as in `Stage`.

    `parameters` is `orbit_train_samples`, at least 1, as `iterate` and `raw` had it.
    """
    data = sets_of(parameters)
    classes = {role: labels_of(one) for role, one in data.items()}
    transformed = {role: states_of(needed["iterate"], role) for role in data}
    results: dict[str, Any] = {}

    report(0.0, "logistic regression on the transformed sets")
    regression = logistic_regression(transformed["train"], classes["train"])
    found = accuracies(regression, data, transformed)
    predicted = regression.predict(transformed["test"])
    exploded = is_explosion(transformed["test"])
    results |= {f"acc_{role}": found[role] for role in ROLES} | {"converged": regression.converged}
    results["acc_test_without_explosions"] = (
        None if exploded.all() else float((predicted == classes["test"])[~exploded].double().mean())
    )

    report(0.2, "network on the transformed sets")
    network = single_hidden_layer(transformed["train"], classes["train"])
    found = accuracies(network, data, transformed)
    results |= {f"acc_net_{role}": found[role] for role in ("train", "test")}

    first = min(parameters["orbit_train_samples"], len(classes["train"]))
    start = read_json(needed["raw"] / RESULTS_FILE)["orbit_start"]
    steps = [step for step in ORBIT_STEPS if step > 0]
    along = [{"step": 0} | {name: value for name, value in start.items() if name != "train_samples"}]
    for number, step in enumerate(steps):
        report(0.5 + 0.4 * number / len(steps), f"logistic regression after {step} steps")
        states = {role: states_of(needed["iterate"], orbit_file(role, step)) for role in data}
        along.append({"step": step} | _fitted(states, data)[0])
    report(0.9, "logistic regression at the end")
    ends = {role: states[: first if role == "train" else None] for role, states in transformed.items()}
    end, classifier = _fitted(ends, data, regression if first == len(classes["train"]) else None)
    right = classifier.predict(transformed["test"]) == classes["test"]
    write_tensors(folder / "end.safetensors", {"right": right.to(torch.uint8)})
    results |= {"orbit_train_samples": first, "along_orbit": along, "at_the_end": end, **_best(along)}

    report(0.95, "picks")
    system = map_of(needed, parameters)
    results["picks"] = _picks(
        data["test"],
        transformed["test"],
        predicted,
        folder / "picks.safetensors",
        lambda images: convergence_of(system, images),
    )
    write_json(folder / RESULTS_FILE, results)


def _fitted(
    states: Mapping[str, Tensor], data: Mapping[str, Dataset], classifier: Classifier | None = None
) -> tuple[dict[str, Json], Classifier]:
    """Accuracies on all sets, and the classifier, learned from the training samples that are there unless given."""
    if classifier is None:
        rows = states["train"]
        classifier = logistic_regression(rows, labels_of(data["train"])[: len(rows)])
    return {**accuracies(classifier, data, states), "converged": classifier.converged}, classifier


def _best(along: list[dict[str, Any]]) -> dict[str, Json]:
    """The step that the validation set chooses."""
    if along[0]["validation"] is None:
        return {"steps_best": None, "acc_best_validation": None, "acc_best_test": None}
    best = max(along, key=lambda entry: entry["validation"])  # of equal ones the first
    return {"steps_best": best["step"], "acc_best_validation": best["validation"], "acc_best_test": best["test"]}


def _picks(
    test: Dataset,
    transformed: Tensor,
    predicted: Tensor,
    path: Path,
    convergence: Callable[[Tensor], dict[str, Tensor]],
) -> dict[str, Json]:
    """Choose the samples of figure 6 and write down their states."""
    classes = labels_of(test)
    distances = torch.linalg.vector_norm((transformed - test.images).double(), dim=1)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(classes)))
    right = predicted == classes
    chosen = {
        "good": order[(right & (distances >= moved(transformed.shape[1])))[order]][:PICKS],
        "misclassified": order[~right[order]][:PICKS],
    }
    tensors = convergence(test.images[torch.cat(list(chosen.values()))])
    for name, rows in chosen.items():
        tensors |= {f"{name}_originals": test.images[rows], f"{name}_transformed": transformed[rows]}
    write_tensors(path, tensors)
    return {
        name: {
            "samples": rows.tolist(),
            "classes": classes[rows].tolist(),
            "predicted": predicted[rows].tolist(),
            "distances": distances[rows].tolist(),
        }
        for name, rows in chosen.items()
    }


# Classifiers are learned on the CPU; only the few picks are iterated.
SEPARABILITY = Stage(
    "separability", 2, ("train", "iterate", "raw"), on_separability, compute, on_device=False, cost=_cost
)

"""Stored results stay good until a version says otherwise: so results must not change without it.

`stage_references.json` holds the version of trainings and a summary of the tiny ones of `train_runs`, and for each
stage its version and a summary of what it makes of the tiny study of `stage_runs`; of stages that learn also how they
do that (`stage_methods`). When a test here fails because results shall be others, raise the version where the message
says and write the references anew:

    python tests/studies/test_stage_versions.py

This refuses to store other results under the same version. Numbers are compared within tolerances
(`stage_summaries`), so that other machines pass. An entry that was taken out of the file is written whatever its
version: for what is to be compared in addition, and for changes of the method that provably give the same results.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).parents[1]))  # where this runs as a program; pytest knows the place

from stage_runs import method_file, run_recorded, run_stages
from stage_summaries import differences, of_json, summary
from train_runs import train_summary

from dynlab.evaluation import classifiers, kinds
from dynlab.evaluation.recognizer import looks, networks, recognizer, stains
from dynlab.studies.keys import TRAIN_VERSION
from dynlab.studies.stages import STAGES, raw, separability
from dynlab.studies.stages import recognizer as recognizer_stage
from dynlab.studies.training import STAGE as TRAIN
from dynlab.training import TrainingSettings, backpropagation, initialization, run
from dynlab.training.adversary import Adversary
from dynlab.training.corruption import Rotation

REFERENCES = Path(__file__).with_name("stage_references.json")
HOW = "write the references anew: python tests/studies/test_stage_versions.py"
VERSIONS = {TRAIN: TRAIN_VERSION} | {stage.name: stage.version for stage in STAGES}


def known_references() -> dict[str, Any]:
    """What is stored."""
    return json.loads(REFERENCES.read_text())


def summary_of(name: str, folders: dict[str, Path]) -> dict[str, Any]:
    """What a stage holds; of one with shards its last, which begins where another one ends."""
    if name == TRAIN:
        return train_summary()
    return with_method(folders[[part for part in folders if name in (part, part.rpartition("-")[0])][-1]])


def with_method(folder: Path) -> dict[str, Any]:
    """What a stage holds, and how it learned."""
    path = method_file(folder)
    return summary(folder) | (of_json("method", json.loads(path.read_text())) if path.exists() else {})


def complaint(name: str, found: dict[str, Any], references: dict[str, Any]) -> str | None:
    """What is wrong with the version of a stage, or of trainings; None if nothing is."""
    version, known = VERSIONS[name], references.get(name)
    if known is None:
        return f"{name}: has no reference result; {HOW}"
    if known["version"] != version:
        return f"{name}: has version {version}, the reference result {known['version']}; {HOW}"
    changed = differences(name, found, known["summary"])
    if changed:
        lines = "\n  ".join(changed[:20])
        where = "TRAIN_VERSION in dynlab/studies/keys.py" if name == TRAIN else f"it in dynlab/studies/stages/{name}.py"
        return (
            f"{name}: {len(changed)} results changed, and the version is still {version}; raise {where}, so that "
            f"stored results are computed anew:\n  {lines}"
        )
    return None


@pytest.mark.parametrize("name", VERSIONS)
def test_results_change_with_the_version_only(name: str, stage_folders: dict[str, Path]) -> None:
    wrong = complaint(name, summary_of(name, stage_folders), known_references())
    assert wrong is None, wrong


def test_changes_are_noticed(stage_folders: dict[str, Path]) -> None:
    found = summary(stage_folders["iterate"])
    version = VERSIONS["iterate"]
    references = {"iterate": {"version": version, "summary": found}}
    assert complaint("iterate", found, references) is None
    assert "no reference" in str(complaint("iterate", found, {}))
    older = {"iterate": {"version": version - 1, "summary": found}}
    assert "write the references anew" in str(complaint("iterate", found, older))

    states, key = "test: states", "results.steps_test"
    for name, value in (
        (key, found[key] + 1),
        (states, found[states] | {"mean": 1.01 * found[states]["mean"]}),
        (states, found[states] | {"type": "torch.float64"}),
        (states, found[states] | {"shape": "[1]"}),
        ("results.errors_corruption", "clean"),
        ("results.something", 1),
    ):
        changed = deepcopy(found) | {name: value}
        assert f"{name}: " in str(complaint("iterate", changed, references))
    changed = {name: value for name, value in found.items() if name != key}
    assert f"{key}: is missing" in str(complaint("iterate", changed, references))


def _as(value: object) -> Callable[[Any], object]:
    """What takes the place of an attribute, whatever that is."""
    return lambda _: value


# The name of a training, an object and its attribute, and what takes the place of what it is.
OTHER_TRAININGS: dict[str, tuple[str, Any, str, Callable[[Any], object]]] = {
    "annealing": (
        "annealing with snapshots",
        TrainingSettings,
        "learning_rate_in",
        lambda _: lambda settings, epoch: settings.learning_rate * settings.annealing**epoch,
    ),
    "initialization": (
        "one step",
        initialization,
        "initialize",
        lambda old: lambda system, seed: old(system, seed + 1),
    ),
    "order": ("one step", run, "_aligned", lambda old: lambda images: old(images).flip(0)),
    "factor": (
        "last",
        backpropagation.GradientDescent,
        "step",
        lambda old: lambda descent, clean, corrupted, rate: old(descent, clean, corrupted, 1.002 * rate),
    ),
    "curvature": ("contraction", backpropagation, "_BENDS", lambda old: old | {"sigmoid": 0.99}),
    "adversary": ("learned", Adversary, "step", lambda _: lambda *_: None),
    "rotation": (
        "rotation",
        Rotation,
        "__call__",
        lambda old: lambda rotation, *others: old(Rotation(1.01 * rotation.level), *others),
    ),
}


@pytest.mark.parametrize("change", OTHER_TRAININGS)
def test_another_training_is_noticed(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, place, attribute, other = OTHER_TRAININGS[change]
    known = {
        key: value for key, value in known_references()[TRAIN]["summary"].items() if key.startswith(f"{name}, epoch ")
    }
    assert differences(TRAIN, train_summary([name]), known) == []
    monkeypatch.setattr(place, attribute, other(getattr(place, attribute)))
    assert differences(TRAIN, train_summary([name]), known)


def _asked(**others: Any) -> Callable[[Any], object]:
    """A function that is asked for something else."""
    return lambda old: lambda *given, **named: old(*given, **named | others)


def _regularized(fit: Any) -> Callable[..., Any]:
    return lambda model, *data: fit(
        model.set_params(C=1.0) if isinstance(model, LogisticRegression) else model,
        *data,
    )


def _best_by(role: str, last: bool = False) -> Callable[[Any], object]:
    """The step along the orbit that one of the sets chooses, of equally good ones the first or the last."""

    def best(along: list[dict[str, Any]]) -> dict[str, Any]:
        entry = max(reversed(along) if last else along, key=lambda entry: entry[role])
        return {f"acc_best_{role}": entry[role] for role in ("validation", "test")} | {"steps_best": entry["step"]}

    return lambda _: best


FEW_EPOCHS = 2
# As above with the name of a stage; last the beginning of the name of a result that must have changed.
OTHER_METHODS: dict[str, tuple[str, Any, str, Callable[[Any], object], str]] = {
    "penalty": ("raw", classifiers, "_fitted", _regularized, "method.fits.0.settings.C"),
    "pixels": ("raw", raw, "logistic_regression", lambda old: lambda x, *y: old(2 * x, *y), "method.fits.0.rows.mean"),
    "hidden units": ("raw", raw, "single_hidden_layer", _asked(hidden=499), "method.fits.1.first_losses.0"),
    "epochs": ("raw", raw, "single_hidden_layer", _asked(epochs=190), "method.fits.1.epochs"),
    "network's seed": ("raw", raw, "single_hidden_layer", _asked(seed=1), "method.fits.1.first_losses.0"),
    "learning rate": ("raw", classifiers, "_LEARNING_RATE", _as(1.01e-3), "method.fits.1.first_losses.0"),
    "larger sets": ("raw", classifiers, "_PRESENTED", _as(900_000), "method.constants.dynlab.evaluation.classifiers._"),
    "white": ("raw", kinds, "WHITE_ABOVE", _as(0.9), "results.white_fraction.train"),
    "iterations": (
        "separability",
        separability,
        "logistic_regression",
        _asked(max_iterations=101),
        "method.fits.2.settings.max_iter",
    ),
    "orbit steps": (
        "separability",
        separability,
        "ORBIT_STEPS",
        _as((0, 1, 2, 4, 8, 16, 32, 128)),
        "results.along_orbit.length",
    ),
    "last of equal steps": ("separability", separability, "_best", _best_by("validation", True), "method.best.steps_"),
    "step of the training set": ("separability", separability, "_best", _best_by("train"), "method.best.steps_best"),
    "step of the test set": ("separability", separability, "_best", _best_by("test"), "method.best.steps_best"),
    "split": ("recognizer", recognizer, "_SHARES", _as((0.6, 0.2, 0.2)), "method.scored.0.shape"),
    "recognizer's seed": ("recognizer", recognizer_stage, "train_recognizer", _asked(seed=1), "method.scored.0.mean"),
    "kept members": ("recognizer", recognizer, "_KEPT_MEMBERS", _as(0.94), "method.threshold"),
    "looks": ("recognizer", looks, "_BLUR", _as(1.21), "method.networks.0.first_gradient.0"),
    "fitted stains": (
        "recognizer",
        stains,
        "FITTING_SHARES",
        lambda old: dict(reversed(old.items())),
        "method.networks.0.first_gradient.0",
    ),
    "judged stains": (
        "recognizer",
        stains,
        "JUDGED_KINDS",
        lambda old: dict(list(old.items())[:-1]),
        "method.scored.length",
    ),
    "units": ("recognizer", networks, "_HIDDEN", _as(100), "method.networks.1.begins.4.shape"),
    "batch": ("recognizer", networks, "_BATCH", _as(64), "method.networks.0.rates"),
    "rates": ("recognizer", networks, "_LEARNING_RATE", _as(6.01e-3), "method.networks.0.rates"),
    "decay": ("recognizer", networks, "_WEIGHT_DECAY", _as(2e-4), "method.networks.0.settings.weight_decay"),
    "passes": ("recognizer", networks, "_MOST_EPOCHS", _as(FEW_EPOCHS), "method.networks.0.rates"),
}


@pytest.fixture(scope="module")
def quick_recognizer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the recognizer's stage holds after few epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_MOST_EPOCHS", FEW_EPOCHS)
        return with_method(run_recorded("recognizer", tmp_path_factory.mktemp("quick") / "recognizer", {}))


@pytest.mark.parametrize("change", OTHER_METHODS)
def test_another_method_is_noticed(
    change: str,
    tmp_path: Path,
    stage_folders: dict[str, Path],
    quick_recognizer: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compared with what is stored; of the recognizer, to be quick, changes after few epochs with none after few."""
    name, place, attribute, other, expected = OTHER_METHODS[change]
    known = known_references()[name]["summary"]
    if name == "recognizer":
        known = known if attribute == "_MOST_EPOCHS" else quick_recognizer
        monkeypatch.setattr(networks, "_MOST_EPOCHS", FEW_EPOCHS)
    monkeypatch.setattr(place, attribute, other(getattr(place, attribute)))
    changed = differences(name, with_method(run_recorded(name, tmp_path / name, stage_folders)), known)
    assert any(line.startswith(expected) for line in changed), changed


def write_references() -> int:
    """Store the results of today; the exit status."""
    references = known_references() if REFERENCES.exists() else {}
    refused = False
    with tempfile.TemporaryDirectory() as folder:
        folders = run_stages(Path(folder))
        for name, version in VERSIONS.items():
            found = summary_of(name, folders)
            known = references.get(name)
            if known and known["version"] == version:
                wrong = complaint(name, found, references)
                if wrong:
                    print(wrong)
                    refused = True
                continue
            references[name] = {"version": version, "summary": found}
            print(f"{name}: version {version} written")
    REFERENCES.write_text(json.dumps({name: references[name] for name in VERSIONS}, indent=1) + "\n")
    return int(refused)


if __name__ == "__main__":
    sys.exit(write_references())

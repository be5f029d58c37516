"""Each stage against plain loops in float64, or scikit-learn asked directly, on the tiny study of stage_runs."""

from __future__ import annotations

import json
import pickle
import warnings
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from stage_runs import MAP_FILE, PARAMETERS, PARTS, SETS, SETTINGS, run_stage, tiny_map, tiny_set, where
from torch import Tensor

from dynlab.attractors import Basins, load_graph
from dynlab.devices import one_thread_in_all
from dynlab.evaluation.kinds import Outcome
from dynlab.evaluation.recognizer import train_recognizer
from dynlab.files import read_tensors, sha256
from dynlab.maps import DenoisingAutoencoder
from dynlab.studies.specification import load_study
from dynlab.studies.stages import STAGES
from dynlab.studies.stages.graph import GRAPH
from dynlab.studies.stages.recognizer import recognizer_of
from dynlab.training import corrupt

Folders = dict[str, Path]
Array = NDArray[np.float64]
ORBIT = (1, 2, 4, 8, 16, 32, 64, 128)
FLOAT32 = 2e-3  # what rounding may grow to on the way past a saddle, where no multiplier tells how far


def _results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


@cache
def _labels(role: str) -> NDArray[np.int64]:
    labels = tiny_set(role).labels
    assert labels is not None
    return labels.numpy()


@cache
def _images(role: str) -> Array:
    return tiny_set(role).images.double().numpy()


@cache
def _weights() -> tuple[Array, Array, Array, Array]:
    system = tiny_map()
    tensors = (system.encoder["weight"], system.encoder["bias"], system.decoder["weight"], system.decoder["bias"])
    w1, b1, w2, b2 = (tensor.detach().double().numpy() for tensor in tensors)
    return w1, b1, w2, b2


def _step(states: Array) -> Array:
    """Equations 1 and 2 in float64."""
    w1, b1, w2, b2 = _weights()
    hidden = 1 / (1 + np.exp(-(states @ w1.T + b1)))
    return 1 / (1 + np.exp(-(hidden @ w2.T + b2)))


def _orbit(states: Array, steps: int) -> list[Array]:
    found = [states]
    for _ in range(steps):
        found.append(_step(found[-1]))
    return found


def _ends(states: Array) -> Array:
    """Where 3000 steps lead: with multipliers up to 0.98, far nearer to the attractors than these are to each other."""
    for _ in range(3000):
        states = _step(states)
    return states


# iterate


def test_iterate_stops_each_set_by_the_quantile_rule(stage_folders: Folders) -> None:
    results = _results(stage_folders["iterate"])
    for role in SETS:
        orbit = _orbit(_images(role), 40)
        lengths = [np.linalg.norm(after - before, axis=1) for before, after in pairwise(orbit)]
        steps = next(step for step, row in enumerate(lengths, start=1) if (row < 1e-4).mean() > 0.75)
        ends = orbit[steps]
        found = read_tensors(stage_folders["iterate"] / f"{role}.safetensors")[0]["states"]
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, ends, atol=FLOAT32)
        entry = results["sets"][role]
        assert results[f"steps_{role}"] == entry["steps"] == steps
        assert results[f"explosions_{role}"] == entry["explosions"] == (ends.max(axis=1) <= 0.5).sum() > 0
        assert entry["black_fraction"] == pytest.approx((ends < 0.01).mean(), abs=1e-3)
        assert entry["white_fraction"] == pytest.approx((ends > 0.95).mean(), abs=1e-3)
        assert (entry["samples"], entry["stopped_by_rule"]) == (len(ends), True)


@pytest.mark.parametrize("share", [0.75, 0.99])  # the rule stops the sets before the 128th step, and after it
def test_iterate_records_states_along_the_orbit(stage_folders: Folders, tmp_path: Path, share: float) -> None:
    folder = run_stage("iterate", tmp_path / "iterate", stage_folders, share=share)
    assert (_results(folder)["steps_test"] > 128) == (share == 0.99)
    for role, rows in (("train", 120), ("validation", 60), ("test", 150)):
        orbit = _orbit(_images(role)[:rows], 128)
        for step in ORBIT:
            found = read_tensors(folder / f"orbit-{role}-{step:03d}.safetensors")[0]["states"]
            assert found.dtype == torch.float16
            np.testing.assert_allclose(found.double(), orbit[step], atol=FLOAT32)
    assert len(list(folder.glob("orbit-*"))) == 3 * len(ORBIT)


def test_iterate_records_nothing_that_nobody_asks_for(stage_folders: Folders, tmp_path: Path) -> None:
    sets = {role: given for role, given in SETS.items() if role != "validation"}
    folder = run_stage("iterate", tmp_path / "iterate", stage_folders, orbit_train_samples=0, sets=sets)
    assert not list(folder.glob("orbit-*"))
    assert not (folder / "validation.safetensors").exists()
    full = _results(stage_folders["iterate"])
    assert _results(folder) == {
        name: value for name, value in full.items() if not name.endswith("_validation") and name != "sets"
    } | {"sets": {role: full["sets"][role] for role in sets}}


def test_reconstruction_errors_are_those_of_the_equations(stage_folders: Folders) -> None:
    results = _results(stage_folders["iterate"])
    assert results["errors_corruption"] == "gaussian(0.3)"
    for role in ("train", "test"):
        clean = tiny_set(role).images
        noisy = corrupt(clean, "gaussian", level=0.3, seed=SETTINGS.seed).double().numpy()
        one, two = _orbit(noisy, 2)[1:]
        errors = [((clean.numpy() - states) ** 2).sum(axis=1).mean() for states in (one, two, _step(_images(role)))]
        assert results[f"mse_{role}"] == pytest.approx(errors[0], rel=1e-5)
        assert results[f"mse_wb_{role}"] == pytest.approx((errors[0] + errors[1]) / 2, rel=1e-5)
        assert results[f"mse_clean_{role}"] == pytest.approx(errors[2], rel=1e-5)


def test_films_and_convergence_are_those_of_plain_loops(stage_folders: Folders) -> None:
    films = _results(stage_folders["iterate"])["films"]
    tensors = read_tensors(stage_folders["iterate"] / "films.safetensors")[0]
    samples, labels, images = films["samples"], _labels("test"), tiny_set("test").images
    assert films["classes"] == labels[samples].tolist() == sorted(films["classes"])
    assert set(Counter(films["classes"]).values()) == {5}
    assert films["steps"] == [0, 1, 25, 500]
    orbit = _orbit(images[samples].double().numpy(), 600)
    for frame, step in enumerate(films["steps"]):
        np.testing.assert_allclose(tensors["frames"][:, frame], orbit[step], atol=FLOAT32)
    np.testing.assert_allclose(films["distances"], np.linalg.norm(orbit[500] - orbit[0], axis=1), atol=FLOAT32)
    noisy = corrupt(images, "gaussian", level=0.3, seed=SETTINGS.seed)[samples]
    assert torch.equal(tensors["corrupted"], noisy)
    np.testing.assert_allclose(tensors["reconstructed"], _step(noisy.double().numpy()), atol=1e-5)
    _check_convergence(tensors, orbit)


def _check_convergence(tensors: dict[str, Tensor], orbit: list[Array]) -> None:
    lengths = [np.linalg.norm(after - before, axis=1) for before, after in pairwise(orbit[:101])]
    assert tensors["step_lengths"].shape == (100, len(orbit[0]))
    np.testing.assert_allclose(tensors["step_lengths"], lengths, atol=FLOAT32)
    distances = [np.linalg.norm(states - orbit[500], axis=1) for states in orbit]
    assert tensors["distances"].shape == (601, len(orbit[0]))
    np.testing.assert_allclose(tensors["distances"], distances, atol=FLOAT32)


def test_weights_are_compared_unit_by_unit(stage_folders: Folders) -> None:
    (entry,) = _results(stage_folders["iterate"])["weights"]
    tensors = read_tensors(stage_folders["iterate"] / "weights.safetensors")[0]
    w1, _, w2, _ = _weights()

    def cosine(row: Array, column: Array) -> float:
        return float(row @ column / np.sqrt((row @ row) * (column @ column)))

    table = np.array([[cosine(row, column) for column in w2.T] for row in w1])
    others = [table[i, j] for i in range(10) for j in range(10) if i != j]
    np.testing.assert_allclose(tensors["cosines_0"], np.diag(table), rtol=1e-12)
    np.testing.assert_allclose(tensors["shuffled_0"], [table[i, (i + 1) % 10] for i in range(10)], rtol=1e-12)
    ratios = [np.linalg.norm(column) / np.linalg.norm(row) for row, column in zip(w1, w2.T, strict=True)]
    expected = {
        "layer": 0,
        "units": 10,
        "mean": np.diag(table).mean(),
        "median": np.median(np.diag(table)),
        "shuffled_mean": np.mean(others),
        "shuffled_sd": np.std(others),
        "nearest_share": np.mean([row.argmax() == unit for unit, row in enumerate(table)]),
        "whole": cosine(w1.ravel(), w2.T.ravel()),
        "length_ratio": np.median(ratios),
    }
    assert entry == pytest.approx(expected)


# raw and separability


def _fit(states: Tensor, labels: NDArray[np.int64], *, network: bool = False) -> Any:
    """What scikit-learn makes of it, asked directly."""
    if network:
        epochs = min(200, 1_000_000 // len(states))
        batch: Any = 100  # annotated as text in scikit-learn
        model = MLPClassifier(
            (500,),
            activation="logistic",
            alpha=0,
            batch_size=batch,
            max_iter=epochs,
            n_iter_no_change=epochs,
            random_state=0,
        )
    else:
        model = LogisticRegression(C=np.inf, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(states.numpy(), labels)


def _scores(model: Any, states: dict[str, Tensor]) -> dict[str, float]:
    return {role: model.score(rows.numpy(), _labels(role)[: len(rows)]) for role, rows in states.items()}


def _check_scores(found: dict[str, Any], expected: dict[str, float], prefix: str = "") -> None:
    assert {role: found[prefix + role] for role in expected} == pytest.approx(expected, abs=1e-12)


def test_raw_is_what_scikit_learn_says(stage_folders: Folders) -> None:
    results = _results(stage_folders["raw"])
    images = {role: tiny_set(role).images for role in SETS}
    _check_scores(results, _scores(_fit(images["train"], _labels("train")), images), "acc_raw_")
    network = _scores(_fit(images["train"], _labels("train"), network=True), images)
    assert results["acc_raw_net_train"] == pytest.approx(network["train"])
    assert results["acc_raw_net_test"] == pytest.approx(network["test"])
    first = {role: rows[: 120 if role == "train" else None] for role, rows in images.items()}
    _check_scores(results["orbit_start"], _scores(_fit(first["train"], _labels("train")[:120]), first))
    assert results["orbit_start"]["train_samples"] == 120
    for role, rows in images.items():
        assert results["black_fraction"][role] == pytest.approx(float((rows < 0.01).double().mean()))
        assert results["white_fraction"][role] == pytest.approx(float((rows > 0.95).double().mean()))


def test_separability_is_what_scikit_learn_says(stage_folders: Folders) -> None:
    results = _results(stage_folders["separability"])

    def states(name: str) -> dict[str, Tensor]:
        files = {role: stage_folders["iterate"] / f"{name.format(role)}.safetensors" for role in SETS}
        return {role: read_tensors(path)[0]["states"].float() for role, path in files.items()}

    ends, labels = states("{}"), _labels("train")
    model = _fit(ends["train"], labels)
    _check_scores(results, _scores(model, ends), "acc_")
    network = _scores(_fit(ends["train"], labels, network=True), ends)
    assert (results["acc_net_train"], results["acc_net_test"]) == pytest.approx((network["train"], network["test"]))
    alive = ends["test"].amax(dim=1) > 0.5
    expected = model.score(ends["test"][alive].numpy(), _labels("test")[alive.numpy()])
    assert results["acc_test_without_explosions"] == pytest.approx(expected)

    along = results["along_orbit"]
    assert [entry["step"] for entry in along] == [0, *ORBIT]
    start = _results(stage_folders["raw"])["orbit_start"]
    assert {name: start[name] for name in (*SETS, "converged")} == {
        name: along[0][name] for name in along[0] if name != "step"
    }
    for entry in along[1:]:
        there = states(f"orbit-{{}}-{entry['step']:03d}")
        _check_scores(entry, _scores(_fit(there["train"], labels[:120]), there))
    first = ends | {"train": ends["train"][:120]}
    _check_scores(results["at_the_end"], _scores(_fit(first["train"], labels[:120]), first))
    best = max(entry["validation"] for entry in along)
    (chosen, *_) = [entry for entry in along if entry["validation"] == best]
    assert results["steps_best"] == chosen["step"]
    assert (results["acc_best_validation"], results["acc_best_test"]) == (best, chosen["test"])


def test_picks_follow_the_rules_of_figure_6(stage_folders: Folders) -> None:
    picks = _results(stage_folders["separability"])["picks"]
    tensors = read_tensors(stage_folders["separability"] / "picks.safetensors")[0]
    images, labels = tiny_set("test").images, _labels("test")
    ends = {
        role: read_tensors(stage_folders["iterate"] / f"{role}.safetensors")[0]["states"] for role in ("train", "test")
    }
    predicted = _fit(ends["train"], _labels("train")).predict(ends["test"].numpy())
    distances = np.linalg.norm(ends["test"].double().numpy() - images.double().numpy(), axis=1)
    allowed = {
        # 5 of the report's 784 pixels is this much of 64.
        "good": (predicted == labels) & (distances >= 5 * np.sqrt(64 / 784)),
        "misclassified": predicted != labels,
    }
    for name, rule in allowed.items():
        entry, samples = picks[name], picks[name]["samples"]
        assert len(samples) == len(set(samples)) == 12 < rule.sum()
        assert rule[samples].all()
        assert samples != sorted(samples)  # chosen at random, not the first
        assert entry["classes"] == labels[samples].tolist()
        assert entry["predicted"] == predicted[samples].tolist()
        np.testing.assert_allclose(entry["distances"], distances[samples], rtol=1e-5)
        assert torch.equal(tensors[f"{name}_originals"], images[samples])
        assert torch.equal(tensors[f"{name}_transformed"], ends["test"][samples])
    both = [*picks["good"]["samples"], *picks["misclassified"]["samples"]]
    _check_convergence(tensors, _orbit(images[both].double().numpy(), 600))


def test_without_a_validation_set_no_step_is_chosen(stage_folders: Folders, tmp_path: Path) -> None:
    sets = {role: given for role, given in SETS.items() if role != "validation"}
    folders = dict(stage_folders)
    for name in ("raw", "iterate", "separability"):
        folders[name] = run_stage(name, tmp_path / name, folders, sets=sets)
    found, full = (_results(where["separability"]) for where in (folders, stage_folders))
    for name in ("steps_best", "acc_best_validation", "acc_best_test", "acc_validation"):
        assert found[name] is None
    assert _results(folders["raw"])["acc_raw_validation"] is None
    assert (found["acc_test"], found["acc_train"], found["picks"]) == (
        full["acc_test"],
        full["acc_train"],
        full["picks"],
    )


# recognizer


def test_recognizer_comes_back_as_it_was_trained(stage_folders: Folders, tmp_path: Path) -> None:
    stored = recognizer_of(stage_folders["recognizer"])
    assert stored is not None
    train = tiny_set("train").first(60)
    assert train.labels is not None
    with one_thread_in_all():  # as stages compute
        fresh = train_recognizer(train.images, train.labels, state_shape=train.shape)
    states = tiny_set("test").images[:50].double()
    ours, theirs = stored.recognize(states), fresh.recognize(states)
    # Nothing but bits that JSON and safetensors keep: the same training gives the same words.
    assert torch.equal(ours.scores, theirs.scores)
    assert torch.equal(ours.classes, theirs.classes)
    assert (stored.threshold, stored.report) == (fresh.threshold, fresh.report)

    few = run_stage("recognizer", tmp_path / "few", {}, sets={"train": ("digits/train", 8)})
    assert _results(few) == {"trained": False}
    assert recognizer_of(few) is None


def test_whom_the_last_classifier_has_right_is_written_down(stage_folders: Folders) -> None:
    right = read_tensors(stage_folders["separability"] / "end.safetensors")[0]["right"]
    assert (len(right), right.dtype) == (150, torch.uint8)
    assert float(right.double().mean()) == pytest.approx(_results(stage_folders["separability"])["at_the_end"]["test"])


# basins


def test_basins_are_those_of_long_orbits_in_float64(stage_folders: Folders) -> None:
    results = _results(stage_folders["basins"])
    basins = Basins.load(stage_folders["basins"] / "basins.safetensors", tiny_map())
    ends, labels = _ends(_images("test")[:100]), _labels("test")[:100]
    of_sample = basins.fixed_points[basins.labels].numpy()
    np.testing.assert_allclose(of_sample, ends, atol=1e-9)
    assert results["attractors"] == len(basins.fixed_points) == len(np.unique(ends.round(6), axis=0)) == 6
    assert results["samples"] == 100
    assert results["unresolved"] == 0

    members = [labels[(basins.labels == row).numpy()] for row in range(6)]
    assert [row["basin_size"] for row in results["attractor_table"]] == [len(one) for one in members]
    for row, known in zip(results["attractor_table"], members, strict=True):
        assert {int(name): count for name, count in row["class_counts"].items()} == Counter(known.tolist())
    pure = sum(max(Counter(known.tolist()).values()) for known in members) / 100
    assert results["purity"] == pytest.approx(pure)
    right = 0
    for known in members:
        for sample in range(len(known)):
            others = Counter(np.delete(known, sample).tolist())
            most = min((name for name in others), key=lambda name: (-others[name], name), default=None)
            right += most == known[sample]
    assert results["purity_left_out"] == pytest.approx(right / 100)
    assert results["purity_left_out"] < results["purity"]

    exploded = (ends.max(axis=1) <= 0.5).sum()
    assert results["outcomes"]["explosion"] == exploded > 0
    assert sum(results["outcomes"].values()) == 100
    assert results["kinds"]["explosion"] == 1
    codes = read_tensors(stage_folders["basins"] / "samples.safetensors")[0]["outcomes"]
    assert int((codes == list(Outcome).index(Outcome.EXPLOSION)).sum()) == exploded


def test_explosions_are_one_point_and_start_somewhere(stage_folders: Folders) -> None:
    found = _results(stage_folders["basins"])["explosions"]
    arrays = read_tensors(stage_folders["basins"] / "starts.safetensors")[0]
    images, labels = _images("test"), _labels("test")
    transformed = read_tensors(stage_folders["iterate"] / "test.safetensors")[0]["states"]
    exploded = (transformed.amax(dim=1) <= 0.5).numpy()
    assert torch.equal(arrays["exploded"], torch.from_numpy(exploded).to(torch.uint8))
    behind = Basins.load(stage_folders["basins"] / "explosions.safetensors", tiny_map())
    assert behind.samples.tolist() == np.flatnonzero(exploded).tolist()
    ends = _ends(images[exploded])
    assert np.ptp(ends, axis=0).max() < 1e-12  # one point
    count = int(exploded.sum())
    assert found["points"] == {
        "samples": count,
        "explosions": 1,
        "largest_share": 1.0,
        "largest_distance": None,
        "others": 0,
        "unresolved": 0,
    }
    starts = found["starts"]
    assert (starts["samples"], starts["exploded"]) == (150, count)
    for entry in starts["classes"]:
        of_class = labels == entry["known_class"]
        assert (entry["samples"], entry["exploded"]) == (of_class.sum(), (of_class & exploded).sum())
        assert entry["interval"][0] <= entry["exploded"] / entry["samples"] <= entry["interval"][1]
    distances = np.linalg.norm(images - ends[0], axis=1)
    for name, values, stored in (("ink", images.mean(axis=1), "ink"), ("distance", distances, "distances")):
        np.testing.assert_allclose(arrays[stored], values, rtol=1e-9)
        first, second = values[exploded], values[~exploded]
        larger = np.mean([(one > other) + 0.5 * (one == other) for one in first for other in second])
        assert starts[name] == pytest.approx(
            {"exploded": np.median(first), "others": np.median(second), "exploded_larger": larger}
        )


def test_without_explosions_there_is_nothing_to_explain(stage_folders: Folders, tmp_path: Path) -> None:
    # Only samples that do not explode.
    alive = tiny_set("test").images[(_ends(_images("test")).max(axis=1) > 0.5).tolist()]
    np.save(tmp_path / "alive.npy", alive.numpy())
    sets = {role: (str(tmp_path / "alive.npy"), None) for role in ("train", "test")}
    folders = dict(stage_folders)
    for name in ("iterate", "orbits-000", "orbits-001", "basins", "spectra"):
        folders[name] = run_stage(name, tmp_path / name, folders, sets=sets, orbit_train_samples=0)
    explosions = _results(folders["basins"])["explosions"]
    assert explosions["points"]["samples"] == explosions["points"]["explosions"] == 0
    assert explosions["starts"]["ink"]["exploded"] is explosions["starts"]["ink"]["exploded_larger"] is None
    assert explosions["starts"]["distance"] is None
    # No labels either.
    assert explosions["starts"]["classes"] == []
    assert _results(folders["basins"])["outcomes"] is _results(folders["basins"])["purity"] is None
    assert _results(folders["iterate"])["films"]["classes"] is None
    assert (_results(folders["spectra"])["explosions"], _results(folders["spectra"])["probes"]) == ([], [])


def test_samples_on_a_cycle_are_counted_as_such(stage_folders: Folders, tmp_path: Path) -> None:
    blinking = DenoisingAutoencoder(64, 10, state_shape=(8, 8))
    with torch.no_grad():  # dark makes bright and bright makes dark
        blinking.encoder["weight"].fill_(-20 / 64)
        blinking.encoder["bias"].fill_(10.0)
        blinking.decoder["weight"].fill_(1.2)
        blinking.decoder["bias"].fill_(-6.0)
    folders = {**stage_folders, "train": tmp_path / "train"}
    blinking.save(folders["train"] / MAP_FILE)
    for name in ("iterate", "orbits-000", "orbits-001", "basins"):
        folders[name] = run_stage(name, tmp_path / name, folders)
    results = _results(folders["basins"])
    assert [(cycle["period"], cycle["basin_size"]) for cycle in results["cycles"]] == [(2, results["samples"])]
    assert results["outcomes"]["cycle"] == results["samples"]
    assert results["outcomes"]["unresolved"] == results["unresolved"] == 0


# spectra


def _jacobian(state: Array) -> Array:
    w1, b1, w2, b2 = _weights()
    hidden = 1 / (1 + np.exp(-(w1 @ state + b1)))
    output = 1 / (1 + np.exp(-(w2 @ hidden + b2)))
    return (output * (1 - output))[:, None] * w2 * (hidden * (1 - hidden)) @ w1


def test_spectra_are_those_of_the_jacobian(stage_folders: Folders) -> None:
    results = _results(stage_folders["spectra"])
    basins = Basins.load(stage_folders["basins"] / "basins.safetensors", tiny_map())
    (explosion,) = read_tensors(stage_folders["spectra"] / "explosions.safetensors")[0]["fixed_points"].numpy()
    assert explosion.max() <= 0.5
    np.testing.assert_allclose(_step(explosion[None])[0], explosion, atol=1e-13)
    assert len(results["attractors"]) == 3
    w1, b1, _, _ = _weights()
    for entry, point in zip(
        [*results["attractors"], *results["explosions"]], [*basins.fixed_points[:3].numpy(), explosion], strict=True
    ):
        jacobian = _jacobian(point)
        expected = np.linalg.eigvals(jacobian)
        expected = expected[np.argsort(-np.abs(expected))]
        found = np.array([complex(*pair) for pair in entry["multipliers"]])
        # Of the small ones, conjugates among them, the moduli say enough.
        np.testing.assert_allclose(np.abs(found), np.abs(expected[: len(found)]), atol=1e-9)
        np.testing.assert_allclose(found[:3], expected[:3], atol=1e-9)
        assert entry["spectral_radius"] == pytest.approx(abs(expected[0]))
        assert entry["jacobian_norm"] == pytest.approx(np.linalg.norm(jacobian, 2))
        near = [int((np.abs(expected - 1) < radius).sum()) for radius in results["near_unity_radii"]]
        assert entry["near_unity"] == near
        hidden = 1 / (1 + np.exp(-(w1 @ point + b1)))
        assert entry["slopes"] == pytest.approx([(hidden * (1 - hidden)).mean(), (point * (1 - point)).mean()])
    (entry,) = results["explosions"]
    assert entry["samples"] == _results(stage_folders["iterate"])["explosions_test"]
    assert entry["max_intensity"] == pytest.approx(explosion.max())
    assert entry["mean_intensity"] == pytest.approx(explosion.mean())


def test_probes_count_what_reaches_the_explosion(stage_folders: Folders) -> None:
    (explosion,) = read_tensors(stage_folders["spectra"] / "explosions.safetensors")[0]["fixed_points"].numpy()
    probes = _results(stage_folders["spectra"])["probes"]
    images = _images("test")[:100]

    def reached(starts: Array) -> int:
        return int((np.linalg.norm(_ends(starts) - explosion, axis=1) < 1e-6).sum())

    counts = {(probe["states"], probe["value"]): probe["reached"] for probe in probes}
    assert all(probe["samples"] == 100 for probe in probes)
    for share in (0.0, 0.3, 0.6, 0.9):
        assert counts["towards", share] == reached(images + share * (explosion - images))
    grey = np.repeat(np.linspace(0, 1, 100)[:, None], 64, axis=1)
    assert counts["even grey", None] == reached(grey)
    assert counts["towards", 0.0] < counts["towards", 0.9]
    ways = torch.randn(100, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    for radius in (1.0, 4.0, 16.0):
        assert counts["around", radius] == reached(explosion + radius * ways)
    assert {"uniform noise", "shuffled pixels"} <= {states for states, _ in counts}


# graph


def test_graph_joins_the_largest_attractors_by_saddles(stage_folders: Folders) -> None:
    results, graph = _results(stage_folders["graph"]), load_graph(stage_folders["graph"])
    basins = Basins.load(stage_folders["basins"] / "basins.safetensors", tiny_map())
    assert results["attractors"] == 3
    for node in range(3):
        assert torch.equal(graph.nodes[node]["state"], basins.fixed_points[node])
        assert graph.nodes[node]["basin_size"] == basins.sizes[node]
    assert graph.nodes[1]["kind"] == "explosion"
    assert results["edges"] == graph.number_of_edges() > 0
    assert nx.is_connected(graph)
    for _, _, attributes in graph.edges(data=True):
        saddle = attributes["state"].numpy()
        np.testing.assert_allclose(_step(saddle[None])[0], saddle, atol=1e-11)
        moduli = np.abs(np.linalg.eigvals(_jacobian(saddle)))
        assert (moduli > 1).sum() == 1


def test_attractors_that_tracking_meets_beyond_the_largest_keep_their_basins(
    tmp_path: Path, stage_folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between the two largest there is no other one here; between the two smallest there are two.
    def smallest(basins: Basins, count: int) -> Basins:
        rows = slice(len(basins.fixed_points) - count, None)
        return replace(
            basins,
            fixed_points=basins.fixed_points[rows],
            residuals=basins.residuals[rows],
            multipliers=basins.multipliers[rows],
            labels=torch.where(basins.labels >= rows.start, basins.labels - rows.start, -1),
        )

    monkeypatch.setattr("dynlab.studies.stages.graph.largest_basins", smallest)
    parameters = {"attractors": 2, "device": "cpu", "data": where({"test": SETS["test"]})}
    needed = {"train": stage_folders["train"], "basins": stage_folders["basins"]}
    GRAPH.compute(tmp_path, {}, parameters, needed, lambda done, what: None)
    results, graph = _results(tmp_path), load_graph(tmp_path)
    basins = Basins.load(stage_folders["basins"] / "basins.safetensors", tiny_map())
    table = _results(stage_folders["basins"])["attractor_table"]
    assert results["attractors"] == 2 < len(graph)
    for _, node in graph.nodes(data=True):
        row = int((basins.fixed_points - node["state"]).norm(dim=1).argmin())
        assert (basins.fixed_points[row] - node["state"]).norm() < 1e-8
        assert (node["basin_size"], node["kind"]) == (basins.sizes[row], table[row]["kind"])
        assert node["basin_fraction"] == pytest.approx(table[row]["basin_fraction"])
    assert results["unsampled"] == 0


# all of them


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", [name for name in PARTS if name != "recognizer"])
def test_threads_of_the_caller_change_nothing(name: str, stage_folders: Folders, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        folder = run_stage(name, tmp_path / name, stage_folders)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert _hashes(folder) == _hashes(stage_folders[name])


@pytest.mark.parametrize("name", list(PARTS))
def test_progress_rises_and_what_it_raises_ends_the_stage(name: str, stage_folders: Folders, tmp_path: Path) -> None:
    class Enough(BaseException):
        pass

    shares: list[float] = []

    def report(done: float, note: str) -> None:
        assert note
        shares.append(done)
        if len(shares) == 3 or name in ("recognizer", "graph"):
            raise Enough

    with pytest.raises(Enough):
        run_stage(name, tmp_path / name, stage_folders, report=report)
    assert shares == sorted(shares)
    assert shares[0] >= 0
    assert shares[-1] <= 1


def test_stages_stand_in_order_and_ask_for_what_a_study_says(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(
        '[data]\ntrain = "digits/train"\ntest = "digits/test"\n[[grid]]\nsigma = 0.3\nepochs = 1\n'
        "[iteration]\nshare = 0.5\n[analyses]\n"
    )
    bare = load_study(path)
    path.write_text(
        path.read_text() + "separability = { orbit_train_samples = 7 }\nbasins = { samples = 5 }\n"
        "spectra = { attractors = 2 }\ngraph = { attractors = 3 }\n"
    )
    full = load_study(path)
    done = {"train"}
    for stage in STAGES:
        assert set(stage.needs) <= done
        done.add(stage.name)
        asked = stage.parameters(full, None)
        assert asked is not None
        assert set(asked) == {*PARAMETERS[stage.name], "data"}
        assert set(asked["data"]) <= set(SETS)
        assert (stage.parameters(bare, None) is not None) == (stage.name == "iterate")
        assert pickle.loads(pickle.dumps(stage.compute)) is stage.compute  # noqa: S301 - by its name, as executors do
    iterate = next(stage for stage in STAGES if stage.name == "iterate")
    assert iterate.parameters(bare, None)["orbit_train_samples"] == 0  # pyright: ignore[reportOptionalSubscript]
    assert iterate.parameters(full, None)["share"] == 0.5  # pyright: ignore[reportOptionalSubscript]

"""The commands, end to end on scikit-learn's digits."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dynlab import cli
from dynlab.dynamics.certificates import CertificateStatus
from dynlab.evaluation import Analysis, Kind, Outcome
from dynlab.maps import DenoisingAutoencoder, map_hash


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["dynlab", *arguments])
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    torch.set_num_threads(threads)
    assert exit_.value.code == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `train` and `analyse`, with a training set, write."""
    folder = tmp_path_factory.mktemp("cli")
    monkeypatch = pytest.MonkeyPatch()
    train = ("train", "--data", "digits/train", "--sigma", "0.2", "--walkback", "3", "--epochs", "60", "--hidden", "64")
    run(monkeypatch, *train, "--out", str(folder / "dae.safetensors"))
    analyse = ("analyse", str(folder / "dae.safetensors"), "--data", "digits/test", "--train-data", "digits/train")
    run(monkeypatch, *analyse, "--recorded-samples", "50", "--graph", "--out", str(folder / "out"))
    monkeypatch.undo()
    return folder


def test_the_checkpoint_tells_how_it_was_trained(folder: Path):
    training = DenoisingAutoencoder.load(folder / "dae.safetensors").training_settings
    assert (training["sigma"], training["walkback"], training["epochs"], training["seed"]) == (0.2, 3, 60, 0)
    assert training["data"] == "digits/train"
    for errors in training["errors"].values():
        assert 0 < errors["clean"] < errors["corrupted"]
    assert set(training["errors"]) == {"train", "test"}


def test_results_agree_with_the_arrays(folder: Path):
    results = json.loads((folder / "out" / "results.json").read_text())
    arrays = load_file(folder / "out" / "arrays.safetensors")
    autoencoder = DenoisingAutoencoder.load(folder / "dae.safetensors")
    attractors = results["attractors"]
    assert results["schema_version"] == 2
    assert results["map"]["sha256"] == map_hash(autoencoder)
    assert results["data"]["samples"] == 797
    assert [attractor["id"] for attractor in attractors] == list(range(len(attractors)))
    assert arrays["fixed_points"].dtype == torch.float64
    assert tuple(arrays["fixed_points"].shape) == (len(attractors), 64)
    assert arrays["labels"].dtype == arrays["steps"].dtype == torch.int64
    assert arrays["step_lengths"].dtype == torch.float32
    assert arrays["step_lengths"].shape[1] == 50
    sizes = torch.bincount(arrays["labels"][arrays["labels"] >= 0], minlength=len(attractors))
    assert [attractor["basin_size"] for attractor in attractors] == sizes.tolist()
    keys = [(-size, *point) for size, point in zip(sizes.tolist(), arrays["fixed_points"].tolist(), strict=True)]
    assert keys == sorted(keys)
    # Each attractor is a stable fixed point, and its numbers are those of its state.
    exact = autoencoder.double()
    points = arrays["fixed_points"]
    assert float((exact(points) - points).detach().norm(dim=1).max()) < 1e-11
    for attractor, point, jacobian in zip(attractors, points, exact.jacobian(points), strict=True):
        radius = float(torch.linalg.eigvals(jacobian).abs().max())
        assert math.isclose(attractor["spectral_radius"], radius, rel_tol=1e-9)
        assert attractor["spectral_radius"] < 1
        assert math.isclose(attractor["max_intensity"], float(point.max()))
        assert math.isclose(attractor["black_fraction"], float((point < 0.01).double().mean()))
        assert math.isclose(attractor["white_fraction"], float((point > 0.95).double().mean()))
        assert math.isclose(attractor["basin_fraction"], attractor["basin_size"] / 797)
        assert (attractor["kind"] == "explosion") == (float(point.max()) <= 0.5)
        assert (attractor["label"] is not None) == (attractor["kind"] == "prototype")


def test_step_lengths_pass_the_tolerance_where_the_steps_say_and_go_on_to_the_floor(folder: Path):
    arrays = load_file(folder / "out" / "arrays.safetensors")
    lengths, samples = arrays["step_lengths"], arrays["recorded_samples"]
    for column, sample in enumerate(samples.tolist()):
        steps = int(arrays["steps"][sample])
        recorded = lengths[:, column]
        assert bool((recorded[: steps - 1] >= 1e-4).all())
        assert float(recorded[steps - 1]) < 1e-4
        # Steps between float32 states of norm 1 to 8 get no shorter than some 1e-7, and end in their shortest.
        known = recorded[~torch.isnan(recorded)]
        assert bool(torch.isnan(recorded[len(known) :]).all())
        assert float(known[-1]) == float(known.min()) < 1e-6


def test_rates_are_those_of_the_spectral_radii(folder: Path):
    analysis = Analysis.load(folder / "out")
    arrays, rates = analysis.arrays, analysis.results.rates
    assert rates.recorded == sum(rates.decays.values()) == 50
    assert rates.compared >= 45
    assert rates.median_difference is not None
    assert rates.median_difference < 0.02
    for column, sample in enumerate(arrays.recorded_samples.tolist()):
        first, last = arrays.rate_windows[column].tolist()
        if first < 0:
            assert math.isnan(float(arrays.rates[column]))
            continue
        # The rate is the slope between the ends of its window, as far as these lie along the line.
        ends = arrays.step_lengths[[first - 1, last - 1], column].double().log()
        slack = 2 * float(arrays.rate_deviations[column]) / (last - first)
        assert abs(float(ends[1] - ends[0]) / (last - first) - math.log(arrays.rates[column])) <= slack + 1e-12
        assert sample < 50


def test_certificates_are_of_the_largest_basins(folder: Path):
    results = Analysis.load(folder / "out").results
    assert [found.attractor for found in results.certificates] == list(range(min(10, len(results.attractors))))
    assert {found.status for found in results.certificates} == {CertificateStatus.ESTIMATED}
    for found in results.certificates:
        assert found.is_stable
        assert found.contraction is not None
        assert results.attractors[found.attractor].spectral_radius <= found.contraction < 1


def test_certificates_by_choice(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    command = ("analyse", str(folder / "dae.safetensors"), "--data", "digits/test", "--limit", "20", "--quiet")
    run(monkeypatch, *command, "--certify", "1", "--proof", "--out", str(tmp_path / "out"))
    results = Analysis.load(tmp_path / "out").results
    assert [found.status for found in results.certificates] == [CertificateStatus.PROVED]
    assert (results.settings["certified_attractors"], results.settings["certificate_method"]) == (1, "proof")
    assert "proved" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_the_graph_is_that_of_the_results(folder: Path):
    results = json.loads((folder / "out" / "results.json").read_text())
    arrays = load_file(folder / "out" / "graph.safetensors")
    graph = nx.read_graphml(folder / "out" / "graph.graphml", node_type=int)
    attractors = results["attractors"]
    for attractor in attractors:
        node = graph.nodes[attractor["id"]]
        assert node["id"] == attractor["id"]
        for name in ("kind", "basin_size", "basin_fraction"):
            assert node[name] == attractor[name]
        assert math.isclose(node["spectral_radius"], attractor["spectral_radius"])
        assert node.get("label") == attractor["label"]
    points = load_file(folder / "out" / "arrays.safetensors")["fixed_points"]
    assert torch.equal(arrays["attractors"][: len(attractors)], points)
    assert results["connections"]["edges"] == graph.number_of_edges() == len(arrays["saddles"])
    exact = DenoisingAutoencoder.load(folder / "dae.safetensors").double().requires_grad_(requires_grad=False)
    for source, target, edge in graph.edges(data=True):
        state = arrays["saddles"][edge["saddle"]]
        assert edge["kind"] == "saddle"
        assert float((exact(state[None])[0] - state).norm()) < 1e-11
        moduli = torch.linalg.eigvals(exact.jacobian(state[None])[0]).abs()
        assert int((moduli > 1).sum()) == 1
        assert math.isclose(edge["unstable_multiplier"], float(moduli.max()), rel_tol=1e-8)
        ends = arrays["attractors"][[min(source, target), max(source, target)]]
        apart = (ends - state).norm(dim=1).tolist()
        assert [edge["distance_to_source"], edge["distance_to_target"]] == pytest.approx(apart)
    assert Analysis.load(folder / "out").graph is not None


def test_an_analysis_without_a_graph_leaves_none_behind(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    analyse = ("analyse", str(folder / "dae.safetensors"), "--data", "digits/test", "--limit", "20", "--certify", "0")
    run(monkeypatch, *analyse, "--graph", "--out", str(tmp_path))
    assert sorted(path.name for path in tmp_path.glob("graph.*")) == ["graph.graphml", "graph.safetensors", "graph.svg"]
    run(monkeypatch, *analyse[:-3], "19", "--certify", "0", "--out", str(tmp_path))  # of other samples
    assert not list(tmp_path.glob("graph.*"))
    assert Analysis.load(tmp_path).graph is None


def test_what_an_analysis_of_the_same_samples_has_found_is_not_lost(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    before = {path: path.read_bytes() for path in sorted((folder / "out").iterdir())}
    analyse = ("analyse", str(folder / "dae.safetensors"), "--data", "digits/test", "--out", str(folder / "out"))
    for more, lost, option in (
        (("--graph",), "the separability", "--train-data"),
        (("--train-data", "digits/train"), "the connection graph", "--graph"),
        ((), "the connection graph and the separability", "--graph --train-data"),
    ):
        monkeypatch.setattr("sys.argv", ["dynlab", *analyse, *more])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        assert exit_.value.code == 2
        words = f"holds {lost} of this map and these samples, which would be lost: expected {option} as well"
        assert words in capsys.readouterr().err
    assert {path: path.read_bytes() for path in sorted((folder / "out").iterdir())} == before


def test_a_training_set_that_is_no_picture_serves_separability_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng(0)
    classes = np.arange(60) % 2
    points = generator.normal(size=(60, 20)).astype(np.float32) + 3 * classes[:, None]
    np.savez(tmp_path / "points.npz", x=points, y=classes)
    (tmp_path / "maps.py").write_text("def shrink():\n    return lambda x: 0.5 * x\n")
    points_file = str(tmp_path / "points.npz")
    run(
        monkeypatch,
        *("analyse", f"{tmp_path / 'maps.py'}:shrink", "--data", points_file, "--train-data", points_file),
        *("--any-values", "--planes", "0", "--quiet", "--out", str(tmp_path / "out")),
    )
    results = Analysis.load(tmp_path / "out").results
    assert results.recognizer is None
    assert results.separability is not None
    assert results.separability.raw.test == 1.0


def test_outcomes_follow_from_kinds_and_classes(folder: Path):
    analysis = Analysis.load(folder / "out")
    kinds = [attractor.kind for attractor in analysis.results.attractors]
    classes = [attractor.label for attractor in analysis.results.attractors]
    expected: Counter[Outcome] = Counter()
    for label, true in zip(analysis.arrays.labels.tolist(), analysis.arrays.classes.tolist(), strict=True):
        if label < 0:
            expected[Outcome.UNRESOLVED] += 1
        elif kinds[label] is Kind.PROTOTYPE:
            expected[Outcome.KEPT if classes[label] == true else Outcome.CHANGED] += 1
        else:
            expected[Outcome(str(kinds[label]))] += 1
    assert {name: count for name, count in analysis.results.outcomes.items() if count} == dict(expected)


def test_separability_is_in_the_results(folder: Path):
    separability = Analysis.load(folder / "out").results.separability
    assert separability is not None
    assert separability.raw.test > 0.9
    assert [at.step for at in separability.along_orbit] == [0, 1, 2, 4, 8, 16, 32, 64, 128]
    assert separability.along_orbit[0].test == separability.raw.test
    assert 0 < separability.basins.test < 1


def test_the_page_is_there(folder: Path):
    assert "<html" in (folder / "out" / "index.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "arrays.safetensors",
        "graph.graphml",
        "graph.safetensors",
        "graph.svg",
        "index.html",
        "results.json",
    ]


def test_without_labels_what_needs_them_is_unknown(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    images = np.random.default_rng(0).random((20, 64)).astype(np.float32)
    np.save(tmp_path / "noise.npy", images)
    command = ("analyse", str(folder / "dae.safetensors"), "--data", str(tmp_path / "noise.npy"))
    run(monkeypatch, *command, "--out", str(tmp_path / "out"), "--limit", "10")
    results = Analysis.load(tmp_path / "out").results
    assert {attractor.kind for attractor in results.attractors} <= {Kind.UNKNOWN, Kind.EXPLOSION}
    assert results.outcomes["unknown"] + results.outcomes["explosion"] == 10
    assert results.recognizer is None
    assert str(tmp_path / "out" / "index.html") in capsys.readouterr().out


def test_labels_of_one_class_leave_kinds_unknown(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = np.random.default_rng(0).random((20, 64)).astype(np.float32)
    np.savez(tmp_path / "one\udcffclass.npz", x=images, y=np.zeros(20, dtype=int))  # a name that is no UTF-8
    command = ("analyse", str(folder / "dae.safetensors"), "--data", str(tmp_path / "one\udcffclass.npz"))
    run(monkeypatch, *command, "--out", str(tmp_path / "out"))
    results = Analysis.load(tmp_path / "out").results
    assert results.recognizer is None
    assert results.data.name.endswith("one\\xffclass.npz")
    assert results.outcomes["unknown"] + results.outcomes["explosion"] == 20
    assert (tmp_path / "out" / "index.html").is_file()


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(monkeypatch, "--version")
    assert capsys.readouterr().out.startswith("dynlab 0")


def test_robustness_is_written_shown_and_removed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    analyse = ("analyse", str(folder / "dae.safetensors"), "--data", "digits/test", "--limit", "20", "--certify", "0")
    run(monkeypatch, *analyse, "--robustness", "--draws", "3", "--out", str(tmp_path))
    analysis = Analysis.load(tmp_path)
    found = analysis.results.robustness
    assert found is not None
    assert (found.noise, found.draws, analysis.results.settings["noise_draws"]) == (0.2, 3, 3)  # as it was trained
    assert len(found.attractor_escapes) == len(analysis.results.attractors)
    assert (tmp_path / "escapes.graphml").is_file()
    assert "How robust it is" in (tmp_path / "index.html").read_text(encoding="utf-8")
    run(monkeypatch, *analyse[:-3], "19", "--certify", "0", "--out", str(tmp_path))  # of other samples
    assert not (tmp_path / "escapes.graphml").exists()
    assert Analysis.load(tmp_path).results.robustness is None
    for option in ("noise", "draws"):
        monkeypatch.setattr("sys.argv", ["dynlab", *analyse, f"--{option}", "2", "--out", str(tmp_path)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        assert exit_.value.code == 2
        assert f"{option} 2" in (message := capsys.readouterr().err)
        assert "given without robustness, expected both" in message


def test_compare_puts_analyses_on_one_page(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(folder / "out", tmp_path / "other")
    results = tmp_path / "other" / "results.json"
    results.write_text(results.read_text(encoding="utf-8").replace('"sigma": 0.2', '"sigma": 0.25'), encoding="utf-8")
    page = tmp_path / "pages" / "both.html"
    run(monkeypatch, "compare", str(tmp_path / "other"), str(folder / "out"), "--out", str(page))
    text = page.read_text(encoding="utf-8")
    assert text.index("σ = 0.2") < text.index("σ = 0.25")
    printed = capsys.readouterr().out
    assert "σ = 0.2 " in printed
    assert printed.count("balanced accuracy of the recognizer") == 1
    for arguments, message in (
        ((str(folder / "out"), str(tmp_path), "--out", str(tmp_path / "page.html")), "results.json: no such file"),
        ((str(folder / "out"),) * 2 + ("--out", str(tmp_path / "page.html")), "given twice"),
        ((str(folder / "out"), "--out", str(tmp_path / "page.html")), "1 given, expected at least 2"),
        (
            (str(folder / "out"), str(tmp_path / "other"), "--out", str(tmp_path / "other" / "index.html")),
            "is the page of what stands in this folder",
        ),
        ((str(folder / "out"), "--out", str(tmp_path / "page")), "expected a file that ends in .html"),
    ):
        monkeypatch.setattr("sys.argv", ["dynlab", "compare", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        assert exit_.value.code == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("page*[!s]"))

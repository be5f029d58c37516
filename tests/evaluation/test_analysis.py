from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import dynlab as dl
from dynlab.datasets import dataset_of
from dynlab.errors import InputError
from dynlab.evaluation.arrays import Arrays
from dynlab.evaluation.films import film_samples
from dynlab.evaluation.kinds import Kind
from dynlab.maps import DenoisingAutoencoder
from dynlab.maps.classical import Henon, Logistic

from systems import Formula


def analysis(device: torch.device | None = None) -> dl.Analysis:
    autoencoder = DenoisingAutoencoder(4, 6)
    generator = torch.Generator().manual_seed(0)
    for parameter in autoencoder.parameters():
        parameter.data.normal_(std=3.0, generator=generator)
    settings = dl.AnalysisSettings(robustness=True, noise_draws=2, shocked_attractors=1, shocked_samples=1)
    samples = torch.rand(30, 4, generator=generator)
    return dl.analyse(autoencoder.to(device), samples, name="random", settings=settings)


def test_round_trip(tmp_path: Path):
    before = analysis()
    before.save(tmp_path)
    after = dl.Analysis.load(tmp_path)
    assert after.results == before.results
    for field in fields(Arrays):
        torch.testing.assert_close(
            getattr(after.arrays, field.name), getattr(before.arrays, field.name), rtol=0.0, atol=0.0, equal_nan=True
        )


def test_frames_and_repr_show_what_is_there():
    found = analysis()
    attractors, samples = found.to_frame(), found.samples_frame()
    assert attractors.index.tolist() == [attractor.id for attractor in found.results.attractors]
    assert attractors["basin_size"].tolist() == found.basin_sizes()
    assert attractors["kind"].tolist() == [attractor.kind.value for attractor in found.results.attractors]
    assert samples["attractor"].tolist() == found.arrays.labels.tolist()
    assert samples["outcome"].value_counts().to_dict() == {
        outcome: count for outcome, count in found.results.outcomes.items() if count
    }
    assert set(samples["true_class"].tolist()) == {-1}
    assert samples["attractor"].value_counts()[attractors.index].tolist() == attractors["basin_size"].tolist()
    assert repr(found).startswith("Analysis(map='random', data='samples', samples=30, attractors=")
    assert "\n" not in repr(found)


def test_statuses_and_outcomes_count_every_sample(device: torch.device):
    results = analysis(device).results
    assert sum(results.statuses.values()) == sum(results.outcomes.values()) == results.data.samples == 30


def test_flat_states_are_looked_at_in_the_shape_of_the_data():
    flat, images = dl.as_map(lambda states: states / 2, (12,)), dl.as_map(lambda states: states / 2, (1, 3, 4))
    samples = torch.rand(5, 12)
    for system, shape, expected in (
        (flat, (3, 4), (3, 4)),
        (flat, None, (12,)),
        (images, (3, 4), (1, 3, 4)),
    ):
        found = dl.analyse(system, dataset_of(samples, name="samples", shape=shape)).results.map.state_shape
        assert tuple(found) == expected
    assert tuple(dl.analyse(images, samples).results.map.state_shape) == (1, 3, 4)


def test_labels_of_what_is_no_pixels_teach_no_recognizer():
    system = dl.as_map(lambda states: states / 2, (4,))
    images, labels = torch.rand(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    pixels = dataset_of(images, labels, name="pixels")
    others = dataset_of(2 * images - 1, labels, name="others")
    assert dl.analyse(system, pixels).results.recognizer is not None
    assert dl.analyse(system, others).results.recognizer is None
    with pytest.raises(InputError, match="others: has values outside of 0 to 1"):
        dl.analyse(system, pixels, recognizer_data=others)


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ([0.49, 0.49, 0, 0], Kind.EXPLOSION),
        ([-0.4, 0.2, 0, 0], Kind.EXPLOSION),
        ([-0.6, 0.2, 0, 0], Kind.UNKNOWN),
        ([0.6, 0, 0, 0], Kind.UNKNOWN),
        ([0.1, 0.1, 0.1], Kind.UNKNOWN),  # three numbers are no picture
    ],
)
def test_explosions_are_nearly_black_in_modulus(target: list[float], kind: Kind):
    dim = len(target)
    system = dl.as_map(lambda states: (states + torch.tensor(target).to(states)) / 2, (dim,))
    (attractor,) = dl.analyse(system, torch.rand(3, dim)).results.attractors
    assert attractor.kind is kind


def test_states_come_shaped_or_flat():
    system, states = dl.as_map(lambda states: states / 2, (1, 2, 2)), torch.rand(5, 1, 2, 2)
    shaped, flat = (dl.analyse(system, data) for data in (states, states.reshape(5, 4)))
    assert shaped.results.data.sha256 == flat.results.data.sha256
    assert torch.equal(shaped.arrays.fixed_points, flat.arrays.fixed_points)
    with pytest.raises(ValueError, match="data"):
        dl.analyse(system, states.reshape(5, 2, 2))


@pytest.mark.parametrize(
    "damage",
    [
        "[" * 100_000,
        "{",
        "[]",
        '{"schema_version": 2}',
        '{"schema_version": "2"}',
        '{"schema_version": ' + "9" * 5000 + "}",
    ],
)
def test_damaged_results_are_named(tmp_path: Path, damage: str):
    analysis().save(tmp_path)
    (tmp_path / "results.json").write_text(damage)
    with pytest.raises(InputError, match=r"results\.json: "):
        dl.Analysis.load(tmp_path)


@pytest.mark.parametrize("name", [field.name for field in fields(Arrays)])
def test_damaged_arrays_are_named(tmp_path: Path, name: str):
    settings = dl.AnalysisSettings(max_steps=100, max_exact_steps=100, plane_resolution=10)
    if name.startswith("line"):
        dl.analyse(Logistic(2.8), torch.rand(5, 1), settings=settings).save(tmp_path)
    elif name in ("plane_cycles", "plane_diverged", "restless_states"):
        dl.analyse(Henon(), torch.tensor([[0.1, 0.1], [3.0, 3.0]]), settings=settings).save(tmp_path)
    else:
        analysis().save(tmp_path)
    path = tmp_path / "arrays.safetensors"
    whole = load_file(path)
    without = {other: array for other, array in whole.items() if other != name}
    for damaged in (without, {**without, name: torch.zeros(3, 3, dtype=torch.float16)}):
        save_file(damaged, path)
        with pytest.raises(InputError, match=rf"arrays\.safetensors: array {name} "):
            dl.Analysis.load(tmp_path)


@pytest.mark.parametrize(("found", "advice"), [(1, "older dynlab"), (3, "newer dynlab")])
def test_another_schema_is_named_with_what_to_do(tmp_path: Path, found: int, advice: str):
    analysis().save(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({**results, "schema_version": found}))
    with pytest.raises(InputError, match=rf"schema version is {found}, expected 2: written by an? {advice}"):
        dl.Analysis.load(tmp_path)


@pytest.mark.parametrize("part", ["linearizations", "certificates"])
def test_what_names_an_attractor_that_is_not_there_is_refused(tmp_path: Path, part: str):
    analysis().save(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    results[part][0]["attractor"] = 900
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match=r"results\.json: names attractor 900"):
        dl.Analysis.load(tmp_path)


@pytest.mark.parametrize("moment", ["save_graph", "save_escapes", "write_json"])
def test_an_interrupted_save_is_no_mixture_of_two_analyses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    one, other = (
        dl.analyse(
            dl.as_map(lambda x, c=c: x + 0.3 * (x - x**3) + c, (2,)),
            torch.tensor([[0.6, 0.7], [-0.8, 0.9], [-0.9, -0.5]]),
            settings=dl.AnalysisSettings(graph=True, robustness=True, noise_draws=2, basin_planes=0),
        )
        for c in (0.0, 0.001)
    )
    one.save(tmp_path)
    dl.Analysis.load(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"dynlab.evaluation.analysis.{moment}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        other.save(tmp_path)
    with pytest.raises(InputError, match=r"(does not belong to results\.json|of another map than results\.json)"):
        dl.Analysis.load(tmp_path)


@pytest.mark.parametrize("files", ["arrays.safetensors", ["arrays.safetensors"], {"arrays.safetensors": 7}, None])
def test_hashes_of_files_that_are_none_are_refused(tmp_path: Path, files: object):
    analysis().save(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({**results, "files": files}))
    with pytest.raises(InputError, match=r"results\.json: not the results of an analysis"):
        dl.Analysis.load(tmp_path)


def test_ids_are_rows(tmp_path: Path):
    analysis().save(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    results["attractors"][0]["id"] = 7
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match="ids of attractors are not their rows"):
        dl.Analysis.load(tmp_path)


def test_refuses_what_it_cannot_analyse():
    autoencoder = DenoisingAutoencoder(4, 3)
    with pytest.raises(InputError, match="samples: no samples, expected at least one"):
        dl.analyse(autoencoder, torch.zeros(0, 4))
    with pytest.raises(ValueError, match=r"data has shape \(2, 5\), expected \(batch, 4\)"):
        dl.analyse(autoencoder, torch.zeros(2, 5))


def test_basins_come_back_with_their_cycles(tmp_path: Path):
    # x -> -1.2 x + 0.2 x^3 has the fixed points 0, unstable, and the stable cycle {-1, 1}: x = 1.2 x - 0.2 x^3.
    system = Formula(2, lambda x: torch.stack([-1.2 * x[:, 0] + 0.2 * x[:, 0] ** 3, 0.5 * x[:, 1]], dim=1))
    samples = torch.rand(12, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    dl.analyse(system, samples, settings=dl.AnalysisSettings(max_steps=300)).save(tmp_path)
    loaded = dl.Analysis.load(tmp_path)
    (cycle,) = loaded.results.cycles
    assert (cycle.period, cycle.basin_size, loaded.results.statuses["periodic"]) == (2, 12, 12)
    basins, expected = loaded.basins(), dl.basins_of_attraction(system, samples, max_steps=300)
    assert basins.attractor_labels.tolist() == expected.attractor_labels.tolist() == [0] * 12
    torch.testing.assert_close(basins.cycles[0].states, expected.cycles[0].states, rtol=0, atol=1e-9)
    assert sorted(basins.cycles[0].states[:, 0].tolist()) == pytest.approx([-1, 1], abs=1e-9)


def test_every_outcome_that_occurs_has_a_film():
    outcomes = [dl.Outcome.KEPT] * 90 + [outcome for outcome in dl.Outcome for _ in range(2)]
    data = dataset_of(torch.rand(len(outcomes), 4), torch.arange(len(outcomes)) % 10, name="any")
    chosen = film_samples(data, outcomes, seed=0).tolist()
    assert len(chosen) == len(set(chosen)) == 12
    assert {outcomes[sample] for sample in chosen} == set(dl.Outcome)

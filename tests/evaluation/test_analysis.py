from __future__ import annotations

import json
import shutil
from collections.abc import Callable
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
from dynlab.maps.classical import DoubleWell, Henon, Logistic

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
    array = states.numpy()
    sources = (states, states.reshape(5, 4), array[::-1].copy()[::-1], array.astype(">f4"))
    shaped, *others = (dl.analyse(system, data) for data in sources)
    for other in others:
        assert shaped.results.data.sha256 == other.results.data.sha256
        assert torch.equal(shaped.arrays.fixed_points, other.arrays.fixed_points)
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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of the folder of an analysis of a map of two numbers, "plane", or of one that jumps, "line"."""
    settings = dl.AnalysisSettings(max_steps=100, max_exact_steps=100, plane_resolution=10)
    states = torch.linspace(0.05, 0.95, 9)[:, None]
    jumping = dl.as_map(lambda x: torch.where(x < 0.5, 0.5 * x, 0.5 * x + 0.4), (1,))
    root = tmp_path_factory.mktemp("whole")
    dl.analyse(DoubleWell(), states.repeat(1, 2), settings=settings).save(root / "plane")
    dl.analyse(jumping, states, settings=settings).save(root / "line")
    return lambda which: shutil.copytree(root / which, tmp_path_factory.mktemp("copy") / which)


def changed(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change one array of a folder."""
    path = folder / "arrays.safetensors"
    whole = load_file(path)
    save_file({**whole, name: change(whole[name]).contiguous()}, path)


# Who is named where one array of them is too long; of those that are not here it is the array itself.
NAMED = {
    "recorded_samples": "step_lengths",
    "film_samples": "film_states",
    "film_steps": "film_states",
    "member_samples": "member_states",
}
# Nothing else says how long these are.
FREE = {"plane_others", "step_lengths"}


@pytest.mark.parametrize("name", [one.name for one in fields(Arrays) if not one.name.startswith(("shock_", "line_"))])
def test_arrays_of_another_length_than_others_are_named(folders: Callable[[str], Path], name: str):
    folder = folders("plane")
    changed(folder, name, lambda array: torch.cat([array, array.new_zeros(1, *array.shape[1:])]))
    if name in FREE:
        message = r"arrays\.safetensors: does not belong to results\.json"
    elif name == "cycle_states":
        message = r"arrays\.safetensors: .*cycle"
    else:
        message = rf"arrays\.safetensors: array {NAMED.get(name, name)} is .* of shape .*, expected"
    with pytest.raises(InputError, match=message):
        dl.Analysis.load(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("labels", "outcomes", "recorded_samples", "rate_decays", "film_samples", "member_samples"),
        *("plane_labels", "plane_cycles", "line_labels", "line_cycles", "line_jumps"),
    ],
)
def test_indices_of_what_is_not_there_are_named(folders: Callable[[str], Path], name: str):
    folder = folders("line" if name.startswith("line") else "plane")
    changed(folder, name, lambda array: array.index_put((torch.tensor([0]),) * array.ndim, torch.tensor(10**6)))
    with pytest.raises(InputError, match=rf"arrays\.safetensors: array {name} is not within"):
        dl.Analysis.load(folder)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("map.state_shape", [], r"map\.state_shape is \(\), expected lengths whose product is"),
        ("map.state_shape", [3, 3], r"map\.state_shape is \(3, 3\)"),
        ("attractors.0.basin_size", -5, r"basin_size of attractors\[0\] is -5, expected"),
        ("attractors.0.nearest", [10**7], "attractor 0 names sample 10000000, expected 0 to"),
        ("attractors.0.kind", "explosion", "sample 0 has outcome unknown, expected explosion"),
        ("outcomes.unknown", 3, "outcomes.unknown is 3, expected"),
        ("statuses.converged", 0, "statuses count 0 samples, expected"),
        ("linearizations.0.near_unity", [], "near_unity of a linearization has 0 counts, expected 3"),
        ("pictured.0.state", [], "pictured has a state of 0 numbers, expected 2"),
        ("diversity", None, r"not the results of an analysis \(diversity: "),
    ],
)
def test_results_that_contradict_themselves_are_named(
    folders: Callable[[str], Path], path: str, value: object, message: str
):
    tmp_path = folders("plane")
    results = json.loads((tmp_path / "results.json").read_text())
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = results
    for part in way:
        place = place[part]
    place[last] = value
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match=rf"results\.json: {message}"):
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

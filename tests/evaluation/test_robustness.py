from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest, norm

import dynlab as dl
from dynlab.attractors.reached import known_attractors
from dynlab.attractors.robustness.escape import escape_graph
from dynlab.attractors.robustness.escape_files import load_escapes, save_escapes
from dynlab.attractors.robustness.pulled_back import LowerBound
from dynlab.attractors.robustness.shocks import critical_shocks
from dynlab.errors import InputError
from dynlab.evaluation.arrays import Arrays
from dynlab.evaluation.robustness import shocked_samples
from dynlab.evaluation.robustness_results import NoiseSource, Robustness
from dynlab.evaluation.settings import AnalysisSettings
from dynlab.maps import DenoisingAutoencoder, Map
from dynlab.maps.classical import DoubleWell, Linear, MultiWell

SETTINGS = AnalysisSettings(
    robustness=True,
    noise=0.5,
    noise_draws=400,
    shocked_samples=4,
    basin_planes=0,
    recorded_samples=0,
    linearized_attractors=0,
    certified_attractors=0,
)
NO_SHOCKS = {"shocked_attractors": 0, "shocked_samples": 0}


def samples(count: int, dim: int, seed: int = 0, device: torch.device | None = None) -> torch.Tensor:
    """Uniform between -1 and 1, in float32 as data sets are."""
    return (2 * torch.rand(count, dim, generator=torch.Generator().manual_seed(seed)) - 1).to(device)


def analysed(system: Map, data: torch.Tensor, **settings: Any) -> dl.Analysis:
    return dl.analyse(system, data, settings=replace(SETTINGS, **settings))


def robustness(analysis: dl.Analysis) -> Robustness:
    assert analysis.results.robustness is not None
    return analysis.results.robustness


def array(analysis: dl.Analysis, name: str) -> torch.Tensor:
    found = getattr(analysis.arrays, name)
    assert found is not None
    return found


def wells(device: torch.device | None = None) -> MultiWell:
    """Four wells; with steps this small, noise of 0.5 all but never leaves the region with known basins."""
    return MultiWell((1.0, 3.0), 5, step=0.06, seed=1).to(device)


@pytest.fixture(scope="module")
def small() -> dl.Analysis:
    """Four wells, of which one is shocked, and one of thirty samples."""
    return analysed(wells(), samples(30, 5), noise_draws=30, shocked_attractors=1, shocked_samples=1)


def test_shocks_of_wells_and_samples_are_the_distances_to_the_nearest_hyperplane(device: torch.device):
    system, data = wells(device), samples(100, 5, device=device)
    analysis = analysed(system, data)
    found, points = robustness(analysis), analysis.arrays.fixed_points
    assert [shock.start for shock in found.attractor_shocks] == [0, 1, 2, 3]
    shocks = [*found.attractor_shocks, *found.sample_shocks]
    starts, ends = array(analysis, "shock_starts"), array(analysis, "shock_ends")
    expected_starts = torch.cat([points, data.cpu().double()[[shock.start for shock in found.sample_shocks]]])
    torch.testing.assert_close(starts, expected_starts, rtol=0.0, atol=0.0)
    # The hyperplanes are y_i = 0 of the first two coordinates.
    distances = system.coordinates(starts.to(device))[:, :2].abs().amin(dim=1).tolist()
    rows = system.basins(torch.cat([points, ends]).to(device)).cpu()
    well_of = {int(row): number for number, row in enumerate(rows[:4])}
    for shock, start, end, distance, row in zip(shocks, starts, ends, distances, rows[4:].tolist(), strict=True):
        assert shock.lower is not None
        assert shock.upper is not None
        assert shock.straight is not None
        assert 0 < shock.lower <= distance
        assert shock.upper == pytest.approx(distance, rel=1e-4)
        assert distance < shock.upper <= shock.straight
        assert float(torch.linalg.vector_norm(end - start)) == pytest.approx(shock.upper, rel=1e-12)
        assert shock.lower_bound is LowerBound.ESTIMATED
        assert shock.reached == well_of[row] != shock.attractor
        apart = torch.linalg.vector_norm(points - start, dim=1)
        apart[shock.attractor] = math.inf
        assert shock.nearest == pytest.approx(float(apart.min()), rel=1e-12)
    labels = analysis.arrays.labels.tolist()
    assert [shock.attractor for shock in found.sample_shocks] == [labels[shock.start] for shock in found.sample_shocks]
    assert len(array(analysis, "shock_others")) == 0


def test_noise_takes_wells_and_samples_elsewhere_as_often_as_it_crosses_a_hyperplane(device: torch.device):
    system, data = wells(device), samples(100, 5, device=device)
    analysis = analysed(system, data, shocked_attractors=0)
    found = robustness(analysis)
    assert (found.noise, found.noise_source, found.draws) == (0.5, NoiseSource.GIVEN, 400)

    def leaves(start: torch.Tensor) -> float:
        y = system.coordinates(start[None].to(device).double())[0, :2].abs().cpu().numpy()
        return 1 - float(norm.cdf(y / 0.5).prod())

    starts = [(escape.escape_probability, escape.escape_low, escape.escape_high) for escape in found.attractor_escapes]
    starts += [(escape.probability or 0.0, escape.low or 0.0, escape.high or 0.0) for escape in found.sample_escapes]
    states = [*analysis.arrays.fixed_points, *(data.cpu()[escape.sample] for escape in found.sample_escapes)]
    assert len(starts) == len(states) == 4 + 4
    for (share, low, high), state in zip(starts, states, strict=True):
        test = binomtest(round(400 * share), 400, leaves(state))
        assert test.pvalue > 1e-3
        reference = test.proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((reference.low, reference.high), rel=1e-12)
    assert [escape.sample for escape in found.sample_escapes] == [shock.start for shock in found.sample_shocks]
    assert not any(escape.elsewhere or escape.unresolved for escape in found.attractor_escapes)
    # All wells lead to all others: one class, and its stationary distribution is one.
    assert {escape.recurrent_class for escape in found.attractor_escapes} == {0}
    assert analysis.escapes is not None
    steps = torch.diag(torch.tensor([1 - escape.escape_probability for escape in found.attractor_escapes]).double())
    for source, target, edge in analysis.escapes.edges(data=True):
        steps[source, target] = edge["probability"]
    stationary = torch.tensor([escape.stationary for escape in found.attractor_escapes]).double()
    torch.testing.assert_close(stationary @ steps, stationary, rtol=0.0, atol=1e-7)
    assert float(stationary.sum()) == pytest.approx(1, abs=1e-6)


def test_the_graph_is_that_of_escape_graph():
    system, data = wells(), samples(60, 5)
    analysis = analysed(system, data, noise_draws=50, seed=3, **NO_SHOCKS)
    expected = escape_graph(system, analysis.basins(), 0.5, 50, 3).to_networkx()
    assert analysis.escapes is not None
    assert analysis.escapes.graph == expected.graph
    assert dict(analysis.escapes.nodes(data=True)) == dict(expected.nodes(data=True))
    assert {(one, two): edge for one, two, edge in analysis.escapes.edges(data=True)} == {
        (one, two): edge for one, two, edge in expected.edges(data=True)
    }
    for escape in robustness(analysis).attractor_escapes:
        assert {**expected.nodes[escape.attractor], "attractor": escape.attractor} == vars(escape)
    assert (analysis.results.seeds["noise"], analysis.results.seeds["shocked_samples"]) == (3, 3)


def steep() -> DenoisingAutoencoder:
    """`F(x) = 2 tanh x` in both coordinates: four wells, whose basins are the quadrants."""
    system = DenoisingAutoencoder(2, 2, hidden_nonlinearity="tanh", output_nonlinearity="identity").double()
    system.encoder["weight"].data[:] = torch.eye(2)
    system.decoder["weight"].data[:] = 2 * torch.eye(2)
    return system


def test_certificates_of_the_analysis_are_the_lower_ends():
    pytest.importorskip("flint", reason="python-flint is not here: pip install 'dynlab[certificates]'")
    analysis = analysed(steep(), 3 * samples(40, 2), certified_attractors=2, certificate_method="proof", noise_draws=5)
    certified = {found.attractor: found.basin_radius for found in analysis.results.certificates}
    assert list(certified) == [0, 1]
    found = robustness(analysis)
    height = float(analysis.arrays.fixed_points.abs().max())
    for shock in found.attractor_shocks:
        assert shock.lower is not None
        assert (shock.lower_bound is LowerBound.PROVED) == (shock.start in certified)
        if shock.start in certified:
            assert shock.lower == certified[shock.start]
        assert shock.lower < height
        assert shock.upper == pytest.approx(height, rel=1e-5)


def test_samples_of_large_dim_get_no_lower_end():
    both = [
        robustness(analysed(steep(), 3 * samples(40, 2), noise_draws=1, pulled_back_dim=dim)).sample_shocks
        for dim in (2, 1)
    ]
    assert all((shock.lower or 0) > 0 for shock in both[0])
    without = [one for one in zip(*both, strict=True) if one[0] != one[1]]
    assert len(without) > 0
    assert {(shock.lower, shock.lower_bound) for _, shock in without} == {(0.0, LowerBound.NONE)}


class Stripes(Map):
    """`F(x, y) = (x - 0.1 sin(2 pi x), y / 4)`: attractors are `(n, 0)` for all whole numbers n."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        x, y = states.unbind(1)
        return torch.stack([x - 0.1 * torch.sin(2 * torch.pi * x), y / 4], dim=1)


def test_attractors_that_no_sample_reaches_are_numbered_after_the_others(tmp_path: Path):
    data = samples(20, 2) * 0.4
    analysis = analysed(Stripes(), data, noise=1.0, noise_draws=20, shocked_samples=2)
    assert len(analysis.results.attractors) == 1
    (shock,) = robustness(analysis).attractor_shocks
    assert shock.upper == pytest.approx(0.5, rel=1e-5)
    assert shock.nearest is None
    assert shock.reached >= 1
    other = array(analysis, "shock_others")[shock.reached - 1]
    assert other.tolist() == pytest.approx([round(float(array(analysis, "shock_ends")[0, 0])), 0.0], abs=1e-9)
    (escape,) = robustness(analysis).attractor_escapes
    assert escape.elsewhere == escape.escape_probability > 0
    analysis.save(tmp_path)
    assert dl.Analysis.load(tmp_path).results == analysis.results


def test_one_attractor_of_everything_has_no_upper_and_no_finite_lower_end(tmp_path: Path):
    system = Linear(torch.tensor([[0.5, 0.2], [0.0, 0.3]], dtype=torch.float64))
    analysis = analysed(system, samples(20, 2), noise_draws=10, certified_attractors=1)
    found = robustness(analysis)
    for shock in (*found.attractor_shocks, *found.sample_shocks):
        assert (shock.lower, shock.upper, shock.reached, shock.straight, shock.nearest) == (None, None, -1, None, None)
        assert shock.lower_bound is LowerBound.ESTIMATED
    assert len(found.attractor_shocks) == 1
    assert [escape.escape_probability for escape in found.attractor_escapes] == [0.0]
    assert bool(array(analysis, "shock_ends").isnan().all())
    analysis.save(tmp_path)
    assert dl.Analysis.load(tmp_path).results == analysis.results


def test_without_attractors_nothing_is_shocked(tmp_path: Path):
    system = Linear(2 * torch.eye(2, dtype=torch.float64))
    analysis = analysed(system, samples(5, 2))
    found = robustness(analysis)
    assert (found.attractor_shocks, found.sample_shocks) == ([], [])
    assert (found.attractor_escapes, found.sample_escapes) == ([], [])
    analysis.save(tmp_path)
    again = dl.Analysis.load(tmp_path)
    assert again.results == analysis.results
    assert again.escapes is not None
    assert len(again.escapes) == 0


def test_how_many_are_shocked_is_a_setting():
    found = robustness(analysed(wells(), samples(30, 5), shocked_attractors=2, shocked_samples=0, noise_draws=1))
    assert [shock.start for shock in found.attractor_shocks] == [0, 1]
    assert (found.sample_shocks, found.sample_escapes) == ([], [])
    assert len(found.attractor_escapes) == 4
    found = robustness(analysed(wells(), samples(30, 5), **NO_SHOCKS, noise_draws=1))
    assert found.attractor_shocks == []


def test_shocked_samples_have_an_attractor_and_come_from_the_seed():
    labels = torch.tensor([0, -1, 1, 1, -1, 0, 2, 0])
    chosen = shocked_samples(labels, 4, 0)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == 4
    assert bool((labels[chosen] >= 0).all())
    assert torch.equal(chosen, shocked_samples(labels, 4, 0))
    assert any(not torch.equal(chosen, shocked_samples(labels, 4, seed)) for seed in range(1, 5))
    assert shocked_samples(labels, 100, 0).tolist() == [0, 2, 3, 5, 6, 7]
    assert shocked_samples(labels[:0], 3, 0).tolist() == []


def test_samples_across_the_boundary_are_aimed_at():
    # The shock of a sample is no larger than the way to the nearest sample of another basin, whatever attractors say.
    system, data = Stripes(), samples(300, 2) * 2
    analysis = analysed(system, data, noise_draws=2, shocked_samples=5)
    labels = analysis.arrays.labels
    for shock in robustness(analysis).sample_shocks:
        others = data[labels != labels[shock.start]]
        nearest = float(torch.linalg.vector_norm(others - data[shock.start], dim=1).min())
        assert shock.upper is not None
        assert shock.upper <= nearest


@pytest.mark.parametrize("sigma", [0.3, 1])
def test_noise_is_that_of_the_training_if_none_is_given(sigma: float):
    system = steep()
    system.training_settings = {"sigma": sigma}
    found = robustness(analysed(system, 3 * samples(20, 2), noise=None, noise_draws=2, **NO_SHOCKS))
    assert (found.noise, found.noise_source) == (sigma, NoiseSource.TRAINING)
    assert robustness(analysed(system, samples(20, 2), noise=0.2, noise_draws=2, **NO_SHOCKS)).noise == 0.2


@pytest.mark.parametrize("training", [{}, {"sigma": 0.0}])
def test_noise_of_an_unknown_map_is_a_tenth_of_what_lies_between_attractors(training: dict[str, float]):
    system = steep()
    system.training_settings = training
    analysis = analysed(system, 3 * samples(40, 2), noise=None, noise_draws=2, **NO_SHOCKS)
    height = float(analysis.arrays.fixed_points.abs().max())
    found = robustness(analysis)
    assert (found.noise, found.noise_source) == (pytest.approx(0.2 * height), NoiseSource.ATTRACTORS)


def test_noise_of_a_single_attractor_is_a_tenth_of_the_spread_of_the_samples():
    data = torch.tensor([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0]])
    found = robustness(
        analysed(Linear(torch.eye(2, dtype=torch.float64) / 2), data, noise=None, noise_draws=2, **NO_SHOCKS)
    )
    assert (found.noise, found.noise_source) == (pytest.approx(0.1), NoiseSource.SAMPLES)


def test_draws_are_fewer_where_attractors_are_many(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def count(system: Map, basins: dl.Basins, sigma: float, draws: int, seed: int, **limits: Any) -> Any:
        asked.append(draws)
        return escape_graph(system, basins, sigma, 1, seed)

    monkeypatch.setattr("dynlab.evaluation.robustness.escape_graph", count)
    none = {**NO_SHOCKS, "noise_draws": None}
    analysed(wells(), samples(30, 5), **none)
    for many in (300, 800):
        analysed(Stripes(), torch.stack([torch.arange(float(many)), torch.zeros(many)], dim=1), **none)
    assert asked == [200, 10_000 // 300, 20]


def test_everything_is_read_back(small: dl.Analysis, tmp_path: Path):
    small.save(tmp_path)
    after = dl.Analysis.load(tmp_path)
    assert after.results == small.results
    for field in fields(Arrays):
        one, other = getattr(after.arrays, field.name), getattr(small.arrays, field.name)
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0.0, atol=0.0, equal_nan=True)
    assert after.escapes is not None
    assert small.escapes is not None
    assert after.escapes.graph == small.escapes.graph
    assert dict(after.escapes.nodes(data=True)) == dict(small.escapes.nodes(data=True))
    assert list(after.escapes) == list(small.escapes)
    edges = [{edge[:2]: edge[2] for edge in found.edges(data=True)} for found in (after.escapes, small.escapes)]
    assert edges[0] == edges[1]
    assert len(edges[0]) > 0


def test_escapes_leave_with_the_analysis_they_belong_to(small: dl.Analysis, tmp_path: Path):
    small.save(tmp_path)
    assert (tmp_path / "escapes.graphml").is_file()
    analysed(wells(), samples(30, 5), robustness=False).save(tmp_path)
    assert not (tmp_path / "escapes.graphml").exists()
    after = dl.Analysis.load(tmp_path)
    assert after.results.robustness is None
    assert after.escapes is None
    assert after.arrays.shock_ends is None


@pytest.mark.parametrize("name", ["shock_starts", "shock_ends", "shock_others"])
def test_damaged_arrays_are_named(small: dl.Analysis, tmp_path: Path, name: str):
    small.save(tmp_path)
    path = tmp_path / "arrays.safetensors"
    whole = load_file(path)
    without = {other: found for other, found in whole.items() if other != name}
    for damaged in (without, {**without, name: torch.zeros(3, 3, dtype=torch.float16)}):
        save_file(damaged, path)
        with pytest.raises(InputError, match=rf"arrays\.safetensors: array {name} "):
            dl.Analysis.load(tmp_path)


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("attractor_shocks", "start", 4, "names attractor 4, expected 0 to 3"),
        ("attractor_shocks", "reached", 4, "names attractor 4, expected -1 to 3"),
        ("sample_shocks", "attractor", -2, "names attractor -2, expected -1 to 3"),
        ("sample_shocks", "start", 30, "names sample 30, expected 0 to 29"),
        ("sample_escapes", "sample", -1, "names sample -1, expected 0 to 29"),
        ("attractor_escapes", "attractor", 9, "names attractor 9, expected 0 to 3"),
    ],
)
def test_what_names_something_that_is_not_there_is_refused(
    small: dl.Analysis, tmp_path: Path, part: str, key: str, value: int, message: str
):
    small.save(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    results["robustness"][part][0][key] = value
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match=rf"results\.json: {message}"):
        dl.Analysis.load(tmp_path)


def test_escapes_that_are_missing_damaged_or_of_another_map_are_named(small: dl.Analysis, tmp_path: Path):
    small.save(tmp_path)
    path = tmp_path / "escapes.graphml"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"escapes\.graphml: not an escape graph"):
        dl.Analysis.load(tmp_path)
    path.write_text(whole.replace('edgedefault="directed"', 'edgedefault="undirected"'))
    with pytest.raises(InputError, match=r"escapes\.graphml: not an escape graph"):
        dl.Analysis.load(tmp_path)
    nx.write_graphml(nx.DiGraph(), path)
    with pytest.raises(InputError, match=r"escapes\.graphml: not an escape graph"):
        dl.Analysis.load(tmp_path)
    assert small.escapes is not None
    other = small.escapes.copy()
    other.graph["map_sha256"] = "0" * 64
    save_escapes(tmp_path, other)
    with pytest.raises(InputError, match=r"escapes\.graphml: of another map than results\.json"):
        dl.Analysis.load(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"escapes\.graphml: no such file"):
        load_escapes(tmp_path)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("noise", 0.0, "above 0"),
        ("noise", -1.0, "above 0"),
        ("noise", float("nan"), "above 0"),
        ("noise", float("inf"), "above 0"),
        ("noise_draws", 0, "at least 1"),
        ("shocked_attractors", -1, "at least 0"),
        ("shocked_samples", -1, "at least 0"),
        ("pulled_back_dim", -1, "at least 0"),
    ],
)
def test_settings_out_of_range_are_named(setting: str, value: float, expected: str):
    with pytest.raises(InputError, match=rf"{setting} is {value}, expected .*{expected}"):
        replace(SETTINGS, **{setting: value})


def test_a_map_with_an_input_for_each_sample_is_refused_before_any_work():
    class Held(Linear):
        @property
        def held_samples(self) -> int:
            return 3

    with pytest.raises(ValueError, match="map: holds inputs for 3 samples, expected one map for all of them"):
        analysed(Held(torch.eye(2, dtype=torch.float64) / 2), samples(3, 2))


def test_shocks_agree_with_those_of_the_library():
    system, data = DoubleWell(), samples(20, 2)
    analysis = analysed(system, data, noise_draws=2, shocked_samples=0)
    points = analysis.arrays.fixed_points
    direct = critical_shocks(system, points, known_attractors(system, points))
    assert [shock.upper for shock in robustness(analysis).attractor_shocks] == pytest.approx(direct.upper.tolist())
    assert direct.upper.tolist() == pytest.approx([1.0, 1.0], rel=1e-5)


def test_noise_is_followed_no_longer_than_samples() -> None:
    minima = analysed(wells(), samples(30, 5), **NO_SHOCKS, noise_draws=1).arrays.fixed_points.float()
    for exact_steps, unresolved in ((100, 0.0), (0, 1.0)):
        found = analysed(wells(), minima, **NO_SHOCKS, noise_draws=50, max_steps=5, max_exact_steps=exact_steps)
        assert [escape.unresolved for escape in robustness(found).attractor_escapes] == [unresolved] * 4

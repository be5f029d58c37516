"""The connection graph: closed forms, and on autoencoders a second, plain look at what it says of each saddle."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from dynlab.attractors import (
    Track,
    basins_of_attraction,
    connection_graph,
    known_attractors,
    load_graph,
    save_graph,
    track_counts,
)
from dynlab.attractors.connections.edge_tracking import Saddles, track_edges
from dynlab.attractors.connections.saddles import examine_saddles
from dynlab.datasets import Dataset
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.errors import InputError
from dynlab.maps import DenoisingAutoencoder, Map, float64_copy
from dynlab.maps.classical import CubeRootNewton, Henon, Hopfield, MultiWell

from systems import Formula, fold


def well_samples(system: MultiWell, count: int) -> torch.Tensor:
    """Samples in all wells, inside the reach in which these are known."""
    random = torch.randn(count, system.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return system.states_at(random.clamp(-1, 1).to(system.scales))


@pytest.fixture(scope="module", params=[((1.0, 0.7), 2), ((1.0, 0.8, 0.6, 0.5), 50)], ids=["2 dims", "50 dims"])
def wells(request: pytest.FixtureRequest) -> MultiWell:
    scales, dim = request.param
    return MultiWell(scales, dim).double()


def test_all_wells_saddles_and_connections_of_a_potential(wells: MultiWell, device: torch.device) -> None:
    system = wells.to(device)
    basins = basins_of_attraction(system, well_samples(system, 400))
    assert len(basins.fixed_points) == len(system.wells())
    graph = connection_graph(system, basins, neighbours=4)
    well_of = system.basins(basins.fixed_points.to(device)).tolist()
    found = {frozenset((well_of[source], well_of[target])) for source, target in graph.edges()}
    expected = [frozenset(pair) for pair in system.connections().tolist()]
    assert found == set(expected)
    assert graph.number_of_edges() == len(expected)
    saddles = torch.stack([attributes["state"] for _, _, attributes in graph.edges(data=True)])
    apart = torch.cdist(system.saddles().cpu(), saddles, compute_mode="donot_use_mm_for_euclid_dist")
    assert float(apart.amin(dim=1).max()) < 1e-9
    multipliers = system.multipliers().real.cpu()
    is_saddle = system.unstable_directions().cpu() == 1
    largest = multipliers[is_saddle].amax(dim=1)
    for _, _, attributes in graph.edges(data=True):
        nearest = int(torch.cdist(attributes["state"][None], system.saddles().cpu()).argmin())
        assert attributes["unstable_multiplier"] == pytest.approx(float(largest[nearest]), abs=1e-9)
        assert attributes["distance_to_source"] == pytest.approx(1.0, abs=1e-9)  # MultiWell's docstring
        assert attributes["distance_to_target"] == pytest.approx(1.0, abs=1e-9)
        assert attributes["residual"] <= 1e-12


def test_hopfield_memories_are_joined_by_their_mixtures(device: torch.device) -> None:
    # With orthogonal patterns p and q the sum u and the difference v of the overlaps obey u = tanh(gain u) each by
    # itself. So u and v are 0 or one of +-m: both m, the memories +-m p and +-m q, attract; with one at 0, the four
    # mixtures m (+-p +- q) / 2 of neighbours are saddles, of multipliers gain and gain (1 - m^2); and 0 is unstable
    # twice.
    p = torch.ones(20, dtype=torch.float64)
    q = torch.cat([torch.ones(10), -torch.ones(10)]).double()
    gain, m = 1.5, 1.0
    for _ in range(200):
        m = float(np.tanh(gain * m))
    system = Hopfield(torch.stack([p, q]), gain).double().to(device)
    memories = torch.stack([m * p, m * q, -m * p, -m * q])
    noise = 0.2 * torch.randn(4, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basins = basins_of_attraction(system, (memories + noise).to(device))
    apart = torch.cdist(basins.fixed_points, memories, compute_mode="donot_use_mm_for_euclid_dist")
    assert float(apart.amin(dim=1).max()) < 1e-9
    memory_of = apart.argmin(dim=1).tolist()
    assert sorted(memory_of) == [0, 1, 2, 3]
    graph = connection_graph(system, basins, neighbours=2, search_starts=200)
    assert graph.number_of_edges() == 4
    for source, target, attributes in graph.edges(data=True):
        ends = memories[memory_of[source]], memories[memory_of[target]]
        assert abs(float(ends[0] @ ends[1])) < 1e-9  # a memory and its negative have no boundary in common
        torch.testing.assert_close(attributes["state"], (ends[0] + ends[1]) / 2, rtol=0, atol=1e-9)
        assert attributes["unstable_multiplier"] == pytest.approx(gain, abs=1e-9)
    assert [(saddle.index, float(saddle.state.norm()) < 1e-9) for saddle in graph.graph["other_saddles"]] == [(2, True)]
    assert graph.graph["index_sum"] == 1


def test_index_sum_of_a_potential_with_two_double_wells_is_one(device: torch.device) -> None:
    system = MultiWell((1.0, 0.7), 2).double().to(device)
    graph = connection_graph(system, basins_of_attraction(system, well_samples(system, 100)), neighbours=3)
    # Four wells, four saddles, and the maximum, which the diagonals lead to.
    assert [saddle.index for saddle in graph.graph["other_saddles"]] == [2]
    assert graph.graph["index_sum"] == 1


def test_basins_that_do_not_touch_are_joined_through_the_one_between(device: torch.device) -> None:
    # Wells at -2, 0 and 2 of a line; the outer two have no common boundary.
    system = Formula(1, lambda x: x - 0.01 * x * (x * x - 1) * (x * x - 4))
    states = torch.tensor([[-2.1], [2.1], [-1.9], [0.1]], dtype=torch.float64, device=device)
    basins = basins_of_attraction(system, states)
    assert basins.fixed_points[:, 0].tolist() == pytest.approx([-2.0, 0.0, 2.0])
    graph = connection_graph(system, basins, neighbours=2)
    assert sorted(graph.edges()) == [(0, 1), (1, 2)]
    assert track_counts(graph)["attractor between"] == 1
    assert sorted(float(a["state"][0]) for _, _, a in graph.edges(data=True)) == pytest.approx([-1.0, 1.0])
    assert graph.graph["index_sum"] == 1


def test_a_fractal_boundary_has_no_saddle(device: torch.device) -> None:
    # The boundary of these basins is a Julia set, and all fixed points are attractors.
    system = CubeRootNewton().double().to(device)
    basins = basins_of_attraction(system, system.fixed_points())
    graph = connection_graph(system, basins, neighbours=2)
    assert graph.number_of_edges() == 0
    assert {one.track for one in graph.graph["tracked"]} == {Track.UNRESOLVED}
    assert len(graph) == 3


def test_a_multiplier_below_minus_one_swaps_the_branches() -> None:
    system = Henon().double()
    known = KnownFixedPoints(torch.device("cpu"), 2)
    point = system.fixed_points()[:1]
    saddle = examine_saddles(system, point, torch.zeros(1, dtype=torch.float64), known)[0]
    assert saddle is not None
    assert saddle.swaps_branches
    assert not saddle.is_edge
    assert float(saddle.unstable_multipliers[0].real) == pytest.approx(float(system.multipliers()[0].abs().max()) * -1)


def test_a_stable_fixed_point_is_no_saddle() -> None:
    system = fold(0.9, 1.0).double()
    known = KnownFixedPoints(torch.device("cpu"), 1)
    points = torch.tensor([[0.0], [0.1]], dtype=torch.float64)
    stable, saddle = examine_saddles(system, points, torch.zeros(2, dtype=torch.float64), known)
    assert stable is None
    assert saddle is not None
    assert complex(saddle.unstable_multipliers[0]) == pytest.approx(1.1)  # F' = rate + 2 curvature x
    # One branch falls into 0, the other goes to infinity.
    assert saddle.ends == (-1, 0)
    assert not saddle.is_edge


def plainly_reached(system: Map, states: torch.Tensor, attractors: torch.Tensor) -> np.ndarray:
    """The attractor nearest to where 20000 plain steps lead."""
    with torch.no_grad():
        for _ in range(20_000):
            following = system(states)
            if float((following - states).abs().max()) < 1e-13:
                break
            states = following
    apart, nearest = torch.cdist(states, attractors).min(dim=1)
    assert float(apart.max()) < 1e-6
    return nearest.numpy()


def check_graph(system: Map, graph: nx.MultiGraph) -> None:
    """Check each edge by other means: the whole Jacobian, and plain steps from either side."""
    exact = float64_copy(system).requires_grad_(requires_grad=False)
    attractors = torch.stack([graph.nodes[node]["state"] for node in sorted(graph)])
    sides, ends = [], []
    for source, target, attributes in graph.edges(data=True):
        state = attributes["state"]
        assert float((exact(state[None])[0] - state).norm() / max(1.0, float(state.norm()))) <= 1e-12
        values, vectors = torch.linalg.eig(exact.jacobian(state[None])[0])
        outside = values.abs() > 1
        assert int(outside.sum()) == 1
        assert float(values[outside][0].real) == pytest.approx(attributes["unstable_multiplier"], rel=1e-8)
        direction = vectors[:, outside][:, 0].real
        sides += [state + 1e-3 * direction, state - 1e-3 * direction]
        ends += [source, target]
    reached = plainly_reached(exact, torch.stack(sides), attractors)
    assert [sorted(pair) for pair in reached.reshape(-1, 2).tolist()] == [
        sorted(pair) for pair in np.reshape(ends, (-1, 2)).tolist()
    ]


def test_edges_of_a_trained_autoencoder_stand_up_to_plain_steps(
    digits_dae: DenoisingAutoencoder, digits_test: Dataset
) -> None:
    basins = basins_of_attraction(digits_dae, digits_test.images)
    graph = connection_graph(digits_dae, basins, samples=digits_test.images)
    counts = track_counts(graph)
    assert counts["saddle"] + counts["attractor between"] >= 0.9 * sum(counts.values())
    joined = [node for node in range(len(basins.fixed_points)) if graph.degree(node)]
    assert len(joined) >= 0.9 * len(basins.fixed_points)
    check_graph(digits_dae, graph)


def test_tied_autoencoders_have_barriers(digits_test: Dataset) -> None:
    weight = torch.randn(40, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tied = DenoisingAutoencoder(64, 40, tied=True).double()
    tied.load_state_dict(
        {
            "encoder.weight": 0.7 * weight,
            "encoder.bias": -0.35 * weight.sum(dim=1),
            "decoder.bias": torch.full((64,), -0.35) * weight.sum(dim=0) / 0.7,
        }
    )
    basins = basins_of_attraction(tied, digits_test.images[:200].double())
    graph = connection_graph(tied, basins)
    assert graph.number_of_edges()
    for _, _, attributes in graph.edges(data=True):
        assert attributes["barrier_from_source"] > 0
        assert attributes["barrier_from_target"] > 0


def test_a_saved_graph_comes_back_without_loss(tmp_path: Path, wells: MultiWell) -> None:
    graph = connection_graph(wells.cpu(), basins_of_attraction(wells, well_samples(wells, 200)), neighbours=3)
    for node in graph:
        graph.nodes[node]["kind"] = "prototype <&> \"'"
    save_graph(tmp_path, graph)
    again = load_graph(tmp_path)
    assert sorted(again.nodes) == sorted(graph.nodes)
    for node in graph:
        assert same(again.nodes[node], graph.nodes[node])
    edges, back = (sorted(g.edges(data=True), key=lambda edge: edge[2]["saddle"]) for g in (graph, again))
    assert [edge[:2] for edge in edges] == [edge[:2] for edge in back]
    assert all(same(edge[2], other[2]) for edge, other in zip(edges, back, strict=True))
    assert again.graph["tracked"] == graph.graph["tracked"]
    assert again.graph["index_sum"] == graph.graph["index_sum"]
    saddles, others = graph.graph["other_saddles"], again.graph["other_saddles"]
    assert len(saddles) == len(others)
    assert all(same(vars(saddle), vars(other)) for saddle, other in zip(saddles, others, strict=True))


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


def test_damaged_graphs_are_named(tmp_path: Path) -> None:
    system = MultiWell((1.0,), 2).double()
    graph = connection_graph(system, basins_of_attraction(system, well_samples(system, 20)))
    with pytest.raises(InputError, match=r"graph\.safetensors"):
        load_graph(tmp_path)
    save_graph(tmp_path, graph)
    path = tmp_path / "graph.graphml"
    path.write_text(path.read_text()[:400])
    with pytest.raises(InputError, match=r"graph\.graphml"):
        load_graph(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        load_graph(tmp_path)


def test_arguments_are_checked() -> None:
    system = MultiWell((1.0,), 2).double()
    samples = well_samples(system, 20)
    basins = basins_of_attraction(system, samples)
    with pytest.raises(ValueError, match="neighbours is 0"):
        connection_graph(system, basins, neighbours=0)
    with pytest.raises(ValueError, match="samples has 5 rows, expected 20"):
        connection_graph(system, basins, samples=samples[:5])
    with pytest.raises(InputError, match="basins of the map"):
        connection_graph(MultiWell((0.9,), 2).double(), basins)


def test_files_of_two_graphs_of_one_map_do_not_belong_together(tmp_path: Path) -> None:
    system = MultiWell((1.0, 0.7), 2).double()
    wells = system.wells()
    for name, rows in (("one", [0, 1]), ("other", [3, 2, 2, 0])):
        save_graph(tmp_path / name, connection_graph(system, basins_of_attraction(system, wells[rows])))
    (tmp_path / "other" / "graph.safetensors").replace(tmp_path / "one" / "graph.safetensors")
    with pytest.raises(InputError, match="does not belong to"):
        load_graph(tmp_path / "one")


def test_a_saddle_that_swaps_its_branches_closes_no_pair() -> None:
    # Attractors at -2.1 and 3 with the boundary at 1; the fixed point at 0, of multiplier -1.6, is inside one basin.
    x = torch.tensor([-6, -2.1, -1.4, -1, -0.8, -0.4, 0.4, 0.6, 1, 1.2, 3, 6], dtype=torch.float64)
    y = torch.tensor([-4.05, -2.1, -1.75, -1, -0.6, 0.64, -0.64, -1.3, 1, 2.2, 3, 4.5], dtype=torch.float64)

    def broken_line(states: torch.Tensor) -> torch.Tensor:
        piece = (torch.bucketize(states.detach().contiguous(), x) - 1).clamp(0, len(x) - 2)
        return y[piece] + (y[piece + 1] - y[piece]) / (x[piece + 1] - x[piece]) * (states - x[piece])

    system = Formula(1, broken_line)
    known, saddles = KnownFixedPoints(torch.device("cpu"), 1), Saddles(torch.device("cpu"), 1)
    for point in known_attractors(system, torch.tensor([[-2.1], [3.0]], dtype=torch.float64)):
        known.add(point)
    inside = torch.linspace(-2.6, -1.6, 60, dtype=torch.float64)[:, None]
    pairs = torch.tensor([[0, 1]] * 60)
    tracked = track_edges(system, inside, torch.full_like(inside, 3.0), pairs, known, saddles)
    assert {one.track for one in tracked} == {Track.SADDLE}
    assert [float(saddle.state) for saddle in saddles.found if saddle.is_edge] == pytest.approx([1.0])


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_attractor_or_none_makes_a_graph_without_edges(count: int) -> None:
    system = MultiWell((1.0,), 2).double()
    basins = basins_of_attraction(system, system.wells()[:count])
    graph = connection_graph(system, basins)
    assert (len(graph), graph.number_of_edges(), graph.graph["tracked"]) == (count, 0, [])
    assert graph.graph["index_sum"] == count


def test_copies_of_samples_take_no_pair_away() -> None:
    system = MultiWell((1.0, 1.0, 1.0), 3)
    samples = 2 * torch.rand(300, 3, generator=torch.Generator().manual_seed(0)) - 1
    copied = samples.repeat_interleave(2, dim=0)
    once, twice = (
        connection_graph(system, basins_of_attraction(system, states), samples=states) for states in (samples, copied)
    )
    assert once.number_of_edges() == twice.number_of_edges() > 6
    assert len(once.graph["tracked"]) == len(twice.graph["tracked"])


def test_an_attractor_that_is_given_twice_is_refused() -> None:
    points = torch.pi * torch.tensor([[1.0, 1.0], [3.0, 1.0], [3.0, 1.0]], dtype=torch.float64)
    with pytest.raises(
        ValueError, match=r"^fixed_points\[2\] is the same as fixed_points\[1\], expected all different"
    ):
        known_attractors(Formula(2, lambda x: x + 0.1 * torch.sin(x)), points)

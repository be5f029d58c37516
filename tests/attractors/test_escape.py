from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm

import dynlab.attractors.robustness.escape as escape_module
from dynlab.attractors import Basins, basins_of_attraction
from dynlab.attractors.reached import known_attractors
from dynlab.attractors.robustness.chain import markov_chain
from dynlab.attractors.robustness.escape import EscapeGraph, SampleEscapes, escape_graph, escape_probability
from dynlab.errors import InputError
from dynlab.maps import Map, map_hash
from dynlab.maps.classical import CubeRootNewton, DoubleWell, Linear

# With steps this small, none of the noise below leaves the region where the basins are the two half planes.
STEP = 0.02
WELLS = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)


def basins(system: Map, points: torch.Tensor) -> Basins:
    count = len(points)
    return Basins(
        map_sha256=map_hash(system),
        fixed_points=points,
        residuals=torch.zeros(count, dtype=torch.float64),
        multipliers=torch.zeros(count, 1, dtype=torch.complex128),
        labels=torch.arange(count),
        samples=torch.arange(count),
    )


def chain(rows: list[list[float]]):
    return markov_chain(torch.tensor(rows, dtype=torch.float64))


@pytest.mark.parametrize(("sigma", "seed"), [(0.4, 0), (0.6, 1), (0.9, 2), (0.9, 3)])
def test_wells_are_left_as_often_as_noise_crosses_the_boundary(device: torch.device, sigma: float, seed: int):
    system = DoubleWell(STEP)
    graph = escape_graph(system, basins(system, WELLS.to(device)), sigma, 4000, seed)
    expected = norm.cdf(-1 / sigma)
    for row in range(2):
        low, high = graph.escape_intervals[row].tolist()
        assert low < expected < high
        reference = binomtest(int(graph.counts[row, 1 - row]), 4000).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((reference.low, reference.high), rel=1e-12)
        assert graph.intervals[row, 1 - row].tolist() == [low, high]
    assert graph.counts.sum(dim=1).tolist() == [4000, 4000]
    assert graph.counts[:, 2:].sum() == 0
    assert graph.escapes.tolist() == [int(graph.counts[0, 1]), int(graph.counts[1, 0])]
    assert graph.escape_probabilities.tolist() == [int(graph.counts[0, 1]) / 4000, int(graph.counts[1, 0]) / 4000]
    torch.testing.assert_close(graph.chain.transitions, graph.probabilities[:, :2], rtol=1e-15, atol=0.0)


def test_counts_are_those_of_the_noise_that_was_drawn():
    system, stream = DoubleWell(STEP), escape_module._noise(WELLS[0].numpy(), 7)
    ends = -1 + 0.9 * stream.standard_normal((3000, 2))[:, 0]
    graph = escape_graph(system, basins(system, WELLS), 0.9, 3000, 7)
    assert graph.counts[0].tolist() == [int((ends < 0).sum()), int((ends > 0).sum()), 0, 0]


def test_three_roots_have_the_symmetry_of_their_map():
    system = CubeRootNewton()
    graph = escape_graph(system, basins(system, system.fixed_points()), 0.7, 3000, 0)
    # A turn by 120 degrees takes each basin into the next and noise into noise: a circulant matrix, up to chance.
    for shift in (1, 2):
        found = graph.counts[torch.arange(3), (torch.arange(3) + shift) % 3].double()
        assert float(found.max() - found.min()) < 5 * math.sqrt(2 * float(found.mean()))
        # and a reflection takes the one neighbour into the other
        assert abs(float(found.sum()) - float(graph.escapes.sum()) / 2) < 5 * math.sqrt(float(found.sum()) / 2)
    assert graph.escapes.min() > 100
    torch.testing.assert_close(
        graph.chain.stationary, torch.full((1, 3), 1 / 3, dtype=torch.float64), rtol=0.0, atol=0.05
    )


def test_an_attractor_sees_the_same_alone_in_company_and_in_any_order():
    system = DoubleWell(STEP)
    both = escape_graph(system, basins(system, WELLS), 0.9, 500, 3)
    turned = escape_graph(system, basins(system, WELLS.flip(0)), 0.9, 500, 3)
    assert torch.equal(turned.counts, both.counts.flip(0)[:, [1, 0, 2, 3]])
    for row in range(2):
        alone = escape_graph(system, basins(system, WELLS[row : row + 1]), 0.9, 500, 3)
        # What the other well was is now elsewhere.
        assert alone.counts.tolist() == [[int(both.counts[row, row]), int(both.counts[row, 1 - row]), 0]]
    assert not torch.equal(escape_graph(system, basins(system, WELLS), 0.9, 500, 4).counts, both.counts)
    # Attractors do not share their noise.
    first, second = (escape_module._noise(well.numpy(), 3).standard_normal(8) for well in WELLS)
    assert not np.isin(first, second).any()


def test_noise_does_not_depend_on_rounding_in_a_fixed_point():
    noise = [escape_module._noise(WELLS[0].numpy() + error, 0).standard_normal(4) for error in (0.0, 1e-13, -1e-13)]
    np.testing.assert_array_equal(noise[0], noise[1])
    np.testing.assert_array_equal(noise[0], noise[2])


def test_blocks_do_not_matter_and_stay_small(monkeypatch: pytest.MonkeyPatch):
    system = DoubleWell(STEP)
    states = torch.cat([WELLS, torch.tensor([[0.3, 2.0]])])
    whole = torch.cat([rows for _, rows in escape_module._perturbed(states, 0.9, 50, 0)])
    graph = escape_graph(system, basins(system, WELLS), 0.9, 50, 0)
    monkeypatch.setattr(escape_module, "_BLOCK_ROWS", 7)
    blocks = list(escape_module._perturbed(states, 0.9, 50, 0))
    assert [len(rows) for _, rows in blocks] == [7] * 21 + [3]
    assert torch.equal(torch.cat([rows for _, rows in blocks]), whole)
    assert torch.equal(torch.cat([start for start, _ in blocks]), torch.arange(3).repeat_interleave(50))
    assert torch.equal(escape_graph(system, basins(system, WELLS), 0.9, 50, 0).counts, graph.counts)


def test_blocks_do_not_matter_where_no_attractor_was_known(monkeypatch: pytest.MonkeyPatch):
    system = DoubleWell(STEP)
    sample = torch.tensor([[0.2, 0.0]], dtype=torch.float64)
    whole = escape_probability(system, sample, [], 0.5, 60, 0)
    monkeypatch.setattr(escape_module, "_BLOCK_ROWS", 7)
    assert torch.equal(escape_probability(system, sample, [], 0.5, 60, 0).escapes, whole.escapes)


def test_without_noise_nothing_escapes(device: torch.device):
    system = DoubleWell(STEP)
    graph = escape_graph(system, basins(system, WELLS.to(device)), 0.0, 10)
    assert graph.counts.tolist() == [[10, 0, 0, 0], [0, 10, 0, 0]]
    assert graph.escape_intervals[:, 0].tolist() == [0.0, 0.0]
    # No hit in n draws: z^2 / (n + z^2)
    assert graph.escape_intervals[:, 1].tolist() == pytest.approx([3.8414588206941254 / 13.8414588206941254] * 2)
    assert graph.chain.classes.tolist() == [0, 1]
    assert not graph.chain.is_irreducible
    assert graph.to_networkx().number_of_edges() == 0


def test_what_reaches_no_attractor_is_unresolved():
    # 0 is stable along x and unstable along y, and yet given as an attractor: all noise on y leads away for good.
    system = Linear(torch.diag(torch.tensor([0.5, 2.0], dtype=torch.float64)))
    graph = escape_graph(system, basins(system, torch.zeros(1, 2, dtype=torch.float64)), 0.1, 20)
    assert graph.counts.tolist() == [[0, 0, 20]]
    assert graph.escape_probabilities.tolist() == [1.0]
    assert (graph.chain.classes.tolist(), graph.chain.groups.tolist()) == ([-1], [-1])
    assert graph.to_networkx().nodes[0]["unresolved"] == 1.0


def test_graph_without_attractors():
    system = DoubleWell(STEP)
    graph = escape_graph(system, basins(system, WELLS[:0]), 0.5, 10)
    assert graph.counts.shape == (0, 2)
    assert graph.chain.stationary.shape == (0, 0)
    assert len(graph.to_networkx()) == 0


def test_networkx_graph_holds_the_same_numbers():
    counts = torch.tensor([[90, 10, 0, 0, 0], [5, 75, 0, 20, 0], [1, 0, 98, 0, 1]])
    graph = EscapeGraph("hash", 0.5, 100, 0, counts, markov_chain(counts[:, :3].double())).to_networkx()
    assert {(start, end): data["probability"] for start, end, data in graph.edges(data=True)} == {
        (0, 1): 0.1,
        (1, 0): 0.05,
        (2, 0): 0.01,
    }
    edge = graph.edges[1, 0]
    reference = binomtest(5, 100).proportion_ci(method="wilson")
    assert (edge["kind"], edge["count"]) == ("escape", 5)
    assert (edge["low"], edge["high"]) == pytest.approx((reference.low, reference.high), rel=1e-12)
    assert graph.nodes[1]["elsewhere"] == 0.2
    assert graph.nodes[2]["unresolved"] == 0.01
    assert [graph.nodes[node]["escape_probability"] for node in range(3)] == pytest.approx([0.1, 0.25, 0.02])
    assert [graph.nodes[node]["recurrent_class"] for node in range(3)] == [0, 0, -1]
    # Rows 0.9, 0.1 and 1/16, 15/16 on the class of two.
    assert [graph.nodes[node]["stationary"] for node in range(3)] == pytest.approx([5 / 13, 8 / 13, 0.0])
    values = [value for _, data in graph.nodes(data=True) for value in data.values()] + list(edge.values())
    assert all(type(value) in (int, float, str) for value in [*values, *graph.graph.values()])


def test_samples_cross_as_often_as_their_noise_does(device: torch.device):
    system = DoubleWell(STEP)
    states = torch.tensor([[-0.5, 1.0], [0.25, -2.0], [1.5, 0.0]], dtype=torch.float64, device=device)
    escapes = escape_probability(system, states, known_attractors(system, WELLS), 0.5, 4000, 0)
    assert escapes.outcomes.tolist() == [0, 1, 1]
    for row, (x, y) in enumerate(states.tolist()):
        ends = x + 0.5 * escape_module._noise(np.array([x, y]), 0).standard_normal((4000, 2))[:, 0]
        assert int(escapes.escapes[row]) == int((ends * x < 0).sum())
        test = binomtest(int(escapes.escapes[row]), 4000, float(norm.cdf(-abs(x) / 0.5)))
        assert test.pvalue > 1e-3
        reference = test.proportion_ci(method="wilson")
        assert escapes.intervals[row].tolist() == pytest.approx([reference.low, reference.high], rel=1e-12)
    assert escapes.probabilities.tolist() == [count / 4000 for count in escapes.escapes.tolist()]
    assert escapes.unresolved.tolist() == [0, 0, 0]
    alone = escape_probability(system, states[1:2], [], 0.5, 4000, 0)
    assert alone.outcomes.tolist() == [0]  # found by the sample itself
    assert alone.escapes.tolist() == [int(escapes.escapes[1])]


def test_a_sample_without_an_outcome_has_no_probability_of_another():
    system = Linear(torch.eye(2, dtype=torch.float64) * 2)
    escapes = escape_probability(system, torch.ones(1, 2), [], 0.1, 5)
    assert (escapes.outcomes.tolist(), escapes.unresolved.tolist()) == ([-1], [5])
    assert escapes.probabilities.isnan().all()
    assert escapes.intervals.isnan().all()


def test_progress_ends_at_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(escape_module, "_BLOCK_ROWS", 8)
    system, shares = DoubleWell(STEP), list[float]()
    escape_graph(system, basins(system, WELLS), 0.1, 10, on_progress=shares.append)
    assert shares == [0.4, 0.8, 1.0]


def test_two_states_have_the_distribution_of_the_ratio_of_their_rates():
    for a, b in ((0.1, 0.3), (1e-12, 3e-12), (1.0, 1.0)):  # the last one is periodic
        found = chain([[1 - a, a], [b, 1 - b]])
        expected = torch.tensor([[b / (a + b), a / (a + b)]], dtype=torch.float64)
        torch.testing.assert_close(found.stationary, expected, rtol=1e-14, atol=0.0)
        assert found.is_irreducible
        assert found.eigenvalues.real.tolist() == pytest.approx([1.0, 1 - a - b], abs=1e-14)
    assert chain([[0.9, 0.1], [0.3, 0.7]]).groups.tolist() == [0, 1]  # eigenvalues 1 and 0.6
    assert chain([[0.6, 0.4], [0.3, 0.7]]).groups.tolist() == [0, 0]  # 1 and 0.3
    assert chain([[0.0, 1.0], [1.0, 0.0]]).groups.tolist() == [0, 0]  # 1 and -1: a cycle stays nowhere


def test_birth_and_death_obey_detailed_balance():
    up, down = 0.3, 0.1
    rows = np.diag([up] * 9, 1) + np.diag([down] * 9, -1)
    found = markov_chain(torch.from_numpy(rows + np.diag(1 - rows.sum(axis=1))))
    expected = 3.0 ** torch.arange(10, dtype=torch.float64)
    torch.testing.assert_close(found.stationary, expected[None] / expected.sum(), rtol=1e-13, atol=0.0)


@pytest.mark.parametrize("length", [2, 3, 5])
def test_cycles_stay_in_no_group_and_everywhere_as_long(length: int):
    found = markov_chain(torch.eye(length, dtype=torch.float64).roll(1, dims=1))
    assert found.is_irreducible
    torch.testing.assert_close(
        found.stationary, torch.full((1, length), 1 / length, dtype=torch.float64), rtol=1e-14, atol=0.0
    )
    # Of the third roots of unity only 1 has a real part above 0; the next one of the fifth is cos 72 degrees, 0.31.
    assert found.groups.tolist() == [0] * length


def test_reducible_chains_have_a_distribution_for_each_class():
    found = chain(
        [
            [0.5, 0.25, 0.0, 0.25, 0.0],  # transient
            [0.0, 0.8, 0.2, 0.0, 0.0],
            [0.0, 0.4, 0.6, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 1.0],
            [0.0, 0.0, 0.0, 1.0, 0.0],
        ]
    )
    assert found.classes.tolist() == [-1, 0, 0, 1, 1]
    assert not found.is_irreducible
    expected = torch.tensor([[0, 2 / 3, 1 / 3, 0, 0], [0, 0, 0, 0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(found.stationary, expected, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(found.stationary @ found.transitions, expected, rtol=1e-14, atol=1e-16)
    # Eigenvalues 1, 1, 0.5, 0.4, -1: the largest gap is that after the second.
    assert found.eigenvalues.real.tolist() == pytest.approx([1, 1, 0.5, 0.4, -1], abs=1e-12)
    assert found.groups[1] == found.groups[2]
    assert found.groups[3] == found.groups[4]
    assert found.groups[1] != found.groups[3]


@pytest.mark.parametrize(("left", "right", "group"), [(0.3, 0.1, 0), (0.1, 0.3, 1)])
def test_a_transient_state_is_in_the_group_where_it_most_likely_ends(left: float, right: float, group: int):
    found = chain([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [left, right, 1 - left - right]])
    # It stays with 0.6 and is left for good: the largest gap is that to nothing, and it is a group of its own.
    assert found.groups.tolist() == [0, 1, 2]
    brief = chain([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [2 * left, 2 * right, 1 - 2 * (left + right)]])
    assert brief.groups.tolist() == [0, 1, group]
    assert brief.classes.tolist() == [0, 1, -1]


@pytest.mark.parametrize("leak", [1e-6, 1e-3, 0.02])
def test_groups_of_blocks_that_leak(leak: float):
    random = torch.Generator().manual_seed(0)
    sizes = [3, 1, 4, 2]
    rows = torch.zeros(10, 10, dtype=torch.float64)
    for start, end in pairwise(np.cumsum([0, *sizes]).tolist()):
        rows[start:end, start:end] = torch.rand(end - start, end - start, generator=random) + 0.5
    rows = (1 - leak) * rows / rows.sum(dim=1, keepdim=True)
    noise = torch.rand(10, 10, generator=random, dtype=torch.float64)
    rows = rows + leak * noise / noise.sum(dim=1, keepdim=True)
    expected = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 3, 3])
    assert torch.equal(markov_chain(rows).groups, expected)
    # The groups are those of the chain, however its states are numbered.
    order = torch.randperm(10, generator=random)
    shuffled = markov_chain(rows[order][:, order]).groups
    same = shuffled[:, None] == shuffled
    assert torch.equal(same, expected[order][:, None] == expected[order])
    assert [int((shuffled == group).nonzero()[0, 0]) for group in range(4)] == sorted(
        int((shuffled == group).nonzero()[0, 0]) for group in range(4)
    )


def test_coarser_and_finer_groups_can_be_asked_for():
    # Pairs that exchange 0.02 a step, in two halves that exchange 0.002: a hierarchy of 2, 4 and 8.
    pair = torch.block_diag(*[torch.full((2, 2), 0.5, dtype=torch.float64)] * 4)
    half = torch.block_diag(*[torch.full((4, 4), 0.25, dtype=torch.float64)] * 2)
    rows = 0.978 * pair + 0.02 * half + 0.002 * torch.full((8, 8), 0.125, dtype=torch.float64)
    found = markov_chain(rows)
    # Projections on the pairs, halves and all, each within the one before: eigenvalues add up.
    expected = [1.0, 0.998, 0.978, 0.978, 0.0, 0.0, 0.0, 0.0]
    assert found.eigenvalues.real.tolist() == pytest.approx(expected, abs=1e-12)
    assert found.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found.metastable_groups(4).tolist() == found.groups.tolist()
    assert found.metastable_groups(2).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert found.metastable_groups(1).tolist() == [0] * 8
    assert found.metastable_groups(8).tolist() == list(range(8))
    for count in (3, 6):
        with pytest.raises(ValueError, match=f"count is {count}, expected one at which"):
            found.metastable_groups(count)
    for count in (0, 9):
        with pytest.raises(ValueError, match=f"count is {count}, expected from 1 to 8"):
            found.metastable_groups(count)
    left_out = chain([[0.0, 0.0, 0.0], [0.0, 0.9, 0.1], [0.0, 0.2, 0.8]])
    assert left_out.metastable_groups(1).tolist() == [-1, 0, 0]
    assert left_out.metastable_groups(2).tolist() == [-1, 0, 1]


def test_groups_of_a_chain_that_is_not_reversible():
    # Two cycles of three, each left with 0.01 a step: within one, complex pairs with real parts below 0.
    turn = torch.eye(3, dtype=torch.float64).roll(1, dims=1)
    rows = torch.block_diag(turn, turn) * 0.99
    rows[0, 3] = rows[3, 0] = 0.01
    found = markov_chain(rows)
    assert found.groups.tolist() == [0, 0, 0, 1, 1, 1]


def test_stationary_distribution_of_a_random_chain_is_that_of_its_powers():
    rows = torch.rand(30, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = markov_chain(rows)
    power = torch.linalg.matrix_power(found.transitions, 200)
    torch.testing.assert_close(found.stationary, power[:1], rtol=1e-12, atol=0.0)


def test_states_that_only_lead_out_are_left_out_and_so_are_those_that_only_lead_there():
    found = chain([[3.0, 1.0, 4.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    expected = torch.tensor([[0.75, 0.25, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.float64)
    assert torch.equal(found.transitions, expected)
    assert found.classes.tolist() == [0, 0, -1, -1]
    assert found.groups.tolist() == [0, 0, -1, -1]
    torch.testing.assert_close(found.stationary, torch.tensor([[2 / 3, 1 / 3, 0, 0]], dtype=torch.float64))


def test_bad_arguments():
    system = DoubleWell(STEP)
    known, wells = known_attractors(system, WELLS), basins(system, WELLS)
    for sigma, draws, seed, message in (
        (-0.1, 1, 0, "sigma is -0.1"),
        (math.inf, 1, 0, "sigma is inf"),
        (math.nan, 1, 0, "sigma is nan"),
        (0.1, 0, 0, "draws is 0, expected at least 1"),
        (0.1, 1, -1, "seed is -1"),
        (0.1, 1, 2**63, "seed is"),
    ):
        with pytest.raises(ValueError, match=message):
            escape_graph(system, wells, sigma, draws, seed)
        with pytest.raises(ValueError, match=message):
            escape_probability(system, WELLS, known, sigma, draws, seed)
    with pytest.raises(InputError, match="basins of the map"):
        escape_graph(DoubleWell(0.3), wells, 0.1, 1)
    with pytest.raises(ValueError, match="states is not finite in row 0"):
        escape_probability(system, torch.tensor([[math.nan, 0.0]]), known, 0.1, 1)
    with pytest.raises(ValueError, match="states has shape"):
        escape_probability(system, torch.zeros(1, 3), known, 0.1, 1)
    for weight in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="weights holds negative numbers"):
            chain([[1.0, weight], [0.5, 0.5]])


def test_digits_reached_by_noise_are_those_that_orbits_reach(digits_dae, digits_test):
    found = basins_of_attraction(digits_dae, digits_test.images[:200])
    graph = escape_graph(digits_dae, found, 0.3, 5, 0)
    start, states = next(iter(escape_module._perturbed(found.fixed_points, 0.3, 5, 0)))
    ends = states.float()
    for _ in range(5000):
        ends = digits_dae(ends)
    distances = torch.cdist(ends.double(), found.fixed_points)
    nearest = torch.where(distances.amin(dim=1) < 1e-2, distances.argmin(dim=1), -1)
    for row in range(len(found.fixed_points)):
        reached = nearest[start == row]
        expected = torch.bincount(reached[reached >= 0], minlength=len(found.fixed_points))
        assert torch.equal(graph.counts[row, :-2], expected)
    assert isinstance(escape_probability(digits_dae, digits_test.images[:2], [], 0.1, 2), SampleEscapes)

"""The search for all fixed points: closed forms, and on an autoencoder a plain look at what is found."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from dynlab.attractors import basins_of_attraction, connection_graph
from dynlab.attractors.connections.search import search_fixed_points
from dynlab.datasets import Dataset
from dynlab.dynamics import find_fixed_point
from dynlab.dynamics.damped import newton_damped
from dynlab.maps import DenoisingAutoencoder, Map, as_map, float64_copy
from dynlab.maps.classical import DelayedLogistic, Linear, MultiWell

from systems import Formula


def apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.cdist(one.cpu(), other.cpu(), compute_mode="donot_use_mm_for_euclid_dist")


def check_all(system: Map, found: torch.Tensor, expected: torch.Tensor) -> list[int]:
    """Check that exactly the fixed points expected were found, each once; which of the found each of them is."""
    assert len(found) == len(expected)
    distances, nearest = apart(expected, found).min(dim=1)
    assert float(distances.max()) < 1e-9
    assert sorted(nearest.tolist()) == list(range(len(found)))
    residuals = torch.linalg.vector_norm(float64_copy(system).cpu()(found) - found, dim=1)
    assert float((residuals / torch.linalg.vector_norm(found, dim=1).clamp(min=1.0)).max()) <= 1e-12
    return nearest.tolist()


@pytest.mark.parametrize(
    ("scales", "dim"), [((1.0, 0.7), 2), ((1.0, 0.8, 0.6, 0.5), 50), ((1.0, 0.8), 520)], ids=["2", "50", "520"]
)
def test_wells_lead_to_all_fixed_points_of_a_potential(scales: tuple[float, ...], dim: int, device: torch.device):
    system = MultiWell(scales, dim).double().to(device)
    found = search_fixed_points(system, system.wells())
    nearest = check_all(system, found.states, system.fixed_points())
    unstable = system.unstable_directions().cpu()
    assert torch.equal(found.unstable[nearest], unstable)
    assert torch.equal(found.indices[nearest], 1 - 2 * (unstable % 2))  # a real multiplier above 1 for each direction
    assert (found.index_sum, found.undecided) == (1, 0)
    assert found.given == 2 ** len(scales)
    assert torch.equal(found.states[: found.given], system.wells().cpu())
    assert float(found.residuals.max()) <= 1e-12


def test_fixed_points_that_stand_unevenly(device: torch.device):
    roots = [torch.tensor([-2.0, -0.7, 0.1, 1.3, 2.0]), torch.tensor([-1.0, 0.2, 1.0])]

    def step(states: torch.Tensor) -> torch.Tensor:
        slopes = [torch.stack([x - root for root in some]).prod(dim=0) for x, some in zip(states.T, roots, strict=True)]
        return states - 0.03 * torch.stack(slopes, dim=1)

    system = Formula(2, step)
    everything = torch.cartesian_prod(*(some.double() for some in roots))
    is_well = torch.tensor([x % 2 == 0 and y % 2 == 0 for x in range(5) for y in range(3)])
    found = search_fixed_points(system, everything[is_well].to(device))
    nearest = check_all(system, found.states, everything)
    counts = torch.tensor([x % 2 + y % 2 for x in range(5) for y in range(3)])
    assert torch.equal(found.unstable[nearest], counts)
    assert found.index_sum == 1


def test_neighbours_farther_off_are_combined_where_the_near_ones_do_not_do(device: torch.device):
    system = MultiWell((1.0, 0.8, 0.6, 0.5), 50).double().to(device)
    wells = system.wells()
    near = search_fixed_points(system, wells, neighbours=1, expected=None)
    assert len(near.states) < 81
    assert near.index_sum != 1
    check_all(system, search_fixed_points(system, wells, neighbours=1, max_rounds=30).states, system.fixed_points())


def test_a_pair_of_unstable_multipliers_counts_plus_one(device: torch.device):
    # At r = 2.1 the fixed point at 1 - 1 / r has turned unstable with a pair; 0 has the multipliers r and 0.
    system = DelayedLogistic(2.1)
    found = search_fixed_points(system, system.fixed_points().to(device), expected=None)
    assert found.unstable.tolist() == [1, 2]
    assert found.indices.tolist() == [-1, 1]


def test_any_number_of_unstable_directions_is_counted(device: torch.device):
    growth = torch.diag(torch.tensor([1.5] * 17 + [0.5] * 3, dtype=torch.float64))
    found = search_fixed_points(Linear(growth).to(device), torch.zeros(1, 20, device=device))
    assert found.unstable.tolist() == [17]
    assert found.indices.tolist() == [-1]


def test_what_is_found_on_an_autoencoder_stands_up_to_plain_means(
    digits_dae: DenoisingAutoencoder, digits_test: Dataset
):
    attractors = basins_of_attraction(digits_dae, digits_test.images[:200]).fixed_points
    found = search_fixed_points(digits_dae, attractors, max_starts=300, expected=None)
    assert found.starts <= 300
    assert len(found.states) > found.given + 10
    assert float(apart(found.states, found.states).fill_diagonal_(1.0).min()) > 1e-6
    exact = float64_copy(digits_dae).requires_grad_(requires_grad=False)
    multipliers = torch.linalg.eigvals(exact.jacobian(found.states))
    assert torch.equal((multipliers.abs() > 1).sum(dim=1), found.unstable)
    is_real = multipliers.imag.abs() < 1e-9 * multipliers.abs()
    assert torch.equal(1 - 2 * ((is_real & (multipliers.real > 1)).sum(dim=1) % 2), found.indices)
    for state in found.states[found.given : found.given + 20]:
        again = find_fixed_point(digits_dae, state)
        assert again is not None
        assert float((again.state - state).norm()) < 1e-9


def test_limits_are_kept(device: torch.device):
    system = MultiWell((1.0, 0.8, 0.6, 0.5), 50).double().to(device)
    few = search_fixed_points(system, system.wells(), max_starts=20)
    assert (few.starts, few.rounds) == (20, 1)
    assert 16 < len(few.states) <= 36
    once = search_fixed_points(system, system.wells(), max_rounds=1, expected=None)
    assert once.rounds == 1
    assert len(once.states) < 81
    again = search_fixed_points(system, once.states.to(device), expected=None)
    check_all(system, again.states, system.fixed_points())
    assert again.given == len(once.states)


def test_rounds_end_at_the_sum_that_is_due_or_when_nothing_is_new(device: torch.device):
    system = MultiWell((1.0,), 2).double().to(device)
    shares = list[float]()
    found = search_fixed_points(system, system.wells(), on_progress=shares.append)
    assert (found.rounds, found.index_sum, len(found.states)) == (1, 1, 3)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert search_fixed_points(system, system.wells(), expected=None).rounds == 2


def test_one_fixed_point_has_nothing_to_be_combined_with(device: torch.device):
    system = MultiWell((1.0,), 2).double().to(device)
    twice = system.wells()[[0, 0]]
    found = search_fixed_points(system, twice)
    assert (len(found.states), found.given, found.starts) == (1, 1, 0)


def test_fixed_points_that_are_given_roughly_are_polished(device: torch.device):
    system = MultiWell((1.0,), 2).double().to(device)
    rough = system.wells() + torch.tensor([[3e-9, 0.0], [0.0, 0.0]], dtype=torch.float64, device=device)
    found = search_fixed_points(system, rough)
    check_all(system, found.states, system.fixed_points())
    torch.testing.assert_close(found.states[:2], system.wells().cpu(), rtol=0.0, atol=1e-12)


def test_a_graph_with_a_search_is_complete(device: torch.device):
    system = MultiWell((1.0, 0.8, 0.6, 0.5), 50).double().to(device)
    random = torch.randn(400, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64).clamp(-1, 1)
    basins = basins_of_attraction(system, system.states_at(random.to(device)))
    graph = connection_graph(system, basins, search_starts=5000)
    assert graph.graph["index_sum"] == 1
    assert Counter(saddle.index for saddle in graph.graph["other_saddles"]) == {2: 24, 3: 8, 4: 1}
    well_of = system.basins(basins.fixed_points.to(device)).tolist()
    found = sorted(sorted((well_of[one], well_of[other])) for one, other in graph.edges())
    assert found == sorted(sorted(pair) for pair in system.connections().tolist())


def test_a_graph_finds_attractors_that_no_sample_reached(device: torch.device):
    # Wells at -2, 0 and 2 of a line, of which samples reach one.
    system = Formula(1, lambda x: x - 0.01 * x * (x * x - 1) * (x * x - 4))
    basins = basins_of_attraction(system, torch.tensor([[-2.1], [0.1]], dtype=torch.float64, device=device))
    graph = connection_graph(system, basins, search_starts=100)
    assert sorted(float(graph.nodes[node]["state"]) for node in graph) == pytest.approx([-2.0, 0.0, 2.0])
    assert graph.nodes[2]["basin_size"] == 0
    assert graph.graph["index_sum"] == 1
    assert sorted(tuple(sorted(edge)) for edge in graph.edges()) in ([(0, 1), (0, 2)], [(0, 1), (1, 2)])


def test_damped_steps_come_home_where_whole_steps_do_not(device: torch.device):
    # Whole steps on arctan x = 0 leave for infinity from beyond 1.3917.
    system = Formula(1, lambda x: x - torch.arctan(x))
    starts = torch.tensor([[-6.0], [-1.5], [0.0], [1.3], [3.0], [6.0]], dtype=torch.float64, device=device)
    states, residuals = newton_damped(system, starts)
    assert float(states.abs().max()) < 1e-12
    assert float(residuals.max()) <= 1e-12
    assert starts[0].item() == -6.0  # as they were given


def test_starts_that_lead_nowhere_say_so(device: torch.device):
    starts = torch.tensor([[0.3, 0.0], [torch.nan, 0.0]], dtype=torch.float64, device=device)
    residuals = newton_damped(Formula(2, lambda x: x + 1), starts)[1]  # I - J is singular everywhere
    assert residuals[0].item() == pytest.approx(2**0.5)
    assert not bool(residuals[1] <= 1e-12)
    # x^2 + 1 = 0 has no solution; its least residual is 1.
    states, residuals = newton_damped(Formula(1, lambda x: x + x * x + 1), starts[:1, :1])
    assert residuals[0].item() >= 1.0
    assert bool(states.isfinite().all())


def test_arguments_are_checked():
    system = MultiWell((1.0,), 2).double()
    wells = system.wells()
    with pytest.raises(ValueError, match="max_rounds is 0, expected at least 1"):
        search_fixed_points(system, wells, max_rounds=0)
    with pytest.raises(ValueError, match="max_starts is 0, expected at least 1"):
        search_fixed_points(system, wells, max_starts=0)
    with pytest.raises(ValueError, match="neighbours is 0, expected at least 1"):
        search_fixed_points(system, wells, neighbours=0)
    with pytest.raises(ValueError, match=r"known has a relative residual of .* in row 1"):
        search_fixed_points(system, wells + torch.tensor([[0.0, 0.0], [0.1, 0.0]]))
    with pytest.raises(ValueError, match="known has shape"):
        search_fixed_points(system, wells[:, :1])
    held = as_map(lambda x, r: r * x * (1 - x), (1,), inputs=torch.ones(3, 1))
    with pytest.raises(ValueError, match="inputs for 3 samples"):
        search_fixed_points(held, torch.zeros(2, 1))
    with pytest.raises(ValueError, match="search_starts is -1"):
        connection_graph(system, basins_of_attraction(system, wells), search_starts=-1)

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dynlab.attractors.reached import known_attractors
from dynlab.attractors.robustness.shocks import CriticalShocks, LowerBound, critical_shocks, random_shock
from dynlab.dynamics import FixedPoint, certify
from dynlab.maps import DenoisingAutoencoder, Map
from dynlab.maps.classical import CubeRootNewton, DoubleWell, Linear, MultiWell

from systems import Formula, double_well

INFINITY = float("inf")


def wells(device: torch.device) -> Tensor:
    return DoubleWell().fixed_points()[:2].to(device)


def random_states(count: int, dim: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, dtype=torch.float64, generator=generator)


def check_interval(shocks: CriticalShocks, states: Tensor, expected: Tensor, upper: float) -> None:
    """Lower bounds are below the true shock, upper ones above it by a share of at most `upper`."""
    states, expected = states.cpu(), expected.cpu()
    assert bool(shocks.is_found.all())
    assert bool((shocks.lower <= expected * (1 + 1e-12)).all())
    assert bool((shocks.upper >= expected * (1 - 1e-12)).all())
    assert float((shocks.upper / expected).max()) <= 1 + upper
    assert bool((shocks.upper <= shocks.straight).all())
    assert float(shocks.bracket.max()) <= 1e-6
    assert float(shocks.bracket.min()) > 0
    size = torch.linalg.vector_norm(shocks.perturbed - states, dim=1)
    torch.testing.assert_close(size, shocks.upper, rtol=1e-12, atol=0.0)
    assert not bool((shocks.reached == shocks.attractors).any())


def test_shock_of_a_double_well_is_the_distance_to_the_axis_between(device: torch.device):
    system = DoubleWell()
    states = random_states(16, 2).clamp(-1.5, 1.5)  # nearer to the axis than to where steps begin to cross it
    states = states[states[:, 0].abs() > 0.05].to(device)
    shocks = critical_shocks(system, states, known_attractors(system, wells(device)))
    check_interval(shocks, states, states[:, 0].abs(), 1e-5)
    assert torch.equal(shocks.attractors, (states[:, 0] > 0).long().cpu())
    assert torch.equal(system.basins(shocks.perturbed), shocks.reached)
    # The lines to the other well are longer, unless they start at the height of the wells.
    assert float((shocks.straight / shocks.upper).max()) > 1.2
    frame = shocks.to_frame()
    assert frame["upper"].tolist() == shocks.upper.tolist()
    assert (frame["attractor"] + frame["reached"]).tolist() == [1] * len(states)
    assert set(frame["lower_bound"]) <= {str(bound) for bound in LowerBound}


def test_bounds_are_the_same_alone_and_together():
    system, states = DoubleWell(), random_states(6, 2)
    known = known_attractors(system, wells(torch.device("cpu")))
    together = critical_shocks(system, states, known)
    again = critical_shocks(system, states, known)
    alone = critical_shocks(system, states[5:6], known)
    assert torch.equal(together.upper, again.upper)
    assert torch.equal(together.perturbed, again.perturbed)
    torch.testing.assert_close(together.upper[5:6], alone.upper, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize(("scales", "dim"), [((1.0, 3.0), 2), ((0.5, 1.0, 2.0), 50)])
def test_shock_in_a_rotated_multi_well_is_the_distance_to_the_nearest_hyperplane(
    scales: tuple[float, ...], dim: int, device: torch.device
):
    system = MultiWell(scales, dim).to(device)
    coordinates = random_states(10, dim, seed=1).clamp(-1, 1)
    kept = coordinates[:, : len(scales)].abs().amin(dim=1) > 0.02
    states = torch.cat([system.states_at(coordinates[kept].to(device)), system.wells().to(device)])
    shocks = critical_shocks(system, states, known_attractors(system, system.wells().to(device)))
    expected = system.coordinates(states)[:, : len(scales)].abs().amin(dim=1)
    check_interval(shocks, states, expected, 1e-5)
    assert torch.equal(system.basins(shocks.perturbed.to(device)).cpu(), shocks.reached)
    # Of a well, what the estimated ball shows is more than nothing; so it is of a state far from any.
    assert float(shocks.lower.min()) > 0
    assert set(shocks.lower_bounds) == {LowerBound.ESTIMATED}


class Bent(Map):
    """The double well behind the change of coordinates `(x, y) -> (x + bend y^2, y)`: its boundary is a parabola."""

    def __init__(self, bend: float) -> None:
        super().__init__(2)
        self.bend, self.well = bend, DoubleWell()

    def forward(self, states: Tensor) -> Tensor:
        x, y = states.unbind(1)
        x, y = self.well(torch.stack([x - self.bend * y * y, y], dim=1)).unbind(1)
        return torch.stack([x + self.bend * y * y, y], dim=1)

    def distance_to(self, offset: float, states: Tensor) -> Tensor:
        """Of each state to the parabola `x = bend y^2 + offset`, from the roots of the derivative of its square."""
        distances = []
        for x, y in states.cpu().tolist():
            roots = np.roots([2 * self.bend**2, 0.0, 1 - 2 * self.bend * (x - offset), -y])
            heights = roots[np.abs(roots.imag) < 1e-9].real
            distances.append(np.hypot(self.bend * heights**2 + offset - x, heights - y).min())
        return torch.tensor(distances, dtype=torch.float64)


@pytest.mark.parametrize("bend", [0.5, -1.0])
def test_shock_to_a_curved_boundary(bend: float, device: torch.device):
    system = Bent(bend)
    known = known_attractors(system, wells(device))  # y is 0 there, so they stay where they are
    states = random_states(24, 2, seed=2).clamp(-1.5, 1.5)
    expected = system.distance_to(0.0, states)
    # The other parabolas, across which steps change sides, are farther from these.
    reach = system.well.reach
    kept = (expected > 0.05) & (expected < system.distance_to(reach, states))
    kept &= expected < system.distance_to(-reach, states)
    states, expected = states[kept].to(device), expected[kept]
    assert len(states) > 10
    shocks = critical_shocks(system, states, known)
    check_interval(shocks, states, expected, 3e-3)
    assert float((shocks.upper / expected).median()) <= 1 + 1e-4
    # Straight lines to the other attractor miss it by far.
    assert float((shocks.straight / expected).max()) > 1.2


def test_normals_need_no_symmetric_jacobian(device: torch.device):
    # Behind a shear, right and left unstable directions of the saddle differ: the boundary stays a line, turned.
    shear = torch.tensor([[1.0, 0.8], [0.0, 0.5]], dtype=torch.float64, device=device)
    system = Formula(2, lambda states: double_well()(states @ shear.to(states).inverse().T) @ shear.to(states).T)
    known = known_attractors(system, wells(device) @ shear.T)
    states = (random_states(10, 2, seed=3) + 0.1).to(device)
    # Of the line (0.8, 0.5) t, whose unit normal is (0.5, -0.8) / sqrt(0.89).
    expected = (0.5 * states[:, 0] - 0.8 * states[:, 1]).abs() / 0.89**0.5
    states, expected = states[expected > 0.02], expected[expected > 0.02]
    check_interval(critical_shocks(system, states, known), states, expected, 1e-5)


def test_fractal_boundaries_against_a_grid(device: torch.device):
    system = CubeRootNewton()
    roots = system.fixed_points()
    axis = torch.linspace(-2.0, 2.0, 801, dtype=torch.float64)  # 0.005 apart
    grid = torch.cartesian_prod(axis, axis)
    grid = grid[torch.linalg.vector_norm(grid, dim=1) > 1e-3]

    def root_of(states: Tensor) -> Tensor:
        for _ in range(60):
            states = system(states)
        return torch.cdist(states, roots).argmin(dim=1)

    labels = root_of(grid)
    states = torch.cat([roots, torch.tensor([[0.8, 0.1], [0.3, 0.9], [-1.5, 0.8]], dtype=torch.float64)])
    own = root_of(states)
    apart = torch.cdist(states, grid).masked_fill(own[:, None] == labels, INFINITY)
    known = known_attractors(system, roots.to(device))
    shocks = critical_shocks(system, states.to(device), known, samples=grid[::97].to(device))
    assert torch.equal(shocks.attractors, own)
    assert torch.equal(root_of(shocks.perturbed), shocks.reached)
    assert bool((shocks.lower <= apart.amin(dim=1)).all())
    # A perturbation that is found is a perturbation; that there is none much smaller is what the grid knows.
    assert float((shocks.upper / apart.amin(dim=1)).max()) < 1.25
    assert bool((shocks.upper <= shocks.straight).all())


def test_more_iterations_find_more_and_none_are_straight():
    system, states = DoubleWell(), random_states(10, 2)
    known = known_attractors(system, wells(torch.device("cpu")))
    straight = critical_shocks(system, states, known, max_iterations=0, starts=1)
    # The other well lies across the axis: the line to it meets the axis after |x| / (|x| + 1) of its way.
    target = torch.stack([-states[:, 0].sign(), torch.zeros(10, dtype=torch.float64)], dim=1)
    x = states[:, 0].abs()
    line = torch.linalg.vector_norm(target - states, dim=1) * x / (x + 1)
    assert bool((straight.upper <= line * (1 + 1e-6)).all())  # or the leading direction is better
    assert bool((straight.upper >= x).all())
    assert straight.iterations.tolist() == [0] * 10
    torch.testing.assert_close(straight.upper, straight.straight, rtol=1.1e-4, atol=0.0)
    assert float(straight.upper.sum() / critical_shocks(system, states, known).upper.sum()) > 1.02


def steep() -> tuple[DenoisingAutoencoder, Tensor]:
    """`F(x) = 2 tanh x` in both coordinates, as an autoencoder, and its four wells; their basins are the quadrants."""
    system = DenoisingAutoencoder(2, 2, hidden_nonlinearity="tanh", output_nonlinearity="identity").double()
    system.encoder["weight"].data[:] = torch.eye(2)
    system.decoder["weight"].data[:] = 2 * torch.eye(2)
    height = torch.ones(1, dtype=torch.float64)
    for _ in range(200):
        height = 2 * height.tanh()
    signs = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    return system, signs * height


def test_what_a_certificate_proves_is_a_proved_lower_bound():
    pytest.importorskip("flint", reason="python-flint is not here: pip install 'dynlab[certificates]'")
    system, attractors = steep()
    known = known_attractors(system, attractors)
    proofs = [certify(system, point.state, method="proof") for point in known]
    near = attractors[:1] + 0.5 * proofs[0].basin_radius * torch.tensor([[0.6, -0.8]], dtype=torch.float64)
    far = torch.tensor([[0.4, -3.0]], dtype=torch.float64)
    states = torch.cat([attractors, near, far])
    shocks = critical_shocks(system, states, known, certificates=proofs)
    assert shocks.lower_bounds == [LowerBound.PROVED] * 5 + [LowerBound.ESTIMATED]
    assert shocks.lower[:4].tolist() == [proof.basin_radius for proof in proofs]
    assert float(shocks.lower[4]) == pytest.approx(0.5 * proofs[0].basin_radius)
    assert float(shocks.lower[5]) > 0
    check_interval(shocks, states, states.abs().amin(dim=1), 1e-5)
    # An estimate says so, and one for which nothing is shown leaves the safe ball.
    estimates = [certify(system, point.state) for point in known]
    estimates[0] = replace(estimates[0], basin_radius=0.0)
    shocks = critical_shocks(system, attractors, known, certificates=estimates)
    assert shocks.lower_bounds == [LowerBound.ESTIMATED] * 4
    assert float(shocks.lower[0]) == known[0].safe_radius
    assert shocks.lower[1:].tolist() == [estimate.basin_radius for estimate in estimates[1:]]


def test_balls_pulled_back_through_layers_hold_what_they_should(device: torch.device):
    system, attractors = steep()
    system = system.to(device)
    states = random_states(10, 2, seed=4)
    states = states[states.abs().amin(dim=1) > 0.02]
    known = known_attractors(system, attractors.to(device))
    shocks = critical_shocks(system, states.to(device), known, max_iterations=2, starts=1)
    assert set(shocks.lower_bounds) == {LowerBound.ESTIMATED}
    share = shocks.lower / states.abs().amin(dim=1)
    assert float(share.min()) > 0
    assert float(share.max()) <= 1
    without = critical_shocks(system, states.to(device), known, max_iterations=0, pull_back=False)
    assert set(without.lower_bounds) == {LowerBound.NONE}
    assert without.lower.tolist() == [0.0] * len(states)


def test_a_ball_pulled_back_through_a_linear_map_grows_as_the_map_contracts():
    # F(x) = x / 2 as layers. Within half the radius of the ball after n steps, so 2^n times the room that is left.
    system = DenoisingAutoencoder(2, 2, hidden_nonlinearity="identity", output_nonlinearity="identity").double()
    system.encoder["weight"].data[:] = torch.eye(2)
    system.decoder["weight"].data[:] = 0.5 * torch.eye(2)
    point = FixedPoint(torch.zeros(2, dtype=torch.float64), residual=0.0, safe_radius=1.0)
    states = torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64)
    shocks = critical_shocks(system, states, [point])
    assert shocks.lower.tolist() == pytest.approx([2**4 - 5, 0.5], rel=1e-9)


def test_where_there_is_no_other_attractor_the_shock_is_infinite(device: torch.device):
    system = Linear(torch.tensor([[0.5, 0.2], [0.0, 0.3]], dtype=torch.float64)).to(device)
    known = known_attractors(system, torch.zeros(1, 2, dtype=torch.float64, device=device))
    states = random_states(3, 2).to(device)
    shocks = critical_shocks(system, states, known, samples=5 * states)
    assert not bool(shocks.is_found.any())
    assert shocks.upper.tolist() == shocks.straight.tolist() == [INFINITY] * 3
    assert shocks.reached.tolist() == [-1] * 3
    assert shocks.attractors.tolist() == [0] * 3
    assert bool(shocks.perturbed.isnan().all())
    assert bool(torch.isfinite(shocks.lower).all())
    assert random_shock(system, states, known, 4).tolist() == [INFINITY] * 3
    nothing = critical_shocks(system, states[:0], known)
    assert nothing.upper.shape == (0,)
    assert nothing.lower_bounds == []


def test_a_state_that_reaches_no_attractor_has_no_bounds():
    system = DoubleWell()
    known = known_attractors(system, wells(torch.device("cpu")))
    states = torch.tensor([[0.0, 0.5], [0.5, 0.5]], dtype=torch.float64)
    shocks = critical_shocks(system, states, known)
    assert shocks.attractors.tolist() == [-1, 1]
    # Nor has the other one a lower bound: the map knows nothing by which its slopes could be bounded.
    assert shocks.lower_bounds == [LowerBound.NONE, LowerBound.NONE]
    assert shocks.lower.tolist() == [0.0, 0.0]
    assert shocks.upper.tolist() == [INFINITY, pytest.approx(0.5, rel=1e-5)]


def test_attractors_met_on_the_way_are_added_to_the_known():
    system = DoubleWell()
    known = known_attractors(system, wells(torch.device("cpu"))[1:])
    states = torch.tensor([[0.8, 0.3], [-0.7, 0.1]], dtype=torch.float64)
    shocks = critical_shocks(system, states, known)
    assert len(known) == 1
    assert [point.state[0].item() for point in shocks.known] == pytest.approx([1.0, -1.0])
    assert shocks.attractors.tolist() == [0, 1]
    assert shocks.reached.tolist() == [1, 0]
    assert shocks.upper.tolist() == pytest.approx([0.8, 0.7], rel=1e-5)
    # By the samples alone, as the only attractor in sight is the own one.
    aimed = critical_shocks(system, states[:1], known, samples=torch.tensor([[-0.2, 0.9]]), neighbours=1)
    assert aimed.upper.tolist() == pytest.approx([0.8], rel=1e-5)


def test_an_estimate_that_a_perturbation_refutes_is_brought_down():
    system = DoubleWell()
    known = [replace(point, safe_radius=5.0) for point in known_attractors(system, wells(torch.device("cpu")))]
    shocks = critical_shocks(system, wells(torch.device("cpu")), known)
    assert torch.equal(shocks.lower, shocks.upper)
    assert shocks.upper.tolist() == pytest.approx([1.0, 1.0], rel=1e-5)


def test_random_directions_say_little_in_many_dimensions():
    system = MultiWell([1.0, 1.0], 50)
    attractors = system.wells()
    known = known_attractors(system, attractors)
    found = random_shock(system, attractors, known, 50)
    assert torch.equal(found, random_shock(system, attractors, known, 50))
    # The shock is 1. Along a random direction it is 1 over a coordinate of it, some sevenths.
    assert float(found.min()) > 2.0
    plane = MultiWell([1.0, 1.0], 2)
    close = random_shock(plane, plane.wells(), known_attractors(plane, plane.wells()), 50, precision=1e-4)
    assert bool((close >= 1.0).all())
    assert float(close.max()) < 1.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": torch.zeros(1, 3)}, r"states has shape \(1, 3\)"),
        ({"states": torch.full((1, 2), torch.nan)}, "states is not finite"),
        ({"samples": torch.full((1, 2), torch.inf)}, "samples is not finite"),
        ({"known": []}, "known is empty"),
        ({"known": [FixedPoint(torch.zeros(3, dtype=torch.float64), 0.0, 1.0)]}, r"known\[0\] has shape \(3,\)"),
        ({"known": [FixedPoint(torch.zeros(2, dtype=torch.float64), 0.0, 0.0)]}, r"known\[0\] has no safe ball"),
        ({"certificates": []}, "certificates has 0 entries, expected 2"),
        ({"neighbours": -1}, "neighbours is -1, expected at least 0"),
        ({"starts": 0}, "starts is 0, expected at least 1"),
        ({"max_iterations": -1}, "max_iterations is -1, expected at least 0"),
        ({"precision": 0.0}, "precision is 0.0, expected from 1e-12 to 0.01"),
        ({"precision": 0.02}, "precision is 0.02"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"max_steps": 0}, "max_steps is 0"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], message: str):
    system = DoubleWell()
    arguments = {"states": torch.ones(1, 2), "known": known_attractors(system, system.fixed_points()[:2])} | changes
    with pytest.raises(ValueError, match=message):
        critical_shocks(system, **arguments)


@pytest.mark.parametrize(("changes", "message"), [({"directions": 0}, "directions is 0"), ({"precision": 0.1}, "0.05")])
def test_wrong_arguments_of_random_directions_are_named(changes: dict[str, Any], message: str):
    system = DoubleWell()
    arguments: dict[str, Any] = {"directions": 2} | changes
    known = known_attractors(system, system.fixed_points()[:2])
    with pytest.raises(ValueError, match=message):
        random_shock(system, torch.ones(1, 2), known, **arguments)


def test_nothing_leads_away_where_everything_is_one_ball_also_off_its_centre() -> None:
    system = Linear(0.5 * torch.eye(2, dtype=torch.float64))
    known = known_attractors(system, torch.zeros(1, 2, dtype=torch.float64))
    certificates = [certify(system, torch.zeros(2, dtype=torch.float64))]
    shocks = critical_shocks(system, torch.tensor([[0.0, 0.0], [1.0, 2.0]]), known, certificates=certificates)
    assert shocks.lower.tolist() == [math.inf, math.inf]


def test_states_that_ask_for_gradients_leave_none_in_what_is_found() -> None:
    system = DoubleWell(0.2)
    known = known_attractors(system, system.fixed_points()[:1])
    shocks = critical_shocks(system, torch.tensor([[1.0, 0.0]], requires_grad=True), known)
    assert not shocks.upper.requires_grad

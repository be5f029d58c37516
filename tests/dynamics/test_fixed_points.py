from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from dynlab.dynamics import FixedPoint, Status, find_fixed_point, iterate
from dynlab.dynamics.fixed_points import examine_fixed_points
from dynlab.maps import Map, float64_copy
from dynlab.maps.classical import DoubleWell, Linear

from systems import Formula, fold


def examined(system: Map, state: list[float], largest: float = 1.0) -> FixedPoint:
    states = torch.tensor([state], dtype=torch.float64)
    zero, limit = torch.zeros(1, dtype=torch.float64), torch.tensor([largest], dtype=torch.float64)
    return examine_fixed_points(system, system, states, zero, limit)[0]


def safe_radius(system: Map, state: list[float], largest: float = 1.0) -> float:
    return examined(system, state, largest).safe_radius


@pytest.mark.parametrize(("rate", "curvature"), [(0.5, 0.3), (0.9, -2.0), (0.996, 0.5), (-0.95, 0.7)])
def test_safe_radius_stays_within_two_fifths_of_the_way_to_the_saddle_of_a_fold(rate: float, curvature: float):
    saddle = (1 - abs(rate)) / abs(curvature)
    radius = safe_radius(fold(rate, curvature), [0.0])
    assert 0.4 * saddle / 2 * 0.999 <= radius <= 0.4 * saddle * 1.001


def test_safe_radius_heeds_a_remainder_without_quadratic_term():
    saddle = (0.05 / 0.3) ** 0.5
    radius = safe_radius(Formula(1, lambda x: 0.95 * x + 0.3 * x**3), [0.0])
    assert 0.1 * saddle < radius < 0.65 * saddle  # where the remainder is 0.4 of the contraction: at 0.63


def test_linear_maps_are_safe_everywhere():
    assert safe_radius(Linear(torch.diag(torch.tensor([0.9, -0.5]).double())), [0.0, 0.0], largest=7.0) == 7.0


def test_unstable_fixed_points_are_safe_nowhere():
    assert not examined(DoubleWell(), [0.0, 0.0]).is_stable


def test_many_fixed_points_are_examined_as_each_alone():
    # x - 0.1 sin(x) attracts to the even multiples of pi, and the odd ones part the basins
    system = Formula(1, lambda x: x - 0.1 * torch.sin(x))
    states = torch.arange(-4, 5).double()[:, None] * torch.pi
    largest = torch.full((9,), 1.0, dtype=torch.float64)
    together = examine_fixed_points(system, system, states, torch.zeros(9).double(), largest)
    assert [point.is_stable for point in together] == [True, False] * 4 + [True]
    alone = [examined(system, state.tolist()) for state in states]
    assert [point.safe_radius for point in together] == [point.safe_radius for point in alone]


@pytest.mark.parametrize("slowest", [0.9, 0.999, 1.001, 1.2])
def test_stability_of_large_maps_is_that_of_their_multipliers(slowest: float):
    # large enough for an estimate, which must hand over to the exact answer near one
    multipliers = torch.linspace(-0.8, 0.8, 300, dtype=torch.float64)
    multipliers[0] = slowest
    frame = torch.linalg.qr(torch.randn(300, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    exact = Linear(frame @ torch.diag(multipliers) @ frame.T)
    plain = Linear(exact.matrix.float())
    zero = torch.zeros(1, 300, dtype=torch.float64)
    point = examine_fixed_points(plain, exact, zero, torch.zeros(1).double(), torch.ones(1).double())[0]
    assert point.is_stable == (slowest < 1)


def test_fixed_points_from_given_starts_say_how_unstable_they_are():
    saddle = find_fixed_point(DoubleWell(), torch.tensor([0.1, 0.3]))
    assert saddle is not None
    torch.testing.assert_close(saddle.state, torch.zeros(2).double(), rtol=0.0, atol=1e-12)
    assert (saddle.unstable_directions, saddle.residual <= 1e-12) == (1, True)
    well = find_fixed_point(DoubleWell(), torch.tensor([0.9, 0.3]))
    assert well is not None
    assert well.unstable_directions == 0
    expanding = find_fixed_point(Linear(2 * torch.eye(30).double()), torch.ones(30))
    assert expanding is not None
    assert expanding.unstable_directions == 30
    assert find_fixed_point(Formula(1, lambda x: x + 1 + x * x), torch.tensor([0.3])) is None


def test_every_orbit_from_a_safe_ball_ends_at_its_centre():
    system, centre = DoubleWell(), torch.tensor([1.0, 0.0]).double()
    radius = safe_radius(system, [1.0, 0.0])
    angles = torch.linspace(0, 2 * torch.pi, 73).double()
    states = centre + radius * torch.stack([angles.cos(), angles.sin()], dim=1)
    for _ in range(1000):
        states = system(states)
    assert torch.allclose(states, centre.expand_as(states), atol=1e-12)


@pytest.mark.parametrize("coupling", [1.0, 10.0, 100.0])
def test_safe_radius_heeds_a_jacobian_that_is_far_from_normal(coupling: float):
    # The only other fixed point stands at a = 1 / (4 coupling), b = 2 a^2, far nearer than 1 - rho = 1/2 suggests.
    def apply(states: torch.Tensor) -> torch.Tensor:
        a, b = states.unbind(1)
        return torch.stack([0.5 * a + coupling * b, 0.5 * b + a * a], dim=1)

    saddle = 1 / (4 * coupling)
    assert 0 < safe_radius(Formula(2, apply), [0.0, 0.0], largest=0.1) < 0.5 * saddle


def test_a_fold_too_flat_for_rounding_is_safe_nowhere():
    # the saddle stands at 1e-13, and differences of states near 1 are rounded to 1e-16
    system = Formula(1, lambda x: 1 + (1 - 1e-13) * (x - 1) + (x - 1) ** 2)
    assert safe_radius(system, [1.0], largest=0.1) == 0.0


def rotated(apply: Callable[[torch.Tensor], torch.Tensor], dim: int, seed: int) -> Formula:
    """A map in coordinates that are turned at random."""
    frame = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed)).double()).Q
    return Formula(dim, lambda states: apply(states @ frame.to(states)) @ frame.T.to(states))


@pytest.mark.parametrize("dim", [2, 3, 10, 50, 250])
@pytest.mark.parametrize("seed", range(3))
def test_safe_radius_heeds_a_saddle_across_the_leading_direction(dim: int, seed: int):
    # Along the leading direction, of multiplier 0.99, the map is linear; the saddle stands at 0.01 along the next one.
    def apply(states: torch.Tensor) -> torch.Tensor:
        across = states[:, 1:2]
        return torch.cat(
            [0.99 * states[:, :1], across - 10 * across * (across - 0.01) * (across - 0.2), 0.5 * states[:, 2:]], dim=1
        )

    assert 0 < safe_radius(rotated(apply, dim, seed), [0.0] * dim, largest=0.1) < 0.5 * 0.01


# In many dimensions few directions are probed, and at slope 50 the one that matters is none of leading multipliers.
@pytest.mark.parametrize(
    ("dim", "slope"), [(dim, slope) for dim in (1, 2, 5, 20, 250) for slope in (1.5, 2.0, 5.0, 50.0)][:-1]
)
def test_safe_radius_heeds_attractors_that_look_like_one_from_afar(dim: int, slope: float):
    # Two attractors about a scale away from the saddle at zero; from farther away the map is two constants.
    frame = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(0)).double()).Q
    at = 1.0  # of tanh(slope x), by iteration
    for _ in range(200):
        at = math.tanh(slope * at)
    for scale in torch.logspace(-4 if dim < 200 else -3, -1.7, 24 if dim == 1 else 4).tolist():

        def apply(states: torch.Tensor, scale: float = scale) -> torch.Tensor:
            return torch.cat([scale * torch.tanh(slope / scale * states[:, :1]), 0.5 * states[:, 1:]], dim=1)

        attractor = at * scale * frame[:, 0]
        assert 0 < safe_radius(rotated(apply, dim, 0), attractor.tolist(), largest=0.1) < at * scale


@pytest.mark.parametrize("seed", range(3))
def test_safe_radius_heeds_a_remainder_that_no_axis_shows(seed: int):
    # x and y each alone leave the map linear; the only other fixed point stands at x = y = 0.05.
    def apply(states: torch.Tensor) -> torch.Tensor:
        x, y, *others = states.split(1, dim=1)
        return torch.cat([0.9 * x + 2 * x * y, 0.9 * y + 2 * x * y, *(0.3 * other for other in others)], dim=1)

    assert 0 < safe_radius(rotated(apply, 6, seed), [0.0] * 6, largest=0.1) < 0.5 * 0.05 * 2**0.5


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_every_orbit_from_safe_balls_of_random_maps_ends_at_the_centre(dim: int):
    generator = torch.Generator().manual_seed(dim)
    for _ in range(10):
        frame = torch.linalg.qr(torch.randn(dim, dim, generator=generator).double()).Q
        multipliers = 0.995 - 0.6 * torch.rand(dim, generator=generator).double().square()
        jacobian = frame @ torch.diag(multipliers) @ frame.T
        bend = 2 * torch.randn(dim, dim, dim, generator=generator).double() / dim

        def apply(states: torch.Tensor, jacobian: torch.Tensor = jacobian, bend: torch.Tensor = bend) -> torch.Tensor:
            return states @ jacobian.T.to(states) + torch.einsum("ijk,bj,bk->bi", bend.to(states), states, states)

        radius = safe_radius(Formula(dim, apply), [0.0] * dim, largest=0.1)
        assert radius > 0
        starts = torch.randn(300, dim, generator=generator).double()
        # The directions of other fixed points as well, found by the power method for tensors.
        inverse = torch.linalg.inv(torch.eye(dim).double() - jacobian)
        directions = starts
        for _ in range(50):
            moved = torch.einsum("ijk,bj,bk->bi", bend, directions, directions) @ inverse.T
            directions = moved / moved.norm(dim=1, keepdim=True)
        states = radius * torch.cat([starts / starts.norm(dim=1, keepdim=True), directions, -directions])
        for _ in range(4000):
            states = apply(states)
        assert float(states.norm(dim=1).max()) < 1e-3 * radius


@pytest.mark.parametrize("apply", [lambda x: x / 2, lambda x: 0 * x], ids=["half", "nothing"])
def test_maps_without_any_remainder_are_safe_everywhere(apply: Callable[[torch.Tensor], torch.Tensor]):
    assert safe_radius(Formula(3, apply), [0.0, 0.0, 0.0], largest=0.5) == 0.5


def test_safe_radius_stays_in_the_domain_of_a_map():
    # The square root of a negative number is none: the ball around 0.0625 ends before 0, where the map does.
    system = Formula(2, lambda x: torch.sqrt(x) / 4)
    radius = safe_radius(system, [0.0625, 0.0625], largest=0.1)
    assert 0.003 < radius < 0.0625


class HiddenWells(Map):
    """Multipliers of -0.95 to 0.95, but in one coordinate two wells at 1 and -1 and between them a saddle, 1.002."""

    def __init__(self, dim: int, coordinate: int) -> None:
        super().__init__(dim)
        generator = torch.Generator().manual_seed(coordinate)
        self.register_buffer("others", 1.9 * torch.rand(dim, generator=generator) - 0.95)
        self.coordinate = coordinate

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        well = states[:, self.coordinate]
        following = states * self.get_buffer("others")
        following[:, self.coordinate] = well + 0.002 * well * (1 - well * well)
        return following

    def jvp(self, states: torch.Tensor, tangents: torch.Tensor) -> torch.Tensor:
        images = tangents * self.get_buffer("others")
        at = (..., self.coordinate)
        images[at] = tangents[at] * (1.002 - 0.006 * states[at].square())
        return images


@pytest.mark.parametrize("dim", [200, 784, 3072])
def test_no_saddle_of_long_states_is_safe_however_little_of_it_the_start_of_an_estimate_has(dim: int):
    start = torch.randn(dim, generator=torch.Generator().manual_seed(0))
    least = start.abs().argsort()[:8].tolist()
    for coordinate in least:
        system = HiddenWells(dim, coordinate)
        states = torch.zeros(3, dim, dtype=torch.float64)
        states[1, coordinate], states[2, coordinate] = 1.0, -1.0
        nothing, largest = torch.zeros(3, dtype=torch.float64), torch.full((3,), 0.1, dtype=torch.float64)
        found = examine_fixed_points(system, HiddenWells(dim, coordinate).double(), states, nothing, largest)
        assert [point.is_stable for point in found] == [False, True, True]


@pytest.mark.parametrize("power", [3, 5])
def test_a_state_that_hardly_moves_far_from_where_it_rests_is_no_attractor(power: int):
    system = Formula(1, lambda x: x - x**power)  # 0 alone is fixed, with a multiplier of 1
    states = torch.logspace(-4.5, -1, 60, dtype=torch.float64)[:, None]
    orbits = iterate(system, torch.cat([states, -states]), max_steps=1000, max_exact_steps=2000)
    assert orbits.fixed_points == []


def test_where_a_map_has_no_derivative_nothing_is_safe_and_all_else_is_decided():
    """`sqrt(|x|)` has the attractor 1; its derivative at 0, a fixed point, is infinite."""
    states = torch.tensor([[0.0], [0.5], [2.0]], dtype=torch.float64)
    orbits = iterate(Formula(1, lambda x: x.abs().sqrt()), states, max_exact_steps=500)
    assert list(orbits.status) == [Status.UNRESOLVED, Status.CONVERGED, Status.CONVERGED]
    assert orbits.fixed_points[0].state.item() == pytest.approx(1)
    # The same for a cycle: 0 and 1 follow each other, and the derivative at 0 is infinite.
    states = torch.tensor([[0.0], [0.3]], dtype=torch.float64)
    orbits = iterate(Formula(1, lambda x: 1 - x.abs().sqrt()), states, max_exact_steps=500)
    assert orbits.status[1] is Status.CONVERGED
    with pytest.raises(
        ValueError, match=r"^start leads to a fixed point at which the Jacobian of the map is not finite"
    ):
        find_fixed_point(Formula(1, lambda x: x.abs().sqrt()), torch.zeros(1))


@pytest.mark.parametrize("seed", range(4))
def test_a_saddle_that_a_disc_of_multipliers_hides_is_found(seed: int):
    """Products take long to tell 1.002 from a disc of radius 0.93, all the more where the start has little of it."""
    dim, generator = 600, torch.Generator().manual_seed(seed)
    start = torch.randn(dim, generator=torch.Generator().manual_seed(0))
    start = start / start.norm()
    unstable = torch.randn(dim, generator=generator)
    unstable -= 0.97 * (unstable @ start) * start
    unstable /= unstable.norm()
    across = torch.eye(dim) - torch.outer(unstable, unstable)
    disc = across @ (0.93 * torch.randn(dim, dim, generator=generator) / dim**0.5) @ across
    nothing, largest = torch.zeros(1, dtype=torch.float64), torch.full((1,), 0.1, dtype=torch.float64)
    for multiplier, is_stable in ((1.002, False), (0.9, True)):
        system = Linear(disc + multiplier * torch.outer(unstable, unstable))
        state = torch.zeros(1, dim, dtype=torch.float64)
        (point,) = examine_fixed_points(system, float64_copy(system), state, nothing, largest)
        assert point.is_stable is is_stable

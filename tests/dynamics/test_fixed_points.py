from __future__ import annotations

import pytest
import torch

from dynlab.dynamics.fixed_points import examine_fixed_point
from dynlab.dynamics.newton import NewtonSolution
from dynlab.maps import Map

from systems import Formula, Linear, double_well, fold


def safe_radius(system: Map, state: list[float], largest: float = 1.0) -> float:
    solution = NewtonSolution(torch.tensor(state, dtype=torch.float64), 0.0)
    return examine_fixed_point(system, solution, largest_radius=largest).safe_radius


@pytest.mark.parametrize(("rate", "curvature"), [(0.5, 0.3), (0.9, -2.0), (0.996, 0.5), (-0.95, 0.7)])
def test_safe_radius_stays_within_a_tenth_of_the_way_to_the_saddle_of_a_fold(rate: float, curvature: float):
    saddle = (1 - abs(rate)) / abs(curvature)
    radius = safe_radius(fold(rate, curvature), [0.0])
    assert 0.1 * saddle / 4 * 0.999 <= radius <= 0.1 * saddle * 1.001


def test_safe_radius_heeds_a_remainder_without_quadratic_term():
    saddle = (0.05 / 0.3) ** 0.5
    radius = safe_radius(Formula(1, lambda x: 0.95 * x + 0.3 * x**3), [0.0])
    assert 0.01 * saddle < radius < 0.5 * saddle


def test_linear_maps_are_safe_everywhere():
    assert safe_radius(Linear(torch.diag(torch.tensor([0.9, -0.5]).double())), [0.0, 0.0], largest=7.0) == 7.0


def test_unstable_fixed_points_are_safe_nowhere():
    point = examine_fixed_point(double_well(), NewtonSolution(torch.zeros(2).double(), 0.0), largest_radius=1.0)
    assert not point.is_stable
    torch.testing.assert_close(point.multipliers, torch.tensor([1.1, 0.9], dtype=torch.complex128))


def test_every_orbit_from_a_safe_ball_ends_at_its_centre():
    system, centre = double_well(), torch.tensor([1.0, 0.0]).double()
    radius = safe_radius(system, [1.0, 0.0])
    angles = torch.linspace(0, 2 * torch.pi, 73).double()
    states = centre + radius * torch.stack([angles.cos(), angles.sin()], dim=1)
    for _ in range(1000):
        states = system(states)
    assert torch.allclose(states, centre.expand_as(states), atol=1e-12)

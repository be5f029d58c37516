from __future__ import annotations

import math

import pytest
import torch

from dynlab.dynamics import newton
from dynlab.dynamics.newton import newton_together
from dynlab.maps import DenoisingAutoencoder, float64_copy
from dynlab.maps.classical import Linear

from systems import Formula


def test_solves_cosine_to_the_rounding_floor():
    solution = newton(Formula(1, torch.cos), torch.tensor([0.5], dtype=torch.float64))
    assert solution.is_fixed_point
    assert math.isclose(float(solution.state), 0.7390851332151607, rel_tol=1e-15)


def test_solves_a_linear_system_in_one_step():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(30, 30, generator=generator, dtype=torch.float64) / 10
    shift = torch.randn(30, generator=generator, dtype=torch.float64)
    solution = newton(Linear(matrix, shift), torch.zeros(30, dtype=torch.float64))
    expected = torch.linalg.solve(torch.eye(30, dtype=torch.float64) - matrix, shift)
    torch.testing.assert_close(solution.state, expected, rtol=1e-12, atol=1e-13)


def test_finds_unstable_fixed_points_too():
    solution = newton(Formula(1, lambda x: 3.2 * x * (1 - x)), torch.tensor([0.6], dtype=torch.float64))
    assert math.isclose(float(solution.state), 1 - 1 / 3.2, rel_tol=1e-14)


def test_says_so_where_there_is_no_fixed_point():
    solution = newton(Formula(1, lambda x: x + 1 + x * x), torch.tensor([0.3], dtype=torch.float64))
    assert not solution.is_fixed_point


@pytest.mark.parametrize("hidden", [5, 40])
def test_factored_and_dense_jacobians_lead_to_one_solution(hidden: int, device: torch.device):
    autoencoder = _random_autoencoder(20, hidden).to(device)
    dense = Formula(20, autoencoder.double().forward)
    start = torch.full((20,), 0.5, dtype=torch.float64, device=device)
    factored = newton(float64_copy(autoencoder), start)
    assert factored.is_fixed_point
    torch.testing.assert_close(factored.state, newton(dense, start).state, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_starts_together_lead_where_each_leads_alone(dtype: torch.dtype, device: torch.device):
    system = _random_autoencoder(20, 40).to(device, dtype)
    exact = float64_copy(system)
    target = newton(exact, torch.full((20,), 0.5, dtype=torch.float64, device=device)).state
    noise = torch.randn(30, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    states, residuals = newton_together(system, exact, target + 1e-2 * noise)
    assert float(residuals.max()) <= 1e-12
    torch.testing.assert_close(states, target.expand_as(states), rtol=0.0, atol=1e-10)


def test_rows_that_lead_nowhere_spoil_no_others():
    # x -> x + 1 + x^2 has no fixed point; cos has one
    def apply(states: torch.Tensor) -> torch.Tensor:
        x, kind = states.unbind(1)
        return torch.stack([torch.where(kind > 0.5, x.cos(), x + 1 + x * x), kind], dim=1)

    system = Formula(2, lambda states: apply(states) * torch.tensor([1.0, 0.5]) + torch.tensor([0.0, 0.5]))
    starts = torch.tensor([[0.3, 1.0], [0.7, 1.0], [float("nan"), 1.0]], dtype=torch.float64)
    states, residuals = newton_together(system, system, starts)
    assert (residuals <= 1e-12).tolist() == [True, True, False]
    torch.testing.assert_close(states[:2, 0], torch.full((2,), 0.7390851332151607, dtype=torch.float64))


def test_a_large_map_without_factors_is_solved_from_products_with_vectors():
    dim = 600
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(dim, dim, generator=generator, dtype=torch.float64) / (2 * dim**0.5)
    system = Formula(dim, lambda x: torch.tanh(x @ matrix.T + 0.1))
    solution = newton(system, torch.zeros(dim, dtype=torch.float64))
    assert solution.is_fixed_point
    state = torch.zeros(1, dim, dtype=torch.float64)
    for _ in range(500):
        state = system(state)
    torch.testing.assert_close(solution.state, state[0], rtol=0.0, atol=1e-10)


def _random_autoencoder(dim: int, hidden: int) -> DenoisingAutoencoder:
    autoencoder = DenoisingAutoencoder(dim, hidden)
    generator = torch.Generator().manual_seed(1)
    for parameter in autoencoder.parameters():
        parameter.data.normal_(generator=generator)
    return autoencoder

from __future__ import annotations

import math

import pytest
import torch

from dynlab.dynamics import newton
from dynlab.maps import DenoisingAutoencoder, float64_copy

from systems import Formula, Linear


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


def _random_autoencoder(dim: int, hidden: int) -> DenoisingAutoencoder:
    autoencoder = DenoisingAutoencoder(dim, hidden)
    generator = torch.Generator().manual_seed(1)
    for parameter in autoencoder.parameters():
        parameter.data.normal_(generator=generator)
    return autoencoder

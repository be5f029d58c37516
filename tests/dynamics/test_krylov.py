from __future__ import annotations

import numpy as np
import pytest
import torch

from dynlab.dynamics.krylov import leading_ritz, solve_fixed_point_step


def matrices(count: int, dim: int, scale: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(count, dim, dim, generator=generator, dtype=torch.float64) / dim**0.5


def product(matrix: torch.Tensor):
    return lambda vectors: (matrix @ vectors[:, :, None])[:, :, 0]


@pytest.mark.parametrize("dimension", [30, 50])
def test_a_space_as_large_as_the_system_solves_it(dimension: int, device: torch.device):
    matrix = matrices(5, 30, 0.7).to(device)
    right = torch.randn(5, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(device)
    step = solve_fixed_point_step(product(matrix), right, dimension)
    expected = torch.linalg.solve(torch.eye(30, dtype=torch.float64, device=device) - matrix, right)
    torch.testing.assert_close(step, expected, rtol=0.0, atol=1e-9)


def test_the_residual_is_the_smallest_that_the_space_allows():
    matrix, right = matrices(3, 40, 0.9), torch.ones(3, 40, dtype=torch.float64)
    step = solve_fixed_point_step(product(matrix), right, 6)
    for row in range(3):
        krylov = torch.stack([torch.linalg.matrix_power(matrix[row], p) @ right[row] for p in range(6)], dim=1)
        images = (torch.eye(40, dtype=torch.float64) - matrix[row]) @ krylov
        best = images @ torch.linalg.lstsq(images, right[row][:, None]).solution
        found = right[row] - step[row] + matrix[row] @ step[row]
        assert float(found.norm()) == pytest.approx(float((right[row] - best[:, 0]).norm()), rel=1e-6)


def test_right_sides_in_small_spaces_and_zero_ones_are_solved_too():
    matrix = torch.diag(torch.tensor([0.5, 0.5, 0.2, 0.0], dtype=torch.float64)).expand(3, 4, 4)
    right = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]).double()
    step = solve_fixed_point_step(product(matrix), right, 4)
    expected = torch.tensor([[2.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.25, 1.0]]).double()
    torch.testing.assert_close(step, expected, rtol=0.0, atol=1e-12)


def test_leading_eigenvalues_are_estimated_well():
    frame = torch.linalg.qr(matrices(1, 300, 1.0)[0]).Q
    values = torch.linspace(-0.7, 0.7, 300, dtype=torch.float64)
    values[7], values[8] = 0.93, -0.85
    matrix = (frame @ torch.diag(values) @ frame.T)[None]
    ritz = leading_ritz(product(matrix.float()), torch.ones(1, 300), 24, 2)
    np.testing.assert_allclose(ritz.values[0].numpy(), [0.93, -0.85], atol=1e-4)
    pairs = zip(ritz.values[0], ritz.directions[0].T, ritz.residuals[0], strict=True)
    for value, direction, residual in pairs:
        image = matrix[0].to(torch.complex128) @ direction.to(torch.complex128)
        assert float((image - value * direction).norm()) == pytest.approx(float(residual), abs=1e-5)
    cosine = (ritz.directions[0, :, 0].conj() @ frame[:, 7].to(torch.complex64)).abs()
    assert float(cosine) > 0.999


def test_a_matrix_of_zeros_has_eigenvalues_of_zero():
    ritz = leading_ritz(lambda vectors: 0 * vectors, torch.ones(2, 300), 24, 2)
    assert float(ritz.values.abs().max()) == 0.0


@pytest.mark.parametrize("kind", ["real", "disc", "not normal"])
def test_what_a_start_has_of_eigenvalues_outside_the_circle_is_bounded(kind: str):
    """The bound is one for each left eigenvector, and small where there is no such eigenvalue."""
    generator, dim = torch.Generator().manual_seed(1), 300
    normal = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    inside = {
        "real": torch.diag(torch.linspace(-0.8, 0.8, dim, dtype=torch.float64)),
        "disc": 0.8 * normal / dim**0.5,
        "not normal": torch.diag(torch.linspace(-0.7, 0.7, dim, dtype=torch.float64)) + normal.triu(1) / dim**0.5 / 2,
    }[kind]
    start = torch.randn(1, dim, generator=generator, dtype=torch.float64)
    unit = start[0] / start.norm()
    for multiplier in (1.0, 1.05, -1.2):
        outside = inside.clone()
        outside[0], outside[:, 0] = 0.0, torch.randn(dim, generator=generator, dtype=torch.float64) / dim**0.5
        outside[0, 0] = multiplier  # its left eigenvector is the first axis
        for products in (8, 16, 24):
            found = leading_ritz(product(outside[None]), start, products, 1)
            assert float(found.overlooked) >= abs(float(unit[0])) * (1 - 1e-9)
    bounds = [float(leading_ritz(product(inside[None]), start, products, 1).overlooked) for products in (24, 60, 120)]
    assert bounds[2] < bounds[1] < bounds[0]
    assert bounds[2] * dim**0.5 < 1e-3

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dynlab.datasets import Dataset
from dynlab.dynamics.amplification import departure_from_normality, jacobian_norm, transient_amplification
from dynlab.maps import DenoisingAutoencoder, float64_copy

from systems import Formula, Linear


def jordan(value: float, coupling: float) -> Tensor:
    return torch.tensor([[value, coupling], [0.0, value]], dtype=torch.float64)


def jordan_norm(value: float, coupling: float) -> float:
    """Largest singular value of `[[a, b], [0, a]]`, in closed form."""
    return (abs(coupling) + math.hypot(coupling, 2 * value)) / 2


def turned(matrix: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(len(matrix))
    frame = torch.linalg.qr(torch.randn(matrix.shape, dtype=torch.float64, generator=generator)).Q
    return frame.T @ matrix @ frame


def jacobians_of(system: DenoisingAutoencoder, states: Tensor) -> np.ndarray:
    exact = float64_copy(system)
    return np.stack([
        torch.autograd.functional.jacobian(lambda x: exact(x[None])[0], state).numpy() for state in states.double()
    ])  # fmt: skip


@pytest.mark.parametrize(("value", "coupling"), [(0.5, 0.2), (0.9, 1.0), (0.99, 10.0), (-0.9, 0.3)])
def test_jordan_blocks_grow_as_in_closed_form(value: float, coupling: float, device: torch.device):
    # J^p = [[v^p, p c v^(p-1)], [0, v^p]]
    norms = [1.0] + [jordan_norm(value**p, p * coupling * value ** (p - 1)) for p in range(1, 3000)]
    system = Linear(torch.block_diag(torch.zeros(1, 1, dtype=torch.float64), jordan(value, coupling)).to(device))
    found = transient_amplification(system, torch.zeros(2, 3, device=device), max_steps=3000)
    assert found.steps.tolist() == [int(np.argmax(norms))] * 2
    torch.testing.assert_close(found.factors, torch.tensor([max(norms)] * 2, dtype=torch.float64), rtol=1e-12, atol=0.0)
    assert found.is_settled.all()
    expected = torch.tensor([jordan_norm(value, coupling)], dtype=torch.float64)
    torch.testing.assert_close(jacobian_norm(system, torch.zeros(1, 3, device=device)), expected, rtol=1e-14, atol=0.0)


def test_normal_jacobians_never_amplify():
    system = Linear(turned(torch.tensor([0.99, -0.5, 0.2], dtype=torch.float64).diag()))
    found = transient_amplification(system, torch.zeros(1, 3))
    assert (found.factors.tolist(), found.steps.tolist(), found.is_settled.tolist()) == ([1.0], [0], [True])
    rotation = Linear(torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64))
    found = transient_amplification(rotation, torch.zeros(1, 2))
    assert (found.factors.tolist(), found.steps.tolist(), found.is_settled.tolist()) == ([1.0], [0], [True])


def test_unstable_jacobians_amplify_without_limit():
    found = transient_amplification(Linear(torch.tensor([[1.01]], dtype=torch.float64)), torch.zeros(1, 1))
    assert (found.factors.tolist(), found.steps.tolist(), found.is_settled.tolist()) == ([math.inf], [-1], [True])


def test_says_where_the_limit_was_in_the_way():
    system = Linear(jordan(0.99, 10.0))
    found = transient_amplification(system, torch.zeros(1, 2), max_steps=20)
    assert found.is_settled.tolist() == [False]
    assert found.steps.tolist() == [20]
    torch.testing.assert_close(
        found.factors, torch.tensor([jordan_norm(0.99**20, 200 * 0.99**19)], dtype=torch.float64), rtol=1e-12, atol=0.0
    )


def test_departure_from_normality_in_closed_form(device: torch.device):
    def departure(matrix: Tensor) -> float:
        system = Linear(matrix.to(device))
        return float(departure_from_normality(system, torch.zeros(1, len(matrix), device=device))[0])

    assert math.isclose(departure(jordan(0.5, 0.3)), 0.3, rel_tol=1e-14)
    assert departure(turned(torch.block_diag(torch.tensor([[0.6, -0.8], [0.8, 0.6]]).double(), torch.eye(2)))) < 4e-15
    # [[a, b], [c, a]] with b c < 0: sum |lambda|^2 = 2 (a^2 - b c), so the departure is |b + c|
    elliptic = torch.tensor([[0.2, 0.9], [-0.3, 0.2]], dtype=torch.float64)
    assert math.isclose(departure(turned(elliptic)), 0.6, rel_tol=1e-14)
    assert math.isclose(departure(turned(torch.block_diag(elliptic, jordan(0.5, 0.8)))), 1.0, rel_tol=1e-13)


@pytest.mark.parametrize(("dim", "hidden"), [(12, 5), (5, 12)])
def test_factored_jacobians_equal_whole_ones(dim: int, hidden: int, device: torch.device):
    autoencoder = DenoisingAutoencoder(dim, hidden)
    generator = torch.Generator().manual_seed(dim)
    for parameter in autoencoder.parameters():
        parameter.data.normal_(std=1.5, generator=generator)
    states = torch.rand(4, dim, generator=generator)
    jacobians = jacobians_of(autoencoder, states)
    autoencoder, states = autoencoder.to(device), states.to(device)
    np.testing.assert_allclose(jacobian_norm(autoencoder, states), np.linalg.norm(jacobians, 2, (1, 2)), rtol=1e-13)
    squares = np.linalg.norm(jacobians, axis=(1, 2)) ** 2 - np.sum(np.abs(np.linalg.eigvals(jacobians)) ** 2, axis=1)
    np.testing.assert_allclose(departure_from_normality(autoencoder, states), np.sqrt(squares), rtol=1e-10)


def test_trained_jacobians_amplify_though_they_contract(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    states = digits_test.images[:8]
    with torch.no_grad():
        for _ in range(500):
            states = digits_dae(states)
    found = transient_amplification(digits_dae, states)
    assert found.is_settled.all()
    amplified = 0
    for jacobian, factor, step in zip(jacobians_of(digits_dae, states), found.factors, found.steps, strict=True):
        norms = [np.linalg.norm(np.linalg.matrix_power(jacobian, p), 2) for p in range(200)]
        assert math.isclose(float(factor), max(norms), rel_tol=1e-12)
        assert int(step) == int(np.argmax(norms))
        amplified += int(step) > 0
    assert amplified > 0


def test_no_states():
    system = Linear(jordan(0.5, 0.2))
    assert jacobian_norm(system, torch.zeros(0, 2)).shape == (0,)
    assert departure_from_normality(system, torch.zeros(0, 2)).shape == (0,)
    assert transient_amplification(system, torch.zeros(0, 2)).factors.shape == (0,)


def test_tiny_jacobians_do_not_vanish():
    system = Linear(1e-200 * jordan(0.5, 0.3))
    expected = torch.tensor([1e-200 * jordan_norm(0.5, 0.3)], dtype=torch.float64)
    torch.testing.assert_close(jacobian_norm(system, torch.zeros(1, 2)) * 1e200, expected * 1e200)


def test_refuses_what_it_cannot_linearize():
    system = Linear(jordan(0.5, 0.2))
    for function in (jacobian_norm, departure_from_normality, transient_amplification):
        with pytest.raises(ValueError, match=r"states has shape \(1, 3\), expected \(batch, 2\)"):
            function(system, torch.zeros(1, 3))
        with pytest.raises(ValueError, match="the Jacobian of the map is not finite at row 1 of states"):
            function(Formula(2, torch.sqrt), torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="max_steps is 0, expected at least 1"):
        transient_amplification(system, torch.zeros(1, 2), max_steps=0)

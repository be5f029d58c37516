from __future__ import annotations

import numpy as np
import pytest
import torch

from dynlab.dynamics import multipliers, spectral_radius
from dynlab.dynamics.spectra import leading_eigenpairs
from dynlab.maps import DenoisingAutoencoder, float64_copy

from systems import Linear


def random_autoencoder(dim: int, hidden: int, scale: float = 1.0) -> DenoisingAutoencoder:
    autoencoder = DenoisingAutoencoder(dim, hidden)
    generator = torch.Generator().manual_seed(dim + hidden)
    for parameter in autoencoder.parameters():
        parameter.data.normal_(std=scale, generator=generator)
    return autoencoder


def sorted_by_modulus(values: np.ndarray) -> np.ndarray:
    return values[np.lexsort((-np.imag(values), -np.round(np.abs(values), 12)))]


def test_rotation_and_shrinking_have_the_multipliers_they_were_made_of():
    matrix = torch.tensor([[0.0, -0.9, 0.0], [0.9, 0.0, 0.0], [0.0, 0.0, -0.5]], dtype=torch.float64)
    found = multipliers(Linear(matrix), torch.zeros(1, 3))[0]
    torch.testing.assert_close(found, torch.tensor([0.9j, -0.9j, -0.5], dtype=torch.complex128))


@pytest.mark.parametrize(("dim", "hidden"), [(12, 5), (5, 12), (30, 30)])
def test_multipliers_equal_the_eigenvalues_of_the_whole_jacobian(dim: int, hidden: int, device: torch.device):
    autoencoder = random_autoencoder(dim, hidden).to(device)
    states = torch.rand(3, dim, generator=torch.Generator().manual_seed(2)).to(device)
    exact = float64_copy(autoencoder)
    jacobians = torch.func.vmap(torch.func.jacrev(lambda x: exact(x[None])[0]))(states.double())
    found = multipliers(autoencoder, states)
    for row, jacobian in zip(found, jacobians.detach().cpu().numpy(), strict=True):
        expected = sorted_by_modulus(np.linalg.eigvals(jacobian).astype(complex))
        np.testing.assert_allclose(np.abs(row.numpy()), np.abs(expected), atol=1e-8)
        # zero multipliers of a defective matrix are only found to a root of the precision
        np.testing.assert_allclose(row.numpy()[: min(dim, hidden) // 2], expected[: min(dim, hidden) // 2], atol=1e-10)


def test_leading_multipliers_of_a_large_map_equal_all_of_them():
    autoencoder = random_autoencoder(300, 250, scale=0.3)
    states = torch.rand(2, 300, generator=torch.Generator().manual_seed(3))
    leading, everything = multipliers(autoencoder, states, leading=6), multipliers(autoencoder, states)
    torch.testing.assert_close(leading.abs(), everything[:, :6].abs(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(spectral_radius(autoencoder, states), everything[:, 0].abs(), rtol=1e-10, atol=0.0)


@pytest.mark.parametrize(("dim", "hidden"), [(40, 15), (15, 40), (300, 250)])
def test_directions_are_eigenvectors_of_the_jacobian(dim: int, hidden: int):
    exact = float64_copy(random_autoencoder(dim, hidden, scale=0.3))
    state = torch.rand(dim, generator=torch.Generator().manual_seed(4)).double()
    pairs = leading_eigenpairs(exact, state, 5)
    jacobian = exact.jacobian(state[None])[0].to(torch.complex128)
    torch.testing.assert_close(jacobian @ pairs.directions, pairs.directions * pairs.multipliers, rtol=0.0, atol=1e-11)
    torch.testing.assert_close(torch.linalg.vector_norm(pairs.directions, dim=0), torch.ones(5, dtype=torch.float64))


def test_multipliers_beyond_the_rank_are_zero():
    autoencoder = random_autoencoder(12, 3)
    assert torch.equal(multipliers(autoencoder, torch.rand(1, 12))[0, 3:], torch.zeros(9, dtype=torch.complex128))


def test_refuses_what_it_cannot_linearize():
    autoencoder = random_autoencoder(4, 3)
    with pytest.raises(ValueError, match=r"states has shape \(1, 5\), expected \(batch, 4\)"):
        multipliers(autoencoder, torch.zeros(1, 5))
    with pytest.raises(ValueError, match="leading is 5, expected 1 to 4"):
        multipliers(autoencoder, torch.zeros(1, 4), leading=5)

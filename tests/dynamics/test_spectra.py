from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Buffer

from dynlab.datasets import Dataset
from dynlab.dynamics.spectra import eigenpairs, near_unity_counts, spectral_radius, spectrum
from dynlab.maps import DenoisingAutoencoder, Map, float64_copy

from systems import Formula, Linear


def random_autoencoder(dim: int, hidden: int, scale: float = 1.0) -> DenoisingAutoencoder:
    autoencoder = DenoisingAutoencoder(dim, hidden)
    generator = torch.Generator().manual_seed(dim + hidden)
    for parameter in autoencoder.parameters():
        parameter.data.normal_(std=scale, generator=generator)
    return autoencoder


def rotation(modulus: float, angle: float) -> Tensor:
    """Eigenvalues `modulus e^(+-i angle)`."""
    cosine, sine = modulus * math.cos(angle), modulus * math.sin(angle)
    return torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)


def blocks(*parts: Tensor | float) -> Tensor:
    return torch.block_diag(
        *(
            torch.as_tensor(part, dtype=torch.float64).reshape(-1, 1) if isinstance(part, float) else part
            for part in parts
        )
    )


def turned(matrix: Tensor, condition: float = 1.0) -> Tensor:
    """The same eigenvalues with other eigenvectors, orthogonal ones if the condition is 1."""
    generator = torch.Generator().manual_seed(len(matrix))
    frame = torch.linalg.qr(torch.randn(len(matrix), len(matrix), dtype=torch.float64, generator=generator)).Q
    frame = frame * torch.linspace(1, condition, len(matrix), dtype=torch.float64)
    return torch.linalg.solve(frame, matrix @ frame) if condition == 1 else frame @ matrix @ torch.linalg.inv(frame)


def jacobian_of(system: Map, state: Tensor) -> np.ndarray:
    """By autograd alone, one output at a time."""
    exact = float64_copy(system)
    jacobian = torch.autograd.functional.jacobian(lambda x: exact(x[None])[0], state.double())
    assert isinstance(jacobian, Tensor)
    return jacobian.cpu().numpy()


def assert_leading(found: Tensor, jacobian: np.ndarray, *, atol: float) -> None:
    """Every eigenvalue found is one of the Jacobian's, none is used twice, and none larger is left."""
    left = list(np.linalg.eigvals(jacobian))
    smallest = min(abs(value) for value in found.tolist())
    for value in found.tolist():
        nearest = min(range(len(left)), key=lambda index: abs(left[index] - value))
        assert abs(left.pop(nearest) - value) <= atol
    assert max((abs(value) for value in left), default=0.0) <= smallest + atol


def test_rotation_and_shrinking_have_the_eigenvalues_they_were_made_of(device: torch.device):
    matrix = turned(blocks(-0.5, rotation(0.9, 0.5))).to(device)
    found = spectrum(Linear(matrix), torch.zeros(1, 3, device=device))
    pair = 0.9 * complex(math.cos(0.5), math.sin(0.5))
    torch.testing.assert_close(
        found.eigenvalues[0], torch.tensor([pair, pair.conjugate(), -0.5], dtype=torch.complex128)
    )
    assert float(found.residuals.max()) < 1e-15
    torch.testing.assert_close(found.spectral_radius, torch.tensor([0.9], dtype=torch.float64))


def test_equal_moduli_come_by_falling_imaginary_part_with_pairs_together():
    parts = [-0.9, rotation(0.9, 2.0), 0.9, rotation(0.9, 1.5), rotation(0.9, 1.0), 0.95]
    found = spectrum(Linear(turned(blocks(*parts))), torch.zeros(1, 9)).eigenvalues[0]
    angles = torch.tensor([0.0, 1.5, -1.5, 2.0, -2.0, 1.0, -1.0, 0.0, math.pi], dtype=torch.float64)
    moduli = torch.tensor([0.95] + 8 * [0.9], dtype=torch.float64)
    torch.testing.assert_close(found, torch.polar(moduli, angles), atol=1e-14, rtol=0.0)


@pytest.mark.parametrize("dim", [5, 300])
def test_no_conjugate_pair_is_cut_in_two(dim: int):
    pair, single = turned(blocks(0.9, rotation(0.8, 1.0), 0.5, 0.4)), turned(blocks(0.9, 0.8, 0.7, 0.6, 0.5))
    matrices = [torch.block_diag(part, turned(0.2 * torch.rand(dim - 5).double().diag())) for part in (pair, single)]
    stacked = torch.stack(matrices)
    system = Formula(dim, lambda x: torch.einsum("bij,bj->bi", stacked[(x[:, 0].detach() > 0.5).long()], x))
    states = torch.zeros(2, dim)
    states[1, 0] = 1
    found = spectrum(system, states, 2)
    assert found.eigenvalues.shape == found.residuals.shape == (2, 3)
    expected = 0.8 * complex(math.cos(1), math.sin(1))
    torch.testing.assert_close(
        found.eigenvalues,
        torch.tensor([[0.9, expected, expected.conjugate()], [0.9, 0.8, complex("nan+nanj")]], dtype=torch.complex128),
        equal_nan=True,
    )
    assert found.residuals[0, 1] == found.residuals[0, 2]
    assert torch.isnan(found.residuals).tolist() == [[False] * 3, [False, False, True]]
    assert spectrum(system, states, 1).eigenvalues.shape == (2, 1)
    assert spectrum(system, states[1:], 2).eigenvalues.shape == (1, 2)
    whole = spectrum(system, states[:1], 3).eigenvalues
    torch.testing.assert_close(whole, found.eigenvalues[:1])


@pytest.mark.parametrize(("dim", "hidden"), [(1, 1), (2, 1), (2, 3), (12, 5), (5, 12), (30, 30)])
def test_all_eigenvalues_equal_those_of_the_whole_jacobian(dim: int, hidden: int, device: torch.device):
    autoencoder = random_autoencoder(dim, hidden).to(device)
    states = torch.rand(3, dim, generator=torch.Generator().manual_seed(2)).to(device)
    found = spectrum(autoencoder, states)
    assert found.eigenvalues.shape == (3, dim)
    for values, residuals, state in zip(found.eigenvalues, found.residuals, states, strict=True):
        jacobian = jacobian_of(autoencoder, state)
        assert np.all(residuals.numpy() <= 1e-13 * np.linalg.norm(jacobian, 2))
        assert np.sum(np.abs(values.numpy()) > 0) <= hidden
        # Multiple zeros of a defective matrix are only found to a root of the precision by the other method.
        assert_leading(values, jacobian, atol=1e-7)
        assert_leading(values[: max(1, min(dim, hidden) // 2)], jacobian, atol=1e-12)


@pytest.mark.parametrize("k", [1, 4, 7])
def test_few_of_many_equal_the_largest_of_all(k: int, device: torch.device):
    autoencoder = random_autoencoder(300, 250, scale=0.3).to(device)
    states = torch.rand(3, 300, generator=torch.Generator().manual_seed(3)).to(device)
    found = spectrum(autoencoder, states, k)
    for values, residuals, state in zip(found.eigenvalues, found.residuals, states, strict=True):
        jacobian = jacobian_of(autoencoder, state)
        known = values[~torch.isnan(values.real)]
        assert len(known) == k + int(known[k - 1].imag > 0)
        assert_leading(known, jacobian, atol=1e-10)
        assert float(residuals.nan_to_num().max()) <= 1e-10 * np.linalg.norm(jacobian, 2)
    torch.testing.assert_close(spectral_radius(autoencoder, states), found.spectral_radius, rtol=1e-10, atol=0.0)


def test_a_map_without_factors_has_the_same_spectrum(device: torch.device):
    autoencoder = float64_copy(random_autoencoder(300, 250, scale=0.3)).to(device)
    states = torch.rand(2, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).to(device)
    plain = Formula(300, autoencoder.forward)
    torch.testing.assert_close(
        spectrum(plain, states, 6).eigenvalues, spectrum(autoencoder, states, 6).eigenvalues, atol=1e-11, rtol=0.0,
        equal_nan=True,
    )  # fmt: skip


@pytest.mark.parametrize("k", [6, None])
def test_trained_digits(digits_dae: DenoisingAutoencoder, digits_test: Dataset, k: int | None):
    states = digits_test.images[:6]
    found = spectrum(digits_dae, states, k)
    for values, residuals, state in zip(found.eigenvalues, found.residuals, states, strict=True):
        jacobian = jacobian_of(digits_dae, state)
        known = values[~torch.isnan(values.real)]
        assert_leading(known[:10], jacobian, atol=1e-10)
        assert float(residuals.nan_to_num().max()) <= 1e-12 * np.linalg.norm(jacobian, 2)


def test_trained_mnist(mnist_dae: DenoisingAutoencoder, mnist_test: Dataset):
    states = mnist_test.images[:4]
    found = spectrum(mnist_dae, states, 6)
    for values, residuals, state in zip(found.eigenvalues, found.residuals, states, strict=True):
        jacobian = jacobian_of(mnist_dae, state)
        assert_leading(values[~torch.isnan(values.real)], jacobian, atol=1e-10)
        assert float(residuals.nan_to_num().max()) <= 1e-10 * np.linalg.norm(jacobian, 2)


@pytest.mark.parametrize(("dim", "hidden"), [(40, 15), (15, 40), (300, 250)])
def test_directions_are_eigenvectors_and_residuals_are_theirs(dim: int, hidden: int, device: torch.device):
    exact = float64_copy(random_autoencoder(dim, hidden, scale=0.3)).to(device)
    states = torch.rand(2, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).to(device)
    pairs = eigenpairs(exact, states, 5)
    assert pairs.directions.shape == (2, dim, 5)
    for index, state in enumerate(states):
        values, vectors = pairs.multipliers[index].numpy(), pairs.directions[index].numpy()
        defects = np.linalg.norm(jacobian_of(exact, state) @ vectors - vectors * values, axis=0)
        assert np.all(defects <= 1e-11)
        np.testing.assert_allclose(pairs.residuals[index].numpy(), defects, atol=1e-14)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), 1, rtol=1e-14)


def test_eigenvectors_of_eigenvalues_near_zero_are_as_good_as_any():
    # Slopes of 1e-3 to 1e-9 take the small multipliers down to where only the orthogonal restriction is exact.
    autoencoder = random_autoencoder(40, 30)
    autoencoder.encoder["weight"].data *= torch.logspace(0, -9, 30)[:, None]
    state = torch.rand(1, 40, generator=torch.Generator().manual_seed(4))
    found = spectrum(autoencoder, state)
    assert float(found.eigenvalues.abs().min()) == 0
    assert 1e-12 < float(found.eigenvalues[0, 29].abs()) < 1e-7
    assert float(found.residuals.max()) <= 1e-14 * np.linalg.norm(jacobian_of(autoencoder, state[0]), 2)


@pytest.mark.parametrize("dim", [4, 300])
def test_multiple_eigenvalues_come_as_often_as_they_occur(dim: int):
    rest = 0.1 * torch.rand(dim - 4, generator=torch.Generator().manual_seed(0)).double()
    matrix = turned(torch.cat([torch.tensor([0.9, 0.9, 0.9, 0.5], dtype=torch.float64), rest]).diag(), condition=2.0)
    found = spectrum(Linear(matrix), torch.zeros(1, dim), 4)
    expected = torch.tensor([[0.9, 0.9, 0.9, 0.5]], dtype=torch.complex128)
    # Copies may part by rounding, also into a pair, which a fifth column then completes.
    torch.testing.assert_close(found.eigenvalues[:, :4], expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 300])
@pytest.mark.parametrize("value", [0.0, 0.5, -1.0])
def test_multiples_of_the_identity(dim: int, value: float, device: torch.device):
    k = min(dim, 6)
    found = spectrum(Linear(value * torch.eye(dim, device=device)), torch.zeros(2, dim, device=device), k)
    # Copies may part by rounding, also into a pair, which one more column then completes.
    torch.testing.assert_close(found.eigenvalues[:, :k], torch.full((2, k), complex(value), dtype=torch.complex128))
    assert float(found.residuals[:, :k].max()) <= 1e-14


def test_jacobians_of_low_rank_end_in_zeros(device: torch.device):
    autoencoder = random_autoencoder(12, 3).to(device)
    states = torch.rand(1, 12, generator=torch.Generator().manual_seed(0)).to(device)
    found = spectrum(autoencoder, states)
    assert torch.equal(found.eigenvalues[0, 3:], torch.zeros(9, dtype=torch.complex128))
    assert float(found.residuals.max()) <= 1e-14
    generator = torch.Generator().manual_seed(1)
    thin = torch.randn(2, 400, 2, dtype=torch.float64, generator=generator).to(device)
    matrix = 0.05 * thin[0] @ thin[1].mT
    values = spectrum(Linear(matrix), torch.zeros(1, 400, device=device), 4).eigenvalues
    expected = np.linalg.eigvals((0.05 * thin[1].mT @ thin[0]).cpu().numpy())
    assert_leading(values[0, :2], np.diag(expected), atol=1e-12)
    assert float(values[0, 2:].abs().max()) < 1e-12


def test_a_dead_hidden_layer_has_only_zeros():
    autoencoder = DenoisingAutoencoder(5, 3, hidden_nonlinearity="relu")
    autoencoder.encoder["weight"].data.normal_()
    autoencoder.encoder["bias"].data.fill_(-100.0)
    found = spectrum(autoencoder, torch.zeros(1, 5))
    assert not found.eigenvalues.any()
    assert not found.residuals.any()


def test_eigenvalues_all_of_one_modulus_leave_it_to_the_whole_matrix():
    shift = torch.eye(200, dtype=torch.float64).roll(1, dims=0)
    found = spectrum(Linear(shift), torch.zeros(1, 200), 3).eigenvalues[0]
    # Roots of unity by falling imaginary part: i, -i, then the neighbours of i on the right and on the left.
    angles = torch.tensor([50, -50, 49, -49], dtype=torch.float64) * 2 * math.pi / 200
    torch.testing.assert_close(found, torch.polar(torch.ones(4, dtype=torch.float64), angles), atol=1e-12, rtol=0.0)


@pytest.mark.parametrize("dim", [3, 300])
def test_defective_jacobians_have_true_residuals(dim: int):
    matrix = torch.block_diag(
        torch.tensor([[0.9, 1.0], [0.0, 0.9]]).double(), 0.1 * torch.rand(dim - 2).double().diag()
    )
    found = spectrum(Linear(turned(matrix)), torch.zeros(1, dim), 3)
    # Rounding moves a double eigenvalue with one eigenvector by the root of the precision.
    torch.testing.assert_close(found.eigenvalues[0, :2].abs(), torch.full((2,), 0.9).double(), atol=1e-6, rtol=0.0)
    assert float(found.residuals.max()) <= 1e-10


def test_states_do_not_influence_each_other():
    autoencoder = random_autoencoder(300, 250, scale=0.3)
    states = torch.rand(5, 300, generator=torch.Generator().manual_seed(3))
    together = spectrum(autoencoder, states, 3).eigenvalues[4]
    alone = spectrum(autoencoder, states[4:], 3).eigenvalues[0]
    torch.testing.assert_close(together[: len(alone)], alone, rtol=0.0, atol=1e-12)


class Gains(Map):
    """`F(x) = gain A x` with a gain of its own for each sample."""

    def __init__(self, matrix: Tensor, gains: Tensor) -> None:
        super().__init__(len(matrix))
        self.matrix, self.gains = Buffer(matrix), Buffer(gains)

    def forward(self, states: Tensor) -> Tensor:
        return self.gains[:, None] * (states @ self.matrix.T)

    def for_samples(self, rows: Tensor) -> Map:
        return Gains(self.matrix, self.gains[rows])


@pytest.mark.parametrize("dim", [3, 300])
def test_samples_keep_the_inputs_held_for_them(dim: int, device: torch.device):
    # The three equal eigenvalues send the last two samples, whose gain is not zero, on to the whole matrix.
    values = torch.cat([torch.full((3,), 0.9), torch.linspace(0.0, 0.5, dim - 3)]).double()
    system = Gains(turned(values.diag()).to(device), torch.tensor([0.0, 0.5, 1.0]).double().to(device))
    found = spectrum(system, torch.ones(3, dim, device=device), min(dim, 4))
    torch.testing.assert_close(found.spectral_radius, torch.tensor([0.0, 0.45, 0.9]).double(), rtol=1e-6, atol=1e-15)
    assert near_unity_counts(system, torch.ones(3, dim, device=device), (0.2,)).tolist() == [[0], [0], [3]]


@pytest.mark.parametrize(("dim", "k"), [(4, None), (300, 2)])
def test_no_states_have_no_eigenvalues(dim: int, k: int | None):
    found = spectrum(random_autoencoder(dim, dim), torch.zeros(0, dim), k)
    assert found.eigenvalues.shape == found.residuals.shape == (0, k or dim)
    assert len(found.spectral_radius) == 0


@pytest.mark.parametrize("dim", [2, 300])
def test_near_unity_counts(dim: int):
    near = [1.005, 0.98, 0.92, -0.999, 0.895, 1.2]
    pair = rotation(1.0, 0.02)  # |lambda - 1| = 2 sin(0.01)
    matrix = blocks(*near, pair, *torch.linspace(0.1, 0.5, 300 - 8).tolist()) if dim == 300 else blocks(0.995, 0.5)
    system = Linear(turned(matrix))
    counts = near_unity_counts(system, torch.zeros(2, dim))
    assert counts.tolist() == [[1, 4, 5]] * 2 if dim == 300 else [[1, 1, 1]] * 2
    assert near_unity_counts(system, torch.zeros(1, dim), radii=(0.01,)).shape == (1, 1)


def test_near_unity_looks_on_until_no_more_can_come():
    matrix = blocks(*torch.linspace(0.96, 0.999, 20).tolist(), *torch.linspace(0.1, 0.5, 280).tolist())
    assert near_unity_counts(Linear(turned(matrix)), torch.zeros(1, 300), radii=(0.05,)).tolist() == [[20]]


def test_refuses_what_it_cannot_linearize():
    autoencoder = random_autoencoder(4, 3)
    with pytest.raises(ValueError, match=r"states has shape \(1, 5\), expected \(batch, 4\)"):
        spectrum(autoencoder, torch.zeros(1, 5))
    with pytest.raises(ValueError, match="k is 5, expected 1 to 4"):
        spectrum(autoencoder, torch.zeros(1, 4), 5)
    with pytest.raises(ValueError, match="k is 0, expected 1 to 4"):
        spectrum(autoencoder, torch.zeros(1, 4), 0)
    with pytest.raises(ValueError, match=r"radii\[0\] is 0\.0, expected a finite number above 0"):
        near_unity_counts(autoencoder, torch.zeros(1, 4), radii=(0.0,))


@pytest.mark.parametrize("dim", [4, 300])
def test_says_where_a_jacobian_is_not_finite(dim: int):
    states = torch.ones(3, dim)
    states[2, 1] = 0
    with pytest.raises(ValueError, match="the Jacobian of the map is not finite at row 2 of states"):
        spectrum(Formula(dim, torch.sqrt), states, 2)

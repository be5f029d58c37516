from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dynlab.dynamics.arnoldi import arnoldi, first_length
from dynlab.dynamics.dense import Eigenpairs

DIM = 220


def leading(matrices: Tensor, count: int, longest: int = DIM // 2) -> tuple[Eigenpairs, np.ndarray]:
    """Of matrices given whole."""

    def product_of(rows: np.ndarray):
        chosen = matrices[torch.from_numpy(rows).to(matrices.device)]
        return lambda vectors: vectors @ chosen.mT

    return arnoldi(product_of, matrices[:, 0], count, longest)


def decaying(rows: int, device: torch.device, rate: float = 0.9) -> Tensor:
    """Random matrices whose singular values fall geometrically."""
    generator = torch.Generator().manual_seed(rows)
    left, right = torch.randn(2, rows, DIM, DIM, dtype=torch.float64, generator=generator)
    left, right = torch.linalg.qr(left).Q, torch.linalg.qr(right).Q
    return (left * rate ** torch.arange(DIM, dtype=torch.float64) @ right).to(device)


def test_equals_all_eigenvalues_of_random_matrices(device: torch.device):
    matrices = decaying(7, device)
    pairs, is_good = leading(matrices, 5)
    assert is_good.all()
    for matrix, values, vectors, residuals in zip(
        matrices.cpu().numpy(), pairs.multipliers, pairs.directions, pairs.residuals, strict=True
    ):
        expected = np.linalg.eigvals(matrix)
        np.testing.assert_allclose(np.abs(values.numpy()), np.sort(np.abs(expected))[::-1][:5], rtol=0.0, atol=1e-11)
        distances = np.abs(values.numpy()[:, None] - expected)
        assert np.all(distances.min(axis=1) < 1e-11)
        defects = np.linalg.norm(matrix @ vectors.numpy() - vectors.numpy() * values.numpy(), axis=0)
        np.testing.assert_allclose(residuals, defects, rtol=0.0, atol=1e-15)
        assert np.all(defects <= 1e-11)


def test_a_basis_grows_until_slow_ones_are_found(device: torch.device):
    # A uniform spectrum on a line: the gap after the leading one is a hundredth.
    slow = torch.linspace(-0.99, 0.99, DIM - 1, dtype=torch.float64)
    matrices = torch.cat([slow, torch.ones(1, dtype=torch.float64)]).diag()[None].to(device)
    short, is_good = leading(matrices, 1, longest=first_length(1))
    assert not is_good.any()
    assert not short.multipliers.any()
    pairs, is_good = leading(matrices, 1, longest=DIM - 2)
    assert is_good.all()
    np.testing.assert_allclose(pairs.multipliers.numpy(), [[1.0]], rtol=1e-13)


def test_rows_that_are_done_do_not_wait_for_the_others(device: torch.device):
    easy, hard = decaying(1, device, rate=0.7), decaying(1, device, rate=0.999)
    alone, _ = leading(easy, 3)
    pairs, is_good = leading(torch.cat([easy, hard, easy]), 3)
    assert is_good.tolist() == [True, False, True]
    for row in (0, 2):
        torch.testing.assert_close(pairs.multipliers[row], alone.multipliers[0], rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("copies", [2, 3])
def test_gives_up_where_copies_may_be_missing(copies: int):
    values = torch.cat([torch.full((copies,), 0.9), torch.tensor([0.5]), torch.linspace(0.0, 0.1, DIM - copies - 1)])
    _, is_good = leading(values.double().diag()[None], copies + 1)
    assert not is_good.any()
    pairs, is_good = leading(values.double().diag()[None], 2)
    if copies == 2:  # nothing comes after the copies, so none is missing
        assert is_good.all()
        torch.testing.assert_close(pairs.multipliers, torch.full((1, 2), 0.9, dtype=torch.complex128))


def test_an_invariant_subspace_is_no_end(device: torch.device):
    matrices = torch.stack([0.5 * torch.eye(DIM), torch.zeros(DIM, DIM)]).double().to(device)
    pairs, is_good = leading(matrices, 4)
    assert is_good.all()
    expected = torch.tensor([[0.5] * 4, [0.0] * 4], dtype=torch.complex128)
    torch.testing.assert_close(pairs.multipliers, expected)
    assert float(pairs.residuals.max()) <= 1e-15
    np.testing.assert_allclose(np.linalg.matrix_rank(pairs.directions[0].numpy()), 4)


def test_no_matrices():
    pairs, is_good = leading(torch.zeros(0, DIM, DIM, dtype=torch.float64), 3)
    assert pairs.multipliers.shape == (0, 3)
    assert pairs.directions.shape == (0, DIM, 3)
    assert is_good.shape == (0,)

"""Score and symmetry: against densities differentiated by autograd, and equation 5 by exact quadrature."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from dynlab.datasets import Dataset
from dynlab.dynamics.score import antisymmetric_share, score
from dynlab.maps import DenoisingAutoencoder
from dynlab.maps.adapter import as_map
from dynlab.maps.classical import GaussianDenoiser, OptimalDenoiser

from systems import Formula, Linear


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(function: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    states = states.clone().requires_grad_()
    return torch.autograd.grad(function(states).sum(), states)[0]


def share_of(jacobians: Tensor) -> Tensor:
    """By the definition, in numpy and entry by entry."""
    shares = []
    for matrix in jacobians.cpu().numpy():
        pairs = [(matrix[i, j], matrix[j, i]) for i in range(len(matrix)) for j in range(len(matrix))]
        shares.append(math.sqrt(sum((one - other) ** 2 for one, other in pairs) / 4 / sum(one**2 for one, _ in pairs)))
    return torch.tensor(shares, dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_best_denoiser_of_samples_is_the_score_of_the_smoothed_density(sigma: float, device: torch.device) -> None:
    points = random(6, 3).to(device)
    states = torch.cat([points + 0.1 * sigma * random(6, 3, seed=1).to(device), random(6, 3, seed=2).to(device)])

    def log_density(x: Tensor) -> Tensor:
        squares = (x[:, None] - points).square().sum(dim=2)
        return torch.logsumexp(-squares / (2 * sigma**2), dim=1)

    expected = gradient(log_density, states)
    found = score(OptimalDenoiser(points, sigma).to(device), states, sigma)
    # What rounding leaves of F(x) - x is divided by sigma^2.
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14 * float(points.abs().max()) / sigma**2)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 10.0])
def test_best_denoiser_of_a_gaussian(sigma: float, device: torch.device) -> None:
    root, mean = random(4, 4).to(device), random(4, seed=1).to(device)
    covariance = root @ root.T
    states = random(5, 4, seed=2).to(device)
    smoothed = covariance + sigma**2 * torch.eye(4, dtype=torch.float64, device=device)
    expected = -torch.linalg.solve(smoothed, (states - mean).T).T
    found = score(GaussianDenoiser(mean, covariance, sigma).to(device), states, sigma)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13 / sigma**2)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
def test_score_of_the_clean_density_is_missed_by_the_share_of_noise(sigma: float, device: torch.device) -> None:
    """For variance `c` equation 7 without its o(sigma^2) is wrong by the factor `c / (c + sigma^2)`."""
    variance, states = 0.7, random(5, 1).to(device)
    covariance = torch.tensor([[variance]], dtype=torch.float64, device=device)
    system = GaussianDenoiser(torch.zeros(1, dtype=torch.float64, device=device), covariance, sigma).to(device)
    ratio = score(system, states, sigma) / (-states / variance)
    torch.testing.assert_close(ratio, torch.full_like(ratio, variance / (variance + sigma**2)), rtol=1e-12, atol=0)


class Objective:
    """Equation 4 for one clean number and equation 5's two terms, for `r` in one dimension, by exact quadrature."""

    def __init__(self, r: Callable[[Tensor], Tensor], x: float) -> None:
        self.r, self.x = r, torch.tensor([x], dtype=torch.float64)
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        self.nodes, self.weights = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())

    def denoising(self, sigma: float) -> float:
        return float(((self.x - self.r(self.x + sigma * self.nodes)) ** 2) @ self.weights)

    def equation_5(self, sigma: float) -> float:
        return float((self.x - self.r(self.x)) ** 2 + sigma**2 * self._slope(self.x) ** 2)

    def dropped(self) -> float:
        """`(r(x) - x) r''(x)`."""
        curvature = torch.func.grad(lambda x: self._slope(x).sum())(self.x)
        return float((self.r(self.x) - self.x) * curvature)

    def _slope(self, x: Tensor) -> Tensor:
        return torch.func.grad(lambda y: self.r(y).sum())(x)


def sigmoid_unit(x: Tensor) -> Tensor:
    return torch.sigmoid(5 * torch.sigmoid(4 * x - 1) - 2)


def test_equation_5_drops_a_term_of_its_own_order() -> None:
    for x in (0.2, 0.9):
        objective = Objective(sigmoid_unit, x)
        assert abs(objective.dropped()) > 0.01
        left = []
        for sigma in (0.01, 0.005):
            error, dropped = objective.denoising(sigma) - objective.equation_5(sigma), sigma**2 * objective.dropped()
            assert error == pytest.approx(dropped, rel=0.05)
            left.append(error - dropped)
        # With the term put back, what is left falls with the fourth power: sixteenfold when sigma is halved.
        assert left[0] / left[1] == pytest.approx(16, rel=0.1)


def test_equation_5_holds_where_the_map_rests_and_for_affine_maps() -> None:
    fixed = torch.tensor(0.5, dtype=torch.float64)
    for _ in range(200):
        fixed = sigmoid_unit(fixed)
    resting = Objective(sigmoid_unit, float(fixed))
    assert abs(resting.dropped()) < 1e-14
    left = [resting.denoising(sigma) - resting.equation_5(sigma) for sigma in (0.04, 0.02)]
    assert left[0] / left[1] == pytest.approx(16, rel=0.1)
    affine = Objective(lambda x: 0.3 * x + 0.1, 2.0)
    for sigma in (0.1, 1.0, 10.0):
        assert affine.denoising(sigma) == pytest.approx(affine.equation_5(sigma), rel=1e-13)


def test_equation_6_holds_to_the_fourth_power_for_a_smooth_density() -> None:
    """For a mixture of two Gaussians the best denoiser is known, and so is the density after corruption."""
    variance, states = 0.3, torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]

    def log_density(x: Tensor, spread: float) -> Tensor:
        return torch.logsumexp(torch.cat([-((x - m) ** 2) / (2 * spread) for m in (-1.0, 1.0)], dim=1), dim=1)

    def best(sigma: float) -> Tensor:
        """The mean of the clean number, given the corrupted one: each Gaussian's, weighted by how likely it is."""
        spread = variance + sigma**2
        weights = torch.cat([-((states - m) ** 2) / (2 * spread) for m in (-1.0, 1.0)], dim=1).softmax(dim=1)
        means = torch.cat([m + variance / spread * (states - m) for m in (-1.0, 1.0)], dim=1)
        return (weights * means).sum(dim=1, keepdim=True)

    left = []
    for sigma in (0.04, 0.02):
        denoised = best(sigma)
        clean, smoothed = (gradient(partial(log_density, spread=variance + s**2), states) for s in (0.0, sigma))
        found = score(Formula(1, lambda x, denoised=denoised: denoised), states, sigma)
        torch.testing.assert_close(found, smoothed, rtol=1e-9, atol=1e-11)
        left.append(float((denoised - states - sigma**2 * clean).abs().max()))
    assert left[0] / left[1] == pytest.approx(16, rel=0.1)


def test_shares_of_known_matrices(device: torch.device) -> None:
    angle = 0.6
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
    symmetric = random(5, 5) + random(5, 5).T
    cases = [
        (rotation, sine),
        (symmetric, 0.0),
        (random(5, 5) - random(5, 5).T, 1.0),
        (torch.tensor([[0.0, 1.0], [0.0, 0.0]]).double(), math.sqrt(0.5)),
        (torch.zeros(3, 3).double(), 0.0),
    ]
    for matrix, expected in cases:
        system = Linear(1e-3 * matrix).to(device)
        found = antisymmetric_share(system, random(2, len(matrix)).to(device))
        torch.testing.assert_close(found.cpu(), torch.full((2,), expected, dtype=torch.float64), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("hidden", [3, 9, 30])
def test_share_by_factors_is_that_of_the_matrix(hidden: int, device: torch.device) -> None:
    autoencoder = DenoisingAutoencoder(10, hidden).double().to(device)
    with torch.no_grad():
        for number, parameter in enumerate(autoencoder.parameters()):
            parameter.copy_(random(*parameter.shape, seed=number))
    states = random(4, 10, seed=9).to(device)
    expected = share_of(autoencoder.jacobian(states))
    assert float(expected.min()) > 0.2
    torch.testing.assert_close(antisymmetric_share(autoencoder, states).cpu(), expected, rtol=1e-12, atol=0)


def test_share_with_inputs_held_and_in_blocks(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    mixing = random(5, 3, 3).to(device)
    system = as_map(lambda z, x: torch.einsum("bij,bj->bi", x, z.sin()), (3,), inputs=mixing)
    states = random(5, 3, seed=1).to(device)
    expected = share_of(mixing * states.cos()[:, None, :])
    monkeypatch.setattr(sys.modules["dynlab.dynamics.score"], "_BLOCK_NUMBERS", 18)
    torch.testing.assert_close(antisymmetric_share(system, states).cpu(), expected, rtol=1e-12, atol=0)


def test_best_denoisers_are_gradients_and_trained_ones_are_not(
    digits_dae: DenoisingAutoencoder, digits_train: Dataset, digits_test: Dataset
) -> None:
    best = OptimalDenoiser(digits_train.images[:20].double(), 0.5)
    assert float(antisymmetric_share(best, digits_test.images[:5]).max()) < 1e-13
    shares = antisymmetric_share(digits_dae, digits_test.images[:5])
    assert 0.05 < float(shares.min()) <= float(shares.max()) < 0.6


def test_tied_autoencoder_is_a_gradient_in_the_logits(device: torch.device) -> None:
    """`logit F(x) = W' sigmoid(W x + b) + c` is the gradient of the softplus; `F` itself is none."""
    autoencoder = DenoisingAutoencoder(6, 4, tied=True).double().to(device)
    with torch.no_grad():
        for number, parameter in enumerate(autoencoder.parameters()):
            parameter.copy_(2 * random(*parameter.shape, seed=number))
    states = torch.rand(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).to(device)
    logits = Formula(6, lambda x: torch.logit(autoencoder(x)))
    assert float(antisymmetric_share(logits, states).max()) < 1e-12
    assert float(antisymmetric_share(autoencoder, states).min()) > 0.05


def test_arguments_out_of_range_are_named() -> None:
    system = Linear(torch.eye(2))
    for sigma in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"^sigma is {sigma}, expected a finite number above 0$"):
            score(system, torch.zeros(1, 2), sigma)
    for function in (antisymmetric_share, lambda system, states: score(system, states, 1.0)):
        with pytest.raises(ValueError, match=r"states has shape \(1, 3\), expected \(batch, 2\)"):
            function(system, torch.zeros(1, 3))
    assert antisymmetric_share(system, torch.zeros(0, 2)).shape == (0,)
    assert score(system, torch.ones(1, 2), 1.0).dtype == torch.float64

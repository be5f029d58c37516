"""The energy: against closed forms and 40 digits, its fall along tied orbits, and how far it guides untied ones."""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynlab.datasets import Dataset
from dynlab.dynamics.energy import energy, energy_along_orbits, energy_gradient
from dynlab.dynamics.newton import newton
from dynlab.maps import DenoisingAutoencoder, float64_copy
from dynlab.training import TrainingSettings, train


def random_autoencoder(dim: int, hidden: int, *, gain: float, tied: bool = True, seed: int = 0) -> DenoisingAutoencoder:
    """Weights large enough for several attractors, in float64."""
    generator = torch.Generator().manual_seed(seed)
    autoencoder = DenoisingAutoencoder(dim, hidden, tied=tied).double()
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter.copy_(gain * torch.randn(parameter.shape, dtype=torch.float64, generator=generator))
        # Sigmoids are 1 / 2 on average, which their biases take back.
        autoencoder.encoder["bias"] -= autoencoder.encoder["weight"].sum(dim=1) / 2
        autoencoder.decoder["bias"] -= autoencoder.decoder_weight.sum(dim=1) / 2
    return autoencoder


def uniform(samples: int, dim: int, seed: int = 1) -> Tensor:
    return torch.rand(samples, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(weight: float, b: float, c: float) -> DenoisingAutoencoder:
    """`F(x) = sigmoid(w sigmoid(w x + b) + c)` for a single number."""
    autoencoder = DenoisingAutoencoder(1, 1, tied=True).double()
    with torch.no_grad():
        autoencoder.encoder["weight"].fill_(weight)
        autoencoder.encoder["bias"].fill_(b)
        autoencoder.decoder["bias"].fill_(c)
    return autoencoder


@pytest.fixture(scope="session")
def tied_digits_dae(digits_train: Dataset) -> DenoisingAutoencoder:
    settings = TrainingSettings(sigma=0.2, walkback=2, epochs=15, annealing=0.99, hidden=64, tied=True)
    trained = train(digits_train.images, settings, state_shape=digits_train.shape, device="cpu")
    assert isinstance(trained, DenoisingAutoencoder)
    return trained


def test_closed_form_of_one_unit(device: torch.device) -> None:
    autoencoder = unit(6.0, -3.0, -3.0).to(device)
    states = torch.tensor([[0.0], [0.5], [1.0], [0.2], [0.8]], dtype=torch.float64, device=device)
    found = energy(autoencoder, states).tolist()
    assert found[0] == pytest.approx(-math.log1p(math.exp(-3)), rel=1e-15)
    assert found[1] == pytest.approx(1.5 - 2 * math.log(2), rel=1e-14)
    assert found[2] == pytest.approx(3 - math.log1p(math.exp(3)), rel=1e-14)
    entropy = -0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    assert found[3] == pytest.approx(0.6 - math.log1p(math.exp(-1.8)) - entropy, rel=1e-14)
    # These parameters make it symmetric about 1 / 2, a saddle of multiplier 36 / 16 between two attractors.
    assert found[4] == pytest.approx(found[3], rel=1e-14)
    attractors = [newton(autoencoder, start).state[None] for start in states[[0, 2]]]
    assert float(attractors[0]) == pytest.approx(1 - float(attractors[1]), rel=1e-12)
    assert all(float(energy(autoencoder, attractor)) < found[1] - 0.01 for attractor in attractors)


@pytest.mark.parametrize("tied", [True, False])
def test_energy_to_forty_digits(tied: bool, device: torch.device) -> None:
    autoencoder = random_autoencoder(7, 5, gain=3.0, tied=tied).to(device)
    states = torch.cat([uniform(3, 7), torch.tensor([[0, 1, 1, 0, 1e-300, 1 - 2**-53, 0.5]], dtype=torch.float64)])
    weight = (autoencoder.encoder["weight"] + autoencoder.decoder_weight.T).tolist()
    b, c = autoencoder.encoder["bias"].tolist(), autoencoder.decoder["bias"].tolist()
    orbits = energy_along_orbits(autoencoder, states.to(device), steps=1)
    for sample, state in enumerate(states.tolist()):
        with mpmath.workdps(40):
            x = [mpmath.mpf(value) for value in state]
            expected = -mpmath.fdot(x, c)
            for row, bias in zip(weight, b, strict=True):
                expected -= mpmath.log1p(mpmath.exp(mpmath.fdot(row, x) / 2 + bias))
            expected += sum(p * mpmath.log(p) for value in x for p in (value, 1 - value) if p > 0)
            error = float(abs(expected - orbits.energies[0, sample].item()))
        bound = float(orbits.rounding[0, sample])
        assert error <= bound < 1e-11


def test_energy_never_rises_on_tied_orbits(tied_digits_dae: DenoisingAutoencoder, digits_test: Dataset) -> None:
    digits = energy_along_orbits(tied_digits_dae, digits_test.images[:200], steps=400)
    random = [
        energy_along_orbits(random_autoencoder(20, 30, gain=gain, seed=seed), uniform(100, 20), steps=200)
        for gain in (0.3, 1.0, 3.0, 30.0)
        for seed in range(3)
    ]
    for orbits in (digits, *random):
        assert orbits.rising_share == orbits.largest_rise == 0
        assert orbits.falls[0].all()
        assert float(orbits.rounding.max()) < 1e-8


def test_fall_of_the_energy_is_a_sum_of_two_divergences(device: torch.device) -> None:
    autoencoder = random_autoencoder(6, 8, gain=1.5).to(device)
    states = uniform(50, 6).to(device)
    with torch.no_grad():
        images = autoencoder(states)
        before, after = (
            F.linear(part, autoencoder.encoder["weight"], autoencoder.encoder["bias"]) for part in (states, images)
        )
    bits = states * (states / images).log() + (1 - states) * ((1 - states) / (1 - images)).log()
    softplus = F.softplus(after) - F.softplus(before) - torch.sigmoid(before) * (after - before)
    expected = bits.sum(dim=1) + softplus.sum(dim=1)
    torch.testing.assert_close(
        energy(autoencoder, states) - energy(autoencoder, images), expected, rtol=1e-10, atol=1e-12
    )


def test_gradient_is_that_of_the_energy(device: torch.device) -> None:
    autoencoder = random_autoencoder(5, 4, gain=1.0, tied=False).to(device)
    states = 0.1 + 0.8 * uniform(10, 5).to(device)
    found, step = energy_gradient(autoencoder, states), 1e-5
    for entry in range(5):
        ahead, behind = states.clone(), states.clone()
        ahead[:, entry] += step
        behind[:, entry] -= step
        slope = (energy(autoencoder, ahead) - energy(autoencoder, behind)) / (2 * step)
        # The third derivative is at most 2 / 0.1^3, so a difference this wide is wrong by 4e-8 at most.
        torch.testing.assert_close(found[:, entry], slope, rtol=0, atol=1e-7)


def test_gradient_vanishes_at_fixed_points_of_tied_maps_and_nowhere_else(device: torch.device) -> None:
    autoencoder = random_autoencoder(12, 20, gain=1.5).to(device)
    solutions = [newton(autoencoder, start) for start in uniform(40, 12).to(device)]
    states = torch.stack([solution.state for solution in solutions if solution.is_fixed_point])
    inside = states[((states > 0) & (states < 1)).all(dim=1)]
    assert len(inside) >= 20
    # At a fixed point, logit(x) is the argument of the output's sigmoid, up to the rounding of x.
    error = 1e-12 / (inside * (1 - inside))
    assert (energy_gradient(autoencoder, inside).abs() <= error).all()
    elsewhere = uniform(40, 12, seed=2).to(device)
    with torch.no_grad():
        moved = (autoencoder(elsewhere) - elsewhere).norm(dim=1)
    # The gradient is logit(x) - logit(F(x)), at least 4 |x - F(x)| in every entry.
    assert (energy_gradient(autoencoder, elsewhere).norm(dim=1) >= 4 * moved * (1 - 1e-12)).all()


def test_multipliers_of_tied_maps_are_real(tied_digits_dae: DenoisingAutoencoder, digits_test: Dataset) -> None:
    exact = float64_copy(tied_digits_dae)
    with torch.no_grad():
        states = digits_test.images[:5].double()
        for _ in range(2000):
            states = exact(states)
    points = [newton(exact, state) for state in states]
    assert all(point.is_fixed_point for point in points)
    saddle = newton(random_autoencoder(12, 20, gain=1.5), torch.full((12,), 0.5, dtype=torch.float64))
    for system, point in [*((exact, point) for point in points), (random_autoencoder(12, 20, gain=1.5), saddle)]:
        values = torch.linalg.eigvals(system.jacobian(point.state[None])[0])
        # Of a matrix similar to a symmetric one by diag(sqrt(x (1 - x))): rounding moves them by its condition.
        slopes = (point.state * (1 - point.state)).sqrt()
        error = 1e-13 * float(values.abs().max() * slopes.max() / slopes.min())
        assert error < 1e-6
        assert float(values.imag.abs().max()) <= error
        assert float(values.real.min()) >= -error


def test_energy_only_guides_untied_maps(digits_dae: DenoisingAutoencoder, digits_test: Dataset) -> None:
    orbits = energy_along_orbits(digits_dae, digits_test.images[:200], steps=300)
    assert 0.1 < orbits.rising_share < 0.9
    assert 0 < orbits.largest_rise <= float(orbits.climbs.max())
    falls = orbits.energies[0] - orbits.energies[-1]
    assert float((falls > 0).double().mean()) > 0.95
    assert float(orbits.climbs.median()) < 0.25 * float(falls.median())


def test_rises_are_counted_by_hand(device: torch.device) -> None:
    autoencoder = random_autoencoder(4, 6, gain=4.0, tied=False, seed=3).to(device)
    states = uniform(30, 4).to(device)
    orbits = energy_along_orbits(autoencoder, states, steps=20)
    energies = [energy(autoencoder, states)]
    for _ in range(20):
        with torch.no_grad():
            states = autoencoder(states)
        energies.append(energy(autoencoder, states))
    rises, falls, largest = 0, 0, 0.0
    for before, after in pairwise(energies):
        for change in (after - before).tolist():
            rises += change > 1e-11
            falls += change < -1e-11
            largest = max(largest, change)
    assert rises > 0
    assert orbits.rising_share == pytest.approx(rises / (rises + falls), rel=1e-12)
    assert orbits.largest_rise == pytest.approx(largest, rel=1e-9)
    climbs = [max(max(path[i:]) - path[i] for i in range(21)) for path in torch.stack(energies).T.tolist()]
    torch.testing.assert_close(orbits.climbs.cpu(), torch.tensor(climbs, dtype=torch.float64), rtol=0, atol=1e-11)


def test_orbits_in_blocks_are_those_of_one_block(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    autoencoder, states = random_autoencoder(6, 8, gain=1.5).to(device), uniform(50, 6).to(device)
    whole = energy_along_orbits(autoencoder, states, steps=3)
    monkeypatch.setattr(sys.modules["dynlab.dynamics.energy"], "block_rows", lambda dim, like: 7)
    parts = energy_along_orbits(autoencoder, states, steps=3)
    torch.testing.assert_close(parts.energies, whole.energies, rtol=0, atol=float(whole.rounding.max()))
    assert parts.energies.shape == whole.rounding.shape == (4, 50)


def test_other_maps_and_states_are_refused() -> None:
    tied = random_autoencoder(3, 2, gain=1.0)
    inside = torch.full((2, 3), 0.5)
    others = {
        "hidden": DenoisingAutoencoder(3, 2, hidden_nonlinearity="tanh"),
        "output": DenoisingAutoencoder(3, 2, output_nonlinearity="identity"),
    }
    for layer, other in others.items():
        for function in (energy, energy_gradient, lambda system, states: energy_along_orbits(system, states, 1)):
            with pytest.raises(ValueError, match=f"{layer}_nonlinearity is '.*', expected 'sigmoid'"):
                function(other, inside)
    for entry in (-1e-9, 1.5):
        outside = torch.tensor([[0.5, 0.5, 0.5], [0.5, entry, 0.5]])
        with pytest.raises(ValueError, match=r"^states leaves the cube from 0 to 1 in row 1"):
            energy(tied, outside)
        with pytest.raises(ValueError, match=r"^initial_states leaves the cube from 0 to 1 in row 1"):
            energy_along_orbits(tied, outside, 1)
    with pytest.raises(ValueError, match=r"states has shape \(2, 4\), expected \(batch, 3\)"):
        energy(tied, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="steps is 0, expected at least 1"):
        energy_along_orbits(tied, inside, 0)
    with pytest.raises(ValueError, match="initial_states has no rows, expected at least 1"):
        energy_along_orbits(tied, inside[:0], 1)

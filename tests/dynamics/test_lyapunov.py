"""Lyapunov exponents against closed forms, published values, determinants and pynamicalsys."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dynlab.dynamics.lyapunov import lyapunov_exponents
from dynlab.maps import DenoisingAutoencoder, Map, float64_copy
from dynlab.maps.classical import CubeRootNewton, DoubleWell, Henon, Hopfield, Ikeda, Linear, Logistic

from systems import second_opinion


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("multipliers", [[0.9, 0.7, -0.4, 0.1], [1.3, -1.1, 0.5, 0.2]])
@pytest.mark.parametrize("departure", [0.0, 2.0])
def test_linear_maps_have_the_logarithms_of_their_multipliers(
    multipliers: list[float], departure: float, device: torch.device
):
    system = Linear.random(multipliers, departure=departure).to(device)
    found = lyapunov_exponents(system, uniform(3, 4).to(device), steps=100, transient=200)
    expected = torch.tensor(multipliers, dtype=torch.float64).abs().log().expand(3, -1)
    torch.testing.assert_close(found.exponents, expected, rtol=0.0, atol=1e-11)
    torch.testing.assert_close(system.lyapunov_exponents().cpu(), expected[0])
    assert found.standard_errors.max() < 1e-11
    assert not found.diverged.any()


def test_leading_exponents_of_a_turning_normal_map():
    system = Linear.random([0.3, 0.6 + 0.6j, 0.6 - 0.6j, -0.5])
    found = lyapunov_exponents(system, uniform(2, 4).float(), count=3, steps=50, transient=200)
    expected = torch.tensor([math.hypot(0.6, 0.6), math.hypot(0.6, 0.6), 0.5], dtype=torch.float64).log()
    torch.testing.assert_close(found.exponents, expected.expand(2, -1), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("r", [0.7, 1.5, 2.9, 3.2, 3.4])
def test_settled_logistic_orbits_have_the_closed_form(r: float, device: torch.device):
    system = Logistic(r)
    found = lyapunov_exponents(system, (0.1 + 0.8 * uniform(5, 1)).to(device), steps=40, transient=500)
    expected = system.lyapunov_exponents().expand(5, -1)
    torch.testing.assert_close(found.exponents, expected, rtol=0.0, atol=1e-10)


def test_chaos_of_the_logistic_map_is_ln_2():
    found = lyapunov_exponents(Logistic(4.0), uniform(200, 1), steps=1000, transient=50)
    mean, spread = found.exponents.mean(), found.exponents.std() / 200**0.5
    assert spread < 2e-4
    assert mean.item() == pytest.approx(math.log(2), abs=float(4 * spread))


@pytest.mark.parametrize(
    ("system", "leading"),
    [(Henon(), 0.41922), (Ikeda(), 0.50752)],  # Sprott, Chaos and Time-Series Analysis, 2003
    ids=["henon", "ikeda"],
)
def test_strange_attractors_have_the_published_exponents(system: Henon | Ikeda, leading: float):
    found = lyapunov_exponents(system, 0.1 * uniform(250, 2), steps=800, transient=100)
    expected = torch.full((250,), system.lyapunov_sum(), dtype=torch.float64)
    torch.testing.assert_close(found.exponents.sum(dim=1), expected, rtol=0.0, atol=1e-12)
    spread = float(found.exponents[:, 0].std())
    assert spread / 250**0.5 < 2e-3
    assert found.exponents[:, 0].mean().item() == pytest.approx(leading, abs=4 * spread / 250**0.5)
    # The errors that each sample states are those that 250 samples show.
    assert found.standard_errors[:, 0].mean().item() == pytest.approx(spread, rel=0.3)
    assert found.drifts[:, 0].std().item() == pytest.approx(2 * spread, rel=0.3)


def test_samples_of_one_batch_settle_each_on_its_own_attractor():
    system = Ikeda()
    states = torch.cat([system.fixed_points()[-1:] + 0.01, torch.zeros(1, 2).double()])
    found = lyapunov_exponents(system, states, steps=600, transient=100)
    # Two conjugate multipliers of modulus u; as they turn, the average comes near like 1 / steps.
    assert found.exponents[0].tolist() == pytest.approx([math.log(0.9)] * 2, abs=2e-3)
    assert found.exponents[1, 0] > 0.4
    alone = lyapunov_exponents(system, states[:1], steps=600, transient=100)
    torch.testing.assert_close(alone.exponents, found.exponents[:1], rtol=1e-10, atol=0.0)


def test_unstable_cycle_has_its_exponents_while_rounding_lets_the_orbit_stay():
    found = lyapunov_exponents(CubeRootNewton(), CubeRootNewton().two_cycles()[:, 0], steps=20, transient=0)
    torch.testing.assert_close(
        found.exponents, torch.full((3, 2), math.log(6) / 2, dtype=torch.float64), rtol=0.0, atol=1e-6
    )


def test_superstable_orbits_have_minus_infinity(device: torch.device):
    found = lyapunov_exponents(Logistic(2.0), torch.tensor([[0.25], [0.4]], device=device), steps=40, transient=20)
    assert found.exponents.tolist() == [[-math.inf], [-math.inf]]
    assert Logistic(2.0).lyapunov_exponents().tolist() == [-math.inf]
    assert found.standard_errors.isnan().all()
    assert not found.diverged.any()
    newton = lyapunov_exponents(CubeRootNewton(), torch.tensor([[3.0, 0.0]], device=device), steps=40, transient=20)
    assert newton.exponents.tolist() == [[-math.inf, -math.inf]]


@pytest.mark.parametrize("dim", [12, 50])  # by the whole Jacobian, and by single tangents
def test_directions_that_the_map_does_not_keep_have_minus_infinity(dim: int, device: torch.device):
    patterns = torch.where(uniform(2, dim) < 0.5, -1.0, 1.0).double()
    system = Hopfield(patterns, gain=1.5).to(device)
    found = lyapunov_exponents(system, patterns.to(device), count=5, steps=40, transient=300)
    kept = math.log(1.5 * (1 - system.overlap**2))
    expected = torch.tensor([kept, kept, -math.inf, -math.inf, -math.inf], dtype=torch.float64).expand(2, -1)
    torch.testing.assert_close(found.exponents, expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("dim", [8, 40])
def test_all_exponents_add_up_to_the_mean_logarithm_of_the_determinant(dim: int, device: torch.device):
    system = DenoisingAutoencoder(dim, 2 * dim, hidden_nonlinearity="tanh", output_nonlinearity="tanh")
    generator = torch.Generator().manual_seed(dim)
    for parameter in system.parameters():
        parameter.data.normal_(std=6 / dim**0.5, generator=generator)
    states = uniform(3, dim) - 0.5
    found = lyapunov_exponents(system.to(device), states.to(device), steps=30, transient=5)
    exact = float64_copy(system).cpu()
    expected = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for step in range(35):
            if step >= 5:
                expected += torch.linalg.slogdet(exact.jacobian(states)).logabsdet / 30
            states = exact(states)
    torch.testing.assert_close(found.exponents.sum(dim=1), expected, rtol=1e-8, atol=0.0)


class Inputs(Map):
    """`F(x) = rate_b x`, with a rate for each sample."""

    def __init__(self, dim: int, rates: Tensor) -> None:
        super().__init__(dim)
        self.rates = torch.nn.Buffer(rates)

    def forward(self, states: Tensor) -> Tensor:
        return self.rates[:, None] * states

    @property
    def held_samples(self) -> int:
        return len(self.rates)

    def for_samples(self, rows: Tensor) -> Inputs:
        return Inputs(self.dim, self.rates[rows])


@pytest.mark.parametrize("dim", [2, 40])
def test_inputs_held_for_each_sample_stay_with_it(dim: int, device: torch.device):
    rates = torch.tensor([0.5, 0.8, 1.1], dtype=torch.float64)
    found = lyapunov_exponents(
        Inputs(dim, rates.to(device)), uniform(3, dim).to(device), count=2, steps=20, transient=5
    )
    torch.testing.assert_close(found.exponents, rates.log()[:, None].expand(3, 2), rtol=0.0, atol=1e-13)


def test_divergence_is_said_and_stays_with_its_sample(device: torch.device):
    states = torch.tensor([[0.0, 0.0], [5.0, 5.0], [0.1, 0.1]], dtype=torch.float64, device=device)
    found = lyapunov_exponents(Henon(), states, steps=50, transient=10)
    assert found.diverged.tolist() == [False, True, False]
    assert found.exponents[1].isnan().all()
    assert found.block_means[1].isnan().all()
    kept = lyapunov_exponents(Henon(), states[[0, 2]], steps=50, transient=10)
    torch.testing.assert_close(found.exponents[[0, 2]], kept.exponents, rtol=0.0, atol=1e-4)


def test_drift_shows_a_transient_that_was_too_short():
    states = torch.tensor([[1e-6, 0.3]], dtype=torch.float64)  # lingers near the saddle for some 150 steps
    early = lyapunov_exponents(DoubleWell(0.1), states, steps=200, transient=0)
    assert early.drifts[0, 0] < -0.05
    late = lyapunov_exponents(DoubleWell(0.1), states, steps=200, transient=600)
    assert late.drifts.abs().max() < 1e-12
    assert late.exponents[0].exp().tolist() == pytest.approx([0.9, 0.8], rel=1e-12)


def test_blocks_cover_all_steps_whatever_their_number():
    found = lyapunov_exponents(Henon(), torch.zeros(1, 2), steps=33, transient=0)
    lengths = torch.tensor([33 * (block + 1) // 20 - 33 * block // 20 for block in range(20)]).double()
    torch.testing.assert_close((found.block_means * lengths[:, None]).sum(dim=1) / 33, found.exponents)


def test_no_samples_have_no_exponents():
    assert lyapunov_exponents(Henon(), torch.zeros(0, 2), steps=20, transient=0).exponents.shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count is 0, expected 1 to 2"),
        ({"count": 3}, "count is 3, expected 1 to 2"),
        ({"steps": 19}, "steps is 19, expected at least 20"),
        ({"transient": -1}, "transient is -1, expected at least 0"),
        ({"initial_states": torch.zeros(1, 3)}, r"initial_states has shape \(1, 3\), expected \(batch, 2\)"),
        ({"initial_states": torch.full((1, 2), math.nan)}, "initial_states is not finite in row 0"),
    ],
)
def test_refuses_what_is_out_of_range(arguments: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        lyapunov_exponents(Henon(), **{"initial_states": torch.zeros(1, 2), **arguments})


def test_second_opinion():
    second = second_opinion()
    logistic = second(model="logistic map")
    for r in (3.5, 3.83):  # cycles of period 4 and 3, at which 300 steps end alike
        theirs = logistic.lyapunov([0.3], 2310, parameters=[r], transient_time=2010)
        ours = lyapunov_exponents(Logistic(r), torch.tensor([[0.3]]), steps=300, transient=400)
        assert ours.exponents.item() == pytest.approx(float(theirs), abs=1e-9)
    steps = 40_000
    ikeda = second(mapping=ikeda_map, system_dimension=2, parameters=[0.9, 0.4, 6.0])
    for system, other, parameters in [(Henon(), second(model="henon map"), [1.4, 0.3]), (Ikeda(), ikeda, None)]:
        theirs = other.lyapunov([0.1, 0.1], steps + 100, parameters=parameters, method="ER", transient_time=100)
        ours = lyapunov_exponents(system, 0.1 * uniform(250, 2), steps=800, transient=100).exponents
        error = ours[:, 0].std().item() * (1 / 250 + 800 / steps) ** 0.5
        assert error < 3e-3
        np.testing.assert_allclose(ours.mean(dim=0), theirs, rtol=0, atol=4 * error)


def ikeda_map(state: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    z, (u, phase, coupling) = complex(*state), parameters
    image = 1 + u * z * np.exp(1j * (phase - coupling / (1 + abs(z) ** 2)))
    return np.array([image.real, image.imag])

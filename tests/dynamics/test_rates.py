from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dynlab.datasets import Dataset
from dynlab.dynamics import iterate, spectral_radius
from dynlab.dynamics.rates import ConvergenceRates, Decay, convergence_rate, rates_of_step_lengths
from dynlab.maps import DenoisingAutoencoder, Map

from systems import Formula, Linear, double_well, fold, ghost, logistic

STEPS = torch.arange(3000, dtype=torch.float64)


def step_lengths(system: Map, states: Tensor, steps: int) -> Tensor:
    """Step lengths of orbits, shape (steps, samples), in the precision of `states`."""
    lengths = []
    with torch.no_grad():
        for _ in range(steps):
            following = system(states)
            lengths.append((following - states).norm(dim=1))
            states = following
    return torch.stack(lengths)


def rates_of(*sequences: Tensor) -> ConvergenceRates:
    return rates_of_step_lengths(torch.stack(sequences, dim=1))


def assert_none(rates: ConvergenceRates, *expected: Decay) -> None:
    assert list(rates.decay) == list(expected)
    assert bool(torch.stack([rates.rate, rates.sensitivity, rates.deviation]).isnan().all())
    assert bool((torch.stack([rates.first, rates.last, rates.transient]) == -1).all())


# Where there is a line


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.6, 0.9, 0.997])
def test_a_power_has_its_base_for_a_rate(rate: float, device: torch.device):
    lengths = 7 * rate ** STEPS[:, None].to(device)
    rates = rates_of_step_lengths(lengths)
    assert rates.decay[0] is Decay.EXPONENTIAL
    assert math.isclose(float(rates.rate), rate, rel_tol=1e-7)  # the last powers above zero have few digits
    assert int(rates.transient) == 0
    assert 1 <= int(rates.first) < int(rates.last) <= len(lengths)


# Each with a gap between the two largest moduli, and none so close to 1 that the float64 floor is out of reach.
SPECTRA = [
    [0.9, 0.8, 0.5],
    [0.3, 0.1],
    [0.95, 0.85, 0.8],
    [-0.9, 0.7, 0.1],
    [0.99, 0.95, 0.94],
    [0.95 * np.exp(0.5j), 0.95 * np.exp(-0.5j), 0.8],
    [0.97 * np.exp(1.3j), 0.97 * np.exp(-1.3j), 0.9, 0.1],
    [0.9, 0.8j, -0.8j],
]


@pytest.mark.parametrize("departure", [0.0, 0.5])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_linear_maps_converge_at_their_spectral_radius(spectrum: list[complex], departure: float, device: torch.device):
    system = Linear.random(spectrum, departure=departure, seed=1).to(device)
    states = torch.randn(20, system.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rates = rates_of_step_lengths(step_lengths(system, states.to(device), 6000))
    expected = torch.full((20,), abs(spectrum[0]), dtype=torch.float64)
    torch.testing.assert_close(rates.rate, expected, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("spectrum", [[0.9, 0.5], [0.95, 0.6, 0.2], [0.99, 0.9]])
def test_the_floor_of_rounding_is_no_part_of_the_line(spectrum: list[float]):
    random = Linear.random(spectrum, seed=3)
    # a fixed point away from zero, where rounding errors do not shrink with the steps
    system = Linear(random.matrix, torch.full((len(spectrum),), 1 / 3, dtype=torch.float64))
    states = torch.randn(20, system.dim, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    lengths = step_lengths(system, states, 6000)
    rates = rates_of_step_lengths(lengths)
    expected = torch.full((20,), spectrum[0], dtype=torch.float64)
    torch.testing.assert_close(rates.rate, expected, rtol=0.0, atol=1e-5)
    fixed_point = torch.linalg.solve(torch.eye(system.dim, dtype=torch.float64) - system.matrix, system.shift)
    assert float(lengths[-1].max()) < 1e-13  # the floor is recorded
    assert bool((lengths.gather(0, rates.last[None] - 1) > np.spacing(float(fixed_point.abs().max()))).all())


@pytest.mark.parametrize("rate", [0.8, 0.95, 0.99])
def test_noise_of_a_known_size_ends_the_line(rate: float):
    generator = torch.Generator().manual_seed(5)
    noise = 1e-7 * torch.randn(len(STEPS), 10, 100, generator=generator, dtype=torch.float64) / 10
    noise[..., 0] += rate ** STEPS[:, None]
    lengths = noise.norm(dim=2)
    rates = rates_of_step_lengths(lengths)
    assert bool(((1 - rates.rate) / (1 - rate) - 1).abs().le(1e-4).all())
    # eight times the noise, which there adds less than a hundredth to a step length
    assert bool((lengths.gather(0, rates.last[None] - 1) > 8e-7).all())


def test_where_it_is_recorded_down_to_a_tolerance_the_line_reaches_to_the_end():
    lengths = 0.9**STEPS + 0.7**STEPS
    lengths[lengths < 1e-4] = torch.nan
    rates = rates_of(lengths)
    assert math.isclose(float(rates.rate), 0.9, abs_tol=1e-4)
    assert int(rates.last) >= int(lengths.isfinite().sum()) - 10


def test_the_slower_of_two_powers_wins_even_where_it_begins_small():
    rates = rates_of(0.7**STEPS + 1e-6 * 0.95**STEPS)
    assert math.isclose(float(rates.rate), 0.95, abs_tol=1e-9)
    # the powers are equal at step 45 or 46, counted from 1
    crossing = math.log(1e-6) / math.log(0.7 / 0.95) + 1
    assert crossing < int(rates.transient) < crossing + 10


def test_a_bend_that_is_seen_shows_in_the_sensitivity_or_as_no_line():
    """A slow power comes up in the last steps that are known, and is not yet alone there."""
    lengths = 0.7**STEPS + 1e-6 * 0.95**STEPS
    straight, bent = lengths[:20], lengths[:44]
    first, second = rates_of(straight), rates_of(bent)
    assert math.isclose(float(first.rate), 0.7, abs_tol=1e-3)
    assert second.decay[0] is Decay.NOT_STRAIGHT or float(second.sensitivity) > 10 * float(first.sensitivity)


@pytest.mark.parametrize("angle", [0.1, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_the_wobble_of_a_rotating_pair_is_averaged_out(angle: float, share: float):
    lengths = 0.98**STEPS * torch.sqrt(1 + share * torch.cos(2 * angle * STEPS + 1))
    rates = rates_of(lengths)
    assert math.isclose(float(rates.rate), 0.98, abs_tol=1e-6)
    # and is what the step lengths deviate from the line by: half of what lies between its crest and its trough
    wobble = math.log((1 + share) / (1 - share)) / 4
    assert 0.9 * wobble < float(rates.deviation) < 2 * math.log(1 / (1 - share))
    assert int(rates.transient) == 0


def test_of_two_multipliers_that_are_close_the_larger_one_is_approached():
    """There is no gap to speak of: in 300 steps, the second power has shrunk to a twentieth of the first."""
    rates = rates_of((0.95**STEPS + 0.94**STEPS)[:300])
    assert 0.948 < float(rates.rate) < 0.95


def test_a_slow_rotation_is_a_line_within_a_few_percent():
    """In the 150 steps above the floor of float32 the pair turns by a quarter, and no period is ever seen."""
    lengths = (0.92**STEPS * torch.sqrt(1 + 0.5 * torch.cos(0.02 * STEPS)))[:150]
    assert math.isclose(float(rates_of(lengths).rate), 0.92, abs_tol=0.1 * 0.08)


def test_the_sensitivity_is_that_of_halved_windows():
    """Two powers, whose local slopes are known: no half of a window can change the slope by more than they differ."""
    lengths = (0.9**STEPS + 0.88**STEPS)[:120]
    rates = rates_of(lengths)
    slopes = lengths.log().diff()[int(rates.first) - 1 : int(rates.last) - 1]
    changed = float(slopes.exp().max() - slopes.exp().min())
    assert changed / 10 < float(rates.sensitivity) < changed


# Before the line


def test_the_transient_ends_where_the_line_begins():
    plateau = torch.full((100,), 0.5, dtype=torch.float64)
    rates = rates_of(torch.cat([plateau, 0.5 * 0.9 ** torch.arange(1, 200)]))
    # the last steps of the plateau are as good as on the line
    assert 96 <= int(rates.transient) <= 99
    assert int(rates.first) > int(rates.transient)
    assert math.isclose(float(rates.rate), 0.9, abs_tol=1e-6)


def test_the_approach_to_a_saddle_is_not_the_decay():
    # towards the saddle at 0.9, away from it at 1.1, and into the well first at 0.8
    lengths = step_lengths(double_well(), torch.tensor([[1e-12, 1.0]], dtype=torch.float64), 440)
    slowest = int(lengths[:200].argmin())
    fastest = int(lengths[slowest:].argmax()) + slowest
    assert lengths[fastest] > 1000 * lengths[slowest]
    rates = rates_of_step_lengths(lengths)
    assert math.isclose(float(rates.rate), 0.8, abs_tol=1e-4)
    assert int(rates.first) > int(rates.transient) > fastest

    # a record that ends while the orbit is leaving has no decay, for all the straight line before
    for end in (slowest + 15, fastest, fastest + 5):
        assert bool(rates_of_step_lengths(lengths[:end]).rate.isnan())


def test_the_way_past_a_ghost_is_not_the_decay():
    height = 1e-3
    lengths = step_lengths(ghost(height), torch.tensor([[-1.0]], dtype=torch.float64), 2000)
    passing = int(lengths[:500].argmin())
    rates = rates_of_step_lengths(lengths)
    # F'(2) = 1 - (height + 4) / 10
    assert math.isclose(float(rates.rate), 0.6 - height / 10, abs_tol=1e-6)
    assert int(rates.transient) > passing
    assert bool(rates_of_step_lengths(lengths[: passing + 50]).rate.isnan())


# Where there is no line


def test_quadratic_convergence_has_no_rate():
    # Newton's method for the square root of 2: the number of digits doubles
    system = Formula(1, lambda x: (x + 2 / x) / 2)
    starts = torch.tensor([[1.0], [10.0], [1e4]], dtype=torch.float64)
    rates = rates_of_step_lengths(step_lengths(system, starts, 60))
    # From far away a Newton step halves the state. From 10000 that makes a straight line of ten steps, but no floor
    # comes after it: step lengths fall below the line.
    assert bool(rates.rate.isnan().all())
    assert bool(rates_of(0.9 ** (2.0 ** STEPS[:13])).rate.isnan().all())


def test_a_power_law_has_no_rate():
    lengths = step_lengths(fold(1.0, -1.0), torch.tensor([[0.5], [0.9]], dtype=torch.float64), 5000)
    assert_none(rates_of_step_lengths(lengths), Decay.NOT_STRAIGHT, Decay.NOT_STRAIGHT)
    assert_none(rates_of(1 / (STEPS + 3), (STEPS + 3) ** -3.0), Decay.NOT_STRAIGHT, Decay.NOT_STRAIGHT)


def test_what_does_not_converge_has_no_rate():
    rotation = Linear(torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64))
    turning = step_lengths(rotation, torch.tensor([[1.0, 0.0]], dtype=torch.float64), 500)[:, 0]
    cycle = step_lengths(logistic(3.2), torch.tensor([[0.1]], dtype=torch.float64), 500)[:, 0]
    chaos = step_lengths(logistic(4.0), torch.tensor([[0.1]], dtype=torch.float64), 500)[:, 0]
    slow = 0.999 ** STEPS[:500]
    growing = 1.01 ** STEPS[:500]
    rates = rates_of(turning, slow, growing)
    assert_none(rates, Decay.NO_DECAY, Decay.NO_DECAY, Decay.NO_DECAY)
    assert bool(rates_of(cycle, chaos).rate.isnan().all())
    overflowing = step_lengths(Formula(1, lambda x: 2 * x + x**3), torch.tensor([[1e-3]]), 500)
    assert bool(overflowing.isinf().any())
    assert_none(rates_of_step_lengths(overflowing), Decay.NO_DECAY)


def test_too_few_steps_are_no_line():
    nilpotent = Linear(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    resting = step_lengths(nilpotent, torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64), 30)[:, 0]
    rates = rates_of(resting, torch.zeros(30).double(), torch.full((30,), torch.nan).double(), 0.1 ** STEPS[:30])
    assert list(rates.decay) == [Decay.TOO_SHORT, Decay.TOO_SHORT, Decay.TOO_SHORT, Decay.EXPONENTIAL]
    shortest = rates_of(0.1 ** STEPS[:5])
    assert (int(shortest.first), int(shortest.last), shortest.decay[0]) == (1, 5, Decay.EXPONENTIAL)
    assert_none(rates_of(0.1 ** STEPS[:4]), Decay.TOO_SHORT)


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (5, 0)])
def test_no_step_or_no_sample_is_fine(shape: tuple[int, int]):
    rates = rates_of_step_lengths(torch.zeros(shape))
    assert_none(rates, *[Decay.TOO_SHORT] * shape[1])
    assert rates.rate.shape == rates.transient.shape == (shape[1],)


# All samples alike


def test_each_sample_is_judged_alone_and_whatever_the_unit():
    generator = torch.Generator().manual_seed(6)
    bases = 0.5 + 0.49 * torch.rand(150, generator=generator, dtype=torch.float64)
    lengths = bases ** STEPS[:1000, None] + 3 * (0.8 * bases) ** STEPS[:1000, None]
    lengths += 1e-9 * torch.rand(lengths.shape, generator=generator, dtype=torch.float64)
    ends = torch.randint(3, 1000, (150,), generator=generator)
    lengths[torch.arange(1000)[:, None] >= ends] = torch.nan
    together = rates_of_step_lengths(lengths)
    assert len(set(together.decay)) > 1
    order = torch.randperm(150, generator=generator)
    others = {
        "one by one": [rates_of_step_lengths(lengths[:end, [column]]) for column, end in enumerate(ends.tolist())],
        "in another order": [rates_of_step_lengths(lengths[:, order])],
        "in another unit": [rates_of_step_lengths(lengths * 2.0**20)],
    }
    for how, parts in others.items():
        same = order if how == "in another order" else torch.arange(150)
        for name in ("rate", "sensitivity", "deviation", "first", "last", "transient"):
            found = torch.cat([getattr(part, name) for part in parts])
            # running sums are rounded otherwise
            torch.testing.assert_close(found, getattr(together, name)[same], rtol=1e-6, atol=1e-9, equal_nan=True)
        assert [decay for part in parts for decay in part.decay] == [together.decay[index] for index in same.tolist()]


def test_refuses_what_cannot_be_step_lengths():
    with pytest.raises(ValueError, match=r"step_lengths has shape \(5,\), expected \(steps, recorded\)"):
        inspect.unwrap(rates_of_step_lengths)(torch.ones(5))  # without the check of shapes in tests
    with pytest.raises(ValueError, match=r"step_lengths has a smallest value of -1\.0, expected at least 0"):
        rates_of_step_lengths(torch.tensor([[1.0], [-1.0], [torch.nan]]))


# Autoencoders


def errors_against_spectral_radii(autoencoder: DenoisingAutoencoder, images: Tensor) -> Tensor:
    """Relative errors of `1 - rate`, NaN where there is none."""
    orbits = iterate(autoencoder, images, recorded=len(images), to_floor=True)
    assert int(orbits.fixed_point.min()) >= 0
    rates = convergence_rate(orbits)
    assert rates.rate.shape == (len(images),)
    points = torch.stack([point.state for point in orbits.fixed_points])
    radii = spectral_radius(autoencoder, points)[orbits.fixed_point]
    # The report's section 6.3 speaks of 50 to 200 steps; these models are smaller or trained for less.
    found = rates.rate.isfinite()
    assert bool((rates.transient < rates.first)[found].all())
    assert 10 <= int(rates.transient[found].median()) <= 200
    return (rates.rate - radii) / (1 - radii)


def test_digits_converge_at_the_spectral_radii_of_their_attractors(
    digits_dae: DenoisingAutoencoder, digits_test: Dataset
):
    errors = errors_against_spectral_radii(digits_dae, digits_test.images[:500])
    assert float(errors.isnan().double().mean()) <= 0.05
    assert float(errors.abs().nanmedian()) <= 0.02


@pytest.mark.parametrize("samples", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_mnist_converges_at_the_spectral_radii_of_its_attractors(
    samples: int, mnist_dae: DenoisingAutoencoder, mnist_test: Dataset
):
    errors = errors_against_spectral_radii(mnist_dae, mnist_test.images[:samples])
    assert float(errors.isnan().double().mean()) <= 0.05
    assert float(errors.abs().nanmedian()) <= 0.02

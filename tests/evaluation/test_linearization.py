"""What an analysis says of fixed points and rates, against closed forms and independent computation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.attractors import basins_of_orbits
from dynlab.dynamics.certificates import CertificateStatus
from dynlab.dynamics.rates import Decay
from dynlab.errors import InputError
from dynlab.evaluation.approach import energy_of, radii_of_samples, rates_of
from dynlab.evaluation.linearization import certificates, index_sum, linearizations
from dynlab.evaluation.settings import AnalysisSettings
from dynlab.maps import DenoisingAutoencoder, Map
from dynlab.maps.classical import DoubleWell, Linear

from systems import Formula


def random_autoencoder(*, tied: bool = False, seed: int = 0) -> DenoisingAutoencoder:
    """A sigmoid autoencoder with several attractors: large weights, nearly symmetric, around the centre of the cube."""
    autoencoder = DenoisingAutoencoder(4, 6, tied=tied)
    generator = torch.Generator().manual_seed(seed)
    weight = autoencoder.encoder["weight"].data.normal_(std=8.0, generator=generator)
    if not tied:
        autoencoder.decoder["weight"].data.copy_(weight.T + 3 * torch.randn(4, 6, generator=generator))
    autoencoder.encoder["bias"].data.copy_(-weight.sum(dim=1) / 2)
    autoencoder.decoder["bias"].data.copy_(-autoencoder.decoder_weight.detach().sum(dim=1) / 2)
    return autoencoder


def some_samples(count: int = 30, dim: int = 4) -> torch.Tensor:
    return torch.rand(count, dim, generator=torch.Generator().manual_seed(1))


def linear(rows: list[list[float]]) -> Linear:
    return Linear(torch.tensor(rows, dtype=torch.float64))


def silent(done: float) -> None:
    assert 0 <= done <= 1


def test_a_shear_has_the_norm_amplification_and_departure_of_its_closed_form(device: torch.device):
    # J = [[r, s], [0, r]] has J^p = [[r^p, p r^(p-1) s], [0, r^p]].
    r, s = 0.8, 2.0
    system = linear([[r, s], [0.0, r]]).to(device)
    (found,) = linearizations(system, torch.zeros(1, 2, dtype=torch.float64), silent)
    norms = [np.linalg.norm([[r**p, p * r ** (p - 1) * s], [0, r**p]], 2) for p in range(200)]
    assert found.attractor == 0
    assert found.jacobian_norm == pytest.approx(norms[1], rel=1e-12)
    assert found.largest_amplification == pytest.approx(max(norms), rel=1e-12)
    assert found.amplification_steps == int(np.argmax(norms))
    assert found.amplification_is_settled
    assert found.departure_from_normality == pytest.approx(s, rel=1e-12)
    # ||J - J'||_F = sqrt(2) s, ||J||_F = sqrt(2 r^2 + s^2)
    assert found.antisymmetric_share == pytest.approx(math.sqrt(2) * s / (2 * math.sqrt(2 * r * r + s * s)), rel=1e-12)
    assert found.near_unity == (0, 0, 0)


def test_multipliers_near_one_are_counted(device: torch.device):
    system = linear(np.diag([0.995, 0.98, 0.93, 0.5]).tolist()).to(device)
    (found,) = linearizations(system, torch.zeros(1, 4, dtype=torch.float64), silent)
    assert found.near_unity == (1, 2, 3)
    assert found.antisymmetric_share == 0
    assert found.largest_amplification == 1
    assert found.amplification_steps == 0


def test_each_attractor_is_linearized_at_its_own_state(device: torch.device):
    # More of them than are worked on together, and a Jacobian that tells where it was taken: F' = x.
    system = Formula(1, lambda x: x * x / 2).to(device)
    states = torch.linspace(0.01, 0.99, 20, dtype=torch.float64)[:, None]
    found = linearizations(system, states, silent)
    assert [entry.attractor for entry in found] == list(range(20))
    assert [entry.jacobian_norm for entry in found] == pytest.approx(states[:, 0].tolist(), rel=1e-12)


def test_nothing_to_linearize_or_certify(device: torch.device):
    system, nothing = linear([[0.5]]).to(device), torch.zeros(0, 1, dtype=torch.float64)
    reports: list[float] = []
    assert linearizations(system, nothing, reports.append) == []
    assert certificates(system, nothing, "estimate", reports.append) == []
    assert reports == [1.0, 1.0]


def test_certificates_hold_what_certify_found_and_none_for_what_is_not_finite(device: torch.device):
    autoencoder = random_autoencoder().to(device)
    basins = dl.basins_of_attraction(autoencoder, some_samples())
    found = certificates(autoencoder, basins.fixed_points[:1], "estimate", silent)[0]
    expected = dl.dynamics.certificates.certify(autoencoder, basins.fixed_points[0])
    assert found.status is expected.status is CertificateStatus.ESTIMATED
    for name in ("existence_radius", "uniqueness_radius", "index", "is_stable", "contraction", "basin_radius"):
        assert getattr(found, name) == getattr(expected, name)
    affine = DenoisingAutoencoder(2, 2, hidden_nonlinearity="identity", output_nonlinearity="identity").to(device)
    everywhere = certificates(affine, torch.zeros(1, 2, dtype=torch.float64), "estimate", silent)[0]
    assert everywhere.is_stable
    assert (everywhere.uniqueness_radius, everywhere.basin_radius) == (None, None)
    unknown = certificates(Formula(1, lambda x: x / 2).to(device), torch.zeros(1, 1).double(), "estimate", silent)[0]
    assert unknown.status is CertificateStatus.FAILED
    assert (unknown.existence_radius, unknown.contraction) == (None, None)
    assert "Formula" in unknown.reason


@pytest.mark.parametrize("seed", range(4))
def test_attractors_count_one_each_as_the_determinant_says(seed: int, device: torch.device):
    autoencoder = random_autoencoder(seed=seed).to(device)
    points = dl.basins_of_attraction(autoencoder, some_samples(200)).fixed_points
    assert len(points) > 1
    found = index_sum(autoencoder, len(points))
    assert found is not None
    jacobians = autoencoder.double().jacobian(points.to(device)).cpu().numpy()
    assert found.index_sum == sum(np.sign(np.linalg.det(np.eye(4) - jacobians)))
    assert (found.known, found.expected, found.missing) == (len(points), 1, abs(1 - len(points)))


def test_nothing_is_said_of_a_map_that_leaves_the_cube():
    assert index_sum(DoubleWell(), 2) is None
    assert index_sum(DenoisingAutoencoder(4, 6, output_nonlinearity="relu"), 2) is None
    assert index_sum(DenoisingAutoencoder(4, 6, hidden_nonlinearity="tanh"), 0) == replace(
        index_sum(DenoisingAutoencoder(4, 6), 0) or pytest.fail("no sum"), missing=1
    )


def test_the_energy_of_a_tied_map_never_rises_and_that_of_another_is_counted(device: torch.device):
    samples = some_samples(50)
    tied = energy_of(random_autoencoder(tied=True).to(device), samples)
    assert tied is not None
    assert (tied.is_tied, tied.orbits, tied.rising_share, tied.largest_rise) == (True, 50, 0.0, 0.0)
    assert tied.lower_share == 1
    system = random_autoencoder().to(device)
    untied = energy_of(system, samples)
    assert untied is not None
    assert not untied.is_tied
    # A second way to the same: along each orbit for itself.
    exact, changes, lower = random_autoencoder().double(), [], 0
    for state in samples.double():
        orbit = [state[None]]
        for _ in range(untied.steps):
            orbit.append(exact(orbit[-1]).detach())
        energies = dl.dynamics.energy(exact, torch.cat(orbit)).numpy()
        changes += np.diff(energies).tolist()
        lower += energies[-1] < energies[0]
    assert untied.largest_rise == pytest.approx(max(changes), rel=1e-9)
    assert untied.largest_rise > 0
    assert untied.lower_share == lower / 50


def test_energy_is_for_sigmoid_autoencoders_and_the_cube(device: torch.device):
    system = random_autoencoder().to(device)
    assert energy_of(system, some_samples(3) + 2) is None
    mixed = torch.cat([some_samples(3) + 2, some_samples(4)])
    found = energy_of(system, mixed)
    assert found == energy_of(system, some_samples(4))
    assert found is not None
    assert found.orbits == 4
    assert energy_of(system, some_samples(0)) is None
    assert energy_of(DenoisingAutoencoder(4, 6, hidden_nonlinearity="tanh").to(device), some_samples()) is None
    assert energy_of(linear(np.eye(4).tolist()).to(device), some_samples()) is None


def test_rates_stand_beside_the_spectral_radius_of_each_sample(device: torch.device):
    system = linear([[0.9, 0.0], [0.0, 0.5]]).to(device)
    orbits = dl.iterate(system, some_samples(6, 2) + 1, recorded=6, to_floor=True, early_labels=False)
    basins = basins_of_orbits(system, orbits)
    rates, summary = rates_of(orbits, basins)
    assert summary.decays == {decay.value: 6 if decay is Decay.EXPONENTIAL else 0 for decay in Decay}
    assert (summary.recorded, summary.compared) == (6, 6)
    expected = np.median(np.abs(rates.rate.numpy() - 0.9) / 0.1)
    assert summary.median_difference == pytest.approx(expected, rel=1e-9)
    assert expected < 0.02
    assert summary.median_transient == float(np.median(rates.transient.numpy()))


def test_samples_without_an_attractor_are_compared_with_none():
    radii = torch.tensor([0.5, 0.9], dtype=torch.float64)
    found = radii_of_samples(radii, torch.tensor([1, -1, 0, 1]))
    np.testing.assert_array_equal(found, [0.9, np.nan, 0.5, 0.9])
    np.testing.assert_array_equal(radii_of_samples(radii[:0], torch.tensor([-1, -1])), [np.nan, np.nan])


@pytest.mark.parametrize(
    ("system", "samples"),
    [
        (Formula(1, lambda x: x + 1), torch.zeros(3, 1)),  # no attractor, no layers
        (Formula(1, lambda x: -x), torch.ones(3, 1)),  # a cycle
        (Formula(1, lambda x: x / 2 + 1), torch.linspace(-1, 1, 5)[:, None]),  # dim 1
        (DoubleWell(), some_samples(20, DoubleWell().dim) * 2 - 1),
        (linear([[0.0, -0.9], [0.9, 0.0]]), some_samples(5, 2)),  # a leading pair
    ],
    ids=["diverges", "cycle", "one dimension", "double well", "rotation"],
)
@pytest.mark.parametrize("recorded", [0, 500])
def test_maps_of_all_kinds_are_analysed(system: Map, samples: torch.Tensor, recorded: int, tmp_path: Path):
    settings = AnalysisSettings(max_steps=200, max_exact_steps=200, recorded_samples=recorded)
    reports: dict[str, list[float]] = {}
    analysis = dl.analyse(
        system, samples, settings=settings, on_progress=lambda what, done: reports.setdefault(what, []).append(done)
    )
    results, arrays = analysis.results, analysis.arrays
    recorded = min(recorded, len(samples))
    assert results.rates.recorded == sum(results.rates.decays.values()) == len(arrays.rates) == recorded
    assert len(results.linearizations) == len(results.certificates) == len(results.attractors)
    for entry, attractor in zip(results.linearizations, results.attractors, strict=True):
        assert entry.jacobian_norm >= attractor.spectral_radius * (1 - 1e-12)
    assert results.index_sum is None
    assert results.energy is None
    for what in ("rates and energy", "linearization", "certificates"):
        assert reports[what][-1] == 1.0
        assert reports[what] == sorted(reports[what])
    analysis.save(tmp_path)
    assert dl.Analysis.load(tmp_path).results == results
    dl.write_report([analysis], tmp_path / "page.html")


def test_settings_say_how_many(device: torch.device):
    system, samples = random_autoencoder().to(device), some_samples(200)
    everything = dl.analyse(system, samples).results
    assert len(everything.attractors) > 2
    settings = AnalysisSettings(linearized_attractors=2, certified_attractors=1)
    few = dl.analyse(system, samples, settings=settings).results
    assert few.linearizations == everything.linearizations[:2]
    assert few.certificates == everything.certificates[:1]
    settings = AnalysisSettings(linearized_attractors=0, certified_attractors=0, certificate_method="proof")
    none = dl.analyse(system, samples, settings=settings).results
    assert (none.linearizations, none.certificates) == ([], [])


def test_settings_out_of_range():
    with pytest.raises(InputError, match="linearized_attractors is -1, expected at least 0"):
        AnalysisSettings(linearized_attractors=-1)
    with pytest.raises(InputError, match="certified_attractors is -2, expected at least 0"):
        AnalysisSettings(certified_attractors=-2)
    with pytest.raises(InputError, match="certificate_method is 'hope', expected estimate or proof"):
        AnalysisSettings(certificate_method="hope")

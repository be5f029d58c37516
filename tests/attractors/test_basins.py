from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import dynlab as dl
from dynlab.attractors import Basins, basins_of_attraction
from dynlab.errors import InputError
from dynlab.maps import DenoisingAutoencoder, map_hash
from dynlab.maps.classical import DoubleWell, Linear


def samples(count: int = 300) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)


def test_wells_are_the_attractors_and_the_larger_basin_comes_first(device: torch.device):
    states = torch.cat([samples(), torch.full((300, 2), 0.5)])
    basins = basins_of_attraction(DoubleWell(), states.to(device))
    wells = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(basins.fixed_points, wells, rtol=0.0, atol=1e-12)
    assert torch.equal(basins.labels, (states[:, 0] < 0).long())
    assert basins.sizes.tolist() == [int((states[:, 0] > 0).sum()), int((states[:, 0] < 0).sum())]
    # F'(1) = 1 - 0.1 * 2 along x and 0.9 along y
    torch.testing.assert_close(basins.spectral_radii, torch.tensor([0.9, 0.9], dtype=torch.float64))
    torch.testing.assert_close(basins.multipliers.real, torch.tensor([[0.9, 0.8]] * 2, dtype=torch.float64))
    assert float(basins.residuals.max()) <= 1e-12


def test_basins_of_equal_size_are_ordered_by_their_fixed_points():
    states = torch.tensor([[0.5, 0.0], [-0.5, 0.0]])
    assert basins_of_attraction(DoubleWell(), states).fixed_points[:, 0].tolist() == pytest.approx([-1.0, 1.0])


def test_the_order_of_the_samples_does_not_matter():
    states = samples()
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    basins, shuffled = (basins_of_attraction(DoubleWell(), rows) for rows in (states, states[order]))
    torch.testing.assert_close(shuffled.fixed_points, basins.fixed_points, rtol=0.0, atol=1e-12)
    assert torch.equal(shuffled.labels, basins.labels[order])


def test_samples_without_an_attractor_have_none():
    basins = basins_of_attraction(Linear(torch.eye(2) * 2), torch.ones(3, 2))
    assert basins.labels.tolist() == [-1, -1, -1]
    assert (len(basins.fixed_points), len(basins.sizes), len(basins.spectral_radii)) == (0, 0, 0)


def test_round_trip_and_refusal_of_another_map(tmp_path: Path):
    autoencoder = DenoisingAutoencoder(4, 3)
    autoencoder.encoder["weight"].data.normal_(generator=torch.Generator().manual_seed(0))
    basins = basins_of_attraction(autoencoder, torch.rand(5, 4))
    basins.save(tmp_path / "basins.safetensors")
    read = Basins.load(tmp_path / "basins.safetensors", autoencoder)
    assert read.map_sha256 == basins.map_sha256 == map_hash(autoencoder)
    for name in ("fixed_points", "residuals", "multipliers", "labels"):
        assert torch.equal(getattr(read, name), getattr(basins, name))
    autoencoder.encoder["bias"].data += 1
    with pytest.raises(InputError, match="basins of the map"):
        Basins.load(tmp_path / "basins.safetensors", autoencoder)
    arrays = load_file(tmp_path / "basins.safetensors")
    metadata = {"kind": "basins-of-attraction", "map_sha256": basins.map_sha256}
    for name, wrong in (("multipliers", torch.zeros(3, 3)), ("labels", torch.full((5,), 99))):
        save_file({**arrays, name: wrong}, tmp_path / "wrong.safetensors", metadata=metadata)
        with pytest.raises(InputError, match="do not fit together"):
            Basins.load(tmp_path / "wrong.safetensors")
    autoencoder.save(tmp_path / "dae.safetensors")
    with pytest.raises(InputError, match="holds no basins of attraction"):
        Basins.load(tmp_path / "dae.safetensors")


def test_is_public():
    assert dl.basins_of_attraction is basins_of_attraction

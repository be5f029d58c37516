from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dynlab as dl
from dynlab.attractors import Basins, basins_of_attraction
from dynlab.attractors.basins import merge_basins
from dynlab.datasets import Dataset
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


@pytest.mark.parametrize("scale", [0.02, 0.005, 0.001, 0.0003])
def test_attractors_that_look_like_one_from_afar_are_two(scale: float):
    # F(x) = 0.5 + scale tanh(2 (x - 0.5) / scale): a sample stays on its side of the repeller at 0.5.
    system = dl.as_map(lambda states: 0.5 + scale * torch.tanh(2 / scale * (states - 0.5)), (1,))
    samples = torch.rand(400, 1, generator=torch.Generator().manual_seed(0))
    basins = basins_of_attraction(system, samples)
    assert len(basins.fixed_points) == 2
    reached = basins.fixed_points[basins.labels]
    assert torch.equal(reached > 0.5, samples > 0.5)


def test_a_map_that_cannot_be_told_from_others_is_refused_before_any_work():
    class Locked(dl.Map):
        def __init__(self) -> None:
            super().__init__(1)
            self.lock = threading.Lock()

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            raise AssertionError("work began")

    with pytest.raises(ValueError, match=r"lock is a .*lock, whose content cannot be read"):
        basins_of_attraction(Locked(), torch.rand(3, 1))


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
    basins = basins_of_attraction(autoencoder, torch.rand(5, 4), first_sample=3)
    assert basins.samples.tolist() == [3, 4, 5, 6, 7]
    basins.save(tmp_path / "basins.safetensors")
    read = Basins.load(tmp_path / "basins.safetensors", autoencoder)
    assert read.map_sha256 == basins.map_sha256 == map_hash(autoencoder)
    for name in ("fixed_points", "residuals", "multipliers", "labels", "samples"):
        assert torch.equal(getattr(read, name), getattr(basins, name))
    autoencoder.encoder["bias"].data += 1
    with pytest.raises(InputError, match="basins of the map"):
        Basins.load(tmp_path / "basins.safetensors", autoencoder)
    arrays = load_file(tmp_path / "basins.safetensors")
    metadata = {"kind": "basins-of-attraction", "map_sha256": basins.map_sha256}
    for name, wrong in (
        ("multipliers", torch.zeros(3, 3)),
        ("labels", torch.full((5,), 99)),
        ("samples", torch.arange(4)),
        ("samples", torch.tensor([0, 1, 3, 2, 4])),
        ("samples", torch.arange(-1, 4)),
        ("residuals", torch.full_like(arrays["residuals"], torch.nan)),
    ):
        save_file({**arrays, name: wrong}, tmp_path / "wrong.safetensors", metadata=metadata)
        with pytest.raises(InputError, match="do not fit together"):
            Basins.load(tmp_path / "wrong.safetensors")
    del arrays["samples"]
    save_file(arrays, tmp_path / "older.safetensors", metadata=metadata)
    assert Basins.load(tmp_path / "older.safetensors").samples.tolist() == [0, 1, 2, 3, 4]
    autoencoder.save(tmp_path / "dae.safetensors")
    with pytest.raises(InputError, match="holds no basins of attraction"):
        Basins.load(tmp_path / "dae.safetensors")


def bits(basins: Basins) -> list[object]:
    values = [getattr(basins, field.name) for field in fields(Basins)]
    return [(v.shape, v.dtype, v.numpy().tobytes()) if isinstance(v, torch.Tensor) else v for v in values]


def by_hand(
    points: Sequence[Sequence[float]],
    residuals: Sequence[float],
    labels: Sequence[int],
    *,
    first_sample: int = 0,
    multipliers: Sequence[Sequence[complex]] | None = None,
) -> Basins:
    return Basins(
        map_sha256="a" * 64,
        fixed_points=torch.tensor(points, dtype=torch.float64).reshape(len(points), 2),
        residuals=torch.tensor(residuals, dtype=torch.float64),
        multipliers=(
            torch.tensor(multipliers or [[0.5]] * len(points), dtype=torch.complex128)
            if points
            else torch.zeros(0, 1, dtype=torch.complex128)
        ),
        labels=torch.tensor(labels),
        samples=torch.arange(first_sample, first_sample + len(labels)),
    )


@pytest.fixture(scope="module")
def shards(digits_dae: DenoisingAutoencoder, digits_test: Dataset) -> list[Basins]:
    starts = range(0, 400, 80)
    return [
        basins_of_attraction(digits_dae, digits_test.images[start : start + 80], first_sample=start) for start in starts
    ]


def test_shards_combine_into_the_basins_of_all(
    shards: list[Basins], digits_dae: DenoisingAutoencoder, digits_test: Dataset
):
    whole = basins_of_attraction(digits_dae, digits_test.images[:400])
    merged = merge_basins(shards)
    assert len(whole.fixed_points) > 10
    assert max(len(part.fixed_points) for part in shards) < len(whole.fixed_points)
    assert torch.equal(merged.samples, torch.arange(400))
    assert torch.equal(merged.sizes, whole.sizes)
    # Equally large basins may change places where their fixed points agree in leading numbers but for rounding.
    distances = torch.cdist(merged.fixed_points, whole.fixed_points, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.argmin(dim=1)
    assert float(distances.amin(dim=1).max()) < 1e-9
    assert sorted(nearest.tolist()) == list(range(len(nearest)))
    assert torch.equal(torch.where(merged.labels >= 0, nearest[merged.labels], -1), whole.labels)
    torch.testing.assert_close(merged.spectral_radii, whole.spectral_radii[nearest], rtol=0.0, atol=1e-9)
    assert float(merged.residuals.max()) <= 1e-12
    merged.check_map(digits_dae)


def test_order_and_grouping_do_not_matter(shards: list[Basins]):
    expected = bits(merge_basins(shards))
    assert bits(merge_basins([merge_basins(shards)])) == expected
    for a, b, c, d, e in itertools.islice(itertools.permutations(shards), 0, None, 17):
        assert bits(merge_basins([a, b, c, d, e])) == expected
        assert bits(merge_basins([merge_basins([a, b]), merge_basins([c, merge_basins([d, e])])])) == expected
        assert bits(merge_basins([merge_basins([merge_basins([merge_basins([a, b]), c]), d]), e])) == expected


@pytest.mark.parametrize("seed", range(20))
def test_random_parts_combine_alike_in_every_order(seed: int):
    rng = np.random.default_rng(seed)
    parts = []
    for part in range(4):
        which = rng.permutation(6)[: rng.integers(0, 6)]
        # Attractors near and far, copies 1e-9 apart or equal up to the sign of zero, few residuals, so that many tie.
        points = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 1 + 3e-6], [1e3, 0.0], [1e3 + 2e-3, 0.0], [-1.0, 5.0]])[which]
        points = points + 1e-9 * rng.integers(0, 2, points.shape)
        points = np.where((points == 0) & (rng.random(points.shape) < 0.5), -0.0, points)
        multipliers = rng.choice([0.5, -0.5, 0.5 + 1e-16j], (len(which), rng.integers(1, 4)))
        labels = rng.integers(-1, len(which), 10)
        parts.append(
            by_hand(
                points.tolist(),
                rng.choice([0.0, 1e-14], len(which)).tolist(),
                labels.tolist(),
                first_sample=10 * part,
                multipliers=multipliers.tolist() or None,
            )
        )
    expected = bits(merge_basins(parts))
    for a, b, c, d in itertools.permutations(parts):
        assert bits(merge_basins([a, b, c, d])) == expected
        assert bits(merge_basins([merge_basins([a, b]), merge_basins([c, d])])) == expected
        assert bits(merge_basins([a, merge_basins([b, merge_basins([c, d])])])) == expected


def test_the_copy_with_the_smallest_residual_stays_with_its_multipliers():
    first = by_hand([[1.0, 2.0], [3.0, 0.0]], [1e-13, 1e-15], [0, 0, 1], multipliers=[[0.5], [0.25]])
    second = by_hand(
        [[1.0 + 1e-9, 2.0], [3.0, 1e-9]], [1e-14, 1e-14], [1, 0, -1], first_sample=3, multipliers=[[0.75], [0.125]]
    )
    merged = merge_basins([second, first])
    assert merged.fixed_points.tolist() == [[1.0 + 1e-9, 2.0], [3.0, 0.0]]
    assert merged.residuals.tolist() == [1e-14, 1e-15]
    assert merged.multipliers.real.tolist() == [[0.75], [0.25]]
    assert merged.labels.tolist() == [0, 0, 1, 1, 0, -1]
    assert merged.samples.tolist() == [0, 1, 2, 3, 4, 5]


def test_of_equal_residuals_the_first_copy_in_lexicographic_order_stays():
    parts = [by_hand([[1.0, y]], [0.0], [0], first_sample=i) for i, y in enumerate((2e-9, 1e-9, 3e-9))]
    assert merge_basins(parts).fixed_points.tolist() == [[1.0, 1e-9]]


def test_the_sign_of_zero_does_not_depend_on_the_order():
    signs = ([0.0, -0.0], [-0.0, 0.0])
    parts = [by_hand([signs[i]], [0.0], [0], first_sample=i, multipliers=[[complex(0.5, signs[i][0])]]) for i in (0, 1)]
    assert bits(merge_basins(parts)) == bits(merge_basins(parts[::-1]))


@pytest.mark.parametrize(("scale", "distance", "expected"), [(1.0, 0.9e-6, 1), (1.0, 1.1e-6, 2), (0.01, 0.9e-6, 1)])
@pytest.mark.parametrize("far", [[], [[1e4, 0.0]]])
def test_copies_are_told_by_relative_distance(scale: float, distance: float, expected: int, far: list[list[float]]):
    # Whether another attractor is far away changes nothing here, though it widens the first, rough look.
    first = by_hand([[scale, 0.0], *far], [0.0] * (1 + len(far)), [0])
    second = by_hand([[scale, distance]], [0.0], [0], first_sample=1)
    assert len(merge_basins([first, second]).fixed_points) == expected + len(far)


def test_distances_far_out_are_relative():
    def merged(distance: float) -> int:
        parts = (by_hand([[0.0, y]], [0.0], [0], first_sample=i) for i, y in enumerate((1e3, 1e3 + distance)))
        return len(merge_basins(list(parts)).fixed_points)

    assert (merged(0.9e-3), merged(1.1e-3)) == (1, 2)


def test_multipliers_of_different_widths_are_padded_and_no_column_is_left_empty():
    pair, single = [0.5 + 0.1j, 0.5 - 0.1j], [0.25]
    wide = by_hand([[1.0, 0.0]], [1e-14], [0], multipliers=[pair])
    narrow = by_hand([[2.0, 0.0]], [1e-14], [0], first_sample=1, multipliers=[single])
    merged = merge_basins([narrow, wide])
    assert merged.multipliers[0].tolist() == pair
    assert merged.multipliers[1, 0] == 0.25
    assert bool(merged.multipliers[1, 1].isnan())
    better = by_hand([[1.0, 0.0]], [0.0], [0], first_sample=2, multipliers=[single])
    assert merge_basins([merged, better]).multipliers.tolist() == [[0.25], [0.25]]


def test_parts_without_attractors_combine_too():
    nowhere = [basins_of_attraction(Linear(torch.eye(2) * 2), torch.ones(3, 2), first_sample=i) for i in (3, 0)]
    merged = merge_basins(nowhere)
    assert merged.labels.tolist() == [-1] * 6
    assert merged.samples.tolist() == list(range(6))
    assert merged.fixed_points.shape == (0, 2)
    with_one = merge_basins([by_hand([], [], [-1]), by_hand([[1.0, 0.0]], [0.0], [-1, 0], first_sample=1)])
    assert with_one.labels.tolist() == [-1, -1, 0]


def test_fractions_of_merged_basins_are_of_all_samples():
    parts = [basins_of_attraction(DoubleWell(), samples()[i : i + 100], first_sample=i) for i in (200, 0, 100)]
    merged = merge_basins(parts)
    right = int((samples()[:, 0] > 0).sum())
    assert merged.fractions.tolist() == [max(right, 300 - right) / 300, min(right, 300 - right) / 300]


def test_many_copies_of_many_attractors_need_no_matrix_of_all():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(500, 30, generator=generator, dtype=torch.float64)
    parts = []
    for part in range(20):
        noise = 1e-10 * torch.randn(500, 30, generator=generator, dtype=torch.float64)
        order = torch.randperm(500, generator=generator)
        parts.append(
            Basins(
                "b" * 64,
                (centres + noise)[order],
                torch.rand(500, generator=generator, dtype=torch.float64),
                torch.full((500, 1), 0.5, dtype=torch.complex128),
                torch.arange(500),
                torch.arange(500 * part, 500 * (part + 1)),
            )
        )
    merged = merge_basins(parts)
    assert merged.sizes.tolist() == [20] * 500
    assert math.isclose(
        float(merged.residuals.sum()),
        float(torch.stack([part.residuals[torch.argsort(_owner(part, centres))] for part in parts]).amin(dim=0).sum()),
        rel_tol=1e-12,
    )


def _owner(part: Basins, centres: torch.Tensor) -> torch.Tensor:
    return torch.cdist(part.fixed_points, centres).argmin(dim=1)


def test_what_does_not_belong_together_is_refused():
    part = by_hand([[1.0, 0.0]], [0.0], [0, 0])
    with pytest.raises(InputError, match="sample 1 is in two parts"):
        merge_basins([part, by_hand([[1.0, 0.0]], [0.0], [0], first_sample=1)])
    other = Basins("c" * 64, *(getattr(part, field.name) for field in fields(Basins)[1:]))
    with pytest.raises(InputError, match="basins of the map cccccccccccc, expected those of aaaaaaaaaaaa"):
        merge_basins([part, other])
    with pytest.raises(ValueError, match="parts is empty"):
        merge_basins([])
    with pytest.raises(ValueError, match="first_sample is -1"):
        basins_of_attraction(DoubleWell(), samples(), first_sample=-1)


def test_is_public():
    assert dl.basins_of_attraction is basins_of_attraction

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dynlab.datasets import Dataset
from dynlab.dynamics import Orbits, Status, iterate
from dynlab.maps import DenoisingAutoencoder, Map, as_map

from systems import Formula, Linear, double_well


def ends(orbits: Orbits) -> torch.Tensor:
    points = torch.stack([point.state for point in orbits.fixed_points])
    return points[orbits.fixed_point]


def test_all_kinds_of_sources_give_the_same_orbits(
    digits_dae: DenoisingAutoencoder, digits_test: Dataset, tmp_path: Path
):
    images = digits_test.images
    expected = iterate(digits_dae, images)
    np.save(tmp_path / "images.npy", images.numpy())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")

    def batches() -> Iterator[np.ndarray]:
        yield from np.array_split(images.numpy(), 7)
        yield images.numpy()[:0]

    for samples in (images.numpy(), mapped, batches(), list(images.split(100)), images.reshape(-1, 8, 8)):
        orbits = iterate(digits_dae, samples, keep_states=False)
        assert set(orbits.status) == {Status.CONVERGED}
        assert float((ends(orbits) - expected.states).norm(dim=1).max()) < 1e-9


def test_states_come_back_in_the_shape_they_came_in(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    images = digits_test.images[:20]
    flat, shaped = iterate(digits_dae, images), iterate(digits_dae, images.reshape(20, 8, 8))
    assert shaped.states.shape == (20, 8, 8)
    torch.testing.assert_close(shaped.states.reshape(20, 64), flat.states, rtol=0.0, atol=1e-9)


def test_no_more_samples_are_taken_than_there_is_room_for():
    taken = 0
    alive = 0

    def batches() -> Iterator[torch.Tensor]:
        nonlocal taken
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            taken += 1000
            yield torch.randn(1000, 2, generator=generator).clamp(-2, 2)

    seen: list[int] = []

    def watched(states: torch.Tensor) -> torch.Tensor:
        nonlocal alive
        alive = max(alive, len(states))
        seen.append(taken)
        x, y = states.unbind(1)
        return torch.stack([x - 0.1 * x * (x * x - 1), 0.9 * y], dim=1)

    orbits = iterate(Formula(2, watched), batches(), keep_states=False)
    assert len(orbits.status) == taken == 20_000
    assert set(orbits.status) == {Status.CONVERGED}
    assert seen[0] < 20_000  # the first step is taken long before the last sample is fetched
    assert alive < 20_000


def test_states_that_were_not_kept_are_not_there():
    orbits = iterate(double_well(), torch.ones(3, 2), keep_states=False)
    assert orbits.kept_states is None
    with pytest.raises(ValueError, match="states were not kept"):
        _ = orbits.states


def test_a_bad_sample_in_a_later_batch_is_named():
    batches = [torch.zeros(3, 2), torch.tensor([[0.0, 0.0], [float("inf"), 0.0]])]
    with pytest.raises(ValueError, match="initial_states is not finite in row 4"):
        iterate(double_well(), batches)
    with pytest.raises(ValueError, match=r"initial_states has shape \(3, 5\), expected \(batch, 2\)"):
        iterate(double_well(), [torch.zeros(3, 5)])
    with pytest.raises(ValueError, match="initial_states holds a list, expected tensors or arrays"):
        iterate(double_well(), iter([[0.0, 0.0]]))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="initial_states is of type int64, expected floating point"):
        iterate(double_well(), np.zeros((2, 2), dtype=np.int64))


def test_samples_with_inputs_of_their_own_go_to_fixed_points_of_their_own():
    # z -> z / 2 + x has the one fixed point 2 x
    inputs = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    system = as_map(lambda z, x: z / 2 + x, (3,), inputs=inputs)
    orbits = iterate(system, torch.zeros(100, 3), recorded=[5], to_floor=True)
    assert set(orbits.status) == {Status.CONVERGED}
    torch.testing.assert_close(orbits.states, 2 * inputs.double(), rtol=0.0, atol=1e-11)
    first = float(orbits.step_lengths[0, 0])
    assert first == pytest.approx(float(inputs[5].norm()), rel=1e-6)


def test_a_map_with_inputs_wants_one_for_each_sample():
    system = as_map(lambda z, x: z / 2 + x, (3,), inputs=torch.ones(4, 3))
    with pytest.raises(ValueError, match="initial_states holds 5 samples, expected 4"):
        iterate(system, torch.zeros(5, 3))


def test_early_labels_are_those_of_iteration_to_the_end(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    early, late = (iterate(digits_dae, digits_test.images, early_labels=flag) for flag in (True, False))
    torch.testing.assert_close(early.states, late.states, rtol=0.0, atol=1e-9)
    assert float(early.steps.double().mean()) < 0.9 * float(late.steps.double().mean())
    assert bool((early.steps <= late.steps + 8).all())  # looked at every eight steps


def test_without_a_recheck_labels_are_those_of_the_maps_own_precision():
    # A drift that float32 cannot hold decides the side of the saddle on which the orbit leaves.
    def apply(states: torch.Tensor) -> torch.Tensor:
        x, y = states.unbind(1)
        drift = 1e-9 if states.dtype == torch.float64 else 0.0
        return torch.stack([x - 0.1 * x * (x * x - 1) + drift, 0.9 * y], dim=1)

    system: Map = Formula(2, apply)
    states = torch.tensor([[-1e-10, 1.0]])
    assert float(iterate(system, states, tolerance=1e-8).states[0, 0]) > 0.9
    assert float(iterate(system, states, tolerance=1e-8, recheck=False).states[0, 0]) < -0.9


def test_progress_ends_at_one():
    seen: list[float] = []
    iterate(Linear(torch.tensor([[0.5]])), torch.ones(50, 1), on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_inputs_of_one_sample_go_with_all_states():
    system = as_map(lambda z, x: z / 2 + x, (3,), inputs=torch.ones(1, 3))
    orbits = iterate(system, torch.randn(40, 3, generator=torch.Generator().manual_seed(0)))
    assert len(orbits.fixed_points) == 1
    torch.testing.assert_close(orbits.states, torch.full((40, 3), 2.0).double(), rtol=0.0, atol=1e-11)

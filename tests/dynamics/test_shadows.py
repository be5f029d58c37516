"""Shadows leave in doubt whom rounding may have decided for, and nobody else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynlab.datasets import Dataset
from dynlab.dynamics import iterate
from dynlab.dynamics.plain import Finished, iterate_plainly
from dynlab.dynamics.shadows import Shadows
from dynlab.dynamics.sources import Source
from dynlab.maps import DenoisingAutoencoder, Map, as_map, float64_copy

from systems import Formula, Linear, double_well, logistic


def with_shadows(system: Map, states: torch.Tensor, *, tolerance: float = 1e-4, max_steps: int = 10_000) -> Finished:
    """All samples, in their order."""
    source = Source(system, states, parameter="states")
    shadows = Shadows(system, float64_copy(system))
    found = Finished.together(
        list(iterate_plainly(system, source, tolerance=tolerance, max_steps=max_steps, shadows=shadows))
    )
    return found.chosen(np.argsort(found.ids))


def test_orbits_that_a_rounding_error_would_turn_are_doubtful():
    states = torch.tensor([[1e-7, 1.0], [-3e-6, 1.0], [0.5, 1.0], [-0.02, 1.0]])
    assert with_shadows(double_well(), states).doubtful.tolist() == [True, True, False, False]


def test_orbits_that_magnify_rounding_errors_are_doubtful():
    states = torch.rand(20, 1, generator=torch.Generator().manual_seed(0))
    assert with_shadows(logistic(4.0), states, max_steps=200).doubtful.all()


@pytest.mark.parametrize(("bottleneck", "expected"), [(1e-6, True), (1e-4, False)])
def test_bottlenecks_are_doubtful_where_steps_are_as_short_as_rounding_errors(bottleneck: float, expected: bool):
    # A shadow passes it as its sample does, and an error that both make alike would stop both.
    system = Formula(1, lambda x: torch.where(x > 0.5, x - (x - 1) ** 2 - bottleneck, x / 2))
    found = with_shadows(system, torch.full((3, 1), 1.4), tolerance=1e-9, max_steps=10_000)
    assert found.doubtful.tolist() == [expected] * 3


def test_shadows_stay_with_their_samples_as_others_come_and_go(device: torch.device):
    # Several blocks; each sample shrinks along an axis of its own, and so at a rate of its own.
    generator = torch.Generator().manual_seed(0)
    system = Linear(torch.diag(torch.linspace(0.1, 0.95, 784))).to(device)
    states = torch.zeros(3000, 784)
    states[torch.arange(3000), torch.randint(784, (3000,), generator=generator)] = 1.0
    found = with_shadows(system, states.to(device))
    assert found.shadows is not None
    apart = (found.shadows - found.states).norm(dim=1)
    assert not found.doubtful.any()
    assert 0 < float(apart.max()) < 1e-3
    assert torch.equal(found.initial, states)


def test_shadows_hold_the_inputs_of_their_samples(device: torch.device):
    inputs = torch.arange(2000.0)[:, None].expand(2000, 500)
    system = as_map(lambda z, x: z / 2 + x, (500,), inputs=inputs).to(device)
    found = with_shadows(system, torch.zeros(2000, 500).to(device))
    assert found.shadows is not None
    torch.testing.assert_close(found.states, 2 * inputs, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.shadows, 2 * inputs, rtol=1e-4, atol=1e-3)
    assert not found.doubtful.any()


def test_maps_in_float64_have_none():
    system = float64_copy(double_well())
    found = with_shadows(system, torch.tensor([[1e-9, 1.0]], dtype=torch.float64))
    assert found.shadows is None
    assert not found.doubtful.any()


def test_where_a_shadow_starts_does_not_depend_on_the_other_samples():
    system = Linear(torch.diag(torch.linspace(0.1, 0.95, 7)))
    shadows = Shadows(system, float64_copy(system))
    states = torch.rand(20, 7, generator=torch.Generator().manual_seed(0))
    moved, rounding = shadows.beside(states, np.arange(20))
    alone = [shadows.beside(states[row : row + 1], np.array([row])) for row in range(20)]
    torch.testing.assert_close(torch.cat([one for one, _ in alone]), moved)
    np.testing.assert_allclose(np.concatenate([error for _, error in alone]), rounding, rtol=1.0)
    distances = (moved - states).double().norm(dim=1).numpy()
    np.testing.assert_allclose(distances, 1000 * rounding, rtol=0.02)


def test_what_is_not_in_doubt_goes_where_float64_goes(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    """The claim itself, by the distance between orbits of both precisions, step by step."""
    images = digits_test.images
    found = with_shadows(digits_dae, images, max_steps=400)
    _, rounding = Shadows(digits_dae, float64_copy(digits_dae)).beside(images, np.arange(len(images)))
    single, double, exact = images, images.double(), float64_copy(digits_dae)
    farthest = torch.zeros(len(images), dtype=torch.float64)
    with torch.no_grad():
        for _ in range(400):
            single, double = digits_dae(single), exact(double)
            farthest = torch.maximum(farthest, (single.double() - double).norm(dim=1))
    limit = torch.from_numpy(10 * 1000 * rounding)
    certain = torch.from_numpy(~found.doubtful)
    assert 0.8 < float(certain.double().mean()) < 1.0
    assert bool((farthest < limit)[certain].all())


def test_half_precision_is_in_doubt_and_its_answer_that_of_float64():
    states = torch.tensor([[0.001, 1.0], [-0.001, 1.0]])

    def apply(states: torch.Tensor) -> torch.Tensor:
        x, y = states.unbind(1)
        return torch.stack([x - 0.1 * x * (x * x - 1), 0.9 * y], dim=1)

    coarse = as_map(_Coarse(apply), (2,))
    assert with_shadows(coarse, states.bfloat16(), tolerance=1e-3).doubtful.all()
    ends = iterate(coarse, states).states[:, 0]
    torch.testing.assert_close(ends, torch.tensor([1.0, -1.0], dtype=torch.float64), rtol=0, atol=1e-9)


class _Coarse(torch.nn.Module):
    """A function in the precision of its parameter, bfloat16."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function
        self.one = torch.nn.Parameter(torch.ones((), dtype=torch.bfloat16))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.function(states) * self.one  # pyright: ignore[reportCallIssue]

"""The graph of a map of one number: fixed points in closed form, and basins by plain steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.dynamics import iterate
from dynlab.evaluation.line import POINTS, line_of
from dynlab.maps.classical import Logistic

from systems import Formula

SMALL = dl.AnalysisSettings(certified_attractors=0, linearized_attractors=0)


def cubic() -> Formula:
    """Stable fixed points at -1, 0 and 1, with multipliers -0.8, 0.82 and -0.8; unstable ones between, at +-r."""
    return Formula(1, lambda x: x + 0.9 * x * (1 - x * x) * (x * x - 0.2))


def test_fixed_points_and_basins_of_a_polynomial(device: torch.device):
    system, samples = cubic().to(device), torch.linspace(-1.1, 1.1, 50, dtype=torch.float64)[:, None].to(device)
    orbits = iterate(system, samples)
    line = line_of(system, orbits.fixed_points, [], torch.zeros(0, 1), samples)
    r = 0.2**0.5
    assert [point.state[0] for point in line.fixed_points] == pytest.approx([-1, -r, 0, r, 1], abs=1e-14)
    # The derivative of x + 0.9 (-x^5 + 1.2 x^3 - 0.2 x).
    expected = [1 + 0.9 * (-5 * x**4 + 3.6 * x**2 - 0.2) for x in (-1, -r, 0, r, 1)]
    assert [point.multipliers[0][0] for point in line.fixed_points] == pytest.approx(expected, abs=1e-12)
    x = line.states.numpy()
    np.testing.assert_allclose(line.images.numpy(), x + 0.9 * x * (1 - x * x) * (x * x - 0.2), rtol=0, atol=1e-15)
    for _ in range(5000):
        x = x + 0.9 * x * (1 - x * x) * (x * x - 0.2)
    found = torch.stack([point.state.cpu() for point in orbits.fixed_points])[:, 0].numpy()
    np.testing.assert_allclose(found[line.labels.numpy()], x, rtol=0, atol=1e-9)
    assert (len(line.states), len(line.others)) == (POINTS, 0)
    assert not line.diverged.any()
    assert (line.cycles == -1).all()
    assert float(line.states[0]) < -1.1 * 0.98
    assert float(line.states[-1]) > 1.1 * 0.98


def test_cycles_divergence_and_attractors_without_samples():
    system = Logistic(3.2)
    orbits = iterate(system, torch.tensor([[0.3], [0.4]]))
    line = line_of(system, [], orbits.cycles, torch.tensor([[-0.5], [1.2]]), torch.tensor([[0.3], [0.4]]))
    within = (line.states > 0) & (line.states < 1)
    assert torch.equal(line.cycles, torch.where(within, 0, -1))
    assert torch.equal(line.diverged, ~within)
    assert [point.state[0] for point in line.fixed_points] == pytest.approx([0, 1 - 1 / 3.2], abs=1e-14)
    assert [point.multipliers[0][0] for point in line.fixed_points] == pytest.approx([3.2, 2 - 3.2])
    half = Logistic(2.0)
    alone = line_of(half, [], [], torch.zeros(0, 1), torch.tensor([[0.2], [0.9]]))
    assert alone.others.tolist() == [[pytest.approx(0.5)]]
    assert (alone.labels == 0).all()


def test_a_jump_over_the_diagonal_is_no_fixed_point():
    system = Formula(1, lambda x: torch.where(x < 0.3, x + 0.2, x - 0.2))
    line = line_of(system, [], [], torch.zeros(0, 1), torch.tensor([[0.0], [1.0]]), max_steps=30)
    assert line.fixed_points == []


def test_a_fixed_point_on_the_grid_is_found_once():
    system = Formula(1, lambda x: -0.5 * x)
    states = torch.tensor([[-1.0], [1.0]])
    ends = 1.1 * 0.98 * torch.tensor([-1.0, 1.0], dtype=torch.float64)
    found = line_of(system, [], [], torch.zeros(0, 1), states)
    assert [point.state[0] for point in found.fixed_points] == pytest.approx([0.0], abs=1e-14)
    torch.testing.assert_close(found.states[[0, -1]], ends)
    # One whose grid begins at it.
    shifted = Formula(1, lambda x: float(ends[0]) + 0.5 * (x - float(ends[0])))
    assert len(line_of(shifted, [], [], torch.zeros(0, 1), states).fixed_points) == 1


def test_an_analysis_keeps_it(tmp_path: Path):
    analysis = dl.analyse(cubic(), torch.linspace(-1.1, 1.1, 30)[:, None], settings=SMALL)
    assert analysis.results.pictured is not None
    assert len(analysis.results.pictured) == 5
    analysis.save(tmp_path)
    again = dl.Analysis.load(tmp_path)
    assert again.results.pictured == analysis.results.pictured
    for name in ("line_states", "line_images", "line_labels", "line_cycles", "line_diverged"):
        assert torch.equal(getattr(again.arrays, name), getattr(analysis.arrays, name))
    without = dl.AnalysisSettings(certified_attractors=0, linearized_attractors=0, basin_planes=0)
    unwanted = dl.analyse(cubic(), torch.linspace(-1.1, 1.1, 30)[:, None], settings=without)
    assert unwanted.results.pictured is None
    assert unwanted.arrays.line_states is None

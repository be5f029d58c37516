"""The graph of a map of one number: fixed points in closed form, and basins by plain steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.dynamics import FixedPoint, iterate
from dynlab.evaluation.line import POINTS, line_of
from dynlab.evaluation.planes import shown_states
from dynlab.maps.classical import Logistic

from systems import Formula

SMALL = dl.AnalysisSettings(certified_attractors=0, linearized_attractors=0)


def ends(low: float, high: float) -> torch.Tensor:
    return torch.tensor([[low], [high]], dtype=torch.float64)


def cubic() -> Formula:
    """Stable fixed points at -1, 0 and 1, with multipliers -0.8, 0.82 and -0.8; unstable ones between, at +-r."""
    return Formula(1, lambda x: x + 0.9 * x * (1 - x * x) * (x * x - 0.2))


def test_fixed_points_and_basins_of_a_polynomial(device: torch.device):
    system, samples = cubic().to(device), torch.linspace(-1.1, 1.1, 50, dtype=torch.float64)[:, None].to(device)
    orbits = iterate(system, samples)
    found = torch.stack([point.state.cpu() for point in orbits.fixed_points])
    line = line_of(system, orbits.fixed_points, [], shown_states(found, [], samples, None))
    r = 0.2**0.5
    assert [point.state[0] for point in line.fixed_points] == pytest.approx([-1, -r, 0, r, 1], abs=1e-14)
    # The derivative of x + 0.9 (-x^5 + 1.2 x^3 - 0.2 x).
    expected = [1 + 0.9 * (-5 * x**4 + 3.6 * x**2 - 0.2) for x in (-1, -r, 0, r, 1)]
    assert [point.multipliers[0][0] for point in line.fixed_points] == pytest.approx(expected, abs=1e-12)
    x = line.states.numpy()
    np.testing.assert_allclose(line.images.numpy(), x + 0.9 * x * (1 - x * x) * (x * x - 0.2), rtol=0, atol=1e-15)
    for _ in range(5000):
        x = x + 0.9 * x * (1 - x * x) * (x * x - 0.2)
    np.testing.assert_allclose(found[line.labels, 0].numpy(), x, rtol=0, atol=1e-9)
    assert (len(line.states), len(line.others)) == (POINTS, 0)
    assert not line.diverged.any()
    assert (line.cycles == -1).all()
    assert float(line.states[0]) < -1.1 * 0.98
    assert float(line.states[-1]) > 1.1 * 0.98


def test_cycles_divergence_and_attractors_without_samples():
    system = Logistic(3.2)
    orbits = iterate(system, torch.tensor([[0.3], [0.4]]))
    line = line_of(system, [], orbits.cycles, ends(-0.5, 1.2))
    within = (line.states > 0) & (line.states < 1)
    assert torch.equal(line.cycles, torch.where(within, 0, -1))
    assert torch.equal(line.diverged, ~within)
    assert [point.state[0] for point in line.fixed_points] == pytest.approx([0, 1 - 1 / 3.2], abs=1e-14)
    assert [point.multipliers[0][0] for point in line.fixed_points] == pytest.approx([3.2, 2 - 3.2])
    half = Logistic(2.0)
    alone = line_of(half, [], [], ends(0.2, 0.9))
    assert alone.others.tolist() == [[pytest.approx(0.5)]]
    assert (alone.labels == 0).all()


def test_a_jump_over_the_diagonal_is_no_fixed_point():
    system = Formula(1, lambda x: torch.where(x < 0.3, x + 0.2, x - 0.2))
    line = line_of(system, [], [], ends(0.0, 1.0), max_steps=30)
    assert line.fixed_points == []
    without = Formula(1, lambda x: x.sign() * x.abs().sqrt())  # whose derivative at 0 is infinite
    found = line_of(without, [], [], ends(-2.0, 2.0)).fixed_points
    assert [point.state[0] for point in found] == pytest.approx([-1, 1])


@pytest.mark.parametrize("flat", [lambda x: 1.0 * x, lambda x: x.clamp(0, 1)], ids=["identity", "clamp"])
def test_a_stretch_of_fixed_points_is_none(flat: Callable[[torch.Tensor], torch.Tensor]):
    assert line_of(Formula(1, flat), [], [], ends(-1.0, 2.0), max_steps=30).fixed_points == []


@pytest.mark.parametrize("far", [1e4, 1e6])
def test_a_fixed_point_far_from_zero_is_found(far: float):
    for offset in np.linspace(0.1, 0.9, 9):
        place = far + float(offset)
        system = Formula(1, lambda x, at=place: at + 2 * (x - at))
        line = line_of(system, [], [], ends(far, far + 1), max_steps=5, max_exact_steps=5)
        assert [point.state[0] for point in line.fixed_points] == [pytest.approx(place, abs=1e-9)]


def test_attractors_are_among_the_fixed_points_though_the_graph_only_touches_there():
    # A fold: the graph touches the diagonal at 0.5 from above, and orbits from the left end there.
    system = Formula(1, lambda x: x + (x - 0.5) ** 2)
    touched = torch.tensor([0.5], dtype=torch.float64)
    seen = line_of(system, [], [], ends(0.0, 0.61), max_steps=5, max_exact_steps=5)
    assert seen.fixed_points == []
    known = [FixedPoint(touched, 0.0, 0.0)]
    (point,) = line_of(system, known, [], ends(0.0, 0.61), max_steps=5, max_exact_steps=5).fixed_points
    assert point.state == [0.5]
    assert (point.unstable, point.is_stable) == (0, False)


@pytest.mark.parametrize(
    ("jumping", "places"),
    [
        (lambda x: 1 / x, [0.0]),
        (lambda x: torch.where(x < 0.3, x + 0.2, x - 0.2), [0.3]),
        (lambda x: torch.remainder(x + 0.25, 1.0), [-0.25, 0.75]),
        (lambda x: 0.5 * torch.tanh(300 * (x - 0.1)), []),  # steep, and continuous
        (lambda x: torch.where(x < 0.3, x / 2, torch.nan), []),  # ends
    ],
)
def test_jumps_are_told_from_steep_parts(jumping: Callable[[torch.Tensor], torch.Tensor], places: list[float]):
    line = line_of(Formula(1, jumping), [], [], ends(-0.5, 1.0), max_steps=5, max_exact_steps=5)
    assert len(line.jumps) == len(places)
    for after, place in zip(line.jumps.tolist(), places, strict=True):
        assert float(line.states[after]) <= place <= float(line.states[after + 1])


def test_the_picture_shows_where_most_of_an_orbit_goes():
    settings = dl.AnalysisSettings(max_steps=50, max_exact_steps=50, certified_attractors=0)
    chaotic = dl.analyse(Logistic(3.9), torch.full((5, 1), 0.5) + 0.01 * torch.arange(5)[:, None], settings=settings)
    assert chaotic.arrays.line_states is not None
    assert float(chaotic.arrays.line_states[0]) < 0.15  # the attractor reaches from 0.095 to 0.975
    assert float(chaotic.arrays.line_states[-1]) > 0.96
    short = dl.AnalysisSettings(max_steps=20, max_exact_steps=20, certified_attractors=0)
    for rate in (1.05, 1.5):
        leaving = dl.analyse(Formula(1, lambda x, r=rate: r * x), torch.tensor([[0.1], [0.5]]), settings=short)
        assert leaving.arrays.line_states is not None
        assert float(leaving.arrays.line_states.abs().max()) < 1


def test_a_fixed_point_on_the_grid_is_found_once():
    system = Formula(1, lambda x: -0.5 * x)
    found = line_of(system, [], [], ends(-1.0, 1.0))
    assert [point.state[0] for point in found.fixed_points] == pytest.approx([0.0], abs=1e-14)
    assert found.states[[0, -1]].tolist() == pytest.approx([-1.1, 1.1])
    for place in (0, 7, POINTS - 1):
        at = float(found.states[place])
        there = Formula(1, lambda x, at=at: at + 0.5 * (x - at))
        (point,) = line_of(there, [], [], ends(-1.0, 1.0)).fixed_points
        assert point.state == [pytest.approx(at, abs=1e-14)]


def test_states_are_followed_as_far_as_samples():
    settings = dl.AnalysisSettings(max_steps=100, certified_attractors=0, linearized_attractors=0)
    states = torch.linspace(0.1, 0.9, 7)[:, None]
    slow = dl.analyse(Logistic(3.0008), states, settings=settings)  # its cycle shrinks differences by 0.0016 a round
    assert slow.results.outcomes["cycle"] == 7
    assert slow.arrays.line_cycles is not None
    assert slow.arrays.line_states is not None
    within = (slow.arrays.line_states > 0) & (slow.arrays.line_states < 1)
    assert (slow.arrays.line_cycles[within] == 0).all()


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

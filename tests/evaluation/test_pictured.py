"""Fixed points on the picture of a map of one or two numbers: closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.evaluation.pictured import PicturedFixedPoint, fixed_points_within, pictured
from dynlab.maps import Map
from dynlab.maps.classical import Henon, MultiWell

from systems import Formula

SMALL = dl.AnalysisSettings(max_steps=300, max_exact_steps=300, plane_resolution=10, certified_attractors=0)


def axes(low: float, high: float) -> torch.Tensor:
    return torch.linspace(low, high, 7, dtype=torch.float64).expand(2, -1)


def found_in(system: Map, low: float, high: float, device: torch.device) -> list[PicturedFixedPoint]:
    return fixed_points_within(
        system.double().to(device), axes(low, high), torch.zeros(0, 2, dtype=torch.float64, device=device)
    )


def test_both_fixed_points_of_henon(device: torch.device):
    a, b = 1.4, 0.3
    found = found_in(Henon(a, b), -3.0, 3.0, device)
    root = math.sqrt((1 - b) ** 2 + 4 * a)
    for point, x in zip(found, ((b - 1 - root) / (2 * a), (b - 1 + root) / (2 * a)), strict=True):
        assert point.state == pytest.approx([x, b * x], abs=1e-12)
        # Of [[-2 a x, 1], [b, 0]].
        expected = sorted((-a * x + sign * math.sqrt(a * a * x * x + b) for sign in (1, -1)), key=abs, reverse=True)
        assert np.array(point.multipliers) == pytest.approx(np.array([[value, 0.0] for value in expected]), abs=1e-9)
        assert point.unstable == 1
    # Those beyond the picture are left out.
    assert len(found_in(Henon(a, b), 0.0, 3.0, device)) == 1


def test_all_fixed_points_of_wells(device: torch.device):
    system = MultiWell((1.0, 0.7), 2)
    found = found_in(system, -2.0, 2.0, device)
    expected = system.fixed_points()
    assert len(found) == len(expected) == 9
    for point in found:
        apart = torch.linalg.vector_norm(expected.cpu() - torch.tensor(point.state, dtype=torch.float64), dim=1)
        assert float(apart.min()) < 1e-10
    assert sorted(point.unstable for point in found) == [0] * 4 + [1] * 4 + [2]
    assert [point.state for point in found] == sorted(point.state for point in found)


def test_turning_multipliers_come_in_pairs(device: torch.device):
    turn = 0.9 * torch.tensor([[math.cos(1.0), -math.sin(1.0)], [math.sin(1.0), math.cos(1.0)]], dtype=torch.float64)
    (point,) = found_in(Formula(2, lambda x: x @ turn.to(x).T + 0.1), -2.0, 2.0, device)
    (real, imaginary), (other, minus) = point.multipliers
    assert (real, other) == pytest.approx((0.9 * math.cos(1.0),) * 2)
    assert (abs(imaginary), imaginary + minus) == pytest.approx((0.9 * math.sin(1.0), 0.0))
    assert point.unstable == 0


def test_a_line_of_fixed_points_is_left_out(device: torch.device):
    assert found_in(Formula(2, lambda x: x * torch.tensor([1.0, 0.5]).to(x)), -1.0, 1.0, device) == []
    assert found_in(Formula(2, lambda x: 1.0 * x), -1.0, 1.0, device) == []
    assert pictured(Formula(1, lambda x: x / 2), torch.zeros(0, 1, dtype=torch.float64)) == []


def test_known_ones_are_there_once_and_near_the_circle_nothing_is_certain():
    system = Formula(2, lambda x: torch.stack([x[:, 0] - x[:, 0] ** 3, x[:, 1] / 2], dim=1))
    known = torch.zeros(1, 2, dtype=torch.float64)
    (point,) = fixed_points_within(system, axes(-1.0, 1.0), known)
    assert point.state == [0.0, 0.0]
    assert (point.unstable, point.is_stable) == (0, False)
    doubled = fixed_points_within(MultiWell((1.0, 0.7), 2).double(), axes(-2.0, 2.0), torch.zeros(2, 2).double())
    assert len(doubled) == 9


def test_an_analysis_keeps_them(tmp_path: Path):
    analysis = dl.analyse(Henon(), torch.tensor([[0.1, 0.1], [-2.0, 1.0], [1.5, 0.5]]), settings=SMALL)
    found = analysis.results.pictured
    assert found is not None
    assert len(found) == 2
    analysis.save(tmp_path)
    assert dl.Analysis.load(tmp_path).results.pictured == found
    other = dl.analyse(Formula(3, lambda x: x / 2), torch.rand(4, 3), settings=SMALL)
    assert other.results.pictured is None

"""Explosions of hand-made basins and maps; the tiny study's are compared with plain loops in test_stages."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dynlab.attractors import Basins
from dynlab.errors import InputError
from dynlab.evaluation.explosions import (
    Contrast,
    contrast,
    explosion_basin,
    explosion_points,
    explosion_starts,
)
from dynlab.maps.classical import DoubleWell


def _basins(points: list[list[float]], labels: list[int]) -> Basins:
    count = len(points)
    return Basins(
        map_sha256="",
        fixed_points=torch.tensor(points, dtype=torch.float64).reshape(count, 2),
        residuals=torch.zeros(count, dtype=torch.float64),
        multipliers=torch.zeros(count, 1, dtype=torch.complex128),
        labels=torch.tensor(labels, dtype=torch.int64),
        samples=torch.arange(len(labels)),
    )


def test_points_behind_explosions_are_counted() -> None:
    found = explosion_points(_basins([[0.1, 0.4], [0.9, 0.0], [0.1, 0.0]], [0, 0, 0, 1, 1, 2, -1]))
    assert (found.samples, found.explosions, found.others, found.unresolved) == (7, 2, 2, 1)
    assert found.largest_share == pytest.approx(3 / 4)
    assert found.largest_distance == pytest.approx(0.4)
    nothing = explosion_points(_basins([], [-1]))
    assert (nothing.explosions, nothing.largest_share, nothing.largest_distance) == (0, None, None)


@pytest.mark.parametrize(
    ("values", "exploded", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], [False, False, True, True], Contrast(3.5, 1.5, 1.0)),
        ([1.0, 2.0, 3.0], [True, False, False], Contrast(1.0, 2.5, 0.0)),
        ([1.0, 1.0, 1.0], [True, False, True], Contrast(1.0, 1.0, 0.5)),
        ([1.0, 2.0], [True, True], Contrast(1.5, None, None)),
        ([1.0, 2.0], [False, False], Contrast(None, 1.5, None)),
    ],
)
def test_contrast_by_hand(values: list[float], exploded: list[bool], expected: Contrast) -> None:
    assert contrast(torch.tensor(values, dtype=torch.float64), torch.tensor(exploded)) == expected


def test_classes_and_distances_are_left_out_where_nobody_knows_them() -> None:
    found = explosion_starts(torch.eye(3), torch.tensor([True, False, False]))
    assert (found.samples, found.exploded, found.classes, found.distance) == (3, 1, [], None)


def test_probes_of_a_double_well(device: torch.device) -> None:
    # The left half plane is the basin of (-1, 0), as far as orbits stay within reach.
    system = DoubleWell().to(device)
    images = torch.rand(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.9 + 0.1
    point = torch.tensor([-1.0, 0.0], dtype=torch.float64)
    shares: list[float] = []
    probes = explosion_basin(system, point, images, on_progress=shares.append)
    assert shares == sorted(shares)
    reached: dict[tuple[str, Any], int] = {(probe.states, probe.value): probe.reached for probe in probes}
    for share in (0.0, 0.4, 0.9):
        # A sample on its way is in the basin once it has passed 0.
        passed = int(((1 - share) * images + share * point)[:, 0].lt(0).sum())
        assert reached["towards", share] == passed
    assert reached["uniform noise", None] == reached["shuffled pixels", None] == 0
    # A circle of radius 1 about it touches the border at one point.
    assert reached["around", 1.0] == 100 > reached["around", 2.0] > 50
    with pytest.raises(InputError, match="does not attract"):
        explosion_basin(system, torch.zeros(2, dtype=torch.float64), images)

"""What is remembered of fixed points that were found, and what follows for samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dynlab.dynamics import FixedPoint, decision
from dynlab.dynamics.decision import Search
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.maps.classical import DoubleWell

from systems import Formula

CPU = torch.device("cpu")


def point(state: list[float], radius: float) -> FixedPoint:
    return FixedPoint(torch.tensor(state).double(), 0.0, radius)


def test_neighbours_halve_the_way_between_them():
    known = KnownFixedPoints(CPU, 2)
    known.add(point([0.0, 0.0], 0.2))
    states = torch.tensor([[0.19, 0.0], [0.09, 0.0]])
    assert known.balls_of(states).tolist() == [0, 0]
    known.add(point([0.0, -0.2], 0.1))
    assert known.balls_of(states).tolist() == [-1, 0]


def test_of_overlapping_balls_the_nearer_centre_counts():
    known = KnownFixedPoints(CPU, 1)
    for centre in (0.0, 1.0):
        known.add(point([centre], 0.6))
    assert known.balls_of(torch.tensor([[0.45], [0.55]])).tolist() == [0, 1]


def test_a_saddle_is_looked_for_once():
    system = DoubleWell()
    search = Search(system, system, 1e-4, 100, KnownFixedPoints(CPU, 2), KnownFixedPoints(CPU, 2))
    starts = torch.tensor([[0.01, 0.02], [-0.02, 0.01], [0.98, 0.01]]).double()
    search.find(starts)
    assert [len(found.points) for found in (search.known, search.unsafe)] == [1, 1]
    search.find(-starts)
    assert [len(found.points) for found in (search.known, search.unsafe)] == [2, 1]
    assert search.nearest(torch.tensor([[0.0, 0.5]]).double()).tolist() == [0.5]


def test_balls_keep_clear_of_saddles_whichever_is_found_first():
    # Alone the attractor has a ball of 0.1; a saddle that was found at 0.03 leaves it half the way.
    known = KnownFixedPoints(torch.device("cpu"), 2)
    known.add(FixedPoint(torch.zeros(2, dtype=torch.float64), 0.0, 0.1))
    states = torch.tensor([[0.014, 0.0], [0.016, 0.0]], dtype=torch.float64)
    assert known.balls_of(states).tolist() == [0, 0]
    known.keep_clear_of(torch.tensor([0.03, 0.0], dtype=torch.float64))
    assert known.balls_of(states).tolist() == [0, -1]


@pytest.mark.parametrize("saddle", [1.5e-4, 2.5e-4, 0.03])
@pytest.mark.parametrize("saddle_first", [False, True])
def test_a_search_keeps_balls_clear_of_the_saddles_it_finds(saddle: float, saddle_first: bool):
    # Fixed points at 0, at the saddle and at 1, and between the first two a remainder too small to be seen from 0.
    system = Formula(1, lambda x: x - 0.1 * x * (x - saddle) * (1 - x))
    search = Search(system, system, 1e-4, 100, KnownFixedPoints(CPU, 1), KnownFixedPoints(CPU, 1))
    found = [(0.0, 0.1), (saddle, 0.0)]
    for state, radius in reversed(found) if saddle_first else found:

        def examined(*given: Any, radius: float = radius) -> list[FixedPoint]:  # as if probes had missed the saddle
            return [FixedPoint(given[2][0], 0.0, min(radius, float(given[4][0])))]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decision, "examine_fixed_points", examined)
            search._remember(torch.tensor([[state]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    assert search.known.balls_of(torch.tensor([[0.51 * saddle]], dtype=torch.float64)).tolist() == [-1]
    assert search.known.balls_of(torch.tensor([[0.2 * saddle]], dtype=torch.float64)).tolist() == [0]
    # And so does what it hands out, but not what it was given.
    assert search.known.found_after(0)[0].safe_radius <= saddle / 2 * (1 + 1e-12)
    assert search.known.found_after(1) == search.known.points

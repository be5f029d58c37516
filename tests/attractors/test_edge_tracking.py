"""Edge tracking: what keeps a pair from being given up."""

from __future__ import annotations

import pytest
import torch

from dynlab.attractors import Track, basins_of_attraction, connection_graph, known_attractors
from dynlab.attractors.connections.edge_tracking import Saddles, track_edges
from dynlab.attractors.connections.passages import passages
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.maps.classical import DoubleWell

from systems import Formula


def test_an_orbit_into_an_attractor_that_was_not_known_was_slowest_at_the_saddle(device: torch.device) -> None:
    system = DoubleWell().double().to(device)
    known = KnownFixedPoints(device, 2)
    known.add(known_attractors(system, system.fixed_points()[:1])[0])
    starts = torch.tensor([[1e-4, 1.0], [-1e-4, 1.0], [3e-4, -0.7]], dtype=torch.float64, device=device)
    found = passages(system, starts, known)
    assert found.labels.tolist() == [1, 0, 1]
    assert float(known.points[1].state[0]) == pytest.approx(1.0)
    # The saddle is at 0, the attractors at distance 1 from it.
    assert float(torch.linalg.vector_norm(found.slowest, dim=1).max()) < 0.1
    assert bool((found.speeds > 1e-6).all())
    again = passages(system, starts, known)
    assert torch.equal(again.slowest, found.slowest)
    assert torch.equal(again.speeds, found.speeds)


def test_attractors_on_the_way_do_not_stop_a_search(device: torch.device) -> None:
    # Wells at -3, -1, 1 and 3 of a line, of which only the outer ones are known.
    system = Formula(1, lambda x: x - 1e-3 * x * (x**2 - 1) * (x**2 - 4) * (x**2 - 9))
    known, saddles = KnownFixedPoints(device, 1), Saddles(device, 1)
    outer = torch.tensor([[-3.0], [3.0]], dtype=torch.float64, device=device)
    for point in known_attractors(system, outer):
        known.add(point)
    tracked = track_edges(system, outer, outer.flip(0) + 0.01, torch.tensor([[0, 1], [1, 0]]), known, saddles)
    assert [one.track for one in tracked] == [Track.BETWEEN] * 2
    assert sorted(float(saddle.state) for saddle in saddles.found) == pytest.approx([-2.0, 2.0])


def test_a_start_that_comes_to_rest_at_a_saddle_which_swaps_its_branches_is_not_given_up(device: torch.device) -> None:
    # Attractors at -2.1 and 3 with the boundary at 1; the fixed point at 0, of multiplier -1.6, is inside one basin.
    x = torch.tensor([-6, -2.1, -1.4, -1, -0.8, -0.4, 0.4, 0.6, 1, 1.2, 3, 6], dtype=torch.float64, device=device)
    y = torch.tensor(
        [-4.05, -2.1, -1.75, -1, -0.6, 0.64, -0.64, -1.3, 1, 2.2, 3, 4.5], dtype=torch.float64, device=device
    )

    def broken_line(states: torch.Tensor) -> torch.Tensor:
        piece = (torch.bucketize(states.detach().contiguous(), x) - 1).clamp(0, len(x) - 2)
        return y[piece] + (y[piece + 1] - y[piece]) / (x[piece + 1] - x[piece]) * (states - x[piece])

    system = Formula(1, broken_line)
    known, saddles = KnownFixedPoints(device, 1), Saddles(device, 1)
    attractors = torch.tensor([[-2.1], [3.0]], dtype=torch.float64, device=device)
    for point in known_attractors(system, attractors):
        known.add(point)
    # From the first of these the bisection soon meets a point that the map takes to 0 exactly.
    inside = torch.tensor([[-2.006779661016949], [-2.0]], dtype=torch.float64, device=device)
    tracked = track_edges(system, inside, attractors[[1, 1]], torch.tensor([[0, 1], [0, 1]]), known, saddles)
    assert [one.track for one in tracked] == [Track.SADDLE] * 2
    assert [saddle.swaps_branches for saddle in saddles.found if abs(float(saddle.state)) < 1e-9] == [True]


def test_pairs_left_open_are_tried_from_the_other_side(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in for a first side that shows nothing: it tracks no pair whose first attractor is the first one.
    import importlib

    module = importlib.import_module("dynlab.attractors.connections.graph")
    asked = []

    def one_sided(exact, inside, outside, pairs, known, saddles):
        asked.extend(pairs.tolist())
        found = track_edges(exact, inside, outside, pairs, known, saddles)
        return [type(one)(one.source, one.target, Track.UNRESOLVED) if one.source == 0 else one for one in found]

    monkeypatch.setattr(module, "track_edges", one_sided)
    system = DoubleWell().double().to(device)
    graph = connection_graph(system, basins_of_attraction(system, system.fixed_points()[:2]))
    assert asked == [[0, 1], [1, 0]]
    assert [(one.source, one.target, one.track) for one in graph.graph["tracked"]] == [(1, 0, Track.SADDLE)]

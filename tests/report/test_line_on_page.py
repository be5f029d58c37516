"""The graph of a map of one number on the page, and what stands with cycles."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.evaluation.analysis import Analysis
from dynlab.maps import Map
from dynlab.maps.classical import Logistic
from dynlab.report.cycles import SHOWN, cycle_table
from dynlab.report.figure_data import figure_data
from dynlab.report.fixed_points import fixed_points_of
from dynlab.report.line import line_figure, line_view
from dynlab.report.page import render_page
from dynlab.report.palette import light
from dynlab.report.pictures import screen_of
from dynlab.report.spectra import multipliers_in_the_plane

from systems import Formula

SETTINGS = dl.AnalysisSettings(max_steps=300, max_exact_steps=300, certified_attractors=0, recorded_samples=4)


def analysis_of(system: Map, *, low: float = 0.05, high: float = 0.95) -> Analysis:
    return dl.analyse(system, torch.linspace(low, high, 25)[:, None], settings=SETTINGS)


def test_the_way_of_a_cycle_goes_between_graph_and_diagonal() -> None:
    analysis = analysis_of(Logistic(3.5))
    figure: Any = line_figure(analysis)
    strip, diagonal, graph, web, points = figure.data
    assert list(diagonal.x) == list(diagonal.y)
    np.testing.assert_allclose(graph.y, 3.5 * np.array(graph.x) * (1 - np.array(graph.x)), atol=1e-15)
    x, y = np.array(web.x), np.array(web.y)
    assert len(x) == 11  # round and one step on
    for place in range(0, len(x), 2):
        assert x[place] == y[place]  # on the diagonal
    for place in range(1, len(x), 2):
        assert y[place] == pytest.approx(3.5 * x[place] * (1 - x[place]))  # on the graph
    assert (x[0], y[0]) == pytest.approx((x[8], y[8]))
    assert list(points.x) == list(points.y) == pytest.approx([1 - 1 / 3.5])
    assert list(points.marker.color) == [light("card")]  # it does not attract
    assert {name for row in strip.customdata for name in row} == {"cycle 0"}
    view = line_view(analysis, screen_of(analysis))
    assert view is not None
    assert "a fixed point: here at 0.714286 with multiplier −1.5." in view.words
    assert "Steps between graph and diagonal are the way of cycles." in view.words
    assert [key.name for key in view.keys] == ["Cycle 0 of period 4"]
    page = render_page([analysis])
    assert "The graph of the map" in page
    assert "0.3828 → 0.8269 → 0.5009 → 0.875" in page.replace("(", "").replace(")", "")


def test_data_have_the_graph_the_basins_and_the_fixed_points() -> None:
    rows = list(csv.DictReader(io.StringIO(figure_data(line_figure(analysis_of(Logistic(2.8), low=0.0))))))
    assert list(rows[0]) == ["x", "attractor", "image", "multiplier"]
    images = [row for row in rows if row["image"]]
    assert len(images) == 400
    for row in images:
        assert float(row["image"]) == pytest.approx(2.8 * float(row["x"]) * (1 - float(row["x"])))
    strip = [row for row in rows if row["attractor"]]
    assert len(strip) == 400
    assert {row["attractor"] for row in strip} == {"0", "diverges"}  # those outside of 0 to 1
    fixed = [(float(row["x"]), float(row["multiplier"])) for row in rows if row["multiplier"]]
    assert np.array(fixed) == pytest.approx(np.array([[0, 2.8], [1 - 1 / 2.8, -0.8]]), abs=1e-12)


def test_a_chaotic_sample_is_drawn_and_said() -> None:
    analysis = analysis_of(Logistic(3.9))
    figure: Any = line_figure(analysis)
    web = figure.data[3]
    x, y = np.array(web.x)[1::2], np.array(web.y)[1::2]
    np.testing.assert_allclose(y, 3.9 * x * (1 - x), rtol=0, atol=1e-9)
    assert web.line.color == light("unresolved")
    view = line_view(analysis, screen_of(analysis))
    assert view is not None
    assert "Steps between graph and diagonal are that of an unresolved sample." in view.words
    assert "All eight are chaotic: small differences grow" in render_page([analysis])


def test_many_fixed_points_are_counted() -> None:
    analysis = analysis_of(Formula(1, lambda x: x + 0.1 * torch.sin(x)), low=-40.0, high=40.0)
    view = line_view(analysis, screen_of(analysis))
    assert view is not None
    # Multiples of pi, as far as the picture goes, from -14 to 14; the odd ones attract, 13 of which samples reach.
    assert "at least 29 fixed points here, 14 of them stable" in view.words


def test_the_graph_is_interrupted_where_the_map_jumps() -> None:
    analysis = analysis_of(Formula(1, lambda x: torch.remainder(2.5 * x, 1.0)))
    assert analysis.arrays.line_jumps is not None
    figure: Any = line_figure(analysis)
    graph = figure.data[2]
    assert len(graph.x) == 400 + len(analysis.arrays.line_jumps) == 403  # at 0, 0.4 and 0.8
    np.testing.assert_allclose(np.nanmax(np.abs(np.diff(graph.y))), 2.5 * np.nanmax(np.diff(graph.x)), rtol=1e-9)
    assert np.isnan(graph.y).sum() == 3


def test_where_nothing_is_crossed_it_is_said() -> None:
    analysis = analysis_of(Formula(1, lambda x: x + 0.1))
    view = line_view(analysis, screen_of(analysis))
    assert view is not None
    assert "the map has a fixed point: nowhere here. None is seen where it only touches" in view.words
    assert "Full circles" not in view.words


def test_other_maps_have_no_graph() -> None:
    analysis = dl.analyse(Formula(2, lambda x: x / 2), torch.rand(5, 2), settings=SETTINGS)
    assert line_view(analysis, screen_of(analysis)) is None
    assert not line_figure(analysis).data
    assert "The graph of the map" not in render_page([analysis])


def test_multipliers_of_cycles_are_drawn() -> None:
    r = 3.3
    analysis = analysis_of(Logistic(r))
    figure: Any = multipliers_in_the_plane(analysis)
    (trace,) = figure.data
    assert list(trace.x) == pytest.approx([4 + 2 * r - r * r], abs=1e-8)
    assert list(trace.y) == [0.0]
    assert trace.customdata[0][1] == "cycle 0"
    words = fixed_points_of(analysis, screen_of(analysis)).multipliers
    assert words.startswith("Leading multipliers of cycles, each of a whole round, and the unit circle")
    assert "cycle 0" in figure_data(figure)
    assert "There is no attractor whose multipliers" not in render_page([analysis])


def test_the_table_has_the_largest_cycles() -> None:
    # Each number of a state goes its own way between -a and a: cycles by their signs.
    system = Formula(6, lambda x: x**3 - 1.5 * x)
    states = torch.rand(200, 6, generator=torch.Generator().manual_seed(0)) - 0.5
    analysis = dl.analyse(system, states, settings=SETTINGS)
    table = cycle_table(analysis, screen_of(analysis))
    assert table is not None
    cycles = analysis.results.cycles
    assert len(cycles) == 32
    assert [row.samples for row in table.rows] == [cycle.basin_size for cycle in cycles[:SHOWN]]
    assert table.left_out == 32 - SHOWN
    assert all((row.period, len(row.states), row.at, row.left_out) == (2, 2, "", 0) for row in table.rows)
    page = render_page([analysis])
    assert "12 cycles with smaller basins are not shown" in page
    assert page.count("Cycle 0, state 1 of 2") >= 1


def test_a_long_cycle_is_cut() -> None:
    analysis = analysis_of(Logistic(3.566))
    table = cycle_table(analysis, screen_of(analysis))
    assert table is not None
    assert [(row.period, row.left_out, row.at.count("→")) for row in table.rows] == [(16, 4, 11)]

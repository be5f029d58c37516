"""Pictures of basins on the page: every state has the colour of its attractor, and words say what was computed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.attractors.planes import BasinEntropy, basin_entropy_of
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.planes import PlanePicture
from dynlab.maps.classical import Henon, MultiWell
from dynlab.report import write_report
from dynlab.report.basin_colours import COLOURS
from dynlab.report.figure_data import figure_data
from dynlab.report.page import render_page
from dynlab.report.palette import light
from dynlab.report.pictures import screen_of
from dynlab.report.plane_words import entropy_words, picture_words
from dynlab.report.planes import plane_figures, planes_of

from systems import two_cycles

MakeAnalysis = Callable[..., Analysis]
SMALL = dl.AnalysisSettings(max_steps=300, plane_resolution=20, linearized_attractors=0, certified_attractors=0)
TITLE = "Basins on a plane through three attractors"


def colour_at(heatmap: Any, code: float) -> str:
    """The colour that plotly gives a number on a scale of steps."""
    place = (code - heatmap.zmin) / (heatmap.zmax - heatmap.zmin)
    below = [colour for start, colour in heatmap.colorscale if start < place]
    return below[-1]


def figure_of(analysis: Analysis) -> tuple[Any, Any, Any]:
    figure = plane_figures(analysis, screen_of(analysis))[0]
    heatmap, marks = figure.data
    return figure, heatmap, marks


def test_each_state_has_the_colour_of_its_attractor(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    analysis = with_basins(make_analysis(attractors=15))
    labels = analysis.arrays.plane_labels[0].numpy()
    _, heatmap, _ = figure_of(analysis)
    colours: dict[int, set[str | None]] = {}
    for row in range(20):
        for column in range(20):
            code = heatmap.z[row][column]
            # The first axis of the labels runs to the right.
            label = int(labels[column, row])
            assert heatmap.customdata[row][column] == (label if label >= 0 else "unresolved")
            colours.setdefault(label, set()).add(None if code is None else colour_at(heatmap, code))
    assert colours.pop(-1) == {"rgba(128, 128, 128, 0.22)"}
    assert all(len(found) == 1 for found in colours.values())
    areas = dict(zip(*np.unique(labels[labels >= 0], return_counts=True), strict=True))
    by_area = sorted((label for label in areas if label > 2), key=lambda label: (-areas[label], label))
    main = [0, 1, 2, *by_area[:3]]
    assert [colours[int(label)] for label in main] == [{light(name)} for name in COLOURS]
    assert all(found.pop().startswith("rgba(128") for label, found in colours.items() if label not in main)  # type: ignore[union-attr]


def test_attractors_are_drawn_where_they_are(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    analysis = with_basins(make_analysis(attractors=15))
    figure, heatmap, marks = figure_of(analysis)
    directions, axes = analysis.arrays.plane_directions, analysis.arrays.plane_axes
    points = analysis.arrays.fixed_points[:3]
    places = ((points - points[0]) @ directions[0].T).numpy()
    np.testing.assert_allclose(np.stack([marks.x, marks.y], axis=1), places, rtol=0.0, atol=1e-12)
    screen = screen_of(analysis)
    assert [image.source for image in figure.layout.images] == [screen.picture(point) for point in points]
    assert [image.x for image in figure.layout.images] == pytest.approx(places[:, 0].tolist())
    assert list(heatmap.x) == axes[0, 0].tolist()
    assert list(heatmap.y) == axes[0, 1].tolist()
    assert figure.layout.yaxis.scaleanchor == "x"


def test_states_of_two_numbers_have_their_own_axes_and_saddles() -> None:
    system = MultiWell((1.0, 0.7), 2).double()
    samples = torch.tensor([[1.5, 0.2], [-1.2, 0.3], [0.5, -0.9], [-0.4, -1.1], [0.9, 0.8]])
    settings = dl.AnalysisSettings(graph=True, plane_resolution=20)
    analysis = dl.analyse(system, samples, settings=settings)
    figure: Any = plane_figures(analysis, screen_of(analysis))[0]
    heatmap, marks, saddles = figure.data
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("x₁", "x₂")
    points = analysis.arrays.fixed_points.numpy()
    np.testing.assert_allclose(np.stack([marks.x, marks.y], axis=1), points, rtol=0, atol=1e-12)
    for x, column in zip(heatmap.x, range(20), strict=True):
        for y, row in zip(heatmap.y, range(20), strict=True):
            expected = system.wells()[system.basins(torch.tensor([[x, y]], dtype=torch.float64))[0]]
            name = heatmap.customdata[row][column]
            known = torch.cat([analysis.arrays.fixed_points, analysis.arrays.plane_others])
            assert torch.allclose(known[name], expected, atol=1e-6)
    assert analysis.graph is not None
    # The saddles of the graph are among those that Newton's method finds, and are drawn once.
    assert saddles.marker.symbol.count("x") == analysis.graph.number_of_edges() == 4
    assert saddles.marker.symbol.count("square") == 1
    for x, y in zip(saddles.x, saddles.y, strict=True):
        state = torch.tensor([[x, y]], dtype=torch.float64)
        assert (system(state) - state).norm() < 1e-9
    elsewhere = replace(analysis, results=replace(analysis.results, pictured=None))
    older: Any = plane_figures(elsewhere, screen_of(elsewhere))[0]
    assert list(older.data[2].marker.symbol) == ["x"] * 4
    assert "Crosses are saddles." in render_page([elsewhere])
    assert not figure.layout.images
    page = render_page([analysis])
    assert "Basins on the plane of states" in page
    assert TITLE not in page
    assert "found 4 saddles (crosses) and 1 fixed point that repels every way (squares) here: (" in page
    x, y = analysis.arrays.fixed_points[0].tolist()
    assert page.count(f"({x:.4g}, {y:.4g})".replace("-", "−")) == 2  # in the table and beside its colour
    assert figure_data(figure).splitlines()[0].split(",")[:2] == ["x1", "x2"]


def test_keys_name_the_colours(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    analysis = with_basins(make_analysis(attractors=4, explosions=0), others=1)
    plane = planes_of(analysis, screen_of(analysis))[0]
    # Four attractors that samples reach and one that none does: each has a key.
    *keys, last = plane.keys
    assert [key.name for key in keys] == [f"Attractor {number}" for number in range(5)] or [
        key.name for key in keys
    ] == [f"Attractor {number}" for number in (0, 1, 2, 4, 3)]
    assert [key.colour for key in keys] == [f"var(--{colour})" for colour in COLOURS[:5]]
    unsampled = next(key for key in keys if key.name == "Attractor 4")
    assert unsampled.card is not None
    assert unsampled.card.words == "Attractor 4, which no sample reaches"
    assert unsampled.shares.endswith("of the picture, 0% of the samples")
    shares = [float(key.shares.partition("%")[0]) for key in plane.keys]
    assert sum(shares[:-1]) == pytest.approx(100 * 397 / 400, abs=0.3)
    assert (last.name, last.shares) == ("Unresolved", "0.8% of the picture, 0.8% of the samples")


def test_words_of_a_picture() -> None:
    entropy = BasinEntropy(16, 4, 0.1, 0.4)
    plain = picture_words(PlanePicture((0, 4, 7), 3, 0, 0, entropy, 0), 60, 12)
    assert plain == (
        "The plane goes through attractors 0, 4 and 7, where the circles are; distances on it are those between "
        "states. Each of 60 × 60 states was iterated: they reach 3 attractors."
    )
    full = picture_words(PlanePicture((0, 4, 7), 9, 1, 2, entropy, 0), 60, 12)
    assert "Of these, 1 is reached by no sample; such attractors are numbered from 12 on." in full
    assert "2 states remained unresolved: they are pale, and count as one more basin below." in full
    assert "grey" in full
    single = picture_words(PlanePicture((0, 4, 7), 9, 0, 1, entropy, 0), 60, 12)
    assert "1 state remained unresolved: it is pale, and counts as one more basin below." in single
    nothing = picture_words(PlanePicture((0, 4, 7), 0, 0, 3600, BasinEntropy(144, 0, 0.0, None), 0), 60, 12)
    assert "60 × 60 states was iterated, and none reached a fixed point or a cycle. 3,600 states remained" in nothing
    entropy = BasinEntropy(144, 3, 0.1, 0.4)
    whole = picture_words(PlanePicture((), 0, 0, 0, entropy, 0, 2, 1, 1), 60, 0, is_whole=True)
    assert whole == (
        "States are two numbers, and this is their plane as far as attractors and all but the outermost samples go. "
        "Each of 60 × 60 states was iterated: they reach 2 cycles. 1 cycle is reached by no sample. "
        "1 state diverges: it is blank, and one more basin below."
    )


def test_a_picture_without_basins_is_said_to_be_none(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    analysis = with_basins(make_analysis(attractors=15))
    labels = torch.full((1, 20, 20), -1)
    picture = PlanePicture((0, 1, 2), 0, 0, 400, basin_entropy_of(labels[0]), 0)
    analysis = replace(
        analysis,
        results=replace(analysis.results, planes=[picture]),
        arrays=replace(analysis.arrays, plane_labels=labels),
    )
    (plane,) = planes_of(analysis, screen_of(analysis))
    assert "none reached a fixed point or a cycle" in plane.words
    assert plane.entropy == "There is no basin on it, so nothing is known of boundaries."
    assert "One basin fills the picture" not in render_page([analysis])


def test_data_name_the_attractor_of_each_state(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    analysis = with_basins(make_analysis(attractors=15))
    arrays = analysis.arrays
    rows = list(csv.DictReader(io.StringIO(figure_data(plane_figures(analysis, screen_of(analysis))[0]))))
    assert list(rows[0]) == ["distance_along", "distance_across", "attractor", "what"]
    along, across = ({value: place for place, value in enumerate(axis.tolist())} for axis in arrays.plane_axes[0])
    states = [row for row in rows if row["attractor"]]
    assert len(states) == 400
    for row in states:
        place = along[float(row["distance_along"])], across[float(row["distance_across"])]
        label = int(arrays.plane_labels[0][place])
        assert row["attractor"] == (str(label) if label >= 0 else "unresolved")


def test_cycles_and_what_diverges_have_their_colours_and_places() -> None:
    analysis = dl.analyse(
        two_cycles(), 1.5 * torch.rand(40, 2, generator=torch.Generator().manual_seed(0)) + 0.3, settings=SMALL
    )
    figure: Any = plane_figures(analysis, screen_of(analysis))[0]
    heatmap, cycles, marks, unstable = figure.data
    assert len(marks.x) == 0
    # x^3 - 1.5 x = x at 0 and at the roots of 2.5, of which only the positive one is on the picture.
    root = math.sqrt(2.5)
    places = sorted(zip(np.round(unstable.x, 9).tolist(), np.round(unstable.y, 9).tolist(), strict=True))
    assert places == [(x, y) for x in (0, round(root, 9)) for y in (0, round(root, 9))]
    assert list(unstable.marker.symbol) == ["square"] * 4
    assert "Diamonds are the states of cycles." in (page := render_page([analysis]))
    colours: dict[str, set[str | None]] = {}
    for name, code in zip(np.ravel(heatmap.customdata), np.ravel(np.array(heatmap.z, dtype=object)), strict=True):
        colours.setdefault(str(name), set()).add(None if code is None else colour_at(heatmap, code))
    assert colours.pop("diverges") == {None}
    sampled = len(analysis.results.cycles)
    assert colours.keys() == {"cycle 0", "cycle 1"}
    assert colours["cycle 0"] | colours["cycle 1"] == {light(name) for name in COLOURS[:2]}
    keys = planes_of(analysis, screen_of(analysis))[0].keys
    assert {key.name for key in keys} == {
        *(f"Cycle {number} of period 2" for number in range(sampled)),
        *(f"Cycle {number}, which no sample reaches" for number in range(sampled, 2)),
        "Diverged",
    }
    assert len(cycles.x) == 2 * sampled  # whose states are known
    for x, y in zip(cycles.x, cycles.y, strict=True):
        assert (abs(x), abs(y)) == pytest.approx((0.5**0.5, 0.5**0.5), abs=1e-9)
        assert figure.layout.xaxis.range[0] < x < figure.layout.xaxis.range[1]
        assert figure.layout.yaxis.range[0] < y < figure.layout.yaxis.range[1]
    assert "Cycles, the largest basin first" in page
    assert "(−0.7071, −0.7071) → (0.7071, 0.7071)" in page


def test_the_way_of_a_chaotic_orbit_is_drawn() -> None:
    settings = replace(SMALL, max_steps=200, max_exact_steps=200)
    analysis = dl.analyse(Henon(), torch.tensor([[0.05, 0.1], [0.06, -0.1]]), settings=settings)
    figure: Any = plane_figures(analysis, screen_of(analysis))[0]
    _, dots, _, unstable = figure.data
    assert list(unstable.marker.symbol) == ["x", "x"]
    assert set(dots.customdata) == {0, 1}
    x, y = np.array(dots.x).reshape(2, -1), np.array(dots.y).reshape(2, -1)
    low, high = figure.layout.xaxis.range
    assert ((low < x) & (x < high)).all()  # though samples begin in a small part of it
    np.testing.assert_allclose(x[:, 1:], 1 - 1.4 * x[:, :-1] ** 2 + y[:, :-1], rtol=0, atol=2e-4)
    np.testing.assert_allclose(y[:, 1:], 0.3 * x[:, :-1], rtol=0, atol=2e-5)
    page = render_page([analysis])
    assert "Dots are the way on of some unresolved samples." in page
    assert "Samples that do not settle" in page
    assert "Both are chaotic: small differences grow, while steps keep their length." in page


def test_words_of_the_entropy() -> None:
    assert "no boundary" in entropy_words(BasinEntropy(16, 0, 0.0, None), 0)
    smooth = entropy_words(BasinEntropy(100, 1, 0.005, 0.5), 0)
    assert smooth.startswith("1 of 100 boxes of 5 × 5 states holds a boundary.")
    assert f"{math.exp(0.5):.2f} equally likely" in smooth
    assert "below, it does not tell" in smooth
    folded = entropy_words(BasinEntropy(100, 40, 0.4, 1.0), 30)
    assert "75.0% of those on a boundary" in folded
    assert "does not tell" not in folded


def test_the_page_has_each_picture_with_its_words(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    page = render_page([with_basins(make_analysis(attractors=15), planes=2)])
    assert page.count(f"<h3>{TITLE}") == 2
    assert f"{TITLE}, picture 2" in page
    assert 'data-drawing="analysis-1-plane-2"' in page
    assert page.count("boundary basin entropy is") == 2
    one = render_page([with_basins(make_analysis(attractors=15))])
    assert f"<h3>{TITLE}</h3>" in one


def test_without_pictures_there_is_no_section(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    for analysis in (make_analysis(), with_basins(make_analysis(), planes=0)):
        assert plane_figures(analysis, screen_of(analysis)) == []
        assert TITLE not in render_page([analysis])


def test_labels_of_no_attractor_are_refused(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    analysis = with_basins(make_analysis(attractors=15), others=2)
    beyond = replace(analysis, arrays=replace(analysis.arrays, plane_labels=torch.full((1, 20, 20), 17)))
    with pytest.raises(ValueError, match=r"array plane_labels is not within -1 to 16"):
        write_report([beyond], "/dev/null/never")

"""The data of figures as CSV: what is drawn can be read back, number for number, and nothing in it is computed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.flows import flow_of
from dynlab.evaluation.kinds import Outcome
from dynlab.report import across_maps, connections, figures, spectra
from dynlab.report.figure_data import column_names, csv_text, csv_uri, figure_data
from dynlab.report.layout import blank_figure, label_text
from dynlab.report.page import render_page
from dynlab.report.pictures import screen_of

MakeAnalysis = Callable[..., Analysis]
LARGEST = 1 << 20  # bytes of the data beside a figure, as a part of a page


def _cells(figure: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(figure_data(figure), newline=""), strict=True))


def _frame(figure: Any) -> Any:
    return pd.read_csv(io.StringIO(figure_data(figure)))


# The generic function.


def test_columns_are_called_as_the_axes_are() -> None:
    figure = blank_figure("corruption<br>level &sigma;", "share", legend=True)
    figure.add_trace(go.Scatter(x=[1, 2], y=[0.25, 1 / 3], name="a &lt;b&gt;"))
    figure.add_trace(go.Bar(x=[3], y=[4.0], name="c"))
    assert _cells(figure) == [
        ["series", "corruption level σ", "share"],
        ["a <b>", "1", "0.25"],
        ["a <b>", "2", "0.3333333333333333"],
        ["c", "3", "4.0"],
    ]


def test_what_has_no_name_has_plain_ones() -> None:
    assert _cells(go.Figure(go.Scatter(y=[5, 6]))) == [["x", "y"], ["0", "5"], ["1", "6"]]
    assert _cells(go.Figure()) == [[]]


def test_meta_names_columns_and_the_trace_has_the_last_word() -> None:
    figure = go.Figure(layout={"meta": column_names(series="map", x="step", y="", custom=["n", "ok"])})
    figure.add_trace(go.Scatter(x=[1], y=[2], customdata=[(3, True)], name="short…", meta=column_names(name="in full")))
    figure.add_trace(go.Scatter(x=[4], y=[5], customdata=[6], meta=column_names(series="", y="height", custom=["n"])))
    assert _cells(figure) == [
        ["map", "step", "n", "ok", "height"],
        ["in full", "1", "3", "True", ""],
        ["", "4", "6", "", "5"],
    ]


def test_gaps_and_decoration_are_no_points() -> None:
    figure = go.Figure(go.Scatter(x=[1, None, 2, 3], y=[1, None, math.nan, 4], customdata=["a", "b", "c", "d"]))
    figure.update_layout(meta=column_names(custom=["which"]))
    figure.add_trace(go.Scatter(x=[0, 9], y=[0, 9], hoverinfo="skip"))
    figure.add_trace(go.Scatter(x=[0, 9, 9], y=[0, 9, 0], fill="toself", hoveron="fills"))
    assert _cells(figure) == [["x", "y", "which"], ["1", "1", "a"], ["3", "4", "d"]]


def test_a_heatmap_has_a_row_for_each_cell() -> None:
    z = np.array([[0.1, math.nan, 3.0], [4.0, 5.0, 6.0]])
    heat = go.Heatmap(x=["p", "q", "r"], y=[7, 8], z=z, customdata=[[1, 2, 3], [4, 5, 6]])
    heat.meta = column_names(x="column", y="row", z="share", custom=["count"])
    assert _cells(go.Figure(heat)) == [
        ["column", "row", "share", "count"],
        ["p", "7", "0.1", "1"],
        ["q", "7", "", "2"],
        ["r", "7", "3.0", "3"],
        ["p", "8", "4.0", "4"],
        ["q", "8", "5.0", "5"],
        ["r", "8", "6.0", "6"],
    ]
    assert _cells(go.Figure(go.Heatmap(z=[[1]]))) == [["x", "y", "value"], ["0", "0", "1"]]


def test_error_bars_have_their_lengths() -> None:
    figure = blank_figure("level", "count", legend=False)
    bars = {"array": [0.5], "arrayminus": [0.25], "symmetric": False}
    figure.add_trace(go.Scatter(x=[1], y=[2], error_y=bars, error_x={"array": [0.125]}))
    assert _cells(figure) == [
        ["level", "level above", "level below", "count", "count above", "count below"],
        ["1", "0.125", "0.125", "2", "0.5", "0.25"],
    ]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_numbers_come_back_to_the_last_digit(dtype: type) -> None:
    values = (np.random.default_rng(0).standard_normal(200) * 10.0 ** np.arange(-100, 100)).clip(-1e18, 1e18)
    values = np.nan_to_num(values.astype(dtype))
    found = _frame(go.Figure(go.Scatter(x=np.arange(200), y=values)))
    assert (found["y"].to_numpy().astype(dtype) == values).all()


def test_text_is_quoted_and_never_a_formula() -> None:
    texts = ["=1+1", "+1", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", 'say "a, b"', "two\r\nlines", "fine=1"]
    read = list(csv.reader(io.StringIO(csv_text(["=head", "number"], [(text, -1.5) for text in texts]), newline="")))
    assert read[0] == ["'=head", "number"]
    assert [row[0] for row in read[1:]] == [f"'{text}" for text in texts[:6]] + texts[6:]
    assert {row[1] for row in read[1:]} == {"-1.5"}


def test_lines_end_as_the_standard_has_it() -> None:
    assert csv_text(["a", "b"], [(1, None), (math.nan, "x,y"), (-math.inf, "")]) == 'a,b\r\n1,\r\n,"x,y"\r\n-inf,\r\n'


def test_uri_holds_every_letter() -> None:
    text = csv_text(["σ", "#%&\"'<>"], [("a b+c", "x,y\r\n")])
    uri = csv_uri(text)
    head, _, content = uri.partition(",")
    assert head == "data:text/csv;charset=utf-8"
    assert unquote(content, errors="strict") == text
    assert not set(content) & set(" \r\n\t#<>\"'&")


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        (go.Histogram(x=[1]), "histogram"),
        (go.Scatter(x=[1], y=[1], meta=column_names(x="a", y="a")), "no name twice"),
        (go.Scatter(x=[1, 2], y=[1, 2], customdata=[1], meta=column_names(custom=["a"])), "2 points"),
        (go.Scatter(x=[1], y=[1], meta=column_names(custom=["a"])), "1 points"),
        (go.Scatter(x=[1], y=[1], customdata=[(1, 2)], meta=column_names(custom=["a"])), "1 entries"),
    ],
)
def test_what_cannot_be_told_is_refused(trace: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figure_data(go.Figure(trace))


# The figures of the page.


def test_decay_has_the_step_lengths_of_its_samples(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    found = _frame(figures.step_length_decay(analysis))
    assert list(found) == ["outcome", "step", "step_length", "sample"]
    column = {int(sample): place for place, sample in enumerate(analysis.arrays.recorded_samples)}
    columns = [column[sample] for sample in found["sample"]]
    lengths = analysis.arrays.step_lengths.numpy()[found["step"] - 1, columns]
    assert (found["step_length"].to_numpy().astype(np.float32) == lengths).all()
    names = [outcome.value for outcome in Outcome]
    assert list(found["outcome"]) == [names[int(analysis.arrays.outcomes[sample])] for sample in found["sample"]]


def test_multipliers_are_those_of_the_analysis(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    found = _frame(spectra.multipliers_in_the_plane(analysis))
    read = sorted(zip(found["attractor"], found["real_part"], found["imaginary_part"], strict=True))
    multipliers = analysis.arrays.multipliers.numpy()
    known = np.argwhere(np.isfinite(multipliers))
    assert read == sorted((row, *_parts(complex(multipliers[row, place]))) for row, place in known.tolist())
    assert found["modulus"].to_numpy() == pytest.approx(np.hypot(found["real_part"], found["imaginary_part"]))
    assert set(found["which"]) == {"leading", "other"}


def _parts(value: complex) -> tuple[float, float]:
    return value.real, value.imag


def test_rates_and_radii_are_those_of_the_analysis(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    found = _frame(spectra.rate_against_radius(analysis)).set_index("sample")
    assert len(found)
    for place, sample in enumerate(analysis.arrays.recorded_samples.tolist()):
        attractor, rate = int(analysis.arrays.labels[sample]), float(analysis.arrays.rates[place])
        if attractor < 0 or math.isnan(rate):
            assert sample not in found.index
            continue
        assert found.loc[sample, "attractor"] == attractor
        assert found.loc[sample, "fitted_rate"] == rate
        assert found.loc[sample, "spectral_radius"] == float(analysis.arrays.multipliers[attractor, 0].abs())


def test_flow_has_shares_and_counts(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(attractors=30)
    found = _frame(connections.flow_figure(flow_of(analysis)))
    assert list(found) == ["attractor", "class", "share", "samples"]
    by_class = found.groupby("class")["samples"].sum()
    assert by_class.to_dict() == {int(c): int((analysis.arrays.classes == c).sum()) for c in analysis.arrays.classes}
    assert found["share"].to_numpy() == pytest.approx((found["samples"] / found["class"].map(by_class)).to_numpy())


def test_graph_has_its_nodes_and_its_edges(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> None:
    analysis = with_graph(make_analysis(attractors=12), [(0, 1), (1, 0), (1, 2), (5, 12)])
    graph = analysis.graph
    assert graph is not None
    figure: Any = connections.connection_figure(analysis.graph, screen_of(analysis))
    found = _frame(figure)
    assert "x" not in found
    saddles = found[found["kind"] == "saddle"].set_index("saddle")
    for source, target, edge in graph.edges(data=True):
        row = saddles.loc[edge["saddle"]]
        assert (row["source"], row["target"]) == (min(source, target), max(source, target))
        for name in ("unstable_multiplier", "residual", "distance_to_source", "distance_to_target"):
            assert row[name] == edge[name]
    nodes = found[found["kind"] != "saddle"].set_index("attractor")
    assert len(saddles) == 4
    assert sorted(nodes.index) == list(range(13))
    for node, attributes in graph.nodes(data=True):
        for name in ("kind", "basin_size", "basin_fraction", "spectral_radius"):
            assert nodes.loc[node, name] == attributes[name]
        assert attributes.get("label") == nodes.loc[node, "label"] or math.isnan(float(nodes.loc[node, "label"]))
    # Hover texts are made of the same entries, by their place.
    saddle = next(trace for trace in figure.data if trace.name == "saddle")
    names = saddle.meta["custom"]
    assert f"unstable multiplier %{{customdata[{names.index('unstable_multiplier')}]" in saddle.hovertemplate


def test_barriers_are_told_where_there_is_an_energy(make_analysis: MakeAnalysis, with_graph: MakeAnalysis) -> None:
    analysis = with_graph(make_analysis(attractors=4), [(0, 1)])
    assert analysis.graph is not None
    assert "barrier_from_source" not in _frame(connections.connection_figure(analysis.graph, screen_of(analysis)))
    for _, _, edge in analysis.graph.edges(data=True):
        edge |= {"barrier_from_source": 0.1 + 0.2, "barrier_from_target": 2.0}
    figure: Any = connections.connection_figure(analysis.graph, screen_of(analysis))
    assert _frame(figure)["barrier_from_source"].dropna().tolist() == [0.1 + 0.2]
    saddle = next(trace for trace in figure.data if trace.name == "saddle")
    place = saddle.meta["custom"].index("barrier_from_target")
    assert f"%{{customdata[{place}]:.3~g}} nats up" in saddle.hovertemplate


def test_comparisons_name_the_maps_in_full(make_analysis: MakeAnalysis) -> None:
    names = ["=SUM(1)", "</script>, a name that is much longer than what fits below a tick"]
    analyses = [make_analysis(sigma=None, name=names[0]), make_analysis(sigma=None, name=names[1], seed=1)]
    assert label_text(names[1]) != names[1]
    drawn = {
        "outcomes": across_maps.outcome_shares(analyses),
        "attractors": across_maps.attractors_by_corruption_level(analyses),
        "explosions": across_maps.explosion_share(analyses),
        "accuracy": across_maps.accuracy_by_corruption_level(analyses),
        "orbit": figures.separability_along_orbit(analyses),
    }
    for figure in drawn.values():
        found = _frame(figure)
        assert set(found["map"]) == {f"'{names[0]}", names[1]}
        assert "corruption_level" not in found
    shares = _frame(drawn["outcomes"])
    assert shares.groupby("map")["share"].sum().tolist() == pytest.approx([1, 1])
    assert (shares["share"] == shares["count"] / shares["samples"]).all()
    orbit = _frame(drawn["orbit"])
    separability = analyses[1].results.separability
    assert separability is not None
    of_second = orbit[orbit["map"] == names[1]]
    assert of_second["step"].tolist() == [point.step for point in separability.along_orbit]
    assert of_second["test_accuracy"].tolist() == [point.test for point in separability.along_orbit]
    assert of_second["fit_converged"].tolist() == [point.converged for point in separability.along_orbit]


def test_comparisons_have_the_corruption_level_where_it_tells_maps_apart(levels: list[Analysis]) -> None:
    for figure in (
        across_maps.attractors_by_corruption_level(levels),
        across_maps.explosion_share(levels),
        across_maps.accuracy_by_corruption_level(levels),
    ):
        found = _frame(figure)
        assert sorted(set(found["corruption_level"])) == [0.15, 0.2, 0.25, 0.3]
    found = _frame(across_maps.explosion_share(levels))
    assert (found["interval_low"] <= found["share"]).all()
    assert (found["share"] <= found["interval_high"]).all()
    assert (found["share"] == found["explosions"] / found["samples"]).all()


def test_each_figure_of_the_page_has_its_data(levels: list[Analysis], with_graph: MakeAnalysis) -> None:
    page = render_page([with_graph(analysis, [(0, 1)]) for analysis in levels])
    assert page.count('class="drawing"') == page.count('download="') >= 5 + 6 * len(levels)


def test_data_stay_small(make_analysis: MakeAnalysis, record: Callable[..., Analysis]) -> None:
    analysis = make_analysis(attractors=350, samples=800)
    noise = torch.rand(4000, 800, generator=torch.Generator().manual_seed(0))
    lengths = (1 + 0.01 * noise) * 0.997 ** torch.arange(4000.0)[:, None]
    analysis = record(analysis, torch.arange(800), lengths)
    for draw in (figures.step_length_decay, spectra.multipliers_in_the_plane, spectra.rate_against_radius):
        uri = csv_uri(figure_data(draw(analysis)))
        assert 10_000 < len(uri) < LARGEST

"""Robustness on the page: figures show the numbers, and words claim no more than was proved, estimated or found."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import dynlab as dl
from dynlab.attractors.robustness.pulled_back import LowerBound
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.robustness_results import NoiseSource, Robustness, Shock
from dynlab.maps.classical import Linear
from dynlab.report.figure_data import figure_data
from dynlab.report.page import render_page, write_report
from dynlab.report.pictures import screen_of
from dynlab.report.robustness.figures import DECADES, escape_figure, shock_figure
from dynlab.report.robustness.section import chain_words, escape_words, robustness_view, sample_noise_words
from dynlab.report.robustness.words import shock_words

MakeAnalysis = Callable[..., Analysis]


def _text(page: str) -> str:
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def _shock(start: int = 0, **values: Any) -> Shock:
    return replace(Shock(start, 0, 0.01, LowerBound.ESTIMATED, 0.5, 1, 0.75, 2.0), **values)


def _robustness(analysis: Analysis) -> Robustness:
    assert analysis.results.robustness is not None
    return analysis.results.robustness


def _counts(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int64)


@pytest.fixture
def robust(make_analysis: MakeAnalysis, with_robustness: MakeAnalysis) -> Analysis:
    """Four attractors, of which noise exchanges the first two and the last two, most often."""
    counts = _counts([[11, 8, 1, 0, 0, 0], [8, 12, 0, 0, 0, 0], [0, 0, 12, 7, 1, 0], [0, 1, 9, 9, 0, 1]])
    return with_robustness(make_analysis(attractors=4), counts)


def test_words_of_no_one_and_many_shocks():
    assert shock_words([], "sample") == "No sample was shocked."
    one = shock_words([_shock(3)], "attractor")
    assert one.startswith("A shock of length 0.5 sends attractor 3 elsewhere. Its length is 0.25 times the distance")
    assert "estimated without proof for 1" in one
    many = shock_words([_shock(3), _shock(5, upper=0.125, nearest=1.0), _shock(6, upper=None, reached=-1)], "attractor")
    assert many.startswith(
        "The smallest shock found that sends one of 3 attractors elsewhere has length 0.125 (attractor 5); in the "
        "median it is 0.3125. For 1 of them none was found, which does not say that there is none. In the median their "
        "length is 0.188 times"
    )
    nothing = shock_words([_shock(upper=None, reached=-1)] * 2, "sample")
    assert nothing.startswith("No shock was found that sends any of the 2 samples")
    assert "does not say that there is none" in nothing


def test_words_tell_what_is_proved_estimated_and_unknown():
    shocks = [
        _shock(0, lower_bound=LowerBound.PROVED),
        _shock(1),
        _shock(2, lower=0.0, lower_bound=LowerBound.NONE),
        _shock(3, lower_bound=LowerBound.PROVED),
    ]
    words = shock_words(shocks, "attractor")
    assert "proved for 2, estimated without proof for 1 and unknown for 1" in words
    assert "There may be smaller ones" in words
    assert "carried back along the orbit" in shock_words(shocks, "sample")
    assert "No lower ends are known" in shock_words(shocks[2:3] * 2, "sample")
    assert "proved" not in shock_words(shocks[1:2], "sample").replace("without proof", "")


def test_the_interval_is_a_fact_only_where_both_ends_are_proved():
    proved, estimated = _shock(0, lower_bound=LowerBound.PROVED), _shock(1)
    unknown = _shock(2, lower=0.0, lower_bound=LowerBound.NONE)

    def end(*shocks: Shock) -> str:
        return shock_words(shocks, "attractor").rpartition(". ")[2]

    assert end(proved, proved) == "The smallest shock there is lies between the two ends."
    assert end(proved, estimated) == "The smallest shock there is lies between the two ends, if the estimate holds."
    assert end(estimated, estimated).endswith("lies between the two ends, if the estimates hold.")
    assert end(proved, unknown) == "The smallest shock there is lies between the two ends where both are known."
    assert end(unknown, estimated).endswith("between the two ends where both are known, if the estimate holds.")
    assert "two ends" not in shock_words([unknown, unknown], "attractor")
    longer = _shock(3, upper=None, reached=-1, lower_bound=LowerBound.PROVED)
    assert end(longer) == "Any shock there may be is longer."
    assert (
        end(longer, replace(unknown, upper=None, reached=-1)) == "Any shock there may be is longer where one is known."
    )


def test_words_tell_where_no_perturbation_of_any_size_leads_elsewhere():
    proved = _shock(0, lower=None, lower_bound=LowerBound.PROVED, upper=None, straight=None, reached=-1)
    estimated = replace(proved, start=1, lower_bound=LowerBound.ESTIMATED)
    assert shock_words([proved], "attractor") == (
        "No perturbation of any size sends the one attractor elsewhere. This is proved."
    )
    assert shock_words([estimated] * 2, "sample") == (
        "No perturbation of any size sends any of the 2 samples to another attractor than without it. "
        "This is estimated, without proof."
    )
    assert shock_words([proved, estimated, proved], "attractor").endswith(
        "This is proved for 2, estimated without proof for 1."
    )
    missing = _shock(2, upper=None, straight=None, reached=-1, lower=0.0, lower_bound=LowerBound.NONE)
    assert shock_words([proved, missing], "attractor") == (
        "No shock was found that sends any of the 2 attractors elsewhere. For 1 of them no perturbation of any size "
        "does. This is proved. For the others none was found, which does not say that there is none."
    )
    words = shock_words([proved, missing, _shock(3)], "attractor")
    assert "For 1 of them no perturbation of any size does. This is proved. For 1 of them none was found" in words
    assert "estimated without proof for 1 and unknown for 1" in words


def test_a_linear_map_is_proved_to_lead_nowhere_else(device: torch.device):
    linear = Linear(torch.diag(torch.tensor([0.5, 0.3, 0.2]))).to(device)
    settings = dl.AnalysisSettings(robustness=True, certificate_method="proof", noise=0.1, noise_draws=2)
    analysis = dl.analyse(linear, torch.rand(6, 3, generator=torch.Generator().manual_seed(0)), settings=settings)
    shocks = _robustness(analysis).attractor_shocks
    assert [(shock.lower, shock.lower_bound) for shock in shocks] == [(None, LowerBound.PROVED)]
    assert "No perturbation of any size sends the one attractor elsewhere. This is proved." in _text(
        render_page([analysis])
    )


def test_upper_ends_are_rounded_up_and_medians_and_ratios_to_the_nearest():
    assert "length 0.1231 " in shock_words([_shock(upper=0.12301)], "attractor")
    assert "length 1 " in shock_words([_shock(upper=1.0)], "attractor")
    one = shock_words([_shock(upper=1.0000005)], "attractor")
    assert "length 1.001 " in one
    assert "0.5 times" in one
    assert "in the median it is 1." in shock_words([_shock(upper=1.0000005)] * 2, "attractor")


def test_words_of_noise_for_no_one_and_many(
    robust: Analysis, make_analysis: MakeAnalysis, with_robustness: MakeAnalysis
):
    words = escape_words(robust)
    # 0.7 times the square root of 64; 9, 8, 8 and 11 of 20 did not come back.
    assert "standard deviation 0.7" in words
    assert "the corruption level the map was trained at, has a length of about 5.6." in words
    assert "added to each of 4 attractors 20 times. In the median 42.5% of the orbits did not come back" in words
    assert "from 40.0% to 55.0%" in words
    assert "1.2% of all orbits ended at attractors that no sample reaches." in words
    assert "1.2% of all orbits reached no attractor" in words
    one = with_robustness(make_analysis(attractors=1), _counts([[15, 5, 0]]), shocked=1)
    assert "added to the attractor 20 times, and 25.0% of the orbits did not come back (95% interval: 11.2% to" in (
        escape_words(one)
    )
    none = with_robustness(make_analysis(attractors=0, explosions=0), _counts([[]]).reshape(0, 2), 0, 0)
    assert escape_words(none).endswith("There is no attractor to add it to.")
    assert sample_noise_words(_robustness(none)) == "No sample was perturbed."
    assert escape_words(make_analysis(attractors=1)) == ""
    given = replace(_robustness(robust), noise_source=NoiseSource.GIVEN)
    assert "as asked for" in escape_words(replace(robust, results=replace(robust.results, robustness=given)))


def test_words_of_perturbed_samples(robust: Analysis):
    assert sample_noise_words(_robustness(robust)) == (
        "The same noise, added to 2 samples 20 times each, gives them another attractor with probability 37.5% in the "
        "median, from 25.0% to 50.0%."
    )
    alone = replace(_robustness(robust), sample_escapes=_robustness(robust).sample_escapes[:1], draws=1)
    assert (
        "added to sample 0 once, gives it another attractor with probability 25.0% (95% interval: 10.0% to 90.0%)"
        in (sample_noise_words(alone))
    )
    unknown = replace(alone, sample_escapes=[replace(alone.sample_escapes[0], probability=None, low=None, high=None)])
    assert sample_noise_words(unknown) == (
        "The same noise was added to 1 sample too, of which none reaches an attractor without it: there is no outcome "
        "to change."
    )


def test_words_of_the_chain(robust: Analysis, make_analysis: MakeAnalysis, with_robustness: MakeAnalysis):
    def words(rows: list[list[int]]) -> str:
        made = with_robustness(make_analysis(attractors=len(rows)), _counts(rows), shocked=1)
        return chain_words(_robustness(made).attractor_escapes, 20)

    joined = chain_words(_robustness(robust).attractor_escapes, 20)
    assert "All of them lead to each other: in the long run it is at attractor" in joined
    assert "2 with several attractors among 2 groups" in joined
    apart = words([[20, 0, 0, 0], [0, 20, 0, 0]])
    assert "2 recurrent classes, which no draw that stayed among these attractors left: in the long run" in apart
    assert "More draws than 20 from each attractor may join them." in apart
    assert "Yet" not in apart
    leaking = words([[14, 0, 6, 0], [0, 20, 0, 0]])
    assert "Yet 30.0% of the draws from attractor 0 led to attractors that no sample reaches." in leaking
    assert "Yet 5.0% of the draws from attractor 1 led to no attractor." in words([[20, 0, 0, 0], [0, 19, 0, 1]])
    assert (
        "Yet draws from 2 of these attractors led to attractors that no sample reaches or to none: 20.0% of those from "
        "attractor 0, the most."
    ) in words([[16, 0, 3, 1], [0, 19, 0, 1]])
    assert "No metastable group has several attractors" in apart
    left = words([[20, 0, 0, 0], [5, 15, 0, 0]])
    assert "It settles in one class of them: in the long run it is at attractor 0 most often, 100% of the time" in left
    assert "1 attractor is transient" in left
    out = words([[10, 10, 0, 0, 0], [10, 10, 0, 0, 0], [0, 0, 0, 0, 20]])
    assert "1 attractor is no part of it, as it leads to none that is" in out
    assert words([[20, 0, 0]]) == ""


def test_intervals_are_drawn_from_end_to_end(robust: Analysis):
    starts = robust.arrays.shock_starts
    assert starts is not None
    shocks = _robustness(robust).attractor_shocks
    figure: Any = shock_figure(shocks, starts[:3], screen_of(robust), "attractor")
    bars = [trace for trace in figure.data if trace.mode == "lines"]
    pairs = {(bar.y[place], bar.x[place], bar.x[place + 1]) for bar in bars for place in range(0, len(bar.x), 3)}
    assert pairs == {(0, 0.05, 0.5), (1, 0.05, 0.5), (2, 0.05, 0.5)}
    traces = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    assert list(traces["lower end, proved"].y) == [0, 1]
    assert list(traces["lower end, estimated"].y) == [2]
    assert list(traces["upper end, best found"].x) == [0.5] * 3
    assert list(traces["best before optimization"].x) == [0.75] * 3
    assert list(traces["nearest other attractor"].x) == [2.0] * 3
    low, high = figure.layout.xaxis.range
    assert low < np.log10(0.05) < np.log10(2.0) < high
    assert [image.y for image in figure.layout.images] == [0, 1, 2]
    assert list(figure.layout.yaxis.ticktext) == ["attractor 0", "attractor 1", "attractor 2"]


def test_lower_ends_beyond_the_figure_are_marked_there_and_exact_in_its_data(robust: Analysis):
    starts = robust.arrays.fixed_points[:3]
    shocks = [_shock(0), _shock(1, lower=1e-12), _shock(2, lower=0.0, lower_bound=LowerBound.NONE, nearest=None)]
    figure: Any = shock_figure(shocks, starts, screen_of(robust), "sample")
    traces = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    assert list(traces["lower end, estimated"].y) == [0]
    cut = traces["lower end, estimated, farther left"]
    assert (list(cut.y), list(cut.x)) == ([1], [pytest.approx(2.0 * 10.0**-DECADES)])
    rows = list(csv.DictReader(io.StringIO(figure_data(figure))))
    lower = [row for row in rows if row["what"] == "lower end, estimated"]
    assert [(row["sample"], row["length"]) for row in lower] == [("0", "0.01"), ("1", "1e-12")]
    upper = [row for row in rows if row["what"] == "upper end, best found"]
    assert [row["lower"] for row in upper] == ["0.01", "1e-12", "0.0"]
    assert [row["lower_end"] for row in upper] == ["estimated", "estimated", "none"]
    assert [row["sample"] for row in upper] == ["0", "1", "2"]
    assert all(float(row["length"]) in (0.5, 0.75, 2.0, 0.01, 1e-12) for row in rows)


def test_lower_ends_are_drawn_and_written_where_no_shock_was_found(robust: Analysis):
    points, screen = robust.arrays.fixed_points, screen_of(robust)
    missing = _shock(0, upper=None, straight=None, reached=-1)
    shocks = [missing, replace(missing, start=1, lower=None, lower_bound=LowerBound.PROVED), _shock(2)]
    shocks.append(replace(missing, start=3, lower=500.0))
    figure: Any = shock_figure(shocks, points[:4], screen, "attractor")
    assert next(list(trace.y) for trace in figure.data if trace.mode == "lines") == [2, 2, None]
    traces = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    assert list(traces["lower end, estimated"].y) == [0, 2]
    assert list(traces["lower end, estimated, farther right"].y) == [3]
    assert list(traces["lower end, proved, farther right"].y) == [1]
    assert list(traces["lower end, proved, farther right"].text) == ["of any size"]
    assert list(traces["upper end, best found"].y) == [2]
    assert "Infinity" not in figure.to_json(engine="json")
    rows = csv.DictReader(io.StringIO(figure_data(figure)))
    lower = {(row["attractor"], row["what"], row["length"]) for row in rows if row["what"].startswith("lower")}
    estimated = {("0", "lower end, estimated", "0.01"), ("2", "lower end, estimated", "0.01")}
    assert lower == {*estimated, ("3", "lower end, estimated", "500.0"), ("1", "lower end, proved", "inf")}
    alone: Any = shock_figure([missing], points[:1], screen, "attractor")
    assert [(trace.name, list(trace.x)) for trace in alone.data] == [("lower end, estimated", [0.01])]
    assert not shock_figure(shocks[1:2], points[:1], screen, "attractor").data


def test_shocks_that_were_not_found_are_not_drawn(robust: Analysis):
    points, screen = robust.arrays.fixed_points, screen_of(robust)
    nothing = [_shock(0, upper=None, straight=None, reached=-1, lower=0.0, lower_bound=LowerBound.NONE)]
    assert not shock_figure(nothing, points[:1], screen, "attractor").data
    assert not shock_figure([], points[:0], screen, "attractor").data
    everywhere: Any = shock_figure([_shock(0, lower=None), _shock(1)], points[:2], screen, "attractor")
    assert list(next(trace for trace in everywhere.data if trace.mode == "lines").y) == [1, 1, None]


def test_escapes_are_drawn_with_their_intervals(robust: Analysis, make_analysis: MakeAnalysis):
    figure: Any = escape_figure(robust)
    points = {}
    for trace in figure.data:
        for x, y, above, below, custom in zip(
            trace.x, trace.y, trace.error_y.array, trace.error_y.arrayminus, trace.customdata, strict=True
        ):
            points[custom[0]] = (x, y, y - below, y + above)
            assert trace.name == str(robust.results.attractors[custom[0]].kind)
    for escape in _robustness(robust).attractor_escapes:
        size = robust.results.attractors[escape.attractor].basin_size
        expected = (size, escape.escape_probability, escape.escape_low, escape.escape_high)
        assert points[escape.attractor] == pytest.approx(expected)
    assert len(points) == 4
    assert figure.layout.yaxis.range[1] > max(high for _, _, _, high in points.values())
    assert not escape_figure(make_analysis(attractors=2)).data


def test_pictures_of_a_shock_show_start_change_end_and_where_it_goes(
    robust: Analysis, decode_png: Callable[[bytes], NDArray[np.uint8]]
):
    view = robustness_view(robust, screen_of(robust))
    assert view is not None

    def pixels(source: str) -> NDArray[np.uint8]:
        return decode_png(base64.b64decode(source.partition(",")[2]))

    for row, film in enumerate(view.attractor_films):
        start, change, end, reached = (pixels(frame.source).flatten() for frame in film.frames)
        # Only the first coordinate is changed, by as much as white is.
        assert change[0] == 255
        assert set(change[1:].tolist()) == {128}
        assert start[1:].tolist() == end[1:].tolist()
        others = robust.arrays.shock_others
        assert others is not None
        target = robust.arrays.fixed_points[row + 1] if row < 2 else others[0]
        np.testing.assert_array_equal(reached, np.rint(target.clamp(0, 1).numpy() * 255).astype(np.uint8))
    assert len(view.attractor_films) == 3
    assert view.attractor_films[0].caption == "attractor 0, length 0.5"
    names = [f"({number})" for number in (0, 1)]
    assert all(name in way for name, way in zip(names, view.attractor_films[0].way.split(" → "), strict=True))
    assert view.attractor_films[-1].way.endswith("→ one without samples")
    assert view.attractors.endswith(
        "1 shock leads to an attractor that no sample reaches: in the data their numbers begin at 4."
    )
    assert view.sample_films[1].caption == "sample 1, length 0.25"
    assert "no sample reaches" not in view.samples
    assert len(view.sample_films) == 2


def test_arrays_that_do_not_fit_are_refused(robust: Analysis, tmp_path: Path):
    for wrong in (None, torch.zeros(2, 64, dtype=torch.float64)):
        broken = replace(robust, arrays=replace(robust.arrays, shock_starts=wrong, shock_ends=wrong))
        with pytest.raises(ValueError, match=r"array shock_starts is (missing|.* of shape \(5, 64\)$)"):
            write_report([broken], tmp_path / "page.html")


def test_groups_are_those_of_the_chain_by_their_share(robust: Analysis):
    view = robustness_view(robust, screen_of(robust))
    assert view is not None
    escapes = _robustness(robust).attractor_escapes
    assert [group.members for group in view.groups] == [2, 2]
    shares = [float(group.share.rstrip("%")) for group in view.groups]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.2)
    first = sum(escape.stationary for escape in escapes if escape.group == 0)
    assert f"{100 * first:.1f}%" in {group.share for group in view.groups}


def test_the_page_has_the_section_where_it_was_asked_for(
    robust: Analysis, make_analysis: MakeAnalysis, with_robustness: MakeAnalysis
):
    assert "How robust it is" not in render_page([make_analysis(attractors=3)])
    page = render_page([robust])
    text = _text(page)
    assert "How robust it is" in text
    assert "proved for 2" in text
    assert "Gaussian noise of standard deviation 0.7" in text
    for anchor in ("attractor-shocks", "sample-shocks", "escapes"):
        assert f'id="analysis-1-{anchor}"' in page
    assert "2 attractors, " in text
    assert page == render_page([robust])
    none = with_robustness(make_analysis(attractors=0, explosions=0), _counts([[]]).reshape(0, 2), 0, 0)
    text = _text(render_page([none]))
    assert "No sample came to rest at an attractor, so there was nothing to perturb." in text
    for words in ("was shocked", "was perturbed", "Gaussian noise"):
        assert words not in text
    one = with_robustness(make_analysis(attractors=1), _counts([[15, 5, 0]]), shocked=1, shocked_samples=1)
    text = _text(render_page([one]))
    assert "A shock of length 0.5 sends attractor 0 elsewhere." in text
    assert "Noise in the long run" not in text


@pytest.mark.parametrize("shape", [(8, 8), (64,)])
def test_where_a_shock_leads_stands_on_one_line_in_a_browser(
    browser: Any, make_analysis: MakeAnalysis, with_robustness: MakeAnalysis, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    counts = _counts([[20, 0, 0, 0, 0], [0, 20, 0, 0, 0], [0, 0, 20, 0, 0]])
    analysis = with_robustness(make_analysis(attractors=3, state_shape=shape), counts)
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(write_report([analysis], tmp_path / "page.html").as_uri())
    ways = page.locator(".shocks .caption span")
    assert ways.count() == 3 + 2
    assert ways.evaluate_all("ways => ways.map(way => way.getClientRects().length)") == [1] * 5
    assert ways.evaluate_all("ways => Math.max(...ways.map(way => way.getBoundingClientRect().right))") <= 390
    assert page.locator(".shocks .caption").first.inner_text().startswith("attractor 0, length 0.5\n")
    page.close()

"""Fixed points and rates on the page: figures show the numbers, words and rounding claim no more than was found."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dynlab.dynamics.certificates import CertificateStatus
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.approach import EnergySummary, RateSummary
from dynlab.evaluation.linearization import IndexSum
from dynlab.report import spectra
from dynlab.report.fixed_points import completeness_words, energy_words, fixed_points_of, rate_words
from dynlab.report.page import render_page
from dynlab.report.pictures import screen_of
from dynlab.report.words import rule_words, setting

MakeAnalysis = Callable[..., Analysis]


def _text(page: str) -> str:
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def _with(analysis: Analysis, **results: Any) -> Analysis:
    return replace(analysis, results=replace(analysis.results, **results))


def _with_multipliers(analysis: Analysis, multipliers: torch.Tensor) -> Analysis:
    return replace(analysis, arrays=replace(analysis.arrays, multipliers=multipliers))


def _points(figure: Any) -> dict[str, list[complex]]:
    return {
        trace.name: [complex(x, y) for x, y in zip(trace.x, trace.y, strict=True)]
        for trace in figure.data
        if trace.mode == "markers"
    }


def test_every_multiplier_is_drawn_once_and_leading_pairs_are_whole(make_analysis: MakeAnalysis) -> None:
    missing = complex("nan+nanj")
    multipliers = torch.tensor(
        [[0.9, 0.5, 0.2, missing], [0.7 + 0.1j, 0.7 - 0.1j, -0.1, missing], [0.8, 0.6, 0.3 + 0.2j, 0.3 - 0.2j]],
        dtype=torch.complex128,
    )
    analysis = _with_multipliers(make_analysis(attractors=3), multipliers)
    points = _points(spectra.multipliers_in_the_plane(analysis))
    assert sorted(points["leading multiplier"], key=abs) == [0.7 + 0.1j, 0.7 - 0.1j, 0.8, 0.9]
    assert sorted(points["other multipliers"], key=lambda p: (p.real, p.imag)) == [
        -0.1,
        0.2,
        0.3 - 0.2j,
        0.3 + 0.2j,
        0.5,
        0.6,
    ]


def test_a_real_multiplier_is_said_without_an_imaginary_part(make_analysis: MakeAnalysis) -> None:
    multipliers = torch.tensor([[0.77331, 0.7 + 0.1j, 0.7 - 0.1j, 0.5 + 1e-9j]], dtype=torch.complex128)
    figure: Any = spectra.multipliers_in_the_plane(_with_multipliers(make_analysis(attractors=1), multipliers))
    said = [text for trace in figure.data if trace.mode == "markers" for text in trace.text]
    assert sorted(said) == ["0.5000 +1.0e-09i", "0.7000 +0.1000i", "0.7000 -0.1000i", "0.7733"]
    assert all(trace.hovertemplate.startswith("%{text}, modulus") for trace in figure.data if trace.mode == "markers")


@pytest.mark.parametrize("multipliers", [[0.95, 0.7], [0.9, -0.9], [0.6 + 0.7j, 0.6 - 0.7j], [0.0, 0.0]])
def test_the_plane_has_one_scale_and_all_points_in_it(make_analysis: MakeAnalysis, multipliers: list[complex]) -> None:
    analysis = _with_multipliers(make_analysis(attractors=1), torch.tensor([multipliers], dtype=torch.complex128))
    figure: Any = spectra.multipliers_in_the_plane(analysis)
    (left, right), (low, high) = figure.layout.xaxis.range, figure.layout.yaxis.range
    assert figure.layout.yaxis.scaleanchor == "x"
    assert right - left == pytest.approx(high - low)
    for point in [*multipliers, 1]:
        assert left < np.real(point) < right
        assert low < np.imag(point) < high
    (circle,) = [shape for shape in figure.layout.shapes if shape.type == "circle"]
    assert (circle.x0, circle.x1, circle.y0, circle.y1) == (-1, 1, -1, 1)


def test_of_many_attractors_some_are_drawn_and_the_page_says_so(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(attractors=350, samples=700)
    radii = analysis.arrays.multipliers[:, 0].abs().numpy()
    drawn = spectra.drawn_attractors(analysis)
    assert len(drawn) == len(set(drawn.tolist())) == spectra.DRAWN
    assert radii[drawn].min() == radii.min()
    assert radii[drawn].max() == radii.max()
    assert len(_points(spectra.multipliers_in_the_plane(analysis))["leading multiplier"]) == spectra.DRAWN
    assert "300 of the 350 attractors, evenly spread" in _text(render_page([analysis]))
    assert "each of the 12 attractors" in _text(render_page([make_analysis()]))


def test_rates_are_drawn_against_the_radius_of_their_own_attractor(
    make_analysis: MakeAnalysis, record: Callable[..., Analysis]
) -> None:
    analysis = make_analysis(attractors=2, samples=10, unresolved=0)
    arrays = replace(
        analysis.arrays,
        multipliers=torch.tensor([[0.9], [0.6]], dtype=torch.complex128),
        labels=torch.tensor([0, 1, -1, 0, 0, 0, 0, 0, 0, 0]),
    )
    steps = torch.arange(60.0)[:, None]
    lengths = torch.cat([rate**steps for rate in (0.91, 0.59, 0.5, 1.0)], dim=1)
    analysis = record(replace(analysis, arrays=arrays), torch.tensor([0, 1, 2, 3]), lengths)
    figure: Any = spectra.rate_against_radius(analysis)
    (points,) = [trace for trace in figure.data if trace.mode == "markers"]
    assert list(points.x) == pytest.approx([0.1, 0.4])
    assert list(points.y) == pytest.approx([0.09, 0.41], rel=1e-4)
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    (diagonal,) = [trace for trace in figure.data if trace.mode != "markers"]
    assert list(diagonal.x) == list(diagonal.y)


def test_nothing_to_draw(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(attractors=0)
    assert not spectra.multipliers_in_the_plane(analysis).data
    assert not spectra.rate_against_radius(analysis).data
    text = _text(render_page([analysis]))
    assert "There is no attractor whose multipliers could be looked at" in text
    assert "Certificates" not in text


def test_why_samples_have_no_line_is_said(make_analysis: MakeAnalysis) -> None:
    decays = {"exponential": 6, "too short": 0, "no decay": 3, "not straight": 1}
    words = rate_words(_with(make_analysis(), rates=RateSummary(10, decays, 4, 0.0123, 80.0)))
    assert "6 of 10 recorded samples fall along a line." in words
    assert "3 do not fall by a factor of ten, or rise again and 1 falls, but along no line" in words
    assert "Those with a line that are unresolved, 2, are not drawn." in words
    assert "1.2% off" in words
    everything = {"exponential": 1, "too short": 0, "no decay": 0, "not straight": 0}
    words = rate_words(_with(make_analysis(), rates=RateSummary(1, everything, 1, 0.0, 8.0)))
    assert "1 of 1 recorded sample falls" in words
    assert "others" not in words
    assert "not drawn" not in words
    nothing = dict.fromkeys(everything, 0)
    assert rate_words(_with(make_analysis(), rates=RateSummary(0, nothing, 0, None, None))).startswith(
        "No step lengths"
    )


def test_completeness_is_said_where_a_sum_is_expected(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    assert "The 12 attractors known count +1 each. So at least 11 more" in completeness_words(analysis)
    assert "nothing shows" in completeness_words(_with(analysis, index_sum=IndexSum(1, 1, 1, 0)))
    assert "there is one at least" in completeness_words(_with(analysis, index_sum=IndexSum(0, 0, 1, 1)))
    silent = _with(analysis, index_sum=None)
    assert completeness_words(silent) == ""
    assert "Are these all?" not in _text(render_page([silent]))
    assert "Are these all?" in _text(render_page([analysis]))


def test_energy_is_the_maps_own_only_if_that_is_tied(make_analysis: MakeAnalysis) -> None:
    tied = energy_words(_with(make_analysis(), energy=EnergySummary(True, 20, 300, 0.0, 1.0, 0.0)))
    assert "rose in no step" in tied
    assert "no energy of its own" not in tied
    untied = energy_words(_with(make_analysis(), energy=EnergySummary(False, 20, 300, 0.234, 0.95, 0.071)))
    assert "no energy of its own" in untied
    assert "rose in 23.4% of the steps that change it, by 0.071 nats at most; 95.0% of 20 orbits" in untied
    assert energy_words(_with(make_analysis(), energy=None)) == ""


def test_certificates_say_what_was_shown_and_why_not(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    text = _text(render_page([analysis]))
    for word in ("proved", "estimated", "failed", "Proved:", "Estimated:", "Failed:"):
        assert word in text
    assert "Attractor 1: a bound is 2, expected &lt;1" in text
    assert "Attractor 3: ||S||_P within 0.1 is 1.2" in text
    only = _with(analysis, certificates=analysis.results.certificates[:1])
    text = _text(render_page([only]))
    assert "Estimated:" in text
    assert "Proved:" not in text
    assert "Failed:" not in text
    rows = fixed_points_of(analysis, screen_of(analysis)).certificates
    assert [row.status for row in rows][1] is CertificateStatus.FAILED
    assert (rows[1].existence, rows[1].uniqueness, rows[1].basin, rows[1].contraction) == ("", "", "", "")
    assert (rows[3].existence, rows[3].basin, rows[3].contraction) == ("2.5e-14", "", "")


def test_what_fails_for_all_attractors_alike_is_said_once(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    failed = replace(analysis.results.certificates[1], reason="the map knows no <layers>")
    alike = _with(analysis, certificates=[replace(failed, attractor=index) for index in range(3)])
    page = render_page([alike])
    assert page.count("the map knows no &lt;layers&gt;") == 1
    assert "None of the 3 largest basins could be certified" in page
    assert '<table class="certificates">' not in page
    others = replace(failed, attractor=2, reason="another one")
    assert "The largest basin could not be certified" in render_page([_with(analysis, certificates=[failed])])
    for certificates in ([failed, others], [*alike.results.certificates, analysis.results.certificates[0]]):
        page = render_page([_with(analysis, certificates=certificates)])
        assert '<table class="certificates">' in page
        assert "be certified" not in page


@pytest.mark.parametrize(
    ("existence", "radius", "contraction"),
    [(1.21e-13, 0.0456, 0.96781), (2e-15, 0.1, 0.5), (9.99e-14, 0.0999, 0.9999999), (0.0, 123.0, 0.99995)],
)
def test_rounding_claims_no_more_than_was_shown(
    make_analysis: MakeAnalysis, existence: float, radius: float, contraction: float
) -> None:
    analysis = make_analysis()
    shown = replace(
        analysis.results.certificates[0],
        existence_radius=existence,
        uniqueness_radius=radius,
        basin_radius=radius,
        contraction=contraction,
    )
    analysis = _with(analysis, certificates=[shown])
    row = fixed_points_of(analysis, screen_of(analysis)).certificates[0]
    assert existence <= float(row.existence) <= 1.1 * existence
    assert 0.9 * radius <= float(row.uniqueness) <= radius
    assert 0.9 * radius <= float(row.basin) <= radius
    assert contraction <= float(row.contraction) < 1
    everywhere = _with(analysis, certificates=[replace(shown, uniqueness_radius=None, basin_radius=None)])
    row = fixed_points_of(everywhere, screen_of(analysis)).certificates[0]
    assert (row.uniqueness, row.basin) == ("everywhere", "everywhere")


def test_the_rule_is_described_by_the_settings(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    published = rule_words(_with(analysis, settings={"share": 0.75, "tolerance": 1e-4}))
    assert "more than 75% of its step lengths are below the tolerance, 0.0001," in published
    assert "there with" not in published
    other = rule_words(_with(analysis, settings={"share": 0.9, "tolerance": 1e-3}))
    assert "more than 90% of its step lengths are below the tolerance, 0.001," in other
    assert "there with 75% and 0.0001" in other
    assert "12.5%" in rule_words(_with(analysis, settings={"share": 0.125}))


def test_long_settings_show_their_ends(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    training = {**analysis.results.map.training, "objective": [60.5, *range(1000, 1398), 3.25]}
    text = _text(render_page([_with(analysis, map=replace(analysis.results.map, training=training))]))
    assert "objective = 60.5, …, 3.25 (400 values)" in text
    assert "1001" not in text
    assert setting([1, 2, 3]) == "[1, 2, 3]"


def test_where_the_jacobian_was_taken_is_said(make_analysis: MakeAnalysis) -> None:
    for attractors, words in ((30, "the 8 largest of 30 attractors"), (5, "all 5 attractors"), (1, "the attractor")):
        assert f"The Jacobian at {words}" in _text(render_page([make_analysis(attractors=attractors)]))


def test_the_axes_of_rates_have_ticks_on_them(make_analysis: MakeAnalysis, record: Callable[..., Analysis]) -> None:
    lengths = (0.97 ** torch.arange(300.0))[:, None]
    figure: Any = spectra.rate_against_radius(record(make_analysis(), torch.tensor([0]), lengths))
    low, high = figure.layout.xaxis.range
    ticks = [value * 10.0**power for power in range(-6, 1) for value in (1, 2, 5)]
    assert sum(low < np.log10(tick) < high for tick in ticks) >= 2

"""The page as text: everything renders, names are escaped, equal input gives equal output."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dynlab as dl
from dynlab.attractors.diversity import attractor_count
from dynlab.errors import InputError
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Outcome
from dynlab.evaluation.results import PeriodicAttractor
from dynlab.report import write_report
from dynlab.report.labels import in_order, labels_of
from dynlab.report.page import render_page
from dynlab.report.published_for_map import published_for
from dynlab.report.words import enumeration, explosion_words, introduction, percent, trend

MakeAnalysis = Callable[..., Analysis]

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> <b>&amp; $x^2$ %{y} {{ 7*7 }} \"'\u2028"


def _text(page: str) -> str:
    """What a reader sees: without scripts, styles, tags and line breaks."""
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def _hostile(analysis: Analysis, *, everywhere: str) -> Analysis:
    results = analysis.results
    return replace(
        analysis,
        results=replace(
            results,
            title=everywhere,
            map=replace(
                results.map, name=everywhere, kind=everywhere, description=everywhere, training={everywhere: everywhere}
            ),
            data=replace(results.data, name=everywhere),
            settings={everywhere: everywhere},
            versions={everywhere: everywhere},
            recognizer=results.recognizer
            and replace(
                results.recognizer,
                method=everywhere,
                threshold_set_on=[everywhere],
                confusion=[replace(row, images=everywhere) for row in results.recognizer.confusion],
            ),
            separability=results.separability and replace(results.separability, solver=everywhere),
        ),
    )


def test_writes_one_file_and_nothing_else(levels: list[Analysis], tmp_path: Path) -> None:
    written = write_report(levels, tmp_path / "new" / "report.html")
    assert written == tmp_path / "new" / "report.html"
    assert [entry.name for entry in written.parent.iterdir()] == ["report.html"]
    page = written.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("plotly.js v") == 1


def test_nothing_in_it_names_another_file(levels: list[Analysis]) -> None:
    page = re.sub(r"<script\b.*?</script>", "", render_page(levels), flags=re.DOTALL)
    sources = re.findall(r"""\b(?:src|href)=["']([^"']*)""", page)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "url(" not in page


def test_equal_analyses_give_equal_pages(make_analysis: MakeAnalysis) -> None:
    first = [make_analysis(sigma=0.3, seed=1), make_analysis(sigma=0.1, seed=2)]
    again = [make_analysis(sigma=0.1, seed=2), make_analysis(sigma=0.3, seed=1)]
    assert render_page(first) == render_page(again)


def test_a_single_analysis_needs_no_list(make_analysis: MakeAnalysis, tmp_path: Path) -> None:
    analysis = make_analysis()
    assert write_report(analysis, tmp_path / "one.html").read_text() == render_page([analysis])


def test_an_analysis_from_disk_gives_the_same_page(make_analysis: MakeAnalysis, tmp_path: Path) -> None:
    analysis = make_analysis()
    analysis.save(tmp_path)
    assert render_page([Analysis.load(tmp_path)]) == render_page([analysis])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attractors": 1, "explosions": 0}, "at one and the same attractor"),
        ({"attractors": 1}, "The 397 explosions are 1 attractor"),
        ({"attractors": 0}, "All are unresolved"),
        ({"attractors": 0, "samples": 1, "unresolved": 1}, "None of the 1 sample came to rest"),
        ({"attractors": 12, "explosions": 3}, "explosions are 3 attractors"),
        ({"explosions": 0}, "No attractor is an explosion"),
        ({"labelled": False}, "Without labelled data"),
        ({"separability": False}, "it needs labelled training data"),
        ({"recognizer": False}, "there was no recognizer; it learns from labelled images in [0, 1], at least five of"),
        ({"sigma": None, "name": "henon", "state_shape": (2,)}, "each cell of a strip is one of their 2 coordinates"),
        ({"state_shape": (3, 4, 5)}, "Attractors, the largest basin first"),
        ({"attractors": 130}, "These are the 120 largest of 130 attractors"),
        ({"unresolved": 0}, "All came to rest"),
    ],
)
def test_every_case_renders(make_analysis: MakeAnalysis, changes: dict[str, object], said: str) -> None:
    analysis = make_analysis(**changes)
    assert said in _text(render_page([analysis]))
    both = _text(render_page([analysis, make_analysis(sigma=0.5, seed=9)]))
    assert "Comparison" in both


def test_nothing_recorded_renders(make_analysis: MakeAnalysis, record: Callable[..., Analysis]) -> None:
    analysis = record(make_analysis(), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0))
    dim = analysis.results.map.dim
    arrays = replace(
        analysis.arrays,
        film_samples=torch.zeros(0, dtype=torch.int64),
        film_states=torch.zeros((0, 4, dim)),
        steps=torch.full_like(analysis.arrays.steps, -1),
    )
    text = _text(render_page([replace(analysis, arrays=arrays)]))
    assert "Samples on their way" not in text
    assert "How fast they come to rest" not in text
    assert "Fitted rates and spectral radii" not in text


def test_a_single_analysis_has_no_comparison(make_analysis: MakeAnalysis) -> None:
    assert "Comparison" not in _text(render_page([make_analysis()]))


def test_what_did_not_converge_is_said(make_analysis: MakeAnalysis) -> None:
    assert "when it was stopped (2 of 12 fits)" in _text(render_page([make_analysis()]))
    analysis = make_analysis()
    found = analysis.results.separability
    assert found is not None
    fine = replace(
        found,
        transformed=replace(found.transformed, converged=True),
        along_orbit=[replace(point, converged=True) for point in found.along_orbit],
    )
    analysis = replace(analysis, results=replace(analysis.results, separability=fine))
    assert "All fits converged" in _text(render_page([analysis]))


def test_one_recognizer_is_shown_once(make_analysis: MakeAnalysis) -> None:
    analyses = [make_analysis(sigma=0.1), make_analysis(sigma=0.2)]
    assert render_page(analyses).count("overlaid digits") == 1
    report = analyses[1].results.recognizer
    assert report is not None
    other = replace(analyses[1], results=replace(analyses[1].results, recognizer=replace(report, threshold=0.5)))
    assert render_page([analyses[0], other]).count("overlaid digits") == 2


def test_hostile_names_stay_names(make_analysis: MakeAnalysis) -> None:
    analyses = [_hostile(make_analysis(seed=row), everywhere=f"{row} {HOSTILE}") for row in range(2)]
    page = render_page(analyses)
    tame = render_page([_hostile(make_analysis(seed=row), everywhere=f"{row}") for row in range(2)])
    for tag in ("<script", "</script", "<img", "<b>", "alert(1)<"):
        assert page.count(tag) == tame.count(tag), tag
    for script in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, flags=re.DOTALL):
        json.loads(script)


def test_published_figures_stand_beside_the_same_levels_only(make_analysis: MakeAnalysis) -> None:
    like_the_report = {"state_shape": (28, 28), "data": "mnist/test", "attractors": 3, "samples": 30}
    text = _text(render_page([make_analysis(sigma=0.7, **like_the_report)]))
    assert "147.6 (1.5%)" in text
    assert "65.8%" in text
    assert published_for(make_analysis(sigma=0.6, **like_the_report)) is None
    assert published_for(make_analysis(sigma=0.7)) is None
    usual = make_analysis(sigma=0.7, **like_the_report)
    assert published_for(_trained(usual, corruption="gaussian(0.7)")) is not None
    for other in ({"corruption": "square"}, {"loss": "cross-entropy"}, {"walkback_variant": "last"}):
        assert published_for(_trained(usual, **other)) is None


def _trained(analysis: Analysis, **settings: object) -> Analysis:
    results = analysis.results
    training = {**results.map.training, **settings}
    return replace(analysis, results=replace(results, map=replace(results.map, training=training)))


def test_labels_tell_analyses_apart(make_analysis: MakeAnalysis) -> None:
    by_level = [make_analysis(sigma=0.3), make_analysis(sigma=0.1)]
    assert labels_of(in_order(by_level)) == ["σ = 0.1", "σ = 0.3"]
    by_name = [make_analysis(name="first"), make_analysis(name="second")]
    assert labels_of(by_name) == ["σ = 0.2, first", "σ = 0.2, second"]
    by_data = [make_analysis(data="one"), make_analysis(data="two")]
    assert labels_of(by_data) == ["σ = 0.2, one", "σ = 0.2, two"]
    assert labels_of([make_analysis(), make_analysis()]) == ["σ = 0.2 (1)", "σ = 0.2 (2)"]
    trained = [
        {"corruption": "gaussian(0.4)"},
        {"corruption": "square(0.4)"},
        {"corruption": "clean until 3, 0.5 square + 0.5 gaussian"},
        {"loss": "cross-entropy"},
        {"walkback_variant": "last", "contraction": 0.1},
        {"corruption": 7},
    ]
    assert labels_of([_trained(make_analysis(), **settings) for settings in trained]) == [
        "σ = 0.4",
        "square(0.4)",
        "clean until 3, 0.5 square(0.2) + 0.5 gaussian(0.2)",
        "σ = 0.2, loss cross-entropy",
        "σ = 0.2, walkback variant last, contraction 0.1",
        "dae",
    ]
    assert len(set(labels_of([make_analysis(sigma=None), make_analysis(sigma=None)]))) == 2


def test_cycles_and_divergence_are_said(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(unresolved=5)
    statuses = {"converged": 395, "periodic": 3, "diverged": 2, "unresolved": 0}
    outcomes = analysis.results.outcomes | {"unresolved": 0, "cycle": 3, "diverged": 2}
    results = replace(analysis.results, statuses=statuses, outcomes=outcomes)
    text = _text(render_page([replace(analysis, results=results)]))
    assert "0.8% run in cycles and 0.5% diverge. 3 samples come back to where they were, on no cycle" in text
    assert "stable cycle" not in text
    assert "↻ cycle, ∞ diverged" in text
    assert "∞ diverged" not in _text(render_page([analysis]))


def test_stable_cycles_are_counted_by_their_period(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(unresolved=5)
    statuses = {"converged": 395, "periodic": 5, "diverged": 0, "unresolved": 0}
    cycles = [
        PeriodicAttractor(period, size, size / 400, spectral_radius=0.5, residual=0.0)
        for period, size in ((4, 2), (2, 1), (2, 1))
    ]
    outcomes = analysis.results.outcomes | {"unresolved": 0, "cycle": 5}
    results = replace(analysis.results, statuses=statuses, cycles=cycles, outcomes=outcomes)
    text = _text(render_page([replace(analysis, results=results)]))
    assert (
        "4 samples reach 3 stable cycles: 2 of period 2 and 1 of period 4. 1 sample comes back to where it was" in text
    )


def test_raw_pixels_stand_beside_the_transformed(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    data = replace(analysis.results.data, black_fraction=0.4321, white_fraction=0.1234)
    text = _text(render_page([replace(analysis, results=replace(analysis.results, data=data))]))
    assert "raw test set 0 43.2% 12.3%" in text


def test_words() -> None:
    assert [percent(share) for share in (0, 1e-5, 0.001, 0.5, 0.99999, 1)] == [
        "0%",
        "<0.1%",
        "0.1%",
        "50.0%",
        ">99.9%",
        "100%",
    ]
    assert trend([358, 238, 22]) == "falls from 358 to 22"
    assert trend([3, 3, 5]) == "rises from 3 to 5"
    assert trend([4, 4]) == "stays at 4"
    assert trend([9, 2, 4000]) == "is 9, 2 and 4,000"
    assert enumeration(["one"]) == "one"


def test_introduction_counts_what_is_there(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(samples=400, unresolved=3)
    words = " ".join(introduction([analysis], labels_of([analysis])))
    kept = int((analysis.arrays.outcomes == list(Outcome).index(Outcome.KEPT)).sum())
    assert f"{100 * kept / 400:.1f}% ended as a clear member of their own class" in words
    assert "Each of 400 samples" in words
    assert "12 different attractors" in words
    brightest = float(analysis.arrays.fixed_points.amax(dim=1).min())
    assert f"{brightest:.3f}" in explosion_words(analysis)


def test_introduction_compares_at_equal_sample_size(make_analysis: MakeAnalysis) -> None:
    analyses = [make_analysis(sigma=0.1, samples=900, attractors=150), make_analysis(sigma=0.2, samples=200)]
    fewer = round(attractor_count(analyses[0].basin_sizes(), 197).expected)
    assert fewer < 150
    words = " ".join(introduction(analyses, labels_of(analyses)))
    assert f"falls from {fewer} to 12 at equal sample size" in words


def test_bad_input_is_refused_before_anything_is_written(make_analysis: MakeAnalysis, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="analyses is empty"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(InputError, match="is a folder"):
        write_report([make_analysis()], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder"):
        write_report([make_analysis()], tmp_path / "file" / "report.html")
    analysis = make_analysis()
    fewer = replace(analysis.results, data=replace(analysis.results.data, samples=399))
    with pytest.raises(ValueError, match=r"array labels is torch.int64 of shape \(400,\), expected .* \(399,\)"):
        write_report([replace(analysis, results=fewer)], tmp_path / "report.html")
    beyond = replace(analysis, arrays=replace(analysis.arrays, labels=analysis.arrays.labels + 1))
    with pytest.raises(ValueError, match=r"array labels is not within -1 to 11"):
        write_report([beyond], tmp_path / "report.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_where_nothing_comes_to_rest_nobody_is_said_to() -> None:
    identity = dl.as_map(lambda states: 1.0 * states, (2,))
    settings = dl.AnalysisSettings(max_steps=100, max_exact_steps=100, plane_resolution=20)
    states = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    text = _text(render_page([dl.analyse(identity, states, settings=settings)]))
    assert "All are unresolved" in text
    assert "steps to rest" not in text
    assert "No step of a recorded sample has a length" in text
    assert "remained unresolved: they are pale." in text  # nothing is said of basins, which there are not

"""The table of the largest basins: what is known stands there, typical members are those of the analysis."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dynlab.evaluation.analysis import Analysis
from dynlab.report import write_report
from dynlab.report.attractor_table import FOLDED, SHOWN, attractor_table, composition_words
from dynlab.report.page import render_page
from dynlab.report.pictures import screen_of

MakeAnalysis = Callable[..., Analysis]
TITLE = "The largest basins in numbers"


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, ""),
        ({4: 1}, "all 4"),
        ({8: 93, 3: 4, 5: 3}, "8: 93%, 3: 4%, 5: 3%"),
        ({1: 10, 0: 10}, "0: 50%, 1: 50%"),
        ({1: 1, 2: 2, 3: 3, 4: 4, 5: 10}, "5: 50%, 4: 20%, 3: 15%, others: 15%"),
        ({7: 999, 2: 1}, "7: >99%, 2: <1%"),
    ],
)
def test_composition_in_short(counts: dict[int, int], words: str) -> None:
    assert composition_words(counts).replace("\N{NO-BREAK SPACE}", " ") == words


def test_the_largest_are_shown_others_folded_and_the_rest_is_counted(
    make_analysis: MakeAnalysis, with_basins: MakeAnalysis
) -> None:
    analysis = with_basins(make_analysis(attractors=SHOWN + FOLDED + 4))
    table = attractor_table(analysis, screen_of(analysis))
    assert table is not None
    assert (len(table.shown), len(table.folded), table.left_out) == (SHOWN, FOLDED, 4)
    assert [row.attractor for row in (*table.shown, *table.folded)] == list(range(SHOWN + FOLDED))
    page = render_page([analysis])
    assert page.count(TITLE) == 1
    assert f"Show {FOLDED} more" in page
    assert "4 smaller basins are not shown" in page


def test_a_row_says_what_is_known(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    analysis = with_basins(make_analysis(attractors=5))
    first = replace(
        analysis.results.attractors[0],
        basin_interval=(0.0123, 0.25),
        purity=0.876,
        class_counts={3: 7, 1: 1},
        median_steps=1234.0,
        slow_steps=None,
        spectral_radius=0.98765,
    )
    analysis = replace(
        analysis, results=replace(analysis.results, attractors=[first, *analysis.results.attractors[1:]])
    )
    table = attractor_table(analysis, screen_of(analysis))
    assert table is not None
    row = table.shown[0]
    assert (row.interval, row.purity, row.median_steps, row.slow_steps) == ("1.2% to 25.0%", "87.6%", "1,234", "")
    assert row.spectral_radius == "0.9877"
    page = render_page([analysis])
    composition = "3:\N{NO-BREAK SPACE}88%, 1:\N{NO-BREAK SPACE}12%"
    for words in ("1.2% to 25.0%", ">87.6%<", ">1,234<", ">0.9877<", composition):
        assert words in page


@pytest.mark.parametrize(
    ("purity", "radius", "words"),
    [
        (299 / 300, 0.99999, ("99.7%", ">0.9999")),
        (1.0, 1.0, ("100%", "1.0000")),
        (0.99999, 1.00001, (">99.9%", ">1.0000")),
        (0.5, 0.9999, ("50.0%", "0.9999")),
    ],
)
def test_nothing_is_rounded_to_one(
    make_analysis: MakeAnalysis, with_basins: MakeAnalysis, purity: float, radius: float, words: tuple[str, str]
) -> None:
    analysis = with_basins(make_analysis(attractors=3))
    attractors = [
        replace(attractor, purity=purity, spectral_radius=radius) for attractor in analysis.results.attractors
    ]
    analysis = replace(analysis, results=replace(analysis.results, attractors=attractors))
    table = attractor_table(analysis, screen_of(analysis))
    assert table is not None
    assert (table.shown[0].purity, table.shown[0].spectral_radius) == words


def test_numbers_of_attractors_can_be_read(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    page = render_page([with_basins(make_analysis(attractors=5))])
    for number in range(5):
        assert page.count(f'<span class="id">#{number}</span>') >= 1
    _, _, table = page.partition('<table class="wide attractors')
    heads = re.findall(r'<th scope="row">.*?<span class="quiet">#(\d+)</span></th>', table.partition("</table>")[0])
    assert [int(head) for head in heads] == list(range(5))


def test_pictures_of_typical_members_are_those_of_the_samples(
    make_analysis: MakeAnalysis, with_basins: MakeAnalysis, decode_png: Callable[[bytes], NDArray[np.uint8]]
) -> None:
    analysis = with_basins(make_analysis(attractors=6))
    arrays = analysis.arrays
    state_of = dict(zip(arrays.member_samples.tolist(), arrays.member_states, strict=True))
    table = attractor_table(analysis, screen_of(analysis))
    assert table is not None
    for row, attractor in zip(table.shown, analysis.results.attractors, strict=True):
        others = [sample for sample in attractor.farthest if sample not in attractor.nearest]
        for frames, samples in ((row.nearest, attractor.nearest), (row.farthest, others)):
            assert len(frames) == len(samples)
            for frame, sample in zip(frames, samples, strict=True):
                pixels = decode_png(base64.b64decode(frame.source.partition(",")[2]))
                expected = np.rint(state_of[sample].double().numpy() * 255).reshape(8, 8)
                assert np.array_equal(pixels, expected)
                apart = torch.dist(state_of[sample].double(), arrays.fixed_points[attractor.id])
                assert frame.words == (
                    f"Sample {sample}, class {int(arrays.classes[sample])}, starts {float(apart):.3g} from "
                    f"attractor {attractor.id}"
                )


def test_a_lone_member_is_shown_once(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    analysis = with_basins(make_analysis(attractors=30, samples=33))
    table = attractor_table(analysis, screen_of(analysis))
    assert table is not None
    alone = [row for row in (*table.shown, *table.folded) if row.samples == 1]
    assert alone
    assert all((len(row.nearest), len(row.farthest)) == (1, 0) for row in alone)


def test_without_classes_there_is_no_column_of_them(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    analysis = with_basins(make_analysis(labelled=False))
    table = attractor_table(analysis, screen_of(analysis))
    assert table is not None
    assert not table.has_classes
    page = render_page([analysis])
    assert TITLE in page
    assert ">purity<" not in page


def test_no_attractor_no_table(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(attractors=0, unresolved=400, explosions=0)
    assert attractor_table(analysis, screen_of(analysis)) is None


def test_samples_that_are_not_there_are_refused(make_analysis: MakeAnalysis, with_basins: MakeAnalysis) -> None:
    analysis = with_basins(make_analysis())
    beyond = replace(analysis, arrays=replace(analysis.arrays, member_samples=analysis.arrays.member_samples + 400))
    with pytest.raises(ValueError, match=r"array member_samples is not within 0 to 399"):
        write_report([beyond], "/dev/null/never")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("shape", [(8, 8), (3,)])
def test_in_a_browser(
    browser: Any,
    make_analysis: MakeAnalysis,
    with_basins: MakeAnalysis,
    tmp_path: Path,
    width: int,
    shape: tuple[int, ...],
) -> None:
    analysis = with_basins(make_analysis(attractors=40, state_shape=shape), planes=2)
    said: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(write_report([analysis], tmp_path / "page.html").as_uri())
    page.wait_for_function("[...document.querySelectorAll('.drawing')].every(d => d.querySelector('svg.main-svg'))")
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    table = page.locator("table.attractors").first
    assert table.locator("tbody tr").count() == SHOWN
    # The attractor of a row stays in sight while its numbers are scrolled.
    page.evaluate("document.querySelector('table.attractors').parentElement.scrollLeft = 10000")
    assert page.evaluate("document.querySelector('table.attractors tbody th').getBoundingClientRect().left") >= 0
    assert page.evaluate("[...document.images].every(i => i.alt && i.naturalWidth > 0)")
    for number in (1, 2):
        drawing = page.locator(f"#analysis-1-plane-{number}")
        assert drawing.locator(".heatmaplayer image").count() == 1
        assert drawing.locator(".points path").count() == 3
        assert drawing.locator("image").count() == 1 + 3
    assert said == []
    page.close()

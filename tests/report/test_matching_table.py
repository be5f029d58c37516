"""Neighbouring maps on a page: the rows say what `match_attractors` finds, where the samples are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from dynlab.attractors import match_attractors
from dynlab.evaluation.analysis import Analysis
from dynlab.report import matching
from dynlab.report.matching import match_rows
from dynlab.report.page import render_page

MakeAnalysis = Callable[..., Analysis]
TITLE = "Do the maps have the same attractors?"


def of_other_data(analysis: Analysis) -> Analysis:
    return replace(analysis, results=replace(analysis.results, data=replace(analysis.results.data, sha256="f" * 64)))


def permuted(analysis: Analysis, order: list[int]) -> Analysis:
    """The analysis with its attractors in another order."""
    arrays, attractors = analysis.arrays, analysis.results.attractors
    rank = torch.empty(len(order), dtype=torch.int64)
    rank[order] = torch.arange(len(order))
    labels = torch.where(arrays.labels >= 0, rank[arrays.labels], -1)
    return replace(
        analysis,
        results=replace(
            analysis.results, attractors=[replace(attractors[old], id=new) for new, old in enumerate(order)]
        ),
        arrays=replace(arrays, fixed_points=arrays.fixed_points[order], labels=labels),
    )


def test_a_map_matches_itself_however_its_attractors_are_numbered(make_analysis: MakeAnalysis) -> None:
    first = make_analysis(attractors=9, unresolved=5)
    (row,) = match_rows([first, permuted(first, [3, 1, 2, 0, 4, 8, 7, 6, 5])], ["one", "other"])
    assert (row.first, row.second, row.first_attractors, row.second_attractors) == ("one", "other", 9, 9)
    assert (row.matched, row.mutual, row.unmatched_first, row.unmatched_second) == ("9", "9", "0", "0")
    assert (row.median_distance, row.overlap, row.agreement, row.samples) == ("0", "1", "1.000", 395)


def test_what_moved_too_far_has_no_counterpart(make_analysis: MakeAnalysis) -> None:
    first = make_analysis(attractors=9, unresolved=0)
    points = first.arrays.fixed_points.clone()
    points[:, 0] += 0.003
    points[4] += 100.0
    (row,) = match_rows([first, replace(first, arrays=replace(first.arrays, fixed_points=points))], ["a", "b"])
    assert (row.matched, row.unmatched_first, row.unmatched_second, row.median_distance) == ("8", "1", "1", "0.003")
    assert row.agreement == "1.000"


def test_rows_are_those_of_neighbours_in_order(levels: list[Analysis]) -> None:
    labels = ["a", "b", "c", "d"]
    rows = match_rows(levels, labels)
    assert [(row.first, row.second) for row in rows] == [("a", "b"), ("b", "c"), ("c", "d")]
    for row, one, other in zip(rows, levels, levels[1:], strict=False):
        found = match_attractors(one.basins(), other.basins())
        assert row.matched == str(len(found.first))
        assert row.unmatched_first == str(len(found.unmatched_first))
        assert row.agreement == f"{found.shared.adjusted_rand_index:.3f}"


def test_maps_of_other_samples_are_not_compared(make_analysis: MakeAnalysis) -> None:
    first = make_analysis(sigma=0.1)
    others = [
        of_other_data(make_analysis(sigma=0.2)),
        make_analysis(sigma=0.2, samples=300),
        make_analysis(sigma=0.2, state_shape=(5,)),
    ]
    for other in others:
        assert match_rows([first, other], ["a", "b"]) == []
        assert TITLE not in render_page([first, other])
    assert match_rows([first], ["a"]) == []


def test_too_many_attractors_are_compared_by_samples_alone(
    make_analysis: MakeAnalysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = [make_analysis(sigma=0.1, attractors=9), make_analysis(sigma=0.2, attractors=9)]
    assert "too many to match" not in render_page(maps)
    monkeypatch.setattr(matching, "MOST_PAIRS", 80)
    (row,) = match_rows(maps, ["a", "b"])
    assert (row.matched, row.mutual, row.unmatched_first, row.median_distance, row.overlap) == ("", "", "", "", "")
    assert row.agreement == "1.000"
    assert "too many to match" in render_page(maps)


def test_maps_without_attractors_have_nothing_to_match(make_analysis: MakeAnalysis) -> None:
    nowhere = make_analysis(sigma=0.1, attractors=0, explosions=0, unresolved=400)
    (row,) = match_rows([nowhere, make_analysis(sigma=0.2, attractors=3)], ["a", "b"])
    assert (row.matched, row.unmatched_first, row.unmatched_second) == ("0", "0", "3")
    assert (row.median_distance, row.agreement, row.samples) == ("", "", 0)


def test_the_page_has_the_table_and_says_what_is_not_claimed(levels: list[Analysis]) -> None:
    page = render_page(levels)
    assert page.count(TITLE) == 1
    assert "nothing merges or splits" in page
    for pair in ("σ = 0.15 and σ = 0.2", "σ = 0.2 and σ = 0.25", "σ = 0.25 and σ = 0.3"):
        assert f'<th scope="row">{pair}</th>' in page

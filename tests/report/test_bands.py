"""The bands of followed attractors: fractions are drawn where they belong, and the page says what it shows."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from dynlab.attractors.basins import Basins
from dynlab.attractors.following.followed import Change, Event, Followed
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.followed_kinds import FollowedKinds, kinds_along
from dynlab.evaluation.kinds import Kind
from dynlab.evaluation.recognizer import Recognition, Recognizer, RecognizerReport
from dynlab.report import write_report
from dynlab.report.figure_data import figure_data
from dynlab.report.ladder.bands import band_figure
from dynlab.report.ladder.branches import branches_of, event_words, level_words
from dynlab.report.ladder.findings import (
    FOLDED,
    SHOWN,
    bands_words,
    branch_films,
    event_rows,
    keys_of,
    ladder_words,
    noise_words,
    rungs_of,
)
from dynlab.report.ladder.identity import analysed_words, training_along
from dynlab.report.ladder.stacking import DRAWN, Bands, bands_of
from dynlab.report.matching import match_rows
from dynlab.report.page import render_page
from dynlab.report.palette import PALETTE
from dynlab.report.pictures import Screen
from dynlab.training import TrainingSettings
from dynlab.training.ladder import ladder_settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MakeAnalysis = Callable[..., Analysis]

SAMPLES = 200
SCREEN = Screen(8, 8, False, False, 0.0, 1.0)
HOSTILE = "</script><b>b</b> &amp; $x$ %{y} {{ 7*7 }}"

# Samples in the basin of each branch at each level; what is missing to 200 has no fixed point.
SIZES = [
    {0: 80, 1: 60, 2: 40, 3: 19, 4: 1},
    {0: 90, 1: 0, 2: 70, 3: 10, 4: 1, 5: 20},
    {0: 90, 2: 80, 5: 25, 6: 1},
    {0: 120, 2: 80},
]
LEVELS = [0.1, 0.2, 0.25, 0.4]
EVENTS = [
    Event(Change.SPLIT, 1, 5, 0, 0.75),
    Event(Change.MERGED, 2, 1, 2, math.nan),
    Event(Change.DISAPPEARED, 2, 3, -1, math.nan),
    Event(Change.MERGED, 2, 4, 0, 1.0),
    Event(Change.APPEARED, 2, 6, -1, math.nan),
    Event(Change.MERGED, 3, 5, 0, 0.8),
    Event(Change.MERGED, 3, 6, 2, 1.0),
]
KINDS = {  # of each branch, whatever the level
    0: (Kind.PROTOTYPE, 7),
    1: (Kind.PROTOTYPE, 3),
    2: (Kind.PROTOTYPE, 3),
    3: (Kind.STAIN, None),
    4: (Kind.EXPLOSION, None),
    5: (Kind.PROTOTYPE, 7),
    6: (Kind.UNKNOWN, None),
}


def make_followed(
    sizes: list[dict[int, int]],
    levels: list[float],
    events: list[Event],
    parameter: str = "corruption level",
    samples: int = SAMPLES,
    dim: int = 64,
    share: float = 0.5,
) -> Followed:
    """Followed attractors with basins of these sizes, whose states tell branch and level."""
    basins, branches = [], []
    for level, found in enumerate(sizes):
        order = sorted(found, key=lambda branch: (-found[branch], branch))
        labels = [row for row, branch in enumerate(order) for _ in range(found[branch])]
        states = torch.tensor([[branch / 100 + level / 10] * dim for branch in order], dtype=torch.float64)
        basins.append(
            Basins(
                map_sha256=f"{level:064x}",
                fixed_points=states.reshape(-1, dim),
                residuals=torch.zeros(len(order), dtype=torch.float64),
                multipliers=torch.full((len(order), 1), 0.5 + 0j, dtype=torch.complex128),
                labels=torch.tensor(labels + [-1] * (samples - len(labels)), dtype=torch.int64),
                samples=torch.arange(samples),
            )
        )
        branches.append(torch.tensor(order, dtype=torch.int64))
    return Followed(parameter, torch.tensor(levels, dtype=torch.float64), basins, branches, events, share)


def make_kinds(followed: Followed, of: dict[int, tuple[Kind, int | None]]) -> FollowedKinds:
    rows = [[of[branch] for branch in branches.tolist()] for branches in followed.branches]
    return FollowedKinds([[kind for kind, _ in row] for row in rows], [[label for _, label in row] for row in rows])


@pytest.fixture
def followed() -> Followed:
    return make_followed(SIZES, LEVELS, EVENTS)


@pytest.fixture
def kinds(followed: Followed) -> FollowedKinds:
    return make_kinds(followed, KINDS)


def _bands(followed: Followed, kinds: FollowedKinds) -> Bands:
    return bands_of(followed, branches_of(followed, kinds))


def _figure(followed: Followed, kinds: FollowedKinds) -> Any:
    branches = branches_of(followed, kinds)
    return band_figure(followed, branches, bands_of(followed, branches))


def _areas(figure: Any) -> list[Any]:
    return [trace for trace in figure.data if trace.fill == "toself"]


def _height(area: Any, level: float) -> float:
    """Of a polygon at one of its corners."""
    found = [y for x, y in zip(area.x, area.y, strict=True) if x == level]
    return max(found) - min(found) if found else 0.0


def test_bands_of_a_class_stand_together_and_neighbours_side_by_side(followed: Followed, kinds: FollowedKinds) -> None:
    bands = _bands(followed, kinds)
    assert [(group.name, [branch.number for branch in group.branches]) for group in bands.groups] == [
        ("class 3", [2, 1]),
        ("class 7", [0, 5]),
        ("stains", [3]),
    ]
    assert [branch.number for branch in bands.rest] == [4, 6]  # each has half a percent


def test_a_chain_of_merging_branches_is_drawn_in_one_run() -> None:
    sizes = [{0: 90, 1: 60, 2: 30, 3: 20}, {0: 90, 1: 60, 2: 50}, {0: 90, 1: 110}]
    events = [Event(Change.MERGED, 1, 3, 2, 1.0), Event(Change.MERGED, 2, 2, 1, 1.0)]
    followed = make_followed(sizes, [1, 2, 3], events)
    kinds = make_kinds(followed, dict.fromkeys(range(4), (Kind.STAIN, None)))
    assert [branch.number for branch in _bands(followed, kinds).groups[0].branches] == [1, 2, 3, 0]


def test_edges_are_those_of_the_fractions_and_reach_from_zero_to_one(followed: Followed, kinds: FollowedKinds) -> None:
    edges = _bands(followed, kinds).edges
    order = [2, 1, 0, 5, 3]
    for row, found in enumerate(SIZES):
        sizes = [found.get(branch, 0) for branch in order]
        sizes += [found.get(4, 0) + found.get(6, 0), SAMPLES - sum(found.values())]
        np.testing.assert_allclose(np.diff(edges[row]), np.array(sizes) / SAMPLES, atol=1e-15)
        assert edges[row, 0] == 0
        assert edges[row, -1] == 1


def test_areas_hold_the_integrals_of_the_fractions(followed: Followed, kinds: FollowedKinds) -> None:
    """By the shoelace formula, against the trapezoids under each branch's fractions."""
    order = [2, 1, 0, 5, 3]
    expected = [[found.get(branch, 0) / SAMPLES for found in SIZES] for branch in order]
    expected.append([(found.get(4, 0) + found.get(6, 0)) / SAMPLES for found in SIZES])
    expected.append([1 - sum(found.values()) / SAMPLES for found in SIZES])
    areas = _areas(_figure(followed, kinds))
    assert len(areas) == len(expected)
    for area, fractions in zip(areas, expected, strict=True):
        x, y = np.array(area.x), np.array(area.y)
        shoelace = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
        assert math.isclose(shoelace, np.trapezoid(fractions, LEVELS), abs_tol=1e-12)
        for level, fraction in zip(LEVELS, fractions, strict=True):
            assert math.isclose(_height(area, level), fraction, abs_tol=1e-12)


def test_points_tell_size_fraction_and_interval_of_each_band_in_its_middle(
    followed: Followed, kinds: FollowedKinds
) -> None:
    figure = _figure(followed, kinds)
    (points,) = (trace for trace in figure.data if trace.marker.opacity == 0)
    found = {(x, row[0]): (y, row) for x, y, row in zip(points.x, points.y, points.customdata, strict=True)}
    assert len(found) == len(points.x)
    expected: dict[tuple[float, str], int] = {}
    for level, sizes in zip(LEVELS, SIZES, strict=True):
        for branch, size in sizes.items():
            expected[level, "smaller branches" if branch in (4, 6) else f"branch {branch}"] = size
        expected[level, "no fixed point"] = SAMPLES - sum(sizes.values())
    expected = {key: size for key, size in expected.items() if size}
    assert {key: row[2] for key, (_, row) in found.items()} == expected
    for (level, _), (y, row) in found.items():
        interval = binomtest(row[2], SAMPLES).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose(row[3:], [row[2] / SAMPLES, interval.low, interval.high], rtol=1e-10, atol=1e-15)
        ends = [sorted(b for a, b in zip(area.x, area.y, strict=True) if a == level) for area in _areas(figure)]
        inside = [pair for pair in ends if pair and math.isclose(sum((pair[0], pair[-1])) / 2, y, abs_tol=1e-12)]
        assert any(math.isclose(pair[-1] - pair[0], row[3], abs_tol=1e-12) for pair in inside)
    assert found[0.1, "branch 2"][1][1] == "prototype of class 3"
    assert found[0.25, "smaller branches"][1][1] == "1 of them"


def test_a_mark_stands_between_two_levels_inside_its_band(followed: Followed, kinds: FollowedKinds) -> None:
    figure = _figure(followed, kinds)
    marks = {
        trace.name: list(zip(trace.x, trace.y, trace.customdata, strict=True))
        for trace in figure.data
        if trace.name is not None
    }
    # Those of the branches 4 and 6, which have no band, are not drawn.
    assert {name: [row[2] for _, _, row in rows] for name, rows in marks.items()} == {
        "split": [5],
        "merged": [1, 5],
        "disappeared": [3],
    }
    order = {2: 0, 1: 1, 0: 2, 5: 3, 3: 4}
    edges = _bands(followed, kinds).edges
    for rows in marks.values():
        for x, y, (after, before, branch, *_) in rows:
            place = LEVELS.index(before)
            assert LEVELS[place - 1] == after
            assert math.isclose(x, (after + before) / 2)
            low, high = (np.interp(x, LEVELS, edges[:, order[branch] + side]) for side in (0, 1))
            assert math.isclose(y, (low + high) / 2, abs_tol=1e-12)
    words = marks["split"][0][2][5]
    assert words.startswith("branch 5 (prototype of class 7) split off branch 0 (prototype of class 7), with 75.0%")
    assert marks["merged"][0][2][5].endswith("merged into branch 2 (prototype of class 3)")  # no share to tell


def test_a_falling_ladder_is_read_from_left_to_right_too() -> None:
    followed = make_followed([{0: 200}, {0: 150, 1: 50}], [0.4, 0.1], [Event(Change.SPLIT, 1, 1, 0, 1.0)])
    figure = _figure(followed, make_kinds(followed, KINDS))
    assert list(figure.layout.xaxis.range) == [0.4, 0.1]
    (mark,) = (trace for trace in figure.data if trace.name == "split")
    assert list(mark.x) == [0.25]


def test_axis_is_named_by_the_parameter_letter_by_letter(followed: Followed, kinds: FollowedKinds) -> None:
    figure = _figure(replace(followed, parameter="gain <b>g</b>"), kinds)
    assert figure.layout.xaxis.title.text == "gain &lt;b&gt;g&lt;/b&gt;"
    assert list(figure.layout.xaxis.ticktext) == ["0.1", "0.2", "0.25", "0.4"]


@pytest.mark.parametrize("name", ["samples", "fraction", "band", "what", "low", "high", "value", "event", "", "x"])
def test_a_parameter_may_be_called_as_a_column_is(followed: Followed, kinds: FollowedKinds, name: str) -> None:
    rows = list(csv.DictReader(io.StringIO(figure_data(_figure(replace(followed, parameter=name), kinds)))))
    sizes = {(row["value"], row["band"]): int(row["samples"]) for row in rows if row["samples"]}
    assert sizes["0.25", "branch 0"] == 90


def test_marks_at_the_edges_are_whole(followed: Followed, kinds: FollowedKinds) -> None:
    marks = [trace for trace in _figure(followed, kinds).data if trace.name is not None]
    assert [trace.cliponaxis for trace in marks] == [False] * 3


def test_many_levels_have_marks_but_not_all_of_them_values() -> None:
    levels = np.linspace(0.15, 0.3, 19).tolist()
    followed = make_followed([{0: 200}] * 19, levels, [])
    axis = _figure(followed, make_kinds(followed, KINDS)).layout.xaxis
    assert list(axis.tickvals) == levels
    shown = [row for row, text in enumerate(axis.ticktext) if text]
    assert len(shown) <= 8
    assert shown[0] == 0
    assert shown[-1] == 18
    assert min(np.diff(shown)) >= 3  # labels do not run into each other


def test_levels_have_as_many_digits_as_tell_them_apart() -> None:
    followed = make_followed([{0: 1}] * 3, [0.25, 1 / 3, 0.33334], [])
    assert level_words(followed) == ["0.25", "0.33333", "0.33334"]


def test_a_branch_is_called_what_it_is_for_most_samples() -> None:
    followed = make_followed([{0: 30}, {0: 20}, {0: 40}, {0: 0}], [1, 2, 3, 4], [])
    kinds = FollowedKinds(
        [[Kind.STAIN], [Kind.STAIN], [Kind.PROTOTYPE], [Kind.EXPLOSION]], [[None], [None], [4], [None]]
    )
    (branch,) = branches_of(followed, kinds)
    assert branch.kind == (Kind.STAIN, None)
    assert [stage.words for stage in branch.stages] == ["stain", "stain", "prototype of class 4", "explosion"]


def test_branches_beyond_the_limit_share_a_band() -> None:
    sizes = {branch: 20 if branch < 70 else 19 for branch in range(100)}
    followed = make_followed([sizes] * 2, [1, 2], [], samples=2000)
    kinds = make_kinds(followed, {branch: (Kind.PROTOTYPE, branch % 12) for branch in range(100)})
    bands = _bands(followed, kinds)
    drawn = [branch.number for group in bands.groups for branch in group.branches]
    assert sorted(drawn) == list(range(DRAWN))
    assert [branch.number for branch in bands.rest] == list(range(DRAWN, 100))
    assert [group.sign for group in bands.groups] == [str(label) for label in range(12)]
    few = make_followed([sizes] * 2, [1, 2], [], samples=2001)  # 20 of 2001 are less than a hundredth
    assert _bands(few, kinds).groups == []


def test_classes_keep_their_colours_whichever_others_there_are() -> None:
    followed = make_followed([{0: 100, 1: 100}] * 2, [1, 2], [])
    for labels, colours in (((3, 8), ["class-3", "class-8"]), ((10, 700), ["class-0", "class-1"])):
        kinds = make_kinds(followed, {row: (Kind.PROTOTYPE, label) for row, label in enumerate(labels)})
        assert [group.colour for group in _bands(followed, kinds).groups] == colours


def test_branches_of_unknown_kind_have_colours_of_their_own() -> None:
    sizes = {branch: 20 - branch for branch in range(12)}
    events = [Event(Change.MERGED, 1, 9, 0, 1.0)]
    followed = make_followed([sizes, {branch: 15 for branch in range(12) if branch != 9}], [1, 2], events)
    groups = _bands(followed, make_kinds(followed, dict.fromkeys(range(12), (Kind.UNKNOWN, None)))).groups
    assert [group.sign for group in groups] == ["0", "9", "1", "2", "3", "4", "5", "6", "7", "8", "10", "11"]
    assert [group.colour for group in groups] == [f"class-{row % 10}" for row in range(12)]


def test_no_samples_and_no_attractors() -> None:
    nobody = make_followed([{0: 0}] * 2, [1, 2], [], samples=0)
    assert not _figure(nobody, make_kinds(nobody, KINDS)).data
    nothing = make_followed([{}] * 2, [1, 2], [])
    figure = _figure(nothing, make_kinds(nothing, KINDS))
    assert [_height(area, 1) for area in _areas(figure)] == [0, 1]
    assert branch_films(nothing, [], SCREEN) == []


def test_words_where_there_is_nothing(make_analysis: MakeAnalysis) -> None:
    nothing = make_followed([{}] * 2, [1, 2], [])
    (words,) = ladder_words(nothing, [])
    assert words.endswith("there are 0 branches: no attractor that is a fixed point was found at any of them.")
    page = render_page([make_analysis()], nothing)
    assert "There are no branches." in page
    assert "all branches live" not in page
    assert "these events" not in page
    assert "so every change holds noise of training as well." in noise_words(nothing, None)

    changing = make_followed([{0: 200}, {1: 200}], [1, 2], [Event(Change.APPEARED, 1, 1, -1, math.nan)])
    unknown = make_kinds(changing, dict.fromkeys(range(2), (Kind.UNKNOWN, None)))
    assert ladder_words(changing, branches_of(changing, unknown))[1] == "None lives through all levels."
    still = make_followed([{0: 200}] * 2, [1, 2], [])
    assert "None does: all branches live through all levels." in render_page([make_analysis()], still)
    nobody = make_followed([{0: 0}] * 2, [1, 2], [], samples=0)
    unknown = make_kinds(nobody, {0: (Kind.UNKNOWN, None)})
    assert ladder_words(nobody, branches_of(nobody, unknown))[1] == "1 lives through all levels."


def test_a_control_without_changes_is_told_in_words() -> None:
    still = make_followed([{0: 200}] * 3, [1, 2, 3], [])
    control = make_followed([{0: 200}] * 2, [0, 1], [], "repetition")
    words = noise_words(still, control)
    assert "at the unchanged level 1, no branch begins or ends; between 1 and 2 it is none." in words
    control.events[:] = [Event(Change.APPEARED, 1, branch, -1, math.nan) for branch in (1, 2)]
    assert "2 branches begin or end;" in noise_words(still, control)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.7, "at least 70% of them; it"), (0.0, "however many of them; it"), (1.0, "all of them; it")],
)
def test_the_page_tells_the_share_that_must_go_along(share: float, words: str, make_analysis: MakeAnalysis) -> None:
    followed = make_followed(SIZES, LEVELS, EVENTS, share=share)
    page = render_page([make_analysis()], followed)
    assert f"its samples went along, {words}" in page
    assert f"<dd>share = {share:g}</dd>" in page
    assert "if not set otherwise" not in page


def _levels_of_ladder(
    make_analysis: MakeAnalysis, *levels: int, same_noise: bool = True, number: int = 4
) -> list[Analysis]:
    """Analyses of these levels of a ladder; seeds of analyses make hashes as `make_followed` makes those of levels."""
    settings = TrainingSettings(sigma=0.1, epochs=20, annealing=0.5, learning_rate=0.8, seed=3)
    rungs = ladder_settings(settings, [0.1, 0.2, 0.3, 0.4, 0.5][:number], 7, same_noise=same_noise)
    found = []
    for level in levels:
        made = make_analysis(sigma=rungs[level].sigma, seed=level)
        training = asdict(rungs[level]) | ({"started_from": f"{level - 1:064x}"} if level else {})
        results = replace(made.results, map=replace(made.results.map, training=training))
        found.append(replace(made, results=results))
    return found


@pytest.mark.parametrize("same_noise", [True, False])
def test_the_page_tells_how_levels_were_trained(
    followed: Followed, make_analysis: MakeAnalysis, same_noise: bool
) -> None:
    analyses = _levels_of_ladder(make_analysis, 0, 3, same_noise=same_noise)
    told = {"epochs_per_level": 7, "learning_rate": 0.8 * 0.5**19, "same_noise": same_noise}
    assert training_along(followed, analyses) == told
    page = render_page(analyses, followed)
    noise = "the same noise" if same_noise else "new noise"
    assert f"from the one before, for 7 epochs with {noise} at each level, so every change holds noise of" in page
    assert f"same_noise = {same_noise}" in page
    assert f"{2:064x}" in page  # the map of a level that has no analysis


def test_training_that_analyses_do_not_tell_is_not_told(followed: Followed, make_analysis: MakeAnalysis) -> None:
    first, second, last = _levels_of_ladder(make_analysis, 0, 1, 3)
    # At the level after the first both kinds of noise are one.
    assert set(training_along(followed, [first, second])) == {"epochs_per_level", "learning_rate"}
    assert training_along(followed, [first]) == training_along(followed, [last]) == {}
    for change in ({"seed": 5}, {"seed": None}, {"epochs": None}):
        other = replace(last.results.map, training=last.results.map.training | change)
        changed = replace(last, results=replace(last.results, map=other))
        assert training_along(followed, [first, changed]) == {}
    assert "<dd>unknown</dd>" in render_page([first], followed)


def test_the_page_says_of_which_levels_it_has_an_analysis(followed: Followed, make_analysis: MakeAnalysis) -> None:
    analyses = _levels_of_ladder(make_analysis, 0, 1, 2, 3)
    ends = [analyses[0], analyses[-1]]
    opening = "Attractors were followed over 4 levels, corruption level 0.1 to 0.4"
    told = f"{opening}; only the first and the last of them are analysed in full."
    assert analysed_words(followed, ends) == told
    assert analysed_words(followed, analyses[1:2]) == f"{opening}; only 0.2 of them is analysed in full."
    assert analysed_words(followed, analyses) == f"{opening}, each of which is analysed in full as well."
    assert analysed_words(followed, [make_analysis(seed=9)]) == f"{opening}."
    page = render_page(ends, followed)
    assert f'<p class="lede">{told} Two maps, σ = 0.1 and σ = 0.4, were' in page
    assert re.search(rf'Comparison</h2>\s*<p class="note">{re.escape(told)}', page)
    assert opening not in render_page(ends)


def test_maps_of_one_ladder_are_not_called_independent(followed: Followed, make_analysis: MakeAnalysis) -> None:
    first, last = _levels_of_ladder(make_analysis, 0, 3)
    sentence = "Between maps that were trained independently"
    last = replace(last, results=replace(last.results, data=first.results.data))
    other = make_analysis(sigma=0.7, seed=9)
    other = replace(other, results=replace(other.results, data=first.results.data))
    assert [row.are_followed for row in match_rows([first, last, other], ["a", "b", "c"], followed)] == [True, False]
    page = render_page([first, last], followed)
    assert "Do the maps have the same attractors?" in page
    assert sentence not in page
    assert sentence in render_page([first, last, other], followed)
    assert sentence in render_page([first, last])


def test_data_of_the_figure_are_sizes_and_events(followed: Followed, kinds: FollowedKinds) -> None:
    rows = list(csv.DictReader(io.StringIO(figure_data(_figure(followed, kinds)))))
    sizes = {(row["value"], row["band"]): int(row["samples"]) for row in rows if row["samples"]}
    assert sizes["0.2", "branch 5"] == 20
    assert sum(size for (level, _), size in sizes.items() if level == "0.25") == SAMPLES
    events = [(row["event"], row["branch"], row["other branch"], row["after"]) for row in rows if row["event"]]
    assert ("split", "5", "0", "0.1") in events
    assert ("disappeared", "3", "", "0.2") in events


def test_words_count_branches_and_events(followed: Followed, kinds: FollowedKinds) -> None:
    text = " ".join(ladder_words(followed, branches_of(followed, kinds)))
    assert "over 4 levels, there are 7 branches" in text
    assert "2 live through all levels, with 60.0% of the samples at the first and 100% at the last" in text
    assert "1 appeared, 1 split off another one, 4 merged into another one and 1 disappeared" in text


def test_the_noise_of_training_is_told_by_a_control(followed: Followed) -> None:
    assert "noise of training" in noise_words(followed, None)
    assert noise_words(replace(followed, parameter="gain"), None) == ""
    control = make_followed([SIZES[1], {0: 200}], [0, 1], [Event(Change.MERGED, 1, 1, 0, 1.0)], "repetition")
    control.basins[0] = followed.basins[1]
    words = noise_words(followed, control)
    assert "at the unchanged level 0.2, 1 branch begins or ends; between 0.2 and 0.25 it is 4." in words
    for start in (followed.basins[-1], replace(followed.basins[0], map_sha256="f" * 64)):
        control.basins[0] = start
        with pytest.raises(ValueError, match="control begins with no map"):
            noise_words(followed, control)


def test_each_level_adds_up(followed: Followed, kinds: FollowedKinds) -> None:
    rungs = rungs_of(followed, branches_of(followed, kinds))
    assert (rungs[0].continued, rungs[0].changes) == (None, None)
    for before, rung in pairwise(rungs):
        assert rung.continued is not None
        assert rung.changes is not None
        appeared, split, merged, disappeared = rung.changes
        assert rung.attractors == rung.continued + appeared + split
        assert before.attractors == rung.continued + merged + disappeared
    assert [rung.unsampled for rung in rungs] == [
        sum(int((basins.labels == row).sum()) == 0 for row in range(len(basins.fixed_points)))
        for basins in followed.basins
    ]
    assert [rung.no_fixed_point for rung in rungs] == [0, 0.045, 0.02, 0]
    assert list(Change) == [Change.APPEARED, Change.SPLIT, Change.MERGED, Change.DISAPPEARED]


def test_key_tells_shares_at_both_ends(followed: Followed, kinds: FollowedKinds) -> None:
    branches = branches_of(followed, kinds)
    keys = [(key.name, key.shares, key.note) for key in keys_of(branches, bands_of(followed, branches))]
    assert keys == [
        ("class 3", "50.0% → 40.0%", "2 bands"),
        ("class 7", "40.0% → 60.0%", "2 bands"),
        ("stains", "9.5% → 0%", "1 band"),
        ("classes and kinds without a band", "0.5% → 0%", ""),  # an explosion among the smaller branches
        ("smaller branches", "0.5% → 0%", "2 branches in one band"),
        ("no fixed point", "0% → 0%", ""),
    ]


@pytest.fixture
def turning() -> tuple[Followed, FollowedKinds]:
    """Branches of which two become something else on their way, and a small one of a class that others have."""
    sizes = [{0: 90, 1: 60, 2: 38, 3: 2}, {0: 110, 1: 50, 2: 38, 3: 2}, {0: 120, 1: 30, 2: 38, 3: 2}]
    followed = make_followed(sizes, [0.1, 0.2, 0.3], [])
    kinds = make_kinds(
        followed,
        {0: (Kind.PROTOTYPE, 7), 1: (Kind.PROTOTYPE, 3), 2: (Kind.STAIN, None), 3: (Kind.PROTOTYPE, 7)},
    )
    for level, branch, kind in ((0, 0, Kind.STAIN), (2, 1, Kind.EXPLOSION)):
        attractor = followed.branches[level].tolist().index(branch)
        kinds.kinds[level][attractor], kinds.classes[level][attractor] = kind, None
    return followed, kinds


def test_the_key_counts_what_is_of_a_kind_at_the_level_whatever_its_band(
    turning: tuple[Followed, FollowedKinds],
) -> None:
    followed, kinds = turning
    branches = branches_of(followed, kinds)
    bands = bands_of(followed, branches)
    assert [(group.name, [branch.number for branch in group.branches]) for group in bands.groups] == [
        ("class 3", [1]),
        ("class 7", [0, 3]),
        ("stains", [2]),
    ]
    keys = {key.name: key.shares for key in keys_of(branches, bands)}
    assert keys == {
        "class 3": "30.0% → 0%",
        "class 7": "1.0% → 61.0%",
        "stains": "64.0% → 19.0%",
        "classes and kinds without a band": "0% → 15.0%",
        "no fixed point": "5.0% → 5.0%",
    }
    for end in (0, 1):  # nothing is counted twice or left out
        assert sum(float(shares.split(" → ")[end][:-1]) for shares in keys.values()) == pytest.approx(100)
    assert "stains 64.0% → 19.0%" in bands_words(followed, branches, bands)


def test_smaller_branches_are_counted_in_their_class(turning: tuple[Followed, FollowedKinds]) -> None:
    _, kinds = turning
    sizes = [{0: 100, 1: 60, 2: 38, 3: 1}, {0: 110, 1: 50, 2: 38, 3: 1}, {0: 120, 1: 30, 2: 38, 3: 1}]
    branches = branches_of(make_followed(sizes, [0.1, 0.2, 0.3], []), kinds)
    bands = bands_of(make_followed(sizes, [0.1, 0.2, 0.3], []), branches)
    keys = {key.name: key.shares for key in keys_of(branches, bands)}
    assert (keys["class 7"], keys["smaller branches"]) == ("0.5% → 60.5%", "0.5% → 0.5%")


def test_films_and_events_show_what_a_branch_is_at_the_level(
    turning: tuple[Followed, FollowedKinds], make_analysis: MakeAnalysis
) -> None:
    followed, kinds = turning
    films = {film.caption.split(",")[0]: film for film in branch_films(followed, branches_of(followed, kinds), SCREEN)}
    signs = {
        name: (film.mark.sign, [frame.mark.sign for frame in film.frames if frame]) for name, film in films.items()
    }
    assert signs["branch 0"] == ("7", ["S", "7", "7"])
    assert signs["branch 1"] == ("3", ["3", "3", "E"])
    assert [films[f"branch {number}"].changes for number in range(4)] == [True, True, False, False]
    page = render_page([make_analysis()], followed, kinds)
    table = re.search(r'<table class="branches.*?</table>', page, re.DOTALL)
    assert table is not None
    # The mark of each branch, and two that are something else at a level.
    assert re.findall(r'aria-hidden="true">(.)</span>', table[0]) == ["7", "S", "3", "E", "S", "7"]
    assert "in the colour of what the branch is for most of its samples" in page
    assert "A mark below a picture says" in page
    steady = render_page([make_analysis()], *_with_kinds(followed, {0: 7, 1: 3, 2: 1, 3: 7}))
    assert "A mark below a picture says" not in steady


def _with_kinds(followed: Followed, classes: dict[int, int]) -> tuple[Followed, FollowedKinds]:
    return followed, make_kinds(followed, {branch: (Kind.PROTOTYPE, label) for branch, label in classes.items()})


def test_an_event_is_told_of_what_its_branches_are_there() -> None:
    event = Event(Change.MERGED, 2, 1, 0, 1.0)
    followed = make_followed([{0: 100, 1: 100}, {0: 160, 1: 40}, {0: 200}], [1, 2, 3], [event])
    kinds = make_kinds(followed, {0: (Kind.PROTOTYPE, 7), 1: (Kind.PROTOTYPE, 3)})
    kinds.kinds[1][1], kinds.classes[1][1] = Kind.STAIN, None
    kinds.kinds[2][0], kinds.classes[2][0] = Kind.EXPLOSION, None
    assert event_words(event, branches_of(followed, kinds)) == (
        "branch 1 (stain) merged into branch 0 (explosion), with 100% of its samples"
    )


def test_events_show_the_branch_where_it_ends_and_what_it_went_to(followed: Followed, kinds: FollowedKinds) -> None:
    shown, folded, left_out = event_rows(followed, branches_of(followed, kinds), SCREEN)
    assert (len(shown), folded, left_out) == (len(EVENTS), [], 0)
    assert [row.between for row in shown] == ["0.1 → 0.2", *["0.2 → 0.25"] * 4, *["0.25 → 0.4"] * 2]
    split, merged = shown[0], shown[1]
    assert split.branch.source == SCREEN.picture(torch.full((64,), 0.05 + 0.1))  # branch 5 at its first level
    assert split.other is not None
    assert split.other.source == SCREEN.picture(torch.full((64,), 0.0))  # branch 0 at the level before
    assert split.share == "75.0%"
    assert merged.branch.source == SCREEN.picture(torch.full((64,), 0.01 + 0.1))  # branch 1 at its last level
    assert merged.other is not None
    assert merged.other.source == SCREEN.picture(torch.full((64,), 0.02 + 0.2))  # branch 2 where it took over
    assert (merged.share, shown[2].other) == ("–", None)


def test_many_events_are_folded_and_the_largest_shown() -> None:
    many = FOLDED + SHOWN + 5
    sizes = [{0: 1000, **{branch: branch for branch in range(1, many + 1)}}, {0: 1000}]
    events = [Event(Change.MERGED, 1, branch, 0, 1.0) for branch in range(1, many + 1)]
    followed = make_followed(sizes, [1, 2], events, samples=sum(sizes[0].values()))
    branches = branches_of(followed, make_kinds(followed, dict.fromkeys(range(many + 1), (Kind.STAIN, None))))
    shown, folded, left_out = event_rows(followed, branches, SCREEN)
    assert [row.branch.note.split()[0] for row in shown] == [str(many - SHOWN + 1 + row) for row in range(SHOWN)]
    assert (len(folded), left_out) == (FOLDED, 5)


def test_films_have_gaps_where_a_branch_does_not_exist(followed: Followed, kinds: FollowedKinds) -> None:
    films = {film.caption: film for film in branch_films(followed, branches_of(followed, kinds), SCREEN)}
    film = films["branch 5, up to 12.5%"]
    assert [frame is None for frame in film.frames] == [True, False, False, True]
    for level in (1, 2):
        frame = film.frames[level]
        assert frame is not None
        assert frame.source == SCREEN.picture(torch.full((64,), 0.05 + level / 10))
    assert film.mark.sign == "7"
    assert list(films)[:3] == ["branch 0, up to 60.0%", "branch 2, up to 40.0%", "branch 1, up to 30.0%"]


def test_black_and_white_are_fitted_to_states_beyond_the_unit_interval(followed: Followed) -> None:
    assert replace(SCREEN, low=-3.0).fitted_to(*(basins.fixed_points for basins in followed.basins)) == SCREEN
    basins = [replace(one, fixed_points=10 * one.fixed_points - 1) for one in followed.basins]
    screen = SCREEN.fitted_to(*(one.fixed_points for one in basins))
    assert (screen.low, screen.high) == pytest.approx((-1.0, 10 * 0.32 - 1))


class _ByBrightest(Recognizer):
    """Takes the place of the brightest pixel for the class, and what is brighter than 0.9 for a member."""

    def recognize(self, states: torch.Tensor) -> Recognition:
        best = states.max(dim=1)
        return Recognition(best.indices, best.values.double(), best.values > 0.9)


def test_kinds_are_those_of_the_states(followed: Followed) -> None:
    states = torch.zeros(6, 64, dtype=torch.float64)
    states[0, 9] = 0.95
    states[1, 3] = 0.8
    states[2, 5] = 0.5
    states[3, 60] = 0.91
    basins = [replace(one, fixed_points=states[: len(one.fixed_points)]) for one in followed.basins]
    report = RecognizerReport("", 0, 0.9, [], 1.0, 1.0, [])
    recognizer = _ByBrightest([], torch.arange(64), (8, 8), 0.9, report)
    found = kinds_along(replace(followed, basins=basins), recognizer)
    assert found.kinds[0] == [Kind.PROTOTYPE, Kind.STAIN, Kind.EXPLOSION, Kind.PROTOTYPE, Kind.EXPLOSION]
    assert found.classes[0] == [9, None, None, 60, None]
    assert [len(row) for row in found.kinds] == [5, 6, 4, 2]
    alone = kinds_along(replace(followed, basins=basins), None)
    assert alone.kinds[0] == [Kind.UNKNOWN, Kind.UNKNOWN, Kind.EXPLOSION, Kind.UNKNOWN, Kind.EXPLOSION]
    assert alone.classes[0] == [None] * 5


def test_kinds_of_other_attractors_are_refused(followed: Followed, kinds: FollowedKinds) -> None:
    with pytest.raises(ValueError, match="attractors, expected"):
        branches_of(followed, replace(kinds, kinds=kinds.kinds[::-1]))


# Severe colour blindness of three types, on linear sRGB. Source: Machado, Oliveira and Fernandes, A
# physiologically-based model for simulation of color vision deficiency, 2009.
_VISION = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _cielab(colour: str, vision: str) -> np.ndarray:
    """CIELAB coordinates, white point D65, of an sRGB colour as that vision sees it."""
    channels = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(_VISION[vision]) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    relative = to_xyz @ seen / (to_xyz @ np.ones(3))
    root = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("vision", _VISION)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_any_two_colours_of_classes_differ_for_all_readers(scheme: str, vision: str) -> None:
    classes = [getattr(colour, scheme) for name, colour in PALETTE.items() if name.startswith("class-")]
    seen = np.array([_cielab(colour, vision) for colour in classes])
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    assert len(classes) == 10
    assert apart[np.triu_indices(10, 1)].min() > 13  # some six times what is just noticeable
    assert np.diagonal(apart, 1).min() > 30  # of neighbours in the figure


def test_the_page_has_bands_films_and_events_before_the_analyses(
    followed: Followed, kinds: FollowedKinds, make_analysis: MakeAnalysis, tmp_path: Path
) -> None:
    analyses = [make_analysis(sigma=0.1, seed=1), make_analysis(sigma=0.4, seed=2)]
    path = write_report(analyses, tmp_path / "page.html", followed=followed, followed_kinds=kinds)
    page = path.read_text(encoding="utf-8")
    places = [page.index(part) for part in ('id="ladder"', 'id="ladder-bands"', 'id="across"', 'id="analysis-1"')]
    assert places == sorted(places)
    assert page == render_page(analyses, followed, kinds)
    data = re.search(r'<a href="data:text/csv;charset=utf-8,([^"]*)" download="ladder-bands.csv"', page)
    assert data is not None
    assert "branch 5" in unquote(data[1])
    assert 'id="ladder"' not in render_page(analyses)


def test_the_page_of_one_map_and_without_kinds(followed: Followed, make_analysis: MakeAnalysis) -> None:
    basins = [replace(one, fixed_points=one.fixed_points + 0.35) for one in followed.basins]
    page = render_page([make_analysis()], replace(followed, basins=basins))
    names = re.findall(r'aria-hidden="true"></span>([a-z0-9 ]+) <strong>', page)
    # The states of branches 1 and 3 stay below 0.5; those of the others rise above it.
    assert names == ["explosions", "branch 0", "branch 5", "branch 2", "smaller branches", "no fixed point"]
    assert '<a href="#ladder">' in page


def test_the_key_of_many_bands_is_folded(make_analysis: MakeAnalysis) -> None:
    followed = make_followed([dict.fromkeys(range(30), 6)] * 2, [1.0, 2.0], [])
    kinds = make_kinds(followed, dict.fromkeys(range(30), (Kind.UNKNOWN, None)))
    page = render_page([make_analysis()], followed, kinds)
    key = page[page.index('<ul class="legend keys"') : page.index("<h3>Branches along the levels")]
    assert key.index(">branch 19 <strong>up to 3.0%") < key.index("Show the key of 11 more bands")
    assert key.index("Show the key of 11 more bands") < key.index(">branch 20 <strong>")


def test_states_that_are_no_images_are_strips(make_analysis: MakeAnalysis) -> None:
    followed = make_followed(SIZES, LEVELS, EVENTS, dim=5)
    page = render_page([make_analysis(state_shape=(5,))], followed)
    assert 'class="branches strips"' in page


def test_the_name_of_the_parameter_is_escaped(
    followed: Followed, kinds: FollowedKinds, make_analysis: MakeAnalysis
) -> None:
    page = render_page([make_analysis()], replace(followed, parameter=HOSTILE), kinds)
    assert HOSTILE not in page
    assert "<b>b</b>" not in re.sub(r"<script\b[^>]*>.*?</script>", "", page, flags=re.DOTALL)


def test_attractors_of_another_dim_are_refused(followed: Followed, make_analysis: MakeAnalysis, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dim 64, expected 5"):
        write_report([make_analysis(state_shape=(5,))], tmp_path / "page.html", followed=followed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_in_a_browser_the_pointer_reads_bands_and_levels(
    followed: Followed,
    kinds: FollowedKinds,
    make_analysis: MakeAnalysis,
    browser: Browser,
    tmp_path: Path,
    width: int,
    scheme: Any,
) -> None:
    path = write_report([make_analysis()], tmp_path / "page.html", followed=followed, followed_kinds=kinds)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("#ladder-bands svg.main-svg")
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.locator("#ladder-bands").scroll_into_view_if_needed()

    axes = """(() => {
        const drawing = document.getElementById("ladder-bands"), box = drawing.getBoundingClientRect();
        const { xaxis, yaxis } = drawing._fullLayout;
        return [box.left + xaxis._offset, xaxis._length, box.top + yaxis._offset, yaxis._length];
    })()"""
    shown = "[...document.querySelectorAll('#ladder-bands .hovertext')].map(found => found.textContent).join()"

    def words_at(level: float, share: float, awaited: str) -> str:
        left, length, top, height = page.evaluate(axes)
        page.mouse.move(left + length * (level - 0.1) / 0.3, top + height * (1 - share))
        for _ in range(100):
            if awaited in page.evaluate(shown):
                break
            page.wait_for_timeout(100)
        return page.evaluate(shown)

    for level, share, words in (
        (0.2, 0.175, "at 0.2: 70 samples, 35.0%"),  # the middle of branch 2
        (0.32, 0.3, "branch 2 (prototype of class 3)from 0.1 to 0.4"),  # far from any level
    ):
        assert words in words_at(level, share, words)
    middles = page.evaluate(
        """[...document.querySelectorAll("table.events tbody tr")].map(row => {
            const middle = part => { const box = part.getBoundingClientRect(); return (box.top + box.bottom) / 2; };
            const words = document.createRange();
            words.selectNodeContents(row.cells[2]);
            return [middle(words), middle(row.cells[1].querySelector("img"))];
        })"""
    )
    assert len(middles) == len(EVENTS)
    assert all(abs(words - picture) < 1.5 for words, picture in middles)
    page.locator("#ladder-bands").scroll_into_view_if_needed()
    words = "branch 3 (stain) disappeared"
    assert words in words_at(0.225, (0.9 + 0.9 + 0.05 + 0.975 + 0.975) / 4, words)
    context.close()

"""Figures show the numbers of the analyses, where they belong on the axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dynlab.attractors.diversity import attractor_count
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Outcome
from dynlab.report import across_maps, figures
from dynlab.report.palette import PALETTE, contrast

MakeAnalysis = Callable[..., Analysis]
Record = Callable[[Analysis, torch.Tensor, torch.Tensor], Analysis]


def _traces(figure: Any) -> list[Any]:
    return list(figure.data)


def _layout(figure: Any) -> Any:
    return figure.layout


def test_decay_has_every_recorded_step_length_above_zero(make_analysis: MakeAnalysis, record: Record) -> None:
    analysis = make_analysis()
    lengths = analysis.arrays.step_lengths.clone()[: figures.POINTS]
    lengths[120:, 3] = 0.0
    analysis = record(analysis, analysis.arrays.recorded_samples, lengths)
    figure = figures.step_length_decay(analysis)
    drawn = sorted(
        (x, float(y)) for trace in _traces(figure) for x, y in zip(trace.x, trace.y, strict=True) if x is not None
    )
    steps, columns = np.nonzero(np.nan_to_num(lengths.numpy()) > 0)
    expected = sorted(
        (int(step) + 1, float(lengths[step, column])) for step, column in zip(steps, columns, strict=True)
    )
    assert [step for step, _ in drawn] == [step for step, _ in expected]
    np.testing.assert_allclose([value for _, value in drawn], [value for _, value in expected], rtol=1e-7)
    assert _layout(figure).yaxis.type == "log"


def test_decay_is_thinned_but_keeps_both_ends(make_analysis: MakeAnalysis, record: Record) -> None:
    analysis = make_analysis(samples=200)
    lengths = torch.rand(5000, 100) + 0.1
    figure = figures.step_length_decay(record(analysis, torch.arange(100), lengths))
    x = [step for trace in _traces(figure) for step in trace.x]
    drawn = x.count(None)
    assert figures.DRAWN <= drawn <= figures.DRAWN + len(Outcome) * figures.AT_LEAST
    assert len(x) == drawn * (figures.POINTS + 1)
    assert x.count(1) == x.count(5000) == drawn


def test_decay_shows_rare_outcomes_too(make_analysis: MakeAnalysis, record: Record) -> None:
    analysis = make_analysis(samples=400)
    outcomes = torch.zeros(400, dtype=torch.int64)
    outcomes[[7, 250, 399]] = list(Outcome).index(Outcome.EXPLOSION)
    analysis = replace(analysis, arrays=replace(analysis.arrays, outcomes=outcomes))
    figure = figures.step_length_decay(record(analysis, torch.arange(400), torch.ones(9, 400)))
    drawn = {trace.name: list(trace.x).count(None) for trace in _traces(figure)}
    assert drawn == {"kept its class": figures.DRAWN, "explosion": 3}


def test_decay_opens_on_the_fall_and_not_on_the_noise_of_the_floor(make_analysis: MakeAnalysis, record: Record) -> None:
    steps = torch.arange(3000.0)[:, None]
    fall = torch.maximum(0.95**steps, torch.full((3000, 1), 1e-7))  # at the floor from step 316 on
    fall *= 1 + 0.5 * torch.rand(3000, 1, generator=torch.Generator().manual_seed(0)) * (steps > 315)
    figure = figures.step_length_decay(record(make_analysis(), torch.tensor([0]), fall))
    low, high = _layout(figure).xaxis.range
    assert low == 0
    assert 303 < high < 450  # 0.95^303 is about twice the floor
    # Where there is no line, all steps are shown.
    figure = figures.step_length_decay(record(make_analysis(), torch.tensor([0]), torch.ones(3000, 1)))
    assert _layout(figure).xaxis.range[1] >= 3000


def test_decay_of_short_orbits_is_shown_to_their_end(make_analysis: MakeAnalysis, record: Record) -> None:
    lengths = torch.full((30, 2), torch.nan)
    lengths[:25, 0] = 0.5 ** torch.arange(25.0)  # down to 6e-8
    lengths[:12, 1] = 0.1 ** torch.arange(12.0)
    _, high = _layout(figures.step_length_decay(record(make_analysis(), torch.tensor([0, 1]), lengths))).xaxis.range
    assert 22 < high < 30


def test_the_tolerance_is_named_where_its_line_is(make_analysis: MakeAnalysis, record: Record) -> None:
    figure = figures.step_length_decay(record(make_analysis(), torch.tensor([0]), torch.ones(9, 1)))
    (line,), (label,) = _layout(figure).shapes, _layout(figure).annotations
    assert line.y0 == line.y1 == 1e-4
    assert (label.text, label.y) == ("tolerance 0.0001", -4)  # where an axis is logarithmic, a label has the exponent


def test_doublings_are_equally_far_apart(levels: list[Analysis]) -> None:
    figure = figures.separability_along_orbit(levels)
    assert len(_traces(figure)) == len(levels)
    assert list(_layout(figure).xaxis.ticktext)[:5] == ["0", "1", "2", "4", "8"]
    np.testing.assert_allclose(np.diff(_layout(figure).xaxis.tickvals), 1.0)
    for trace, analysis in zip(_traces(figure), levels, strict=True):
        separability = analysis.results.separability
        assert separability is not None
        assert list(trace.y) == [point.test for point in separability.along_orbit]
        is_open = [symbol.endswith("-open") for symbol in trace.marker.symbol]
        assert is_open == [not point.converged for point in separability.along_orbit]


def test_attractors_are_compared_at_the_smallest_resolved_size(make_analysis: MakeAnalysis) -> None:
    small = make_analysis(sigma=0.2, samples=200, unresolved=20, attractors=30)
    large = make_analysis(sigma=0.1, samples=900, unresolved=0, attractors=80)
    figure = across_maps.attractors_by_corruption_level([large, small])
    assert list(_traces(figure)[0].x) == [0.1, 0.2]
    assert list(_traces(figure)[0].y) == pytest.approx([attractor_count(large.basin_sizes(), 180).expected, 30])
    assert "180 samples" in _layout(figure).yaxis.title.text


def test_shares_of_outcomes_add_up(levels: list[Analysis]) -> None:
    figure = across_maps.outcome_shares(levels)
    for row, analysis in enumerate(levels):
        assert sum(trace.x[row] for trace in _traces(figure)) == pytest.approx(1)
        exploded = next(trace for trace in _traces(figure) if trace.name == "explosion")
        assert exploded.x[row] == analysis.results.outcomes[Outcome.EXPLOSION.value] / analysis.results.data.samples


def test_unknown_or_equal_levels_stand_side_by_side(make_analysis: MakeAnalysis) -> None:
    analyses = [make_analysis(sigma=None, name="first"), make_analysis(sigma=None, name="first", seed=1)]
    figure = across_maps.explosion_share(analyses)
    assert list(_traces(figure)[0].x) == [0, 1]
    assert len(set(_layout(figure).xaxis.ticktext)) == 2


def test_accuracy_leaves_out_what_was_not_examined(make_analysis: MakeAnalysis) -> None:
    analyses = [make_analysis(sigma=0.1), make_analysis(sigma=0.2, separability=False), make_analysis(sigma=0.3)]
    figure = across_maps.accuracy_by_corruption_level(analyses)
    assert all(list(trace.x) == [0.1, 0.3] for trace in _traces(figure))


def test_accuracy_without_orbits_has_no_best_along_them(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    found = analysis.results.separability
    assert found is not None
    analysis = replace(analysis, results=replace(analysis.results, separability=replace(found, along_orbit=[])))
    curves = {trace.name: list(trace.y) for trace in _traces(across_maps.accuracy_by_corruption_level([analysis]))}
    assert curves["best along the orbit"] == [None]
    assert curves["raw"] == [found.raw.test]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(scheme: str) -> None:
    colours = {name: getattr(colour, scheme) for name, colour in PALETTE.items()}
    grounds = [colours["paper"], colours["card"]]
    for name in ("ink", "quiet", "link", "unknown", "unresolved"):  # text, and marks with their sign in their colour
        assert min(contrast(colours[name], ground) for ground in grounds) >= 4.5, name
    for name in ("kept", "changed", "stain", "explosion", "unresolved"):  # marks and bars with a sign in them
        assert contrast(colours[name], colours["on-mark"]) >= 4.5, name
    for name in set(colours) - {"paper", "card", "rule", "on-mark"}:
        assert contrast(colours[name], colours["paper"]) >= 3, name


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == contrast("#ffffff", "#000000") == pytest.approx(21)
    assert math.isclose(contrast("#777777", "#ffffff"), 4.48, abs_tol=0.005)


def test_light_colours_tell_which_is_which() -> None:
    assert len({colour.light for colour in PALETTE.values()}) == len(PALETTE)

"""How many attractors there may be, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dynlab.evaluation.analysis import Analysis
from dynlab.report.page import render_page
from dynlab.report.words import diversity_words, introduction


def test_words_hold_the_estimates(make_analysis: Callable[..., Analysis]) -> None:
    analysis = make_analysis(attractors=30)
    found = analysis.results.diversity
    assert found is not None
    assert found.coverage is not None
    words = diversity_words(analysis)
    for figure in (
        f"{found.chao1.estimate:,.0f} at least",
        f"from {found.chao1.lower:,.0f} to {found.chao1.upper:,.0f}",
        f"{found.effective_attractors:,.1f} equal ones",
    ):
        assert figure in words
    assert "Chao&#39;s estimate" in render_page([analysis])


def test_without_attractors_nothing_is_estimated(make_analysis: Callable[..., Analysis]) -> None:
    assert diversity_words(make_analysis(attractors=0, explosions=0)) == ""


def test_no_estimate_makes_a_finite_sample_certain(make_analysis: Callable[..., Analysis]) -> None:
    analysis = make_analysis(attractors=5)

    def words(samples: int, coverage: float) -> str:
        diversity = replace(analysis.results.diversity, samples=samples, coverage=coverage)
        return diversity_words(replace(analysis, results=replace(analysis.results, diversity=diversity)))

    assert "with a probability of 90" in words(50, 0.9)
    assert "all but surely: with a probability of the order of 0.03 it does not" in words(100, 1.0)
    assert "Another sample" not in words(3, 1.0)


def test_kinds_that_nobody_knows_are_not_compared(make_analysis: Callable[..., Analysis]) -> None:
    nothing = [make_analysis(attractors=0, explosions=0, sigma=sigma) for sigma in (0.1, 0.2)]
    assert "keep their class" not in " ".join(introduction(nothing, ["one", "other"]))
    same = [make_analysis(attractors=5, sigma=0.1), make_analysis(attractors=5, sigma=0.1)]
    assert "keep their class stays at" in " ".join(introduction(same, ["one", "other"]))

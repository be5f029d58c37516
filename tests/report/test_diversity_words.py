"""How many attractors there may be, in words."""

from __future__ import annotations

from collections.abc import Callable

from dynlab.evaluation.analysis import Analysis
from dynlab.report.page import render_page
from dynlab.report.words import diversity_words


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

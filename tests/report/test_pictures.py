"""How states become pictures, and how attractors, films and the audit are chosen."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Kind, Outcome
from dynlab.report import gallery
from dynlab.report.pictures import screen_of

MakeAnalysis = Callable[..., Analysis]
Decode = Callable[[bytes], NDArray[np.uint8]]


def _pixels(decode: Decode, uri: str) -> NDArray[np.uint8]:
    return decode(base64.b64decode(uri.partition(",")[2]))


def test_grey_of_the_unit_interval_is_absolute(make_analysis: MakeAnalysis, decode_png: Decode) -> None:
    screen = screen_of(make_analysis())
    state = torch.linspace(0, 0.5, 64, dtype=torch.float64)
    shown = _pixels(decode_png, screen.picture(state))
    np.testing.assert_array_equal(shown, np.rint(state.numpy() * 255).reshape(8, 8).astype(np.uint8))
    assert _pixels(decode_png, screen.stretched(state)).max() == 255


@pytest.mark.parametrize(
    ("state_shape", "picture"),
    [
        ((8, 8), (8, 8)),
        ((1, 8, 8), (8, 8)),
        ((8, 8, 1), (8, 8)),
        ((3, 4, 5), (4, 5, 3)),
        ((4, 5, 3), (4, 5, 3)),
        ((7,), (1, 7)),
        ((2, 3, 4, 5), (1, 120)),
        ((1, 1), (1, 1)),
    ],
)
def test_shape_of_a_picture(
    make_analysis: MakeAnalysis, decode_png: Decode, state_shape: tuple[int, ...], picture: tuple[int, ...]
) -> None:
    analysis = make_analysis(state_shape=state_shape, samples=40, attractors=4)
    screen = screen_of(analysis)
    assert _pixels(decode_png, screen.picture(analysis.arrays.fixed_points[0])).shape == picture
    assert screen.is_strip == (picture[0] == 1 and len(picture) == 2)


def test_channels_first_are_put_last(make_analysis: MakeAnalysis, decode_png: Decode) -> None:
    screen = screen_of(make_analysis(state_shape=(3, 4, 5), samples=40, attractors=4))
    red = torch.cat([torch.ones(20), torch.zeros(40)])
    assert (_pixels(decode_png, screen.picture(red)) == [255, 0, 0]).all()


def test_other_ranges_are_shown_from_least_to_greatest(make_analysis: MakeAnalysis, decode_png: Decode) -> None:
    analysis = make_analysis(state_shape=(2,), samples=40, attractors=4)
    films = torch.full_like(analysis.arrays.film_states, 0.5)
    films[0, 0, 0], films[0, 1, 1], films[0, 2, 0] = -3.0, 5.0, float("inf")
    screen = screen_of(replace(analysis, arrays=replace(analysis.arrays, film_states=films)))
    assert (screen.low, screen.high, screen.is_unit) == (-3.0, 5.0, False)
    shown = _pixels(decode_png, screen.picture(torch.tensor([-3.0, 5.0])))
    np.testing.assert_array_equal(shown, [[0, 255]])
    beyond = _pixels(decode_png, screen.picture(torch.tensor([float("inf"), float("-inf")])))
    np.testing.assert_array_equal(beyond, [[255, 0]])


def test_gallery_falls_in_size_and_says_what_it_leaves_out(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(attractors=700, samples=1500, unresolved=50)
    found = gallery.attractor_gallery(analysis, screen_of(analysis))
    sizes = [card.size for card in found.shown + found.folded]
    assert sizes == sorted(sizes, reverse=True)
    assert (len(found.shown), len(found.folded), found.left_out) == (120, 480, 100)
    largest = sorted(Counter(analysis.arrays.labels[analysis.arrays.labels >= 0].tolist()).values())[-120:]
    assert found.share_shown == pytest.approx(sum(largest) / 1500)


def test_films_are_grouped_by_outcome(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis()
    groups = gallery.film_groups(analysis, screen_of(analysis))
    outcomes = list(Outcome)
    filmed = Counter(outcomes[code] for code in analysis.arrays.outcomes[analysis.arrays.film_samples].tolist())
    assert {group.mark.name: len(group.films) for group in groups} == {
        outcome.value: min(number, gallery.FILMS) for outcome, number in filmed.items()
    }
    assert groups[0].steps == ["0", "1", "25", "end"]
    kept = next(group for group in groups if group.mark.name == "kept")
    for film in kept.films:
        start, end = film.caption.split(" → ")
        assert start == end


def test_audit_is_random_but_repeatable(make_analysis: MakeAnalysis) -> None:
    analysis = make_analysis(attractors=300, samples=900)
    screen = screen_of(analysis)
    groups = gallery.audit_groups(analysis, screen)
    of_kind = Counter(attractor.kind for attractor in analysis.results.attractors)
    assert {group.kind: (len(group.cards), group.of) for group in groups} == {
        kind: (min(number, 60), number) for kind, number in of_kind.items()
    }
    prototypes = next(group for group in groups if group.kind == Kind.PROTOTYPE)
    assert len({card.words for card in prototypes.cards}) == 60
    ids = [int(card.words.split()[1].rstrip(",")) for card in prototypes.cards]
    assert ids != sorted(ids)
    assert gallery.audit_groups(analysis, screen) == groups

"""Galleries: attractors by falling basin size, films of samples by their outcome, random attractors for an audit."""

from __future__ import annotations

import random
from dataclasses import dataclass

from torch import Tensor

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Kind, Outcome
from dynlab.evaluation.results import Attractor
from dynlab.report.pictures import Screen
from dynlab.report.words import LETTERS, count, kind_words, or_zero, percent, signed

SHOWN = 120  # attractors of a gallery that are shown at once
FOLDED = 480  # of the others, those that can be unfolded
AUDITED = 60  # attractors of each kind
AUDIT_SEED = 0
FILMS = 6  # of each outcome
EXPLOSIONS = 6
_NOWHERE = {Outcome.CYCLE: "a cycle", Outcome.DIVERGED: "diverges"}
_FEW = 3  # numbers of a state that are written out


@dataclass(frozen=True)
class Mark:
    """A small sign for a kind or an outcome; `name` gives its colour and shape, `sign` what is written in it."""

    name: str
    sign: str
    words: str


@dataclass(frozen=True)
class Card:
    """One attractor in a gallery."""

    attractor: int  # its number
    source: str
    words: str  # what a reader who cannot see the picture is told
    mark: Mark
    note: str
    size: float  # of the basin, in that of the largest


@dataclass(frozen=True)
class Gallery:
    """Attractors by falling basin size, some at once and some folded away."""

    shown: list[Card]
    folded: list[Card]
    left_out: int
    share_shown: float  # of the samples, that the ones shown at once have in their basins


@dataclass(frozen=True)
class Frame:
    """One picture of a film."""

    source: str
    words: str


@dataclass(frozen=True)
class Film:
    """One sample on its way."""

    frames: list[Frame]
    caption: str


@dataclass(frozen=True)
class FilmGroup:
    """The films of one outcome."""

    mark: Mark
    films: list[Film]
    steps: list[str]  # heading of each frame


@dataclass(frozen=True)
class AuditGroup:
    """Random attractors of one kind."""

    kind: Kind
    mark: Mark
    cards: list[Card]
    of: int  # attractors of the kind


def kind_mark(kind: Kind, label: int | None) -> Mark:
    """The mark of an attractor: a prototype's holds its class."""
    is_of_class = kind is Kind.PROTOTYPE and label is not None
    return Mark(kind.value, str(label) if is_of_class else LETTERS[kind.value], kind_words(kind, label))


def outcome_mark(outcome: Outcome) -> Mark:
    """The mark of an outcome."""
    return Mark(outcome.value, LETTERS[outcome.value], outcome.value)


def attractor_gallery(analysis: Analysis, screen: Screen) -> Gallery:
    """The attractors by falling basin size."""
    attractors = sorted(analysis.results.attractors, key=lambda attractor: (-attractor.basin_size, attractor.id))
    cards = [card_of(analysis, screen, attractor) for attractor in attractors[: SHOWN + FOLDED]]
    in_shown = sum(attractor.basin_size for attractor in attractors[:SHOWN])
    return Gallery(
        shown=cards[:SHOWN],
        folded=cards[SHOWN:],
        left_out=len(attractors) - len(cards),
        share_shown=in_shown / max(1, analysis.results.data.samples),
    )


def film_groups(analysis: Analysis, screen: Screen) -> list[FilmGroup]:
    """Films of samples, a group for each outcome, in the order of outcomes."""
    arrays = analysis.arrays
    outcomes = list(Outcome)
    steps = ["end" if step < 0 else str(step) for step in arrays.film_steps.tolist()]
    films: dict[Outcome, list[Film]] = {outcome: [] for outcome in outcomes}
    for row, sample in enumerate(arrays.film_samples.tolist()):
        outcome = outcomes[int(arrays.outcomes[sample])]
        if len(films[outcome]) == FILMS:
            continue
        caption = _journey(analysis, sample)
        frames = [
            Frame(screen.picture(state), f"Sample {sample} ({caption}) {_when(step)}")
            for step, state in zip(steps, arrays.film_states[row], strict=True)
        ]
        films[outcome].append(Film(frames, caption))
    return [FilmGroup(outcome_mark(outcome), films[outcome], steps) for outcome in outcomes if films[outcome]]


def audit_groups(analysis: Analysis, screen: Screen) -> list[AuditGroup]:
    """At most 60 random attractors of each kind, with the recognizer's word on each."""
    groups = []
    for kind in Kind:
        attractors = [attractor for attractor in analysis.results.attractors if attractor.kind == kind]
        if not attractors:
            continue
        # A stream of its own for each kind: what is drawn of one does not depend on the others.
        chosen = random.Random(f"{AUDIT_SEED} {kind.value}").sample(attractors, min(AUDITED, len(attractors)))
        cards = [_audit_card(analysis, screen, attractor) for attractor in chosen]
        groups.append(AuditGroup(kind, kind_mark(kind, None), cards, len(attractors)))
    return groups


def explosions(analysis: Analysis, screen: Screen) -> list[tuple[Card, str]]:
    """The largest explosions, and the same pictures stretched to full contrast, as these are nearly black."""
    found = [attractor for attractor in analysis.results.attractors if attractor.kind == Kind.EXPLOSION]
    return [
        (card_of(analysis, screen, attractor), screen.stretched(analysis.arrays.fixed_points[attractor.id]))
        for attractor in sorted(found, key=lambda attractor: -attractor.basin_size)[:EXPLOSIONS]
    ]


def recognizer_word(attractor: Attractor) -> str:
    """The class an attractor was recognized as, and the score."""
    if attractor.recognized_as is None:
        return "no word"
    if attractor.recognizer_score is None:
        return f"as {attractor.recognized_as}"
    return f"as {attractor.recognized_as}, {attractor.recognizer_score:.2f}"


def card_of(analysis: Analysis, screen: Screen, attractor: Attractor) -> Card:
    """The card of one attractor."""
    mark = kind_mark(attractor.kind, attractor.label)
    share = percent(attractor.basin_fraction)
    return Card(
        attractor=attractor.id,
        source=screen.picture(analysis.arrays.fixed_points[attractor.id]),
        words=f"Attractor {attractor.id}, {mark.words}, basin of {count(attractor.basin_size, 'sample')} ({share})",
        mark=mark,
        note=share,
        size=_relative_size(analysis, attractor),
    )


def coordinates(state: Tensor) -> str:
    """The numbers of a state, where these are so few that they say more than a picture."""
    values = [or_zero(value) for value in state.flatten().tolist()]
    if len(values) > _FEW:
        return ""
    return f"({', '.join(signed(value, '.4g') for value in values)})"


def _audit_card(analysis: Analysis, screen: Screen, attractor: Attractor) -> Card:
    mark = kind_mark(attractor.kind, attractor.label)
    word = recognizer_word(attractor)
    return Card(
        attractor=attractor.id,
        source=screen.picture(analysis.arrays.fixed_points[attractor.id]),
        words=f"Attractor {attractor.id}, {mark.words}; recognizer: {word}",
        mark=mark,
        note=word,
        size=_relative_size(analysis, attractor),
    )


def _relative_size(analysis: Analysis, attractor: Attractor) -> float:
    return attractor.basin_size / max(1, *analysis.basin_sizes())


def _journey(analysis: Analysis, sample: int) -> str:
    known = int(analysis.arrays.classes[sample])
    reached = int(analysis.arrays.labels[sample])
    start = f"{known} " if known >= 0 else ""
    if reached < 0:
        cycles, outcome = analysis.arrays.cycle_labels, list(Outcome)[int(analysis.arrays.outcomes[sample])]
        if cycles[sample] >= 0:
            return f"{start}→ cycle {int(cycles[sample])}"
        return f"{start}→ {_NOWHERE.get(outcome, '?')}"
    attractor = analysis.results.attractors[reached]
    if attractor.kind == Kind.PROTOTYPE and attractor.label is not None:
        return f"{start}→ {attractor.label}"
    if attractor.kind == Kind.UNKNOWN:
        return f"{start}→ attractor {reached}"
    return f"{start}→ {attractor.kind.value}"


def _when(step: str) -> str:
    return "at the end" if step == "end" else f"after {step} {'step' if step == '1' else 'steps'}"

"""What an attractor is and what became of a sample: the four outcomes of section 6.1 of the report, and the others.

A *kind* belongs to an attractor: a prototype (a clear member of a class), a stain (something that is no member of any
class) or an explosion (no pixel more than 0.5 from black). An *outcome* belongs to a sample and its attractor.

Source: Bahdanau and Jaeger 2014, section 6.1, with the bounds for black and white pixels given there.
"""

from __future__ import annotations

from enum import StrEnum

from jaxtyping import Bool, Float, Int64
from torch import Tensor

EXPLOSION_MAX_INTENSITY = 0.5  # an explosion has no pixel farther from 0; the report shows one of maximum 0.149
NO_PICTURE = 3  # numbers of a state, up to which it is taken for a point and for no picture
BLACK_BELOW = 0.01
WHITE_ABOVE = 0.95


class Kind(StrEnum):
    """What an attractor is."""

    PROTOTYPE = "prototype"
    STAIN = "stain"
    EXPLOSION = "explosion"
    UNKNOWN = "unknown"  # no labelled data to train a recognizer on


class Outcome(StrEnum):
    """What became of a sample. The order is that of the codes stored with an analysis."""

    KEPT = "kept"
    CHANGED = "changed"
    STAIN = "stain"
    EXPLOSION = "explosion"
    UNRESOLVED = "unresolved"
    UNKNOWN = "unknown"  # the sample has no class, or its attractor's kind is unknown
    CYCLE = "cycle"  # it reaches a stable cycle
    DIVERGED = "diverged"  # it left the range of floating point numbers


def is_explosion(states: Float[Tensor, "batch dim"]) -> Bool[Tensor, " batch"]:
    """Whether a state has no pixel above 0.5, nor below -0.5, as states that are no images may have."""
    return states.abs().amax(dim=1) <= EXPLOSION_MAX_INTENSITY


def black_fraction(states: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """Share of pixels below 0.01."""
    return (states < BLACK_BELOW).sum(dim=1).double() / states.shape[1]


def white_fraction(states: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """Share of pixels above 0.95."""
    return (states > WHITE_ABOVE).sum(dim=1).double() / states.shape[1]


def outcomes_of(
    basin_labels: Int64[Tensor, " samples"],
    classes: Int64[Tensor, " samples"] | None,
    kinds: list[Kind],
    attractor_classes: list[int | None],
    *,
    cycling: Bool[Tensor, " samples"] | None = None,
    diverged: Bool[Tensor, " samples"] | None = None,
) -> list[Outcome]:
    """What became of each sample.

    Args:
        basin_labels: Fixed point of each sample, -1 for none, shape (samples,).
        classes: True class of each sample, or None where nobody knows.
        kinds: Kind of each attractor.
        attractor_classes: Class of each attractor that is a prototype.
        cycling: Which samples reach a stable cycle; none if not given.
        diverged: Which of them left the range of floating point numbers; none if not given.

    Returns:
        One outcome a sample.
    """
    known = classes.tolist() if classes is not None else [None] * len(basin_labels)
    outcomes = [
        _outcome(attractor, known_class, kinds, attractor_classes)
        for attractor, known_class in zip(basin_labels.tolist(), known, strict=True)
    ]
    for chosen, outcome in ((cycling, Outcome.CYCLE), (diverged, Outcome.DIVERGED)):
        for sample in [] if chosen is None else (chosen & (basin_labels < 0)).nonzero()[:, 0].tolist():
            outcomes[sample] = outcome
    return outcomes


def _outcome(attractor: int, known_class: int | None, kinds: list[Kind], classes: list[int | None]) -> Outcome:
    if attractor < 0:
        return Outcome.UNRESOLVED
    match kinds[attractor]:
        case Kind.EXPLOSION:
            return Outcome.EXPLOSION
        case Kind.STAIN:
            return Outcome.STAIN
        case Kind.PROTOTYPE if known_class is not None:
            return Outcome.KEPT if classes[attractor] == known_class else Outcome.CHANGED
        case _:
            return Outcome.UNKNOWN

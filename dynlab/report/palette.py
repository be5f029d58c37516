"""The colours of figures and page, each once for a light and once for a dark background.

Text colours reach a contrast of 4.5 against both backgrounds of their scheme, marks and lines 3 (WCAG 2.2, criteria
1.4.3 and 1.4.11). Light colours are all different: the page finds by them which colour of a figure to exchange when
the scheme changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from dynlab.evaluation.kinds import Outcome


@dataclass(frozen=True)
class Colour:
    """One colour as #rrggbb, for either scheme."""

    light: str
    dark: str


PALETTE: dict[str, Colour] = {
    "paper": Colour("#fbfaf7", "#151618"),
    "card": Colour("#fffffe", "#1d1f22"),
    "ink": Colour("#211f1c", "#ebe8e1"),
    "quiet": Colour("#68635b", "#a5a098"),
    "rule": Colour("#e4e0d8", "#303338"),
    "link": Colour("#1f5c99", "#8abcf0"),
    "on-mark": Colour("#ffffff", "#101113"),
    "kept": Colour("#2a68ad", "#7fb5ec"),
    "changed": Colour("#7a54b0", "#bda2ee"),
    "stain": Colour("#9a5b06", "#e3a750"),
    "explosion": Colour("#b9303a", "#f2857f"),
    "unresolved": Colour("#6b6660", "#9e9990"),
    "unknown": Colour("#6f6a64", "#aaa59c"),
    "cycle": Colour("#3d7330", "#93c97f"),
    "diverged": Colour("#9c2f78", "#e592c9"),
    "raw": Colour("#6d6862", "#a39f97"),
    "iterated": Colour("#19766c", "#58c2b3"),
    "basins": Colour("#8a6a16", "#d6b45a"),
    # A sequence of hues in the order of the rainbow, for levels that have an order.
    "level-0": Colour("#2f67b1", "#80b2ee"),
    "level-1": Colour("#17786f", "#55c1b4"),
    "level-2": Colour("#4c7d1f", "#9fc95f"),
    "level-3": Colour("#a1690a", "#e2ad57"),
    "level-4": Colour("#b74a22", "#f0926a"),
    "level-5": Colour("#a8356f", "#ec8cba"),
    # For classes, which have no order: any two differ for readers with any kind of colour vision.
    "class-0": Colour("#c6316f", "#fcaeb7"),
    "class-1": Colour("#048eff", "#4183a4"),
    "class-2": Colour("#746e12", "#dfcd30"),
    "class-3": Colour("#6d0252", "#9e4d7a"),
    "class-4": Colour("#a274d4", "#fbc2f1"),
    "class-5": Colour("#943230", "#f85c62"),
    "class-6": Colour("#4f40bd", "#7a5de4"),
    "class-7": Colour("#af8555", "#f7a358"),
    "class-8": Colour("#543601", "#836139"),
    "class-9": Colour("#2474a5", "#5d9efc"),
}

LEVELS = sum(name.startswith("level-") for name in PALETTE)
CLASSES = sum(name.startswith("class-") for name in PALETTE)

OUTCOME_COLOURS = {outcome: outcome.value for outcome in Outcome}


def light(name: str) -> str:
    """The colour of that name on a light background, which is what figures carry."""
    return PALETTE[name].light


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours #rrggbb, from 1 to 21.

    Source: WCAG 2.2, definitions of contrast ratio and relative luminance.
    """
    brighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

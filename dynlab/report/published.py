"""What the technical report printed, to stand beside what was found here.

Means over five seeds, of the transformed test set of 10000 MNIST images; no figure is given where the text is not
legible.

Source: Bahdanau and Jaeger 2014, section 6.1 (pixels, without walkback) and table 1a.
"""

from __future__ import annotations

from dataclasses import dataclass

from dynlab.evaluation.analysis import Analysis

TEST_SAMPLES = 10_000
ORIGINAL_BLACK, ORIGINAL_WHITE = 0.807, 0.081
EXPLOSION_INTENSITY = 0.149  # the brightest pixel of the explosion in figure 4


@dataclass(frozen=True)
class Published:
    """Figures of the report for one corruption level; pixels without walkback, the rest with as many steps of it."""

    black_fraction: float
    white_fraction: float
    accuracy: float | None
    explosions: float | None


_PIXELS = {0.3: (0.714, 0.104), 0.5: (0.684, 0.089), 0.7: (0.658, 0.063)}
_TABLE_1A = {
    (1, 0.3): (0.823, 368.8),
    (1, 0.5): (0.859, 585.6),
    (1, 0.7): (0.822, 887.8),
    (2, 0.3): (0.858, 240.4),
    (2, 0.5): (0.899, 206.2),
    (2, 0.7): (0.893, 360.4),
    (3, 0.3): (0.866, 173.2),
    (3, 0.5): (0.909, 101.4),
    (3, 0.7): (0.915, 147.6),
}

_OBJECTIVE = {"walkback_variant": "full", "loss": "squared-error", "contraction": 0.0}  # of all its trainings


def published_for(analysis: Analysis) -> Published | None:
    """What the report has for the same test set, corruption level and objective; None where it has nothing."""
    results = analysis.results
    training = results.map.training
    level, walkback = results.map.corruption_level, training.get("walkback")
    if results.map.dim != 784 or results.data.name != "mnist/test" or level not in _PIXELS:
        return None
    if any(training.get(setting, value) != value for setting, value in _OBJECTIVE.items()):
        return None
    accuracy, explosions = _TABLE_1A.get((walkback, level), (None, None)) if isinstance(walkback, int) else (None, None)
    return Published(*_PIXELS[level], accuracy, explosions)

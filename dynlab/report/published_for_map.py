"""What the technical report printed of a map like the one that a page shows, to stand beside what was found here.

Means over five seeds, of the transformed test set of 10000 MNIST images; no figure is given where the text is not
legible.

Source: Bahdanau and Jaeger 2014, section 6.1 (pixels, without walkback) and table 1a.
"""

from __future__ import annotations

from dataclasses import dataclass

from dynlab.evaluation.analysis import Analysis
from dynlab.protocol import ALL_TRAININGS
from dynlab.published import published_figures

TEST_SAMPLES = 10_000


@dataclass(frozen=True)
class PublishedForMap:
    """Figures of the report for one corruption level; pixels without walkback, the rest with as many steps of it."""

    black_fraction: float
    white_fraction: float
    accuracy: float | None
    explosions: float | None


def published_for(analysis: Analysis) -> PublishedForMap | None:
    """What the report has for the same test set and corruption level, trained as it did; None where it has nothing."""
    results, figures = analysis.results, published_figures()
    training = results.map.training
    level, walkback = results.map.corruption_level, training.get("walkback")
    if results.map.dim != 784 or results.data.name != "mnist/test" or level is None or level not in figures.pixels:
        return None
    if any(training.get(setting, value) != value for setting, value in ALL_TRAININGS.items()):
        return None
    entry = next((one for one in figures.table_1a if (one.k, one.sigma) == (walkback, level)), None)
    pixels = figures.pixels[level]
    if entry is None:
        return PublishedForMap(pixels.black, pixels.white, None, None)
    return PublishedForMap(pixels.black, pixels.white, entry.acc_test, entry.explosions_test)

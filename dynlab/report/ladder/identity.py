"""What exactly was followed along the levels: the maps, how they were trained, which of them are analysed in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynlab.attractors.following.followed import Followed
from dynlab.evaluation.analysis import Analysis
from dynlab.report.ladder.branches import level_words
from dynlab.report.words import count, enumeration, number
from dynlab.training.ladder import noise_of_level


def analysed_words(followed: Followed, analyses: Sequence[Analysis]) -> str:
    """Of which levels the page has an analysis, as the maps' hashes tell."""
    written, levels = level_words(followed), len(followed.levels)
    found = sorted(set(_by_level(followed, analyses)))
    opening = (
        f"Attractors were followed over {number(levels)} levels, {followed.parameter} {written[0]} to {written[-1]}"
    )
    if not found:
        return f"{opening}."
    if len(found) == levels:
        return f"{opening}, each of which is analysed in full as well."
    ends = {0: "the first", levels - 1: "the last"}
    names = [ends.get(level, written[level]) for level in found]
    return f"{opening}; only {enumeration(names)} of them {'is' if len(found) == 1 else 'are'} analysed in full."


def training_along(followed: Followed, analyses: Sequence[Analysis]) -> dict[str, Any]:
    """How `train_ladder` trained each level after the first; empty where the analyses do not tell.

    A seed tells that a level is one of a ladder. Those of the first two levels are the same whether noise is new at
    each level or not, so that only a later one tells that.
    """
    at = _by_level(followed, analyses)
    last = max(at, default=0)
    if not last or 0 not in at:
        return {}
    training = at[last].results.map.training
    seed, level_seed, epochs = at[0].results.map.training.get("seed"), training.get("seed"), training.get("epochs")
    if not (isinstance(seed, int) and seed >= 0 and isinstance(epochs, int) and "started_from" in training):
        return {}
    noise = noise_of_level(seed, level_seed, last)
    if not noise:
        return {}
    told = {"epochs_per_level": epochs, "learning_rate": training.get("learning_rate")}
    return told | ({"same_noise": noise.pop()} if len(noise) == 1 else {})


def training_words(training: dict[str, Any]) -> str:
    """The same as part of a sentence; empty where nothing is known."""
    if not training:
        return ""
    noise = {True: " with the same noise at each level", False: " with new noise at each level", None: ""}
    return f"for {count(training['epochs_per_level'], 'epoch')}{noise[training.get('same_noise')]}"


def share_words(share: float) -> str:
    """How many samples of its basin must go along with a branch that merges or splits."""
    if share == 0:
        return "however many of them"
    return "all of them" if share == 1 else f"at least {100 * share:g}% of them"


def identity_of(followed: Followed, control: Followed | None) -> dict[str, str]:
    """What was followed, in text."""
    found = {
        "parameter": followed.parameter,
        "levels": ", ".join(level_words(followed)),
        "maps": "SHA-256 " + ", ".join(basins.map_sha256 for basins in followed.basins),
        "samples": number(len(followed.basins[0].labels)),
        "settings": f"share = {followed.share:g}",
    }
    if control is not None:
        found["unchanged level"] = (
            f"SHA-256 {control.basins[1].map_sha256}, trained on from {control.basins[0].map_sha256}"
        )
    return found


def _by_level(followed: Followed, analyses: Sequence[Analysis]) -> dict[int, Analysis]:
    """The analyses of maps of the levels, by the level's index."""
    maps = [basins.map_sha256 for basins in followed.basins]
    return {
        maps.index(analysis.results.map.sha256): analysis
        for analysis in analyses
        if analysis.results.map.sha256 in maps
    }

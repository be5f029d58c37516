"""What the page says of robustness: shocks, escapes by noise, and what noise rarely leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.robustness_results import AttractorEscape, NoiseSource, Robustness, Shock
from dynlab.report.gallery import Card, card_of
from dynlab.report.pictures import Screen
from dynlab.report.robustness.films import ShockFilm, shock_films
from dynlab.report.robustness.words import shock_words, unsampled_words
from dynlab.report.words import count, number, percent

PICTURED_ATTRACTORS, PICTURED_SAMPLES = 6, 6  # shocks with pictures
GROUPS, OF_A_GROUP = 8, 10  # metastable groups, and attractors of each, that are shown

_SOURCES = {
    NoiseSource.GIVEN: "as asked for",
    NoiseSource.TRAINING: "the corruption level the map was trained at",
    NoiseSource.ATTRACTORS: "a tenth of the median distance of an attractor and its nearest neighbour",
    NoiseSource.SAMPLES: "a tenth of the spread of the samples' coordinates",
}


@dataclass(frozen=True)
class GroupView:
    """Attractors that noise rarely leaves together."""

    cards: list[Card]  # the largest basins of it
    members: int
    share: str  # in the stationary distribution of its class; empty where it is transient


@dataclass(frozen=True)
class RobustnessView:
    """What the page says of the robustness of one analysis."""

    attractors: str
    attractor_films: list[ShockFilm]
    samples: str
    sample_films: list[ShockFilm]
    noise: str
    sample_noise: str
    chain: str
    groups: list[GroupView]


def robustness_view(analysis: Analysis, screen: Screen) -> RobustnessView | None:
    """Everything the page says of robustness; None where it was not asked for."""
    found = analysis.results.robustness
    if found is None:
        return None
    films, reached = shock_films(analysis, screen, found), len(analysis.results.attractors)
    of_attractors = sum(shock.upper is not None for shock in found.attractor_shocks)
    return RobustnessView(
        attractors=_shocks_words(found.attractor_shocks, "attractor", reached),
        attractor_films=films[:of_attractors][:PICTURED_ATTRACTORS],
        samples=_shocks_words(found.sample_shocks, "sample", reached),
        sample_films=films[of_attractors:][:PICTURED_SAMPLES],
        noise=escape_words(analysis),
        sample_noise=sample_noise_words(found),
        chain=chain_words(found.attractor_escapes, found.draws),
        groups=_groups(analysis, screen, found),
    )


def escape_words(analysis: Analysis) -> str:
    """Which noise was added how often, and how many attractors it takes elsewhere."""
    found = analysis.results.robustness
    if found is None:
        return ""
    length = found.noise * math.sqrt(analysis.results.map.dim)
    sentences = [
        (
            f"Gaussian noise of standard deviation {found.noise:.3g} on each coordinate, "
            f"{_SOURCES[found.noise_source]}, has a length of about {length:.3g}."
        )
    ]
    escapes = found.attractor_escapes
    if not escapes:
        return " ".join([*sentences, "There is no attractor to add it to."])
    shares = sorted(escape.escape_probability for escape in escapes)
    if len(escapes) == 1:
        low, high = percent(escapes[0].escape_low), percent(escapes[0].escape_high)
        sentences.append(
            f"It was added to the attractor {_often(found.draws)}, and {percent(shares[0])} of the orbits did not come "
            f"back (95% interval: {low} to {high})."
        )
    else:
        sentences.append(
            f"It was added to each of {count(len(escapes), 'attractor')} {_often(found.draws)}. In the median "
            f"{percent(_median(shares))} of the orbits did not come back, from {percent(shares[0])} to "
            f"{percent(shares[-1])}. Bars are 95% intervals, each for one attractor alone."
        )
    elsewhere = sum(escape.elsewhere for escape in escapes) / len(escapes)
    unresolved = sum(escape.unresolved for escape in escapes) / len(escapes)
    if elsewhere:
        sentences.append(f"{percent(elsewhere)} of all orbits ended at attractors that no sample reaches.")
    if unresolved:
        sentences.append(f"{percent(unresolved)} of all orbits reached no attractor, and count as not come back.")
    return " ".join(sentences)


def sample_noise_words(found: Robustness) -> str:
    """How often the same noise gives samples another outcome."""
    known = [escape for escape in found.sample_escapes if escape.probability is not None]
    shares = sorted(escape.probability for escape in known if escape.probability is not None)
    if not found.sample_escapes:
        return "No sample was perturbed."
    if not shares:
        return (
            f"The same noise was added to {count(len(found.sample_escapes), 'sample')} too, of which none reaches an "
            "attractor without it: there is no outcome to change."
        )
    if len(shares) == 1:
        low, high = percent(known[0].low or 0.0), percent(known[0].high or 0.0)
        return (
            f"The same noise, added to sample {known[0].sample} {_often(found.draws)}, gives it another attractor with "
            f"probability {percent(shares[0])} (95% interval: {low} to {high})."
        )
    return (
        f"The same noise, added to {count(len(shares), 'sample')} {_often(found.draws)} each, gives them another "
        f"attractor with probability {percent(_median(shares))} in the median, from {percent(shares[0])} to "
        f"{percent(shares[-1])}."
    )


def chain_words(escapes: Sequence[AttractorEscape], draws: int) -> str:
    """What the chain on the attractors does in the long run, and what it rarely leaves; empty where there is none."""
    if len(escapes) < 2:
        return ""
    sentences = [
        (
            "Noise again and again, whenever the orbit has come to rest, makes a Markov chain on the attractors that "
            "samples reach; orbits that end elsewhere are left out of it."
        )
    ]
    classes = len({escape.recurrent_class for escape in escapes} - {-1})
    often = max(escapes, key=lambda escape: escape.stationary)
    transient = sum(escape.recurrent_class < 0 <= escape.group for escape in escapes)
    left_out = sum(escape.group < 0 for escape in escapes)
    if classes == 1:
        which = (
            "All of them lead to each other" if not transient and not left_out else "It settles in one class of them"
        )
        sentences.append(
            f"{which}: in the long run it is at attractor {often.attractor} most often, {percent(often.stationary)} of "
            "the time."
        )
    elif classes:
        sentences.append(
            f"It has {number(classes)} recurrent classes, which no draw that stayed among these attractors left: in "
            "the long run it stays in one of them, and which one depends on where it began. More draws than "
            f"{number(draws)} from each attractor may join them."
        )
    if leaks := _leak_words([escape for escape in escapes if escape.recurrent_class >= 0]):
        sentences.append(leaks)
    if transient:
        verb = "is" if transient == 1 else "are"
        sentences.append(f"{count(transient, 'attractor')} {verb} transient: left sooner or later for good.")
    if left_out:
        verb, they = ("is", "it leads") if left_out == 1 else ("are", "they lead")
        sentences.append(f"{count(left_out, 'attractor')} {verb} no part of it, as {they} to none that is.")
    several = sum(members > 1 for members in _sizes(escapes).values())
    if several:
        sentences.append(
            f"Attractors that are rarely left together form metastable groups: {number(several)} with several "
            f"attractors among {count(len(_sizes(escapes)), 'group')}."
        )
    elif len(_sizes(escapes)) > 1:
        sentences.append("No metastable group has several attractors: with this noise each is one by itself.")
    return " ".join(sentences)


def _shocks_words(shocks: Sequence[Shock], of: str, attractors: int) -> str:
    return f"{shock_words(shocks, of)} {unsampled_words(shocks, attractors)}".rstrip()


def _leak_words(recurrent: Sequence[AttractorEscape]) -> str:
    """How often draws left the recurrent classes for what is not in the chain; empty where none did."""
    worst = max(recurrent, key=lambda escape: escape.elsewhere + escape.unresolved, default=None)
    if worst is None or not worst.elsewhere + worst.unresolved:
        return ""
    leaking = [escape for escape in recurrent if escape.elsewhere + escape.unresolved]
    ends = []
    if any(escape.elsewhere for escape in leaking):
        ends.append("to attractors that no sample reaches")
    if any(escape.unresolved for escape in leaking):
        ends.append("to none" if ends else "to no attractor")
    share = percent(worst.elsewhere + worst.unresolved)
    if len(leaking) == 1:
        return f"Yet {share} of the draws from attractor {worst.attractor} led {' or '.join(ends)}."
    return (
        f"Yet draws from {number(len(leaking))} of these attractors led {' or '.join(ends)}: {share} of those from "
        f"attractor {worst.attractor}, the most."
    )


def _groups(analysis: Analysis, screen: Screen, found: Robustness) -> list[GroupView]:
    """Metastable groups of several attractors, those with the largest shares first."""
    members: dict[int, list[AttractorEscape]] = {}
    for escape in found.attractor_escapes:
        if escape.group >= 0:
            members.setdefault(escape.group, []).append(escape)
    several = [group for group in members.values() if len(group) > 1]
    several.sort(key=lambda group: (-sum(escape.stationary for escape in group), -len(group), group[0].attractor))
    attractors = analysis.results.attractors
    return [
        GroupView(
            cards=[card_of(analysis, screen, attractors[escape.attractor]) for escape in group[:OF_A_GROUP]],
            members=len(group),
            share=percent(share) if (share := sum(escape.stationary for escape in group)) else "",
        )
        for group in several[:GROUPS]
    ]


def _sizes(escapes: Sequence[AttractorEscape]) -> dict[int, int]:
    """How many attractors each metastable group has."""
    groups = [escape.group for escape in escapes if escape.group >= 0]
    return {group: groups.count(group) for group in dict.fromkeys(groups)}


def _often(draws: int) -> str:
    return "once" if draws == 1 else f"{number(draws)} times"


def _median(values: Sequence[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).quantile(0.5))

"""Numbers and findings in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dynlab import protocol
from dynlab.attractors.diversity import equal_sample_counts
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Kind, Outcome

# What is written in the mark of a kind or an outcome, so that colour is never all that tells them apart.
LETTERS = {
    "prototype": "P",
    "kept": "✓",
    "changed": "≠",
    "stain": "S",
    "explosion": "E",
    "unresolved": "…",
    "unknown": "?",
    "cycle": "↻",
    "diverged": "∞",
}

OUTCOME_WORDS = {
    Outcome.KEPT: "kept its class",
    Outcome.CHANGED: "changed its class",
    Outcome.STAIN: "stain",
    Outcome.EXPLOSION: "explosion",
    Outcome.UNRESOLVED: "unresolved",
    Outcome.UNKNOWN: "unknown",
    Outcome.CYCLE: "cycle",
    Outcome.DIVERGED: "diverged",
}

_RULE_OF_THREE = 3  # what none of n samples showed has a probability below 3 / n, at 95% confidence
LONGEST_LIST = 6  # values of a setting that are all written out

_ROUNDING = 1e-12
_PLURALS = {"branch": "branches"}  # that do not end in a mere s
_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def percent(share: float) -> str:
    """A share of 1 in percent, never rounded to nothing or to all."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%" if 0 < share < 1 else f"{share:.0%}"


def number(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}"


def signed(value: float, form: str = ".3g") -> str:
    """A number that may be below zero, with a minus as long as a plus; `form` is Python's format."""
    return f"{value:{form}}".replace("-", "−")


def or_zero(value: float) -> float:
    """A coordinate, multiplier or exponent; 0 where it is nothing but rounding, as all of these are known to 1e-12."""
    return value if abs(value) > _ROUNDING else 0.0


def count(how_many: int, noun: str) -> str:
    """So many of something: `1 step`, `2,000 steps`."""
    return f"{number(how_many)} {plural(how_many, noun)}"


def plural(how_many: int, noun: str) -> str:
    """The noun as it stands after that number."""
    return noun if how_many == 1 else _PLURALS.get(noun, f"{noun}s")


def spelled(how_many: int) -> str:
    """Numbers to twelve in letters."""
    return _SMALL[how_many] if how_many < len(_SMALL) else number(how_many)


def kind_words(kind: Kind, label: int | None) -> str:
    """Kind and class in words."""
    if kind is Kind.UNKNOWN:
        return "kind unknown"
    return kind.value if label is None else f"{kind.value} of class {label}"


def outcome_share(analysis: Analysis, outcome: Outcome) -> float:
    """Share of all samples with that outcome."""
    return analysis.results.outcomes.get(outcome.value, 0) / max(1, analysis.results.data.samples)


@dataclass(frozen=True)
class Steps:
    """How many steps samples that come to rest took until their step length was below the tolerance."""

    median: float
    most: int
    never: int  # samples that never did


def steps_of(analysis: Analysis) -> Steps | None:
    """How many steps the samples took that come to rest; None where none does."""
    arrays = analysis.arrays
    # Others have short steps by chance.
    steps = arrays.steps[arrays.labels >= 0].numpy(force=True)
    taken = steps[steps >= 0]
    if len(taken) == 0:
        return None
    return Steps(float(np.median(taken)), int(taken.max()), len(arrays.labels) - len(taken))


RECOGNIZER_NEEDS = "it learns from labelled images in [0, 1], at least five of each of two classes"


def kinds_known(analysis: Analysis) -> bool:
    """Whether there was a recognizer to tell prototypes from stains."""
    return all(attractor.kind != Kind.UNKNOWN for attractor in analysis.results.attractors)


def introduction(analyses: Sequence[Analysis], labels: Sequence[str], before: str = "") -> list[str]:
    """What was iterated and where things went, in two or three sentences, after what there is to say before."""
    sentences = _one(analyses[0]) if len(analyses) == 1 else _several(analyses, labels)
    return [before, *sentences] if before else sentences


def section_words(analysis: Analysis) -> str:
    """What became of the samples of one analysis, in a sentence or two."""
    return " ".join(_fate(analysis))


def diversity_words(analysis: Analysis) -> str:
    """How many attractors there may be beyond those reached, and how likely another sample is to reach a new one."""
    found = analysis.results.diversity
    if not found.attractors:
        return ""
    if found.attractors == 1 and found.chao1.estimate <= 1:
        return ""  # nothing to compare
    bound = found.chao1
    sentences = [
        (
            f"Samples reach some attractors only. By Chao's estimate there are {bound.estimate:,.0f} at least, with a "
            f"95% interval from {bound.lower:,.0f} to {bound.upper:,.0f}."
        )
    ]
    if found.coverage is not None and (found.coverage < 1 or found.samples > _RULE_OF_THREE):
        # Where none was reached once only, the estimate is 1, of which no finite sample can be sure.
        chance = (
            f"with a probability of {percent(found.coverage)}, by estimate"
            if found.coverage < 1
            else f"all but surely: with a probability of the order of {_RULE_OF_THREE / found.samples:.2g} it does not"
        )
        sentences.append(f"Another sample would reach one of those seen {chance}.")
    sentences.append(
        f"Their basins are as uneven as {found.effective_attractors:,.1f} equal ones, by the Shannon entropy of their "
        f"fractions, {found.entropy:.2f} nats."
    )
    return " ".join(sentences)


def explosion_words(analysis: Analysis) -> str:
    """How many attractors the explosions were."""
    exploded = analysis.results.outcomes.get(Outcome.EXPLOSION.value, 0)
    attractors = [attractor for attractor in analysis.results.attractors if attractor.kind == Kind.EXPLOSION]
    if not attractors:
        return "No attractor is an explosion."
    intensities = [f"{most:.3f}" for most in sorted(attractor.max_intensity for attractor in attractors)]
    if len(attractors) == 1:
        which = "The one explosion is" if exploded == 1 else f"The {number(exploded)} explosions are"
        return f"{which} 1 attractor: a single point, whose brightest pixel has intensity {intensities[0]}."
    least, most = intensities[0], intensities[-1]
    return (
        f"The {number(exploded)} explosions are {number(len(attractors))} attractors; their brightest pixels have "
        f"{f'intensity {least}' if least == most else f'intensities from {least} to {most}'}."
    )


def _one(analysis: Analysis) -> list[str]:
    results = analysis.results
    # By default these are called samples, and map.
    of = "" if results.data.name == "samples" else f" of {results.data.name}"
    name = "" if results.map.name == "map" else f" {results.map.name}"
    opening = (
        f"Each of {count(results.data.samples, 'sample')}{of} was put through the map{name} again and again, its "
        "output becoming its next input, until it was certain where it ends or the limit of steps came."
    )
    return [opening, *_fate(analysis)]


def _fate(analysis: Analysis) -> list[str]:
    results = analysis.results
    at_rest = sum(analysis.basin_sizes())
    restless = results.data.samples - at_rest
    everyone = "All" if restless == 0 else f"{percent(at_rest / results.data.samples)}"
    places = len(results.attractors)
    steps = steps_of(analysis)
    pace = "" if steps is None else f" after a median of {steps.median:,.0f} steps"
    where = "at one and the same attractor" if places == 1 else f"at {number(places)} different attractors"
    sentences = [f"{everyone} came to rest{pace}, {where}."]
    if at_rest == 0:
        sentences = [f"None of the {count(results.data.samples, 'sample')} came to rest at an attractor."]
    if fates := enumeration(_fates(analysis)):
        sentences.append(f"{fates[0].upper()}{fates[1:]}.")
    if at_rest and not kinds_known(analysis):
        unknown = "it is unknown which attractors are clear members of a class"
        if results.data.labelled:
            sentences.append(f"Without a recognizer {unknown}; {RECOGNIZER_NEEDS}.")
        else:
            sentences.append(f"Without labelled data {unknown}.")
    return sentences + _cycles(analysis)


def _cycles(analysis: Analysis) -> list[str]:
    """The cycles that samples reach, and how many samples go round without one."""
    cycles = analysis.results.cycles
    on_them = sum(cycle.basin_size for cycle in cycles)
    sentences = []
    if cycles:
        periods = Counter(cycle.period for cycle in cycles)
        found = enumeration([f"{number(times)} of period {period}" for period, times in sorted(periods.items())])
        found = f" of period {cycles[0].period}" if len(cycles) == 1 else f": {found}"
        sentences.append(
            f"{count(on_them, 'sample')} {'reaches' if on_them == 1 else 'reach'} "
            f"{count(len(cycles), 'stable cycle')}{found}."
        )
    if others := analysis.results.statuses.get("periodic", 0) - on_them:
        comes, were = ("comes", "it was") if others == 1 else ("come", "they were")
        sentences.append(f"{count(others, 'sample')} {comes} back to where {were}, on no cycle that attracts others.")
    return sentences


def _fates(analysis: Analysis) -> list[str]:
    """The share of samples of each outcome that is known, in words."""
    parts, verb = [], "ended "
    for outcome, words in (
        (Outcome.KEPT, "as a clear member of their own class"),
        (Outcome.CHANGED, "as a clear member of another class"),
        (Outcome.STAIN, "as a stain, which is no member of any class"),
    ):
        if share := outcome_share(analysis, outcome):
            parts.append(f"{_who(share)} {verb}{words}")
            verb = ""
    for outcome, words in (
        (Outcome.EXPLOSION, "faded away in an explosion"),
        (Outcome.CYCLE, "run in cycles"),
        (Outcome.DIVERGED, "diverge"),
        (Outcome.UNRESOLVED, "are unresolved"),
    ):
        if share := outcome_share(analysis, outcome):
            parts.append(f"{_who(share)} {words}")
    return parts


def _who(share: float) -> str:
    return "all" if share == 1 else percent(share)


def _several(analyses: Sequence[Analysis], labels: Sequence[str]) -> list[str]:
    maps = len(analyses)
    samples = sorted({analysis.results.data.samples for analysis in analyses})
    names = sorted({analysis.results.data.name for analysis in analyses})
    how_many = number(samples[0]) if len(samples) == 1 else f"{number(samples[0])} to {number(samples[-1])}"
    of = names[0] if len(names) == 1 else f"{spelled(len(names))} data sets"
    ends = f"{labels[0]} {'and' if maps == 2 else 'to'} {labels[-1]}"
    opening = (
        f"{spelled(maps).capitalize()} maps, {ends}, were each applied again and again to "
        f"{how_many} samples of {of}, every output becoming the next input, until it was certain where each "
        "sample ends or the limit of steps came."
    )
    sentences = [opening]
    counts = equal_sample_counts([analysis.basin_sizes() for analysis in analyses])
    if counts[0].samples:
        sentences.append(
            f"From {labels[0]} to {labels[-1]} the number of places where they end, the attractors, "
            f"{trend([round(found.expected) for found in counts])} at equal sample size."
        )
    if all(kinds_known(analysis) and analysis.results.data.labelled for analysis in analyses) and any(
        analysis.results.attractors for analysis in analyses
    ):
        kept = [outcome_share(analysis, Outcome.KEPT) for analysis in analyses]
        exploded = [outcome_share(analysis, Outcome.EXPLOSION) for analysis in analyses]
        first, last = percent(kept[0]), percent(kept[-1])
        way = f"stays at {first}" if len(set(kept)) == 1 else f"{_moves(kept)} from {first} to {last}"
        sentences.append(
            f"The share of samples that keep their class {way}, and {_range_words(exploded)} end in an explosion."
        )
    return sentences


def trend(values: Sequence[int]) -> str:
    """How a sequence of counts goes: it falls, rises, stays or does neither."""
    if len(set(values)) == 1:
        return f"stays at {number(values[0])}"
    verb = _moves(values)
    if verb == "goes":
        return f"is {enumeration([number(value) for value in values])}"
    return f"{verb} from {number(values[0])} to {number(values[-1])}"


def rule_words(analysis: Analysis) -> str:
    """When the transformed set was stopped, by which settings."""
    share, tolerance = (analysis.results.settings.get(name) for name in ("share", "tolerance"))
    most = f"more than {100 * share:g}%" if isinstance(share, int | float) else "most"
    length = f"the tolerance, {tolerance:g}," if isinstance(tolerance, int | float) else "the tolerance"
    is_published = (share, tolerance) == (protocol.SHARE, protocol.TOLERANCE)
    return (
        f"Where the whole set stands when {most} of its step lengths are below {length} for the first time: the "
        f"report's rule, which published figures refer to{'' if is_published else ', there with 75% and 0.0001'}."
    )


def setting(value: Any) -> str:
    """A setting as text; of a long list, such as the objective after each epoch, the first and the last."""
    if isinstance(value, list | tuple) and len(value) > LONGEST_LIST:
        return f"{value[0]}, …, {value[-1]} ({number(len(value))} values)"
    return str(value)


def enumeration(parts: Sequence[str]) -> str:
    """Parts with commas and a last `and`; nothing of none."""
    return "".join(parts) if len(parts) < 2 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _moves(values: Sequence[float]) -> str:
    steps = [later - earlier for earlier, later in pairwise(values)]
    if all(step <= 0 for step in steps) and any(steps):
        return "falls"
    if all(step >= 0 for step in steps) and any(steps):
        return "rises"
    return "goes"


def _range_words(shares: Sequence[float]) -> str:
    least, most = percent(min(shares)), percent(max(shares))
    return most if least == most else f"{least} to {most}"

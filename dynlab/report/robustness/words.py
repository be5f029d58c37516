"""What the page says of shocks: how small those found are, and what each end of an interval is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from dynlab.attractors.robustness.pulled_back import LowerBound
from dynlab.evaluation.robustness_results import Shock
from dynlab.report.robustness.films import at_most
from dynlab.report.words import count, enumeration, number

_NO_PROOF = ", which does not say that there is none."


def shock_words(shocks: Sequence[Shock], of: str) -> str:
    """How small the smallest shocks found are, and what each end of the intervals is worth.

    Args:
        shocks: Of attractors or samples.
        of: Which these are: "attractor" or "sample".
    """
    if not shocks:
        return f"No {of} was shocked."
    where = "elsewhere" if of == "attractor" else "to another attractor than without it"
    safe = [shock for shock in shocks if _is_safe(shock)]
    found = [shock for shock in shocks if shock.upper is not None]
    missing = len(shocks) - len(found) - len(safe)
    whom = f"the one {of}" if len(shocks) == 1 else f"any of the {number(len(shocks))} {of}s"
    if len(safe) == len(shocks):
        return f"No perturbation of any size sends {whom} {where}. {_safe_worth(safe)}"
    if not found:
        sentences = [f"No shock was found that sends {whom} {where}{'.' if safe else _NO_PROOF}"]
    else:
        sentences = _found_words(found, len(shocks), of, where)
    if safe:
        sentences.append(f"For {number(len(safe))} of them no perturbation of any size does. {_safe_worth(safe)}")
    if missing and (safe or found):
        others = "the others" if safe and not found else f"{number(missing)} of them"
        sentences.append(f"For {others} none was found{_NO_PROOF}")
    if found:
        sentences += _upper_words(found)
    if lower := _lower_words([shock for shock in shocks if not _is_safe(shock)], of):
        sentences.append(lower)
    return " ".join(sentences)


def unsampled_words(shocks: Sequence[Shock], attractors: int) -> str:
    """How the data name attractors that no sample reaches; empty where no shock leads to one.

    Args:
        shocks: Of attractors or samples.
        attractors: How many attractors samples reach.
    """
    beyond = sum(shock.reached >= attractors for shock in shocks)
    if not beyond:
        return ""
    lead = "leads to an attractor" if beyond == 1 else "lead to attractors"
    return (
        f"{count(beyond, 'shock')} {lead} that no sample reaches: in the data their numbers begin at "
        f"{number(attractors)}."
    )


def _is_safe(shock: Shock) -> bool:
    """Whether no perturbation of any size leads elsewhere, proved or estimated."""
    return shock.lower is None and shock.upper is None


def _safe_worth(safe: Sequence[Shock]) -> str:
    """What it is worth that nothing leads elsewhere."""
    proved = sum(shock.lower_bound is LowerBound.PROVED for shock in safe)
    if proved == len(safe):
        return "This is proved."
    if not proved:
        return "This is estimated, without proof."
    return f"This is proved for {number(proved)}, estimated without proof for {number(len(safe) - proved)}."


def _found_words(found: Sequence[Shock], shocked: int, of: str, where: str) -> list[str]:
    """How long the shocks are that were found."""
    uppers = [shock.upper for shock in found if shock.upper is not None]
    least = min(found, key=lambda shock: shock.upper or math.inf)
    if shocked == 1:
        return [f"A shock of length {at_most(uppers[0])} sends {of} {least.start} {where}."]
    middle = "" if len(uppers) == 1 else f"; in the median it is {at_most(median(uppers))}"
    return [
        (
            f"The smallest shock found that sends one of {count(shocked, of)} {where} has length "
            f"{at_most(min(uppers))} ({of} {least.start}){middle}."
        )
    ]


def _upper_words(found: Sequence[Shock]) -> list[str]:
    """How the shocks compare with the distances of attractors, and what their lengths are worth."""
    shares = [shock.upper / shock.nearest for shock in found if shock.upper is not None and shock.nearest]
    sentences = []
    if shares:
        length = "Its length is" if len(found) == 1 else "In the median their length is"
        sentences.append(f"{length} {median(shares):.3g} times the distance to the nearest other attractor.")
    sentences.append(
        "These are upper ends: the best shocks that an optimization found, down to the boundary of the basin. There "
        "may be smaller ones."
    )
    return sentences


def _lower_words(shocks: Sequence[Shock], of: str) -> str:
    """What the lower ends are worth; empty where there is no interval whose ends one could speak of."""
    counts = {kind: sum(shock.lower_bound is kind for shock in shocks) for kind in LowerBound}
    proved, estimated, unknown = (counts[kind] for kind in (LowerBound.PROVED, LowerBound.ESTIMATED, LowerBound.NONE))
    is_found = any(shock.upper is not None for shock in shocks)
    if unknown == len(shocks):
        return "No lower ends are known: the smallest shock there is may be of any length below." if is_found else ""
    parts = []
    if proved:
        parts.append(f"proved for {number(proved)}")
    if estimated:
        parts.append(f"estimated without proof for {number(estimated)}")
    if unknown:
        parts.append(f"unknown for {number(unknown)}")
    why = "" if of == "attractor" else ", carried back along the orbit"
    within = [shock.lower_bound for shock in shocks if shock.upper is not None]
    which = "The smallest shock there is lies between the two ends" if is_found else "Any shock there may be is longer"
    if LowerBound.NONE in within:
        which += " where both are known"
    elif unknown and not is_found:
        which += " where one is known"
    if estimated:
        which += ", if the estimates hold" if estimated > 1 else ", if the estimate holds"
    return f"Lower ends are balls from which no orbit escapes{why}: {enumeration(parts)}. {which}."

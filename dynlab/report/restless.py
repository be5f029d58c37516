"""What is said of samples that remain unresolved: whether they are chaotic, or only slow."""

from __future__ import annotations

from dynlab.dynamics import Status
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.restless import Course, RestlessSample
from dynlab.report.words import count, number, spelled

_MEANINGS = {
    Course.CHAOTIC: "is above zero by more than three standard errors: small differences grow, the orbit is chaotic",
    Course.LEAVING: "is above zero, and steps grow like small differences: it leaves an unstable state",
    Course.SETTLING: "is below zero: the orbit settles, and needs more steps than it had",
    Course.CREEPING: "is not below zero, while steps are shorter than the tolerance: it creeps past a saddle, "
    "or stands where nothing attracts",
    Course.NEUTRAL: "is zero for all that could be told: the orbit may run on a closed curve",
    Course.DIVERGING: "could not be told, as the orbit diverges after all",
}


def restless_words(analysis: Analysis) -> str:
    """The leading Lyapunov exponents of unresolved samples and what they mean; empty where there are none."""
    found = analysis.results.restless
    if found is None:
        return ""
    unresolved, followed = analysis.results.statuses.get(Status.UNRESOLVED.value, 0), len(found.samples)
    if followed == unresolved:
        who = "The unresolved sample was" if followed == 1 else f"The {spelled(followed)} unresolved samples were"
    else:
        who = f"Of {count(unresolved, 'unresolved sample')} {spelled(followed)} were"
    sentences = [f"{who} followed for {number(found.steps)} steps more, for the growth of small differences."]
    leading = [one.exponents[0] for one in found.samples if one.exponents[0] is not None]
    if leading:
        low, high = _number(min(leading)), _number(max(leading))
        what = "Leading Lyapunov exponents are" if followed > 1 else "The leading Lyapunov exponent is"
        sentences.append(f"{what} {low if low == high else f'{low} to {high}'} per step.")
    for course, meaning in _MEANINGS.items():
        many = sum(one.course is course for one in found.samples)
        if many:
            whose = f"all {spelled(many)}" if many == followed else f"{spelled(many)} of them"
            sentences.append(f"It {meaning}." if followed == 1 else f"In {whose} it {meaning}.")
    return " ".join(sentences)


def exponents_text(sample: RestlessSample) -> str:
    """The exponents of a sample, each with its standard error."""
    return ", ".join(map(_exponent, sample.exponents, sample.standard_errors))


def _exponent(value: float | None, error: float | None) -> str:
    return "–" if value is None or error is None else f"{_number(value)} ± {_number(error)}"


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")

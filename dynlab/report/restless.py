"""What is said of samples that remain unresolved: whether they are chaotic, or only slow."""

from __future__ import annotations

from dynlab.dynamics import Status
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.restless import Course, RestlessSample
from dynlab.report.words import count, number, or_zero, signed, spelled

# Of one sample, of several, and why.
_COURSES = {
    Course.CHAOTIC: ("is chaotic", "are chaotic", "small differences grow, while steps keep their length"),
    Course.LEAVING: ("leaves an unstable state", "leave an unstable state", "steps grow like small differences"),
    Course.SETTLING: ("settles, however slowly", "settle, however slowly", "small differences shrink"),
    Course.STANDING: (
        "stands on a fixed point that is not known to attract",
        "stand on fixed points that are not known to attract",
        "no step leads anywhere",
    ),
    Course.CREEPING: (
        "creeps, as past a saddle",
        "creep, as past a saddle",
        "steps are below the tolerance, and small differences hardly shrink",
    ),
    Course.UNDECIDED: (
        "may run on a closed curve",
        "may run on closed curves",
        "small differences neither grow nor shrink for certain",
    ),
    Course.DIVERGING: ("diverges after all", "diverge after all", ""),
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
        low, high = signed(or_zero(min(leading))), signed(or_zero(max(leading)))
        what = "Leading Lyapunov exponents are" if followed > 1 else "The leading Lyapunov exponent is"
        sentences.append(f"{what} {low if low == high else f'{low} to {high}'} per step.")
    for course, (one, several, why) in _COURSES.items():
        many = sum(sample.course is course for sample in found.samples)
        if many:
            everyone = "Both" if many == 2 else f"All {spelled(many)}"
            whose = "It" if followed == 1 else everyone if many == followed else spelled(many).capitalize()
            sentences.append(f"{whose} {one if many == 1 else several}{f': {why}' if why else ''}.")
    return " ".join(sentences)


def exponents_text(sample: RestlessSample) -> str:
    """The exponents of a sample, each with its standard error."""
    return ", ".join(map(_exponent, sample.exponents, sample.standard_errors))


def _exponent(value: float | None, error: float | None) -> str:
    return "–" if value is None or error is None else f"{signed(or_zero(value))} ± {signed(error)}"

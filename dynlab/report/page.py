"""The HTML page of one or several analyses: one file that opens from disk, offline.

Plotly is in it once, pictures are data URIs, and its content security policy forbids every request. What users named
is escaped by jinja2 in HTML, by `label_text` in plotly's labels and by `inline_json` in scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dynlab.attractors.diversity import equal_sample_counts
from dynlab.attractors.followed import Followed
from dynlab.dynamics.rates import Decay
from dynlab.errors import InputError
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.followed_kinds import FollowedKinds, kinds_along
from dynlab.evaluation.kinds import Outcome
from dynlab.files import check_writable_folder, written_atomically
from dynlab.report import words
from dynlab.report.labels import in_order, labels_of
from dynlab.report.ladder_view import ladder_of
from dynlab.report.matching import match_rows
from dynlab.report.pictures import screen_of
from dynlab.report.shell import assets, environment
from dynlab.report.view import comparison, recognizers_of, section_of


def write_report(
    analyses: Analysis | Sequence[Analysis],
    path: str | Path,
    *,
    followed: Followed | None = None,
    followed_kinds: FollowedKinds | None = None,
    control: Followed | None = None,
) -> Path:
    """Write one self-contained HTML page about one or several analyses.

    Several are put in the order of their corruption levels where all of these are known, and compared; they may differ
    in map, data and settings.

    Args:
        analyses: One, or several.
        path: The file to write; folders above it are made.
        followed: Attractors followed over the levels of a parameter, of maps of the same dim; the page begins with
            them.
        followed_kinds: What these are, by `kinds_along`; without it only explosions are told from others.
        control: Attractors followed from the map of one of these levels, but the last, to one that was trained on from
            it like the next level, without a change of the level: by it the page tells the noise of training.

    Returns:
        The path of the file.

    Raises:
        InputError: If the file cannot be written.
        ValueError: If there is no analysis, the arrays of one do not fit its results, or attractors that were followed
            have another dim than the maps, other numbers than their kinds, or a control of other maps.
    """
    path = Path(path)
    analyses = [analyses] if isinstance(analyses, Analysis) else analyses
    if not analyses:
        raise ValueError("analyses is empty, expected at least one")
    for analysis in analyses:
        _check(analysis)
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file name")
    check_writable_folder(path.parent, parameter="path")
    page = render_page(analyses, followed, followed_kinds, control)
    with written_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render_page(
    analyses: Sequence[Analysis],
    followed: Followed | None = None,
    followed_kinds: FollowedKinds | None = None,
    control: Followed | None = None,
) -> str:
    """The page as text; equal analyses give equal pages."""
    analyses = in_order(analyses)
    labels = labels_of(analyses)
    counts = equal_sample_counts([analysis.basin_sizes() for analysis in analyses])
    sections = [section_of(*entry) for entry in zip(range(1, len(analyses) + 1), analyses, labels, counts, strict=True)]
    ladder = None
    if followed is not None:
        _check_followed(followed, analyses[0])
        kinds = followed_kinds or kinds_along(followed, None)
        ladder = ladder_of(followed, kinds, screen_of(analyses[0]), control, analyses)
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            title=_title(analyses) if followed is None else _followed_title(followed, analyses),
            introduction=words.introduction(analyses, labels, ladder.analysed if ladder else ""),
            ladder=ladder,
            sections=sections,
            across=comparison(analyses, labels) if len(analyses) > 1 else [],
            matches=match_rows(analyses, labels, followed),
            same_data=len({analysis.results.data.sha256 for analysis in analyses}) == 1,
            equal_samples=counts[0].samples,
            met=[outcome for outcome in Outcome if any(words.outcome_share(one, outcome) for one in analyses)],
            recognizers=recognizers_of(analyses, labels),
            **assets(),
        )
    )


def _title(analyses: Sequence[Analysis]) -> str:
    titles = {analysis.results.title for analysis in analyses}
    if len(titles) == 1:
        return titles.pop()
    data = {analysis.results.data.name for analysis in analyses}
    on = f" on {data.pop()}" if len(data) == 1 else ""
    return f"{words.spelled(len(analyses)).capitalize()} maps{on}"


def _followed_title(followed: Followed, analyses: Sequence[Analysis]) -> str:
    data = {analysis.results.data.name for analysis in analyses}
    on = f", on {data.pop()}" if len(data) == 1 else ""
    return f"Attractors along the {followed.parameter}{on}"


def _check_followed(followed: Followed, analysis: Analysis) -> None:
    dim, expected = followed.basins[0].fixed_points.shape[1], analysis.results.map.dim
    if dim != expected:
        raise ValueError(f"followed is of dim {dim}, expected {expected}, as {analysis.results.title!r} is")


def _check(analysis: Analysis) -> None:
    """Check what the page relies on."""
    results, arrays = analysis.results, analysis.arrays
    dim, attractors, samples = results.map.dim, len(results.attractors), results.data.samples
    expected = {
        "fixed_points": (arrays.fixed_points, (attractors, dim)),
        "labels": (arrays.labels, (samples,)),
        "outcomes": (arrays.outcomes, (samples,)),
        "classes": (arrays.classes, (samples,)),
        "steps": (arrays.steps, (samples,)),
        "step_lengths": (arrays.step_lengths, (arrays.step_lengths.shape[0], len(arrays.recorded_samples))),
        "rates": (arrays.rates, (len(arrays.recorded_samples),)),
        "rate_windows": (arrays.rate_windows, (len(arrays.recorded_samples), 2)),
        "film_states": (arrays.film_states, (len(arrays.film_samples), len(arrays.film_steps), dim)),
    }
    if arrays.member_samples is not None and arrays.member_states is not None:
        expected["member_states"] = (arrays.member_states, (len(arrays.member_samples), dim))
    if results.robustness is not None:
        shocks = len(results.robustness.attractor_shocks) + len(results.robustness.sample_shocks)
        for name in ("shock_starts", "shock_ends"):
            array = getattr(arrays, name)
            expected[name] = (arrays.fixed_points[:0] if array is None else array, (shocks, dim))
    for name, (array, shape) in expected.items():
        if tuple(array.shape) != shape:
            raise ValueError(f"analyses: {name} of {results.title!r} has shape {tuple(array.shape)}, expected {shape}")
    indices = {
        "labels": (arrays.labels, -1, attractors),
        "outcomes": (arrays.outcomes, 0, len(Outcome)),
        "recorded_samples": (arrays.recorded_samples, 0, samples),
        "rate_decays": (arrays.rate_decays, 0, len(Decay)),
        "film_samples": (arrays.film_samples, 0, samples),
    }
    if arrays.member_samples is not None:
        indices["member_samples"] = (arrays.member_samples, 0, samples)
    if arrays.plane_labels is not None:
        others = 0 if arrays.plane_others is None else len(arrays.plane_others)
        indices["plane_labels"] = (arrays.plane_labels, -1, attractors + others)
    if arrays.plane_cycles is not None:
        others = sum(picture.unsampled_cycles for picture in results.planes or ())
        indices["plane_cycles"] = (arrays.plane_cycles, -1, len(results.cycles) + others)
    if arrays.line_labels is not None and arrays.line_cycles is not None:
        others = 0 if arrays.plane_others is None else len(arrays.plane_others)
        indices["line_labels"] = (arrays.line_labels, -1, attractors + others)
        indices["line_cycles"] = (arrays.line_cycles, -1, len(arrays.line_cycles))
    for name, (array, least, end) in indices.items():
        if array.numel() and not least <= int(array.min()) <= int(array.max()) < end:
            raise ValueError(f"analyses: {name} of {results.title!r} is not within {least} to {end - 1}")

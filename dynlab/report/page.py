"""The HTML page of one or several analyses: one file that opens from disk, offline.

Plotly is in it once, pictures are data URIs, and its content security policy forbids every request. What users named
is escaped by jinja2 in HTML, by `label_text` in plotly's labels and by `inline_json` in scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dynlab.attractors.diversity import equal_sample_counts
from dynlab.attractors.following.followed import Followed
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.consistency import check_arrays, check_results
from dynlab.evaluation.followed_kinds import FollowedKinds, kinds_along
from dynlab.evaluation.kinds import Outcome
from dynlab.files import check_writable_file, written_atomically
from dynlab.report import words
from dynlab.report.labels import in_order, labels_of
from dynlab.report.ladder.view import ladder_of
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
    check_writable_file(path, parameter="path")
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
    if not isinstance(analysis, Analysis):
        raise ValueError(f"analyses holds a {type(analysis).__name__}, expected what `dynlab.analyse` gives")
    results, arrays = analysis.results, analysis.arrays
    try:
        check_arrays(arrays.by_name(), results)
        check_results(results, arrays)
    except ValueError as error:
        raise ValueError(f"analyses: {results.title!r}: {error}") from error

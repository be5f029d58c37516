"""What the page shows: a section for each analysis, the comparison of several, and the recognizers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dynlab.attractors.diversity import AttractorCount, equal_sample_counts
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.flows import flow_of
from dynlab.evaluation.kinds import Outcome
from dynlab.evaluation.recognizer import RecognizerReport
from dynlab.report import across_maps, connections, figures, gallery, spectra, words
from dynlab.report.attractor_table import AttractorTable, attractor_table
from dynlab.report.cycles import CycleTable, cycle_table
from dynlab.report.drawing import Drawing, drawing_of
from dynlab.report.fixed_points import FixedPoints, fixed_points_of
from dynlab.report.line import LineView, line_figure, line_view
from dynlab.report.pictures import Screen, screen_of
from dynlab.report.planes import Plane, plane_figures, planes_of
from dynlab.report.published_for_map import PublishedForMap, published_for
from dynlab.report.restless import restless_words
from dynlab.report.robustness.figures import escape_figure, shock_figure
from dynlab.report.robustness.section import RobustnessView, escape_words, robustness_view
from dynlab.report.robustness.words import shock_words

_EQUAL_COUNTS = "Attractors at equal sample size"


@dataclass(frozen=True)
class Section:
    """What the page shows of one analysis."""

    anchor: str
    label: str
    analysis: Analysis
    words: str
    screen: Screen
    gallery: gallery.Gallery
    attractor_table: AttractorTable | None
    cycles: CycleTable | None
    restless_words: str
    films: list[gallery.FilmGroup]
    audits: list[gallery.AuditGroup]
    explosions: list[tuple[gallery.Card, str]]  # as they are, and the same picture stretched to full contrast
    decay: Drawing | None
    along_orbit: Drawing | None
    multipliers: Drawing | None
    rates: Drawing | None
    fixed_points: FixedPoints
    planes: list[tuple[Plane, Drawing]]
    line: LineView | None
    graph_of_map: Drawing | None
    flow: Drawing | None
    flow_words: str
    connections: Drawing | None
    connection_words: str
    robustness: RobustnessView | None
    attractor_shocks: Drawing | None
    sample_shocks: Drawing | None
    escapes: Drawing | None
    equal_count: AttractorCount
    published: PublishedForMap | None


@dataclass(frozen=True)
class RecognizerView:
    """A recognizer and the analyses that it judged for."""

    report: RecognizerReport
    labels: list[str]


def section_of(row: int, analysis: Analysis, label: str, equal_count: AttractorCount) -> Section:
    """Everything the page shows of one analysis, the `row`-th on it."""
    anchor = f"analysis-{row}"
    screen = screen_of(analysis)
    separability = analysis.results.separability
    fixed_points = fixed_points_of(analysis, screen)
    line, flow = line_view(analysis, screen), flow_of(analysis)
    flow_words, connection_words = connections.flow_words(flow), connections.connection_words(analysis)
    return Section(
        anchor=anchor,
        label=label,
        analysis=analysis,
        words=words.section_words(analysis),
        screen=screen,
        gallery=gallery.attractor_gallery(analysis, screen),
        attractor_table=attractor_table(analysis, screen),
        cycles=cycle_table(analysis, screen),
        restless_words=restless_words(analysis),
        films=gallery.film_groups(analysis, screen),
        audits=gallery.audit_groups(analysis, screen),
        explosions=gallery.explosions(analysis, screen),
        decay=drawing_of(
            f"{anchor}-decay",
            figures.step_length_decay(analysis),
            f"Step lengths of recorded orbits against the step, on a logarithmic axis, for {label}. "
            f"{fixed_points.rates}",
        ),
        along_orbit=None
        if separability is None
        else drawing_of(
            f"{anchor}-orbit",
            figures.separability_along_orbit([analysis]),
            f"Test accuracy of logistic regression against the step for {label}: "
            + ", ".join(f"{point.test:.3f} after {point.step}" for point in separability.along_orbit)
            + ".",
        ),
        multipliers=drawing_of(
            f"{anchor}-multipliers",
            spectra.multipliers_in_the_plane(analysis),
            f"Multipliers in the complex plane for {label}. {fixed_points.multipliers}",
        ),
        rates=drawing_of(
            f"{anchor}-rates",
            spectra.rate_against_radius(analysis),
            f"Fitted rates against spectral radii on logarithmic axes for {label}. {fixed_points.rates}",
        ),
        fixed_points=fixed_points,
        planes=_planes(anchor, label, analysis, screen),
        line=line,
        graph_of_map=drawing_of(
            f"{anchor}-line", line_figure(analysis), f"Graph of the map, for {label}. {line.words if line else ''}"
        ),
        flow=drawing_of(
            f"{anchor}-flow",
            connections.flow_figure(flow),
            f"Shares of each class by what their attractors are, for {label}. {flow_words}",
        ),
        flow_words=flow_words,
        connections=drawing_of(
            f"{anchor}-connections",
            connections.connection_figure(analysis.graph, screen),
            f"Attractors and the saddles that join them, for {label}. {connection_words}",
        ),
        connection_words=connection_words,
        robustness=robustness_view(analysis, screen),
        attractor_shocks=_shocks(anchor, label, analysis, screen, "attractor"),
        sample_shocks=_shocks(anchor, label, analysis, screen, "sample"),
        escapes=drawing_of(
            f"{anchor}-escapes",
            escape_figure(analysis),
            f"Probability of leaving by noise against the basin size, for {label}. {escape_words(analysis)}",
        ),
        equal_count=equal_count,
        published=published_for(analysis),
    )


def _planes(anchor: str, label: str, analysis: Analysis, screen: Screen) -> list[tuple[Plane, Drawing]]:
    """The pictures of basins, each with what is said of it."""
    found = zip(planes_of(analysis, screen), plane_figures(analysis, screen), strict=True)
    drawings = [
        (plane, drawing_of(f"{anchor}-plane-{row}", figure, f"Basins on a plane, for {label}. {plane.words}"))
        for row, (plane, figure) in enumerate(found, start=1)
    ]
    return [(plane, drawing) for plane, drawing in drawings if drawing is not None]


def _shocks(anchor: str, label: str, analysis: Analysis, screen: Screen, of: str) -> Drawing | None:
    """The intervals of the shocks of attractors, or of samples."""
    found, starts = analysis.results.robustness, analysis.arrays.shock_starts
    if found is None or starts is None:
        return None
    first = len(found.attractor_shocks)
    shocks = found.attractor_shocks if of == "attractor" else found.sample_shocks
    figure = shock_figure(shocks, starts[:first] if of == "attractor" else starts[first:], screen, of)
    words = f"Intervals of the smallest shock of each {of}, for {label}. {shock_words(shocks, of)}"
    return drawing_of(f"{anchor}-{of}-shocks", figure, words)


def comparison(analyses: Sequence[Analysis], labels: Sequence[str]) -> list[tuple[str, str, Drawing]]:
    """Title, explanation and drawing of each figure across the analyses that has something to show."""
    counts = equal_sample_counts([analysis.basin_sizes() for analysis in analyses])
    found: list[tuple[str, str, Drawing | None]] = [
        (
            "What became of the samples",
            "Every sample has one outcome. Unresolved ones are counted, never guessed.",
            drawing_of(
                "across-outcomes",
                across_maps.outcome_shares(analyses),
                "Share of each outcome, a bar for each map. The table above has the numbers.",
            ),
        ),
        (
            _EQUAL_COUNTS,
            (
                "More samples reach more attractors, so here are the expected numbers if only "
                f"{words.number(counts[0].samples)} of the resolved samples were drawn, with two standard deviations."
            ),
            drawing_of(
                "across-attractors",
                across_maps.attractors_by_corruption_level(analyses),
                "Number of attractors at equal sample size: "
                + ", ".join(f"{found.expected:.0f} at {label}" for found, label in zip(counts, labels, strict=True))
                + ".",
            ),
        ),
        (
            "Explosions",
            "Share of samples that end in an attractor with no bright pixel, with its 95% interval.",
            drawing_of(
                "across-explosions",
                across_maps.explosion_share(analyses),
                "Share of explosions: "
                + ", ".join(
                    f"{words.percent(words.outcome_share(analysis, Outcome.EXPLOSION))} at {label}"
                    for analysis, label in zip(analyses, labels, strict=True)
                )
                + ".",
            ),
        ),
    ]
    if any(analysis.results.separability for analysis in analyses):
        found += [
            (
                "How well classes can be told apart",
                "Test accuracy of logistic regression, and of each basin's majority class.",
                drawing_of(
                    "across-accuracy",
                    across_maps.accuracy_by_corruption_level(analyses),
                    "Test accuracy across the maps; the best step along the orbit is chosen on the test set itself. "
                    "The table above has the numbers.",
                ),
            ),
            (
                "The same along the orbit",
                "Classes are often easiest to tell apart after a few steps, long before orbits come to rest.",
                drawing_of(
                    "across-orbit",
                    figures.separability_along_orbit(analyses),
                    "Test accuracy of logistic regression after 0, 1, 2, 4 and more steps, a line for each map.",
                ),
            ),
        ]
    if not counts[0].samples:
        found = [one for one in found if one[0] != _EQUAL_COUNTS]
    return [(title, explanation, drawing) for title, explanation, drawing in found if drawing is not None]


def recognizers_of(analyses: Sequence[Analysis], labels: Sequence[str]) -> list[RecognizerView]:
    """The recognizers, each once with all the analyses it served."""
    found: list[RecognizerView] = []
    for analysis, label in zip(analyses, labels, strict=True):
        report = analysis.results.recognizer
        if report is None:
            continue
        same = [recognizer for recognizer in found if recognizer.report == report]
        if same:
            same[0].labels.append(label)
        else:
            found.append(RecognizerView(report, [label]))
    return found

"""The page of a study on explosions: is it one fixed point, why does it attract, and what starts there?

Source: Bahdanau and Jaeger 2014, section 6.1, for the questions.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch

from dynlab.attractors import wilson_interval
from dynlab.report.pictures import Screen
from dynlab.report.study.explosion_figures import ReachLine, reach_figure
from dynlab.report.study.figures import Series
from dynlab.report.study.parts import Chart, Part, Picture, PictureTable, Table
from dynlab.report.words import count, number, percent
from dynlab.studies.answers.columns import NOTHING
from dynlab.studies.grid import Cell
from dynlab.studies.page.models import Answer, Family, Models

_PICTURED = 5  # models of a family
_WAYS = (  # of probing an explosion: their name in results, what the page says, the axis, the column
    ("around", "Random directions from it", "distance from the fixed point", "distance", True),
    ("towards", "Samples moved towards it", "share of the way from a sample to it", "share of the way", False),
)


def explosions_answer(models: Models, screen: Screen | None) -> Answer:
    """Whether explosions are one fixed point, why it attracts, and what they start from."""
    known = models.with_stage(models.cells, "basins")
    if not known:
        return None
    parts = []
    if any(results["explosions"]["points"]["samples"] for _, results in known):
        parts = [
            _points(models),
            _pictures(models, screen),
            _spectra(models),
            _reach(models),
            _starts(models),
            _classes(models),
        ]
    return _one_point(known), [part for part in parts if part is not None]


def _one_point(known: Sequence[tuple[Cell, dict[str, Any]]]) -> str:
    points = [results["explosions"]["points"] for _, results in known]
    exploding = [one for one in points if one["samples"]]
    if not exploding:
        return f"No test sample explodes in any of {count(len(points), 'model')}."
    single = sum(one["explosions"] == 1 for one in exploding)
    several = sum(one["explosions"] > 1 for one in exploding)
    none = len(exploding) - single - several
    where = "in the one model" if len(points) == 1 else f"in {number(len(exploding))} of {count(len(points), 'model')}"
    sentences = [f"Test samples explode {where}."]
    if single == len(exploding):
        each = "There" if len(points) == 1 else "In each of these"
        sentences.append(f"{each} all explosions at rest are one and the same fixed point, as the report saw it.")
    else:
        parts = [f"in {number(single)} of these all explosions at rest are one fixed point"]
        if several:
            parts.append(f"in {number(several)} they are several")
        if none:
            parts.append(f"in {number(none)} none that is at rest is an explosion any more")
        text = ", ".join(parts)
        sentences.append(f"{text[0].upper()}{text[1:]}.")
    total, others, unresolved = (sum(one[name] for one in exploding) for name in ("samples", "others", "unresolved"))
    left = [f"{number(others)} went on to other attractors"] if others else []
    left += [f"{number(unresolved)} came to no rest"] if unresolved else []
    if left:
        sentences.append(f"Of the {number(total)} samples {' and '.join(left)}.")
    return " ".join(sentences)


def _points(models: Models) -> Part:
    rows = []
    for family in models.families:
        found = [results["explosions"] for _, results in models.with_stage(family.shown, "basins")]
        if not found:
            continue
        points = [one["points"] for one in found]
        shares = [one["largest_share"] for one in points if one["largest_share"] is not None]
        counts = sorted({one["explosions"] for one in points})
        rows.append(
            (
                family.label,
                number(len(points)),
                f"{statistics.fmean(one['samples'] for one in points):,.1f} of {found[0]['starts']['samples']:,}",
                str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}",
                percent(min(shares)) if shares else NOTHING,
                f"{statistics.fmean(one['others'] for one in points):,.1f}",
                f"{statistics.fmean(one['unresolved'] for one in points):,.1f}",
            )
        )
    heads = (
        "maps",
        "seeds",
        "samples that explode",
        "fixed points behind them",
        "in the largest, least of all seeds",
        "at another attractor after all",
        "unresolved",
    )
    words = (
        "Every test sample that stands at an explosion in the transformed set was iterated on to its attractor. "
        "Counted are the attractors without a pixel above 0.5, for each model by itself, and the samples that leave "
        "the explosion after all."
    )
    return Part("One fixed point or several?", [words], [Table("Explosions of each map", heads, rows)])


def _pictures(models: Models, screen: Screen | None) -> Part | None:
    """The explosion of each model of a family, that of the first seeds, as it is and with all of its contrast."""
    rows = []
    for family in models.families if screen is not None else ():
        shown: list[Picture | None] = []
        for cell, results in models.with_stage(family.shown, "spectra"):
            if results["explosions"] and screen is not None:
                point = models.tensors(cell, "spectra", "explosions")["fixed_points"][0]
                words = f"Explosion of {family.label}, seed {cell.settings.seed}"
                shown += [
                    Picture(screen.pixels(point), words),
                    Picture(screen.stretched_pixels(point), f"{words}, with full contrast"),
                ]
        if shown:
            rows.append((family.label, shown[: 2 * _PICTURED]))
    if not rows or screen is None:
        return None
    most = max(len(shown) for _, shown in rows)
    heads = ["", *("as it is" if column % 2 == 0 else "stretched" for column in range(most))]
    table = PictureTable(
        "Pictures of explosions",
        heads,
        [(label, [*shown, *[None] * (most - len(shown))]) for label, shown in rows],
        apart=frozenset(range(2, most, 2)),
        is_strips=screen.is_strip,
    )
    words = (
        "The largest explosion of each model, a pair of pictures a seed: as it is, and stretched, with its own least "
        "value black and its own greatest white."
    )
    return Part("What they look like", [words], pictures=[table])


def _spectra(models: Models) -> Part | None:
    rows = []
    for family in models.families:
        found = [results for _, results in models.with_stage(family.shown, "spectra") if results["explosions"]]
        if not found:
            continue
        first = [results["explosions"][0] for results in found]
        others = [[one for one in results["attractors"] if one["kind"] != "explosion"] for results in found]
        rows.append(
            (
                family.label,
                number(len(found)),
                _median([one["max_intensity"] for one in first], ".3f"),
                _median([one["spectral_radius"] for one in first], ".3f"),
                _median([one["spectral_radius"] for every in others for one in every], ".3f"),
                _median([one["jacobian_norm"] for one in first], ".2f"),
                _slopes(first),
                _slopes([one for every in others for one in every]),
            )
        )
    if not rows:
        return None
    heads = (
        "maps",
        "seeds",
        "brightest pixel",
        "spectral radius",
        "of other attractors",
        "norm of the Jacobian",
        "mean slopes of units",
        "at other attractors",
    )
    words = (
        "Medians over seeds, at the explosion and at the other largest attractors. The smaller the spectral radius, "
        "the faster it attracts in the end. Slopes are mean derivatives of the units of each layer, from the input on: "
        "where they are small, units are saturated and pass little on."
    )
    return Part("Why it attracts: the linearization", [words], [Table("Linearization at explosions", heads, rows)])


def _slopes(entries: Sequence[dict[str, Any]]) -> str:
    layers = [one["slopes"] for one in entries if one["slopes"]]
    return ", ".join(f"{statistics.median(each):.3f}" for each in zip(*layers, strict=True)) if layers else NOTHING


def _median(values: Sequence[float], digits: str) -> str:
    return f"{statistics.median(values):{digits}}" if values else NOTHING


def _reach(models: Models) -> Part | None:
    """How far the basin of the explosion reaches, of the first model of each family that has one."""
    probed = []
    for family in models.families:
        found = [results for _, results in models.with_stage(family.shown, "spectra") if results["probes"]]
        if found:
            probed.append((family, found[0]["probes"]))
    if not probed:
        return None
    charts = []
    for way, heading, axis, column, log in _WAYS:
        for place, level in enumerate(dict.fromkeys(family.level for family, _ in probed)):
            lines = [_reach_line(models, family, probes, way) for family, probes in probed if family.level == level]
            title = f"{heading}, {level}"
            figure = reach_figure(lines, axis, column, log=log)
            charts += Chart.of(title, f"explosions-{way}-{place}", figure, f"{title}: share that explodes")
    kinds = list(dict.fromkeys(probe["states"] for _, probes in probed for probe in probes if probe["value"] is None))
    rows = []
    for family, probes in probed:
        reached = {probe["states"]: probe for probe in probes if probe["value"] is None}
        shares = [percent(reached[kind]["reached"] / max(1, reached[kind]["samples"])) for kind in kinds]
        rows.append((family.label, *shares))
    table = Table("Other states that explode", ("maps", *kinds), rows, "Shares of states that reach the explosion.")
    words = "What reaches the explosion of the first model of each kind that has one."
    return Part("How far its basin reaches", [words], [table], charts)


def _reach_line(models: Models, family: Family, probes: Sequence[dict[str, Any]], way: str) -> ReachLine:
    of_way = [probe for probe in probes if probe["states"] == way]
    reached = torch.tensor([probe["reached"] for probe in of_way])
    states = torch.tensor([probe["samples"] for probe in of_way])
    return ReachLine(
        Series(family.name, family.number, models.family_count),
        [probe["value"] for probe in of_way],
        [probe["reached"] / max(1, probe["samples"]) for probe in of_way],
        [(low, high) for low, high in wilson_interval(reached, states).tolist()],
        max((probe["samples"] for probe in of_way), default=0),
    )


def _starts(models: Models) -> Part | None:
    rows = []
    for family in models.families:
        found = [
            starts
            for _, results in models.with_stage(family.shown, "basins")
            if (starts := results["explosions"]["starts"])["exploded"]
        ]
        if found:
            rows.append((family.label, number(len(found)), *_contrast(found, "ink"), *_contrast(found, "distance")))
    if not rows:
        return None
    heads = (
        "maps",
        "seeds",
        "ink, exploding",
        "others",
        "exploding has more",
        "distance, exploding",
        "others",
        "exploding is farther",
    )
    words = (
        "Ink is the mean pixel of a sample, distance that from the explosion, both at the start; medians, then means "
        "over seeds. The share is the probability that a sample that explodes has the larger number than one that does "
        "not: 50% where it tells nothing."
    )
    return Part("What explosions start from", [words], [Table("Starts of explosions", heads, rows)])


def _contrast(found: Sequence[dict[str, Any]], name: str) -> tuple[str, str, str]:
    known = [one[name] for one in found if one[name] is not None and one[name]["exploded_larger"] is not None]
    if not known:
        return NOTHING, NOTHING, NOTHING
    exploded, others, larger = (
        statistics.fmean(one[key] for one in known) for key in ("exploded", "others", "exploded_larger")
    )
    return f"{exploded:.3g}", f"{others:.3g}", percent(larger)


def _classes(models: Models) -> Part | None:
    rows, labels = [], []
    for family in models.families:
        exploded: dict[int, int] = {}
        samples: dict[int, int] = {}
        for _, results in models.with_stage(family.shown, "basins"):
            for one in results["explosions"]["starts"]["classes"]:
                exploded[one["known_class"]] = exploded.get(one["known_class"], 0) + one["exploded"]
                samples[one["known_class"]] = samples.get(one["known_class"], 0) + one["samples"]
        if any(exploded.values()):
            labels = sorted({*labels, *samples})
            rows.append((family.label, exploded, samples))
    if not rows:
        return None
    table = Table(
        "Explosions by class",
        ("maps", *(f"class {label}" for label in labels)),
        [
            (
                name,
                *(
                    percent(exploded.get(label, 0) / samples[label]) if samples.get(label) else NOTHING
                    for label in labels
                ),
            )
            for name, exploded, samples in rows
        ],
    )
    return Part(
        "Which classes explode", ["Share of the test samples of a class that explodes, over all seeds."], [table]
    )

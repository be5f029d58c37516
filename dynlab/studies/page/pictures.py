"""The page of a study in pictures: reconstruction, film strips, good and misclassified fixed points.

Source: Bahdanau and Jaeger 2014, figures 3, 4 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dynlab.maps import load_map
from dynlab.report.pictures import Screen, screen_for
from dynlab.report.study.parts import Part, Picture, PictureTable
from dynlab.report.study.pictures import sensitive_pixels, sensitive_scale
from dynlab.report.words import enumeration
from dynlab.studies.page.models import Answer, Models
from dynlab.studies.stages.convergence import moved
from dynlab.studies.training import MAP_FILE

_FILMS, _BESIDE = 6, 3  # samples on their way, and how many of them side by side
_FIRST_CLASS = 8  # of the first film, as in figures 3 and 4


def screen_for_models(models: Models) -> Screen | None:
    """How states of the study are shown, by the first map that is there."""
    for cell in models.cells:
        if folder := models.folder(cell, "train"):
            return screen_for(load_map(folder / MAP_FILE).state_shape)
    return None


def reconstruction_answer(models: Models, screen: Screen) -> Answer:
    """Figure 3: one sample, corrupted, reconstructed and passed through clean, a row for each level and family."""
    chosen = models.representatives("iterate")
    if not chosen:
        return None
    place = _first_film(models.films(chosen[0][1]))
    corrupted_screen = replace(screen, low=-1.0, high=1.0)
    is_sensitive = not screen.colours
    rows, sample, what = [], 0, ""
    for family, cell in chosen:
        films, tensors = models.films(cell), models.tensors(cell, "iterate", "films")
        sample, what = films["samples"][place], _of_class(films, place)
        frames = tensors["frames"][place]
        states = (("original", frames[0]), ("reconstructed", tensors["reconstructed"][place]), ("clean", frames[1]))
        words = f"{family.label}, sample {sample}"
        pictures = [Picture(corrupted_screen.pixels(tensors["corrupted"][place]), f"{words}, corrupted")]
        pictures += [Picture(screen.pixels(state), f"{words}, {name}") for name, state in states]
        if is_sensitive:
            pictures += [
                Picture(sensitive_pixels(state, screen), f"{words}, {name}, in the sensitive colours")
                for name, state in states
            ]
        rows.append((family.label, pictures))
    columns = ("original", "reconstructed", "passed clean")
    table = PictureTable(
        "Reconstruction at each level",
        ("", "corrupted", *columns, *(columns if is_sensitive else ())),
        rows,
        apart=frozenset({1, 4}),
        scale=sensitive_scale() if is_sensitive else None,
        is_strips=screen.is_strip,
    )
    how = (
        f"Sample {sample} of the test set{what}: corrupted, as it is, reconstructed from the corrupted one, and passed "
        "through the map once without corruption; corrupted intensities are cut off at −1 (black) and 1 (white)."
    )
    words = [how]
    if is_sensitive:
        words.append(
            "On the right the last three again in colours that are sensitive below 0.05 (blue) and above 0.95 (orange "
            "to white): where a map answers with less contrast, black turns blue and grey, and white turns orange."
        )
    return "", [Part(words=words, pictures=[table])]


def films_answer(models: Models, screen: Screen) -> Answer:
    """Figure 4: a few samples on their way, under the map of each level and family."""
    chosen = models.representatives("iterate")
    if not chosen:
        return None
    every = [(family, models.films(cell), models.tensors(cell, "iterate", "films")) for family, cell in chosen]
    distances = np.array([films["distances"] for _, films, _ in every]).min(axis=0)
    first, least = every[0][1], moved(screen.height * screen.width * (3 if screen.colours else 1))
    places, are_far = film_places(first["classes"], distances.tolist(), least)
    frames = len(first["steps"])
    tables = []
    for start in range(0, len(places), _BESIDE):
        beside = places[start : start + _BESIDE]
        rows = [
            (
                family.label,
                [
                    Picture(screen.pixels(frame), f"{family.label}, sample {found['samples'][place]}, step {step}")
                    for place in beside
                    for step, frame in zip(found["steps"], tensors["frames"][place], strict=True)
                ],
            )
            for family, found, tensors in every
        ]
        names = [f"sample {first['samples'][place]}{_of_class(first, place)}" for place in beside]
        tables.append(
            PictureTable(
                f"Films of {enumeration(names)}",
                ["", *(f"step {step}" if not step else str(step) for step in first["steps"] * len(beside))],
                rows,
                groups=[(name[0].upper() + name[1:], frames) for name in names],
                apart=frozenset(range(frames, frames * len(beside), frames)),
                is_strips=screen.is_strip,
            )
        )
    kinds = "of different classes" if first["classes"] is not None else "chosen at random"
    late = f"at step {first['steps'][-1]}"
    chosen_how = (
        f"and, with all maps, at least {least:.2g} away from where they are {late}"
        if are_far
        else f"and those that move most, as too few are {least:.2g} away from where they are {late} with all maps"
    )
    words = "Each row is one map."
    if len(places) > 1:
        words += f" The first sample is that of the reconstruction, the others are {kinds} {chosen_how}."
    return "", [Part(words=[words], pictures=tables)]


def film_places(classes: Sequence[int] | None, distances: Sequence[float], least: float) -> tuple[list[int], bool]:
    """Which of the samples that were filmed to show, by the rule of figure 4.

    Args:
        classes: Of the samples, None if nobody knows; samples of one class stand together.
        distances: Between each sample and its late state, the least of all maps.
        least: Distance that a sample shall have.

    Returns:
        Places of the samples, the first the one that figure 3 shows too, the others of other classes, chosen at random
        as in the report, as far as there are so many; and whether all others have that distance.
    """
    if not distances:
        return [], True
    labels = list(range(len(distances))) if classes is None else list(classes)
    first = _first_of(labels)
    best: dict[int, int] = {}  # for each other class its first sample that is far enough, else the one that moves most
    for place, known in enumerate(labels):
        if known == labels[first]:
            continue
        current = best.get(known)
        far = distances[place] >= least
        if current is None or (distances[current] < least and (far or distances[place] > distances[current])):
            best[known] = place
    drawn = np.random.default_rng(0).permutation(len(labels))  # the same for all maps and studies
    ranked = sorted(best.values(), key=lambda place: (-min(distances[place], least), drawn[place]))
    others = ranked[: _FILMS - 1]
    return [first, *sorted(others)], all(distances[place] >= least for place in others)


def fixed_points_answer(models: Models, screen: Screen) -> Answer:
    """Figure 6: samples and where they stand in the transformed set, classified rightly and wrongly."""
    cell = models.best("separability")
    found = None if cell is None else models.results(cell, "separability")
    if cell is None or found is None:
        return None
    tensors, parts = models.tensors(cell, "separability", "picks"), []
    for name, heading in (("good", "Good"), ("misclassified", "Misclassified")):
        picks = found["picks"][name]
        if not picks["samples"]:
            parts.append(Part(heading, ["There is none."]))
            continue
        heads = [""]
        originals, transformed = [], []
        for place, sample in enumerate(picks["samples"]):
            known, guess = picks["classes"][place], picks["predicted"][place]
            heads.append(str(known) if known == guess else f"{known} → {guess}")
            originals.append(Picture(screen.pixels(tensors[f"{name}_originals"][place]), f"Sample {sample}, a {known}"))
            transformed.append(
                Picture(
                    screen.pixels(tensors[f"{name}_transformed"][place]),
                    f"Sample {sample}, transformed, classified as {guess}",
                )
            )
        table = PictureTable(
            f"{heading} fixed points",
            heads,
            [("original", originals), ("transformed", transformed)],
            is_strips=screen.is_strip,
        )
        parts.append(Part(heading, pictures=[table]))
    least = moved(screen.height * screen.width * (3 if screen.colours else 1))
    words = (
        f"Samples of the test set under {models.which(cell)}, chosen at random: good ones are classified rightly and "
        f"moved by {least:.2g} or more, misclassified ones are just that. Above each stands its class, and the class "
        "it is taken for where that is another. The report calls what is shown below it, a sample of the transformed "
        "set, a fixed point; some are still on their way."
    )
    return "", [Part(words=[words]), *parts]


def _first_film(films: dict[str, Any]) -> int:
    classes = films["classes"]
    return _first_of(list(range(len(films["samples"]))) if classes is None else classes)


def _first_of(labels: Sequence[int]) -> int:
    """The place of the first 8, or of the first sample where there is none."""
    return labels.index(_FIRST_CLASS) if _FIRST_CLASS in labels else 0


def _of_class(films: dict[str, Any], place: int) -> str:
    return "" if films["classes"] is None else f", class {films['classes'][place]}"

"""The page of a study on how samples come to rest, and on weights.

Source: Bahdanau and Jaeger 2014, figure 7 and section 6.4.
"""

from __future__ import annotations

import numpy as np

from dynlab.maps import load_map
from dynlab.report.pictures import Screen
from dynlab.report.study.orbit_figures import Bundle, cosines_figure, distances_figure, step_lengths_figure
from dynlab.report.study.parts import Chart, Part, Picture, PictureTable, Table
from dynlab.report.study.pictures import signed_pixels
from dynlab.report.words import count
from dynlab.studies.answers.columns import number_text, with_spread
from dynlab.studies.grid import Cell
from dynlab.studies.page.models import Answer, Family, Models
from dynlab.studies.stages.convergence import REFERENCE_STEP
from dynlab.studies.training import MAP_FILE

_UNITS = 10  # hidden units whose weights are shown
_FIRST_STEPS, _MORE_STEPS = 20, 100


def convergence_answer(models: Models) -> Answer:
    """Figure 7: how the samples of figure 6 come to rest."""
    cell = models.best("separability")
    found = None if cell is None else models.results(cell, "separability")
    name = "picks"
    if cell is None or found is None:
        chosen = models.representatives("iterate")
        if not chosen:
            return None
        cell, name = chosen[0][1], "films"
        samples = models.films(cell)["samples"]
        bundles = [Bundle("samples", "kept", "solid", range(len(samples)), samples)]
    else:
        good, wrong = found["picks"]["good"]["samples"], found["picks"]["misclassified"]["samples"]
        bundles = [
            Bundle("good", "kept", "solid", range(len(good)), good),
            Bundle("misclassified", "changed", "dash", range(len(good), len(good) + len(wrong)), wrong),
        ]
    bundles = [bundle for bundle in bundles if bundle.samples]
    tensors = models.tensors(cell, "separability" if name == "picks" else "iterate", name)
    lengths, distances = (tensors[key].double().numpy() for key in ("step_lengths", "distances"))
    figures = (
        (f"First {_FIRST_STEPS} steps", step_lengths_figure(lengths, bundles, _FIRST_STEPS, log=False)),
        (f"First {_MORE_STEPS} steps", step_lengths_figure(lengths, bundles, _MORE_STEPS, log=True)),
        (f"Distance to the state at step {REFERENCE_STEP}", distances_figure(distances, bundles, REFERENCE_STEP)),
    )
    charts = []
    for number, (heading, figure) in enumerate(figures):
        told = f"{heading} of {count(lengths.shape[1], 'sample')}"
        charts += Chart.of(heading, f"convergence-{number}", figure, told)
    whose = "the samples above" if name == "picks" and "fixed_points" in models.study.figures else "some samples"
    words = (
        f"The way of {whose} under {models.which(cell)}. A straight line on a logarithmic axis is exponential "
        "convergence; it ends where 32-bit floating point numbers do."
    )
    return "", [Part(words=[words], charts=charts)]


def weights_answer(models: Models, screen: Screen) -> Answer:
    """Section 6.4: the rows of `W1` beside the columns of `W2`, and how similar they are."""
    chosen = [
        (family, cell, found["weights"])
        for family, cell in models.representatives("iterate")
        if (found := models.results(cell, "iterate")) and found.get("weights")
    ]
    if not chosen:
        return None
    rows = [
        (
            family.label + (f", layer {layer['layer'] + 1}" if len(layers) > 1 else ""),
            number_text(layer["median"], 2),
            with_spread(layer["shuffled_mean"], layer["shuffled_sd"], 2, is_difference=True),
            f"{100 * layer['nearest_share']:.0f}%",
            number_text(layer["whole"], 2),
            f"{layer['length_ratio']:.2f}",
        )
        for family, _, layers in chosen
        for layer in layers
    ]
    heads = (
        "map",
        "cosine, median",
        "of strangers",
        "own is nearest",
        "whole matrices",
        "length of column / row",
    )
    words = (
        "Hidden unit j reads row j of W1 and writes column j of W2. Their cosine is compared with that of rows and "
        "columns of different units (strangers, mean ± standard deviation); the report calls the two matrices very "
        "similar, by eye."
    )
    parts = [Part(words=[words], tables=[Table("Similarity of weights", heads, rows)])]
    untied = [entry for entry in chosen if not entry[1].settings.tied] or chosen
    best = models.best("iterate", "train")
    shown = next((entry for entry in untied if best is not None and entry[1].key == best.key), untied[0])
    parts += _weights_of(models, *shown[:2], screen)
    return "", parts


def _weights_of(models: Models, family: Family, cell: Cell, screen: Screen) -> list[Part]:
    """Hidden units of the first layer of one map, from the most to the least similar, and the cosines of all."""
    folder = models.folder(cell, "train")
    tensors = models.tensors(cell, "iterate", "weights")
    own, strangers = (tensors[f"{name}_0"].double().numpy() for name in ("cosines", "shuffled"))
    parts = []
    if folder is not None:
        layers = load_map(folder / MAP_FILE).layers()
        rows, columns = layers[0].weight.detach(), layers[-1].weight.detach().t()
        order = np.argsort(-own, kind="stable")
        units = order[np.unique(np.linspace(0, len(order) - 1, min(_UNITS, len(order))).round().astype(int))]
        words = f"{_UNITS} hidden units" if len(units) == _UNITS else count(len(units), "hidden unit")
        pictures = [
            (
                name,
                [
                    Picture(
                        signed_pixels(weights[unit], screen),
                        f"Unit {unit}, {what}, cosine {number_text(float(own[unit]), 2)}",
                    )
                    for unit in units
                ],
            )
            for name, weights, what in (("row of W1", rows, "encoder"), ("column of W2", columns, "decoder"))
        ]
        table = PictureTable(
            "Weights of hidden units",
            ["", *(number_text(float(own[unit]), 2) for unit in units)],
            pictures,
            is_strips=screen.is_strip,
        )
        note = (
            f"{words} of {models.which(cell)}, evenly spread from the most to the least similar, with their cosines "
            "above. Middle grey is 0, and each picture has its own contrast."
        )
        parts.append(Part("Weights of single units", [note], pictures=[table]))
    figure = cosines_figure(own, strangers)
    told = f"Cosines of the weights of {family.label}"
    if charts := Chart.of("Cosines of all hidden units", "weights-cosines", figure, told):
        parts.append(Part(charts=charts))
    return parts

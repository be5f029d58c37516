"""Stage `spectra`: the Jacobian at the largest attractors and at explosions, and which states an explosion attracts.

`results.json`
    near_unity_radii; attractors: for each of the largest basins, by falling size, a `Linearization` with `kind`,
        `label`, `basin_fraction`, its leading `multipliers` as [real, imaginary] by falling modulus, `spectral_radius`,
        and `slopes`, for each layer of the map the mean derivative of its units there: what is saturated passes on
        little
    explosions: the same for each attractor without a pixel above 0.5 that test samples which explode reach, by falling
        size (three at most), with `samples`, how many of them reach it, `max_intensity` and `mean_intensity`
    probes: for the first of these, a `Probe` for each kind of states, how many reach it; empty without one

Files
    explosions.safetensors: `fixed_points` (explosions, dim), float64

Cost: 10 s of one core for 20 attractors of 784-500-784 and the 1800 probes of an explosion.

Source: Bahdanau and Jaeger 2014, section 6.1, which asks for an explanation; `dynlab.evaluation.linearization` and
`explosions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dynlab.attractors import Basins
from dynlab.dynamics import spectrum
from dynlab.evaluation.explosions import explosion_basin
from dynlab.evaluation.kinds import is_explosion
from dynlab.evaluation.linearization import NEAR_UNITY_RADII, linearizations
from dynlab.files import read_json, write_json, write_tensors
from dynlab.maps import Map, float64_copy
from dynlab.maps.composition import slopes_of
from dynlab.studies.stage import Cost, Json, Report, Stage, Work, dataset_at
from dynlab.studies.stages.basins import EXPLOSIONS_FILE
from dynlab.studies.stages.computing import RESULTS_FILE, map_of, on_attractors
from dynlab.studies.stages.orbits import BASINS_FILE

if TYPE_CHECKING:
    from dynlab.studies.grid import Cell
    from dynlab.studies.specification import Study

_MULTIPLIERS = 20
_EXPLOSIONS = 3


def _parameters(study: Study, cell: Cell | None) -> dict[str, Json] | None:
    return on_attractors(study.analyses.spectra, study.iteration)


def _cost(work: Work) -> Cost:
    return Cost(4e4 * work.parameters["attractors"] * work.products)


def compute(folder: Path, cell: Json, parameters: Json, needed: Mapping[str, Path], report: Report) -> None:
    """Write the files that the module lists; arguments as in `Stage`.

    `parameters` are `attractors`, how many are looked at, and `tolerance` and `max_steps` as in `dynlab.iterate`.
    """
    system = map_of(needed, parameters)
    basins = Basins.load(needed["basins"] / BASINS_FILE, system)
    table = read_json(needed["basins"] / RESULTS_FILE)["attractor_table"]
    largest = basins.fixed_points[: parameters["attractors"]]

    def progress(begun: float, size: float, done: float, note: str) -> None:
        report(begun + size * done, note)

    attractors = _linearized(system, largest, lambda done: progress(0.0, 0.5, done, "attractors"))
    for entry, row in zip(attractors, table, strict=False):
        entry |= {name: row[name] for name in ("kind", "label", "basin_fraction")}

    points, counts = _explosions(needed["basins"] / EXPLOSIONS_FILE, system)
    explosions = _linearized(system, points, lambda done: progress(0.5, 0.1, done, "explosions"))
    for entry, point, count in zip(explosions, points, counts, strict=True):
        entry |= {"samples": count, "max_intensity": float(point.amax()), "mean_intensity": float(point.mean())}
    probes = []
    if len(points):
        probes = explosion_basin(
            system,
            points[0],
            dataset_at(parameters["data"]["test"]).images,
            tolerance=parameters["tolerance"],
            max_steps=parameters["max_steps"],
            on_progress=lambda done: progress(0.6, 0.4, done, "basin of the explosion"),
        )
    write_tensors(folder / EXPLOSIONS_FILE, {"fixed_points": points})
    results = {
        "near_unity_radii": NEAR_UNITY_RADII,
        "attractors": attractors,
        "explosions": explosions,
        "probes": [asdict(probe) for probe in probes],
    }
    write_json(folder / RESULTS_FILE, results)


def _explosions(path: Path, system: Map) -> tuple[Tensor, list[int]]:
    """Attractors that are explosions, and how many samples reach each."""
    if not path.exists():
        return torch.zeros(0, system.dim, dtype=torch.float64), []
    behind = Basins.load(path, system)
    rows = is_explosion(behind.fixed_points).nonzero()[:_EXPLOSIONS, 0]
    return behind.fixed_points[rows], behind.sizes[rows].tolist()


def _linearized(system: Map, points: Tensor, on_progress: Any) -> list[dict[str, Any]]:
    """What the linearization says of each fixed point, in float64."""
    if not len(points):
        return []
    found = spectrum(system, points, min(_MULTIPLIERS, system.dim)).eigenvalues
    slopes = mean_slopes(system, points)
    return [
        {
            **asdict(entry),
            "spectral_radius": float(row[0].abs()),
            "multipliers": [[float(one.real), float(one.imag)] for one in row[~row.isnan()]],
            "slopes": [float(layer[entry.attractor]) for layer in slopes],
        }
        for entry, row in zip(linearizations(system, points, on_progress), found, strict=True)
    ]


def mean_slopes(system: Map, states: Tensor) -> list[Tensor]:
    """Mean derivative of the units of each layer at each state, shape (states,); none for a map without layers."""
    layers = float64_copy(system).layers()
    if layers is None:
        return []
    return [slopes.mean(dim=1).cpu() for slopes in slopes_of(layers, states.to(layers[0].weight))]


SPECTRA = Stage("spectra", 1, ("train", "basins"), _parameters, compute, cost=_cost)

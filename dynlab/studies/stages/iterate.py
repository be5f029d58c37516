"""Stage `iterate`: the transformed sets, reconstruction errors, and what figures 3, 4 and 7 and section 6.4 show.

Each set is iterated once, from its images to where the quantile rule stops it (`dynlab.dynamics.transform`). On the
way the states after 1, 2, 4, ... 128 steps are written down, of the first training samples and of all others, for
separability along the orbit; where the rule stops a set before, its first samples go on to the 128th step.

`results.json`
    mse_, mse_wb_, mse_clean_ and `train` or `test`: `reconstruction_errors` from corrupted images after one step, the
        walkback objective (equation 8), and from clean images after one step; under the corruption of the last epoch,
        which `errors_corruption` says. The report's MSE is the first: for k = 1 it is the training objective.
    explosions_, steps_ and `train`, `validation` or `test`; `sets`: for each set a `TransformedSet`
    films: `samples` (indices in the test set), their `classes` (null: unknown), `steps` of the frames, and the
        `distances` from a sample to its state after 500 steps, which in figure 4 have `moved` by 5 or more
    weights: for each layer of the encoder a `WeightSimilarity` without its cosines

Files
    train, validation, test `.safetensors`: `states`, float32
    orbit-<set>-<steps>.safetensors: `states`, float16, which are half as large. What is rounded off, 5e-4 of a pixel's
        value at most, moved the accuracy on 10000 samples by 0.0007 after 2 steps and by 0.0016 after 16; states
        multiplied by 1 - 1e-6 moved it by 0.0011, as fits are stopped before their optimum.
    films.safetensors: `frames` (films, steps, dim); `corrupted` and `reconstructed` (films, dim), of the noise that the
        errors are measured with, where frame 1 is the clean image passed through; `step_lengths` and `distances` as
        `convergence_of` gives them
    weights.safetensors: `cosines_<layer>`, `shuffled_<layer>`

Disk, for 784 pixels and 50000 + 10000 + 10000 samples: 220 MB, and 502 MB for 20000 + 10000 + 10000 of them along the
orbit. Memory: three times the largest set. Cost: 1.57 MFLOP a sample and step for 784-500-784, at 90 GFLOP/s of one
core; a model with k = 1 whose sets stopped after 175 steps took 220 s, one that needs 400 takes 500 s.

Source: Bahdanau and Jaeger 2014, sections 5.4, 5.5 and 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dynlab.datasets import Dataset
from dynlab.dynamics import Transformed, states_at, transform
from dynlab.evaluation.attractors import transformed_set
from dynlab.evaluation.separability import ORBIT_STEPS
from dynlab.evaluation.weights import weight_similarities
from dynlab.files import write_json, write_tensors
from dynlab.maps import Map
from dynlab.studies.stage import Cost, Json, Report, Stage, Work
from dynlab.studies.stages.computing import RESULTS_FILE, ROLES, map_of, sets_of
from dynlab.studies.stages.convergence import convergence_of
from dynlab.training import TrainingSettings, corrupt, reconstruction_errors

if TYPE_CHECKING:
    from dynlab.studies.grid import Cell
    from dynlab.studies.specification import Study

FILM_STEPS = (0, 1, 25, 500)
_FILMS_OF_A_CLASS = 5
_ITERATING = 0.9  # share of the time


def orbit_file(role: str, step: int) -> str:
    """Name, without its ending, of the file with the states of a set after some steps."""
    return f"orbit-{role}-{step:03d}"


def _parameters(study: Study, cell: Cell | None) -> dict[str, Json]:
    separability = study.analyses.separability
    return {
        **study.iteration.model_dump(),
        "orbit_train_samples": 0 if separability is None else separability.orbit_train_samples,
        "data": list(ROLES),
    }


def _cost(work: Work) -> Cost:
    """Some 250 steps of all samples; of a sample 4 bytes a number, and along the orbit 2 for each of its states."""
    recorded = work.parameters["orbit_train_samples"]
    along = (
        sum(min(recorded, size) if role == "train" else size for role, size in work.sizes.items()) if recorded else 0
    )
    states = sum(work.sizes.values())
    return Cost(250.0 * states * work.products, work.dim * (4.0 * states + 2.0 * along * (len(ORBIT_STEPS) - 1)))


def compute(folder: Path, cell: Json, parameters: Json, needed: Mapping[str, Path], report: Report) -> None:
    """Write the files that the module lists; arguments as in `Stage`.

    `parameters` are `tolerance`, `share` and `max_steps` of the quantile rule, and `orbit_train_samples`, how many
    training samples are recorded along the orbit; 0: nothing is.
    """
    system, settings = map_of(needed, parameters), TrainingSettings.of_json(cell["settings"])
    data = sets_of(parameters)
    results: dict[str, Any] = {"sets": {}}
    total, done = sum(len(one.images) for one in data.values()), 0
    for role, one in data.items():
        begun, size = done / total, len(one.images) / total

        def progress(note: str, share: float, begun: float = begun, size: float = size) -> None:
            report(_ITERATING * (begun + size * share), note)

        transformed = _transformed(system, role, one.images, folder, parameters, progress)
        write_tensors(folder / f"{role}.safetensors", {"states": transformed.states})
        found = transformed_set(transformed)
        results["sets"][role] = asdict(found)
        results |= {f"explosions_{role}": found.explosions, f"steps_{role}": found.steps}
        done += len(one.images)

    # As training measures it: noise stands in for what was learned to corrupt.
    corruption = str(settings.schedule().at(settings.epochs).without_network())
    results["errors_corruption"] = corruption
    for number, role in enumerate(("train", "test")):
        report(_ITERATING + 0.03 * number, f"reconstruction errors, {role}")
        errors = reconstruction_errors(
            system, data[role].images, walkback=settings.walkback, seed=settings.seed, corruption=corruption
        )
        results |= {
            f"mse_{role}": errors.corrupted,
            f"mse_wb_{role}": errors.walkback,
            f"mse_clean_{role}": errors.clean,
        }

    report(0.96, "films")
    results["films"] = _films(system, data["test"], settings, corruption, folder)
    report(0.99, "weights")
    results["weights"] = _weights(system, folder)
    write_json(folder / RESULTS_FILE, results)


def _transformed(
    system: Map, role: str, images: Tensor, folder: Path, parameters: Json, progress: Callable[[str, float], None]
) -> Transformed:
    """Iterate a set, and write down where its samples are on the way."""
    recorded = parameters["orbit_train_samples"]
    rows = min(recorded, len(images)) if role == "train" else len(images) if recorded else 0
    steps = [step for step in ORBIT_STEPS if step > 0] if rows else []

    def record(step: int, states: Tensor) -> None:
        if step in steps:
            write_tensors(folder / f"{orbit_file(role, step)}.safetensors", {"states": states[:rows].half()})

    def on_step(step: int, below: float) -> None:
        done = min(1.0, below / parameters["share"]) if parameters["share"] else 0.0
        progress(f"{role}: step {step}, {100 * below:.0f}% at rest", done)

    transformed = transform(
        system,
        images,
        tolerance=parameters["tolerance"],
        share=parameters["share"],
        max_steps=parameters["max_steps"],
        on_step=on_step,
        on_states=record,
    )
    current, taken = transformed.states[:rows], transformed.steps
    for step in [step for step in steps if step > taken]:
        current, taken = transform(system, current, steps=step - taken).states, step
        record(step, current)
        progress(f"{role}: on to step {step}", 1.0)
    return transformed


def _films(system: Map, test: Dataset, settings: TrainingSettings, corruption: str, folder: Path) -> dict[str, Any]:
    """Figures 3, 4 and 7 for the same few samples whatever the map, so that maps can be compared on them."""
    samples = _film_samples(test)
    images = test.images[samples]
    corrupted = torch.cat(
        [
            corrupt(image[None], corruption, seed=settings.seed, state_shape=system.state_shape, first=sample)
            for sample, image in zip(samples, images, strict=True)
        ]
    )
    frames = states_at(system, images, FILM_STEPS).transpose(0, 1).contiguous()
    reconstructed = states_at(system, corrupted, [1])[0]
    tensors = {"frames": frames, "corrupted": corrupted, "reconstructed": reconstructed}
    write_tensors(folder / "films.safetensors", tensors | convergence_of(system, images))
    return {
        "samples": samples,
        "classes": None if test.labels is None else test.labels[samples].tolist(),
        "steps": list(FILM_STEPS),
        "distances": torch.linalg.vector_norm((frames[:, -1] - frames[:, 0]).double(), dim=1).tolist(),
    }


def _film_samples(test: Dataset) -> list[int]:
    """A few random samples of each class, or random ones where there are no classes; by class, then in random order."""
    order = np.random.default_rng(0).permutation(len(test.images)).tolist()
    if test.labels is None:
        return order[: 10 * _FILMS_OF_A_CLASS]
    classes = test.labels.tolist()
    return [
        sample
        for known in sorted(set(classes))
        for sample in [sample for sample in order if classes[sample] == known][:_FILMS_OF_A_CLASS]
    ]


def _weights(system: Map, folder: Path) -> list[dict[str, Any]]:
    found = weight_similarities(system)
    tensors = {f"cosines_{one.layer}": one.cosines for one in found}
    tensors |= {f"shuffled_{one.layer}": one.shuffled for one in found}
    write_tensors(folder / "weights.safetensors", tensors)
    numbers = [{name: value for name, value in vars(one).items() if not isinstance(value, Tensor)} for one in found]
    return [
        {
            **entry,
            "units": len(one.cosines),
            "mean": float(one.cosines.mean()),
            "median": float(one.cosines.quantile(0.5)),
        }
        for entry, one in zip(numbers, found, strict=True)
    ]


ITERATE = Stage("iterate", 1, ("train",), _parameters, compute, cost=_cost)

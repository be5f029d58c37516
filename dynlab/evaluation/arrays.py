"""`Arrays`: what an analysis found out that is an array, as `arrays.safetensors` holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Complex128, Float32, Float64, Int64
from torch import Tensor

from dynlab.attractors.cycles import cycles_of_arrays
from dynlab.errors import InputError
from dynlab.evaluation.kinds import Outcome
from dynlab.evaluation.restless import DRAWN_DIM
from dynlab.evaluation.results import Results
from dynlab.evaluation.robustness_results import check_names
from dynlab.short_repr import short_repr

RESULTS_FILE = "results.json"
ARRAYS_FILE = "arrays.safetensors"


@dataclass(frozen=True)
class Arrays:
    """All arrays of an analysis. The order of samples is that of the data."""

    __repr__ = short_repr

    fixed_points: Float64[Tensor, "attractors dim"]
    # The leading ones by falling modulus; where some rows have one more, so as to cut no pair, the others end in NaN.
    multipliers: Complex128[Tensor, "attractors leading"]
    labels: Int64[Tensor, " samples"]  # attractor of each sample, -1 for none
    outcomes: Int64[Tensor, " samples"]  # index into `list(Outcome)`
    classes: Int64[Tensor, " samples"]  # true class of each sample, -1 for none
    steps: Int64[Tensor, " samples"]  # first step with a step length below the tolerance, -1 for none
    recorded_samples: Int64[Tensor, " recorded"]
    step_lengths: Float32[Tensor, "recorded_steps recorded"]  # down to the rounding floor, then NaN
    # Of step lengths, as in `ConvergenceRates`: NaN and -1 where there is no line.
    rates: Float64[Tensor, " recorded"]  # factor per step
    rate_sensitivities: Float64[Tensor, " recorded"]  # largest change of the rate for a halved or moved window
    rate_deviations: Float64[Tensor, " recorded"]  # largest from the line, in natural logarithms
    rate_windows: Int64[Tensor, "recorded 2"]  # first and last step of the line
    rate_transients: Int64[Tensor, " recorded"]  # steps before the decay begins
    rate_decays: Int64[Tensor, " recorded"]  # index into `list(Decay)`
    film_samples: Int64[Tensor, " films"]
    film_steps: Int64[Tensor, " frames"]  # -1: the final state, the fixed point where there is one
    film_states: Float32[Tensor, "films frames dim"]
    # None in folders of a dynlab that did not store them.
    member_samples: Int64[Tensor, " members"] | None = None  # nearest and farthest ones of the largest basins, rising
    member_states: Float32[Tensor, "members dim"] | None = None  # where they start
    plane_directions: Float64[Tensor, "planes 2 dim"] | None = None  # these six as in `Planes`
    plane_axes: Float64[Tensor, "planes 2 side"] | None = None
    plane_labels: Int64[Tensor, "planes side side"] | None = None
    plane_others: Float64[Tensor, "others dim"] | None = None
    plane_cycles: Int64[Tensor, "planes side side"] | None = None
    plane_diverged: Bool[Tensor, "planes side side"] | None = None
    # As in `Line`; None for maps of several numbers, and where no pictures were asked for.
    line_states: Float64[Tensor, " points"] | None = None
    line_images: Float64[Tensor, " points"] | None = None
    line_labels: Int64[Tensor, " points"] | None = None
    line_cycles: Int64[Tensor, " points"] | None = None
    line_diverged: Bool[Tensor, " points"] | None = None
    line_jumps: Int64[Tensor, " jumps"] | None = None
    # The way on of the unresolved samples that were followed, in steps; none where states have more than two numbers.
    restless_states: Float64[Tensor, "followed restless_steps dim"] | None = None
    # As in `ShockStates`; None where robustness was not asked for.
    shock_starts: Float64[Tensor, "shocks dim"] | None = None
    shock_ends: Float64[Tensor, "shocks dim"] | None = None
    shock_others: Float64[Tensor, "unsampled dim"] | None = None
    # Of the periodic attractors, one after the other; None in folders of a dynlab that did not store them.
    cycle_states: Float64[Tensor, "states dim"] | None = None
    cycle_periods: Int64[Tensor, " cycles"] | None = None
    cycle_residuals: Float64[Tensor, " cycles"] | None = None
    cycle_multipliers: Float64[Tensor, "cycles leading_of_cycles 2"] | None = None  # real and imaginary parts
    cycle_labels: Int64[Tensor, " samples"] | None = None  # cycle of each sample, -1 for none


def check_arrays(path: Path, tensors: dict[str, Tensor], results: Results) -> None:
    """Check types, and the lengths that other files and arrays fix; -1 stands for a length of its own."""
    samples, attractors, dim = results.data.samples, len(results.attractors), results.map.dim
    frames, recorded = _length(tensors, "film_steps"), _length(tensors, "recorded_samples")
    expected = {
        "fixed_points": (torch.float64, (attractors, dim)),
        "multipliers": (torch.complex128, (attractors, -1)),
        "labels": (torch.int64, (samples,)),
        "outcomes": (torch.int64, (samples,)),
        "classes": (torch.int64, (samples,)),
        "steps": (torch.int64, (samples,)),
        "recorded_samples": (torch.int64, (-1,)),
        "step_lengths": (torch.float32, (-1, recorded)),
        "rates": (torch.float64, (recorded,)),
        "rate_sensitivities": (torch.float64, (recorded,)),
        "rate_deviations": (torch.float64, (recorded,)),
        "rate_windows": (torch.int64, (recorded, 2)),
        "rate_transients": (torch.int64, (recorded,)),
        "rate_decays": (torch.int64, (recorded,)),
        "film_samples": (torch.int64, (-1,)),
        "film_steps": (torch.int64, (-1,)),
        "film_states": (torch.float32, (-1, frames, dim)),
    }
    expected |= _later_arrays(tensors, results)
    if results.robustness is not None:
        shocks = len(results.robustness.attractor_shocks) + len(results.robustness.sample_shocks)
        expected |= dict.fromkeys(("shock_starts", "shock_ends"), (torch.float64, (shocks, dim)))
        expected["shock_others"] = (torch.float64, (-1, dim))
    for name, (dtype, shape) in expected.items():
        if name not in tensors:
            raise InputError(f"{path}: array {name} is missing")
        found = tuple(tensors[name].shape)
        fits = len(found) == len(shape) and all(want in (-1, size) for want, size in zip(shape, found, strict=True))
        if tensors[name].dtype != dtype or not fits:
            raise InputError(
                f"{path}: array {name} is {tensors[name].dtype} of shape {found}, expected {dtype} of shape {shape}"
            )
    try:
        cycles_of_arrays(tensors, dim, tensors["labels"])
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    if [attractor.id for attractor in results.attractors] != list(range(attractors)):
        raise InputError(f"{path.with_name(RESULTS_FILE)}: ids of attractors are not their rows")
    named = [entry.attractor for entry in (*results.linearizations, *results.certificates)]
    named += [attractor for picture in results.planes or () for attractor in picture.attractors]
    if results.robustness is not None:
        try:
            check_names(results.robustness, attractors, len(tensors["shock_others"]), samples)
        except ValueError as error:
            raise InputError(f"{path.with_name(RESULTS_FILE)}: {error}") from error
    for attractor in named:
        if not 0 <= attractor < attractors:
            raise InputError(
                f"{path.with_name(RESULTS_FILE)}: names attractor {attractor}, expected 0 to {attractors - 1}"
            )


def _later_arrays(tensors: dict[str, Tensor], results: Results) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Types and shapes of the arrays that folders of an older dynlab lack: those that the results or the file name."""
    attractors, dim = results.attractors, results.map.dim
    planes, members = -1 if results.planes is None else len(results.planes), _length(tensors, "member_samples")
    side = tensors["plane_axes"].shape[-1] if "plane_axes" in tensors and tensors["plane_axes"].ndim else -1
    for_members = {"member_samples": (torch.int64, (-1,)), "member_states": (torch.float32, (members, dim))}
    for_planes = {
        "plane_directions": (torch.float64, (planes, 2, dim)),
        "plane_axes": (torch.float64, (planes, 2, -1)),
        "plane_labels": (torch.int64, (planes, side, side)),
        "plane_others": (torch.float64, (-1, dim)),
    }
    cycles, samples = len(results.cycles), results.data.samples
    for_cycles = {
        "cycle_states": (torch.float64, (-1, dim)),
        "cycle_periods": (torch.int64, (cycles,)),
        "cycle_residuals": (torch.float64, (cycles,)),
        "cycle_multipliers": (torch.float64, (cycles, -1, 2)),
        "cycle_labels": (torch.int64, (samples,)),
    }
    named = (for_members if any(found.nearest for found in attractors) else {}) | (
        for_planes if results.planes is not None else {}
    )
    for_other_ends = {
        "plane_cycles": (torch.int64, (planes, side, side)),
        "plane_diverged": (torch.bool, (planes, side, side)),
    }
    if any(picture.cycles or picture.diverged for picture in results.planes or ()):
        named |= for_other_ends
    if cycles or any(name in tensors for name in for_cycles):
        named |= for_cycles
    followed = 0 if results.restless is None else len(results.restless.samples)
    for_ways = {"restless_states": (torch.float64, (followed if dim <= DRAWN_DIM else 0, -1, dim))}
    if results.restless is not None:
        named |= for_ways
    points = _length(tensors, "line_states")
    named |= (
        {}
        if results.pictured is None or dim != 1
        else {
            "line_states": (torch.float64, (points,)),
            "line_images": (torch.float64, (points,)),
            "line_labels": (torch.int64, (points,)),
            "line_cycles": (torch.int64, (points,)),
            "line_diverged": (torch.bool, (points,)),
            "line_jumps": (torch.int64, (-1,)),
        }
    )
    return named | {
        name: expected
        for name, expected in (for_members | for_planes | for_other_ends | for_ways).items()
        if name in tensors
    }


def _length(tensors: dict[str, Tensor], name: str) -> int:
    """Length of an array with one axis, -1 if there is no such array."""
    return len(tensors[name]) if name in tensors and tensors[name].ndim == 1 else -1


def outcome_codes(outcomes: list[Outcome]) -> Int64[Tensor, " samples"]:
    """Outcomes as indices into `list(Outcome)`."""
    code = {outcome: index for index, outcome in enumerate(Outcome)}
    return torch.tensor([code[outcome] for outcome in outcomes], dtype=torch.int64)

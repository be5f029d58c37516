"""Do the results and the arrays of an analysis fit together? What was read, or is to be shown, is asked that first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

import torch
from jaxtyping import Bool, Complex128, Float32, Float64, Int64
from torch import Tensor

from dynlab.attractors.cycles import cycles_of_arrays
from dynlab.dynamics import Decay
from dynlab.evaluation.arrays import Arrays
from dynlab.evaluation.kinds import Outcome, outcomes_of
from dynlab.evaluation.linearization import NEAR_UNITY_RADII
from dynlab.evaluation.restless import DRAWN_DIM
from dynlab.evaluation.results import Results
from dynlab.evaluation.robustness_results import check_names

_DTYPES = {
    Float64: torch.float64,
    Float32: torch.float32,
    Complex128: torch.complex128,
    Int64: torch.int64,
    Bool: torch.bool,
}


def check_arrays(arrays: Mapping[str, Tensor], results: Results) -> None:
    """Check that arrays are those that `Arrays` declares and that the results speak of.

    Args:
        arrays: By the names of the fields of `Arrays`.
        results: Of the same analysis.

    Raises:
        ValueError: If one is missing, of another type or shape, or holds indices of what there is not; it is named.
    """
    sizes = _sizes(results)
    for name, (declared, is_optional) in _declared().items():
        if name in arrays:
            _check_array(name, arrays[name], declared, sizes)
        elif not is_optional or _is_asked_for(name, results):
            raise ValueError(f"array {name} is missing")
    for name, (least, end) in _index_ranges(arrays, results).items():
        found = arrays[name]
        if found.numel() and not least <= int(found.min()) <= int(found.max()) < end:
            raise ValueError(f"array {name} is not within {least} to {end - 1}")
    cycles_of_arrays(arrays, results.map.dim, arrays["labels"])


def check_results(results: Results, arrays: Arrays) -> None:
    """Check that results fit themselves and their arrays: what they name is there, and what they count is so many.

    Raises:
        ValueError: If something does not fit; it is named.
    """
    attractors, dim, samples = len(results.attractors), results.map.dim, results.data.samples
    shape = results.map.state_shape
    if math.prod(shape) != dim or min(shape, default=1) < 1:
        raise ValueError(f"map.state_shape is {tuple(shape)}, expected lengths whose product is {dim}, the dim")
    if [attractor.id for attractor in results.attractors] != list(range(attractors)):
        raise ValueError("ids of attractors are not their rows")
    _check_counts("attractors", [one.basin_size for one in results.attractors], arrays.labels)
    _check_counts("cycles", [one.basin_size for one in results.cycles], arrays.cycle_labels)
    _check_outcomes(results, arrays)
    for attractor in results.attractors:
        for sample in (*attractor.nearest, *attractor.farthest):
            if not 0 <= sample < samples:
                raise ValueError(f"attractor {attractor.id} names sample {sample}, expected 0 to {samples - 1}")
    for entry in results.linearizations:
        if len(entry.near_unity) != len(NEAR_UNITY_RADII):
            found = len(entry.near_unity)
            raise ValueError(f"near_unity of a linearization has {found} counts, expected {len(NEAR_UNITY_RADII)}")
    for point in results.pictured or ():
        if len(point.state) != dim or len(point.multipliers) != dim:
            raise ValueError(f"pictured has a state of {len(point.state)} numbers, expected {dim}, as multipliers")
    named = [entry.attractor for entry in (*results.linearizations, *results.certificates)]
    named += [attractor for picture in results.planes for attractor in picture.attractors]
    for attractor in named:
        if not 0 <= attractor < attractors:
            raise ValueError(f"names attractor {attractor}, expected 0 to {attractors - 1}")
    if results.robustness is not None:
        others = 0 if arrays.shock_others is None else len(arrays.shock_others)
        check_names(results.robustness, attractors, others, samples)


def _check_counts(name: str, sizes: Sequence[int], labels: Int64[Tensor, " samples"]) -> None:
    found = torch.bincount(labels[labels >= 0], minlength=len(sizes)).tolist()
    for number, (size, members) in enumerate(zip(sizes, found, strict=True)):
        if size != members:
            raise ValueError(f"basin_size of {name}[{number}] is {size}, expected {members}, as many as have its label")


def _check_outcomes(results: Results, arrays: Arrays) -> None:
    """Check that outcomes are those that kinds and classes make, and are counted right."""
    outcomes = list(Outcome)
    counts = Counter(outcomes[code] for code in arrays.outcomes.tolist())
    for outcome in outcomes:
        found = results.outcomes.get(outcome.value)
        if found != counts[outcome]:
            raise ValueError(f"outcomes.{outcome.value} is {found}, expected {counts[outcome]}, as samples have it")
    told = sum(results.statuses.values())
    if told != results.data.samples:
        raise ValueError(f"statuses count {told} samples, expected {results.data.samples}")
    expected = outcomes_of(
        arrays.labels,
        arrays.classes if results.data.labelled else None,
        [one.kind for one in results.attractors],
        [one.label for one in results.attractors],
        cycling=arrays.cycle_labels >= 0,
        diverged=arrays.outcomes == outcomes.index(Outcome.DIVERGED),
    )
    for sample, (outcome, code) in enumerate(zip(expected, arrays.outcomes.tolist(), strict=True)):
        if outcome is not outcomes[code]:
            raise ValueError(
                f"sample {sample} has outcome {outcomes[code]}, expected {outcome} by kind and class of its attractor"
            )


def _sizes(results: Results) -> dict[str, int]:
    """Lengths of the axes that the results tell; those of the others are what they are in the first array."""
    followed = 0 if results.restless is None else len(results.restless.samples)
    sizes = {
        "samples": results.data.samples,
        "attractors": len(results.attractors),
        "dim": results.map.dim,
        "planes": len(results.planes),
        "cycles": len(results.cycles),
        "followed": followed if results.map.dim <= DRAWN_DIM else 0,
    }
    if results.robustness is not None:
        sizes["shocks"] = len(results.robustness.attractor_shocks) + len(results.robustness.sample_shocks)
    return sizes


def _is_asked_for(name: str, results: Results) -> bool:
    """Whether an array that not all analyses have must be there."""
    if name.startswith("line_"):
        return results.pictured is not None and results.map.dim == 1
    return name.startswith("shock_") and results.robustness is not None


@cache
def _declared() -> dict[str, tuple[Any, bool]]:
    """What `Arrays` says of its fields: jaxtyping's type, and whether None may stand there."""
    parts = {name: (annotation, get_args(annotation)) for name, annotation in get_type_hints(Arrays).items()}
    return {name: (of[0], True) if NoneType in of else (whole, False) for name, (whole, of) in parts.items()}


def _check_array(name: str, found: Tensor, declared: Any, sizes: dict[str, int]) -> None:
    """Check one array, and note the lengths of axes that it has first."""
    axes, dtype = declared.dim_str.split(), _DTYPES[declared.dtype]
    expected = [int(axis) if axis.isdigit() else sizes.get(axis) for axis in axes]
    fits = len(axes) == found.ndim and all(
        want in (None, size) for want, size in zip(expected, found.shape, strict=True)
    )
    if found.dtype != dtype or not fits:
        shape = ", ".join(axis if size is None else str(size) for axis, size in zip(axes, expected, strict=True))
        one = "," if len(axes) == 1 else ""
        raise ValueError(
            f"array {name} is {found.dtype} of shape {tuple(found.shape)}, expected {dtype} of shape ({shape}{one})"
        )
    sizes |= {axis: size for axis, size in zip(axes, found.shape, strict=True) if not axis.isdigit()}


def _index_ranges(arrays: Mapping[str, Tensor], results: Results) -> dict[str, tuple[int, int]]:
    """Of arrays that hold indices the least one, and what they must stay below."""
    samples, attractors = results.data.samples, len(results.attractors)
    drawn = attractors + len(arrays["plane_others"])
    cycles = len(results.cycles) + sum(picture.unsampled_cycles for picture in results.planes)
    ranges = {
        "labels": (-1, attractors),
        "outcomes": (0, len(Outcome)),
        "recorded_samples": (0, samples),
        "rate_decays": (0, len(Decay)),
        "film_samples": (0, samples),
        "member_samples": (0, samples),
        "plane_labels": (-1, drawn),
        "plane_cycles": (-1, cycles),
        "line_labels": (-1, drawn),
        "line_cycles": (-1, len(arrays.get("line_cycles", ()))),  # those that no sample reaches are not counted
        "line_jumps": (0, len(arrays.get("line_states", ()))),
    }
    return {name: bounds for name, bounds in ranges.items() if name in arrays}

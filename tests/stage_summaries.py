"""The results of a stage in short, to see whether they changed, whatever machine computes them.

Numbers are compared within tolerances, everything else, names, lengths, shapes and types among it, must be equal. Most
stages compute in float32 what is contracted again, so that machines differ in the last digits only. What is learned
differs by more: a sample on the border of two classes may fall on the other side, and networks that are trained for
long keep nothing of their last digits but what they are good for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from dynlab.files import read_tensors

LONG = 8  # a list of more numbers is summarized like an array
# Relative and absolute, of "<stage> <name>", by the first pattern that fits. Past a saddle the last digits of
# float32 grow before they shrink. A classifier of states that have nearly come together can place several samples
# otherwise, or need another number of iterations. Measured: with the kernels for the oldest processors in place of the
# newest (ATEN_CPU_CAPABILITY, MKL_ENABLE_INSTRUCTIONS, OPENBLAS_CORETYPE, ONEDNN_MAX_CPU_ISA) accuracies moved by 0.05,
# a recognizer's scores by 0.7%, all else stayed within the last line's.
TOLERANCES = (
    ("recognizer *", 0.05, 4.0),
    ("basins *.recognizer_score", 0.05, 0.1),
    ("separability *", 2e-3, 0.1),
    ("raw *", 0.0, 0.03),
    ("*", 2e-3, 2e-4),
)
LEFT_OUT = "converged"  # whether a fit ended at its limit of iterations or just before


def summary(folder: Path) -> dict[str, Any]:
    """What the files of a stage hold: by name, numbers as they are, of arrays two means."""
    path = folder / "results.json"
    results = _leaves("results", json.loads(path.read_text()) if path.exists() else {})
    found: dict[str, Any] = {name: value for name, value in results if not name.endswith(LEFT_OUT)}
    for path in sorted(folder.rglob("*.safetensors")):
        for name, tensor in sorted(read_tensors(path)[0].items()):
            found[f"{path.stem}: {name}"] = _of_array(tensor)
    return found


def differences(name: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """What differs between two summaries of the stage `name`, a line for each."""
    lines = [f"{key}: is {'missing' if key in expected else 'new'}" for key in sorted({*found} ^ {*expected})]
    for key in sorted({*found} & {*expected}):
        ours, theirs = found[key], expected[key]
        relative, absolute = _tolerance(f"{name} {key}")
        if _is_number(ours) and _is_number(theirs):
            same = math.isclose(ours, theirs, rel_tol=relative, abs_tol=absolute)
        elif isinstance(ours, dict) and isinstance(theirs, dict):
            same = not differences(f"{name} {key}", ours, theirs)
        else:
            same = ours == theirs
        if not same:
            lines.append(f"{key}: {ours}, was {theirs}")
    return lines


def _tolerance(name: str) -> tuple[float, float]:
    return next((relative, absolute) for pattern, relative, absolute in TOLERANCES if fnmatch(name, pattern))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}", item)
    elif isinstance(value, list) and len(value) > LONG and all(_is_number(item) for item in value):
        yield name, _of_array(torch.tensor(value, dtype=torch.float64))
    elif isinstance(value, list):
        yield f"{name}.length", len(value)
        for number, item in enumerate(value):
            yield from _leaves(f"{name}.{number}", item)
    else:
        yield name, value


def _of_array(tensor: torch.Tensor) -> dict[str, Any]:
    """Type, shape, the mean, and a mean in which every place has another weight, so that order counts."""
    flat = tensor.double().nan_to_num(nan=0.0).flatten()
    weights = torch.cos(torch.arange(len(flat), dtype=torch.float64))
    count = max(1, len(flat))
    return {
        "type": str(tensor.dtype),
        "shape": str(list(tensor.shape)),
        "mean": _rounded(float(flat.sum()) / count),
        "weighted": _rounded(float(flat @ weights) / count),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""The results of a stage in short, to see whether they changed, whatever machine computes them.

Numbers are compared within tolerances, everything else, names, lengths, shapes and types among it, must be equal. Most
stages compute in float32 what is contracted again, so that machines differ in the last digits only. What is learned
differs by more: a sample on the border of two classes may fall on the other side, and networks that are trained for
long keep nothing of their last digits but what they are good for. So of what learns it is also compared how it does
that (`stage_methods`), closely.
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
# Relative and absolute, of "<stage> <name>", by the first pattern that fits. Measured: what the kernels for the oldest
# processors (and others) in place of the newest change, by ATEN_CPU_CAPABILITY, MKL_ENABLE_INSTRUCTIONS, MKL_CBWR,
# OPENBLAS_CORETYPE and ONEDNN_MAX_CPU_ISA.
TOLERANCES = (
    # Trainings of a few steps: 1e-7 relative in objectives, 2e-9 in means of weights, which are rounded by up to 5e-8.
    ("train *", 2e-5, 5e-8),
    # What is learned from, and how (`stage_methods`): 1e-7 relative in losses, 4e-9 in means of first gradients.
    ("separability method.fits.*.rows.*", 2e-3, 2e-4),
    ("* method.fits.*.last_loss", 1e-3, 0.0),
    ("* method.*", 1e-4, 1e-7),
    # What comes of it. A classifier of states that have nearly come together can place several samples otherwise: 0.05.
    # Networks keep nothing of their last digits but what they are good for: 0.007 in the threshold, 2e-5 in weights.
    ("recognizer *.judged", 0.0, 0.0),
    ("recognizer *_samples", 0.0, 0.0),
    ("recognizer *.called_*", 0.0, 2.0),
    ("recognizer results.*", 0.05, 0.1),
    ("recognizer recognizer: *", 0.05, 1e-3),
    ("basins *.recognizer_score", 0.05, 0.1),
    ("separability results.*_samples", 0.0, 0.0),
    ("separability *.step", 0.0, 0.0),
    ("separability *", 2e-3, 0.1),
    ("raw *_fraction.*", 1e-5, 0.0),
    ("raw *_samples", 0.0, 0.0),
    ("raw *", 0.0, 0.03),
    # Past a saddle the last digits of float32 grow before they shrink.
    ("*", 2e-3, 2e-4),
)
LEFT_OUT = "converged"  # whether a fit ended at its limit of iterations or just before


def summary(folder: Path) -> dict[str, Any]:
    """What the files of a stage hold: by name, numbers as they are, of arrays two means."""
    path = folder / "results.json"
    results = of_json("results", json.loads(path.read_text()) if path.exists() else {})
    found: dict[str, Any] = {name: value for name, value in results.items() if not name.endswith(LEFT_OUT)}
    for path in sorted(folder.rglob("*.safetensors")):
        for name, tensor in sorted(read_tensors(path)[0].items()):
            found[f"{path.stem}: {name}"] = of_tensor(tensor)
    return found


def of_json(name: str, value: Any) -> dict[str, Any]:
    """What a value holds that was, or could be, read from JSON: its leaves, by their paths; of long lists two means."""
    return dict(_leaves(name, value))


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
        yield name, of_tensor(torch.tensor(value, dtype=torch.float64))
    elif isinstance(value, list):
        yield f"{name}.length", len(value)
        for number, item in enumerate(value):
            yield from _leaves(f"{name}.{number}", item)
    else:
        yield name, value


def of_tensor(tensor: torch.Tensor) -> dict[str, Any]:
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

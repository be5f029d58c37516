"""Basins of attraction: which attractor each sample reaches under exact iteration.

Attractors are the stable fixed points that `dynlab.dynamics.iterate` takes the samples to, by falling basin size.

Source: the vocabulary is that of Datseris and Wagemakers, Effortless estimation of basins of attraction, 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex128, Float64, Int64
from torch import Tensor

from dynlab.dynamics import Orbits, iterate, spectrum
from dynlab.dynamics.sources import Samples
from dynlab.errors import InputError
from dynlab.files import read_tensors, write_tensors
from dynlab.maps import Map, map_hash

KIND = "basins-of-attraction"
_LEADING = 6  # multipliers of each attractor
_ARRAYS = ("fixed_points", "residuals", "multipliers", "labels")


@dataclass(frozen=True)
class Basins:
    """The attractors that samples reach, by falling basin size and then lexicographically, and who reaches which."""

    map_sha256: str
    fixed_points: Float64[Tensor, "attractors dim"]
    residuals: Float64[Tensor, " attractors"]  # ||F(x) - x||_2 / max(1, ||x||_2)
    # The leading six by falling modulus, seven where one of them is half of a pair; rows without a seventh end in NaN.
    multipliers: Complex128[Tensor, "attractors leading"]
    labels: Int64[Tensor, " samples"]  # attractor of each sample, -1 for none

    @property
    def spectral_radii(self) -> Float64[Tensor, " attractors"]:
        """Largest modulus of a multiplier at each attractor, below 1."""
        return self.multipliers[:, 0].abs()

    @property
    def sizes(self) -> Int64[Tensor, " attractors"]:
        """Number of samples in each basin."""
        return torch.bincount(self.labels[self.labels >= 0], minlength=len(self.fixed_points))

    @property
    def fractions(self) -> Float64[Tensor, " attractors"]:
        """Basin fractions: shares of all samples, those without an attractor included."""
        return self.sizes.double() / max(1, len(self.labels))

    def check_map(self, system: Map) -> None:
        """Check that these are basins of `system`.

        Raises:
            InputError: If they are those of another map.
        """
        found = map_hash(system)
        if found != self.map_sha256:
            raise InputError(f"basins of the map {self.map_sha256[:12]}, expected those of {found[:12]}")

    def save(self, path: str | Path) -> None:
        """Write a safetensors file.

        Raises:
            InputError: If `path` cannot be written.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays["multipliers"] = torch.view_as_real(arrays["multipliers"])  # safetensors holds no complex128
        write_tensors(Path(path), arrays, {"kind": KIND, "map_sha256": self.map_sha256})

    @staticmethod
    def load(path: str | Path, system: Map | None = None) -> Basins:
        """Read basins back, and check that they are those of `system` if it is given.

        Raises:
            InputError: If the file is missing, damaged or of another kind, or the basins are those of another map.
        """
        path = Path(path)
        arrays, metadata = read_tensors(path)
        if metadata.get("kind") != KIND or any(name not in arrays for name in _ARRAYS):
            raise InputError(f"{path}: holds no basins of attraction")
        if not _fit_together(arrays):
            raise InputError(f"{path}: the arrays of these basins do not fit together")
        arrays["multipliers"] = torch.view_as_complex(arrays["multipliers"].contiguous())
        basins = Basins(metadata.get("map_sha256", ""), **{name: arrays[name] for name in _ARRAYS})
        if system is not None:
            basins.check_map(system)
        return basins


def _fit_together(arrays: dict[str, Tensor]) -> bool:
    points, labels = arrays["fixed_points"], arrays["labels"]
    return (
        all(arrays[name].dtype == torch.float64 for name in ("fixed_points", "residuals", "multipliers"))
        and labels.dtype == torch.int64
        and (points.ndim, labels.ndim) == (2, 1)
        and arrays["residuals"].shape == (len(points),)
        and arrays["multipliers"].ndim == 3
        and (len(arrays["multipliers"]), arrays["multipliers"].shape[2]) == (len(points), 2)
        and bool(((labels >= -1) & (labels < len(points))).all())
    )


def basins_of_attraction(
    system: Map,
    samples: Samples,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 100_000,
    on_progress: Callable[[float], None] | None = None,
) -> Basins:
    """Iterate samples to their attractors; the arguments are those of `dynlab.dynamics.iterate`.

    Raises:
        ValueError: If an argument is out of its range, or the samples have another dim than the map or are not finite.
    """
    orbits = iterate(
        system,
        samples,
        tolerance=tolerance,
        max_steps=max_steps,
        max_exact_steps=max_exact_steps,
        keep_states=False,
        on_progress=on_progress,
    )
    return basins_of_orbits(system, orbits)


def basins_of_orbits(system: Map, orbits: Orbits) -> Basins:
    """The basins that orbits of `system` show.

    Raises:
        ValueError: If the map holds inputs for several samples: these have attractors each of its own, and no basins.
    """
    if system.held_samples not in (None, 1):
        raise ValueError(f"system holds inputs for {system.held_samples} samples, expected one map for all samples")
    points = orbits.fixed_points
    found = orbits.fixed_point.numpy()
    if not points:
        nothing = torch.zeros(0, dtype=torch.float64)
        return Basins(
            map_hash(system),
            nothing.reshape(0, system.dim),
            nothing,
            torch.zeros(0, 1, dtype=torch.complex128),
            orbits.fixed_point,
        )
    states = torch.stack([point.state for point in points])
    sizes = np.bincount(found[found >= 0], minlength=len(points))
    # np.lexsort sorts by its last key first.
    order = np.lexsort((*states.T.flip(0).numpy(), -sizes))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    chosen = [points[index] for index in order]
    return Basins(
        map_sha256=map_hash(system),
        fixed_points=states[torch.from_numpy(order)],
        residuals=torch.tensor([point.residual for point in chosen], dtype=torch.float64),
        multipliers=spectrum(system, states[torch.from_numpy(order)], min(system.dim, _LEADING)).eigenvalues,
        labels=torch.from_numpy(np.where(found >= 0, rank[found], -1)),
    )

"""Basins of attraction: which attractor each sample reaches under exact iteration.

Attractors are the stable fixed points that `dynlab.dynamics.iterate` takes the samples to, by falling basin size, and
after them the periodic attractors, each once whatever the phase in which samples go round with it.
Basins of parts of a data set combine into those of all of it, so that parts can be worked on anywhere: the attractors
of the parts are joined where they are one, and everything else follows from that, whatever comes first.

Source: the vocabulary is that of Datseris and Wagemakers, Effortless estimation of basins of attraction, 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex128, Float64, Int64
from torch import Tensor

from dynlab.attractors import cycles as periodic
from dynlab.attractors.copies import best_copies, by_size, copies_of, widened
from dynlab.dynamics import Orbits, iterate, spectrum
from dynlab.dynamics.cycles import Cycle
from dynlab.dynamics.sources import Samples
from dynlab.errors import InputError, check_count
from dynlab.files import read_tensors, write_tensors
from dynlab.maps import Map, check_is_one_map, check_map, map_hash
from dynlab.short_repr import short_repr

KIND = "basins-of-attraction"
_LEADING = 6  # multipliers of each attractor
_ARRAYS = ("fixed_points", "residuals", "multipliers", "labels", "samples")


@dataclass(frozen=True)
class Basins:
    """The attractors that samples reach, by falling basin size and then lexicographically, and who reaches which."""

    __repr__ = short_repr

    map_sha256: str
    fixed_points: Float64[Tensor, "attractors dim"]
    residuals: Float64[Tensor, " attractors"]  # ||F(x) - x||_2 / max(1, ||x||_2)
    # The leading six by falling modulus, seven where one of them is half of a pair; rows without a seventh end in NaN.
    multipliers: Complex128[Tensor, "attractors leading"]
    labels: Int64[Tensor, " samples"]  # fixed point of each sample, -1 for none, also where it reaches a cycle
    samples: Int64[Tensor, " samples"]  # index of each sample in the data set, rising
    cycles: tuple[
        Cycle, ...
    ] = ()  # the periodic attractors, by falling basin size, then period, then lexicographically
    members: tuple[Int64[Tensor, " _members"], ...] = ()  # rows of the samples that reach each cycle, rising

    @property
    def spectral_radii(self) -> Float64[Tensor, " attractors"]:
        """Largest modulus of a multiplier at each attractor, below 1."""
        return self.multipliers[:, 0].abs()

    @property
    def sizes(self) -> Int64[Tensor, " attractors"]:
        """Number of samples in the basin of each fixed point."""
        return torch.bincount(self.labels[self.labels >= 0], minlength=len(self.fixed_points))

    @property
    def fractions(self) -> Float64[Tensor, " attractors"]:
        """Basin fractions of the fixed points: shares of all samples, those without an attractor included."""
        return self.sizes.double() / max(1, len(self.labels))

    @property
    def cycle_labels(self) -> Int64[Tensor, " samples"]:
        """Cycle of each sample, -1 for none."""
        labels = torch.full_like(self.labels, -1)
        for number, rows in enumerate(self.members):
            labels[rows] = number
        return labels

    @property
    def attractor_labels(self) -> Int64[Tensor, " samples"]:
        """Attractor of each sample: its row in `fixed_points`, or after these its number in `cycles`; -1 for none."""
        cycles = self.cycle_labels
        return torch.where(cycles >= 0, len(self.fixed_points) + cycles, self.labels)

    @property
    def cycle_sizes(self) -> Int64[Tensor, " cycles"]:
        """Number of samples in the basin of each cycle."""
        return torch.tensor([len(rows) for rows in self.members], dtype=torch.int64)

    @property
    def cycle_fractions(self) -> Float64[Tensor, " cycles"]:
        """Basin fractions of the cycles: shares of all samples, as `fractions`."""
        return self.cycle_sizes.double() / max(1, len(self.labels))

    @property
    def unresolved(self) -> int:
        """Number of samples without an attractor of either kind."""
        return int((self.attractor_labels < 0).sum())

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
        arrays |= periodic.cycle_arrays(self.cycles, self.cycle_labels, self.fixed_points.shape[1])
        write_tensors(Path(path), arrays, {"kind": KIND, "map_sha256": self.map_sha256})

    @staticmethod
    def load(path: str | Path, system: Map | None = None) -> Basins:
        """Read basins back, and check that they are those of `system` if it is given.

        The samples of a file that does not name them are the first ones of the data set; one without cycles, as older
        ones are, has none.

        Raises:
            InputError: If the file is missing, damaged or of another kind, or the basins are those of another map.
        """
        path = Path(path)
        arrays, metadata = read_tensors(path)
        if "samples" not in arrays and "labels" in arrays:
            arrays["samples"] = torch.arange(arrays["labels"].numel())
        if metadata.get("kind") != KIND or any(name not in arrays for name in _ARRAYS):
            raise InputError(f"{path}: holds no basins of attraction")
        if not _fit_together(arrays):
            raise InputError(f"{path}: the arrays of these basins do not fit together")
        try:
            cycles, members = periodic.cycles_of_arrays(arrays, arrays["fixed_points"].shape[1], arrays["labels"])
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        arrays["multipliers"] = torch.view_as_complex(arrays["multipliers"].contiguous())
        basins = Basins(
            metadata.get("map_sha256", ""), **{name: arrays[name] for name in _ARRAYS}, cycles=cycles, members=members
        )
        if system is not None:
            basins.check_map(system)
        return basins


def _fit_together(arrays: dict[str, Tensor]) -> bool:
    points, labels, samples = arrays["fixed_points"], arrays["labels"], arrays["samples"]
    return (
        all(arrays[name].dtype == torch.float64 for name in ("fixed_points", "residuals", "multipliers"))
        and labels.dtype == samples.dtype == torch.int64
        and (points.ndim, labels.ndim) == (2, 1)
        and samples.shape == labels.shape
        and arrays["residuals"].shape == (len(points),)
        and arrays["multipliers"].ndim == 3
        and (len(arrays["multipliers"]), arrays["multipliers"].shape[2]) == (len(points), 2)
        and arrays["multipliers"].shape[1] >= 1
        and bool(((labels >= -1) & (labels < len(points))).all())
        and bool((samples >= 0).all() and (samples.diff() > 0).all())
        and bool(points.isfinite().all() and arrays["multipliers"][:, :1].isfinite().all())
        and bool((arrays["residuals"].isfinite() & (arrays["residuals"] >= 0)).all())
    )


def basins_of_attraction(
    system: Map,
    samples: Samples,
    *,
    first_sample: int = 0,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 100_000,
    on_progress: Callable[[float], None] | None = None,
) -> Basins:
    """Iterate samples to their attractors.

    Args:
        system: The map.
        samples: The initial states, as in `dynlab.dynamics.iterate`.
        first_sample: Index of the first of them in the data set, at least 0, where they are a part of one.
        tolerance: As in `iterate`, like what follows.
        max_steps: See there.
        max_exact_steps: See there.
        on_progress: See there.

    Returns:
        The basins; those of several parts combine by `merge_basins`.

    Raises:
        ValueError: If an argument is out of its range, the samples have another dim than the map or are not finite, or
            the map holds inputs for several samples: these have attractors each of its own, and no basins.
    """
    check_count("first_sample", first_sample, 0)
    check_map(system)
    check_is_one_map(system)  # of several each sample has attractors of its own
    map_hash(system)  # so that what cannot be hashed is refused before the work and not after it
    orbits = iterate(
        system,
        samples,
        tolerance=tolerance,
        max_steps=max_steps,
        max_exact_steps=max_exact_steps,
        keep_states=False,
        on_progress=on_progress,
    )
    return basins_of_orbits(system, orbits, first_sample)


def basins_of_orbits(system: Map, orbits: Orbits, first_sample: int = 0) -> Basins:
    """The basins that orbits of `system` show; the first orbit is that of the sample `first_sample` of the data set.

    Raises:
        ValueError: If the map holds inputs for several samples: these have attractors each of its own, and no basins.
            If `first_sample` is below 0.
    """
    check_count("first_sample", first_sample, 0)
    check_is_one_map(system)
    points = orbits.fixed_points
    found = orbits.fixed_point.numpy()
    samples = torch.arange(first_sample, first_sample + len(found))
    cycles, cycle_labels = periodic.cycles_by_size(orbits.cycles, orbits.cycle.numpy())
    members = periodic.members_of(cycle_labels, len(cycles))
    if not points:
        nothing = torch.zeros(0, dtype=torch.float64)
        return Basins(
            map_hash(system),
            nothing.reshape(0, system.dim),
            nothing,
            torch.zeros(0, 1, dtype=torch.complex128),
            orbits.fixed_point,
            samples,
            cycles,
            members,
        )
    states = torch.stack([point.state for point in points])
    labels, order = by_size(found, states.numpy())
    chosen = [points[index] for index in order]
    return Basins(
        map_sha256=map_hash(system),
        fixed_points=states[torch.from_numpy(order)],
        residuals=torch.tensor([point.residual for point in chosen], dtype=torch.float64),
        multipliers=spectrum(system, states[torch.from_numpy(order)], min(system.dim, _LEADING)).eigenvalues,
        labels=torch.from_numpy(labels),
        samples=samples,
        cycles=cycles,
        members=members,
    )


def merge_basins(parts: Sequence[Basins]) -> Basins:
    """Combine the basins of parts of a data set under one map into those of all of it.

    Parts may come in any order, and may be merged parts themselves: the result is the same, bit for bit. Attractors of
    parts are one where they stand within the relative distance 1e-6 that `iterate` calls one fixed point, or are
    joined by others that do. Of such copies the one with the smallest residual stays, of equal ones the first in
    lexicographic order, with its multipliers. Copies with a relative residual of 1e-12 stand far nearer than 1e-6
    unless a multiplier is within about 1e-6 of one; only chains of such copies could depend on what is merged first.
    Cycles are one by the same distance, for the rotation that brings them nearest.

    Args:
        parts: At least one; each sample of the data set in at most one of them.

    Returns:
        The basins of the samples of all parts, by index in the data set.

    Raises:
        ValueError: If `parts` is empty.
        InputError: If parts are of different maps or of maps of different dim, or a sample is in two of them.
    """
    if not parts:
        raise ValueError("parts is empty, expected the basins of at least one part")
    for part in parts:
        if part.map_sha256 != parts[0].map_sha256:
            raise InputError(f"basins of the map {part.map_sha256[:12]}, expected those of {parts[0].map_sha256[:12]}")
        if part.fixed_points.shape[1] != parts[0].fixed_points.shape[1]:
            raise InputError(f"basins of dim {part.fixed_points.shape[1]}, expected {parts[0].fixed_points.shape[1]}")
    samples, rows = torch.cat([part.samples for part in parts]).sort()
    if bool((twice := samples[1:] == samples[:-1]).any()):
        raise InputError(f"sample {int(samples[1:][twice][0])} is in two parts, expected each sample in one")

    # Adding zero takes the sign from zeros, so that what compares as equal is equal bit for bit.
    states = torch.cat([part.fixed_points for part in parts]) + 0.0
    residuals = torch.cat([part.residuals for part in parts])
    width = max(part.multipliers.shape[1] for part in parts)
    multipliers = torch.cat([widened(part.multipliers, width) for part in parts]) + 0.0
    copy_of = copies_of(states[:, None])
    kept = best_copies(copy_of, states, residuals, multipliers)
    firsts = np.cumsum([0, *(len(part.fixed_points) for part in parts[:-1])]).tolist()
    found = torch.cat(
        [torch.where(part.labels >= 0, part.labels + first, -1) for part, first in zip(parts, firsts, strict=True)]
    )
    cycles, cycle_labels = periodic.merge_cycle_sets(
        [part.cycles for part in parts], [part.cycle_labels for part in parts]
    )
    members = periodic.members_of(cycle_labels[rows], len(cycles))
    labels, order = by_size(np.append(copy_of, -1)[found[rows].numpy()], states[kept].numpy())
    chosen = torch.from_numpy(kept[order])
    multipliers = multipliers[chosen]
    # The half of a pair that asked for one more column may belong to a copy that went.
    needed = max(1, int((~multipliers.isnan()).any(dim=0).sum()))
    return Basins(
        map_sha256=parts[0].map_sha256,
        fixed_points=states[chosen],
        residuals=residuals[chosen],
        multipliers=multipliers[:, :needed].contiguous(),
        labels=torch.from_numpy(labels),
        samples=samples,
        cycles=cycles,
        members=members,
    )

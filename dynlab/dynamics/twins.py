"""Twins: second orbits that tell where rounding may have decided.

Beside each sample goes its twin, which starts a thousand rounding errors of a step away, and is kicked a hundred of
them away every few steps, in random directions. So what rounding does to the sample is done to the twin many times
over, and how far the two part shows how far rounding errors are carried, whenever they are made: who passes a saddle
goes on to this side or that, and sooner or later, by its distance to the stable manifold, and a twin at another
distance leaves it. Where the two stay together all the way, exact iteration goes the same way.

Kicks have no preference, and rounding may have one: always the same error, wherever the orbit is. Where steps are long
beside it, its work is that of a kick; where they are hardly longer, it can stop an orbit or turn it back, in a
bottleneck such as a vanished pair of fixed points leaves behind. Therefore an orbit is doubtful, too, if its steps have
been that short and grew again. And where a map makes one state of a sample and its twin, by saturation or by rounding
of its own, the twin shows nothing of what comes before its next kick: a sample is doubtful if it moves on meanwhile.

It is an estimate and no proof: all kicks may miss the direction that matters.

Source: Benettin, Galgani and Strelcyn, Kolmogorov entropy and numerical experiments, Physical Review A 14, 1976 (what a
map does to errors, by the distance of two orbits).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.blocks import block_rows
from dynlab.maps import Map

_START = 1000.0  # rounding errors from a sample to its twin
_KICK = 100.0  # rounding errors by which a twin is moved before each stride
_PARTED = 10_000.0  # rounding errors, and they are no longer together
_HARDLY_LONGER = 100.0  # rounding errors: steps which these could turn back
_REGROWTH = 1.5  # of a step over the shortest one before
_DIRECTIONS = 1024


@dataclass(frozen=True)
class Twins:
    """Where twins stand, and which orbits they leave in doubt.

    Args:
        system: The map that is iterated, in less than float64.
        exact: The map in float64.
        farthest: Distance, in units of the state, at which a twin may be in another basin.
    """

    system: Map
    exact: Map
    farthest: float

    @torch.no_grad()
    def rounding(self, states: Float[Tensor, "rows dim"], ids: NDArray[np.int64]) -> Float64[np.ndarray, " rows"]:
        """How large the rounding errors of a step are, in units of the state.

        Args:
            states: Where a step is taken, on the device and in the dtype of the map.
            ids: Places of the samples in the source, by which inputs are held.
        """
        found = []
        for rows in torch.arange(len(ids)).split(block_rows(self.exact.dim, states.new_empty(0).double())):
            part, samples = states[rows.to(states.device)], torch.from_numpy(ids)[rows]
            images = self.system.for_samples(samples)(part)
            error = images - self.exact.for_samples(samples)(part.double())
            # A step may happen to be exact; then the next one is not.
            sizes = [torch.linalg.vector_norm(each.double(), dim=1) for each in (part, images)]
            least = torch.finfo(part.dtype).eps * torch.maximum(*sizes).clamp(min=1.0)
            found.append(torch.maximum(torch.linalg.vector_norm(error, dim=1), least).cpu())
        return torch.cat(found).numpy()

    def start(
        self, states: Float[Tensor, "rows dim"], rounding: NDArray[np.float64], turns: NDArray[np.int64]
    ) -> Float[Tensor, "rows dim"]:
        """Where the twins of samples start.

        Args:
            states: Where the samples start.
            rounding: Errors of a step of each.
            turns: A number for each, the same for the same direction.
        """
        return self._moved(states, _START * rounding, turns)

    def kick(
        self, twins: Float[Tensor, "rows dim"], rounding: NDArray[np.float64], turns: NDArray[np.int64]
    ) -> Float[Tensor, "rows dim"]:
        """Where twins stand after a kick; arguments as for `start`."""
        return self._moved(twins, _KICK * rounding, turns)

    def _moved(self, states: Tensor, lengths: NDArray[np.float64], turns: NDArray[np.int64]) -> Tensor:
        rows = torch.from_numpy(turns % _DIRECTIONS).to(states.device)
        directions, sizes = _directions(self.system.dim, states.device)
        factors = torch.from_numpy(lengths).to(directions) / sizes[rows]
        return torch.addcmul(states.to(directions), directions[rows], factors[:, None]).to(states.dtype)

    def starts_in_doubt(self, rounding: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whose rounding errors are so large that a twin might start in another basin."""
        return _START * rounding > self.farthest

    def have_parted(self, apart: NDArray[np.floating], rounding: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which samples are too far from their twins; also where one of the two has left the range of numbers."""
        return ~(apart <= np.minimum(_PARTED * rounding, self.farthest))

    def have_merged(
        self, apart: NDArray[np.floating], lengths: NDArray[np.floating], rounding: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Which samples take a step with a twin that is just where they are, and shows nothing until its next kick.

        Args:
            apart: How far each was from its twin before the step.
            lengths: Of the step: one as short as rounding errors leads nowhere.
            rounding: Errors of a step of each row.
        """
        return (apart == 0) & (lengths > _HARDLY_LONGER * rounding)

    def have_regrown(
        self, lengths: NDArray[np.floating], shortest: NDArray[np.float64], rounding: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """At which steps, shape (steps, rows), an orbit moves on again after steps that rounding could turn back.

        Args:
            lengths: Lengths of some steps, shape (steps, rows).
            shortest: Length of the shortest step before each of them.
            rounding: Errors of a step of each row.
        """
        return (lengths > _REGROWTH * shortest) & (shortest < _HARDLY_LONGER * rounding)


@lru_cache(maxsize=8)
def _directions(dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Directions to move a twin in, windows of one row of random numbers, and their lengths; in float32."""
    numbers = torch.randn(dim + _DIRECTIONS - 1, generator=torch.Generator().manual_seed(0)).to(device)
    directions = numbers.unfold(0, dim, 1)
    return directions, torch.linalg.vector_norm(directions, dim=1)

"""Edge tracking: from two states in different basins to the saddle on the boundary between them.

The basin boundary around attractor `a` is crossed by the segment from a state in its basin to one outside. Bisection
finds where; an orbit that starts near the boundary follows it to a saddle before it leaves, the closer it started the
longer. Two states on either side of the boundary and close to each other follow it together, and when they have parted
a new bisection between them goes on from there. As soon as an orbit has been slow somewhere, Newton's method starts
from where it was slowest; what it finds counts once its multipliers and branches are known to be those of a saddle of
this boundary. All pairs are tracked together, so that each step is one product.

Source: Skufca, Yorke and Eckhardt, Edge of chaos in a parallel shear flow, Physical Review Letters 96, 2006 (bisection
and following); Battelino et al., Multiple coexisting attractors, basin boundaries and basic sets, Physica D 32, 1988.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.attractors.connections.passages import passages
from dynlab.attractors.connections.saddles import Saddle, examine_saddles
from dynlab.dynamics.blocks import rows_of
from dynlab.dynamics.fixed_points import FixedPoint
from dynlab.dynamics.known import KnownFixedPoints, first_copies
from dynlab.dynamics.newton import RESIDUAL_TOLERANCE, newton_together
from dynlab.maps import Map

_ROUNDS = 8  # bisections, each followed by a stretch of the boundary
_FIRST_SHARE, _LAST_SHARE = 2.0**-4, 2.0**-12  # of the first distance: Newton's method from there on, following below
_PARTED = 2.0**-5  # of the first distance, at which two states no longer follow the boundary together
_FOLLOWED = 400  # steps of a stretch at most
_SLOWER = 0.7  # a new start of Newton's method is this much slower than the last
_NEAR = 0.3  # of the first distance, that Newton's method may go from its start
_FACTORIZATIONS = 3


class Track(StrEnum):
    """What edge tracking from an attractor towards another found."""

    SADDLE = "saddle"  # a saddle that joins the two
    # A saddle that joins the first to another attractor, which mostly lies between; that the two of the pair have no
    # boundary in common is not shown by it.
    BETWEEN = "attractor between"
    SWAPS_BRANCHES = "swaps branches"  # nothing but saddles with one unstable multiplier, below -1, or several
    HIGHER_INDEX = "higher index"  # nothing but saddles with several unstable directions
    UNRESOLVED = "unresolved"  # no saddle of this boundary within the limits


CLOSING = (Track.SADDLE, Track.BETWEEN)  # after these there is nothing left to look for


@dataclass(frozen=True)
class Tracked:
    """What became of one pair."""

    source: int
    target: int
    track: Track


class Saddles:
    """Saddles that tracking has found so far, each once.

    Args:
        device: Where the map computes.
        dim: Length of a state.
    """

    def __init__(self, device: torch.device, dim: int) -> None:
        self.found: list[Saddle] = []
        self._states = KnownFixedPoints(device, dim)

    def add(self, saddle: Saddle) -> int:
        """Remember a saddle that is not known; its index."""
        self.found.append(saddle)
        return self._states.add(FixedPoint(saddle.state, saddle.residual, 0.0))

    def indices_of(self, states: Float64[Tensor, "points dim"]) -> NDArray[np.int64]:
        """Index of the known saddle that each state is, -1 for none."""
        return self._states.indices_of(states)


def track_edges(
    exact: Map,
    inside: Float64[Tensor, "pairs dim"],
    outside: Float64[Tensor, "pairs dim"],
    pairs: Int64[Tensor, "pairs 2"],
    known: KnownFixedPoints,
    saddles: Saddles,
) -> list[Tracked]:
    """Track the boundary of the basin of one attractor towards another, for all pairs at once.

    Args:
        exact: The map in float64.
        inside: A state in the basin of the first attractor of each pair, on the device of the map.
        outside: One in the basin of the second.
        pairs: Indices of both attractors among the known ones.
        known: Attractors; those that are found on the way are added.
        saddles: Saddles; those that are found are added.

    Returns:
        What became of each pair.
    """
    tracker = _Tracker(exact, inside.clone(), outside.clone(), pairs.numpy(), known, saddles)
    for _ in range(_ROUNDS):
        tracker.bisect()
        if not tracker.open.any():
            break
        tracker.follow()
    return [
        Tracked(int(source), int(target), track)
        for (source, target), track in zip(tracker.pairs, tracker.tracks, strict=True)
    ]


class _Tracker:
    """Pairs on their way: two states on either side of a boundary, and what has been found."""

    def __init__(
        self,
        exact: Map,
        inside: Tensor,
        outside: Tensor,
        pairs: np.ndarray,
        known: KnownFixedPoints,
        saddles: Saddles,
    ) -> None:
        self.exact, self.inside, self.outside, self.pairs = exact, inside, outside, pairs
        self.known, self.saddles = known, saddles
        self.distance = torch.linalg.vector_norm(inside - outside, dim=1)
        self.tracks = [Track.UNRESOLVED] * len(pairs)
        self.open = np.ones(len(pairs), dtype=bool)
        self.tried = torch.full((len(pairs),), torch.inf, dtype=torch.float64, device=inside.device)

    def bisect(self) -> None:
        """Halve the segments of all open pairs until both ends follow the boundary, or the saddle is found."""
        while True:
            gaps = torch.linalg.vector_norm(self.outside - self.inside, dim=1) / self.distance
            rows = np.flatnonzero(self.open & (gaps > _LAST_SHARE).cpu().numpy())
            if not len(rows):
                return
            at = torch.from_numpy(rows).to(self.inside.device)
            middle = (self.inside[at] + self.outside[at]) / 2
            found = passages(self.exact, middle, self.known)
            is_inside = found.labels == self.pairs[rows, 0]
            mask = torch.from_numpy(is_inside).to(at.device)
            self.inside[at[mask]], self.outside[at[~mask]] = middle[mask], middle[~mask]
            is_close = (gaps[at] / 2 <= _FIRST_SHARE).cpu().numpy()
            self.solve(rows[is_close], found.slowest[is_close], found.speeds[is_close])

    @torch.no_grad()
    def follow(self) -> None:
        """Take the two states of all open pairs along the boundary until they part."""
        rows = torch.from_numpy(np.flatnonzero(self.open)).to(self.inside.device)
        going, ends = rows, (self.inside[rows], self.outside[rows])
        slowest, speeds = self.inside.clone(), torch.full_like(self.distance, torch.inf)
        for _ in range(_FOLLOWED):
            following = (self.exact(ends[0]), self.exact(ends[1]))
            lengths = torch.linalg.vector_norm(following[0] - ends[0], dim=1)
            is_slow = lengths < speeds[going]
            slowest[going[is_slow]], speeds[going[is_slow]] = ends[0][is_slow], lengths[is_slow]
            together = torch.linalg.vector_norm(following[0] - following[1], dim=1) < _PARTED * self.distance[going]
            going, ends = going[together], (following[0][together], following[1][together])
            if not len(going):
                break
            # Which attractor an orbit reaches is the same all along it.
            self.inside[going], self.outside[going] = ends
        self.solve(rows.cpu().numpy(), slowest[rows], speeds[rows])

    def solve(self, rows: np.ndarray, starts: Tensor, speeds: Tensor) -> None:
        """Look for the saddles of some pairs by Newton's method, from where orbits were slowest."""
        at = torch.from_numpy(rows).to(starts.device)
        pays = speeds < _SLOWER * self.tried[at]
        at, starts = at[pays], starts[pays]
        if not len(at):
            return
        self.tried[at] = speeds[pays]
        reach = _NEAR * self.distance[at]  # what is farther from where the orbit was slow is not of this boundary
        states, residuals = newton_together(self.exact, self.exact, starts, reach, factorizations=_FACTORIZATIONS)
        solved = np.flatnonzero((residuals <= RESIDUAL_TOLERANCE).cpu().numpy())
        indices = np.full(len(at), -1)
        indices[solved] = self.saddles.indices_of(rows_of(states, solved))
        fresh = solved[indices[solved] < 0]
        copies = first_copies(rows_of(states, fresh)).cpu().numpy()  # several pairs may lead to one saddle
        of_first, new = fresh[copies], fresh[copies == np.arange(len(fresh))]
        examined = examine_saddles(self.exact, rows_of(states, new), rows_of(residuals, new), self.known)
        for row, saddle in zip(new, examined, strict=True):
            if saddle is not None:
                indices[row] = self.saddles.add(saddle)
        indices[fresh] = indices[of_first]
        for row, index in zip(at.tolist(), indices.tolist(), strict=True):
            if index >= 0:
                self.judge(row, index)

    def judge(self, row: int, index: int) -> None:
        """Say what a saddle means for a pair: whether it is one of the boundary that was tracked."""
        saddle, (source, target) = self.saddles.found[index], self.pairs[row].tolist()
        if saddle.is_edge and source in saddle.ends:
            self.tracks[row] = Track.SADDLE if target in saddle.ends else Track.BETWEEN
        # After these two the boundary may still lead to a saddle that parts it.
        elif saddle.swaps_branches and source in saddle.ends:
            self.tracks[row] = Track.SWAPS_BRANCHES
        elif saddle.index > 1:
            self.tracks[row] = Track.HIGHER_INDEX
        self.open[row] = self.tracks[row] not in CLOSING
        # What is slower than all of the rest of the boundary may be such a saddle, and must not end the search.
        self.tried[row] = torch.inf

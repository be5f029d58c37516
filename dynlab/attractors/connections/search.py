"""A search for all fixed points of a map, saddles of any index among them, from those that are known.

Samples lead to attractors and edge tracking to saddles with one unstable direction; those with more are met by chance.
But fixed points are arranged: where two saddles part one basin from two others, there mostly is a fixed point with two
unstable directions between them, and so on. So Newton's method starts from where others would have to be: on the
segments between neighbours, at the fourth corner `a + b - c` of the parallelogram of a fixed point and two neighbours
that are less stable, and beyond one that is less stable, at `2 b - a`. What is found is a neighbour in the next round.

The signs of `det(I - J)` tell when to stop, where their sum over all fixed points is known
(`dynlab.dynamics.completeness`). A sum that is due does not show that all are found: what is missing may add up to 0.

Source: Milnor, Topology from the Differentiable Viewpoint, 1965, section 6, for the sum; the starts are those of the
closed form of a sum of double wells, whose fixed points are a lattice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from dynlab.dynamics import Completeness, FixedPoint, completeness, spectrum
from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.completeness import EXPECTED
from dynlab.dynamics.damped import newton_damped
from dynlab.dynamics.fixed_points import relative_residuals
from dynlab.dynamics.known import SAME_POINT, KnownFixedPoints
from dynlab.dynamics.newton import RESIDUAL_TOLERANCE
from dynlab.dynamics.spectra import spectrum_across_one
from dynlab.errors import check_count
from dynlab.maps import Map, check_is_one_map, flat_states, float64_copy
from dynlab.short_repr import short_repr

_FIRST_COUNT = 8  # multipliers looked at before it is known how many are unstable
_TOGETHER = 256  # starts between two reports of progress
_EQUAL = 9  # decimals in which two starts that are one agree


@dataclass(frozen=True)
class FoundFixedPoints:
    """Fixed points of a map, those that were given first, each once; on the CPU."""

    __repr__ = short_repr

    states: Float64[Tensor, "points dim"]
    residuals: Float64[Tensor, " points"]  # ||F(x) - x||_2 / max(1, ||x||_2), at most 1e-12 where it was found
    unstable: Int64[Tensor, " points"]  # number of multipliers outside the unit circle
    indices: Int64[Tensor, " points"]  # sign of det(I - J), 0 where a multiplier is too near 1 to tell
    given: int  # how many of them were given
    rounds: int
    starts: int  # of Newton's method, in all rounds

    @property
    def index_sum(self) -> int:
        """The sum of the signs."""
        return Completeness(self.indices).index_sum

    @property
    def undecided(self) -> int:
        """How many of the signs are too near to call."""
        return Completeness(self.indices).undecided


def search_fixed_points(
    system: Map,
    known: Float[Tensor, " given *state"],
    *,
    max_rounds: int = 10,
    max_starts: int = 20_000,
    neighbours: int = 8,
    expected: int | None = EXPECTED,
    on_progress: Callable[[float], None] | None = None,
) -> FoundFixedPoints:
    """Look for the fixed points that are missing from a set, by damped Newton's method from combinations of others.

    A search that ended may be taken up again from what it found; it does at least one round.

    Args:
        system: The map.
        known: Fixed points, stable or not, at least two for there to be anything between them. They are polished where
            their relative residual is above 1e-12.
        max_rounds: Limit of rounds, at least 1.
        max_starts: Limit of starts of Newton's method in all rounds together, at least 1: each takes some 10 to 40
            factorizations at most. The likeliest come first, between the nearest neighbours.
        neighbours: How many nearest fixed points of each are combined with it, at least 1; doubled where a round brings
            nothing new though the sum is not the one expected.
        expected: Sum of the signs of `det(I - J)` over all fixed points, where rounds end: 1 for a map of a convex
            compact set into itself. None to go on until a round brings nothing new.
        on_progress: Called with the share of `max_starts` that is used up, and with 1 at the end.

    Returns:
        The given fixed points and those found, each with a relative residual of at most 1e-12.

    Raises:
        ValueError: If an argument is out of its range, `known` holds what is no fixed point of the map, or the map
            holds inputs for several samples.
    """
    check_is_one_map(system)
    known = flat_states(system, known, parameter="known")
    for parameter, value in (("max_rounds", max_rounds), ("max_starts", max_starts), ("neighbours", neighbours)):
        check_count(parameter, value, 1)
    exact = float64_copy(system)
    points = _Points(exact, home_of(exact, known).device)
    points.add_given(known)
    given, starts, rounds = len(points.states), 0, 0
    fresh, tried = torch.ones(given, dtype=torch.bool), set[bytes]()
    while rounds < max_rounds and starts < max_starts:
        rounds += 1
        before = len(points.states)
        candidates = _untried(_starts(points.states, points.unstable, fresh, neighbours), tried, max_starts - starts)
        for part in candidates.split(_TOGETHER):
            points.add(*newton_damped(exact, part.to(points.device)))
            starts += len(part)
            if on_progress:
                on_progress(starts / max_starts)
        fresh = torch.arange(len(points.states)) >= before
        if expected is not None and points.is_due(expected):
            break
        if not bool(fresh.any()):
            if expected is None or neighbours >= len(points.states) - 1:
                break
            # Some are missing, and not between such near neighbours.
            neighbours, fresh = 2 * neighbours, torch.ones_like(fresh)
    if on_progress:
        on_progress(1.0)
    return FoundFixedPoints(points.states, points.residuals, points.unstable, points.indices, given, rounds, starts)


class _Points:
    """Fixed points found so far, each once, and what is known of them; on the CPU."""

    def __init__(self, exact: Map, device: torch.device) -> None:
        self.exact, self.device = exact, device
        self._known = KnownFixedPoints(device, exact.dim)
        self.states = torch.zeros(0, exact.dim, dtype=torch.float64)
        self.residuals = torch.zeros(0, dtype=torch.float64)
        self.unstable = torch.zeros(0, dtype=torch.int64)
        self.indices = torch.zeros(0, dtype=torch.int64)

    @torch.no_grad()
    def add_given(self, states: Float[Tensor, "given dim"]) -> None:
        """Add fixed points that are known: as they are, or polished where rounding has left a little more."""
        states = states.to(self.device, torch.float64).clone()
        sizes = torch.linalg.vector_norm(states, dim=1).clamp(min=1.0)
        residuals = relative_residuals(self.exact, states)
        rough = (~(residuals <= RESIDUAL_TOLERANCE)).nonzero()[:, 0]
        polished, left = newton_damped(self.exact, states[rough])
        moved = torch.linalg.vector_norm(polished - states[rough], dim=1)
        failed = ~((left <= RESIDUAL_TOLERANCE) & (moved < SAME_POINT * sizes[rough]))
        if bool(failed.any()):
            row = int(rough[failed][0])
            raise ValueError(
                f"known has a relative residual of {float(residuals[row]):.1e} in row {row}, expected a fixed point"
            )
        states[rough], residuals[rough] = polished, left
        self.add(states, residuals)

    def add(self, states: Float64[Tensor, "points dim"], residuals: Float64[Tensor, " points"]) -> None:
        """Add those that are fixed points and not known."""
        is_new = []
        for state, residual in zip(states, residuals.tolist(), strict=True):
            is_new.append(residual <= RESIDUAL_TOLERANCE and not self._known.holds(state[None])[0])
            if is_new[-1]:
                self._known.add(FixedPoint(state.cpu(), residual, 0.0))
        new = torch.tensor(is_new, dtype=torch.bool, device=states.device)
        if not bool(new.any()):
            return
        found = states[new]
        self.states = torch.cat([self.states, found.cpu()])
        self.residuals = torch.cat([self.residuals, residuals[new].cpu()])
        self.unstable = torch.cat([self.unstable, self._unstable(found)])
        self.indices = torch.cat([self.indices, completeness(self.exact, found).indices])

    def is_due(self, expected: int) -> bool:
        """Whether all signs are known and add up to the sum expected."""
        signs = Completeness(self.indices)
        return signs.undecided == 0 and signs.index_sum == expected

    def _unstable(self, states: Float64[Tensor, "points dim"]) -> Int64[Tensor, " points"]:
        moduli = spectrum(self.exact, states, min(_FIRST_COUNT, self.exact.dim)).eigenvalues.abs()
        counts = (moduli > 1).sum(dim=1)  # NaN, where a row has one less, is not above 1
        for row in ((counts >= _FIRST_COUNT) & (counts < self.exact.dim)).nonzero()[:, 0].tolist():
            counts[row] = int((spectrum_across_one(self.exact, states[row], 2 * _FIRST_COUNT).abs() > 1).sum())
        return counts


def _starts(
    states: Float64[Tensor, "points dim"],
    unstable: Int64[Tensor, " points"],
    fresh: Bool[Tensor, " points"],
    neighbours: int,
) -> Float64[Tensor, "starts dim"]:
    """Where other fixed points may be, the likeliest first; each has to do with one that is `fresh`."""
    count = min(neighbours, len(states) - 1)
    if count < 1:
        return states[:0]
    apart = torch.cdist(states, states).fill_diagonal_(torch.inf)
    lengths, nearest = apart.topk(count, dim=1, largest=False)
    first, second = torch.arange(len(states)).repeat_interleave(count), nearest.flatten()
    order = lengths.flatten().argsort(stable=True)
    first, second = first[order], second[order]
    used = fresh[first] | fresh[second]
    first, second = first[used], second[used]
    once = (first < second) | ~(nearest[second] == first[:, None]).any(dim=1)
    a, b = states[first[once]], states[second[once]]
    beyond = unstable[second] > unstable[first]
    quarters = [0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b]
    # Of a corner, all pairs of neighbours that are less stable.
    one, other = torch.triu_indices(count, count, 1)
    corner = torch.arange(len(states)).repeat_interleave(len(one))
    left, right = nearest[:, one].flatten(), nearest[:, other].flatten()
    used = (fresh[corner] | fresh[left] | fresh[right]) & (
        torch.minimum(unstable[left], unstable[right]) > unstable[corner]
    )
    corner, left, right = corner[used], left[used], right[used]
    order = (apart[corner, left] + apart[corner, right]).argsort(stable=True)
    corner, left, right = corner[order], left[order], right[order]
    candidates = [
        (a + b) / 2,
        states[left] + states[right] - states[corner],
        *quarters,
        2 * states[second[beyond]] - states[first[beyond]],
    ]
    return torch.cat(candidates)


def _untried(starts: Float64[Tensor, "starts dim"], tried: set[bytes], limit: int) -> Float64[Tensor, "kept dim"]:
    """The first `limit` starts that were not tried before, each once; they are noted as tried."""
    kept = []
    # Adding 0 takes the sign from zeros.
    for row, rounded in enumerate(np.round(starts.numpy(), _EQUAL) + 0.0):
        if len(kept) == limit:
            break
        name = hashlib.blake2b(rounded.tobytes(), digest_size=16).digest()
        if name not in tried:
            tried.add(name)
            kept.append(row)
    return starts[kept]

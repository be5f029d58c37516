"""Which states are one attractor: single linkage at a distance, exactly, without a matrix of distances.

Two states are joined where they stand at most `distance` apart, and whatever is joined through others is one. Three
things make that nearly linear in the number of states. A *shadow*, a state projected on a few orthonormal directions,
never stands farther from another shadow than the states do, so that a k-d tree of shadows misses no pair. A *star* is a
state together with all that stand within `distance` of it: only its centre looks for neighbours, and what it holds is
one by that alone, so that a tight cluster costs its size and not the square of it. Last, by the triangle inequality,
members of two stars can be neighbours only if their centres stand at most `distance` and both radii apart: where such
stars are not yet one, the members of the smaller one look for neighbours, too. Nothing is decided by shadows.

Periodic orbits are merged in the same way, as the distance up to phase obeys the triangle inequality, too. Their
shadows are sorted over the phases, direction by direction, which forgets the phase and brings nothing farther apart.

Sources: Gower and Ross, Minimum spanning trees and single linkage cluster analysis, 1969; Hartigan, Clustering
Algorithms, 1975, chapter 3, for stars; Halko, Martinsson and Tropp, Finding structure with randomness, 2011, section
4.1, for the directions; Hardy, Littlewood and Polya, Inequalities, section 10.2, for sorting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.errors import check_positive

Indices = NDArray[np.int64]
Numbers = NDArray[np.float64]

_SHADOW_DIM = 64
_TREE_DIM = 16  # a tree of more directions is slower and hardly finer; the others sift what it finds
_SKETCHED = 2048  # states that the directions are taken from
_SEED = 0
_PAIRS = 2**19  # pairs looked at together, unless one state has more
_SLICE = 2**15  # pairs whose distances are taken before it is seen again which pairs are one already
_CHUNK = 2**20  # float64 numbers in a temporary array
_MARGIN = 1 + 1e-9  # what rounding may add to a distance between centres or shadows, relatively


def merge_states(states: Float[Tensor, "samples dim"], distance: float) -> Int64[Tensor, " samples"]:
    """Label states by the connected components of the graph that joins those at most `distance` apart.

    This is single linkage cut at `distance`, and the partition of DBSCAN with `eps=distance` and `min_samples=1`,
    exactly, whatever the states. Time and memory are nearly linear in the number of states where they stand in tight
    clusters, and where they stand apart.

    Args:
        states: Shape (samples, dim), on any device.
        distance: Euclidean distance up to which two states are joined, above 0. Compared in float64, whatever the
            dtype of the states.

    Returns:
        Shape (samples,), on the CPU: labels from 0, numbered by first appearance.

    Raises:
        ValueError: If `states` is of another shape, not of floating point or not finite, or `distance` is not finite
            and above 0.
    """
    _check_distance(distance)
    _check_states(states, "states")
    return torch.from_numpy(numbered_by_first(_components(_on_cpu(states)[:, None], distance)))


def merge_cycles(cycles: Sequence[Float[Tensor, "_period dim"]], distance: float) -> Int64[Tensor, " cycles"]:
    """Label periodic orbits as `merge_states` labels states, up to phase.

    The distance of two cycles of one period is the largest one over their phases, for the rotation that makes it
    smallest; cycles of different periods are never joined. A cycle is first reduced to its minimal period: the least
    divisor `q` of the number of its states such that states whose phases differ by a multiple of `q` stand at most
    `distance` apart, all of them; their mean takes their place. A fixed point is a cycle of period 1.

    Args:
        cycles: The states of each cycle in the order of the orbit, shape (period, dim), on any device.
        distance: Distance up to which two cycles are joined, above 0. Compared in float64.

    Returns:
        Shape (cycles,), on the CPU: labels from 0, numbered by first appearance.

    Raises:
        ValueError: If a cycle is of another shape or dim than the first, without states, not of floating point or not
            finite, or `distance` is not finite and above 0.
    """
    _check_distance(distance)
    for number, cycle in enumerate(cycles):
        _check_states(cycle, f"cycle {number}")
        if not len(cycle):
            raise ValueError(f"cycle {number} has no states, expected at least 1")
        if cycle.shape[1] != cycles[0].shape[1]:
            raise ValueError(f"cycle {number} has dim {cycle.shape[1]}, expected {cycles[0].shape[1]} as cycle 0 has")
    minimal = [_minimal(_on_cpu(cycle.double()), distance) for cycle in cycles]
    periods = np.array([len(cycle) for cycle in minimal], dtype=np.int64)
    labels = np.zeros(len(cycles), dtype=np.int64)
    for period in np.unique(periods):
        which = np.flatnonzero(periods == period)
        # Labels of one period start where those of the shorter ones end.
        labels[which] = labels.max() + 1 + _components(np.stack([minimal[number] for number in which]), distance)
    return torch.from_numpy(numbered_by_first(labels))


def _check_distance(distance: float) -> None:
    check_positive("distance", distance)


def _check_states(states: Tensor, name: str) -> None:
    if states.ndim != 2 or not states.shape[1]:
        raise ValueError(f"{name} has shape {tuple(states.shape)}, expected two axes and a dim of at least 1")
    if not states.is_floating_point():
        raise ValueError(f"{name} is of type {states.dtype}, expected floating point")
    # The extremes are NaN where any state is, and no array of their size is needed to see it.
    if len(states) and not bool(torch.stack(torch.aminmax(states)).isfinite().all()):
        row = int((~states.isfinite().all(dim=1)).nonzero()[0])
        raise ValueError(f"{name} is not finite in row {row}")


def _on_cpu(states: Tensor) -> NDArray[Any]:
    states = states.detach().cpu()
    return (states if states.dtype in (torch.float32, torch.float64) else states.float()).numpy()


def _minimal(cycle: Numbers, distance: float) -> Numbers:
    period, dim = cycle.shape
    for divisor in range(1, period // 2 + 1):
        if period % divisor:
            continue
        rotations = (np.roll(cycle, shift, axis=0) for shift in range(divisor, period, divisor))
        if all((_norms(cycle - rotated, distance) <= distance).all() for rotated in rotations):
            return cycle.reshape(-1, divisor, dim).mean(axis=0)
    return cycle


def numbered_by_first(labels: NDArray[np.integer]) -> Indices:
    """The same labels, numbered from 0 by first appearance; -1 stays."""
    names, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(np.where(names < 0, -1, first)))
    return (rank[inverse] - int((names < 0).any())).astype(np.int64)


def _components(orbits: NDArray[Any], distance: float) -> Indices:
    """Component of each orbit; `orbits` has shape (orbits, period, dim)."""
    if not len(orbits):
        return np.zeros(0, dtype=np.int64)
    shadows = Shadows.of(orbits)
    joined = Joined(orbits, distance)
    stars = _cover(joined, shadows)
    _join_members(joined, shadows, stars)
    return joined.component


@dataclass(frozen=True)
class Shadows:
    """Points that stand no farther apart than the orbits do, but for `scale` and, by rounding, for `slack`."""

    points: Numbers
    scale: float
    slack: float

    @staticmethod
    def of(orbits: NDArray[Any]) -> Shadows:
        """Shadows of orbits on orthonormal directions in which they spread."""
        count, period, dim = orbits.shape
        width = min(dim, max(1, _SHADOW_DIM // period))
        rows = orbits.reshape(-1, dim)
        largest = max(abs(float(rows.min())), abs(float(rows.max())))
        scale = 1 / largest if largest > 1e-300 else 1.0
        sketched = rows[:: -(-len(rows) // _SKETCHED)].astype(np.float64) * scale
        mixing = np.random.default_rng(_SEED).standard_normal((len(sketched), width))
        directions = np.linalg.qr((sketched - sketched.mean(axis=0)).T @ mixing)[0] * scale
        points = np.empty((len(rows), width))
        for start in range(0, len(rows), max(1, _CHUNK // dim)):
            part = slice(start, start + max(1, _CHUNK // dim))
            points[part] = rows[part].astype(np.float64) @ directions
        points = np.sort(points.reshape(count, period, width), axis=1)
        # Of a long cycle only some phases are kept, which takes away from distances and adds nothing.
        kept = points.transpose(0, 2, 1).reshape(count, -1)[:, :_SHADOW_DIM] / math.sqrt(period)
        # Each product is off by at most dim units of rounding times the norms of both factors.
        slack = 4 * math.sqrt(kept.shape[1]) * dim * math.sqrt(dim) * np.finfo(np.float64).eps
        return Shadows(kept, scale, slack)

    def reach(self, lengths: Numbers) -> Numbers:
        """Distance between shadows that orbits at a distance of `lengths` never exceed."""
        return lengths * (self.scale * _MARGIN) + self.slack


class Joined:
    """Orbits, and which of them are known to be one."""

    def __init__(self, orbits: NDArray[Any], distance: float) -> None:
        """All orbits stand for themselves."""
        self.orbits, self.distance = orbits, distance
        self.component = np.arange(len(orbits))
        self._count = len(orbits)

    def join(self, first: Indices, second: Indices) -> Iterator[tuple[Indices, Indices, Numbers]]:
        """Join the pairs that are neighbours; yields, slice by slice, those that were news, and their distances."""
        for start in range(0, len(first), _SLICE):
            i, j = first[start : start + _SLICE], second[start : start + _SLICE]
            apart = self.component[i] != self.component[j]
            i, j = i[apart], j[apart]
            lengths = self.lengths(i, j)
            near = lengths <= self.distance
            if near.any():
                self._unite(i[near], j[near])
                yield i[near], j[near], lengths[near]

    def lengths(self, first: Indices, second: Indices) -> Numbers:
        """Distance up to phase of each pair, from differences in float64."""
        _, period, dim = self.orbits.shape
        lengths = np.empty(len(first))
        rows = max(1, _CHUNK // (period * dim))
        for start in range(0, len(first), rows):
            a, b = self.orbits[first[start : start + rows]], self.orbits[second[start : start + rows]]
            nearest = np.full(len(a), np.inf)
            for shift in range(period):
                with np.errstate(over="ignore"):  # an infinite distance is a large one
                    differences = np.subtract(a, np.roll(b, shift, axis=1), dtype=np.float64)
                nearest = np.minimum(nearest, _norms(differences, self.distance).max(axis=1))
            lengths[start : start + rows] = nearest
        return lengths

    def _unite(self, first: Indices, second: Indices) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        edges = (self.component[first], self.component[second])
        graph = coo_array((np.ones(len(first), dtype=np.int8), edges), shape=(self._count, self._count))
        self._count, merged = connected_components(graph, directed=False)
        self.component = merged.astype(np.int64)[self.component]


def _norms(differences: Numbers, distance: float) -> Numbers:
    """Euclidean norms along the last axis, exact also where squares of `distance` would leave the range of float64."""
    unit = math.ldexp(1.0, max(math.frexp(distance)[1], -1000))  # a power of two rounds nothing
    with np.errstate(over="ignore"):
        scaled = differences / unit
        return np.sqrt(np.einsum("...d,...d->...", scaled, scaled)) * unit


@dataclass(frozen=True)
class Stars:
    """Centres of stars, each orbit's one, and how far at most its members are from each centre."""

    centre: Indices
    radius: Numbers


def _cover(joined: Joined, shadows: Shadows) -> Stars:
    """Join centres to all their neighbours; every orbit is a centre or has one within `distance`."""
    count = len(shadows.points)
    centre, radius = np.full(count, -1), np.zeros(count)
    # At random, so that orbits which come sorted by cluster do not become centres side by side.
    waiting = np.random.default_rng(_SEED).permutation(count)
    rank = np.argsort(waiting)
    neighbours, size = Neighbours(shadows), 1
    while len(waiting):
        taken, first, second = neighbours.of(waiting[:size], np.full(min(size, len(waiting)), joined.distance))
        centre[waiting[:taken]] = waiting[:taken]
        fresh = (centre[second] != second) | (rank[second] > rank[first])  # a pair of centres is seen from one of them
        first, second = first[fresh], second[fresh]
        # One centre for each orbit first: most other pairs are one component thereafter, and need no distance.
        leading = np.zeros(len(second), dtype=bool)
        leading[np.unique(second, return_index=True)[1]] = True
        for part in (leading, ~leading):
            for i, j, lengths in joined.join(first[part], second[part]):
                new = centre[j] < 0
                centre[j[new]] = i[new]
                held = new & (centre[j] == i)
                np.maximum.at(radius, i[held], lengths[held])
        waiting = waiting[centre[waiting] < 0]
        size = 2 * taken
    return Stars(centre, radius)


def _join_members(joined: Joined, shadows: Shadows, stars: Stars) -> None:
    """Join members of different stars that are neighbours, where their centres leave that open."""
    # A star of radius 0 holds copies of its centre, which has found all their neighbours.
    wide = np.flatnonzero(stars.radius > 0)
    if len(wide) < 2:
        return
    members = np.bincount(stars.centre, minlength=len(stars.centre))
    searched = stars.centre == np.arange(len(stars.centre))
    centres, everyone = Neighbours(Shadows(shadows.points[wide], shadows.scale, shadows.slack)), Neighbours(shadows)
    reach = joined.distance + stars.radius[wide] + stars.radius.max()
    done = 0
    size = batch = 1
    while done < len(wide):
        asked = np.arange(done, min(done + batch, len(wide)))
        taken, first, second = centres.of(asked, reach[asked])
        done, batch = done + taken, 2 * taken
        a, b = wide[first], wide[second]
        a, b = _open_pairs(joined, stars, a[a < b], b[a < b])
        smaller = np.where(members[a] <= members[b], a, b)
        while True:
            undecided = np.zeros(len(members), dtype=bool)
            undecided[smaller[joined.component[a] != joined.component[b]]] = True
            asking = np.flatnonzero(undecided[stars.centre] & ~searched)[:size]
            if not len(asking):
                break
            found, i, j = everyone.of(asking, np.full(len(asking), joined.distance))
            searched[asking[:found]] = True
            size = 2 * found
            for _ in joined.join(i, j):
                pass


def _open_pairs(joined: Joined, stars: Stars, a: Indices, b: Indices) -> tuple[Indices, Indices]:
    """Those pairs of centres that are not one, and whose members may yet be neighbours."""
    apart = joined.component[a] != joined.component[b]
    a, b = a[apart], b[apart]
    near = joined.lengths(a, b) <= (joined.distance + stars.radius[a] + stars.radius[b]) * _MARGIN
    return a[near], b[near]


class Neighbours:
    """A tree of shadows, which finds pairs a batch at a time."""

    def __init__(self, shadows: Shadows) -> None:
        """Build the tree."""
        from scipy.spatial import KDTree

        self._shadows, self._tree = shadows, KDTree(shadows.points[:, :_TREE_DIM])

    def of(self, rows: Indices, lengths: Numbers) -> tuple[int, Indices, Indices]:
        """All pairs of a row and a point that may stand within its length, for as many of the rows as memory allows.

        Returns:
            How many rows were taken, the first ones and at least one; and the pairs, row by row.
        """
        points, reach = self._shadows.points, self._shadows.reach(lengths)
        asked = points[rows, :_TREE_DIM]
        counts = self._tree.query_ball_point(asked, reach, return_length=True)
        taken = max(1, int(np.searchsorted(np.cumsum(counts), _PAIRS, side="right")))
        counts = counts[:taken]
        found = self._tree.query_ball_point(asked[:taken], reach[:taken], return_sorted=False)
        first = np.repeat(np.arange(taken), counts)
        second = np.fromiter(chain.from_iterable(found), dtype=np.int64, count=len(first))
        near = np.empty(len(first), dtype=bool)
        for start in range(0, len(first), _SLICE):
            i, j = first[start : start + _SLICE], second[start : start + _SLICE]
            differences = points[rows[i]] - points[j]
            near[start : start + _SLICE] = np.einsum("ij,ij->i", differences, differences) <= reach[i] ** 2
        return taken, rows[first[near]], second[near]

"""Escape by noise: to which attractors do perturbed fixed points, or perturbed samples, go?

Gaussian noise moves a fixed point once, and exact iteration takes it on, back or to another attractor. Done again and
again, a perturbation whenever the orbit has settled, this is a Markov chain on the attractors. How long it stays where,
and which attractors it rarely leaves together, is in its transition matrix.

The noise of a fixed point, or sample, comes from the seed and from where it stands, so that it sees the same numbers
alone and among others, in any order, and, but for coordinates on the edge of a rounding, on every device. Perturbed
states stream: a block of them is worked on at a time, and only their counts are kept.

Source: Freidlin and Wentzell, Random Perturbations of Dynamical Systems, chapter 6 (the chain on the attractors).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from dynlab.attractors.basins import Basins
from dynlab.attractors.reached import Reached, attractors_reached, known_attractors
from dynlab.attractors.robustness.chain import MarkovChain, markov_chain
from dynlab.attractors.statistics import wilson_interval
from dynlab.dynamics import FixedPoint
from dynlab.dynamics.blocks import home_of
from dynlab.errors import check_count
from dynlab.maps import Map, check_is_one_map, flat_states
from dynlab.short_repr import short_repr
from dynlab.training.streams import MAX_SEED

if TYPE_CHECKING:
    import networkx

_BLOCK_BYTES, _BLOCK_ROWS = 2**25, 2**16  # perturbed states in float64 that exist together
_DECIMALS = 6  # of a state, that its noise depends on: more than Newton's method leaves open in a fixed point


@dataclass(frozen=True)
class EscapeGraph:
    """Where perturbed attractors go, in the order of `Basins.fixed_points`; on the CPU."""

    __repr__ = short_repr

    map_sha256: str
    sigma: float
    draws: int  # from each attractor
    seed: int
    # From row to column. The last two columns are `elsewhere`, attractors that are none of these, and `unresolved`,
    # no attractor within the limits of steps: cycles and orbits that diverge are among them.
    counts: Int64[Tensor, "attractors outcomes"]
    # Of the draws that ended at one of these attractors: the chain is conditional on that, its rows renormalised.
    chain: MarkovChain

    @property
    def probabilities(self) -> Float64[Tensor, "attractors outcomes"]:
        """Shares of all draws, in the layout of `counts`."""
        return self.counts.double() / self.draws

    @property
    def intervals(self) -> Float64[Tensor, "attractors outcomes 2"]:
        """Lower and upper ends of the 95% intervals of `probabilities`."""
        return _intervals(self.counts, self.draws)

    @property
    def escapes(self) -> Int64[Tensor, " attractors"]:
        """Draws that did not come back to the attractor they started from; `elsewhere` and `unresolved` are such."""
        return self.draws - self.counts.diagonal()

    @property
    def escape_probabilities(self) -> Float64[Tensor, " attractors"]:
        """Share of the draws from each attractor that did not come back."""
        return self.escapes.double() / self.draws

    @property
    def escape_intervals(self) -> Float64[Tensor, "attractors 2"]:
        """Lower and upper ends of the 95% intervals of `escape_probabilities`."""
        return _intervals(self.escapes, self.draws)

    def to_networkx(self) -> networkx.DiGraph:
        """Nodes are attractors by index, edges are the escapes that were seen; all attributes are scalars.

        An edge has `kind="escape"`, its `probability` with the ends `low` and `high` of its interval, and `count`. A
        node has `escape_probability` with `escape_low` and `escape_high`, the probabilities `elsewhere` and
        `unresolved`, `recurrent_class` and `group`, -1 for none, and `stationary`, its share in the stationary
        distribution of its class, 0 where it has none.
        """
        import networkx

        graph = networkx.DiGraph(sigma=self.sigma, draws=self.draws, seed=self.seed, map_sha256=self.map_sha256)
        shares, ends, escape_ends = self.probabilities.tolist(), self.intervals, self.escape_intervals.tolist()
        stationary = self.chain.stationary.sum(dim=0).tolist()  # classes have no attractor in common
        for index, share in enumerate(self.escape_probabilities.tolist()):
            graph.add_node(
                index,
                escape_probability=share,
                escape_low=escape_ends[index][0],
                escape_high=escape_ends[index][1],
                elsewhere=shares[index][-2],
                unresolved=shares[index][-1],
                recurrent_class=int(self.chain.classes[index]),
                group=int(self.chain.groups[index]),
                stationary=stationary[index],
            )
        for start, end in self.counts[:, :-2].nonzero().tolist():
            if start != end:
                low, high = ends[start, end].tolist()
                count = int(self.counts[start, end])
                graph.add_edge(
                    start, end, kind="escape", probability=shares[start][end], low=low, high=high, count=count
                )
        return graph


@dataclass(frozen=True)
class SampleEscapes:
    """How often noise takes samples to another outcome; on the CPU."""

    # Attractor of each sample without noise: an index into the known ones, from their number on others, -1 for none.
    outcomes: Int64[Tensor, " samples"]
    draws: int  # for each sample
    escapes: Int64[Tensor, " samples"]  # draws with another outcome, those that are unresolved included
    unresolved: Int64[Tensor, " samples"]  # draws without an attractor within the limits of steps

    @property
    def probabilities(self) -> Float64[Tensor, " samples"]:
        """Share of the draws with another outcome; NaN for a sample that has no outcome itself."""
        return torch.where(self.outcomes < 0, torch.nan, self.escapes.double() / self.draws)

    @property
    def intervals(self) -> Float64[Tensor, "samples 2"]:
        """Lower and upper ends of the 95% intervals of `probabilities`."""
        return torch.where(self.outcomes[:, None] < 0, torch.nan, _intervals(self.escapes, self.draws))


def escape_graph(
    system: Map,
    basins: Basins,
    sigma: float,
    draws: int,
    seed: int = 0,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 100_000,
    on_progress: Callable[[float], None] | None = None,
) -> EscapeGraph:
    """Perturb each attractor again and again, and see where iteration takes it.

    Memory is that of a block of perturbed states, of the counts, and of the attractors that are found elsewhere.

    Args:
        system: The map.
        basins: Its attractors.
        sigma: Standard deviation of the noise on each coordinate, in units of the state, at least 0.
        draws: Perturbations of each attractor, at least 1.
        seed: Of the noise, from 0 to 2^63 - 1.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.
        max_exact_steps: As in `dynlab.iterate`.
        on_progress: Called with the share of draws that are done, from 0 to 1.

    Returns:
        Counts, and the Markov chain on the attractors.

    Raises:
        InputError: If the basins are those of another map.
        ValueError: If an argument is out of its range.
    """
    _check(sigma, draws, seed)
    basins.check_map(system)
    reach = partial(attractors_reached, tolerance=tolerance, max_steps=max_steps, max_exact_steps=max_exact_steps)
    points = basins.fixed_points
    known = known_attractors(system, points, tolerance=tolerance)
    counts = torch.zeros(len(points), len(points) + 2, dtype=torch.int64)
    done = 0
    for start, end in _ends(system, points, known, sigma, draws, seed, reach):
        column = torch.where(end < 0, len(points) + 1, end.clamp(max=len(points)))
        counts.index_put_((start, column), torch.ones_like(start), accumulate=True)
        done += len(start)
        if on_progress:
            on_progress(done / (draws * len(points)))
    return EscapeGraph(basins.map_sha256, float(sigma), draws, seed, counts, markov_chain(counts[:, :-2].double()))


def escape_probability(
    system: Map,
    states: Float[Tensor, " samples *state"],
    known: Sequence[FixedPoint],
    sigma: float,
    draws: int,
    seed: int = 0,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 100_000,
    on_progress: Callable[[float], None] | None = None,
) -> SampleEscapes:
    """Perturb each sample again and again, and count how often it ends at another attractor than without noise.

    Args:
        system: The map.
        states: The samples, shape (samples, dim) or `(samples, *state_shape)`, finite.
        known: Attractors, as `known_attractors` or `Orbits.fixed_points` give them, so as not to look for them again.
        sigma: Standard deviation of the noise on each coordinate, in units of the state, at least 0.
        draws: Perturbations of each sample, at least 1.
        seed: Of the noise, from 0 to 2^63 - 1.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.
        max_exact_steps: As in `dynlab.iterate`.
        on_progress: Called with the share of draws that are done, from 0 to 1.

    Returns:
        The outcome of each sample, and how many draws had another one.

    Raises:
        ValueError: If an argument is out of its range, the samples do not fit the map or are not finite, or the map
            holds inputs for several samples.
    """
    _check(sigma, draws, seed)
    check_is_one_map(system)
    states = flat_states(system, states)
    reach = partial(attractors_reached, tolerance=tolerance, max_steps=max_steps, max_exact_steps=max_exact_steps)
    home = home_of(system, states)
    undisturbed = reach(system, states.to(home.device, home.dtype), known)
    known = [*known, *undisturbed.others]
    escapes, unresolved = torch.zeros(2, len(states), dtype=torch.int64)
    done = 0
    for start, end in _ends(system, states, known, sigma, draws, seed, reach):
        escapes.index_add_(0, start, (end != undisturbed.labels[start]).long())
        unresolved.index_add_(0, start, (end < 0).long())
        done += len(start)
        if on_progress:
            on_progress(done / (draws * len(states)))
    return SampleEscapes(undisturbed.labels, draws, escapes, unresolved)


def _intervals(hits: Int64[Tensor, "*shape"], draws: int) -> Float64[Tensor, "*shape 2"]:
    flat = hits.flatten()
    return wilson_interval(flat, torch.full_like(flat, draws)).unflatten(0, hits.shape)


def _ends(
    system: Map,
    centres: Float[Tensor, "centres dim"],
    known: Sequence[FixedPoint],
    sigma: float,
    draws: int,
    seed: int,
    reach: Callable[[Map, Tensor, Sequence[FixedPoint]], Reached],
) -> Iterator[tuple[Int64[Tensor, " rows"], Int64[Tensor, " rows"]]]:
    """Which centre each perturbed state started from, and its attractor: a known one, from their number on others."""
    known = list(known)
    home = home_of(system, centres)
    for start, states in _perturbed(centres, sigma, draws, seed):
        reached = reach(system, states.to(home.device, home.dtype), known)
        known += reached.others  # Newton's method costs as much as thousands of steps: once for each attractor
        yield start, reached.labels


def _perturbed(
    centres: Float[Tensor, "centres dim"], sigma: float, draws: int, seed: int
) -> Iterator[tuple[Int64[Tensor, " rows"], Float64[Tensor, "rows dim"]]]:
    """All perturbed states, centre by centre, in blocks of limited size."""
    size = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (8 * max(1, centres.shape[1]))))
    states = centres.detach().cpu().double().numpy()
    starts: list[np.ndarray] = []
    parts: list[np.ndarray] = []
    room = size
    for index, centre in enumerate(states):
        stream, missing = _noise(centre, seed), draws
        while missing:
            count = min(missing, room)
            parts.append(centre + sigma * stream.standard_normal((count, len(centre))))
            starts.append(np.full(count, index))
            missing, room = missing - count, room - count
            if not room or (not missing and index == len(states) - 1):
                yield torch.from_numpy(np.concatenate(starts)), torch.from_numpy(np.concatenate(parts))
                starts, parts, room = [], [], size


def _noise(centre: np.ndarray, seed: int) -> np.random.Generator:
    """The stream of one centre, the same whatever the size of the blocks it is drawn in."""
    place = np.round(centre, _DECIMALS) + 0.0  # no negative zeros
    words = np.frombuffer(hashlib.sha256(place.tobytes()).digest(), dtype=np.uint32)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words.tolist()])))


def _check(sigma: float, draws: int, seed: int) -> None:
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma is {sigma}, expected a finite number of at least 0")
    check_count("draws", draws, 1)
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed is {seed}, expected from 0 to 2^63 - 1")

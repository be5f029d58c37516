"""Attractors followed along a parameter of their map: which continue, and where others begin and end.

Between two levels of the parameter nothing is interpolated. The fixed point of an attractor is iterated under the map
of the next level, and ends at an attractor there; in the same way each attractor of the next level is led back. Where
the two links are mutual, both are one attractor that has moved: it went less far than to the boundary of its basin,
seen from either side. What has no such partner has ended, or begun, and the samples of its basin say into what, or from
what. All of it is symmetric: along the levels in reverse beginnings are ends, and ends are beginnings.

An attractor that no sample reaches any more is not gone. So the attractors of each level are those that samples reach,
and all that is met by leading attractors of the neighbouring levels on and back, until nothing new turns up.

Source: the seeding is that of Datseris, Rossi and Wagemakers, Framework for global stability analysis of dynamical
systems, 2023, which starts the search at each parameter from the attractors found at the one before; the links back,
and words that need both, are added here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, SupportsFloat

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from dynlab.attractors.basins import Basins, basins_of_orbits
from dynlab.attractors.following.followed import Change, Event, Followed
from dynlab.attractors.reached import Reached, attractors_reached
from dynlab.dynamics import FixedPoint, Orbits, iterate, spectral_radius
from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.known import SAME_POINT
from dynlab.dynamics.sources import Batch, Source
from dynlab.maps import Map, check_is_one_map, float64_copy

__all__ = ["Change", "Event", "Followed", "follow_attractors"]

_NONE, _UNDECIDED = -1, -2  # links to nothing: no fixed point reached, and an unstable one that is not left
# Relative residual below which a state is a fixed point of another map, too: a fixed point that moves at all with the
# parameter leaves far more, and its own residual of 1e-12 less.
_STANDS = 1e-10


def follow_attractors(
    maps: Iterable[Map],
    samples: Batch,
    levels: Iterable[SupportsFloat],
    *,
    parameter: str = "corruption level",
    share: float = 0.5,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 100_000,
    on_progress: Callable[[float], None] | None = None,
) -> Followed:
    """Follow the attractors that samples reach along a parameter of the map.

    Let `a` be an attractor of a level, `f(a)` the attractor of the next level that its fixed point reaches there, and
    `g(b)` likewise for an attractor `b` of the next level under the map before. Then

    - `a` and `b` are one *branch* if `f(a) = b` and `g(b) = a`, whatever their basins;
    - an `a` without a partner has *merged* into the branch of `b = f(a)` if at least `share` of the samples in its
      basin are in that of `b` at the next level, or if it has no samples; else it has *disappeared*;
    - a `b` without a partner has *split* off the branch of `a = g(b)` if at least `share` of the samples in its basin
      were in that of `a` at the level before, or if it has no samples; else it has *appeared*.

    The generic way for an attractor to end is a fold, in which it meets a saddle of its boundary. Behind that saddle is
    the basin of one neighbour, which takes over the whole of its basin: it has merged. Backwards, an attractor born in
    a fold within the basin of another one has split off it. So these words are about basins, not about fixed points:
    the two attractors do not meet. What disappears has left with its samples going different ways, has become a cycle
    or another attractor that is no fixed point, or its orbits diverge.

    Two attractors that end at one are two links to it, of which at most one is mutual: one continues, the others merge.
    Where nothing is generic, a fixed point may stay where it is and turn unstable. Its orbit would be decided by
    rounding, and counts as undecided. If just one attractor of the other level leads there, both are one branch, as
    where two fixed points pass through each other and exchange stability (transcritical). If there are several, as in
    a pitchfork that is perfectly symmetric, none is preferred: all of them have split off, and the one in their middle
    has disappeared. In a pitchfork that is not perfect one continues and the other splits off.

    Links say nothing of what happens between two levels. With steps too coarse, an attractor that ends can pass its
    partner on to a new one nearby, and two events can hide each other. Finer levels show it: a continuation is safe if
    a level in between confirms it, and `follow_fixed_point` follows a fixed point without gaps.

    Args:
        maps: A map for each level, all of one dim, none with inputs for several samples.
        samples: The initial states, shape (samples, dim) or `(samples, *state_shape)`, the same for all levels.
        levels: Values of the parameter, at least two, strictly rising or strictly falling.
        parameter: What it is called.
        share: Of a basin's samples, from 0 to 1, that must go one way for it to have merged or split.
        tolerance: As in `dynlab.iterate`, like what follows.
        max_steps: See there.
        max_exact_steps: See there. An attractor whose fixed point needs more steps than these at a neighbouring level,
            as just behind a fold, has no link there.
        on_progress: Called with the share of the samples of all levels that are decided, from 0 to 1.

    Returns:
        Attractors, branches and events. Basins hold attractors that no sample reaches, too, with size 0.

    Raises:
        ValueError: If an argument is out of its range, or maps, levels and samples do not fit together.
    """
    maps, levels = list(maps), [float(level) for level in levels]
    _check(maps, samples, levels, parameter, share)
    limits = {"tolerance": tolerance, "max_steps": max_steps, "max_exact_steps": max_exact_steps}
    reach = partial(attractors_reached, **limits)
    stages: list[_Stage] = []
    for number, system in enumerate(maps):
        points: list[FixedPoint] = []
        if stages:
            stages[-1].onward = _lead(stages[-1].points, system, points, reach)
        progress = _part_of(on_progress, number, len(maps))
        orbits = iterate(system, samples, keep_states=False, known=points, on_progress=progress, **limits)
        seeded = set(points)
        points += [point for point in orbits.fixed_points if point not in seeded]
        stages.append(_Stage(system, orbits, points, [], []))
    # Whom an attractor is led to may be new there, and has to be led on and back itself.
    while any(stage.is_open(first=stage is stages[0], last=stage is stages[-1]) for stage in stages):
        for one, other in pairwise(stages):
            one.onward += _lead(one.points[len(one.onward) :], other.system, other.points, reach)
        for one, other in pairwise(reversed(stages)):
            one.backward += _lead(one.points[len(one.backward) :], other.system, other.points, reach)
    return _followed(stages, parameter, levels, share)


@dataclass
class _Stage:
    """A level while its attractors are gathered."""

    system: Map
    orbits: Orbits  # of the samples
    points: list[FixedPoint]  # all attractors known
    # The attractor that each one is led to at the level after, and before: for as many as have been led there.
    onward: list[int]
    backward: list[int]

    def is_open(self, *, first: bool, last: bool) -> bool:
        """Whether there are attractors that have not been led to both neighbours."""
        led = min(math.inf if last else len(self.onward), math.inf if first else len(self.backward))
        return led < len(self.points)


def _lead(
    seeds: Sequence[FixedPoint], system: Map, points: list[FixedPoint], reach: Callable[..., Reached]
) -> list[int]:
    """Iterate fixed points of one map under another one.

    Args:
        seeds: The fixed points.
        system: The other map.
        points: Its attractors that are known; new ones are added.
        reach: `attractors_reached` with its limits.

    Returns:
        For each of the seeds the index of the attractor reached, `_NONE` or `_UNDECIDED`.
    """
    if not seeds:
        return []
    exact = float64_copy(system)
    states = torch.stack([seed.state for seed in seeds])
    reached = reach(exact, states, points)
    points += reached.others
    states = states.to(home_of(exact, states).device)
    with torch.no_grad():
        lengths = torch.linalg.vector_norm(exact(states) - states, dim=1).tolist()
    return [
        _UNDECIDED
        if length <= _STANDS * _scale(seed) and _has_left(seed, points, label) and _is_unstable(exact, state)
        else label
        for state, seed, length, label in zip(states, seeds, lengths, reached.labels.tolist(), strict=True)
    ]


def _has_left(seed: FixedPoint, points: Sequence[FixedPoint], label: int) -> bool:
    apart = math.inf if label < 0 else float(torch.linalg.vector_norm(points[label].state - seed.state))
    return apart > SAME_POINT * _scale(seed)


def _is_unstable(exact: Map, state: Float64[Tensor, " dim"]) -> bool:
    """Whether orbits leave; near a slow attractor that has moved a little, they come to where it is now."""
    return float(spectral_radius(exact, state[None])[0]) >= 1


def _scale(point: FixedPoint) -> float:
    return max(1.0, float(torch.linalg.vector_norm(point.state)))


@dataclass(frozen=True)
class _Side:
    """The attractors of one of two neighbouring levels."""

    links: list[int]  # the attractor of the other level that each one is led to
    labels: Int64[Tensor, " samples"]
    branches: list[int]


def _followed(stages: Sequence[_Stage], parameter: str, levels: Sequence[float], share: float) -> Followed:
    orders = [_order(stage) for stage in stages]
    basins = [_basins(stage, order) for stage, order in zip(stages, orders, strict=True)]
    branches, count = [list(range(len(orders[0])))], len(orders[0])
    events: list[Event] = []
    for level in range(1, len(stages)):
        onward = _renumbered(stages[level - 1].onward, orders[level - 1], orders[level])
        backward = _renumbered(stages[level].backward, orders[level], orders[level - 1])
        partner = {after: before for before, after in _pairs(onward, backward)}
        found: list[int] = []
        for attractor in range(len(backward)):
            found.append(branches[-1][partner[attractor]] if attractor in partner else count)
            count += attractor not in partner
        before = _Side(onward, basins[level - 1].labels, branches[-1])
        after = _Side(backward, basins[level].labels, found)
        begun = _events(after, before, level, share, joined=Change.SPLIT, alone=Change.APPEARED)
        ended = _events(before, after, level, share, joined=Change.MERGED, alone=Change.DISAPPEARED)
        events += sorted([*begun, *ended], key=lambda event: event.branch)
        branches.append(found)
    return Followed(
        parameter=parameter,
        levels=torch.tensor([float(level) for level in levels], dtype=torch.float64),
        basins=basins,
        branches=[torch.tensor(one, dtype=torch.int64) for one in branches],
        events=events,
        share=float(share),
    )


def _events(side: _Side, other: _Side, level: int, share: float, *, joined: Change, alone: Change) -> Iterator[Event]:
    """Events of the branches that the other level does not have: `joined` with a branch there, or `alone`."""
    for attractor, branch in enumerate(side.branches):
        if branch in other.branches:
            continue
        link = side.links[attractor]
        members = other.labels[side.labels == attractor]
        went = float((members == link).double().mean())  # NaN without members
        if link >= 0 and not went < share:
            yield Event(joined, level, branch, other.branches[link], went)
        else:
            yield Event(alone, level, branch, -1, math.nan)


def _order(stage: _Stage) -> list[int]:
    """The attractors in the order of `Basins`: by falling size, then lexicographically."""
    number = {point: index for index, point in enumerate(stage.orbits.fixed_points)}
    sizes = torch.bincount(stage.orbits.fixed_point + 1, minlength=len(number) + 1)[1:].tolist()
    keys = [(-sizes[number[point]] if point in number else 0, point.state.tolist()) for point in stage.points]
    return sorted(range(len(keys)), key=keys.__getitem__)


def _basins(stage: _Stage, order: Sequence[int]) -> Basins:
    """Basins of the samples, with attractors that none of them reaches."""
    points = [stage.points[index] for index in order]
    rank = {point: index for index, point in enumerate(points)}
    ranks = torch.tensor([*(rank[point] for point in stage.orbits.fixed_points), -1])
    orbits = replace(stage.orbits, fixed_points=points, fixed_point=ranks[stage.orbits.fixed_point])
    return basins_of_orbits(stage.system, orbits)


def _renumbered(links: Sequence[int], order: Sequence[int], target_order: Sequence[int]) -> list[int]:
    rank = {index: place for place, index in enumerate(target_order)} | {_NONE: _NONE, _UNDECIDED: _UNDECIDED}
    return [rank[links[index]] for index in order]


def _pairs(onward: Sequence[int], backward: Sequence[int]) -> list[tuple[int, int]]:
    """Attractors of two levels that are one branch: mutual links, and single links to one that is undecided."""
    onto, back_onto = Counter(onward), Counter(backward)
    pairs = [
        (before, after)
        for before, after in enumerate(onward)
        if after >= 0 and (backward[after] == before or (backward[after] == _UNDECIDED and onto[after] == 1))
    ]
    pairs += [
        (before, after)
        for after, before in enumerate(backward)
        if before >= 0 and onward[before] == _UNDECIDED and back_onto[before] == 1
    ]
    return pairs


def _part_of(on_progress: Callable[[float], None] | None, number: int, count: int) -> Callable[[float], None] | None:
    return None if on_progress is None else lambda done: on_progress((number + done) / count)


def _check(maps: Sequence[object], samples: Any, levels: Sequence[float], parameter: object, share: float) -> None:
    if not isinstance(parameter, str):
        raise ValueError(f"parameter is {parameter!r}, expected a name")
    steps = [after - before for before, after in pairwise(levels)]
    if not steps or not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        raise ValueError(f"levels is {list(levels)}, expected at least two values, strictly rising or strictly falling")
    if not all(math.isfinite(level) for level in levels):
        raise ValueError(f"levels is {list(levels)}, expected finite numbers")
    if len(maps) != len(levels):
        raise ValueError(f"maps holds {len(maps)} maps, expected {len(levels)}, one for each level")
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected from 0 to 1")
    if not isinstance(samples, Tensor | np.ndarray):
        raise ValueError(
            f"samples is a {type(samples).__name__}, expected a tensor or an array, as each level needs all"
        )
    dim = None
    for number, system in enumerate(maps):
        if not isinstance(system, Map):
            raise ValueError(f"maps holds a {type(system).__name__} at {number}, expected a Map, as `as_map` makes one")
        dim = system.dim if dim is None else dim
        if system.dim != dim:
            raise ValueError(f"maps holds a map of dim {system.dim} at {number}, expected {dim} as at 0")
        check_is_one_map(system, parameter=f"maps[{number}]")
        Source(system, samples, parameter="samples")

"""Samples that remain unresolved: they neither came to rest nor went round a cycle nor diverged. Chaotic, or only slow?

A few of them are followed on from where iteration left them. A leading Lyapunov exponent above zero means that small
differences grow: that is chaos if the orbit moves on at its pace; if its own steps grow like them it only leaves an
unstable state, and if it hardly moves it creeps past one. An exponent below zero means that the orbit settles. Where
differences grow or shrink like a power of the steps, as on tori, where a multiplier is 1, and on the way to the ghost
of a fold, the average goes to zero, but so slowly that its standard error does not show it. So what leaves must have
half the exponent in the second half of the steps. Of what settles more can be asked: where differences shrink like
`1 / n^p`, the exponent at step `n` is `-p / n`, and its inverse grows by `1 / p` with each step, however late it is;
where the orbit settles it stays what it is.

Source: `dynlab.dynamics.lyapunov`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.dynamics import Orbits, Status, lyapunov_exponents
from dynlab.dynamics.blocks import home_of
from dynlab.evaluation.numbers import finite_or_none
from dynlab.maps import Map, float64_copy

FOLLOWED = 8  # samples, evenly spread over those that are unresolved
STEPS = 2000
_TURN = 200  # steps before, in which the frame of tangents turns into the directions of growth
_EXPONENTS = 2  # of each sample, the leading ones
_CERTAIN = 3  # standard errors by which an exponent is not zero
_ROUNDING = 1e-9  # of an exponent, whatever its standard error
_HOLDS = 0.5  # of the exponent of the first half, that of the second; of growth like a power of the steps it is a third
_GROWN = 3.0  # logarithm of the growth of small differences, over half of the steps, that chaos takes; a line has ln 2
_SLOWS = 0.1  # per step, that the inverse of an exponent may grow where an orbit settles; on the way to a ghost 1 / 2
DRAWN_DIM = 2  # largest dim at which the states on the way are kept, to be drawn


class Course(StrEnum):
    """What an unresolved sample does."""

    CHAOTIC = "chaotic"  # it moves on at its pace, while small differences grow
    LEAVING = "leaving"  # its steps grow like small differences: it leaves an unstable state, for wherever
    SETTLING = "settling"  # small differences shrink, and do not slow down
    STANDING = "standing"  # it does not move: on a fixed point that is not known to attract
    CREEPING = "creeping"  # its steps are shorter than the tolerance, and small differences hardly shrink
    UNDECIDED = "undecided"  # it moves, and small differences neither grow nor shrink for certain
    DIVERGING = "diverging"  # it, or the growth of differences, left the range of floating point numbers


@dataclass(frozen=True)
class RestlessSample:
    """One sample that was followed."""

    sample: int
    course: Course
    # Leading Lyapunov exponents, natural logarithms per step, falling as far as they converged, and their standard
    # errors. None where one is not finite: where the orbit diverges, or a step annihilates a direction.
    exponents: list[float | None]
    standard_errors: list[float | None]
    median_step_length: float | None  # None where it is not finite


@dataclass(frozen=True)
class RestlessSummary:
    """Some of the unresolved samples, and how they go on."""

    steps: int  # over which growth was averaged
    samples: list[RestlessSample]  # rising


def restless_of(
    system: Map, orbits: Orbits, tolerance: float, on_progress: Callable[[float], None] | None = None
) -> tuple[RestlessSummary | None, Float64[Tensor, "followed steps dim"]]:
    """Follow some unresolved samples.

    Args:
        system: The map.
        orbits: Its orbits, with their states.
        tolerance: Step length below which a sample creeps.
        on_progress: Called with the share that is done, where there is anything to do.

    Returns:
        What was found, None where every sample is resolved; and the states on the way, on the CPU: no sample's where
        states have more than two numbers.
    """
    rows = orbits.status.are(Status.UNRESOLVED).nonzero()[:, 0]
    nothing = torch.zeros(0, STEPS, system.dim, dtype=torch.float64)
    if not len(rows):
        return None, nothing
    report = on_progress or (lambda done: None)
    report(0.0)
    chosen = rows[torch.linspace(0, len(rows) - 1, min(FOLLOWED, len(rows))).round().long()]
    bound, states = system.for_samples(chosen), orbits.states[chosen].reshape(len(chosen), system.dim).double()
    count = min(_EXPONENTS, system.dim)
    found = lyapunov_exponents(bound, states, count=count, steps=STEPS, transient=_TURN)
    report(0.8)
    lengths, way = _way(float64_copy(bound), states)
    first, _, _, last = lengths.chunk(4)
    measured = zip(
        found.diverged.tolist(),
        found.exponents[:, 0].tolist(),
        found.standard_errors[:, 0].tolist(),
        *(half.mean(dim=1).tolist() for half in found.block_means[:, :, 0].chunk(2, dim=1)),
        lengths.median(dim=0).values.tolist(),
        ((last.median(dim=0).values / first.median(dim=0).values).log() / (0.75 * STEPS)).tolist(),
        strict=True,
    )
    courses = [
        Course.DIVERGING if diverged else _course(Growth(*numbers), tolerance) for diverged, *numbers in measured
    ]
    columns = zip(chosen.tolist(), courses, found.exponents, found.standard_errors, lengths.T, strict=True)
    samples = [
        RestlessSample(
            sample,
            course,
            [finite_or_none(value) for value in leading.tolist()],
            [finite_or_none(value) for value in errors.tolist()],
            finite_or_none(float(steps.median())),
        )
        for sample, course, leading, errors, steps in columns
    ]
    report(1.0)
    return RestlessSummary(STEPS, samples), way if way is not None else nothing


def lasting_ways(
    found: RestlessSummary | None, way: Float64[Tensor, "followed steps dim"]
) -> Float64[Tensor, "lasting steps dim"]:
    """Of the ways that were kept, those of samples that stay where they are seen: that neither leave nor diverge."""
    if found is None or not len(way):
        return way
    stays = [one.course not in (Course.LEAVING, Course.DIVERGING) for one in found.samples]
    return way[torch.tensor(stays)]


@torch.no_grad()
def _way(
    exact: Map, states: Float64[Tensor, "followed dim"]
) -> tuple[Float64[Tensor, "steps followed"], Float64[Tensor, "followed steps dim"] | None]:
    """Step lengths over the steps that exponents are averaged over, and the states there where they are kept."""
    current = states.to(home_of(exact, states).device)
    for _ in range(_TURN):
        current = exact(current)
    visited, lengths = [], []
    for _ in range(STEPS):
        visited.append(current if exact.dim <= DRAWN_DIM else current[:0])
        following = exact(current)
        lengths.append(torch.linalg.vector_norm(following - current, dim=1))
        current = following
    way = torch.stack(visited, dim=1).cpu() if exact.dim <= DRAWN_DIM else None
    return torch.stack(lengths).cpu(), way


@dataclass(frozen=True)
class Growth:
    """How small differences, and steps, grow along the orbit of one sample, in natural logarithms per step."""

    exponent: float  # leading Lyapunov exponent
    error: float  # its standard error
    earlier: float  # the same over the first half of the steps
    later: float  # and over the second half
    length: float  # median step length
    quicker: float  # growth of the step length

    @property
    def lasts(self) -> bool:
        """Whether differences that shrink go on to do so."""
        if not (self.earlier < 0 and self.later < 0):
            return False
        return 1 / -self.later - 1 / -self.earlier < _SLOWS * STEPS / 2


def _course(found: Growth, tolerance: float) -> Course:
    """What a sample that stays finite does; steps below the tolerance are short."""
    if found.length == 0:
        return Course.STANDING
    certain = _ROUNDING + (_CERTAIN * found.error if math.isfinite(found.error) else 0.0)  # -inf has no error
    holds = found.later == found.earlier or found.later / found.earlier > _HOLDS
    if found.exponent < -certain and found.lasts:
        return Course.SETTLING
    if found.exponent > certain:
        if holds and found.quicker > found.exponent / 2:
            return Course.LEAVING
        if found.later * STEPS / 2 > _GROWN and found.quicker < found.exponent / 2:
            return Course.CHAOTIC
    return Course.CREEPING if found.length < tolerance else Course.UNDECIDED

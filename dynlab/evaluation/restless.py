"""Samples that remain unresolved: they neither came to rest nor went round a cycle nor diverged. Chaotic, or only slow?

A few of them are followed on from where iteration left them. A leading Lyapunov exponent above zero means that small
differences grow: chaos, if the orbit moves, and an orbit that creeps past a saddle, if it hardly does. One below zero
means that the orbit settles and needs more steps. Around zero it may run on a closed curve.

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
from dynlab.maps import Map, float64_copy

FOLLOWED = 8  # samples, evenly spread over those that are unresolved
STEPS = 2000
_TURN = 200  # steps before, in which the frame of tangents turns into the directions of growth
_EXPONENTS = 2  # of each sample, the leading ones
_CERTAIN = 3  # standard errors by which an exponent is not zero
_ROUNDING = 1e-9  # of an exponent, whatever its standard error
_DRAWN_DIM = 2  # largest dim at which the states on the way are kept, to be drawn


class Course(StrEnum):
    """What an unresolved sample does."""

    CHAOTIC = "chaotic"  # it moves, and small differences grow
    SETTLING = "settling"  # small differences shrink
    CREEPING = "creeping"  # its steps are shorter than the tolerance, and small differences do not shrink
    NEUTRAL = "neutral"  # it moves, and small differences neither grow nor shrink for certain
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
    exponents, errors = found.exponents.tolist(), found.standard_errors.tolist()
    columns = zip(chosen.tolist(), found.diverged.tolist(), exponents, errors, lengths, strict=True)
    samples = [
        RestlessSample(
            sample,
            _course(diverged, leading[0], spread[0], length, tolerance),
            [_finite(value) for value in leading],
            [_finite(value) for value in spread],
            _finite(length),
        )
        for sample, diverged, leading, spread, length in columns
    ]
    report(1.0)
    return RestlessSummary(STEPS, samples), way if way is not None else nothing


@torch.no_grad()
def _way(
    exact: Map, states: Float64[Tensor, "followed dim"]
) -> tuple[list[float], Float64[Tensor, "followed steps dim"] | None]:
    """Median step length of each sample, and its states where they are kept."""
    current = states.to(home_of(exact, states).device)
    visited, lengths = [current], []
    for _ in range(STEPS - 1):
        following = exact(current)
        lengths.append(torch.linalg.vector_norm(following - current, dim=1))
        current = following
        if exact.dim <= _DRAWN_DIM:
            visited.append(current)
    way = torch.stack(visited, dim=1).cpu() if exact.dim <= _DRAWN_DIM else None
    return torch.stack(lengths).median(dim=0).values.tolist(), way


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _course(diverged: bool, exponent: float, error: float, length: float, tolerance: float) -> Course:
    if diverged:
        return Course.DIVERGING
    certain = _ROUNDING + (_CERTAIN * error if math.isfinite(error) else 0.0)  # of an infinite one there is no error
    if exponent < -certain:
        return Course.SETTLING
    if length < tolerance:
        return Course.CREEPING
    return Course.CHAOTIC if exponent > certain else Course.NEUTRAL

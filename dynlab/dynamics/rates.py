"""Rates of convergence: by which factor a step do step lengths fall, and from which step on?

Near an attractor the step length falls like a power of the spectral radius: its logarithm lies along a line, after the
transient and before rounding ends the fall. The line is looked for among windows of all places and many lengths. Its
slope is the mean of the local slopes in a window, weighted by three moving averages of a third of the window each, one
after the other (a quadratic B-spline), which suppresses the wobble that a rotating leading pair of multipliers puts on
the line. Deterministic sequences have no standard errors, so a window is judged by how much the slope changes when it
is shortened to a half of it, or moved to the last place before the floor. The window with the least change is taken,
and none if that is more than a tenth. Where the floor is, the data say: windows stop being straight there.

Source: Bahdanau and Jaeger 2014, section 6.3 and figure 7 (straight lines on a logarithmic scale); de Boor, A Practical
Guide to Splines, 2001, chapter IX (B-splines as divided differences of truncated powers, here of running sums).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.answers import Orbits
from dynlab.short_repr import short_repr

# Less than this is no line yet: a power law is straight within a tenth over a factor of two.
_LEAST_FALL = math.log(10)
_STEADY = 0.1  # change of the slope, as a share of it, up to which a window is straight
# A step length that is exceeded by this factor later on belongs to a passage, not to the final decay.
_REGROWTH = math.log(1.5)
# Straight windows reach to a few times the noise; its share in a step length there falls with the square of this.
_CLEARANCE = math.log(4)
# How far from the line, in natural logarithms, one sees that a step length is off it.
_OFF_LINE = 0.25
_LEAVING = 8  # steps, each longer than the one before; noise does so once in 8! times
_SHORTEST = 5  # steps in the shortest window
_BLOCK = 64  # samples worked on together, for the cache


class Decay(StrEnum):
    """What was found in a sequence of step lengths."""

    EXPONENTIAL = "exponential"  # a stretch along a line
    TOO_SHORT = "too short"  # fewer than five step lengths above zero
    NO_DECAY = "no decay"  # does not fall by a factor of ten, or rises again afterwards
    NOT_STRAIGHT = "not straight"  # falls, but nowhere along a line, or along one that bends before the floor


@dataclass(frozen=True)
class ConvergenceRates:
    """How each recorded sample converges. Step `i` is the one with step length `||x_i - x_{i-1}||_2`, from 1 on.

    Where no line was found, `decay` says why, floating point fields are NaN and steps are -1.
    """

    __repr__ = short_repr

    rate: Float64[Tensor, " recorded"]  # factor per step, in (0, 1)
    sensitivity: Float64[Tensor, " recorded"]  # largest change of the rate for a halved or moved window; no error bound
    deviation: Float64[Tensor, " recorded"]  # largest of the log step length from the line, in natural-log units
    first: Int64[Tensor, " recorded"]  # first step of the window
    last: Int64[Tensor, " recorded"]  # last step of the window
    transient: Int64[Tensor, " recorded"]  # steps before the decay: from the next one on, all lie along the line
    decay: Sequence[Decay]


def convergence_rate(orbits: Orbits) -> ConvergenceRates:
    """Rate of convergence of each recorded sample, read off its step lengths.

    It is close to the spectral radius of the sample's attractor where the leading multiplier decides the last steps
    above the rounding floor. An orbit that hardly moves along the leading direction shows the rate of those it does
    move along, as does one that is recorded down to a tolerance only: then a saddle that it was still near goes
    unnoticed as well. Record with `to_floor`.

    Args:
        orbits: Where samples went, with recorded step lengths.

    Returns:
        One entry for each of `orbits.recorded`, on the CPU.

    Source: see the head of `dynlab.dynamics.rates`.
    """
    return rates_of_step_lengths(orbits.step_lengths)


def rates_of_step_lengths(step_lengths: Float[Tensor, "steps recorded"]) -> ConvergenceRates:
    """Rate of convergence of each column of step lengths.

    Args:
        step_lengths: Shape (steps, recorded), not negative. A column ends at its first zero or value that is not
            finite.

    Returns:
        One entry for each column, on the CPU.

    Raises:
        ValueError: If `step_lengths` has another number of axes than two, or holds a negative value.

    Source: see the head of `dynlab.dynamics.rates`.
    """
    if step_lengths.ndim != 2:
        raise ValueError(f"step_lengths has shape {tuple(step_lengths.shape)}, expected (steps, recorded)")
    if (step_lengths < 0).any():
        smallest = float(step_lengths.nan_to_num().min())
        raise ValueError(f"step_lengths has a smallest value of {smallest}, expected at least 0")
    lengths = step_lengths.detach().cpu().numpy()
    lines = [
        line
        for start in range(0, lengths.shape[1], _BLOCK)
        for line in _lines(lengths[:, start : start + _BLOCK].astype(np.float64))
    ]
    floats = torch.tensor([(line.rate, line.sensitivity, line.deviation) for line in lines], dtype=torch.float64)
    steps = torch.tensor([(line.first, line.last, line.transient) for line in lines], dtype=torch.int64)
    rate, sensitivity, deviation = floats.reshape(-1, 3).unbind(1)
    first, last, transient = steps.reshape(-1, 3).unbind(1)
    return ConvergenceRates(rate, sensitivity, deviation, first, last, transient, [line.decay for line in lines])


@dataclass(frozen=True)
class _Line:
    decay: Decay
    rate: float = math.nan
    sensitivity: float = math.nan
    deviation: float = math.nan
    first: int = -1
    last: int = -1
    transient: int = -1


@dataclass(frozen=True)
class _Window:
    """Windows of one length, all samples, one starting at each of some rows."""

    rows: NDArray[np.int64]  # (rows,)
    steps: int
    falls: NDArray[np.float64]  # (rows, samples), of the logarithm, per step
    changes: NDArray[np.float64]  # largest difference of the fall in one half of the window
    last_falls: NDArray[np.float64]  # (samples,), of the window at row 0
    straight: NDArray[np.bool_]  # falls far and steadily, and nothing grows again afterwards


def _lines(lengths: NDArray[np.float64]) -> list[_Line]:
    """The line in each column."""
    columns = np.arange(lengths.shape[1])
    positive = np.isfinite(lengths) & (lengths > 0)
    counts = np.where(positive.all(axis=0), len(lengths), np.argmin(positive, axis=0) if len(lengths) else 0)
    logs = np.log(np.where(positive, lengths, 1.0))[: counts.max(initial=0)]
    if not len(logs):
        return [_Line(Decay.TOO_SHORT)] * len(columns)
    from_end = _reversed(logs, counts)
    falling = _stays_below(from_end) & (from_end >= from_end[0] + _LEAST_FALL)
    falling &= np.arange(len(logs))[:, None] < counts
    decays = [
        Decay.TOO_SHORT if count < _SHORTEST else Decay.NOT_STRAIGHT if falls else Decay.NO_DECAY
        for count, falls in zip(counts, falling.any(axis=0), strict=True)
    ]

    ends = _before_floor(logs, counts)
    least = np.full(len(columns), _STEADY)  # change of the fall, as a share of it
    falls, firsts, lasts = np.zeros(len(columns)), np.zeros(len(columns), int), np.zeros(len(columns), int)
    for window in _windows(logs[: ends.max()], ends, growth=1.25, density=4):
        changes = np.maximum(window.changes, np.abs(window.falls - window.last_falls))
        shares = np.where(window.straight, changes, np.inf) / np.where(window.straight, window.falls, 1.0)
        best = shares.argmin(axis=0)
        better = np.flatnonzero(shares[best, columns] < least)
        least[better] = shares[best, columns][better]
        falls[better] = window.falls[best, columns][better]
        lasts[better] = (ends - 1 - window.rows[best])[better]
        firsts[better] = lasts[better] - window.steps + 1
    return [
        _described(logs[: last + 1, column], int(first), float(fall), float(share * fall))
        if fall > 0
        else _Line(decays[column])
        for column, (first, last, fall, share) in enumerate(zip(firsts, lasts, falls, least, strict=True))
    ]


def _before_floor(logs: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many steps of each sample are clear of the rounding floor; none where a line ends in anything else.

    The floor begins where windows stop being straight, and what comes then lies above their line.
    """
    columns, row = np.arange(logs.shape[1]), np.arange(len(logs))[:, None]
    latest, falls = np.full(len(columns), len(logs)), np.zeros(len(columns))
    for window in _windows(logs, counts, growth=1.5, density=2):
        index = window.straight.argmax(axis=0)
        later = np.flatnonzero(window.straight.any(axis=0) & (window.rows[index] < latest))
        latest[later], falls[later] = window.rows[index[later]], window.falls[index, columns][later]
    from_end = _reversed(logs, counts)
    level = from_end[np.minimum(latest, len(logs) - 1), columns]
    above_line = np.where(row < latest, from_end - level + falls * (latest - row), 0.0).sum(axis=0)
    falls_faster = above_line < -_OFF_LINE * latest
    leaves_saddle = (np.diff(from_end[: _LEAVING + 1], axis=0) < 0).all(axis=0) & (counts > _LEAVING) & (latest > 0)
    clear = (row >= latest) & (row < counts) & (from_end >= level + np.where(latest > 0, _CLEARANCE, 0.0))
    clear &= ~(falls_faster | leaves_saddle)
    return np.where(clear.any(axis=0), counts - clear.argmax(axis=0), 0)


def _reversed(logs: NDArray[np.float64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Columns with time reversed: row 0 is the last step of each sample, so that all end in one row."""
    rows = ends - 1 - np.arange(len(logs))[:, None]
    return np.take_along_axis(logs, np.maximum(rows, 0), axis=0)


def _stays_below(from_end: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether all later steps are about as short as this one, or shorter."""
    return np.maximum.accumulate(from_end, axis=0) <= from_end + _REGROWTH


def _windows(logs: NDArray[np.float64], ends: NDArray[np.int64], *, growth: float, density: int) -> Iterator[_Window]:
    """Windows before the end of each sample, from short to long; rows count backwards from there."""
    steps, columns = len(logs), np.arange(logs.shape[1])
    if not steps:
        return
    from_end = _reversed(logs, ends)
    stays_below = _stays_below(from_end)
    # Running sums of what departs from a straight line lose the fewest digits.
    trend = (from_end[np.maximum(ends - 1, 0), columns] - from_end[0]) / np.maximum(ends - 1, 1)
    departure = from_end - from_end[0] - trend * np.arange(steps)[:, None]
    sums = np.zeros((steps + 2, len(columns)))
    sums[2:] = np.cumsum(np.cumsum(departure, axis=0), axis=0)

    def falls(third: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weighted mean of the local slopes over `3 third - 1` steps: a third difference of second sums."""
        parts = (sums[rows + count * third] for count in range(4))
        first, second, following, last = parts
        return (last - 3 * following + 3 * second - first) / third**3 + trend

    third = 2  # even, so that a half is a window as well
    while 3 * third - 1 <= steps:
        rows = np.arange(0, steps - 3 * third + 2, max(1, third // density))
        whole = falls(third, rows)
        # Four halves, from the first to the last.
        halves = (falls(third // 2, rows + count * third // 2) for count in range(4))
        changes = np.max([np.abs(half - whole) for half in halves], axis=0)
        straight = (rows[:, None] + 3 * third - 1 <= ends) & stays_below[rows]
        straight &= (whole * (3 * third - 2) >= _LEAST_FALL) & (changes <= _STEADY * whole)
        yield _Window(rows, 3 * third - 1, whole, changes, whole[0], straight)
        third = max(third + 2, int(third * growth) // 2 * 2)


def _described(logs: NDArray[np.float64], first: int, fall: float, change: float) -> _Line:
    """The line of the window from row `first` to the last one, and how far back step lengths lie along it."""
    residuals = logs + fall * np.arange(len(logs))
    residuals = np.abs(residuals - residuals[first:].mean())
    deviation = float(residuals[first:].max())
    off_line = np.flatnonzero(residuals > deviation + _OFF_LINE)
    return _Line(
        decay=Decay.EXPONENTIAL,
        rate=math.exp(-fall),
        sensitivity=math.exp(-fall) * math.expm1(change),
        deviation=deviation,
        first=first + 1,
        last=len(logs),
        transient=int(off_line[-1]) + 1 if len(off_line) else 0,
    )

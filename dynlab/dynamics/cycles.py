"""Periodic attractors: the cycles that orbits come back to, once each, and which samples reach them.

A state of a cycle of period `p` is a fixed point of `F^p`, and what is known of fixed points serves: Newton's method
finds it from an orbit that has come back to where it was, the multipliers are the eigenvalues of the product of the
Jacobians along the cycle, and within a safe ball (`dynlab.dynamics.fixed_points`) an orbit is decided. One ball, around
one state of the cycle, is enough: every orbit that goes round with the cycle passes it once in `p` steps.

Not every orbit that comes back does so to an attractor: it may begin on an unstable cycle, or each orbit near it may be
a cycle of its own, as under a rotation. And an orbit that closes in on a fixed point from side to side, by less than
can be seen in two steps, seems to have come back and has not.

Source: Kuznetsov, Elements of Applied Bifurcation Theory, section 1.4 (cycles as fixed points, their multipliers).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import torch
from jaxtyping import Complex128, Float64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.dynamics.blocks import rows_of
from dynlab.dynamics.fixed_points import FixedPoint, examine_fixed_points, relative_residuals
from dynlab.dynamics.known import KnownFixedPoints, first_copies
from dynlab.dynamics.newton import RESIDUAL_TOLERANCE, newton_together
from dynlab.dynamics.spectra import spectrum
from dynlab.maps import Map
from dynlab.maps.iterated import Iterated
from dynlab.short_repr import short_repr

LEADING = 6  # multipliers of each cycle
_TOGETHER, _TOGETHER_NUMBERS = 128, 2**22  # starts of Newton's method at once, and numbers in all of their orbits
# An orbit that comes this near to itself, relatively, after a part of its period is of that period: steps below the
# rounding floor, which the decision calls no cycle, are of this length.
_SAME_PHASE = 1e-7
_LEAST_REACH = 1e-3  # of Newton's method: a slow orbit comes back long before it is near its cycle
_IN_VAIN = 256  # starts in a row that led to no attractor, after which the other ones of a round are left alone
_REMEMBERED = 512  # states on cycles that are not stable; where each orbit is such a cycle, none is met again


@dataclass(frozen=True, eq=False)  # equal only to itself: two orbits that end at one object end on one cycle
class Cycle:
    """A stable periodic orbit in float64."""

    __repr__ = short_repr

    states: Float64[Tensor, "period dim"]  # in the order of the orbit, from the first in lexicographic order
    residual: float  # the largest ||F(x) - y||_2 / max(1, ||y||_2) of a state x and the next one, y
    # Of `F^p` at each of the states: the leading six by falling modulus, seven where one of them is half of a pair.
    multipliers: Complex128[Tensor, " leading"]

    @property
    def period(self) -> int:
        """The number of its states, at least 2."""
        return len(self.states)

    @property
    def spectral_radius(self) -> float:
        """Largest modulus of a multiplier, below 1; the factor per round by which orbits approach the cycle."""
        return float(self.multipliers[0].abs())


class Return(Enum):
    """What it means that an orbit came back to where it was, where it is not in the ball of a cycle."""

    APPROACHING = auto()  # Newton's method leads on to a stable cycle
    SEEMING = auto()  # or to a cycle of a shorter period, or a fixed point
    OF_NO_ATTRACTOR = auto()  # or nowhere, or to a cycle that is not stable, as all around do that were looked at


class KnownCycles:
    """Periodic attractors that a search has found so far."""

    def __init__(self) -> None:
        self.found: list[Cycle] = []
        self._of_period: dict[int, _OfPeriod] = {}

    def reached(
        self, exact: Map, states: Float64[Tensor, "samples dim"], period: int, largest_radius: float
    ) -> tuple[NDArray[np.int64], list[Return]]:
        """Tell which cycle orbits reach that came back; new ones are looked for.

        Args:
            exact: The map in float64.
            states: States that the orbits came back to, on the device of the map; the most promising ones first, for
                where many have led to no attractor, as under a rotation, the others are not looked at.
            period: After how many steps, at least 2.
            largest_radius: Upper limit of the safe radius of a cycle, in units of the state.

        Returns:
            Index into `found` of the cycle of each sample, -1 for none; and, for each, what to think of it then.
        """
        if period not in self._of_period:
            self._of_period[period] = _OfPeriod(exact, period, states.device)
        known = self._of_period[period]
        labels = known.balls_of(states)
        returns = [Return.OF_NO_ATTRACTOR] * len(states)
        open_ = np.flatnonzero(labels < 0)
        together = max(1, min(_TOGETHER, _TOGETHER_NUMBERS // (period * exact.dim)))
        in_vain = 0
        while len(open_) and in_vain < _IN_VAIN:
            # The first ones, and if these led to nothing, some of all the others.
            chosen = np.arange(len(open_)) < together
            if in_vain:
                chosen = np.isin(np.arange(len(open_)), np.linspace(0, len(open_) - 1, together).astype(np.int64))
            rows, open_ = open_[chosen], open_[~chosen]
            judged = known.look(rows_of(states, rows), largest_radius, self.found)
            for row, meaning in zip(rows, judged, strict=True):
                returns[row] = meaning
            in_vain = in_vain + len(rows) if set(judged) == {Return.OF_NO_ATTRACTOR} else 0
            undecided = np.concatenate([rows, open_])
            labels[undecided] = known.balls_of(rows_of(states, undecided))
            open_ = open_[labels[open_] < 0]
        return labels, returns


class _OfPeriod:
    """The known cycles of one period, by the state of each that has the ball."""

    def __init__(self, exact: Map, period: int, device: torch.device) -> None:
        self.exact, self.period = exact, period
        self.iterated = Iterated(exact, period)
        self.centres = KnownFixedPoints(device, exact.dim)
        self.number: list[int] = []  # of each of the centres, in all cycles found
        # All states of the stable cycles, and of those that are not; and fixed points of `F^p` of a shorter period.
        self.stable, self.others, self.seeming = (KnownFixedPoints(device, exact.dim) for _ in range(3))

    @torch.no_grad()
    def balls_of(self, states: Float64[Tensor, "samples dim"]) -> NDArray[np.int64]:
        """Number of the cycle in whose ball each orbit comes within a period, -1 for none."""
        labels, number = np.full(len(states), -1), np.array([*self.number, -1])
        current = states
        for _ in range(self.period if self.number else 0):
            rows = np.flatnonzero(labels < 0)
            if not len(rows):
                break
            labels[rows] = number[self.centres.balls_of(rows_of(current, rows))]
            current = self.exact(current)
        return labels

    def look(self, starts: Float64[Tensor, "starts dim"], largest: float, found: list[Cycle]) -> list[Return]:
        """Look for the cycle near each start by Newton's method; new ones that are stable are added to `found`."""
        reach = starts.new_full((len(starts),), max(largest, _LEAST_REACH))
        # These starts nearly are solutions.
        states, residuals = newton_together(self.iterated, self.iterated, starts, reach, factorizations=1)
        returns = [Return.OF_NO_ATTRACTOR] * len(starts)
        solved = np.flatnonzero((residuals <= RESIDUAL_TOLERANCE).cpu().numpy())
        for row, judged in zip(solved, self._judge(rows_of(states, solved), largest, found), strict=True):
            returns[row] = judged
        return returns

    def _judge(self, states: Float64[Tensor, "points dim"], largest: float, found: list[Cycle]) -> list[Return]:
        """What fixed points of `F^p` mean."""
        fresh = np.flatnonzero(~(self.stable.holds(states) | self.others.holds(states) | self.seeming.holds(states)))
        copies = first_copies(rows_of(states, fresh)).cpu().numpy()
        fresh = fresh[copies == np.arange(len(fresh))]
        orbits = self._orbits(rows_of(states, fresh))
        apart = torch.cdist(orbits, orbits, compute_mode="donot_use_mm_for_euclid_dist")
        apart.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        closest = apart.amin(dim=(1, 2))
        scale = torch.linalg.vector_norm(orbits, dim=2).amax(dim=1).clamp(min=1.0)
        is_whole = torch.ones_like(closest, dtype=torch.bool)
        for part in (steps for steps in range(1, self.period) if self.period % steps == 0):
            turned = torch.linalg.vector_norm(orbits.roll(-part, dims=1) - orbits, dim=2)
            is_whole &= turned.amax(dim=1) > _SAME_PHASE * scale
        self._examine(orbits[is_whole], torch.clamp(closest[is_whole] / 2, max=largest), found)
        for orbit in orbits[~is_whole]:
            self.seeming.add(FixedPoint(orbit[0].cpu(), 0.0, 0.0))
        meanings = ((self.stable, Return.APPROACHING), (self.seeming, Return.SEEMING))
        returns = [Return.OF_NO_ATTRACTOR] * len(states)
        for known, meaning in meanings:
            for row in np.flatnonzero(known.holds(states)):
                returns[row] = meaning
        return returns

    def _examine(
        self, orbits: Float64[Tensor, "orbits period dim"], largest: Float64[Tensor, " orbits"], found: list[Cycle]
    ) -> None:
        """Remember cycles that are new, each with its kind."""
        orbits = torch.stack([_from_first(orbit) for orbit in orbits]) if len(orbits) else orbits
        firsts = orbits[:, 0]
        with torch.no_grad():
            around = relative_residuals(self.iterated, firsts)
            defects = self.exact(orbits.flatten(0, 1)).unflatten(0, orbits.shape[:2]) - orbits.roll(-1, dims=1)
        sizes = torch.linalg.vector_norm(orbits.roll(-1, dims=1), dim=2).clamp(min=1.0)
        residuals = (torch.linalg.vector_norm(defects, dim=2) / sizes).amax(dim=1)
        centres = examine_fixed_points(self.iterated, self.iterated, firsts, around, largest)
        for orbit, residual, centre in zip(orbits, residuals.tolist(), centres, strict=True):
            if self.stable.holds(orbit[:1])[0]:  # another start led to another state of it
                continue
            kind = self.stable if centre.is_stable else self.others
            if centre.is_stable or len(self.others.points) < _REMEMBERED:
                for state in orbit.cpu():
                    kind.add(FixedPoint(state, residual, 0.0))
            if centre.is_stable:
                multipliers = spectrum(self.iterated, orbit[:1], min(self.exact.dim, LEADING)).eigenvalues[0]
                self.centres.add(centre)
                self.number.append(len(found))
                found.append(Cycle(orbit.cpu(), residual, multipliers))

    @torch.no_grad()
    def _orbits(self, states: Float64[Tensor, "points dim"]) -> Float64[Tensor, "points period dim"]:
        orbits = [states]
        for _ in range(self.period - 1):
            orbits.append(self.exact(orbits[-1]))
        return torch.stack(orbits, dim=1)


def _from_first(orbit: Float64[Tensor, "period dim"]) -> Float64[Tensor, "period dim"]:
    """The same cycle from the state that is the first in lexicographic order."""
    first = int(np.lexsort(orbit.cpu().numpy().T[::-1])[0])  # sorts by its last key first
    return orbit.roll(-first, dims=0)

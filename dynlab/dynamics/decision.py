"""The decision, in float64: which fixed point or cycle does each sample reach?

A sample inside the safe ball of a known fixed point has converged to it. From one that is in no ball Newton's method
looks for a fixed point, once per attractor and not once per sample; what it finds may be a saddle, or an attractor
elsewhere, so only entering its ball counts. Until then iteration goes on, and searches come at ever longer intervals.
An orbit that comes back to where it was, with steps far above the rounding floor, may be periodic. Near a stable cycle
it is followed into the safe ball of that (`dynlab.dynamics.cycles`); elsewhere it is periodic only if it moves no more
than rounding moves it, for one that passes a saddle or the ghost of a fold comes back nearly, too, and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.dynamics.blocks import block_rows, rows_of
from dynlab.dynamics.cycles import Cycle, KnownCycles, Return
from dynlab.dynamics.fixed_points import examine_fixed_points
from dynlab.dynamics.known import KnownFixedPoints, first_copies
from dynlab.dynamics.newton import RESIDUAL_TOLERANCE, newton_together
from dynlab.maps import Map

# A ball is never larger than this many tolerances: 0.1 at the tolerance of the report, where attractors of its models
# stand 0.36 apart or more.
LARGEST_RADIUS = 1000
_FIRST_ROUND, _LONGEST_ROUND = 32, 512
_THOROUGH_FROM = 200  # steps in float64 after which searches spare no cost
_TOGETHER = 128  # starts of Newton's method at once
_COMPARED = 512  # samples among which they are chosen
_FACTORIZATIONS = 5  # spent on a start that may well lead nowhere
_APART = 100  # tolerances: samples nearer to each other most likely have one attractor
_RETURN = 1e-9  # relative distance at which an orbit has come back
_ROUNDING_FLOOR = 1e-7  # relative step length below which nothing is called a cycle
_AT_REST = 3e-15  # relative distance per step that rounding alone may take an orbit away from where it came back to


class Status(StrEnum):
    """What is known of the end of an orbit. The order is that of the codes stored with an analysis.

    A return is looked for within 512 steps in float64: an orbit of a longer period is unresolved.
    """

    CONVERGED = "converged"  # inside the safe ball of a stable fixed point
    PERIODIC = "periodic"  # came back to where it was after more than one step
    DIVERGED = "diverged"  # left the range of floating point numbers
    UNRESOLVED = "unresolved"  # none of these before the limit of steps


@dataclass
class Decision:
    """What became of one batch."""

    states: Tensor
    fixed_point: np.ndarray
    status: np.ndarray  # indices into `list(Status)`
    period: np.ndarray
    cycles: dict[int, Cycle] = field(default_factory=dict)  # the periodic attractor, by row, of those that reach one


CODES = {status: code for code, status in enumerate(Status)}


@dataclass(frozen=True)
class Search:
    """How samples are decided, and the fixed points that have been found on the way."""

    system: Map
    exact: Map
    tolerance: float
    max_steps: int
    known: KnownFixedPoints
    unsafe: KnownFixedPoints  # saddles and the like, which are not worth another search
    cycles: KnownCycles = field(default_factory=KnownCycles)

    def nearest(self, states: Float64[Tensor, "samples dim"]) -> Float64[Tensor, " samples"]:
        """Distance of each state to the nearest fixed point found so far, an attractor or not."""
        return torch.minimum(self.known.nearest(states), self.unsafe.nearest(states))

    def decide(self, states: Float64[Tensor, "samples dim"], found: np.ndarray) -> Decision:
        """Take each sample to the fixed point, or cycle, that it reaches.

        Args:
            states: Where the samples stand, on the CPU; used up.
            found: What `match` found for them.

        Returns:
            What became of the samples.
        """
        device = self.known.device
        decision = Decision(
            states=states,
            fixed_point=found.copy(),
            status=np.where(found >= 0, CODES[Status.CONVERGED], CODES[Status.UNRESOLVED]),
            period=(found >= 0).astype(np.int64),
        )
        finite = torch.isfinite(states).all(dim=1).numpy()
        decision.status[~finite] = CODES[Status.DIVERGED]
        pending = np.flatnonzero(finite & (found < 0))
        taken, length, due = 0, _FIRST_ROUND, 0
        while len(pending) and taken < self.max_steps:
            length = min(length, self.max_steps - taken)
            current = rows_of(states, pending).to(device)
            current, periods, at_rest = _advance(self.exact, current, length)
            states[torch.from_numpy(pending)] = current.cpu()
            taken, length = taken + length, min(2 * length, _LONGEST_ROUND)

            finite = torch.isfinite(rows_of(states, pending)).all(dim=1).numpy()
            decision.status[pending[~finite]] = CODES[Status.DIVERGED]
            decision.period[pending[~finite]] = 0
            pending, periods, at_rest = pending[finite], periods[finite], at_rest[finite]
            # An orbit may have come back early in the round, near a saddle, and have reached a ball since.
            goes_on = ~self._converge(decision, pending, self.known.balls_of(rows_of(states, pending).to(device)))
            pending, periods, at_rest = pending[goes_on], periods[goes_on], at_rest[goes_on]
            pending = pending[~self.settle(decision, pending, periods, at_rest)]

            # The last look is a search as well.
            if taken >= due or taken == self.max_steps:
                thorough = taken >= _THOROUGH_FROM or taken == self.max_steps
                found, due = self.match(rows_of(states, pending), thorough=thorough), 2 * taken
                pending = pending[~self._converge(decision, pending, found)]
        return decision

    @staticmethod
    def _converge(decision: Decision, pending: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Write down which fixed points samples have reached, -1 for none; whether each has reached one."""
        decided = found >= 0
        decision.fixed_point[pending[decided]] = found[decided]
        decision.status[pending[decided]] = CODES[Status.CONVERGED]
        decision.period[pending[decided]] = 1
        return decided

    def settle(self, decision: Decision, pending: np.ndarray, periods: np.ndarray, at_rest: np.ndarray) -> np.ndarray:
        """Say what became of samples whose orbits came back; which of all are done with.

        Args:
            decision: What is told of them is written here.
            pending: Which samples are looked at.
            periods: After how many steps the orbit of each came back, 0 if it did not.
            at_rest: Whether it was still there at the end of the round, but for rounding.
        """
        decision.status[pending], decision.period[pending] = CODES[Status.UNRESOLVED], 0
        settled = np.zeros(len(pending), dtype=bool)
        for period in np.unique(periods[periods > 0]).tolist():
            # Orbits on their way to an attractor still move in the round in which they first come back.
            rows = np.concatenate([np.flatnonzero((periods == period) & (at_rest == rests)) for rests in (False, True)])
            states = rows_of(decision.states, pending[rows]).to(self.known.device)
            reached, returns = self.cycles.reached(self.exact, states, period, LARGEST_RADIUS * self.tolerance)
            for row, cycle, found in zip(rows.tolist(), reached.tolist(), returns, strict=True):
                sample = int(pending[row])
                settled[row] = cycle >= 0 or (found is Return.OF_NO_ATTRACTOR and at_rest[row])
                if settled[row] or found is Return.APPROACHING:
                    decision.status[sample], decision.period[sample] = CODES[Status.PERIODIC], period
                if cycle >= 0:
                    decision.cycles[sample] = self.cycles.found[cycle]
        return settled

    def match(self, states: Float64[Tensor, "samples dim"], *, thorough: bool) -> np.ndarray:
        """Index of the fixed point whose safe ball each sample is in, -1 for none; new ones are looked for first.

        Args:
            states: Where the samples stand.
            thorough: Whether starts that are not solved by a few cheap steps are tried again with factorizations.
        """
        current = states.to(self.known.device)
        if not len(current):
            return np.full(0, -1)
        with torch.no_grad():
            images = self.exact(current)
        found = self.known.balls_of(current)
        open_ = (found < 0) & torch.isfinite(images).all(dim=1).cpu().numpy() & ~self.known.are_awaited(current, images)
        while open_.any():
            pending = np.flatnonzero(open_)
            current_pending = rows_of(current, pending)
            chosen, covered = self.representatives(current_pending, _APART * self.tolerance)
            self.find(rows_of(current_pending, chosen), thorough=thorough)
            # What a search from next to a sample did not find is not looked for again before the sample has moved on.
            open_[pending[covered]] = False
            found[pending] = self.known.balls_of(current_pending)
            open_ &= found < 0
        return found

    def representatives(self, states: Float64[Tensor, "samples dim"], apart: float) -> tuple[np.ndarray, np.ndarray]:
        """A limited number of the first states, no two nearer than `apart`, and all that one of them is near to.

        Returns:
            Indices of the ones and of the others.
        """
        first = states[:_COMPARED]
        mode = "donot_use_mm_for_euclid_dist"  # by products, a state may stand far from itself
        near = (torch.cdist(first, first, compute_mode=mode) < apart).fill_diagonal_(True).cpu().numpy()
        chosen: list[int] = []
        covered = np.zeros(len(first), dtype=bool)
        for row in range(len(first)):
            if len(chosen) < _TOGETHER and not covered[row]:
                chosen.append(row)
                covered |= near[row]
        return np.array(chosen), np.flatnonzero(covered)

    def find(
        self,
        starts: Float64[Tensor, "starts dim"],
        reach: Float64[Tensor, " starts"] | None = None,
        *,
        thorough: bool = False,
    ) -> None:
        """Look for fixed points by Newton's method, and remember those that are new.

        Args:
            starts: Where to start.
            reach: Distance from each start at which it is given up.
            thorough: Whether starts that are not solved by a few cheap steps are tried again with factorizations.
        """
        spent = _FACTORIZATIONS if thorough else 0
        self._remember(*newton_together(self.system, self.exact, starts, reach, factorizations=spent))

    def _remember(self, states: Float64[Tensor, "starts dim"], residuals: Float64[Tensor, " starts"]) -> None:
        """Remember the fixed points among these states that are new, each with its kind."""
        is_new = (residuals <= RESIDUAL_TOLERANCE).cpu().numpy()
        found = rows_of(states, np.flatnonzero(is_new))
        is_new[is_new] = ~(self.known.holds(found) | self.unsafe.holds(found))
        new = np.flatnonzero(is_new)
        if not len(new):
            return
        states, residuals = rows_of(states, new), rows_of(residuals, new)
        is_first = first_copies(states) == torch.arange(len(states), device=states.device)
        states, residuals = states[is_first], residuals[is_first]
        apart = torch.cdist(states, states, compute_mode="donot_use_mm_for_euclid_dist")
        apart = apart.fill_diagonal_(torch.inf).amin(dim=1)
        largest = torch.stack([apart, self.known.nearest(states), self.unsafe.nearest(states)]).amin(dim=0) / 2
        largest = largest.clamp(max=LARGEST_RADIUS * self.tolerance)
        points = examine_fixed_points(self.system, self.exact, states, residuals, largest)
        for point, room in zip(points, largest.tolist(), strict=True):
            if point.is_stable:
                self.known.add(point)
                continue
            self.known.keep_clear_of(point.state)
            if room > self.tolerance:  # one that merely has no room for a ball may be examined again
                self.unsafe.add(point)


@torch.no_grad()
def _advance(
    exact: Map, states: Float64[Tensor, "samples dim"], steps: int
) -> tuple[Float64[Tensor, "samples dim"], np.ndarray, np.ndarray]:
    """Take steps in float64.

    Returns:
        The states then.
        The number of steps after which each orbit came back, 0 if it did not.
        Whether it was still back, but for rounding, after as many times this number as there were.
    """
    ends, periods, rests = [], [], []
    for block in states.split(block_rows(exact.dim, states)):
        scale = torch.linalg.vector_norm(block, dim=1).clamp(min=1.0)
        period = torch.zeros(len(block), dtype=torch.int64, device=block.device)
        has_moved, at_rest = (torch.zeros(len(block), dtype=torch.bool, device=block.device) for _ in range(2))
        current = block
        for step in range(1, steps + 1):
            following = exact(current)
            has_moved |= torch.linalg.vector_norm(following - current, dim=1) > _ROUNDING_FLOOR * scale
            apart = torch.linalg.vector_norm(following - block, dim=1)
            if step > 1:
                period = torch.where((period == 0) & has_moved & (apart < _RETURN * scale), step, period)
                in_phase = (period > 0) & (step % period.clamp(min=1) == 0)
                at_rest = torch.where(in_phase, apart <= step * _AT_REST * scale, at_rest)
            current = following
        ends.append(current)
        periods.append(period)
        rests.append(at_rest)
    return torch.cat(ends), torch.cat(periods).cpu().numpy(), torch.cat(rests).cpu().numpy()

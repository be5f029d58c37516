"""The decision, in float64: which fixed point or cycle does each sample reach?

A sample inside the safe ball of a known fixed point has converged to it. From one that is in no ball Newton's method
looks for a fixed point, once per attractor and not once per sample; what it finds may be a saddle, or an attractor
elsewhere, so only entering its ball counts. Until then iteration goes on, and searches come at ever longer intervals.
An orbit that comes back to where it was, with steps far above the rounding floor, is periodic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.dynamics.blocks import block_rows, home_of
from dynlab.dynamics.fixed_points import examine_fixed_point
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.dynamics.newton import newton
from dynlab.maps import Map

# A ball is never larger than this many tolerances: 0.1 at the tolerance of the report, where attractors of its models
# stand 0.36 apart or more.
_LARGEST_RADIUS = 1000
_FIRST_ROUND, _LONGEST_ROUND = 32, 512
_RETURN = 1e-9  # relative distance at which an orbit has come back
_ROUNDING_FLOOR = 1e-7  # relative step length below which nothing is called a cycle


class Status(StrEnum):
    """What is known of the end of an orbit. The order is that of the codes stored with an analysis."""

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


_CODE = {status: code for code, status in enumerate(Status)}


@dataclass(frozen=True)
class Search:
    """How samples are decided, and the fixed points that have been found on the way."""

    exact: Map
    tolerance: float
    max_steps: int
    known: KnownFixedPoints

    def decide(
        self, states: Float64[Tensor, "samples dim"], found: np.ndarray, on_decided: Callable[[int], None]
    ) -> Decision:
        """Take each sample to the fixed point, or cycle, that it reaches.

        Args:
            states: Where the samples stand, on the CPU; used up.
            found: What `match` found for them.
            on_decided: Called with the number of samples decided since the last call.

        Returns:
            What became of the samples.
        """
        home = home_of(self.exact, states)
        decision = Decision(
            states=states,
            fixed_point=found.copy(),
            status=np.where(found >= 0, _CODE[Status.CONVERGED], _CODE[Status.UNRESOLVED]),
            period=(found >= 0).astype(np.int64),
        )
        finite = torch.isfinite(states).all(dim=1).numpy()
        decision.status[~finite] = _CODE[Status.DIVERGED]
        pending = np.flatnonzero(finite & (found < 0))
        on_decided(len(states) - len(pending))
        taken, length, due = 0, _FIRST_ROUND, 0
        while len(pending) and taken < self.max_steps:
            before = len(pending)
            length = min(length, self.max_steps - taken)
            current = states[torch.from_numpy(pending)].to(home.device, home.dtype)
            current, periods = _advance(self.exact, current, length)
            states[torch.from_numpy(pending)] = current.cpu()
            taken, length = taken + length, min(2 * length, _LONGEST_ROUND)

            finite = torch.isfinite(states[torch.from_numpy(pending)]).all(dim=1).numpy()
            periodic = (periods > 0) & finite
            decision.status[pending[~finite]] = _CODE[Status.DIVERGED]
            decision.status[pending[periodic]] = _CODE[Status.PERIODIC]
            decision.period[pending[periodic]] = periods[periodic]
            pending = pending[finite & ~periodic]

            # The last look is a search as well: no sample is given up that one more of them would decide.
            if taken >= due or taken == self.max_steps:
                found, due = self.match(states[torch.from_numpy(pending)]), 2 * taken
            else:
                found = self.known.balls_of(states[torch.from_numpy(pending)].to(home.device, home.dtype))
            decided = found >= 0
            decision.fixed_point[pending[decided]] = found[decided]
            decision.status[pending[decided]] = _CODE[Status.CONVERGED]
            decision.period[pending[decided]] = 1
            pending = pending[~decided]
            on_decided(before - len(pending))
        on_decided(len(pending))
        return decision

    def match(self, states: Float64[Tensor, "samples dim"]) -> np.ndarray:
        """Index of the fixed point whose safe ball each sample is in, -1 for none; new ones are looked for first."""
        home = home_of(self.exact, states)
        current = states.to(home.device, home.dtype)
        found = self.known.balls_of(current)
        line = _Line(current)
        with torch.no_grad():
            images = self.exact(current)
        for sample in np.flatnonzero(torch.isfinite(images).all(dim=1).cpu().numpy()):
            if found[sample] >= 0 or self.known.awaits(current[sample], images[sample]):
                continue
            solution = newton(self.exact, current[sample])
            if not solution.is_fixed_point or self.known.holds(solution.state):
                continue
            largest = min(_LARGEST_RADIUS * self.tolerance, self.known.distance(solution.state) / 2)
            point = examine_fixed_point(self.exact, solution, largest_radius=largest)
            if point.is_stable:
                near = line.within(solution.state, point.safe_radius)
                found[near[found[near] < 0]] = self.known.add(point)
        return found


class _Line:
    """States in the order of their projections onto one direction, which never lengthens a distance."""

    def __init__(self, states: Float64[Tensor, "samples dim"]) -> None:
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(states.shape[1], generator=generator, dtype=torch.float64).to(states)
        self._direction = direction / direction.norm()
        self._states = states
        projections = (states @ self._direction).cpu().numpy()
        self._order = np.argsort(projections, kind="stable")
        self._sorted = projections[self._order]

    def within(self, centre: Float64[Tensor, " dim"], radius: float) -> np.ndarray:
        """Indices of the states nearer to `centre` than `radius`."""
        position = float(centre @ self._direction)
        first, last = np.searchsorted(self._sorted, (position - radius, position + radius))
        candidates = self._order[first:last]
        rows = self._states[torch.from_numpy(candidates).to(self._states.device)]
        distances = torch.linalg.vector_norm(rows - centre, dim=1).cpu().numpy()
        return candidates[distances < radius]


@torch.no_grad()
def _advance(
    exact: Map, states: Float64[Tensor, "samples dim"], steps: int
) -> tuple[Float64[Tensor, "samples dim"], np.ndarray]:
    """Take steps in float64; also the number of steps after which each orbit came back, 0 if it did not."""
    ends, periods = [], []
    for block in states.split(block_rows(exact.dim, states)):
        scale = torch.linalg.vector_norm(block, dim=1).clamp(min=1.0)
        period = torch.zeros(len(block), dtype=torch.int64, device=block.device)
        current = block
        for step in range(1, steps + 1):
            following = exact(current)
            moving = torch.linalg.vector_norm(following - current, dim=1) > _ROUNDING_FLOOR * scale
            back = torch.linalg.vector_norm(following - block, dim=1) < _RETURN * scale
            if step > 1:
                period = torch.where((period == 0) & moving & back, step, period)
            current = following
        ends.append(current)
        periods.append(period)
    return torch.cat(ends), torch.cat(periods).cpu().numpy()

"""`iterate`: apply a map again and again, and say where each sample ends.

A small step length proves nothing: near a saddle, or with a multiplier close to one, steps are short far from any
attractor. A sample has converged once it is inside the safe ball (`dynlab.dynamics.fixed_points`) of a stable fixed
point with a relative residual of at most 1e-12. So the work is done in two parts.

1. Plain iteration in the map's own precision, mostly float32, until each sample's step length is below the tolerance.
   Samples that passed near a saddle on the way, where rounding may have decided for them, and samples that met the
   limit of steps take their way once more in float64.
2. The decision, in float64: a sample inside the safe ball of a known fixed point has converged to it. From one that is
   in no ball Newton's method looks for a fixed point, once per attractor and not once per sample; what it finds may be
   a saddle, or an attractor elsewhere, so only entering its ball counts. Until then iteration goes on. An orbit that
   comes back to where it was, with steps far above the rounding floor, is periodic.

Source: Bahdanau and Jaeger 2014, section 5.4 (step length and tolerance).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from dynlab.dynamics.blocks import block_rows, home_of
from dynlab.dynamics.fixed_points import FixedPoint, examine_fixed_point
from dynlab.dynamics.newton import newton
from dynlab.dynamics.plain import PlainOrbits, iterate_plainly
from dynlab.maps import Map, check_states, float64_copy

# Samples decided together: bounds the memory for their float64 states.
_BATCH = 8192
# A ball is never larger than this many tolerances: 0.1 at the tolerance of the report, where attractors of its models
# stand 0.36 apart or more.
_LARGEST_RADIUS = 1000
# A sample this many safe radii from an attractor stands about where a fold would have its saddle. It is left to itself
# while it comes nearer by this share a step; one that rests there, or leaves, is somebody else's.
_AWAITED = 16
_APPROACH = 1e-6
_SAME_POINT = 1e-6  # relative distance of two fixed points that are one
_FIRST_ROUND, _LONGEST_ROUND = 32, 512
_RETURN = 1e-9  # relative distance at which an orbit has come back
_ROUNDING_FLOOR = 1e-7  # relative step length below which nothing is called a cycle


class Status(StrEnum):
    """What is known of the end of an orbit. The order is that of the codes stored with an analysis."""

    CONVERGED = "converged"  # inside the safe ball of a stable fixed point
    PERIODIC = "periodic"  # came back to where it was after more than one step
    DIVERGED = "diverged"  # left the range of floating point numbers
    UNRESOLVED = "unresolved"  # none of these before the limit of steps


@dataclass(frozen=True)
class Orbits:
    """Where a batch of initial states went."""

    states: Float64[Tensor, "samples dim"]  # the fixed point of a converged sample, else where iteration ended
    steps: Int64[Tensor, " samples"]  # first step with a step length below the tolerance, -1 if the limit came first
    step_lengths: Float32[Tensor, "recorded_steps recorded"]  # of the first samples; NaN after a sample was finished
    status: Sequence[Status]
    period: Int64[Tensor, " samples"]  # 1 for a fixed point, 0 where unknown
    fixed_points: Sequence[FixedPoint]  # those that samples reached, in the order found
    fixed_point: Int64[Tensor, " samples"]  # index into `fixed_points`, -1 for none


def iterate(
    system: Map,
    initial_states: Float[Tensor, "samples dim"],
    *,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 100_000,
    recorded: int | None = None,
    known: Sequence[FixedPoint] = (),
    on_progress: Callable[[int], None] | None = None,
) -> Orbits:
    """Iterate each sample to the attractor that exact iteration reaches.

    Args:
        system: The map; its device and dtype are those of plain iteration.
        initial_states: Shape (samples, dim), finite.
        tolerance: Step length that ends plain iteration, in units of the state, positive.
        max_steps: Limit of steps of plain iteration for each sample, at least 1.
        max_exact_steps: Limit of further steps in float64, at least 0, for samples that are not decided by then.
        recorded: How many samples, the first ones, to record the step lengths of; all if not given.
        known: Stable fixed points of this map that earlier orbits found, so as not to look for them again.
        on_progress: Called with the number of samples that were decided since the last call.

    Returns:
        Where each sample went, in the order of `initial_states`; all tensors on the CPU.

    Raises:
        ValueError: If an argument is out of its range, or the states have another dim than the map or are not finite.
    """
    check_states(system, initial_states, parameter="initial_states")
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}, expected above 0")
    if max_steps < 1:
        raise ValueError(f"max_steps is {max_steps}, expected at least 1")
    if max_exact_steps < 0:
        raise ValueError(f"max_exact_steps is {max_exact_steps}, expected at least 0")
    if recorded is not None and recorded < 0:
        raise ValueError(f"recorded is {recorded}, expected at least 0")
    samples = len(initial_states)
    recorded = samples if recorded is None else min(recorded, samples)
    exact = float64_copy(system)
    points = _KnownFixedPoints(home_of(exact, initial_states.double()), system.dim)
    for point in known:
        points.add(point)
    search = _Search(exact, tolerance, max_exact_steps, points)
    parts: list[tuple[PlainOrbits, _Decision]] = []
    for start in range(0, max(samples, 1), _BATCH):
        batch = initial_states[start : start + _BATCH]
        plain = iterate_plainly(
            system, batch, tolerance=tolerance, max_steps=max_steps, recorded=max(0, recorded - start)
        )
        states = plain.states.double()
        again = (plain.passed_saddle | (plain.steps < 0)) & ~plain.diverged
        if again.any() and home_of(system, batch).dtype != torch.float64:
            repeated = iterate_plainly(
                exact, batch[again.to(batch.device)].double(), tolerance=tolerance, max_steps=max_steps
            )
            states[again] = repeated.states
        parts.append((plain, search.decide(states, on_progress)))
    return _assembled(parts, points.points, recorded)


@dataclass
class _Decision:
    """What became of one batch."""

    states: Tensor
    fixed_point: np.ndarray
    status: np.ndarray  # indices into `list(Status)`
    period: np.ndarray


_CODE = {status: code for code, status in enumerate(Status)}


@dataclass(frozen=True)
class _Search:
    """How samples are decided, and the fixed points that have been found on the way."""

    exact: Map
    tolerance: float
    max_steps: int
    known: _KnownFixedPoints

    def decide(self, states: Float64[Tensor, "samples dim"], on_progress: Callable[[int], None] | None) -> _Decision:
        """Take each sample to the fixed point, or cycle, that it reaches; `states` is used up."""
        home = home_of(self.exact, states)
        samples = len(states)
        decision = _Decision(
            states=states,
            fixed_point=np.full(samples, -1),
            status=np.full(samples, _CODE[Status.UNRESOLVED]),
            period=np.zeros(samples, dtype=np.int64),
        )
        finite = torch.isfinite(states).all(dim=1).numpy()
        decision.status[~finite] = _CODE[Status.DIVERGED]
        pending = np.flatnonzero(finite)
        taken, length, due = 0, _FIRST_ROUND, 0
        while True:
            current = states[torch.from_numpy(pending)].to(home.device, home.dtype)
            before = len(pending)
            found = self._match(current, search=taken >= due)
            if taken >= due:
                due = 2 * taken
            decided = found >= 0
            decision.fixed_point[pending[decided]] = found[decided]
            decision.status[pending[decided]] = _CODE[Status.CONVERGED]
            decision.period[pending[decided]] = 1
            pending, current = pending[~decided], current[torch.from_numpy(~decided).to(current.device)]
            length = min(length, self.max_steps - taken)
            if len(pending) and length > 0:
                current, periods = _advance(self.exact, current, length)
                states[torch.from_numpy(pending)] = current.cpu()
                finite = torch.isfinite(states[torch.from_numpy(pending)]).all(dim=1).numpy()
                periodic = (periods > 0) & finite
                decision.status[pending[~finite]] = _CODE[Status.DIVERGED]
                decision.status[pending[periodic]] = _CODE[Status.PERIODIC]
                decision.period[pending[periodic]] = periods[periodic]
                pending = pending[finite & ~periodic]
                taken += length
                length = min(2 * length, _LONGEST_ROUND)
            else:
                length = 0
            if length == 0 or not len(pending):
                if on_progress:
                    on_progress(before)
                return decision
            if on_progress:
                on_progress(before - len(pending))

    def _match(self, current: Float64[Tensor, "samples dim"], *, search: bool) -> np.ndarray:
        """Index of the fixed point whose safe ball each sample is in, -1 for none; `search`: find new ones first."""
        found = self.known.balls_of(current)
        if not search:
            return found
        line = _Line(current)
        with torch.no_grad():
            images = self.exact(current)
        for sample in range(len(current)):
            if found[sample] >= 0 or self.known.awaits(current[sample], images[sample]):
                continue
            solution = newton(self.exact, current[sample])
            if not solution.is_fixed_point or self.known.holds(solution.state):
                continue
            largest = min(_LARGEST_RADIUS * self.tolerance, self.known.distance(solution.state) / 2)
            point = examine_fixed_point(self.exact, solution, largest_radius=largest)
            if point.is_stable:
                near = line.within(point.state, point.safe_radius)
                found[near[found[near] < 0]] = self.known.add(point)
        return found


class _KnownFixedPoints:
    """The stable fixed points found so far, with their states in one tensor."""

    def __init__(self, home: Tensor, dim: int) -> None:
        self.points: list[FixedPoint] = []
        self._states = torch.empty(64, dim, dtype=home.dtype, device=home.device)
        self._radii = torch.empty(64, dtype=home.dtype, device=home.device)

    def add(self, point: FixedPoint) -> int:
        """Remember a fixed point; its index."""
        index = len(self.points)
        if index == len(self._radii):
            self._states = torch.cat([self._states, torch.empty_like(self._states)])
            self._radii = torch.cat([self._radii, torch.empty_like(self._radii)])
        self._states[index], self._radii[index] = point.state, point.safe_radius
        self.points.append(point)
        return index

    def balls_of(self, states: Float64[Tensor, "samples dim"]) -> np.ndarray:
        """Index of the fixed point whose safe ball each state is in, -1 for none."""
        found = np.full(len(states), -1)
        if self.points:
            for start in range(0, len(states), _BATCH // 8):
                part = states[start : start + _BATCH // 8]
                distances = torch.cdist(part, self._states[: len(self.points)])
                distances[distances >= self._radii[: len(self.points)]] = torch.inf
                nearest = distances.min(dim=1)
                inside = nearest.values < torch.inf
                found[start : start + len(part)] = torch.where(inside, nearest.indices, -1).cpu().numpy()
        return found

    def awaits(self, state: Float64[Tensor, " dim"], image: Float64[Tensor, " dim"]) -> bool:
        """Whether a sample is on its way into a known ball, so that Newton's method would find nothing new."""
        before, after = self._distances(state), self._distances(image)
        near = before < _AWAITED * self._radii[: len(self.points)]
        return bool((near & (after < (1 - _APPROACH) * before)).any())

    def holds(self, state: Float64[Tensor, " dim"]) -> bool:
        """Whether this fixed point is known already."""
        return self.distance(state) < _SAME_POINT * max(1.0, float(state.norm()))

    def distance(self, state: Float64[Tensor, " dim"]) -> float:
        """Distance to the nearest known fixed point; infinite where none is known."""
        return float(self._distances(state).amin()) if self.points else float("inf")

    def _distances(self, state: Float64[Tensor, " dim"]) -> Float64[Tensor, " known"]:
        return torch.linalg.vector_norm(self._states[: len(self.points)] - state, dim=1)


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


def _assembled(parts: list[tuple[PlainOrbits, _Decision]], known: Sequence[FixedPoint], recorded: int) -> Orbits:
    found = np.concatenate([decision.fixed_point for _, decision in parts])
    codes = np.concatenate([decision.status for _, decision in parts])
    # Fixed points that Newton's method met but no sample reached are not part of the answer.
    reached, inverse = np.unique(found[found >= 0], return_inverse=True)
    fixed_point = np.full(len(found), -1)
    fixed_point[found >= 0] = inverse
    points = [known[index] for index in reached]
    states = torch.cat([decision.states for _, decision in parts])
    if points:
        converged = torch.from_numpy(fixed_point >= 0)
        states[converged] = torch.stack([point.state.cpu() for point in points])[torch.from_numpy(inverse)]
    recordings = [recording for plain, _ in parts for recording in plain.step_lengths.values()]
    lengths = np.full((max((len(r) for r in recordings), default=0), recorded), np.nan, dtype=np.float32)
    for column, recording in enumerate(recordings):
        lengths[: len(recording), column] = recording
    statuses = list(Status)
    return Orbits(
        states=states,
        steps=torch.cat([plain.steps for plain, _ in parts]),
        step_lengths=torch.from_numpy(lengths),
        status=[statuses[code] for code in codes],
        period=torch.from_numpy(np.concatenate([decision.period for _, decision in parts])),
        fixed_points=points,
        fixed_point=torch.from_numpy(fixed_point),
    )

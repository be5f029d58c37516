"""The graph of a map of one number: its values, its fixed points, and where each state goes.

Fixed points stand where the graph crosses the diagonal. They are sought between the states of a grid, by Brent's
method, so that unstable ones are found too, which part basins. Where the graph only touches the diagonal, or crosses it
twice between two states of the grid, none is found but those that orbits reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from dynlab.attractors.reached import attractors_reached
from dynlab.dynamics import FixedPoint
from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.cycles import Cycle
from dynlab.evaluation.pictured import PicturedFixedPoint, pictured
from dynlab.maps import Map, float64_copy

POINTS = 400  # states of the grid
_SIDE = 1.1  # of the picture, in the extent of what it must show
_ROOT = 1e-9  # of F(x) - x at a fixed point, in units of its larger one at both sides; more is a jump of the map
_STEEP = 8.0  # of the median rise of the graph from state to state, above which it may jump
_VISIBLE = 0.005  # of all heights, the same
_HALVINGS = 40
_ROUNDING = 8 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Line:
    """The graph of a map of one number, and where each state of a grid goes; on the CPU."""

    fixed_points: list[PicturedFixedPoint]  # crossings, and attractors that are known; rising
    states: Float64[Tensor, " points"]  # rising, even
    images: Float64[Tensor, " points"]
    labels: Int64[Tensor, " points"]  # as in `BasinPlane`, like the next four
    others: Float64[Tensor, "others 1"]
    cycles: Int64[Tensor, " points"]
    diverged: Bool[Tensor, " points"]
    jumps: Int64[Tensor, " jumps"]  # the states after which the map jumps before the next one, rising


def line_of(
    system: Map,
    known: Sequence[FixedPoint],
    cycles: Sequence[Cycle],
    shown: Float64[Tensor, "shown 1"],
    *,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 3000,
) -> Line:
    """Look at a map of one number.

    Args:
        system: The map.
        known: Its attractors, in the order of their numbers.
        cycles: Its periodic attractors, in the order of theirs.
        shown: What the picture must show, at least one state, as `shown_states` gives it.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.
        max_exact_steps: As in `dynlab.iterate`.
    """
    exact = float64_copy(system)
    home = home_of(exact, shown)
    low, high = float(shown.min()), float(shown.max())
    middle, half = (low + high) / 2, _SIDE * (high - low) / 2 or 1.0
    states = torch.linspace(middle - half, middle + half, POINTS, dtype=torch.float64)
    with torch.no_grad():
        images = exact(states[:, None].to(home.device)).cpu()[:, 0]
    reached = attractors_reached(
        system,
        states[:, None].to(home.device),
        known,
        known_cycles=cycles,
        tolerance=tolerance,
        max_steps=max_steps,
        max_exact_steps=max_exact_steps,
    )
    others = [point.state.cpu() for point in reached.others]
    stable = [point.state.to(home.device) for point in (*known, *reached.others)]
    stable = [state[None] for state in stable if states[0] <= float(state) <= states[-1]]
    return Line(
        fixed_points=pictured(exact, torch.cat([*stable, _crossings(exact, home.device, states, images)])),
        states=states,
        images=images,
        labels=reached.labels,
        others=torch.stack(others) if others else torch.zeros(0, 1, dtype=torch.float64),
        cycles=reached.cycles,
        diverged=reached.diverged,
        jumps=_jumps(exact, home.device, states, images),
    )


@torch.no_grad()
def _jumps(
    exact: Map, device: torch.device, states: Float64[Tensor, " points"], images: Float64[Tensor, " points"]
) -> Int64[Tensor, " jumps"]:
    """Between which states the graph is not continuous: halved again and again, a steep part of it rises ever less."""
    rises = images.diff().abs()
    known, heights = rises[rises.isfinite()], images[images.isfinite()]
    if not len(known):
        return torch.zeros(0, dtype=torch.int64)
    least = torch.maximum(_STEEP * known.median(), _VISIBLE * (heights.max() - heights.min()))
    rows = (rises > least).nonzero()[:, 0]
    ends, heights = torch.stack([states[rows], states[rows + 1]]), torch.stack([images[rows], images[rows + 1]])
    for _ in range(_HALVINGS if len(rows) else 0):
        middle = ends.mean(dim=0)
        height = exact(middle[:, None].to(device)).cpu()[:, 0]
        # What is not a number is a jump.
        is_lower = ~((height - heights[0]).abs() < (heights[1] - height).abs())
        ends = torch.where(is_lower, torch.stack([ends[0], middle]), torch.stack([middle, ends[1]]))
        heights = torch.where(is_lower, torch.stack([heights[0], height]), torch.stack([height, heights[1]]))
    return rows[~((heights[1] - heights[0]).abs() < rises[rows] / 2)]


def _crossings(
    exact: Map, device: torch.device, states: Float64[Tensor, " points"], images: Float64[Tensor, " points"]
) -> Float64[Tensor, "crossings 1"]:
    """Where the graph crosses the diagonal, in any order; on the device of the map."""
    from scipy.optimize import root_scalar

    @torch.no_grad()
    def beyond(state: float) -> float:
        """`F(x) - x`."""
        return float(exact(torch.tensor([[state]], dtype=torch.float64, device=device))) - state

    heights = images - states
    zero = torch.nn.functional.pad(heights == 0, (1, 1))
    # Along a stretch of fixed points none stands alone.
    roots = states[zero[1:-1] & ~zero[:-2] & ~zero[2:]].tolist()
    for (low, left), (high, right) in pairwise(zip(states.tolist(), heights.tolist(), strict=True)):
        if math.isfinite(left) and math.isfinite(right) and left * right < 0:
            root = float(root_scalar(beyond, bracket=(low, high), method="brentq", xtol=_ROUNDING * (high - low)).root)
            if abs(beyond(root)) <= _ROOT * max(abs(left), abs(right)) + _ROUNDING * abs(root):
                roots.append(root)
    return torch.tensor(roots, dtype=torch.float64, device=device)[:, None]

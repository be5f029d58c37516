"""Pictures of basins on planes through three attractors of an analysis, or on the plane that all states are on.

Each plane goes through an attractor with a large basin and two near ones with large basins. Where there are any, these
differ in kind or class from it and from each other: boundaries between unlike attractors are those that matter. Its two
directions are orthonormal, so that distances on the picture are those of the states, and nothing is distorted. States
of two numbers are all on one plane, which is drawn as far as there are attractors and all but the outermost samples;
there is such a picture also where no sample comes to rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from dynlab.attractors.planes import BasinEntropy, BasinPlane, basin_entropy_of, basin_plane
from dynlab.dynamics import FixedPoint
from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.cycles import Cycle
from dynlab.errors import check_count
from dynlab.evaluation.kinds import Kind
from dynlab.evaluation.pictured import PicturedFixedPoint, fixed_points_within
from dynlab.maps import Map, float64_copy

BOX = 5  # states along a side of the boxes of the basin entropy
_LARGE = 30  # attractors that count as having a large basin, the largest ones
_INNER = (0.01, 0.99)  # quantiles of samples that are inner ones: a single one far away would leave nothing to see
_SIDE = 1.8  # of a picture, in the larger extent of its three attractors
_WHOLE_SIDE = 1.15  # of a picture of all states, in the larger extent of attractors and inner samples
_MARKED = 6  # attractors that are marked on it, those with the largest basins
_FLAT = 1e-6  # part of a way that leaves the line of another way; below it three states are on a line


@dataclass(frozen=True)
class PlanePicture:
    """What one picture shows; the picture itself is in the arrays."""

    attractors: tuple[int, ...]  # the three that the plane goes through; of states of two numbers, the largest basins
    basins: int  # fixed points that states of the picture reach
    unsampled: int  # of these, fixed points that no sample reaches
    unresolved: int  # states that reach no fixed point, and no cycle, and do not diverge
    entropy: BasinEntropy  # of fixed points and cycles; what diverges, and what is unresolved, as one more each
    crowded_boxes: int  # boxes with more than two of these
    cycles: int = 0  # cycles that states reach
    unsampled_cycles: int = 0  # of these, cycles that no sample reaches
    diverged: int = 0  # states that diverge


@dataclass(frozen=True)
class Planes:
    """Pictures of basins, and where on them things are; on the CPU."""

    pictures: list[PlanePicture]
    # Orthonormal; the first goes from the first attractor to the second, or is the first axis of a plane of all states.
    directions: Float64[Tensor, "planes 2 dim"]
    # Distances along them from the first attractor, in units of the state; where there is none, from zero.
    axes: Float64[Tensor, "planes 2 side"]
    # Fixed point of each state, first along the first direction; followed by the number in `others`; -1 for none.
    labels: Int64[Tensor, "planes side side"]
    others: Float64[Tensor, "others dim"]  # fixed points that no sample reaches
    cycles: Int64[Tensor, "planes side side"]  # the same for cycles; after those that samples reach come others
    diverged: Bool[Tensor, "planes side side"]
    fixed_points: list[PicturedFixedPoint] | None  # on the plane of all states, stable or not; None of other planes


def planes_through(
    fixed_points: Float64[Tensor, "attractors dim"], looks: Sequence[tuple[Kind, int | None]], planes: int
) -> list[tuple[int, int, int]]:
    """Choose the attractors of each plane.

    A plane begins at the largest basin that is on no plane yet. The second attractor is the nearest one of another kind
    or class, the third the nearest one that differs from both; where there is none, the nearest one.

    Args:
        fixed_points: The attractors by falling basin size.
        looks: Kind of each, and class of a prototype.
        planes: How many planes are wanted, at least 0.

    Returns:
        Three attractors for each plane, not on one line; fewer planes where there are no others, none below three
        attractors.
    """
    large = min(len(fixed_points), _LARGE)
    chosen: list[tuple[int, int, int]] = []
    used: set[int] = set()
    for first in range(large):
        if len(chosen) == planes:
            break
        if first in used:
            continue
        apart = torch.linalg.vector_norm(fixed_points[:large] - fixed_points[first], dim=1).tolist()
        others = sorted((other for other in range(large) if other != first), key=apart.__getitem__)
        if not others:
            break
        second = next((other for other in others if looks[other] != looks[first]), others[0])
        spanning = [
            other
            for other in others
            if other != second and _directions(fixed_points[[first, second, other]]) is not None
        ]
        if not spanning:
            continue
        seen = {looks[first], looks[second]}
        third = next((other for other in spanning if looks[other] not in seen), spanning[0])
        chosen.append((first, second, third))
        used |= {first, second, third}
    return chosen


def basin_planes(
    system: Map,
    fixed_points: Float64[Tensor, "attractors dim"],
    looks: Sequence[tuple[Kind, int | None]],
    known: Sequence[FixedPoint],
    *,
    planes: int,
    resolution: int,
    cycles: Sequence[Cycle] = (),
    samples: Float[Tensor, "samples dim"] | None = None,
    ways: Float64[Tensor, "followed steps dim"] | None = None,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    max_exact_steps: int = 3000,
    on_progress: Callable[[float], None] | None = None,
) -> Planes:
    """Draw the basins on planes through three attractors each; of states of two numbers, on the plane that these are.

    Args:
        system: The map.
        fixed_points: Its attractors by falling basin size.
        looks: Kind of each, and class of a prototype.
        known: The same attractors in any order, as `Orbits.fixed_points` gives them.
        planes: How many planes are wanted, at least 0.
        resolution: States along a side of a picture, at least as many as a box of the basin entropy has.
        cycles: Its periodic attractors by falling basin size.
        samples: What a picture of all states shows, besides the attractors.
        ways: What it shows too: the states on the ways of samples that never settle.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.
        max_exact_steps: As in `dynlab.iterate`.
        on_progress: Called with the share of planes that are done.

    Returns:
        The pictures, as many as attractors span.

    Raises:
        ValueError: If an argument is out of its range, or `known` are not the attractors.
    """
    check_count("planes", planes, 0)
    check_count("resolution", resolution, BOX)
    points, periodic = in_order(fixed_points, known), list(cycles)
    given = len(points)
    pictures: list[PlanePicture] = []
    directions, axes, found = [], [], []
    is_whole = fixed_points.shape[1] == 2 and planes > 0
    chosen = (
        _all_states(fixed_points, shown_states(fixed_points, cycles, samples, ways))
        if is_whole
        else _windows(fixed_points, looks, planes)
    )
    for window in chosen:
        along, start, side = window.directions, window.start, window.side
        zero = fixed_points[window.attractors[0]] if window.attractors else _zero(fixed_points)
        origin = zero + start @ along
        plane = basin_plane(
            system,
            torch.stack([origin, origin + side * along[0], origin + side * along[1]]),
            points,
            known_cycles=periodic,
            resolution=resolution,
            margin=0.0,
            tolerance=tolerance,
            max_steps=max_steps,
            max_exact_steps=max_exact_steps,
        )
        points += plane.others
        periodic += plane.other_cycles
        directions.append(along)
        axes.append(torch.stack([start[0] + side * plane.first, start[1] + side * plane.second]))
        found.append(plane)
        pictures.append(_picture(window.attractors, plane, given, len(cycles)))
        if on_progress is not None:
            on_progress(len(pictures) / len(chosen))
    dim, side = fixed_points.shape[1], resolution

    def stacked(parts: Sequence[Tensor], shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.stack(list(parts)) if parts else torch.zeros(0, *shape, dtype=dtype)

    return Planes(
        pictures=pictures,
        directions=stacked(directions, (2, dim)),
        axes=stacked(axes, (2, side)),
        labels=stacked([plane.labels for plane in found], (side, side), torch.int64),
        others=stacked([point.state.cpu() for point in points[given:]], (dim,)),
        cycles=stacked([plane.cycles for plane in found], (side, side), torch.int64),
        diverged=stacked([plane.diverged for plane in found], (side, side), torch.bool),
        fixed_points=_on_the_plane(system, axes[0] + _zero(fixed_points)[:, None], points)
        if is_whole and axes
        else None,
    )


def _on_the_plane(
    system: Map, axes: Float64[Tensor, "2 side"], known: Sequence[FixedPoint]
) -> list[PicturedFixedPoint]:
    exact = float64_copy(system)
    states = torch.cat([torch.zeros(0, 2, dtype=torch.float64), *(point.state.cpu()[None] for point in known)])
    return fixed_points_within(exact, axes, states.to(home_of(exact, axes).device))


@dataclass(frozen=True)
class _Window:
    """The square that a picture shows."""

    attractors: tuple[int, ...]
    directions: Float64[Tensor, "2 dim"]
    start: Float64[Tensor, " 2"]  # of its corner, along them from the first attractor
    side: float


def _windows(
    fixed_points: Float64[Tensor, "attractors dim"], looks: Sequence[tuple[Kind, int | None]], planes: int
) -> list[_Window]:
    windows = []
    for through in planes_through(fixed_points, looks, planes):
        corners = fixed_points[list(through)]
        along = _directions(corners)
        assert along is not None  # or they would not have been chosen
        windows.append(_Window(through, along, *_square((corners - corners[0]) @ along.T, _SIDE)))
    return windows


def shown_states(
    fixed_points: Float64[Tensor, "attractors dim"],
    cycles: Sequence[Cycle],
    samples: Float[Tensor, "samples dim"] | None,
    ways: Float64[Tensor, "followed steps dim"] | None,
) -> Float64[Tensor, "shown dim"]:
    """What a picture of all states must show: attractors, and the ends of where most samples begin and ways go."""
    shown = [fixed_points.cpu(), *(cycle.states.cpu() for cycle in cycles)]
    for states in (samples, None if ways is None else ways.flatten(0, 1)):
        if states is not None and len(states):
            inner = np.quantile(states.numpy(force=True).astype(np.float64), _INNER, axis=0)
            shown.append(torch.from_numpy(inner))
    return torch.cat(shown)


def _all_states(fixed_points: Float64[Tensor, "attractors 2"], shown: Float64[Tensor, "shown 2"]) -> list[_Window]:
    """The window on the plane of all states; none where nothing is known to be on it."""
    if not len(shown):
        return []
    start, side = _square(shown - _zero(fixed_points), _WHOLE_SIDE)
    marked = tuple(range(min(len(fixed_points), _MARKED)))
    return [_Window(marked, torch.eye(2, dtype=torch.float64), start, side)]


def _zero(fixed_points: Float64[Tensor, "attractors 2"]) -> Float64[Tensor, " 2"]:
    """From where distances on the plane of all states are measured."""
    return fixed_points[0] if len(fixed_points) else torch.zeros(2, dtype=torch.float64)


def _square(places: Float64[Tensor, "places 2"], share: float) -> tuple[Float64[Tensor, " 2"], float]:
    """Corner and side of the square in the middle of places, its side in their larger extent; 1 if they are one."""
    low, high = places.amin(dim=0), places.amax(dim=0)
    side = share * float((high - low).max()) or 1.0
    return (low + high - side) / 2, side


def _directions(corners: Float64[Tensor, "three dim"]) -> Float64[Tensor, "2 dim"] | None:
    """Orthonormal directions of the plane through three states; None where they are on one line."""
    ways = corners[1:] - corners[0]
    length, other = torch.linalg.vector_norm(ways, dim=1).tolist()
    if not length or not other:
        return None
    first = ways[0] / length
    across = ways[1] - (ways[1] @ first) * first
    across = across - (across @ first) * first  # again, for what rounding left
    width = float(torch.linalg.vector_norm(across))
    return torch.stack([first, across / width]) if width > _FLAT * other else None


def _picture(through: tuple[int, ...], plane: BasinPlane, sampled: int, sampled_cycles: int) -> PlanePicture:
    points, cycles, codes = plane.labels.unique(), plane.cycles.unique(), plane.codes
    boxes = codes[: len(codes) // BOX * BOX, : codes.shape[1] // BOX * BOX].unfold(0, BOX, BOX).unfold(1, BOX, BOX)
    return PlanePicture(
        attractors=through,
        basins=int((points >= 0).sum()),
        unsampled=int((points >= sampled).sum()),
        unresolved=int((codes == -1).sum()),
        entropy=basin_entropy_of(codes, BOX),
        crowded_boxes=sum(len(box.unique()) > 2 for box in boxes.reshape(-1, BOX * BOX)),
        cycles=int((cycles >= 0).sum()),
        unsampled_cycles=int((cycles >= sampled_cycles).sum()),
        diverged=int(plane.diverged.sum()),
    )


def in_order(fixed_points: Float64[Tensor, "attractors dim"], known: Sequence[FixedPoint]) -> list[FixedPoint]:
    """The known attractors in the order of the fixed points, which are their very states."""
    by_state = {point.state.cpu().numpy().tobytes(): point for point in known}
    try:
        return [by_state[state.numpy().tobytes()] for state in fixed_points.cpu()]
    except KeyError:
        raise ValueError("known does not have all of fixed_points, expected the same attractors") from None

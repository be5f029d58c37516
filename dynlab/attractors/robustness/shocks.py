"""The minimal critical shock: how small a perturbation of a state sends it to another attractor.

From below it is bounded by a ball from which nothing escapes (`dynlab.attractors.robustness.pulled_back`).

From above it is bounded by the best perturbation found. Along a ray to a state that goes elsewhere bisection finds a
point of the basin boundary. There the boundary is mostly a hypersurface, the stable manifold of a saddle, and its
normal is the gradient of any function that grows along the saddle's unstable direction: a covector `w` at the saddle
comes back along the orbit by `w <- J^T w`, and what is not the left unstable direction fades on the way. The nearest
point of the tangent hyperplane lies along the normal, so the next ray is the normal itself, or one on the way to it
where the boundary bends too much for that. The shock found is a local minimum of the distance to the boundary; several
starts make it likely, not certain, that there is no smaller one. Random directions find nothing near it in many
dimensions, as they are almost orthogonal to any normal.

Source: Halekotte and Feudel, Minimal fatal shocks in multistable complex networks, Scientific Reports 10, 2020;
Kerswell, Nonlinear nonmodal stability theory, Annual Review of Fluid Mechanics 50, 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from dynlab.attractors.robustness.pulled_back import LowerBound, lower_bounds
from dynlab.attractors.robustness.rays import Outcomes, Rays, bisect, outward, rays_to, room, shortest
from dynlab.dynamics import FixedPoint
from dynlab.dynamics.blocks import in_float64
from dynlab.dynamics.certificates import Certificate
from dynlab.dynamics.fixed_points import check_known
from dynlab.dynamics.spectra import eigenpairs
from dynlab.errors import check_count, check_positive
from dynlab.maps import Map, check_is_one_map, flat_states
from dynlab.short_repr import short_repr

if TYPE_CHECKING:
    import pandas as pd

_ROUGH = 0.05  # relative bracket at which rays are compared
_COARSE = 1e-4  # and at which a normal is taken
_GAIN = 1e-3  # relative, of a step to another ray, below which it was the last one
_SHORTEST = 0.125  # share of the way to the normal, below which the distance is at its minimum
_APART = 0.03  # of the distance of two attractors, at which orbits from both sides of a boundary have left it
_LONGEST = 1000  # orbit along which a normal is transported
_TOGETHER = 32  # orbits kept at a time
_FARTHEST = 4  # distances of the nearest other attractor, to which random directions are followed


@dataclass(frozen=True)
class CriticalShocks:
    """The smallest perturbation that sends each state to another attractor, as an interval; on the CPU.

    Lengths are Euclidean, in units of the state. Where no other attractor was found, `upper` and `straight` are
    infinite, `reached` is -1, and `perturbed` is NaN.
    """

    __repr__ = short_repr

    known: list[FixedPoint]  # the attractors that were given, and those met on the way
    attractors: Int64[Tensor, " states"]  # index into `known` of what each state reaches by itself, -1 for none
    lower: Float64[Tensor, " states"]  # no smaller perturbation sends it elsewhere
    lower_bounds: list[LowerBound]  # how much each of these is worth
    upper: Float64[Tensor, " states"]  # this one does
    perturbed: Float64[Tensor, "states dim"]  # the state after it
    reached: Int64[Tensor, " states"]  # index into `known` of what it then reaches
    straight: Float64[Tensor, " states"]  # the upper bound before optimization, bisected to 1e-4
    iterations: Int64[Tensor, " states"]  # rays that were tried in the optimization that was the best
    # 1 - length / upper, with the longest perturbation on the ray of `upper` that was seen to reach no other attractor;
    # it may have been one that diverges, or stays undecided.
    bracket: Float64[Tensor, " states"]

    @property
    def is_found(self) -> Bool[Tensor, " states"]:
        """Whether a perturbation was found that sends the state to another attractor."""
        return self.reached >= 0

    def to_frame(self) -> pd.DataFrame:
        """One row for each state, in pandas, which the extra `frames` installs.

        Columns are `attractor`, `lower`, `lower_bound` (how much it is worth), `upper`, `reached`, `straight`,
        `iterations` and `bracket`.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "attractor": self.attractors.numpy(),
                "lower": self.lower.numpy(),
                "lower_bound": [str(kind) for kind in self.lower_bounds],
                "upper": self.upper.numpy(),
                "reached": self.reached.numpy(),
                "straight": self.straight.numpy(),
                "iterations": self.iterations.numpy(),
                "bracket": self.bracket.numpy(),
            }
        )


def critical_shocks(
    system: Map,
    states: Float[Tensor, " states *state"],
    known: Sequence[FixedPoint],
    *,
    samples: Float[Tensor, " samples *state"] | None = None,
    certificates: Sequence[Certificate] | None = None,
    neighbours: int = 8,
    starts: int = 2,
    max_iterations: int = 20,
    precision: float = 1e-6,
    pull_back: bool = True,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
) -> CriticalShocks:
    """Bound the minimal critical shock of each state from both sides.

    The first rays lead to the nearest other attractors, to the nearest samples that go elsewhere, and both ways along
    the leading direction of the state's own attractor. Only another stable fixed point counts as another outcome:
    perturbations after which an orbit is on a cycle, diverges, or is undecided are passed over. All is in float64.

    Args:
        system: The map.
        states: Attractors or any other states, shape (states, dim) or `(states, *state_shape)`.
        known: Attractors, as `known_attractors` or `Orbits.fixed_points` give them; more are added as they are met.
        samples: States near which other basins may be, of any labels; none if not given.
        certificates: Of all of `known` in their order, as `dynlab.dynamics.certify` gives them. Where one shows no
            ball, or none are given, the safe ball of the fixed point is the estimate.
        neighbours: How many other attractors, and how many samples, are aimed at from each state, at least 0.
        starts: How many of the best rays are optimized for each state, at least 1.
        max_iterations: Limit of the rays in an optimization, at least 0.
        precision: Relative width of the last bisection, from 1e-12 to 0.01.
        pull_back: Whether states outside the ball of their attractor get a lower bound. It takes a few spectral norms
            for each step of their orbits, some tenths of a second at dim 784, and is the smaller the longer they are.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.

    Returns:
        The intervals. A lower bound that is estimated and turns out to be above the upper bound is brought down to it.

    Raises:
        ValueError: If an argument is out of its range, states or samples do not fit the map or are not finite, a fixed
            point of `known` is not stable, or the map holds inputs for several samples.
    """
    check_is_one_map(system)
    states = flat_states(system, states)
    if samples is not None:
        samples = flat_states(system, samples, parameter="samples")
    exact, states = in_float64(system, states)
    _check(exact, known, states.device, tolerance, max_steps)
    if certificates is not None and len(certificates) != len(known):
        raise ValueError(f"certificates has {len(certificates)} entries, expected {len(known)}, one for each known")
    for parameter, value, least in (
        ("neighbours", neighbours, 0),
        ("starts", starts, 1),
        ("max_iterations", max_iterations, 0),
    ):
        check_count(parameter, value, least)
    if not 1e-12 <= precision <= 0.01:
        raise ValueError(f"precision is {precision}, expected from 1e-12 to 0.01")
    outcomes = Outcomes(exact, known, states.device, tolerance, max_steps)
    own = outcomes(states)
    rays = _first_rays(outcomes, states, own, samples, neighbours)
    rays = bisect(outcomes, rays, _ROUGH)
    rays = bisect(outcomes, rays.at(shortest(rays, starts)), max(_COARSE, precision))
    straight = rays.at(shortest(rays, 1))
    rays, iterations = _optimize(outcomes, rays, max_iterations)
    best = shortest(rays, 1)
    rays, iterations = bisect(outcomes, rays.at(best), precision), iterations[best]

    lower, kinds = lower_bounds(exact, outcomes.known, states, own, certificates, pull_back=pull_back)
    count = len(states)
    upper = states.new_full((count,), torch.inf)
    perturbed, reached = torch.full_like(states, torch.nan), torch.full_like(own, -1)
    tried, straight_upper, bracket = torch.zeros_like(own), upper.clone(), torch.zeros_like(upper)
    perturbed[rays.row], reached[rays.row], tried[rays.row] = rays.ends(), rays.label, iterations
    upper[rays.row] = torch.linalg.vector_norm(rays.ends() - rays.origin, dim=1)
    bracket[rays.row] = 1 - rays.inside / rays.outside
    straight_upper[straight.row] = straight.outside
    straight_upper = torch.maximum(straight_upper, upper)  # the same ray, bisected less
    is_estimate = torch.tensor([kind == LowerBound.ESTIMATED for kind in kinds], dtype=torch.bool, device=lower.device)
    lower = torch.where(is_estimate, torch.minimum(lower, upper), lower)
    return CriticalShocks(
        outcomes.known,
        own.cpu(),
        lower.cpu(),
        kinds,
        upper.cpu(),
        perturbed.cpu(),
        reached.cpu(),
        straight_upper.cpu(),
        tried.cpu(),
        bracket.cpu(),
    )


def random_shock(
    system: Map,
    states: Float[Tensor, " states *state"],
    known: Sequence[FixedPoint],
    directions: int,
    *,
    seed: int = 0,
    precision: float = 0.01,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
) -> Float64[Tensor, " states"]:
    """The upper bound of the minimal critical shock that random directions find, to compare with.

    Args:
        system: The map.
        states: Attractors or any other states, shape (states, dim) or `(states, *state_shape)`.
        known: Attractors, as in `critical_shocks`.
        directions: How many are drawn for each state, uniformly from the sphere, at least 1.
        seed: Of the directions.
        precision: Relative width of the bisection, from 1e-12 to 0.05.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.

    Returns:
        Shape (states,), in units of the state; infinite where no other attractor is met up to four times as far
        as the nearest one is away. On the CPU.

    Raises:
        ValueError: As in `critical_shocks`.
    """
    check_is_one_map(system)
    states = flat_states(system, states)
    exact, states = in_float64(system, states)
    _check(exact, known, states.device, tolerance, max_steps)
    check_count("directions", directions, 1)
    if not 1e-12 <= precision <= _ROUGH:
        raise ValueError(f"precision is {precision}, expected from 1e-12 to {_ROUGH}")
    outcomes = Outcomes(exact, known, states.device, tolerance, max_steps)
    own = outcomes(states)
    row = torch.arange(len(states), device=states.device).repeat_interleave(directions)
    generator = torch.Generator().manual_seed(seed)
    units = torch.randn(len(row), system.dim, dtype=torch.float64, generator=generator).to(states)
    units = units / torch.linalg.vector_norm(units, dim=1, keepdim=True)
    rays = outward(outcomes, states, own, row, units, _FARTHEST * room(outcomes, states, own))
    rays = bisect(outcomes, rays, _ROUGH)
    rays = bisect(outcomes, rays.at(shortest(rays, 1)), precision)
    upper = states.new_full((len(states),), torch.inf)
    upper[rays.row] = rays.outside
    return upper.cpu()


def _first_rays(
    outcomes: Outcomes,
    states: Float64[Tensor, "states dim"],
    own: Int64[Tensor, " states"],
    samples: Float[Tensor, "samples dim"] | None,
    neighbours: int,
) -> Rays:
    others = states[:0] if samples is None else samples.to(states)
    labels = outcomes(others) if len(others) else own[:0]
    centres = outcomes.centres(states)
    numbers = torch.arange(len(centres), device=states.device)
    parts = [
        rays_to(states, own, ends, end_labels, neighbours)
        for ends, end_labels in ((centres, numbers), (others, labels))
    ]
    # Both ways along the direction in which the own attractor is the least stable.
    used, place = own[own >= 0].unique(return_inverse=True)
    if len(used):
        leading = eigenpairs(outcomes.exact, centres[used], 1).directions[:, :, 0].real.to(states)
        lengths = torch.linalg.vector_norm(leading, dim=1, keepdim=True)
        units = torch.where(lengths > 0, leading / lengths, 0)[place]
        row = (own >= 0).nonzero()[:, 0].repeat(2)
        limits = room(outcomes, states, own)
        parts.append(outward(outcomes, states, own, row, torch.cat([units, -units]), limits))
    return Rays(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def _normals(outcomes: Outcomes, rays: Rays) -> Float64[Tensor, "rays dim"]:
    """Unit normals of the basin boundary between inside and outside of each ray, toward the outside."""
    exact, centres = outcomes.exact, outcomes.centres(rays.origin)
    parts = []
    for rows in torch.arange(len(rays.row), device=rays.row.device).split(_TOGETHER):
        part = rays.at(rows)
        inner, outer = part.origin + part.inside[:, None] * part.unit, part.ends()
        far = _APART * torch.linalg.vector_norm(centres[part.own] - centres[part.label], dim=1)
        way: list[tuple[Tensor, Tensor]] = []
        going = torch.arange(len(rows), device=rows.device)
        for _ in range(_LONGEST):
            going = going[torch.linalg.vector_norm(outer[going] - inner[going], dim=1) < far[going]]
            if not len(going):
                break
            way.append((going, (inner[going] + outer[going]) / 2))
            with torch.no_grad():
                inner[going], outer[going] = exact(inner[going]), exact(outer[going])
        normal = outer - inner
        for going, middle in reversed(way):
            moved = exact.vjp(middle, normal[going])
            normal[going] = moved / torch.linalg.vector_norm(moved, dim=1, keepdim=True)
        normal = normal / torch.linalg.vector_norm(normal, dim=1, keepdim=True)
        # Where the transport came to nothing, nothing better than the ray is known.
        parts.append(torch.where(torch.isfinite(normal).all(dim=1, keepdim=True), normal, part.unit))
    return torch.cat(parts) if parts else rays.unit


def _optimize(outcomes: Outcomes, rays: Rays, max_iterations: int) -> tuple[Rays, Int64[Tensor, " rays"]]:
    """Turn each ray toward the normal of the boundary where it meets it, as long as that makes it shorter."""
    normals, share = rays.unit.clone(), torch.ones_like(rays.outside)
    iterations = torch.zeros_like(rays.row)
    going = stale = torch.ones_like(rays.row, dtype=torch.bool)
    for _ in range(max_iterations):
        rows = going.nonzero()[:, 0]
        if not len(rows):
            break
        fresh = (going & stale).nonzero()[:, 0]
        normals[fresh] = _normals(outcomes, rays.at(fresh))
        iterations[rows] += 1
        current, normal = rays.at(rows), normals[rows]
        aim = current.unit + share[rows, None] * (normal - current.unit)
        aim = aim / torch.linalg.vector_norm(aim, dim=1, keepdim=True)
        # Where the new ray meets the tangent hyperplane, as a share of the length of the old one.
        ahead = (normal * current.unit).sum(dim=1) / (normal * aim).sum(dim=1)
        trial = replace(current, unit=aim, inside=torch.zeros_like(current.inside))
        trial = trial.move(outcomes, current.outside)
        is_shorter = trial.inside == 0
        better, chosen = trial.at(is_shorter), rows[is_shorter]
        # The boundary may bend toward the state by as much again as the hyperplane gains.
        guess = (2 * ahead[is_shorter] - 1 - _COARSE) * better.outside
        guessed = (guess > 0).nonzero()[:, 0]
        if len(guessed):
            better = better.with_at(guessed, better.at(guessed).move(outcomes, guess[guessed]))
        better = bisect(outcomes, better, _COARSE)
        gain = 1 - better.outside / rays.outside[chosen]
        rays = rays.with_at(chosen, better)
        share[chosen] = (2 * share[chosen]).clamp(max=1.0)
        share[rows[~is_shorter]] /= 2
        stale = torch.zeros_like(going).index_fill(0, chosen, value=True)
        going = going & (share >= _SHORTEST)
        going[chosen] = gain >= _GAIN
    return rays, iterations


def _check(exact: Map, known: Sequence[FixedPoint], device: torch.device, tolerance: float, max_steps: int) -> None:
    check_positive("tolerance", tolerance)
    check_count("max_steps", max_steps, 1)
    if not known:
        raise ValueError("known is empty, expected at least one attractor")
    check_known(exact, known, device)
    for index, point in enumerate(known):
        if not point.is_stable:
            raise ValueError(f"known[{index}] has no safe ball, expected a stable fixed point")

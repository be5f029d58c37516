"""Explosions: are they one fixed point, what do they start from, and how far does its basin reach?

The report saw that "for a single DAE all the fully converged explosions were exactly the same", and asked for an
explanation. Three things are measured here.

*One point?* All samples whose transformed state is an explosion go on to their attractors; counted is how many of these
there are, and how far they stand apart.

*Starts.* Samples that explode against those that do not: how many of each class, how much ink they have, how far they
start from the fixed point. Two groups are compared by their medians and by the probability that one drawn from the
first has the larger number than one drawn from the second (0.5 where nothing tells them apart).

*Basin.* What reaches the fixed point: states at random directions and growing distances from it, samples moved towards
it along a straight line, and states that are no images: noise, even grey, samples with their pixels shuffled.

Source: Bahdanau and Jaeger 2014, section 6.1; Mann and Whitney, On a test of whether one of two random variables is
stochastically larger than the other, 1947; Wilson 1927 (intervals of shares).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from dynlab.attractors import Basins, wilson_interval
from dynlab.attractors.reached import attractors_reached, known_attractors
from dynlab.dynamics.blocks import home_of
from dynlab.errors import InputError
from dynlab.evaluation.kinds import is_explosion
from dynlab.maps import Map

RADII = (1.0, 2.0, 4.0, 8.0, 16.0)  # distances from the fixed point, in units of the state
WAY = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # shares of the way from a sample to it
PROBES = 100  # states of each kind


@dataclass(frozen=True)
class ExplosionPoints:
    """Where samples end that stand at an explosion when the quantile rule stops them."""

    samples: int  # such samples
    explosions: int  # attractors without a pixel above 0.5 that they reach
    largest_share: float | None  # of the samples that reach such attractors, in the basin of the largest; None: none do
    largest_distance: float | None  # between two of those attractors; None where there are fewer than two
    others: int  # samples whose attractor is no explosion after all
    unresolved: int  # samples that reach no fixed point


@dataclass(frozen=True)
class Contrast:
    """A number of the samples that explode against the same number of those that do not."""

    exploded: float | None  # median; None of an empty group
    others: float | None
    exploded_larger: (
        float | None
    )  # probability that one that explodes has the larger number, ties half; None: a group is empty


@dataclass(frozen=True)
class ClassExplosions:
    """How many samples of a class explode."""

    known_class: int
    samples: int
    exploded: int
    interval: tuple[float, float]  # of the share, 95%


@dataclass(frozen=True)
class ExplosionStarts:
    """What explosions start from."""

    samples: int
    exploded: int
    classes: list[ClassExplosions]  # empty where the samples have no classes
    ink: Contrast  # of the mean pixel
    distance: Contrast | None  # of the Euclidean distance to the explosion's fixed point; None where that is not known


@dataclass(frozen=True)
class Probe:
    """How many of some states reach the fixed point."""

    states: str  # what they are
    value: float | None  # their distance from it, or their share of the way to it, where that is a number
    samples: int
    reached: int


def explosion_points(basins: Basins) -> ExplosionPoints:
    """How many attractors there are behind explosions, from the basins of the samples that exploded."""
    points = basins.fixed_points
    explosions = is_explosion(points)
    sizes = basins.sizes[explosions]
    apart = torch.pdist(points[explosions])
    return ExplosionPoints(
        samples=len(basins.labels),
        explosions=int(explosions.sum()),
        largest_share=float(sizes.max() / sizes.sum()) if len(sizes) else None,
        largest_distance=float(apart.max()) if len(apart) else None,
        others=int(basins.sizes[~explosions].sum()),
        unresolved=int((basins.labels < 0).sum()),
    )


def explosion_starts(
    images: Float[Tensor, "samples dim"],
    exploded: Bool[Tensor, " samples"],
    classes: Int64[Tensor, " samples"] | None = None,
    fixed_point: Float64[Tensor, " dim"] | None = None,
) -> ExplosionStarts:
    """What the samples that explode have in common.

    Args:
        images: Where all samples start.
        exploded: Which of them explode.
        classes: Their classes, where these are known.
        fixed_point: The explosion, where it is known.

    Returns:
        Counts and contrasts.
    """
    by_class = []
    for known in [] if classes is None else classes.unique().tolist():
        of_class = exploded[classes == known]
        low, high = wilson_interval(of_class.sum()[None], torch.tensor([len(of_class)]))[0].tolist()
        by_class.append(ClassExplosions(known, len(of_class), int(of_class.sum()), (low, high)))
    distances = None
    if fixed_point is not None:
        distances = torch.linalg.vector_norm(images.double() - fixed_point, dim=1)
    return ExplosionStarts(
        samples=len(images),
        exploded=int(exploded.sum()),
        classes=by_class,
        ink=contrast(images.double().mean(dim=1), exploded),
        distance=None if distances is None else contrast(distances, exploded),
    )


def contrast(values: Float64[Tensor, " samples"], exploded: Bool[Tensor, " samples"]) -> Contrast:
    """Compare a number of those that explode with that of the others.

    Source: Mann and Whitney 1947, the statistic U by the product of the sizes of the groups.
    """
    from scipy.stats import rankdata

    first, second = values[exploded], values[~exploded]
    larger = None
    if len(first) and len(second):
        ranks = torch.from_numpy(rankdata(torch.cat([first, second]).numpy()))[: len(first)]
        larger = float((ranks.sum() - len(first) * (len(first) + 1) / 2) / (len(first) * len(second)))
    medians = [float(group.quantile(0.5)) if len(group) else None for group in (first, second)]
    return Contrast(medians[0], medians[1], larger)


def explosion_basin(
    system: Map,
    fixed_point: Float64[Tensor, " dim"],
    images: Float[Tensor, "samples dim"],
    *,
    seed: int = 0,
    tolerance: float = 1e-4,
    max_steps: int = 10_000,
    on_progress: Callable[[float], None] | None = None,
) -> list[Probe]:
    """Which states reach an explosion.

    Args:
        system: The map.
        fixed_point: The explosion, a stable fixed point.
        images: Samples in [0, 1]; the first 100 are moved towards it, and shuffled.
        seed: Of all that is random.
        tolerance: As in `dynlab.iterate`.
        max_steps: As in `dynlab.iterate`.
        on_progress: Called with the share that is done.

    Returns:
        For each kind of states how many reach it: at random directions from it ("around", `value` the distance),
        samples on their way to it ("towards", `value` the share of the way), uniform noise, even grey of levels from
        0 to 1, and samples with their pixels shuffled.

    Raises:
        InputError: If the fixed point is none, or does not attract.
    """
    (known,) = known_attractors(system, fixed_point[None], tolerance=tolerance)
    if not known.is_stable:
        raise InputError("fixed_point does not attract, expected a stable fixed point of the map")
    home = home_of(system, fixed_point)
    found, kinds = [], _probes(fixed_point, images[:PROBES].cpu().double(), torch.Generator().manual_seed(seed))
    for number, (states, value, starts) in enumerate(kinds):
        if on_progress:
            on_progress(number / len(kinds))
        reached = attractors_reached(
            system, starts.to(home.device, home.dtype), [known], tolerance=tolerance, max_steps=max_steps
        )
        found.append(Probe(states, value, len(starts), int((reached.labels == 0).sum())))
    return found


def _probes(
    point: Float64[Tensor, " dim"], images: Float64[Tensor, "samples dim"], generator: torch.Generator
) -> list[tuple[str, float | None, Tensor]]:
    point, dim = point.cpu(), len(point)
    ways = torch.randn(PROBES, dim, generator=generator, dtype=torch.float64)
    ways /= torch.linalg.vector_norm(ways, dim=1, keepdim=True)
    shuffled = images.gather(1, torch.rand(images.shape, generator=generator).argsort(dim=1))
    around = [("around", radius, point + radius * ways) for radius in RADII]
    towards = [("towards", share, torch.lerp(images, point.expand_as(images), share)) for share in WAY]
    grey = torch.linspace(0, 1, PROBES, dtype=torch.float64)[:, None].expand(-1, dim)
    noise = torch.rand(PROBES, dim, generator=generator, dtype=torch.float64)
    return [
        *around,
        *towards,
        ("uniform noise", None, noise),
        ("even grey", None, grey),
        ("shuffled pixels", None, shuffled),
    ]

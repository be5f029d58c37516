"""How robust attractors and samples are: the smallest shock that changes the outcome, and how often noise does.

A shock is aimed, noise is not. The minimal critical shock is known as an interval: no smaller perturbation than its
lower end changes the outcome, the one of its upper end does. Gaussian noise in many coordinates hardly ever points
where the boundary is nearest, so that how often it changes the outcome is another question, answered by counting.

Source: `dynlab.attractors.shocks`, `pulled_back`, `escape` and `chain`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from dynlab.attractors.basins import Basins
from dynlab.attractors.escape import escape_graph, escape_probability
from dynlab.attractors.pulled_back import LowerBound
from dynlab.attractors.reached import known_attractors
from dynlab.attractors.shocks import critical_shocks
from dynlab.dynamics import FixedPoint
from dynlab.dynamics.certificates import Certificate, CertificateStatus
from dynlab.evaluation.linearization import AttractorCertificate
from dynlab.evaluation.settings import AnalysisSettings
from dynlab.maps import Map

if TYPE_CHECKING:
    import networkx as nx

MOST_DRAWS, LEAST_DRAWS = 200, 20  # from each attractor, where the settings name no number
_ALL_DRAWS = 10_000  # from all of them, about
_TENTH = 0.1
_NEIGHBOURS = 8  # samples with another attractor at which rays from a sample are aimed


class NoiseSource(StrEnum):
    """Where the standard deviation of the noise is from."""

    GIVEN = "given"  # by the settings
    TRAINING = "training"  # it is the corruption level of the map
    ATTRACTORS = "attractors"  # a tenth of the median distance of an attractor and its nearest neighbour
    SAMPLES = "samples"  # a tenth of the standard deviation of the coordinates of all samples


@dataclass(frozen=True)
class Shock:
    """The minimal critical shock of one state as an interval; lengths are Euclidean, in units of the state.

    Attractors are named by their ids, and from their number on by the rows of `ShockStates.others` after it.
    """

    start: int  # id of an attractor, or a sample
    attractor: int  # that it reaches by itself, -1 for none
    lower: float | None  # no smaller perturbation sends it elsewhere; None: none of any size does
    lower_bound: LowerBound  # what the lower end is worth
    upper: float | None  # this one does; None where no other attractor was found
    reached: int  # the attractor where it then ends, -1 for none
    straight: (
        float | None
    )  # the shortest one found on a straight line to another attractor or along a leading direction
    nearest: float | None  # distance of the nearest other attractor that samples reach; None where there is none


@dataclass(frozen=True)
class AttractorEscape:
    """How often noise takes an attractor elsewhere, and its place in the chain; as in `EscapeGraph.to_networkx`."""

    attractor: int  # its id
    escape_probability: float  # share of the draws that did not come back
    escape_low: float  # ends of its 95% interval
    escape_high: float
    elsewhere: float  # share of the draws that ended at an attractor that no sample reaches
    unresolved: float  # share of the draws that ended at none within the limits of steps
    recurrent_class: int  # that the chain never leaves; -1 where it is transient or left out
    group: int  # metastable group; -1 where it is left out
    stationary: float  # its share in the stationary distribution of its class, 0 where it has none


@dataclass(frozen=True)
class SampleEscape:
    """How often noise gives one sample another outcome."""

    sample: int
    probability: float | None  # share of the draws; None for a sample that reaches no attractor itself
    low: float | None  # ends of its 95% interval
    high: float | None
    unresolved: float  # share of the draws that ended at no attractor within the limits of steps


@dataclass(frozen=True)
class Robustness:
    """What was found; the states are in `ShockStates`, the escapes from one attractor to another in the graph."""

    attractor_shocks: list[Shock]  # of the largest basins
    sample_shocks: list[Shock]  # of some samples that have an attractor, drawn at random
    noise: float  # standard deviation on each coordinate
    noise_source: NoiseSource
    draws: int  # from each attractor and each of these samples
    attractor_escapes: list[AttractorEscape]  # of all attractors
    sample_escapes: list[SampleEscape]  # of the same samples


@dataclass(frozen=True)
class ShockStates:
    """The states of the shocks, those of attractors first; on the CPU."""

    starts: Float64[Tensor, "shocks dim"]
    ends: Float64[Tensor, "shocks dim"]  # just after the shock of the upper end; NaN where none was found
    others: Float64[Tensor, "others dim"]  # attractors that no sample reaches, met on the way


def robustness_of(
    system: Map,
    basins: Basins,
    images: Float[Tensor, "samples dim"],
    certificates: Sequence[AttractorCertificate],
    corruption_level: float | None,
    settings: AnalysisSettings,
    on_progress: Callable[[str, float], None] = lambda what, done: None,
) -> tuple[Robustness, ShockStates, nx.DiGraph]:
    """Look for critical shocks of attractors and samples, and count where noise takes them.

    Args:
        system: The map.
        basins: The basins of all samples.
        images: The samples, in the order of `basins.labels`.
        certificates: Of some attractors; their balls are the lower ends.
        corruption_level: Standard deviation of the noise the map was trained with, None if it is not known.
        settings: How many states are shocked, and how often and how strongly they are perturbed.
        on_progress: Called with what is being done, and the share that is done.

    Returns:
        What was found, the states of the shocks, and the escapes as `EscapeGraph.to_networkx` gives them.
    """
    points = basins.fixed_points
    known = known_attractors(system, points, tolerance=settings.tolerance)
    chosen = shocked_samples(basins.labels, settings.shocked_samples, settings.seed)
    samples = images[chosen.to(images.device)]
    on_progress("critical shocks", 0.0)
    near = images[_across_boundaries(images, basins.labels, chosen).to(images.device)]
    shocked, states = _shocks(system, points, known, samples, chosen, near, certificates, settings)
    on_progress("critical shocks", 1.0)

    noise, source = _noise(settings.noise, corruption_level, points, images)
    draws = settings.noise_draws or max(LEAST_DRAWS, min(MOST_DRAWS, _ALL_DRAWS // max(1, len(points))))
    limits = {"tolerance": settings.tolerance, "max_steps": settings.max_steps}
    graph = escape_graph(
        system, basins, noise, draws, settings.seed, **limits, on_progress=lambda done: on_progress("noise", done)
    ).to_networkx()
    escapes = escape_probability(
        system,
        samples,
        known,
        noise,
        draws,
        settings.seed,
        **limits,
        on_progress=lambda done: on_progress("noise on samples", done),
    )
    rows = zip(chosen.tolist(), escapes.probabilities, escapes.intervals, escapes.unresolved.tolist(), strict=True)
    found = Robustness(
        attractor_shocks=shocked[: len(shocked) - len(chosen)],
        sample_shocks=shocked[len(shocked) - len(chosen) :],
        noise=noise,
        noise_source=source,
        draws=draws,
        attractor_escapes=[AttractorEscape(node, **graph.nodes[node]) for node in sorted(graph)],
        sample_escapes=[
            SampleEscape(sample, _finite(share), _finite(low), _finite(high), unresolved / draws)
            for sample, share, (low, high), unresolved in rows
        ],
    )
    return found, states, graph


def shocked_samples(labels: Int64[Tensor, " samples"], number: int, seed: int) -> Int64[Tensor, " shocked"]:
    """So many samples that have an attractor, or all there are, drawn at random; in their order."""
    candidates = (labels >= 0).nonzero()[:, 0]
    drawn = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(seed))[:number]
    return candidates[drawn.sort().values]


def _across_boundaries(
    images: Float[Tensor, "samples dim"], labels: Int64[Tensor, " samples"], chosen: Int64[Tensor, " shocked"]
) -> Int64[Tensor, " near"]:
    """The samples nearest to each of the chosen ones that have another attractor: boundaries are on the way there."""
    found = []
    for sample in chosen.tolist():
        others = ((labels >= 0) & (labels != labels[sample])).nonzero()[:, 0]
        apart = torch.linalg.vector_norm(images[others.to(images.device)] - images[sample], dim=1).cpu()
        found.append(others[apart.argsort(stable=True)[:_NEIGHBOURS]])
    return torch.cat(found).unique() if found else chosen


def check_names(found: Robustness, attractors: int, others: int, samples: int) -> None:
    """Check that attractors and samples that are named are there.

    Args:
        found: What names them.
        attractors: Number of attractors that samples reach.
        others: Number of those met on the way.
        samples: Number of samples.

    Raises:
        ValueError: If one is not there.
    """
    shocks = [*found.attractor_shocks, *found.sample_shocks]
    for kind, named, least, end in (
        ("attractor", [shock.start for shock in found.attractor_shocks], 0, attractors),
        ("attractor", [end for shock in shocks for end in (shock.attractor, shock.reached)], -1, attractors + others),
        ("attractor", [escape.attractor for escape in found.attractor_escapes], 0, attractors),
        ("sample", [shock.start for shock in found.sample_shocks], 0, samples),
        ("sample", [escape.sample for escape in found.sample_escapes], 0, samples),
    ):
        for number in named:
            if not least <= number < end:
                raise ValueError(f"names {kind} {number}, expected {least} to {end - 1}")


def _shocks(
    system: Map,
    points: Float64[Tensor, "attractors dim"],
    known: Sequence[FixedPoint],
    samples: Float[Tensor, "shocked dim"],
    chosen: Int64[Tensor, " shocked"],
    near: Float[Tensor, "near dim"],
    certificates: Sequence[AttractorCertificate],
    settings: AnalysisSettings,
) -> tuple[list[Shock], ShockStates]:
    """The shocks of the first attractors and of the samples."""
    stable = [row for row, point in enumerate(known) if point.is_stable]
    if not stable:
        return [], ShockStates(points[:0], points[:0], points[:0])
    attractors = stable[: settings.shocked_attractors]
    starts = torch.cat([points[attractors], samples.cpu().double()])
    by_attractor = {certificate.attractor: certificate for certificate in certificates}
    shocks = critical_shocks(
        system,
        starts,
        [known[row] for row in stable],
        samples=near,
        certificates=[_as_certified(by_attractor.get(row)) for row in stable],
        pull_back=system.dim <= settings.pulled_back_dim,
        tolerance=settings.tolerance,
        max_steps=settings.max_steps,
    )
    others = [point.state for point in shocks.known[len(stable) :]]
    # What `critical_shocks` numbers, by id; from the number of attractors on those that are no attractors here.
    ids = [*stable, *range(len(points), len(points) + len(others)), -1]
    found = []
    for row, start in enumerate([*attractors, *chosen.tolist()]):
        own, lower = int(shocks.attractors[row]), float(shocks.lower[row])
        found.append(
            Shock(
                start=start,
                attractor=ids[own],
                lower=lower if lower < sys.float_info.max else None,
                lower_bound=shocks.lower_bounds[row],
                upper=_finite(shocks.upper[row]),
                reached=ids[int(shocks.reached[row])],
                straight=_finite(shocks.straight[row]),
                nearest=_nearest(starts[row], points, ids[own]),
            )
        )
    states = ShockStates(starts, shocks.perturbed, torch.stack(others) if others else points[:0])
    return found, states


def _as_certified(found: AttractorCertificate | None) -> Certificate:
    """The ball of a certificate; none where there is no certificate."""
    if found is None:
        return Certificate(CertificateStatus.FAILED)
    radius = math.inf if found.basin_radius is None else found.basin_radius
    return Certificate(found.status, is_stable=found.is_stable, basin_radius=radius)


def _nearest(state: Float64[Tensor, " dim"], points: Float64[Tensor, "attractors dim"], own: int) -> float | None:
    """Distance of the nearest attractor that is not the own one."""
    apart = torch.linalg.vector_norm(points - state, dim=1)
    if 0 <= own < len(apart):
        apart[own] = math.inf
    return _finite(apart.min()) if len(apart) else None


def _noise(
    given: float | None,
    corruption_level: float | None,
    points: Float64[Tensor, "attractors dim"],
    images: Float[Tensor, "samples dim"],
) -> tuple[float, NoiseSource]:
    """The standard deviation of the noise, and where it is from."""
    if given is not None:
        return float(given), NoiseSource.GIVEN
    if corruption_level:
        return corruption_level, NoiseSource.TRAINING
    if len(points) > 1:
        apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf)
        return _TENTH * float(apart.amin(dim=1).median()), NoiseSource.ATTRACTORS
    return _TENTH * float(images.double().std(correction=0)), NoiseSource.SAMPLES


def _finite(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None

"""How robust attractors and samples are: the smallest shock that changes the outcome, and how often noise does.

A shock is aimed, noise is not. The minimal critical shock is known as an interval: no smaller perturbation than its
lower end changes the outcome, the one of its upper end does. Gaussian noise in many coordinates hardly ever points
where the boundary is nearest, so that how often it changes the outcome is another question, answered by counting.

Source: `dynlab.attractors.robustness.shocks`, `pulled_back`, `escape` and `chain`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from dynlab.attractors.basins import Basins
from dynlab.attractors.reached import known_attractors
from dynlab.attractors.robustness.escape import escape_graph, escape_probability
from dynlab.attractors.robustness.shocks import critical_shocks
from dynlab.dynamics import FixedPoint
from dynlab.dynamics.certificates import Certificate, CertificateStatus
from dynlab.evaluation.linearization import AttractorCertificate
from dynlab.evaluation.numbers import finite_or_none
from dynlab.evaluation.robustness_results import (
    AttractorEscape,
    NoiseSource,
    Robustness,
    SampleEscape,
    Shock,
    ShockStates,
)
from dynlab.evaluation.settings import AnalysisSettings
from dynlab.maps import Map

if TYPE_CHECKING:
    import networkx as nx

MOST_DRAWS, LEAST_DRAWS = 200, 20  # from each attractor, where the settings name no number
_ALL_DRAWS = 10_000  # from all of them, about
_TENTH = 0.1
_NEIGHBOURS = 8  # samples with another attractor at which rays from a sample are aimed


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
    limits = {
        "tolerance": settings.tolerance,
        "max_steps": settings.max_steps,
        "max_exact_steps": settings.exact_steps_elsewhere,
    }
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
    found = (escapes.probabilities, escapes.intervals, escapes.unresolved)
    rows = zip(chosen.tolist(), *(column.tolist() for column in found), strict=True)
    robustness = Robustness(
        attractor_shocks=shocked[: len(shocked) - len(chosen)],
        sample_shocks=shocked[len(shocked) - len(chosen) :],
        noise=noise,
        noise_source=source,
        draws=draws,
        attractor_escapes=[AttractorEscape(node, **graph.nodes[node]) for node in sorted(graph)],
        sample_escapes=[
            SampleEscape(sample, finite_or_none(share), finite_or_none(low), finite_or_none(high), unresolved / draws)
            for sample, share, (low, high), unresolved in rows
        ],
    )
    return robustness, states, graph


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
                upper=finite_or_none(float(shocks.upper[row])),
                reached=ids[int(shocks.reached[row])],
                straight=finite_or_none(float(shocks.straight[row])),
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
    return finite_or_none(float(apart.min())) if len(apart) else None


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

"""What the linearization says about the attractors: multipliers and powers of the Jacobian, certificates, completeness.

The spectral radius says how fast orbits come home in the end. The Jacobian is not normal, so `||J||_2` and the largest
`||J^p||_2` say how far a perturbation may grow before. Multipliers near 1 are directions in which an attractor is
almost a continuous one. Certificates say in which balls all this is certain, and the index sum how many fixed points
are missing at least: each attractor counts +1, as `det(I - J) > 0` where all multipliers lie inside the unit circle.

Source: `dynlab.dynamics.spectra`, `amplification`, `score`, `certificates` and `completeness`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

from dynlab.dynamics.amplification import departure_from_normality, jacobian_norm, transient_amplification
from dynlab.dynamics.blocks import home_of
from dynlab.dynamics.certificates import CertificateStatus, certify
from dynlab.dynamics.completeness import EXPECTED
from dynlab.dynamics.score import antisymmetric_share
from dynlab.dynamics.spectra import near_unity_counts
from dynlab.evaluation.numbers import finite_or_none
from dynlab.maps import Map

NEAR_UNITY_RADII = (0.01, 0.03, 0.1)
_TOGETHER = 8  # attractors between two reports of progress


@dataclass(frozen=True)
class Linearization:
    """The Jacobian `J` at one attractor."""

    attractor: int  # its id
    jacobian_norm: float  # ||J||_2: the most by which one step lengthens a small perturbation
    largest_amplification: float  # max over p of ||J^p||_2, at least 1
    amplification_steps: int  # the p at which that is attained
    amplification_is_settled: bool  # whether larger p are ruled out; if not, it is a lower bound
    departure_from_normality: float  # Henrici's, 0 for a normal Jacobian
    near_unity: tuple[int, ...]  # multipliers within each of `NEAR_UNITY_RADII` of 1
    antisymmetric_share: float  # ||J - J'||_F / (2 ||J||_F), 0 where F(x) - x may be a gradient


@dataclass(frozen=True)
class AttractorCertificate:
    """What `dynlab.dynamics.certify` found for one attractor; distances are Euclidean, from its row in the arrays."""

    attractor: int  # its id
    status: CertificateStatus
    reason: str  # what failed, by how much; empty where nothing did
    existence_radius: float | None  # a fixed point is at most this far; None where that was not shown
    uniqueness_radius: float | None  # and no other one is at most this far; None: none anywhere
    index: int  # sign of det(I - J) there, 0 if unknown
    is_stable: bool  # whether stability was shown
    contraction: float | None  # an upper bound of the spectral radius; None where stability was not shown
    basin_radius: float | None  # every orbit from at most this far converges to it; None: every orbit
    condition: float | None  # of the norm in which it contracts


@dataclass(frozen=True)
class IndexSum:
    """The signs of `det(I - J)` over the attractors known of a map of the cube into itself."""

    known: int  # attractors
    index_sum: int
    expected: int  # over all fixed points, if none has 1 as a multiplier
    missing: int  # fixed points that are no attractors known here, at least


def linearizations(
    system: Map, fixed_points: Float64[Tensor, "attractors dim"], on_progress: Callable[[float], None]
) -> list[Linearization]:
    """Linearize a map at attractors; ids are rows of `fixed_points`.

    Args:
        system: The map.
        fixed_points: Its attractors, in float64.
        on_progress: Called with the share that is done.

    Returns:
        One entry for each attractor.
    """
    found: list[Linearization] = []
    for start in range(0, len(fixed_points), _TOGETHER):
        on_progress(start / len(fixed_points))
        block = fixed_points[start : start + _TOGETHER].to(home_of(system, fixed_points).device)
        norms, departures = jacobian_norm(system, block), departure_from_normality(system, block)
        amplification = transient_amplification(system, block)
        near, shares = near_unity_counts(system, block, NEAR_UNITY_RADII), antisymmetric_share(system, block)
        found += [
            Linearization(
                attractor=start + row,
                jacobian_norm=float(norms[row]),
                largest_amplification=float(amplification.factors[row]),
                amplification_steps=int(amplification.steps[row]),
                amplification_is_settled=bool(amplification.is_settled[row]),
                departure_from_normality=float(departures[row]),
                near_unity=tuple(near[row].tolist()),
                antisymmetric_share=float(shares[row]),
            )
            for row in range(len(block))
        ]
    on_progress(1.0)
    return found


def certificates(
    system: Map, fixed_points: Float64[Tensor, "attractors dim"], method: str, on_progress: Callable[[float], None]
) -> list[AttractorCertificate]:
    """Certify attractors of a map; ids are rows of `fixed_points`.

    Args:
        system: The map.
        fixed_points: Its attractors, in float64.
        method: "estimate" or "proof", as for `dynlab.dynamics.certify`.
        on_progress: Called with the share that is done.

    Returns:
        One certificate for each attractor.

    Raises:
        InputError: If `method` is "proof" and python-flint is not installed.
    """
    found: list[AttractorCertificate] = []
    for row, state in enumerate(fixed_points.to(home_of(system, fixed_points).device)):
        on_progress(row / len(fixed_points))
        certificate = certify(system, state, method=method)
        found.append(
            AttractorCertificate(
                attractor=row,
                status=certificate.status,
                reason=certificate.reason,
                existence_radius=finite_or_none(certificate.existence_radius),
                uniqueness_radius=finite_or_none(certificate.uniqueness_radius),
                index=certificate.index,
                is_stable=certificate.is_stable,
                contraction=finite_or_none(certificate.contraction),
                basin_radius=finite_or_none(certificate.basin_radius),
                condition=finite_or_none(certificate.condition),
            )
        )
    on_progress(1.0)
    return found


def index_sum(system: Map, attractors: int) -> IndexSum | None:
    """Add up the indices of the attractors known; None unless the map is known to send a cube into itself.

    That a layer of sigmoids comes last is how it is known: its outputs lie between 0 and 1, and so do all fixed points.

    Source: `dynlab.dynamics.completeness`.
    """
    layers = system.layers()
    if layers is None or layers[-1].nonlinearity != "sigmoid":
        return None
    return IndexSum(attractors, attractors, EXPECTED, abs(EXPECTED - attractors))

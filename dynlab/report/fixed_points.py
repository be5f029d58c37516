"""What the page says of fixed points and rates: the linearization, certificates, completeness and energy, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

import numpy as np

from dynlab.dynamics.certificates import CertificateStatus
from dynlab.dynamics.rates import Decay
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.linearization import NEAR_UNITY_RADII, AttractorCertificate
from dynlab.report.attractor_table import radius_text
from dynlab.report.gallery import Card, card_of
from dynlab.report.pictures import Screen
from dynlab.report.spectra import drawn_attractors
from dynlab.report.words import count, enumeration, number, percent

_VANISHING = 1e-9
_NO_LINE = {
    Decay.TOO_SHORT: ("has too few step lengths", "have too few step lengths"),
    Decay.NO_DECAY: (
        "does not fall by a factor of ten, or rises again",
        "do not fall by a factor of ten, or rise again",
    ),
    Decay.NOT_STRAIGHT: ("falls, but along no line", "fall, but along no line"),
}

_STATUS_WORDS = {
    CertificateStatus.PROVED: (
        "Proved: in ball arithmetic, which encloses all rounding, for the map with its parameters as stored and for "
        "exact iteration."
    ),
    CertificateStatus.ESTIMATED: "Estimated: the same bounds in float64, without regard to rounding; no proof.",
    CertificateStatus.FAILED: (
        "Failed: not even existence and uniqueness were shown, which does not say that they are false."
    ),
}


@dataclass(frozen=True)
class Tile:
    """One figure in large letters; `aside` follows it in small ones."""

    name: str
    value: str
    aside: str = ""


@dataclass(frozen=True)
class Spread:
    """A quantity over the attractors that were linearized."""

    name: str
    least: str
    median: str
    most: str


@dataclass(frozen=True)
class CertificateRow:
    """One certificate; cells are empty where nothing was shown."""

    attractor: int
    card: Card
    status: CertificateStatus
    existence: str
    uniqueness: str
    basin: str
    contraction: str
    reason: str


@dataclass(frozen=True)
class FixedPoints:
    """What the page says of the fixed points of one analysis."""

    tiles: list[Tile]
    multipliers: str  # what is drawn
    rates: str  # how fitted rates compare, and which samples have none
    spreads: list[Spread]
    linearized: str  # where
    certificates: list[CertificateRow]
    statuses: str  # what the status of the certificates means
    none_certified: str  # why there is no certificate at all, where the reason is one and the same; else empty
    completeness: str
    energy: str


def fixed_points_of(analysis: Analysis, screen: Screen) -> FixedPoints:
    """Everything the page says of fixed points and rates."""
    results = analysis.results
    rows = [_certificate_row(analysis, screen, certificate) for certificate in results.certificates]
    return FixedPoints(
        tiles=_tiles(analysis),
        multipliers=_multiplier_words(analysis),
        rates=rate_words(analysis),
        spreads=_spreads(analysis),
        linearized=_where(len(results.linearizations), len(results.attractors)),
        certificates=rows,
        statuses=" ".join(
            words for status, words in _STATUS_WORDS.items() if any(row.status is status for row in rows)
        ),
        none_certified=_common_failure(results.certificates),
        completeness=completeness_words(analysis),
        energy=energy_words(analysis),
    )


def rate_words(analysis: Analysis) -> str:
    """How many recorded samples have a line, how well rates agree with spectral radii, and why others have none."""
    rates = analysis.results.rates
    if not rates.recorded:
        return "No step lengths were recorded."
    lines = rates.decays.get(Decay.EXPONENTIAL, 0)
    verb = "falls" if rates.recorded == 1 else "fall"
    sentences = [f"{number(lines)} of {count(rates.recorded, 'recorded sample')} {verb} along a line."]
    if lines < rates.recorded:
        reasons = [
            f"{number(many)} {one if many == 1 else several}"
            for decay, (one, several) in _NO_LINE.items()
            if (many := rates.decays.get(decay))
        ]
        sentences.append(f"The others: {enumeration(reasons)}.")
    if rates.compared < lines:
        sentences.append(f"Those with a line that are unresolved, {number(lines - rates.compared)}, are not drawn.")
    if rates.median_difference is not None:
        sentences.append(
            f"In the median, 1 − rate is {percent(rates.median_difference)} off 1 − spectral radius of the attractor. "
            "An orbit that hardly moves along the slowest direction is faster: it stands above the diagonal."
        )
    return " ".join(sentences)


def completeness_words(analysis: Analysis) -> str:
    """How many fixed points are missing at least; nothing where no sum is expected."""
    found = analysis.results.index_sum
    if found is None:
        return ""
    rule = (
        "The map sends the cube of states from 0 to 1 into itself. So over all its fixed points, if 1 is a multiplier "
        f"of none, the signs of det(I − J) add up to {found.expected}"
    )
    if found.known == 0:
        return f"{rule}: there is one at least, though no attractor is known."
    if found.known == 1:
        return f"{rule}. The one attractor known adds up to that alone: nothing shows that others are missing."
    sums = f"{rule}. The {number(found.known)} attractors known count +1 each"
    if analysis.results.connections is not None:
        return f"{sums}. What that says with the saddles found between them stands below, under Connections."
    return (
        f"{sums}. So at least {number(found.missing)} more that count −1 are not known here: they are unstable, with a "
        "real multiplier above 1."
    )


def energy_words(analysis: Analysis) -> str:
    """Whether the energy falls along orbits; nothing where there is no energy."""
    found = analysis.results.energy
    if found is None:
        return ""
    whose = (
        "The energy of this tied map, which no step of exact iteration raises,"
        if found.is_tied
        else "The map is not tied and has no energy of its own. That of the nearest tied map, a guide and no more,"
    )
    rises = (
        "rose in no step"
        if found.rising_share == 0
        else f"rose in {percent(found.rising_share)} of the steps that change it, "
        f"by {found.largest_rise:.2g} nats at most"
    )
    return (
        f"{whose} {rises}; {percent(found.lower_share)} of {count(found.orbits, 'orbit')} were lower after "
        f"{count(found.steps, 'step')} than at the start."
    )


def _tiles(analysis: Analysis) -> list[Tile]:
    results, tiles = analysis.results, []
    radii = [attractor.spectral_radius for attractor in results.attractors]
    if radii:
        least, largest = radius_text(min(radii)), radius_text(max(radii))
        several = len(radii) > 1
        name = "spectral radius, least and largest" if several else "spectral radius"
        tiles.append(Tile(name, least, f"to {largest}" if several else ""))
    if results.linearizations:
        most = max(results.linearizations, key=lambda found: found.largest_amplification)
        bound = "" if most.amplification_is_settled else "≥ "
        tiles.append(Tile("largest growth of a perturbation, by ‖Jᵖ‖", f"{bound}{most.largest_amplification:.3g}"))
    transients = analysis.arrays.rate_transients.numpy(force=True)
    transients = transients[transients >= 0]
    if len(transients):
        low, median, high = np.quantile(transients, [0.1, 0.5, 0.9])
        tiles.append(Tile("steps before the decay, median and deciles", f"{median:,.0f}", f"{low:,.0f} to {high:,.0f}"))
    if results.rates.median_difference is not None:
        tiles.append(Tile("rate against radius, median difference", percent(results.rates.median_difference)))
    if results.energy is not None:
        whose = "the energy" if results.energy.is_tied else "the nearest tied map's energy"
        tiles.append(Tile(f"steps in which {whose} rises", percent(results.energy.rising_share)))
    return tiles


def _multiplier_words(analysis: Analysis) -> str:
    drawn, known, cycles = len(drawn_attractors(analysis)), len(analysis.results.attractors), analysis.results.cycles
    which = "the attractor" if known == 1 else f"each of the {number(known)} attractors"
    if drawn < known:
        which = f"{number(drawn)} of the {number(known)} attractors, evenly spread over their spectral radii"
    what = f"Up to {count(analysis.arrays.multipliers.shape[1], 'leading multiplier')} of {which}"
    if cycles:
        what = f"{what}, those of cycles" if known else "Leading multipliers of cycles"
        what += ", each of a whole round"
    return (
        f"{what}, and the unit circle or the part of it near them. Inside it a direction shrinks; the nearer to the "
        "circle, the slower."
    )


def _spreads(analysis: Analysis) -> list[Spread]:
    found = analysis.results.linearizations
    if not found:
        return []
    # Of a Jacobian that vanishes but for rounding, a share is rounding too.
    shares = [entry.antisymmetric_share for entry in found if entry.jacobian_norm > _VANISHING]
    return [
        _spread("‖J‖₂, growth in one step", [entry.jacobian_norm for entry in found]),
        _spread("largest ‖Jᵖ‖₂ of all p", [entry.largest_amplification for entry in found]),
        _spread("departure from normality", [entry.departure_from_normality for entry in found]),
        *([_spread("antisymmetric share of J", shares)] if shares else []),
        *(
            _spread(f"multipliers within {radius:g} of 1", [entry.near_unity[place] for entry in found])
            for place, radius in enumerate(NEAR_UNITY_RADII)
        ),
    ]


def _where(linearized: int, known: int) -> str:
    if linearized < known:
        return f"the {number(linearized)} largest of {count(known, 'attractor')}"
    return "the attractor" if known == 1 else f"all {count(known, 'attractor')}"


def _spread(name: str, values: Sequence[float]) -> Spread:
    least, median, most = np.quantile(values, [0, 0.5, 1])
    if all(isinstance(value, int) for value in values):
        return Spread(name, f"{least:.0f}", f"{median:g}", f"{most:.0f}")
    return Spread(name, f"{least:.3f}", f"{median:.3f}", f"{most:.3f}")


def _certificate_row(analysis: Analysis, screen: Screen, certificate: AttractorCertificate) -> CertificateRow:
    attractor = analysis.results.attractors[certificate.attractor]
    is_there = certificate.status is not CertificateStatus.FAILED
    return CertificateRow(
        attractor=attractor.id,
        card=card_of(analysis, screen, attractor),
        status=certificate.status,
        existence=_radius(certificate.existence_radius, ROUND_CEILING) if is_there else "",
        uniqueness=_radius(certificate.uniqueness_radius, ROUND_FLOOR) if is_there else "",
        basin=_radius(certificate.basin_radius, ROUND_FLOOR) if certificate.is_stable else "",
        contraction="" if certificate.contraction is None else _below_one(certificate.contraction),
        reason=certificate.reason,
    )


def _common_failure(certificates: Sequence[AttractorCertificate]) -> str:
    """What failed for all attractors alike, which is mostly a matter of the map and not of one of them."""
    failures = {found.reason if found.status is CertificateStatus.FAILED else "" for found in certificates}
    return failures.pop() if len(failures) == 1 else ""


def _radius(radius: float | None, rounding: str) -> str:
    """Two figures, to the safe side: what is written claims no more than what was shown."""
    if radius is None:
        return "everywhere"
    return f"{float(Context(prec=2, rounding=rounding).create_decimal_from_float(radius)):#.2g}" if radius else "0"


def _below_one(bound: float) -> str:
    """An upper bound, to the safe side, with four digits or as many as show that it is below 1."""
    digits = max(4, math.ceil(-math.log10(1 - bound)) + 1) if bound < 1 else 4
    return f"{math.ceil(bound * 10**digits) / 10**digits:.{digits}f}"

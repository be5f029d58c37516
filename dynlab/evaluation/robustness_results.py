"""What is known of robustness: shocks as intervals, escapes by noise, and their states.

How they are found: `dynlab.evaluation.robustness`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jaxtyping import Float64
from torch import Tensor

from dynlab.attractors.robustness.pulled_back import LowerBound


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
    # The shortest one found on a straight line to another attractor or along a leading direction.
    straight: float | None
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

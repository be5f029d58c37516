"""Attractors of an analysis, with their kinds, and the transformed set: what they look like, in numbers."""

from __future__ import annotations

from jaxtyping import Float64
from torch import Tensor

from dynlab.attractors import Basins
from dynlab.attractors.statistics import BasinStatistics
from dynlab.dynamics import Transformed
from dynlab.evaluation.kinds import NO_PICTURE, Kind, black_fraction, is_explosion, white_fraction
from dynlab.evaluation.members import basin_numbers
from dynlab.evaluation.recognizer import Recognition, Recognizer
from dynlab.evaluation.results import Attractor, PeriodicAttractor, TransformedSet


def attractors_of(basins: Basins, recognizer: Recognizer | None, statistics: BasinStatistics) -> list[Attractor]:
    """The fixed points of the basins, in their order; without a recognizer only explosions have a kind."""
    points, sizes, fractions = basins.fixed_points, basins.sizes, basins.fractions
    recognized = recognizer.recognize(points) if recognizer is not None and len(points) else None
    attractors = []
    for index, (kind, label) in enumerate(kinds_of(points, recognized)):
        attractors.append(
            Attractor(
                id=index,
                kind=kind,
                label=label,
                basin_size=int(sizes[index]),
                basin_fraction=float(fractions[index]),
                max_intensity=float(points[index].amax()),
                black_fraction=float(black_fraction(points[index : index + 1])),
                white_fraction=float(white_fraction(points[index : index + 1])),
                spectral_radius=float(basins.spectral_radii[index]),
                residual=float(basins.residuals[index]),
                recognized_as=None if recognized is None else int(recognized.classes[index]),
                recognizer_score=None if recognized is None else float(recognized.scores[index]),
                **basin_numbers(statistics, index),
            )
        )
    return attractors


def kinds_of(
    states: Float64[Tensor, "attractors dim"], recognized: Recognition | None
) -> list[tuple[Kind, int | None]]:
    """Kind of each attractor, and class of a prototype; states of few numbers are no pictures, and of unknown kind.

    Args:
        states: The attractors.
        recognized: The recognizer's word on them; without it, what is no explosion is of unknown kind.
    """
    found: list[tuple[Kind, int | None]] = []
    for index, explosion in enumerate(is_explosion(states).tolist()):
        if explosion and states.shape[1] > NO_PICTURE:
            found.append((Kind.EXPLOSION, None))
        elif recognized is None:
            found.append((Kind.UNKNOWN, None))
        elif bool(recognized.is_member[index]):
            found.append((Kind.PROTOTYPE, int(recognized.classes[index])))
        else:
            found.append((Kind.STAIN, None))
    return found


def cycles_of(basins: Basins) -> list[PeriodicAttractor]:
    """The periodic attractors of the basins, in their order."""
    rows = zip(basins.cycles, basins.cycle_sizes.tolist(), basins.cycle_fractions.tolist(), strict=True)
    return [
        PeriodicAttractor(cycle.period, size, fraction, cycle.spectral_radius, cycle.residual)
        for cycle, size, fraction in rows
    ]


def transformed_set(transformed: Transformed) -> TransformedSet:
    """A transformed set in numbers."""
    return TransformedSet(
        samples=len(transformed.states),
        steps=transformed.steps,
        stopped_by_rule=transformed.stopped_by_rule,
        explosions=int(is_explosion(transformed.states).sum()),
        black_fraction=float(black_fraction(transformed.states).mean()),
        white_fraction=float(white_fraction(transformed.states).mean()),
    )

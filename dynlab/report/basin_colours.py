"""The colours of basins in pictures, and what they mean: attractors, cycles, what diverges and what is unresolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynlab.attractors.planes import DIVERGED, cycle_of
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Kind, Outcome
from dynlab.report.gallery import Card, Mark, card_of, coordinates, kind_mark, outcome_mark
from dynlab.report.palette import light
from dynlab.report.pictures import Screen
from dynlab.report.words import outcome_share, percent

# Unlike colours first, as the three attractors that a plane goes through are often neighbours on it.
COLOURS = ("level-0", "level-3", "level-5", "level-2", "level-4", "level-1")
# For all other basins; half transparent, they suit a light and a dark page.
_GREYS = ("rgba(128, 128, 128, 0.4)", "rgba(128, 128, 128, 0.55)", "rgba(128, 128, 128, 0.7)")
_PALE = "rgba(128, 128, 128, 0.22)"  # for what is unresolved
MARKER: dict[str, Any] = {"color": light("card"), "size": 9, "line": {"color": light("ink"), "width": 2}}


@dataclass(frozen=True)
class Key:
    """What one colour of a picture means."""

    colour: str  # as CSS has it
    card: Card | None  # None where it stands for no attractor
    mark: Mark
    name: str
    shares: str  # of the picture, and of the samples


def coloured(codes: NDArray[np.int64], first: Sequence[int] = ()) -> list[int]:
    """Codes of places with a colour of their own: those of the first ones, then those of the largest areas.

    Args:
        codes: Of the places that states go to, as `codes_of` has them.
        first: Attractors that come first.
    """
    found, areas = np.unique(codes[(codes >= 0) | (codes < DIVERGED)], return_counts=True)
    by_area = found[np.argsort(-areas, kind="stable")].tolist()
    return [*first, *(code for code in by_area if code not in first)][: len(COLOURS)]


def basin_cells(codes: NDArray[np.int64], own_colours: Sequence[int]) -> dict[str, Any]:
    """What a heatmap of basins is made of, but for its axes.

    Args:
        codes: Of the places that states go to, a row for each line of cells.
        own_colours: Those with colours of their own, as `coloured` gives them. Other basins are grey, what diverges
            has no colour.
    """
    shades = [*(light(name) for name in COLOURS), *_GREYS, _PALE]
    shade_of: dict[int, int | None] = {code: place for place, code in enumerate(own_colours)}
    shade_of |= {-1: len(shades) - 1, DIVERGED: None}
    for code in np.unique(codes).tolist():
        shade_of.setdefault(code, len(COLOURS) + code % len(_GREYS))
    rows = codes.tolist()
    return {
        "z": [[shade_of[code] for code in row] for row in rows],
        "customdata": [[_name(code) for code in row] for row in rows],
        "colorscale": [[(place + end) / len(shades), shade] for place, shade in enumerate(shades) for end in (0, 1)],
        "zmin": -0.5,
        "zmax": len(shades) - 0.5,
        "showscale": False,
        "hoverongaps": False,
        "hovertemplate": "attractor: %{customdata}<extra></extra>",
    }


def keys_of(analysis: Analysis, screen: Screen, codes: NDArray[np.int64], own_colours: Sequence[int]) -> list[Key]:
    """What the colours of a picture mean, the greys left out."""
    keys = []
    for colour, code in zip(COLOURS, own_colours, strict=False):
        where, share = f"var(--{colour})", percent(float((codes == code).mean()))
        if (cycle := cycle_of(code)) is None:
            card = _card(analysis, screen, code)
            name = f"Attractor {code} {coordinates(_state(analysis, code))}".rstrip()
            keys.append(Key(where, card, card.mark, name, f"{share} of the picture, {card.note} of the samples"))
        else:
            sampled = analysis.results.cycles
            fraction = sampled[cycle].basin_fraction if cycle < len(sampled) else 0.0
            of = f" of period {sampled[cycle].period}" if cycle < len(sampled) else ", which no sample reaches"
            shares = f"{share} of the picture, {percent(fraction)} of the samples"
            keys.append(Key(where, None, outcome_mark(Outcome.CYCLE), f"Cycle {cycle}{of}", shares))
    for outcome, colour, code in ((Outcome.DIVERGED, "none", DIVERGED), (Outcome.UNRESOLVED, _PALE, -1)):
        if (codes == code).any():
            samples = percent(outcome_share(analysis, outcome))
            shares = f"{percent(float((codes == code).mean()))} of the picture, {samples} of the samples"
            keys.append(Key(colour, None, outcome_mark(outcome), outcome.value.capitalize(), shares))
    return keys


def _name(code: int) -> int | str:
    """The number of an attractor, or what else becomes of a state."""
    if code >= 0:
        return code
    cycle = cycle_of(code)
    return f"cycle {cycle}" if cycle is not None else "diverges" if code == DIVERGED else "unresolved"


def _card(analysis: Analysis, screen: Screen, attractor: int) -> Card:
    sampled = analysis.results.attractors
    if attractor < len(sampled):
        return card_of(analysis, screen, sampled[attractor])
    state = _state(analysis, attractor)
    mark = kind_mark(Kind.UNKNOWN, None)
    return Card(
        attractor, screen.picture(state), f"Attractor {attractor}, which no sample reaches", mark, percent(0), 0.0
    )


def _state(analysis: Analysis, attractor: int) -> Tensor:
    """The attractor, which those that samples reach come before in number."""
    sampled, others = analysis.arrays.fixed_points, analysis.arrays.plane_others
    return sampled[attractor] if attractor < len(sampled) else others[attractor - len(sampled)]

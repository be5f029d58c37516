"""The pictures of an analysis: basins on planes, and the graph of a map of one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float32, Float64
from torch import Tensor

from dynlab.attractors import Basins
from dynlab.dynamics import FixedPoint
from dynlab.evaluation.kinds import Kind
from dynlab.evaluation.line import Line, line_of
from dynlab.evaluation.pictured import PicturedFixedPoint
from dynlab.evaluation.planes import Planes, basin_planes, in_order, shown_states
from dynlab.evaluation.restless import RestlessSummary, lasting_ways
from dynlab.evaluation.settings import AnalysisSettings
from dynlab.maps import Map

_SMALL_DIM = 2  # of maps whose steps cost nothing


@dataclass(frozen=True)
class Pictures:
    """What there is to be seen of a map."""

    planes: Planes
    line: Line | None  # the graph, of a map of one number

    @property
    def fixed_points(self) -> list[PicturedFixedPoint] | None:
        """Those on the picture of all states of a map of one or two numbers; None where there is no such picture."""
        return self.planes.fixed_points if self.line is None else self.line.fixed_points

    def arrays(self) -> dict[str, Tensor]:
        """By their names in `Arrays`."""
        planes, line = self.planes, self.line
        found = {
            "plane_directions": planes.directions,
            "plane_axes": planes.axes,
            "plane_labels": planes.labels,
            "plane_others": planes.others if line is None else line.others,
            "plane_cycles": planes.cycles,
            "plane_diverged": planes.diverged,
        }
        if line is not None:
            names = "states", "images", "labels", "cycles", "diverged", "jumps"
            found |= {f"line_{name}": getattr(line, name) for name in names}
        return found


def pictures_of(
    system: Map,
    basins: Basins,
    looks: Sequence[tuple[Kind, int | None]],
    known: Sequence[FixedPoint],
    samples: Float32[Tensor, "samples dim"],
    restless: RestlessSummary | None,
    way: Float64[Tensor, "followed steps dim"],
    settings: AnalysisSettings,
    report: Callable[[str, float], None],
) -> Pictures:
    """Draw the pictures that the settings ask for.

    Args:
        system: The map.
        basins: Its attractors.
        looks: Kind of each fixed point among them, and class of a prototype.
        known: The same fixed points in any order, as `Orbits.fixed_points` gives them.
        samples: What a picture of all states shows.
        restless: Unresolved samples that were followed, if there are any.
        way: The states on their way.
        settings: How to analyse.
        report: Called with what is being done, and how much of it is done.
    """
    lasting = lasting_ways(restless, way)
    # As many as samples take, so that the pictures tell the same; but not under chaos, which would take all of them.
    as_samples = system.dim <= _SMALL_DIM and restless is None
    exact_steps = settings.max_exact_steps if as_samples else settings.exact_steps_elsewhere
    report("basin planes", 0.0)
    planes = basin_planes(
        system,
        basins.fixed_points,
        looks,
        known,
        planes=settings.basin_planes,
        resolution=settings.plane_resolution,
        cycles=basins.cycles,
        samples=samples,
        ways=lasting,
        tolerance=settings.tolerance,
        max_steps=settings.max_steps,
        max_exact_steps=exact_steps,
        on_progress=lambda done: report("basin planes", done),
    )
    report("basin planes", 1.0)
    if system.dim != 1 or not settings.basin_planes:
        return Pictures(planes, None)
    line = line_of(
        system,
        in_order(basins.fixed_points, known),
        basins.cycles,
        shown_states(basins.fixed_points, basins.cycles, samples, lasting),
        tolerance=settings.tolerance,
        max_steps=settings.max_steps,
        max_exact_steps=exact_steps,
    )
    return Pictures(planes, line)

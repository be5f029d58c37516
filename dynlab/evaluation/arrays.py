"""`Arrays`: what an analysis found out that is an array, as `arrays.safetensors` holds it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Complex128, Float32, Float64, Int64
from torch import Tensor

from dynlab.evaluation.kinds import Outcome
from dynlab.short_repr import short_repr

RESULTS_FILE = "results.json"
ARRAYS_FILE = "arrays.safetensors"


@dataclass(frozen=True)
class Arrays:
    """All arrays of an analysis. The order of samples is that of the data."""

    __repr__ = short_repr

    fixed_points: Float64[Tensor, "attractors dim"]
    # The leading ones by falling modulus; where some rows have one more, so as to cut no pair, the others end in NaN.
    multipliers: Complex128[Tensor, "attractors leading"]
    labels: Int64[Tensor, " samples"]  # attractor of each sample, -1 for none
    outcomes: Int64[Tensor, " samples"]  # index into `list(Outcome)`
    classes: Int64[Tensor, " samples"]  # true class of each sample, -1 for none
    steps: Int64[Tensor, " samples"]  # first step with a step length below the tolerance, -1 for none
    recorded_samples: Int64[Tensor, " recorded"]
    step_lengths: Float32[Tensor, "recorded_steps recorded"]  # down to the rounding floor, then NaN
    # Of step lengths, as in `ConvergenceRates`: NaN and -1 where there is no line.
    rates: Float64[Tensor, " recorded"]  # factor per step
    rate_sensitivities: Float64[Tensor, " recorded"]  # largest change of the rate for a halved or moved window
    rate_deviations: Float64[Tensor, " recorded"]  # largest from the line, in natural logarithms
    rate_windows: Int64[Tensor, "recorded 2"]  # first and last step of the line
    rate_transients: Int64[Tensor, " recorded"]  # steps before the decay begins
    rate_decays: Int64[Tensor, " recorded"]  # index into `list(Decay)`
    film_samples: Int64[Tensor, " films"]
    film_steps: Int64[Tensor, " frames"]  # -1: the final state, the fixed point where there is one
    film_states: Float32[Tensor, "films frames dim"]
    member_samples: Int64[Tensor, " members"]  # nearest and farthest ones of the largest basins, rising
    member_states: Float32[Tensor, "members dim"]  # where they start
    plane_directions: Float64[Tensor, "planes 2 dim"]  # these six as in `Planes`
    plane_axes: Float64[Tensor, "planes 2 side"]
    plane_labels: Int64[Tensor, "planes side side"]
    plane_others: Float64[Tensor, "others dim"]
    plane_cycles: Int64[Tensor, "planes side side"]
    plane_diverged: Bool[Tensor, "planes side side"]
    # The way on of the unresolved samples that were followed, in steps; none where states have more than two numbers.
    restless_states: Float64[Tensor, "followed restless_steps dim"]
    # Of the periodic attractors, one after the other.
    cycle_states: Float64[Tensor, "cycle_states dim"]
    cycle_periods: Int64[Tensor, " cycles"]
    cycle_residuals: Float64[Tensor, " cycles"]
    cycle_multipliers: Float64[Tensor, "cycles leading_of_cycles 2"]  # real and imaginary parts
    cycle_labels: Int64[Tensor, " samples"]  # cycle of each sample, -1 for none
    # As in `Line`; None for maps of several numbers, and where no pictures were asked for.
    line_states: Float64[Tensor, " points"] | None = None
    line_images: Float64[Tensor, " points"] | None = None
    line_labels: Int64[Tensor, " points"] | None = None
    line_cycles: Int64[Tensor, " points"] | None = None
    line_diverged: Bool[Tensor, " points"] | None = None
    line_jumps: Int64[Tensor, " jumps"] | None = None
    # As in `ShockStates`; None where robustness was not asked for.
    shock_starts: Float64[Tensor, "shocks dim"] | None = None
    shock_ends: Float64[Tensor, "shocks dim"] | None = None
    shock_others: Float64[Tensor, "unsampled dim"] | None = None

    def by_name(self) -> dict[str, Tensor]:
        """Those that are there, by the names of the fields."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in named.items() if array is not None}


def outcome_codes(outcomes: list[Outcome]) -> Int64[Tensor, " samples"]:
    """Outcomes as indices into `list(Outcome)`."""
    code = {outcome: index for index, outcome in enumerate(Outcome)}
    return torch.tensor([code[outcome] for outcome in outcomes], dtype=torch.int64)

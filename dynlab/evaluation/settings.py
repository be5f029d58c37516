"""`AnalysisSettings`: how to analyse."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

from dynlab.dynamics.certificates import METHODS
from dynlab.errors import InputError, check_count, check_positive
from dynlab.evaluation.planes import BOX

# What counts must be at least.
_LEAST = {
    **dict.fromkeys(("max_steps", "basin_train_samples", "orbit_train_samples", "noise_draws"), 1),
    **dict.fromkeys(("max_exact_steps", "recorded_samples", "linearized_attractors", "certified_attractors"), 0),
    **dict.fromkeys(("basin_planes", "shocked_attractors", "shocked_samples", "pulled_back_dim"), 0),
    "plane_resolution": BOX,
}

_ELSEWHERE = 3000  # exact steps of states that are no samples, at most: there may be far more of these


@dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """How to analyse.

    Raises:
        InputError: If a setting is out of its range.
    """

    tolerance: float = 1e-4  # step length that ends plain iteration, in units of the state
    share: float = 0.75  # of a set, above which the quantile rule stops it
    max_steps: int = 10_000  # of plain iteration
    # Further ones in float64, for samples not decided by then; of states that are no samples see below.
    max_exact_steps: int = 100_000
    recorded_samples: int = 500  # whose step lengths are recorded, the first ones
    linearized_attractors: int = 50  # whose Jacobian is looked at closely, those with the largest basins
    certified_attractors: int = 10  # the same, of those that get a certificate
    certificate_method: str = "estimate"  # or "proof", in ball arithmetic, which needs python-flint
    basin_planes: int = 1  # pictures of basins on planes through attractors
    plane_resolution: int = 80  # states along a side of such a picture
    graph: bool = False  # whether to join attractors by the saddles between their basins
    robustness: bool = False  # whether to look for critical shocks, and to count escapes by noise
    shocked_attractors: int = 10  # to look for the critical shocks of, those with the largest basins
    shocked_samples: int = 5  # the same, of samples that have an attractor, drawn at random
    pulled_back_dim: int = 256  # largest dim at which shocks of samples get a lower end, which costs more than the rest
    # Standard deviation of the noise on each coordinate. None: the corruption level of the map's training; if that is
    # not known, a tenth of the median distance of an attractor and its nearest neighbour; of one alone, of the spread
    # of the samples' coordinates.
    noise: float | None = None
    noise_draws: int | None = None  # from each attractor and shocked sample; None: 10000 in all, but from 20 to 200
    basin_train_samples: int = 10_000  # training samples that say which class each basin has, the first ones
    orbit_train_samples: int = 20_000  # training samples classified along the orbit, the first ones
    seed: int = 0  # of the recognizer and of the choice of samples for film strips

    def __post_init__(self) -> None:
        check_positive("tolerance", self.tolerance)
        if self.noise is not None:
            check_positive("noise", self.noise)
        if not (isinstance(self.share, Real) and not isinstance(self.share, bool) and 0 <= self.share < 1):
            raise InputError(f"share is {self.share!r}, expected from 0 to below 1")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is None and name == "noise_draws":
                continue
            check_count(name, value, least)
        if self.certificate_method not in METHODS:
            raise InputError(f"certificate_method is {self.certificate_method!r}, expected {' or '.join(METHODS)}")
        if not (isinstance(self.seed, Integral) and 0 <= self.seed < 2**63):
            raise InputError(f"seed is {self.seed}, expected an integer from 0 to 2^63 - 1")

    @property
    def exact_steps_elsewhere(self) -> int:
        """`max_exact_steps` of states that are no samples: those that noise leads to, and those on most pictures."""
        return min(self.max_exact_steps, _ELSEWHERE)

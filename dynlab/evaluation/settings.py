"""`AnalysisSettings`: how to analyse."""

from __future__ import annotations

from dataclasses import dataclass

from dynlab.dynamics.certificates import METHODS
from dynlab.errors import InputError


@dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """How to analyse.

    Raises:
        InputError: If a setting is out of its range.
    """

    tolerance: float = 1e-4  # step length that ends plain iteration, in units of the state
    share: float = 0.75  # of a set, above which the quantile rule stops it
    max_steps: int = 10_000  # of plain iteration
    max_exact_steps: int = 100_000  # further ones in float64, for samples not decided by then
    recorded_samples: int = 500  # whose step lengths are recorded, the first ones
    linearized_attractors: int = 50  # whose Jacobian is looked at closely, those with the largest basins
    certified_attractors: int = 10  # the same, of those that get a certificate
    certificate_method: str = "estimate"  # or "proof", in ball arithmetic, which needs python-flint
    graph: bool = False  # whether to join attractors by the saddles between their basins
    basin_train_samples: int = 10_000  # training samples that say which class each basin has, the first ones
    orbit_train_samples: int = 20_000  # training samples classified along the orbit, the first ones
    seed: int = 0  # of the recognizer and of the choice of samples for film strips

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < float("inf"):
            raise InputError(f"tolerance is {self.tolerance}, expected a finite number above 0")
        if not 0 <= self.share < 1:
            raise InputError(f"share is {self.share}, expected from 0 to below 1")
        for name in ("max_steps", "basin_train_samples", "orbit_train_samples"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")
        for name in ("max_exact_steps", "recorded_samples", "linearized_attractors", "certified_attractors"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 0")
        if self.certificate_method not in METHODS:
            raise InputError(f"certificate_method is {self.certificate_method!r}, expected {' or '.join(METHODS)}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}, expected an integer from 0 to 2^63 - 1")

"""WHAT iteration does: orbits, fixed points, Jacobians and their eigenvalues, rates of convergence."""

from dynlab.dynamics.decision import Status
from dynlab.dynamics.energy import EnergyAlongOrbits, energy, energy_along_orbits, energy_gradient
from dynlab.dynamics.fixed_points import FixedPoint, GivenFixedPoint, find_fixed_point
from dynlab.dynamics.lyapunov import LyapunovExponents, lyapunov_exponents
from dynlab.dynamics.newton import NewtonSolution, newton
from dynlab.dynamics.orbits import Orbits, iterate
from dynlab.dynamics.recording import (
    ReferenceDistances,
    StepLengthHistogram,
    reference_distances,
    states_at,
)
from dynlab.dynamics.score import antisymmetric_share, score
from dynlab.dynamics.spectra import Spectrum, spectral_radius, spectrum
from dynlab.dynamics.transform import Transformed, transform

__all__ = [
    "EnergyAlongOrbits",
    "FixedPoint",
    "GivenFixedPoint",
    "LyapunovExponents",
    "NewtonSolution",
    "Orbits",
    "ReferenceDistances",
    "Spectrum",
    "Status",
    "StepLengthHistogram",
    "Transformed",
    "antisymmetric_share",
    "energy",
    "energy_along_orbits",
    "energy_gradient",
    "find_fixed_point",
    "iterate",
    "lyapunov_exponents",
    "newton",
    "reference_distances",
    "score",
    "spectral_radius",
    "spectrum",
    "states_at",
    "transform",
]

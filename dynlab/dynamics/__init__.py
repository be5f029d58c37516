"""WHAT iteration does: orbits, fixed points, Jacobians and their eigenvalues, rates of convergence."""

from dynlab.dynamics.amplification import (
    TransientAmplification,
    departure_from_normality,
    jacobian_norm,
    transient_amplification,
)
from dynlab.dynamics.answers import Orbits
from dynlab.dynamics.certificates import Certificate, CertificateStatus, certify
from dynlab.dynamics.completeness import Completeness, completeness
from dynlab.dynamics.cycles import Cycle
from dynlab.dynamics.decision import Status
from dynlab.dynamics.energy import EnergyAlongOrbits, energy, energy_along_orbits, energy_gradient
from dynlab.dynamics.fixed_points import FixedPoint, GivenFixedPoint, find_fixed_point
from dynlab.dynamics.lyapunov import LyapunovExponents, lyapunov_exponents
from dynlab.dynamics.newton import NewtonSolution, newton
from dynlab.dynamics.orbits import iterate
from dynlab.dynamics.rates import ConvergenceRates, Decay, convergence_rate, rates_of_step_lengths
from dynlab.dynamics.recording import (
    ReferenceDistances,
    StepLengthHistogram,
    reference_distances,
    states_at,
)
from dynlab.dynamics.score import antisymmetric_share, score
from dynlab.dynamics.spectra import Spectrum, near_unity_counts, spectral_radius, spectrum
from dynlab.dynamics.transform import Transformed, transform

__all__ = [
    "Certificate",
    "CertificateStatus",
    "Completeness",
    "ConvergenceRates",
    "Cycle",
    "Decay",
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
    "TransientAmplification",
    "antisymmetric_share",
    "certify",
    "completeness",
    "convergence_rate",
    "departure_from_normality",
    "energy",
    "energy_along_orbits",
    "energy_gradient",
    "find_fixed_point",
    "iterate",
    "jacobian_norm",
    "lyapunov_exponents",
    "near_unity_counts",
    "newton",
    "rates_of_step_lengths",
    "reference_distances",
    "score",
    "spectral_radius",
    "spectrum",
    "states_at",
    "transform",
    "transient_amplification",
]

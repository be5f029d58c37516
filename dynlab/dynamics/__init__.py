"""WHAT iteration does: orbits, fixed points, Jacobians and their eigenvalues."""

from dynlab.dynamics.decision import Status
from dynlab.dynamics.fixed_points import FixedPoint
from dynlab.dynamics.newton import NewtonSolution, newton
from dynlab.dynamics.orbits import Orbits, iterate
from dynlab.dynamics.spectra import multipliers, spectral_radius
from dynlab.dynamics.transform import Transformed, transform

__all__ = [
    "FixedPoint",
    "NewtonSolution",
    "Orbits",
    "Status",
    "Transformed",
    "iterate",
    "multipliers",
    "newton",
    "spectral_radius",
    "transform",
]

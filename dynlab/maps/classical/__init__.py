"""Maps whose answers are known: fixed points, multipliers, cycles, basins and Lyapunov exponents.

They are what methods are validated on, so each offers in closed form what mathematics knows of it, and its docstring
says what has been published. `fixed_points()` and `multipliers()` are in float64, in the same order, where the map's
tensors are, else on the CPU; the multipliers of a point fall in modulus.

All compute in the dtype of their states. Numbers are kept as Python's, what is computed from the arguments as float64,
and tensors that are taken as they are keep their dtype, which is then also the dtype that `iterate` begins with.

Source: with each map.
"""

from dynlab.maps.classical.denoisers import GaussianDenoiser, OptimalDenoiser
from dynlab.maps.classical.hopfield import Hopfield
from dynlab.maps.classical.linear import Linear
from dynlab.maps.classical.plane import CubeRootNewton, DelayedLogistic, DoubleWell, Henon, Ikeda, Logistic
from dynlab.maps.classical.wells import MultiWell

__all__ = [
    "CubeRootNewton",
    "DelayedLogistic",
    "DoubleWell",
    "GaussianDenoiser",
    "Henon",
    "Hopfield",
    "Ikeda",
    "Linear",
    "Logistic",
    "MultiWell",
    "OptimalDenoiser",
]

"""WHERE it ends: attractors and their basins."""

from dynlab.attractors.basins import Basins, basins_of_attraction, basins_of_orbits

__all__ = ["Basins", "basins_of_attraction", "basins_of_orbits"]

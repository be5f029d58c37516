"""WHAT is iterated: the `Map` everything works on, and the maps that come with dynlab."""

from dynlab.maps.autoencoder import NONLINEARITIES, DenoisingAutoencoder, Nonlinearity
from dynlab.maps.map import Map, check_states, float64_copy, map_hash

__all__ = [
    "NONLINEARITIES",
    "DenoisingAutoencoder",
    "Map",
    "Nonlinearity",
    "check_states",
    "float64_copy",
    "map_hash",
]

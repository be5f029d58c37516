"""WHAT is iterated: the `Map` everything works on, and the maps that come with dynlab."""

from dynlab.maps.adapter import FunctionMap, as_map
from dynlab.maps.autoencoder import DenoisingAutoencoder
from dynlab.maps.deep import DeepAutoencoder
from dynlab.maps.gain import with_gain
from dynlab.maps.iterated import Iterated
from dynlab.maps.layers import NONLINEARITIES, Layer, Nonlinearity
from dynlab.maps.loading import Autoencoder, load_map
from dynlab.maps.map import (
    Map,
    MapT,
    check_is_one_map,
    check_map,
    check_states,
    flat_state,
    flat_states,
    float64_copy,
    map_hash,
)

__all__ = [
    "NONLINEARITIES",
    "Autoencoder",
    "DeepAutoencoder",
    "DenoisingAutoencoder",
    "FunctionMap",
    "Iterated",
    "Layer",
    "Map",
    "MapT",
    "Nonlinearity",
    "as_map",
    "check_is_one_map",
    "check_map",
    "check_states",
    "flat_state",
    "flat_states",
    "float64_copy",
    "load_map",
    "map_hash",
    "with_gain",
]

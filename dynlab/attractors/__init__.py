"""WHERE it ends: attractors and their basins, and the saddles between them."""

from dynlab.attractors.basins import Basins, basins_of_attraction, basins_of_orbits
from dynlab.attractors.connection_graph import connection_graph, track_counts
from dynlab.attractors.edge_tracking import Track, Tracked
from dynlab.attractors.graph_files import load_graph, save_graph
from dynlab.attractors.reached import Reached, attractors_reached, known_attractors
from dynlab.attractors.saddles import Saddle

__all__ = [
    "Basins",
    "Reached",
    "Saddle",
    "Track",
    "Tracked",
    "attractors_reached",
    "basins_of_attraction",
    "basins_of_orbits",
    "connection_graph",
    "known_attractors",
    "load_graph",
    "save_graph",
    "track_counts",
]

"""WHERE it ends: attractors and their basins, the saddles between them, and how both change with the map."""

from dynlab.attractors.basins import Basins, basins_of_attraction, basins_of_orbits, merge_basins
from dynlab.attractors.connections.edge_tracking import Track, Tracked
from dynlab.attractors.connections.files import load_graph, save_graph
from dynlab.attractors.connections.graph import connection_graph, track_counts
from dynlab.attractors.connections.saddles import Saddle
from dynlab.attractors.connections.search import FoundFixedPoints, search_fixed_points
from dynlab.attractors.diversity import (
    AttractorCount,
    AttractorEstimate,
    Diversity,
    attractor_count,
    basin_diversity,
    basin_entropy,
    chao1,
    rarefaction_curve,
    sample_coverage,
)
from dynlab.attractors.following.bifurcations import Bifurcation, BifurcationKind
from dynlab.attractors.following.continuation import Branch, Stop, follow_fixed_point
from dynlab.attractors.following.follow import follow_attractors
from dynlab.attractors.following.followed import Change, Event, Followed
from dynlab.attractors.matching import Matching, SharedSamples, match_attractors, shared_samples
from dynlab.attractors.merging import merge_cycles, merge_states
from dynlab.attractors.planes import BasinEntropy, BasinPlane, basin_entropy_of, basin_plane
from dynlab.attractors.reached import Reached, attractors_reached, known_attractors
from dynlab.attractors.robustness.chain import MarkovChain, markov_chain
from dynlab.attractors.robustness.escape import EscapeGraph, SampleEscapes, escape_graph, escape_probability
from dynlab.attractors.robustness.escape_files import load_escapes, save_escapes
from dynlab.attractors.robustness.shocks import CriticalShocks, LowerBound, critical_shocks, random_shock
from dynlab.attractors.statistics import BasinStatistics, basin_statistics, wilson_interval

__all__ = [
    "AttractorCount",
    "AttractorEstimate",
    "BasinEntropy",
    "BasinPlane",
    "BasinStatistics",
    "Basins",
    "Bifurcation",
    "BifurcationKind",
    "Branch",
    "Change",
    "CriticalShocks",
    "Diversity",
    "EscapeGraph",
    "Event",
    "Followed",
    "FoundFixedPoints",
    "LowerBound",
    "MarkovChain",
    "Matching",
    "Reached",
    "Saddle",
    "SampleEscapes",
    "SharedSamples",
    "Stop",
    "Track",
    "Tracked",
    "attractor_count",
    "attractors_reached",
    "basin_diversity",
    "basin_entropy",
    "basin_entropy_of",
    "basin_plane",
    "basin_statistics",
    "basins_of_attraction",
    "basins_of_orbits",
    "chao1",
    "connection_graph",
    "critical_shocks",
    "escape_graph",
    "escape_probability",
    "follow_attractors",
    "follow_fixed_point",
    "known_attractors",
    "load_escapes",
    "load_graph",
    "markov_chain",
    "match_attractors",
    "merge_basins",
    "merge_cycles",
    "merge_states",
    "random_shock",
    "rarefaction_curve",
    "sample_coverage",
    "save_escapes",
    "save_graph",
    "search_fixed_points",
    "shared_samples",
    "track_counts",
    "wilson_interval",
]

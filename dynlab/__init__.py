"""dynlab: where does everything go when a learned map is applied again and again?

    import dynlab as dl
    dae = dl.DenoisingAutoencoder.load("dae.safetensors")
    orbits = dl.iterate(dae, images)

Names are imported when first used, so that `import dynlab` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynlab.attractors import BasinEntropy as BasinEntropy
    from dynlab.attractors import BasinPlane as BasinPlane
    from dynlab.attractors import Basins as Basins
    from dynlab.attractors import BasinStatistics as BasinStatistics
    from dynlab.attractors import BifurcationKind as BifurcationKind
    from dynlab.attractors import Branch as Branch
    from dynlab.attractors import Change as Change
    from dynlab.attractors import CriticalShocks as CriticalShocks
    from dynlab.attractors import Diversity as Diversity
    from dynlab.attractors import EscapeGraph as EscapeGraph
    from dynlab.attractors import Event as Event
    from dynlab.attractors import Followed as Followed
    from dynlab.attractors import FoundFixedPoints as FoundFixedPoints
    from dynlab.attractors import Matching as Matching
    from dynlab.attractors import Saddle as Saddle
    from dynlab.attractors import basin_diversity as basin_diversity
    from dynlab.attractors import basin_entropy_of as basin_entropy_of
    from dynlab.attractors import basin_plane as basin_plane
    from dynlab.attractors import basin_statistics as basin_statistics
    from dynlab.attractors import basins_of_attraction as basins_of_attraction
    from dynlab.attractors import connection_graph as connection_graph
    from dynlab.attractors import critical_shocks as critical_shocks
    from dynlab.attractors import escape_graph as escape_graph
    from dynlab.attractors import escape_probability as escape_probability
    from dynlab.attractors import follow_attractors as follow_attractors
    from dynlab.attractors import follow_fixed_point as follow_fixed_point
    from dynlab.attractors import known_attractors as known_attractors
    from dynlab.attractors import load_escapes as load_escapes
    from dynlab.attractors import load_graph as load_graph
    from dynlab.attractors import match_attractors as match_attractors
    from dynlab.attractors import merge_basins as merge_basins
    from dynlab.attractors import merge_cycles as merge_cycles
    from dynlab.attractors import merge_states as merge_states
    from dynlab.attractors import rarefaction_curve as rarefaction_curve
    from dynlab.attractors import save_escapes as save_escapes
    from dynlab.attractors import save_graph as save_graph
    from dynlab.attractors import search_fixed_points as search_fixed_points
    from dynlab.attractors import track_counts as track_counts
    from dynlab.datasets import Dataset as Dataset
    from dynlab.datasets import load_dataset as load_dataset
    from dynlab.dynamics import Certificate as Certificate
    from dynlab.dynamics import CertificateStatus as CertificateStatus
    from dynlab.dynamics import Completeness as Completeness
    from dynlab.dynamics import ConvergenceRates as ConvergenceRates
    from dynlab.dynamics import Cycle as Cycle
    from dynlab.dynamics import Decay as Decay
    from dynlab.dynamics import EnergyAlongOrbits as EnergyAlongOrbits
    from dynlab.dynamics import FixedPoint as FixedPoint
    from dynlab.dynamics import GivenFixedPoint as GivenFixedPoint
    from dynlab.dynamics import LyapunovExponents as LyapunovExponents
    from dynlab.dynamics import Orbits as Orbits
    from dynlab.dynamics import ReferenceDistances as ReferenceDistances
    from dynlab.dynamics import Spectrum as Spectrum
    from dynlab.dynamics import Status as Status
    from dynlab.dynamics import StepLengthHistogram as StepLengthHistogram
    from dynlab.dynamics import TransientAmplification as TransientAmplification
    from dynlab.dynamics import antisymmetric_share as antisymmetric_share
    from dynlab.dynamics import certify as certify
    from dynlab.dynamics import completeness as completeness
    from dynlab.dynamics import convergence_rate as convergence_rate
    from dynlab.dynamics import departure_from_normality as departure_from_normality
    from dynlab.dynamics import energy as energy
    from dynlab.dynamics import energy_along_orbits as energy_along_orbits
    from dynlab.dynamics import find_fixed_point as find_fixed_point
    from dynlab.dynamics import iterate as iterate
    from dynlab.dynamics import jacobian_norm as jacobian_norm
    from dynlab.dynamics import lyapunov_exponents as lyapunov_exponents
    from dynlab.dynamics import near_unity_counts as near_unity_counts
    from dynlab.dynamics import reference_distances as reference_distances
    from dynlab.dynamics import score as score
    from dynlab.dynamics import spectral_radius as spectral_radius
    from dynlab.dynamics import spectrum as spectrum
    from dynlab.dynamics import states_at as states_at
    from dynlab.dynamics import transform as transform
    from dynlab.dynamics import transient_amplification as transient_amplification
    from dynlab.errors import InputError as InputError
    from dynlab.evaluation import Analysis as Analysis
    from dynlab.evaluation import AnalysisSettings as AnalysisSettings
    from dynlab.evaluation import FlowMatrix as FlowMatrix
    from dynlab.evaluation import FollowedKinds as FollowedKinds
    from dynlab.evaluation import Kind as Kind
    from dynlab.evaluation import Outcome as Outcome
    from dynlab.evaluation import analyse as analyse
    from dynlab.evaluation import flow_matrix as flow_matrix
    from dynlab.evaluation import kinds_along as kinds_along
    from dynlab.maps import DeepAutoencoder as DeepAutoencoder
    from dynlab.maps import DenoisingAutoencoder as DenoisingAutoencoder
    from dynlab.maps import Map as Map
    from dynlab.maps import as_map as as_map
    from dynlab.maps import load_map as load_map
    from dynlab.maps import with_gain as with_gain
    from dynlab.report import write_graph_picture as write_graph_picture
    from dynlab.report import write_report as write_report
    from dynlab.training import EnsembleMember as EnsembleMember
    from dynlab.training import TrainingDiverged as TrainingDiverged
    from dynlab.training import TrainingFailed as TrainingFailed
    from dynlab.training import TrainingSettings as TrainingSettings
    from dynlab.training import corrupt as corrupt
    from dynlab.training import corrupt_dataset as corrupt_dataset
    from dynlab.training import train as train
    from dynlab.training import train_ensemble as train_ensemble
    from dynlab.training import train_ladder as train_ladder
    from dynlab.training import train_map as train_map

__version__ = "0.1.0"

_HOME = {
    "Analysis": "dynlab.evaluation",
    "AnalysisSettings": "dynlab.evaluation",
    "BasinEntropy": "dynlab.attractors",
    "BasinPlane": "dynlab.attractors",
    "BasinStatistics": "dynlab.attractors",
    "Basins": "dynlab.attractors",
    "BifurcationKind": "dynlab.attractors",
    "Branch": "dynlab.attractors",
    "Certificate": "dynlab.dynamics",
    "CertificateStatus": "dynlab.dynamics",
    "Change": "dynlab.attractors",
    "Completeness": "dynlab.dynamics",
    "ConvergenceRates": "dynlab.dynamics",
    "CriticalShocks": "dynlab.attractors",
    "Cycle": "dynlab.dynamics",
    "Dataset": "dynlab.datasets",
    "Decay": "dynlab.dynamics",
    "DeepAutoencoder": "dynlab.maps",
    "DenoisingAutoencoder": "dynlab.maps",
    "Diversity": "dynlab.attractors",
    "EnergyAlongOrbits": "dynlab.dynamics",
    "EnsembleMember": "dynlab.training",
    "EscapeGraph": "dynlab.attractors",
    "Event": "dynlab.attractors",
    "FixedPoint": "dynlab.dynamics",
    "FlowMatrix": "dynlab.evaluation",
    "Followed": "dynlab.attractors",
    "FollowedKinds": "dynlab.evaluation",
    "FoundFixedPoints": "dynlab.attractors",
    "GivenFixedPoint": "dynlab.dynamics",
    "InputError": "dynlab.errors",
    "Kind": "dynlab.evaluation",
    "LyapunovExponents": "dynlab.dynamics",
    "Map": "dynlab.maps",
    "Matching": "dynlab.attractors",
    "Orbits": "dynlab.dynamics",
    "Outcome": "dynlab.evaluation",
    "ReferenceDistances": "dynlab.dynamics",
    "Saddle": "dynlab.attractors",
    "Spectrum": "dynlab.dynamics",
    "Status": "dynlab.dynamics",
    "StepLengthHistogram": "dynlab.dynamics",
    "TrainingDiverged": "dynlab.training",
    "TrainingFailed": "dynlab.training",
    "TrainingSettings": "dynlab.training",
    "TransientAmplification": "dynlab.dynamics",
    "analyse": "dynlab.evaluation",
    "antisymmetric_share": "dynlab.dynamics",
    "as_map": "dynlab.maps",
    "basin_diversity": "dynlab.attractors",
    "basin_entropy_of": "dynlab.attractors",
    "basin_plane": "dynlab.attractors",
    "basin_statistics": "dynlab.attractors",
    "basins_of_attraction": "dynlab.attractors",
    "certify": "dynlab.dynamics",
    "completeness": "dynlab.dynamics",
    "connection_graph": "dynlab.attractors",
    "convergence_rate": "dynlab.dynamics",
    "corrupt": "dynlab.training",
    "corrupt_dataset": "dynlab.training",
    "critical_shocks": "dynlab.attractors",
    "departure_from_normality": "dynlab.dynamics",
    "energy": "dynlab.dynamics",
    "energy_along_orbits": "dynlab.dynamics",
    "escape_graph": "dynlab.attractors",
    "escape_probability": "dynlab.attractors",
    "find_fixed_point": "dynlab.dynamics",
    "flow_matrix": "dynlab.evaluation",
    "follow_attractors": "dynlab.attractors",
    "follow_fixed_point": "dynlab.attractors",
    "iterate": "dynlab.dynamics",
    "jacobian_norm": "dynlab.dynamics",
    "kinds_along": "dynlab.evaluation",
    "known_attractors": "dynlab.attractors",
    "load_dataset": "dynlab.datasets",
    "load_escapes": "dynlab.attractors",
    "load_graph": "dynlab.attractors",
    "load_map": "dynlab.maps",
    "lyapunov_exponents": "dynlab.dynamics",
    "match_attractors": "dynlab.attractors",
    "merge_basins": "dynlab.attractors",
    "merge_cycles": "dynlab.attractors",
    "merge_states": "dynlab.attractors",
    "near_unity_counts": "dynlab.dynamics",
    "rarefaction_curve": "dynlab.attractors",
    "reference_distances": "dynlab.dynamics",
    "save_escapes": "dynlab.attractors",
    "save_graph": "dynlab.attractors",
    "score": "dynlab.dynamics",
    "search_fixed_points": "dynlab.attractors",
    "spectral_radius": "dynlab.dynamics",
    "spectrum": "dynlab.dynamics",
    "states_at": "dynlab.dynamics",
    "track_counts": "dynlab.attractors",
    "train": "dynlab.training",
    "train_ensemble": "dynlab.training",
    "train_ladder": "dynlab.training",
    "train_map": "dynlab.training",
    "transform": "dynlab.dynamics",
    "transient_amplification": "dynlab.dynamics",
    "with_gain": "dynlab.maps",
    "write_graph_picture": "dynlab.report",
    "write_report": "dynlab.report",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'dynlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])

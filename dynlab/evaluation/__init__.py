"""WHAT IT MEANS: kinds and outcomes, separability, and the analysis of one map on one set of samples."""

from dynlab.evaluation.analyse import AnalysisSettings, analyse
from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.flows import FlowMatrix, flow_matrix, flow_of
from dynlab.evaluation.followed_kinds import FollowedKinds, kinds_along
from dynlab.evaluation.kinds import Kind, Outcome

__all__ = [
    "Analysis",
    "AnalysisSettings",
    "FlowMatrix",
    "FollowedKinds",
    "Kind",
    "Outcome",
    "analyse",
    "flow_matrix",
    "flow_of",
    "kinds_along",
]

"""HOW a map is learned: corruption, the walkback objective, gradient descent on it."""

from dynlab.training.corrupted_data import corrupt_dataset
from dynlab.training.corruption import corrupt, parse_schedule
from dynlab.training.ensemble import EnsembleMember, train_ensemble
from dynlab.training.initialization import initialize
from dynlab.training.ladder import ladder_settings, train_ladder
from dynlab.training.objective import (
    Objective,
    ReconstructionErrors,
    objective_value,
    reconstruction_errors,
    walkback_objective,
)
from dynlab.training.on_dataset import measure_on_datasets, train_on_dataset
from dynlab.training.run import EpochProgress, TrainingDiverged, TrainingFailed
from dynlab.training.settings import TrainingSettings
from dynlab.training.streams import generator
from dynlab.training.trainer import train, train_map

__all__ = [
    "EnsembleMember",
    "EpochProgress",
    "Objective",
    "ReconstructionErrors",
    "TrainingDiverged",
    "TrainingFailed",
    "TrainingSettings",
    "corrupt",
    "corrupt_dataset",
    "generator",
    "initialize",
    "ladder_settings",
    "measure_on_datasets",
    "objective_value",
    "parse_schedule",
    "reconstruction_errors",
    "train",
    "train_ensemble",
    "train_ladder",
    "train_map",
    "train_on_dataset",
    "walkback_objective",
]

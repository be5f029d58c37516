"""HOW a map is learned: corruption, the walkback objective, gradient descent on it."""

from dynlab.training.corruption import corrupt
from dynlab.training.ladder import ladder_settings, train_ladder
from dynlab.training.objective import ReconstructionErrors, reconstruction_errors, walkback_objective
from dynlab.training.on_dataset import train_on_dataset
from dynlab.training.streams import generator
from dynlab.training.trainer import EpochProgress, TrainingDiverged, TrainingSettings, initialize, train

__all__ = [
    "EpochProgress",
    "ReconstructionErrors",
    "TrainingDiverged",
    "TrainingSettings",
    "corrupt",
    "generator",
    "initialize",
    "ladder_settings",
    "reconstruction_errors",
    "train",
    "train_ladder",
    "train_on_dataset",
    "walkback_objective",
]

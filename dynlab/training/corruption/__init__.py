"""What is done to images before a map learns to undo it: kinds of corruption, mixtures and schedules of them."""

from dynlab.training.corruption.combined import Mixture, Successive
from dynlab.training.corruption.corruption import Corruption
from dynlab.training.corruption.hiding import Occlusion, Square
from dynlab.training.corruption.images import corrupt
from dynlab.training.corruption.moving import Rotation, Scaling
from dynlab.training.corruption.pixels import Clean, Gaussian, SaltAndPepper
from dynlab.training.corruption.schedule import Phase, Schedule
from dynlab.training.corruption.stacking import stack_corruptions
from dynlab.training.corruption.strokes import Strokes
from dynlab.training.corruption.text import parse_schedule

__all__ = [
    "Clean",
    "Corruption",
    "Gaussian",
    "Mixture",
    "Occlusion",
    "Phase",
    "Rotation",
    "SaltAndPepper",
    "Scaling",
    "Schedule",
    "Square",
    "Strokes",
    "Successive",
    "corrupt",
    "parse_schedule",
    "stack_corruptions",
]

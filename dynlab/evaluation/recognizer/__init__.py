"""The recognizer: is a state still a member of some class of the images that it learned from, or a stain?"""

from dynlab.evaluation.recognizer.recognizer import (
    Judgement,
    Recognition,
    Recognizer,
    RecognizerReport,
    enough_to_learn,
    train_recognizer,
)

__all__ = [
    "Judgement",
    "Recognition",
    "Recognizer",
    "RecognizerReport",
    "enough_to_learn",
    "train_recognizer",
]

"""What the recognizer says of itself (the rest of this file is being written)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Judgement:
    """What the recognizer said of one kind of images it was judged on."""

    images: str  # how the images came about: "digits" for held-out real ones, else the kind of stain
    stains: bool  # whether they are stains in truth
    judged: int
    called_member: int  # recognized as a member of some class
    called_stain: int


@dataclass(frozen=True)
class RecognizerReport:
    """How the recognizer was made and how far to trust it."""

    method: str
    train_samples: int
    threshold: float
    threshold_set_on: list[str]  # kinds of images the threshold was set on; none of the stains judged is among them
    balanced_accuracy: float  # of member against stain: mean of the two rates, every kind of stain weighing the same
    class_accuracy: float  # share of held-out real images whose nearest class is the true one
    confusion: list[Judgement]

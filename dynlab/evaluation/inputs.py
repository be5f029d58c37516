"""Do the data sets of an analysis fit together, and can a recognizer learn from them?"""

from __future__ import annotations

from dynlab.datasets import Dataset, labels_of
from dynlab.errors import InputError
from dynlab.evaluation.kinds import NO_PICTURE
from dynlab.evaluation.recognizer import enough_to_learn
from dynlab.maps import Map


def check_inputs(system: Map, data: Dataset, train_data: Dataset | None, recognizer_data: Dataset | None) -> None:
    """Check that the data sets fit the map and each other.

    Raises:
        InputError: If they do not, or a label is missing that is needed.
    """
    if len(data.images) == 0:
        raise InputError(f"{data.name}: no samples, expected at least one")
    for used in (data, train_data, recognizer_data):
        if used is not None and used.images.shape[1] != system.dim:
            raise InputError(f"{used.name}: images have {used.images.shape[1]} pixels, the map takes {system.dim}")
    if train_data is not None:
        for used in (train_data, data):
            if used.labels is None:
                raise InputError(f"{used.name}: has no labels, which separability needs")
    if recognizer_data is not None and recognizer_data.labels is None:
        raise InputError(f"{recognizer_data.name}: has no labels, which the recognizer needs")
    if recognizer_data is not None and not _are_pixels(recognizer_data):
        raise InputError(f"{recognizer_data.name}: has values outside of 0 to 1, which the recognizer takes for pixels")


def learnable(data: Dataset) -> Dataset | None:
    """The samples themselves, if a recognizer can learn from them: labelled, with some samples of several classes."""
    labelled = labelled_pixels(data)
    return labelled if labelled is not None and enough_to_learn(labels_of(labelled)) else None


def labelled_pixels(data: Dataset | None) -> Dataset | None:
    """The data set, if it has labels, and pixels in [0, 1]: of anything else nobody knows what a stain looks like."""
    if data is None or data.labels is None or data.images.shape[1] <= NO_PICTURE:
        return None
    return data if _are_pixels(data) else None


def _are_pixels(data: Dataset) -> bool:
    return not len(data.images) or bool(data.images.amin() >= 0 and data.images.amax() <= 1)

"""Do the data sets of an analysis fit together, and can a recognizer learn from them?"""

from __future__ import annotations

from dynlab.datasets import MOST_LABEL, Dataset, labels_of
from dynlab.errors import InputError
from dynlab.evaluation.kinds import NO_PICTURE
from dynlab.evaluation.recognizer import enough_to_learn
from dynlab.maps import Map


def check_inputs(system: Map, data: Dataset, train_data: Dataset | None, recognizer_data: Dataset | None) -> None:
    """Check that the data sets fit the map and each other.

    Raises:
        InputError: If they do not, or a label is missing that is needed.
    """
    if not system.is_one_map:
        # A fixed point with the input of one sample is none with that of another, so there are no common basins.
        raise InputError(
            f"map: holds inputs for {system.held_samples} samples, expected one map for all of them, or one input"
        )
    if len(data.images) == 0:
        raise InputError(f"{data.name}: no samples, expected at least one")
    for used in (data, train_data, recognizer_data):
        if used is not None:
            _check_shape(used, system)
            _check_labels(used)
    if train_data is not None:
        for used in (train_data, data):
            if used.labels is None:
                raise InputError(f"{used.name}: has no labels, which separability needs")
    if recognizer_data is not None and recognizer_data.labels is None:
        raise InputError(f"{recognizer_data.name}: has no labels, which the recognizer needs")
    if recognizer_data is not None and not _are_pixels(recognizer_data):
        raise InputError(f"{recognizer_data.name}: has values outside of 0 to 1, which the recognizer takes for pixels")


def _check_shape(data: Dataset, system: Map) -> None:
    """Flat samples, or a flat map, say nothing of axes; nor do axes of length 1."""
    if data.images.shape[1] != system.dim:
        raise InputError(f"{data.name}: images have {data.images.shape[1]} pixels, the map takes {system.dim}")
    found, expected = ([length for length in shape if length > 1] for shape in (data.shape, system.state_shape))
    if found != expected and len(found) > 1 and len(expected) > 1:
        shape, own = tuple(data.shape), system.state_shape
        raise InputError(f"{data.name}: samples have shape {shape}, expected {own} as states of the map have")


def _check_labels(data: Dataset) -> None:
    if data.labels is not None and len(data.labels) and int(data.labels.max()) > MOST_LABEL:
        raise InputError(f"{data.name}: labels reach {int(data.labels.max())}, expected at most {MOST_LABEL}")


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

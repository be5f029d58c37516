"""Do the data sets of an analysis fit together, and can a recognizer learn from them?"""

from __future__ import annotations

import math

from dynlab.datasets import MOST_LABEL, Dataset, labels_of
from dynlab.errors import InputError
from dynlab.evaluation.kinds import NO_PICTURE
from dynlab.evaluation.recognizer import enough_to_learn
from dynlab.maps import Map

_LISTED = 12  # classes that a message names


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
            check_shape(used, system.state_shape)
            _check_labels(used)
    if train_data is not None:
        for used in (train_data, data):
            if used.labels is None:
                raise InputError(f"{used.name}: has no labels, which separability needs")
        check_classes(data, train_data)
    if recognizer_data is not None and recognizer_data.labels is None:
        raise InputError(f"{recognizer_data.name}: has no labels, which the recognizer needs")
    if recognizer_data is not None and not _are_pixels(recognizer_data):
        raise InputError(f"{recognizer_data.name}: has values outside of 0 to 1, which the recognizer takes for pixels")


def check_classes(data: Dataset, train_data: Dataset) -> None:
    """Check that a set has a class that can be learned from a training set; both have labels.

    Raises:
        InputError: If it has none.
    """
    own, learned = labels_of(data).unique().tolist(), labels_of(train_data).unique().tolist()
    if own and learned and not set(own) & set(learned):
        raise InputError(
            f"{data.name}: has the classes {_listed(own)}, expected some of those of {train_data.name}, "
            f"{_listed(learned)}"
        )


def _listed(classes: list[int]) -> str:
    return ", ".join(map(str, classes[:_LISTED])) + (", ..." if len(classes) > _LISTED else "")


def check_shape(data: Dataset, state_shape: tuple[int, ...]) -> None:
    """Check that samples have the shape of the states of a map.

    Flat samples, or a flat map, say nothing of axes; nor do axes of length 1.

    Raises:
        InputError: If they have another one.
    """
    dim = math.prod(state_shape)
    if data.images.shape[1] != dim:
        raise InputError(f"{data.name}: images have {data.images.shape[1]} pixels, the map takes {dim}")
    found, expected = ([length for length in shape if length > 1] for shape in (data.shape, state_shape))
    if found != expected and len(found) > 1 and len(expected) > 1:
        shape = tuple(data.shape)
        raise InputError(f"{data.name}: samples have shape {shape}, expected {state_shape} as states of the map have")


def _check_labels(data: Dataset) -> None:
    if data.labels is not None and len(data.labels) and int(data.labels.max()) > MOST_LABEL:
        raise InputError(f"{data.name}: labels reach {int(data.labels.max())}, expected at most {MOST_LABEL}")


def learnable(data: Dataset | None) -> Dataset | None:
    """The samples themselves, if a recognizer can learn from them: labelled, with some samples of several classes."""
    if data is None or data.labels is None or data.images.shape[1] <= NO_PICTURE:
        return None
    # Of what is no pixel in [0, 1] nobody knows what a stain looks like.
    return data if _are_pixels(data) and enough_to_learn(labels_of(data)) else None


def _are_pixels(data: Dataset) -> bool:
    return not len(data.images) or bool(data.images.amin() >= 0 and data.images.amax() <= 1)

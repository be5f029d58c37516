"""What fits together, and what is refused before any work."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from dynlab.datasets import Dataset, dataset_of
from dynlab.errors import InputError
from dynlab.evaluation.inputs import check_inputs
from dynlab.maps import as_map

FLAT = torch.rand(5, 12, generator=torch.Generator().manual_seed(0))


def data(shape: tuple[int, ...], labels: list[int] | None = None) -> Dataset:
    return dataset_of(FLAT, None if labels is None else torch.tensor(labels), name="some data", shape=shape)


def halving(*shape: int) -> Any:
    return as_map(lambda states: states / 2, shape)


@pytest.mark.parametrize(
    ("own", "given"),
    [
        ((12,), (3, 2, 2)),
        ((3, 2, 2), (12,)),
        ((3, 4), (3, 4)),
        ((1, 3, 4), (3, 4)),
        ((3, 4), (3, 4, 1)),
        ((12, 1), (2, 6)),
    ],
)
def test_shapes_that_say_the_same_or_nothing_fit(own: tuple[int, ...], given: tuple[int, ...]) -> None:
    check_inputs(halving(*own), data(given, [0, 1, 2, 3, 65535]), None, None)


@pytest.mark.parametrize(("own", "given"), [((3, 2, 2), (2, 2, 3)), ((3, 4), (4, 3)), ((3, 4), (3, 2, 2))])
def test_axes_in_another_order_are_refused(own: tuple[int, ...], given: tuple[int, ...]) -> None:
    words = f"some data: samples have shape {given}, expected {own} as states of the map have"
    with pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        check_inputs(halving(*own), data(given), None, None)


def test_labels_that_are_no_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"^some data: labels reach 20261130, expected at most 65535$"):
        check_inputs(halving(12), data((12,), [0, 1, 2, 3, 20261130]), None, None)


def test_a_map_that_holds_an_input_for_each_sample_is_refused() -> None:
    system = as_map(lambda states, inputs: (states + inputs) / 2, (12,), inputs=FLAT)
    with pytest.raises(InputError, match=r"^map: holds inputs for 5 samples, expected one map for all of them, or one"):
        check_inputs(system, data((12,)), None, None)

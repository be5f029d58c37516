"""What arguments are refused with, whatever function they are given to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dynlab.errors import InputError, check_count, check_positive


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_whole_numbers_in_range_pass(value: object) -> None:
    check_count("steps", value, 1)
    check_count("steps", value, 1, 7)


@pytest.mark.parametrize(
    ("value", "most", "message"),
    [
        (0, None, "steps is 0, expected at least 1"),
        (8, 7, "steps is 8, expected 1 to 7"),
        (2.0, None, "steps is 2.0, expected a whole number of at least 1"),
        ("2", 7, "steps is '2', expected a whole number, 1 to 7"),
        (True, None, "steps is True, expected a whole number of at least 1"),
        (None, None, "steps is None, expected a whole number of at least 1"),
    ],
)
def test_anything_else_is_named(value: object, most: int | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_count("steps", value, 1, most)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [0, -1.5, math.inf, math.nan, "1", None, True])
def test_what_is_no_positive_number_is_named(value: object) -> None:
    check_positive("tolerance", 1e-4)
    with pytest.raises(InputError) as caught:
        check_positive("tolerance", value)
    assert str(caught.value) == f"tolerance is {value!r}, expected a finite number above 0"

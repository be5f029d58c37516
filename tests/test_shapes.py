"""Array shapes are checked in the first calls of each function in each test."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from dynlab.evaluation.kinds import is_explosion

import shapes


def test_first_calls_are_checked_and_checked_anew_in_the_next_test() -> None:
    right, wrong = torch.zeros(2, 3), torch.zeros(3)
    with pytest.raises(TypeCheckError, match="is_explosion"):
        is_explosion(wrong)
    for _ in range(100):
        is_explosion(right)
    with pytest.raises(IndexError):  # what torch says
        is_explosion(wrong)
    shapes.begin()
    with pytest.raises(TypeCheckError, match="is_explosion"):
        is_explosion(wrong)

"""Array shapes are checked in the first calls of each function in each test."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from dynlab.evaluation.kinds import is_explosion


@pytest.mark.parametrize("test", ["first", "next"])
def test_first_calls_of_each_test_are_checked(test: str) -> None:
    right, wrong = torch.zeros(2, 3), torch.zeros(3)
    with pytest.raises(TypeCheckError, match="is_explosion"):
        is_explosion(wrong)
    for _ in range(100):
        is_explosion(right)
    with pytest.raises(IndexError):  # what torch says
        is_explosion(wrong)

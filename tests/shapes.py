"""Checks of array shapes for jaxtyping's import hook: the first calls of each function in each test, not all of them.

A check takes longer than a step of a small map, and what a function is called with a thousandth time in one test is
what it was called with before.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from beartype import beartype

_CALLS = 20
_calls: Counter[Callable[..., Any]] = Counter()
_unchecked: list[Any] = []  # functions that are not checked any more in this test


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """What jaxtyping calls with the arguments of a function, or these and its result."""
    check = beartype(function)

    def first_calls(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():  # what counts cannot be compiled
            return check(*args, **kwargs)
        _calls[function] += 1
        if _calls[function] > _CALLS:
            # The caller is jaxtyping's wrapper; of a function so marked it passes calls on at once.
            checked_function = sys._getframe(1).f_locals["fn"]
            checked_function.__no_type_check__ = True
            _unchecked.append(checked_function)
        return check(*args, **kwargs)

    return first_calls


def begin() -> None:
    """Check first calls anew."""
    for function in _unchecked:
        function.__no_type_check__ = False
    _unchecked.clear()
    _calls.clear()

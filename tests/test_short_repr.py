"""Results show themselves in a few lines, whatever they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import dynlab as dl
from dynlab.short_repr import short_repr


@dataclass
class Result:
    __repr__ = short_repr

    value: Any


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (torch.tensor([0.5, 1 / 3]), "[0.5, 0.3333]"),
        (torch.tensor([1, -2]), "[1, -2]"),
        (torch.tensor([0.5 + 0.25j]).conj(), "[0.5-0.25j]"),
        (torch.tensor(2.0), "2"),
        (torch.zeros(7), "float32 (7,)"),
        (torch.zeros(2, 3, dtype=torch.complex128, requires_grad=True), "complex128 (2, 3)"),
        (np.zeros((2, 3), dtype=np.uint8), "uint8 (2, 3)"),
        ([1, "two", None], "[1, 'two', None]"),
        ((torch.ones(1),), "([1],)"),
        ([], "[]"),
        ([0.5] * 4, "<4 float>"),
        ([0.5, 1, 2, 3], "<4 objects>"),
        ({"a": 1}, "{'a': 1}"),
        (Result(torch.zeros(9)), "Result(value=float32 (9,))"),
        ([Result("x" * 95)], "[Result(...)]"),
        (["x" * 95, "y" * 95], "<2 str>"),
        (Result("x" * 95), "Result(...)"),
        ("x" * 300, "'" + "x" * 96 + "..."),
        (None, "None"),
    ],
)
def test_values(value: object, shown: str):
    assert repr(Result(value)) == f"Result(value={shown})" or repr(Result(value)) == f"Result(\n    value={shown},\n)"


def test_what_a_line_does_not_hold_has_a_line_for_each_field():
    orbits = dl.iterate(dl.as_map(lambda states: states / 2, (20,)), torch.rand(500, 20))
    lines = repr(orbits).splitlines()
    assert lines[0] == "Orbits("
    assert lines[-1] == ")"
    assert "    steps=int64 (500,)," in lines
    assert "    status=Statuses({'converged': 500, 'periodic': 0, 'diverged': 0, 'unresolved': 0})," in lines
    assert max(map(len, lines)) < 130
    assert repr(orbits.fixed_points[0]).startswith("FixedPoint(state=float64 (20,), residual=")


def test_orbits_as_a_frame():
    orbits = dl.iterate(dl.as_map(lambda states: states / 2, (3,)), torch.rand(5, 3))
    frame = orbits.to_frame()
    assert frame["status"].tolist() == ["converged"] * 5
    for name in ("period", "steps", "fixed_point", "cycle"):
        assert frame[name].tolist() == getattr(orbits, name).tolist()

"""What is no map is refused by `as_map`, each way by a message of its own; what is one passes."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dynlab.maps.adapter import as_map

FLOAT32 = torch.eye(4)
INTEGERS = torch.arange(4)


@torch.no_grad()
def doubled_under_no_grad(states: Tensor) -> Tensor:
    return 2 * states


def partly_under_no_grad(states: Tensor) -> Tensor:
    with torch.no_grad():
        hidden = torch.tanh(states)
    return hidden + states


class WrongSlope(torch.autograd.Function):
    """`x^2` with a backward pass that forgets the factor 2."""

    @staticmethod
    def forward(states: Tensor) -> Tensor:
        return states**2

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return ctx.saved_tensors[0] * grad_outputs[0]

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * grad_inputs[0]


def training_batch_norm() -> Callable[[Tensor], Tensor]:
    layer = nn.BatchNorm2d(4).double()
    return lambda states: layer(states[:, :, None, None].expand(-1, -1, 2, 2))[:, :, 0, 0]


def counting() -> Callable[[Tensor], Tensor]:
    calls = itertools.count()
    return lambda states: states * next(calls)


def dropout(states: Tensor) -> Tensor:
    return nn.functional.dropout(states, 0.5)


def squeezed(states: Tensor) -> Tensor:
    return (states @ torch.eye(4).to(states)).squeeze()


NO_MAPS: dict[str, tuple[Callable[..., Any], str]] = {
    "another shape": (lambda x: x[:, :2], r"returned shape \(3, 2\) for states of \(3, 4\)$"),
    "another shape for one state": (squeezed, r"returned shape \(4,\) for states of \(1, 4\)$"),
    "one for all": (lambda x: x.sum(), r"returned shape \(\) for states of \(3, 4\)$"),
    "no tensor": (lambda x: (x, x), "returned a tuple, expected a tensor$"),
    "two arguments": (lambda x, y: x + y, r"fails for torch\.float64 states of shape \(3, 4\) on .*missing 1 required"),
    "closure of float32": (
        (lambda matrix: lambda x: x @ matrix)(FLOAT32),
        r"fails for torch\.float64 states .* or device than its states: matrix \(torch\.float32.*\)\. Let them",
    ),
    "global of float32": (lambda x: x @ FLOAT32, r"dtype or device than its states: FLOAT32 \(torch\.float32.*\)"),
    "default of float32": (
        lambda x, matrix=FLOAT32: x @ matrix,
        r"dtype or device than its states: default 0 \(torch",
    ),
    "keyword of float32": (functools.partial(torch.mm, mat2=FLOAT32), r"device than its states: mat2 \(torch\.float32"),
    "module of float32": (
        (lambda layer: lambda x: layer(x))(nn.Linear(4, 4)),
        r"dtype or device than its states: layer\.weight \(torch\.float32.*\), layer\.bias \(torch\.float32.*\)\. Let",
    ),
    "list of float32": ((lambda parts: lambda x: x @ parts[0])([FLOAT32]), r"states: parts\[0\] \(torch\.float32"),
    "function behind": (
        (lambda inner: lambda x: inner(x))(lambda x: x @ FLOAT32),
        r"dtype or device than its states: FLOAT32 \(torch\.float32",
    ),
    "array of float32": (
        (lambda array: lambda x: x @ torch.from_numpy(array).to(x.device))(np.eye(4, dtype=np.float32)),
        r"dtype or device than its states: array \(torch\.float32",
    ),
    "fixed dtype": (
        lambda x: x.float(),
        r"returned torch\.float32 for torch\.float64 states; let what it makes follow",
    ),
    "another device": (lambda x: x.to("meta"), "returned a tensor on meta for states on .*; let what it makes follow"),
    "random": (lambda x: x + torch.randn_like(x), "returned different values for equal states: it is random"),
    "dropout": (dropout, "returned different values for equal states: it is random"),
    "memory": (counting(), "or keeps a memory of earlier calls"),
    "in place": (lambda x: x.mul_(0.5), "changes its states in place"),
    "in place without effect": (lambda x: x.relu_() + 1, "changes its states in place"),
    "batch normalization alone": (
        nn.BatchNorm1d(4, track_running_stats=False),
        "works for several states and fails for one alone, as if its rows depended on each other",
    ),
    "batch mean": (lambda x: x - x.mean(dim=0), "depends on the other rows of the batch"),
    "batch order": (lambda x: x.flip(0), "depends on the other rows of the batch"),
    "largest of the batch": (lambda x: x / x.amax(), "depends on the other rows of the batch"),
    "batch normalization": (training_batch_norm(), "depends on the other rows of the batch"),
    "no_grad": (doubled_under_no_grad, "derivatives are wrong, part of it is hidden from torch"),
    "no_grad inside": (partly_under_no_grad, "derivatives are wrong, part of it is hidden from torch"),
    "detached": (lambda x: 2 * x.detach(), "derivatives are wrong, part of it is hidden from torch"),
    "own derivative": (WrongSlope.apply, "derivatives are wrong, part of it is hidden from torch"),
    "numpy": (
        lambda x: torch.from_numpy(2 * x.cpu().numpy()).to(x.device),
        r"cannot be differentiated by torch\.func: Can't call numpy\(\)",
    ),
}


@pytest.mark.parametrize("name", NO_MAPS)
def test_what_is_no_map(name: str) -> None:
    function, message = NO_MAPS[name]
    with pytest.raises(ValueError, match=f"^the function.* {message}" if "|" not in message else message):
        as_map(function, (4,))


MAPS: dict[str, Callable[..., Tensor]] = {
    "identity": lambda x: x,
    "constant": torch.ones_like,
    "kinks": torch.relu,
    "steps": torch.sign,
    "filled in": lambda x: torch.zeros_like(x).index_copy(1, INTEGERS.to(x.device), x.sin()),
    "promoted": lambda x: x * FLOAT32[0].to(x.device),
    "not a number": lambda x: torch.log(x - 2),
    "infinite": lambda x: x / 0,
    "huge": lambda x: 1e30 * x,
    "branches": lambda x: torch.stack([row if row[0] > 0.5 else -row for row in x]) if len(x) else x,
    "evaluation mode": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.9)),
}


@pytest.mark.parametrize("name", MAPS)
def test_what_is_a_map(name: str) -> None:
    assert as_map(MAPS[name], (4,)).dim == 4


def test_global_random_stream_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    as_map(torch.tanh, (4,))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_of_compiled_code_the_words_of_its_operation_are_told_and_nothing_is_logged(caplog: pytest.LogCaptureFixture):
    compiled = torch.compile(torch.nn.Linear(3, 3), backend="eager")
    with pytest.raises(ValueError, match=r"shape \(\d+, 4\) on cpu: .*\[\d+, 4\] X \[3, 3\]"):
        as_map(compiled, (4,))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

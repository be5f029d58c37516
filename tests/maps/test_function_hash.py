"""The hash of a function: equal for equal content, in every process, and another for anything that matters."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dynlab.maps.adapter import as_map
from dynlab.maps.function_hash import function_hash
from dynlab.maps.map import map_hash


def scaled(factor: Any) -> Callable[[Tensor], Tensor]:
    return lambda states: states * factor


class Mode(Enum):
    UP = 1
    DOWN = 2


class Layer(nn.Module):
    """A module whose activation and factor stand in no parameter."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = torch.tanh, factor: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.activation = activation
        self.factor = factor

    def forward(self, states: Tensor) -> Tensor:
        return self.factor * self.activation(self.linear(states))


class OtherForward(Layer):
    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states) + states


class Callable1:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, states: Tensor) -> Tensor:
        return self.factor * states


class Slotted(Callable1):
    __slots__ = ("shift",)

    def __init__(self, shift: float) -> None:
        super().__init__(1.0)
        self.shift = shift


VALUES = [
    2,
    2.0,
    2 + 0j,
    True,
    None,
    "2",
    b"2",
    (2,),
    [2],
    [2, 2],
    {"a": 2},
    {"b": 2},
    {2},
    frozenset({2}),
    slice(2),
    Mode.UP,
    Mode.DOWN,
    Mode,
    torch.tensor(2),
    torch.tensor(2.0),
    torch.tensor([2.0]),
    torch.tensor(2.0, dtype=torch.bfloat16),
    np.array(2.0),
    np.float32(2.0),
    torch.float32,
    torch.device("cpu"),
    torch.tanh,
    torch.sin,
    torch,
    np.sin,
    torch.tensor([2.0, 1.0]).add,
    nn.functional.relu,
    functools.partial(torch.add, other=1),
    functools.partial(torch.add, other=2),
    functools.lru_cache(len),
    Callable1(2.0),
    Callable1(3.0),
    Slotted(2.0),
    Slotted(3.0),
    Callable1(2.0).__call__,
    scaled(2.0),
    scaled(3.0),
    lambda states: states - 1,
    lambda states: states - 2,
    lambda states: states + 1,
    lambda states: torch.sin(states),
    lambda states: torch.cos(states),
    lambda states, shift=1.0: states + shift,
    lambda states, shift=2.0: states + shift,
    lambda states, *, shift=1.0: states + shift,
    lambda states: [part + 1 for part in states],
    lambda states: [part + 2 for part in states],
]


def test_functions_that_differ_in_anything_have_other_hashes() -> None:
    hashes = [function_hash(scaled(value)) for value in VALUES]
    assert len(set(hashes)) == len(VALUES)
    assert [function_hash(scaled(value)) for value in VALUES] == hashes


def test_equal_content_has_equal_hashes() -> None:
    pairs = [(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])), (np.arange(3), np.arange(3)), ([[1]], [[1]])]
    pairs += [(Callable1(2.0), Callable1(2.0)), (scaled(1), scaled(1)), (Slotted(1.0), Slotted(1.0))]
    pairs += [({1, 2, "a"}, {"a", 2, 1}), (torch.tensor([[1.0, 2.0], [3, 4]]).T, torch.tensor([[1.0, 3.0], [2, 4]]))]
    for one, other in pairs:
        assert function_hash(scaled(one)) == function_hash(scaled(other))


def test_what_a_function_leads_to_counts_at_any_depth() -> None:
    def outer(values: list[float]) -> Callable[[Tensor], Tensor]:
        def inner(states: Tensor) -> Tensor:
            return states * values[0]

        return functools.partial(lambda function, states: function(states), inner)

    values = [1.0]
    function = outer(values)
    before = function_hash(function)
    assert function_hash(outer([1.0])) == before
    values[0] = 2.0
    assert function_hash(function) == function_hash(outer([2.0])) != before


def test_globals_count_where_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_factor", 1.0)
    monkeypatch.setitem(globals(), "_unread", 1.0)
    function = eval("lambda states: [_factor * part for part in states]", globals())
    before = function_hash(function)
    monkeypatch.setitem(globals(), "_unread", 2.0)
    assert function_hash(function) == before
    monkeypatch.setitem(globals(), "_factor", 2.0)
    assert function_hash(function) != before


def halve(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return output / 2


def test_modules_count_with_all_that_they_hold() -> None:
    def layer(kind: type[Layer] = Layer, **settings: Any) -> Layer:
        torch.manual_seed(0)
        return kind(**settings)

    hooked, buffered, moved = layer(), layer(), layer()
    hooked.register_forward_hook(halve)
    buffered.register_buffer("extra", torch.zeros(1), persistent=False)
    with torch.no_grad():
        moved.linear.weight[3, 3] += 1e-6
    modules = [
        layer(),
        layer(OtherForward),
        layer(activation=torch.sin),
        layer(factor=2.0),
        hooked,
        buffered,
        moved,
    ]
    hashes = {map_hash(as_map(module, (4,))) for module in modules}
    assert len(hashes) == len(modules)
    assert map_hash(as_map(layer(), (4,))) == map_hash(as_map(layer(), (4,))) in hashes
    again = layer()
    again.register_forward_hook(halve)
    assert map_hash(as_map(again, (4,))) in hashes
    forward = as_map(layer().forward, (4,))
    assert map_hash(forward) not in hashes


def test_cycles_end() -> None:
    values: list[Any] = [1.0]
    values.append(values)
    other: list[Any] = [2.0]
    other.append(other)
    assert function_hash(scaled(values)) != function_hash(scaled(other))


@pytest.mark.parametrize("hidden", [threading.Lock(), (number for number in range(3)), sys._getframe()])
def test_what_cannot_be_read_is_refused(hidden: object) -> None:
    with pytest.raises(ValueError, match=r"function\.factor is a .*, whose content cannot be read, so this"):
        function_hash(scaled([hidden][0]))


def test_hash_is_the_same_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import torch, numpy as np
from torch import nn
from dynlab.maps.adapter import as_map
from dynlab.maps.map import map_hash
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.names = {"a", "b", "c"}
    def forward(self, states):
        return self.layers(states) if "a" in {"a", "b", "c"} else states
scale = {"x": np.float64(2.0), "y": torch.ones(2, 2)}
def function(states):
    return states * scale["x"] * scale["y"].to(states)
print(map_hash(as_map(Net(), (4,))), map_hash(as_map(function, (2, 2))))
"""
    )
    runs = [
        subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0].split())) == 2


class WithConstant(nn.Module):
    """A module that a trace keeps a constant tensor of, and a function of the user's."""

    def __init__(self, constant: float, seed: int, function: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.constant, self.function = torch.tensor([1.0, 2.0, 3.0, constant]), function

    def forward(self, states: Tensor) -> Tensor:
        return self.function(self.norm(self.linear(states))) + self.constant


def exported(module: nn.Module) -> nn.Module:
    shapes = ({0: torch.export.Dim("batch")},)
    return torch.export.export(module.eval(), (torch.zeros(3, 4),), dynamic_shapes=shapes).module()


@pytest.mark.parametrize("traced", [torch.fx.symbolic_trace, exported], ids=["fx", "export"])
def test_traced_modules_are_known_by_operations_parameters_and_constants(
    traced: Callable[[nn.Module], nn.Module],
) -> None:
    def hashed(constant: float, seed: int, function: Callable[[Tensor], Tensor] = torch.tanh) -> str:
        return map_hash(as_map(traced(WithConstant(constant, seed, function)), (4,)))

    system = hashed(4.0, 0)
    assert hashed(4.0, 0) == system
    assert len({system, hashed(5.0, 0), hashed(4.0, 1), hashed(4.0, 0, torch.sigmoid)}) == 4


def test_an_exported_module_is_the_map_it_was_made_of() -> None:
    module = WithConstant(4.0, 0).eval()
    states = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    system = as_map(exported(module), (4,))
    torch.testing.assert_close(system(states), as_map(module, (4,))(states), rtol=1e-6, atol=1e-6)
    assert map_hash(system) == map_hash(as_map(exported(module), (4,)))


@torch.fx.wrap
def doubled(states: Tensor) -> Tensor:
    return 2 * states


def test_a_function_that_a_trace_leaves_as_it_is_counts_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubled(nn.Module):
        def forward(self, states: Tensor) -> Tensor:
            return doubled(states) + 1

    traced = torch.fx.symbolic_trace(Doubled())
    before = function_hash(traced)
    assert function_hash(traced) == before
    monkeypatch.setattr(doubled, "__code__", (lambda states: 3 * states).__code__)
    assert function_hash(traced) != before


def test_what_a_graph_calls_counts_by_its_content() -> None:
    """A partial function and an object that is called, of one name each."""
    functions: list[Any] = [functools.partial(torch.mul, other=factor) for factor in (0.5, 0.25)]
    functions += [Callable1(0.5), Callable1(0.25)]
    hashes = []
    for function in functions:
        function.__name__ = "scaled"  # by which the code knows it
        graph = torch.fx.Graph()
        graph.output(graph.create_node("call_function", function, (graph.placeholder("states"),), name="scaled"))
        hashes.append(function_hash(torch.fx.GraphModule({}, graph)))
    assert len(set(hashes)) == 4

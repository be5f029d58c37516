"""Layers give what float64 gives, by whichever library, and derivatives where somebody asks for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor

from dynlab.maps import NONLINEARITIES, DenoisingAutoencoder
from dynlab.maps.layers import Layer, is_faster_by_onednn, output_of, product_of

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda values: values,
}


def layer_of(inputs: int, outputs: int, nonlinearity: str = "sigmoid", *, transposed: bool = False) -> Layer:
    generator = torch.Generator().manual_seed(inputs + outputs)
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    if transposed:
        weight = weight.t().contiguous().t()
    return Layer(weight, torch.randn(outputs, generator=generator), nonlinearity)


def states(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that oneDNN is faster on, whichever this one is."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows with which oneDNN was called."""
    import dynlab.maps.layers as layers

    rows: list[int] = []
    original = layers.onednn_linear

    def noted(inputs: Tensor, *more: object) -> Tensor:
        rows.append(len(inputs))
        return original(inputs, *more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(layers, "onednn_linear", noted)
    return rows


@pytest.mark.parametrize("nonlinearity", sorted(NONLINEARITIES))
@pytest.mark.parametrize("transposed", [False, True])
def test_outputs_are_those_of_float64(nonlinearity: str, transposed: bool, taken: list[int]) -> None:
    for inputs, outputs in ((784, 500), (64, 256), (500, 784), (3, 2)):
        layer = layer_of(inputs, outputs, nonlinearity, transposed=transposed)
        for rows in (0, 1, 7, 8, 63, 300):
            given = states(rows, inputs)
            exact = FUNCTIONS[nonlinearity](F.linear(given.double(), layer.weight.double(), layer.bias.double()))
            before = given.clone()
            with torch.no_grad():
                found = output_of(layer, given)
                image = product_of(given, layer.weight)
            assert found.dtype == image.dtype == torch.float32
            torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5)
            torch.testing.assert_close(image.double(), given.double() @ layer.weight.double().t(), rtol=0, atol=1e-4)
            assert torch.equal(given, before)
    # Few rows, and small products, are left to torch.
    if is_faster_by_onednn(layer_of(2, 2).weight):
        assert {8, 64, 320} == set(taken)
        assert taken.count(8) == 4


def test_onednn_gets_to_see_few_numbers_of_rows(taken: list[int]) -> None:
    layer, given = layer_of(784, 500), states(1100, 784)
    with torch.no_grad():
        exact = torch.sigmoid(F.linear(given.double(), layer.weight.double(), layer.bias.double()))
        for rows in range(1, 1100):
            found = output_of(layer, given[:rows])
            assert found.shape == (rows, 500)
            if rows % 97 == 0:
                torch.testing.assert_close(found.double(), exact[:rows], rtol=0, atol=1e-5)
    if is_faster_by_onednn(layer.weight):
        assert len(set(taken)) <= 8 * 8  # eight an octave
        assert max(seen / rows for rows, seen in zip(range(8, 1100), taken, strict=True)) < 1.9
        assert max(seen / rows for rows, seen in zip(range(64, 1100), taken[64 - 8 :], strict=True)) < 1.13


def test_rows_are_those_of_blocks_of_any_shape() -> None:
    layer, given = layer_of(784, 500), states(4, 100, 784)
    with torch.no_grad():
        torch.testing.assert_close(output_of(layer, given).reshape(400, 500), output_of(layer, given.reshape(400, 784)))
        assert output_of(layer, given[0, 0]).shape == (500,)


def test_float64_and_tensors_that_ask_for_gradients_go_through_torch(taken: list[int]) -> None:
    layer = layer_of(784, 500)
    asking = states(300, 784).requires_grad_()
    (gradient,) = torch.autograd.grad(output_of(layer, asking).sum(), asking)
    outputs = output_of(layer, asking.detach())
    torch.testing.assert_close(gradient, (outputs * (1 - outputs)) @ layer.weight)
    double = Layer(layer.weight.double(), layer.bias.double(), "sigmoid")
    with torch.no_grad():
        output_of(double, states(300, 784).double())
    assert not taken


@pytest.mark.parametrize("nonlinearity", sorted(NONLINEARITIES))
def test_what_is_no_number_stays_so(nonlinearity: str) -> None:
    layer, given = layer_of(784, 500, nonlinearity), states(300, 784)
    given[3, 5], given[4] = torch.nan, torch.inf
    with torch.no_grad():
        found = output_of(layer, given)
    expected = FUNCTIONS[nonlinearity](F.linear(given, layer.weight, layer.bias))
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert bool(found[3].isnan().all())


@pytest.mark.parametrize("bias", [torch.rand(1000)[::2], torch.rand(1).expand(500), torch.rand(500).double().float()])
def test_any_bias_that_torch_takes_is_right(bias: Tensor) -> None:
    layer, given = Layer(layer_of(784, 500).weight, bias, "sigmoid"), states(300, 784)
    with torch.no_grad():
        torch.testing.assert_close(output_of(layer, given), torch.sigmoid(F.linear(given, layer.weight, bias)))


def test_what_asks_for_torchs_own_operations_gets_them(taken: list[int]) -> None:
    layer, given = layer_of(784, 500), states(300, 784)

    def output(inputs: Tensor) -> Tensor:
        return output_of(layer, inputs)

    with torch.no_grad():
        expected = torch.sigmoid(F.linear(given, layer.weight, layer.bias))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            traced: Any = torch.jit.trace(output, (given,), check_trace=False)
        torch.testing.assert_close(traced(given), expected)
        torch.testing.assert_close(torch.compile(output, fullgraph=True, backend="eager")(given), expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert output(given).dtype == torch.bfloat16
        with torch.backends.mkldnn.flags(enabled=False):
            torch.testing.assert_close(output(given), expected)
    assert not taken


def test_derivatives_within_no_grad_are_not_lost(taken: list[int]) -> None:
    system = DenoisingAutoencoder(784, 500)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for values in system.parameters():
            values.copy_(0.05 * torch.randn(values.shape, generator=generator))
    given, tangents = states(40, 784), states(40, 784) - 0.5
    expected = system.jvp(given, tangents)
    assert float(expected.norm()) > 0.1
    taken.clear()
    with torch.no_grad():
        pushed = torch.func.jvp(system, (given,), (tangents,))[1]
        torch.testing.assert_close(pushed, expected)
        with forward_ad.dual_level():
            dual = system(forward_ad.make_dual(given, tangents))
            torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, expected)
        rows = torch.func.vmap(torch.func.jacfwd(system))(given[:2])
        torch.testing.assert_close((rows @ tangents[:2, :, None])[..., 0], expected[:2])
    assert not taken

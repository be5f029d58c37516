"""The products of a step of training give what float64 gives, by whichever library, in the layouts of training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynlab.maps.layers import is_faster_by_onednn
from dynlab.training import products
from dynlab.training.products import Products, products_for

WAYS = {"onednn": products._ONEDNN, "matrices": products._MATRICES, "batches": products._BATCHES}
ROWS = (1, 20, 80)  # a minibatch, and four stacked ones, whose updates oneDNN takes in another way


def of_normals(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stored_by_columns(weight: Tensor) -> Tensor:
    return weight.mT.contiguous().mT


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "onednn" and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    return request.param


def of_way(way: str, *tensors: Tensor) -> list[Tensor]:
    """Tensors as these products want them: with two members, if they are for batches."""
    return [torch.stack([tensor, -tensor]) if way == "batches" else tensor for tensor in tensors]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("is_by_columns", [False, True])
def test_products_are_those_of_float64(way: str, rows: int, is_by_columns: bool) -> None:
    by: Products = WAYS[way]
    weight, bias = of_normals(50, 78, seed=0) / 9, of_normals(50, seed=1)
    inputs, gradients = of_normals(rows, 78, seed=2), of_normals(rows, 50, seed=3)
    onto = of_normals(rows, 78, seed=4)
    weight, bias, inputs, gradients, onto = of_way(way, weight, bias, inputs, gradients, onto)
    if is_by_columns:
        weight = stored_by_columns(weight)
    w, b, x, g = weight.double(), bias.double(), inputs.double(), gradients.double()

    def check(found: Tensor, out: Tensor, exact: Tensor) -> None:
        assert found.data_ptr() == out.data_ptr()
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-4)

    with torch.inference_mode():
        for name, function in (("sigmoid", torch.sigmoid), ("tanh", torch.tanh), ("relu", torch.relu)):
            outputs = torch.empty_like(gradients)
            exact = function(x @ w.mT + b.unsqueeze(-2))
            check(by.layer(inputs, weight, bias, name, outputs), outputs, exact)
        passed = torch.empty_like(inputs)
        check(by.backward(gradients, weight, passed), passed, g @ w)
        sums = onto.clone()
        check(by.backward_onto(gradients, weight, sums), sums, onto.double() + g @ w)
        updated = weight.clone(memory_format=torch.preserve_format)
        assert updated.stride() == weight.stride()
        check(by.update(updated, gradients, inputs, -0.1), updated, w - 0.1 * g.mT @ x)


@pytest.mark.parametrize(("capability", "is_faster"), [("AVX512", True), ("AVX2", False), ("DEFAULT", False)])
def test_onednn_multiplies_where_the_processor_has_what_it_is_faster_by(
    monkeypatch: pytest.MonkeyPatch, capability: str, is_faster: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    weight = torch.zeros(2, 3)
    has_onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    assert is_faster_by_onednn(weight) == (is_faster and has_onednn)
    assert products_for(weight) is (WAYS["onednn"] if is_faster and has_onednn else WAYS["matrices"])
    assert products_for(weight.double()) is WAYS["matrices"]
    assert products_for(weight[None]) is WAYS["batches"]

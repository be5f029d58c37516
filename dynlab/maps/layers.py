"""Layers of autoencoders: `f(W x + b)`, by whichever library multiplies fastest.

torch multiplies matrices of float32 on a CPU by MKL, which on processors of AMD does not use the units of AVX-512.
oneDNN, which comes with torch too, does: measured on one thread of a Zen 5 core, blocks of 64 rows and more take half
of the time at 784-500, and at 64-256 from 256 rows on. Where there is no AVX-512 it wins nothing, and loses with few
rows: on a Zen 3 core 20 of them take it 1.4 times as long as MKL, and 1000 as long. It is reached through the operation
that torch's own compiler uses for linear layers, where it costs some 12 microseconds a call. That operation knows
nothing of derivatives, of tracing and of autocast, so it is taken only where nobody asks for any of these. Its own relu
makes 0 of NaN; torch's, which takes its place, does not.

For each new number of rows oneDNN compiles a kernel, which takes 1.5 milliseconds, as long as some 200 rows do. Samples
that finish leave blocks of all numbers of rows behind, so inputs are filled up to one of eight numbers an octave, or,
below 64, to a multiple of eight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Layer(NamedTuple):
    """One layer, `x -> f(W x + b)`."""

    weight: Float[Tensor, "outputs inputs"]
    bias: Float[Tensor, " outputs"]
    nonlinearity: str  # f, by its name in `dynlab.maps.NONLINEARITIES`


@dataclass(frozen=True)
class Nonlinearity:
    """A function applied to every unit, with its derivative as a function of its own value."""

    function: Callable[[Tensor], Tensor]
    in_place: Callable[[Tensor], Tensor]
    derivative_from_value: Callable[[Tensor], Tensor]
    onednn: str | None  # its name in the operation of oneDNN; None where that has none, or a wrong one

    def of_fresh(self, values: Tensor) -> Tensor:
        """The function of values that nobody else needs: in their place, where no gradient will ask for them."""
        return self.function(values) if torch.is_grad_enabled() else self.in_place(values)


NONLINEARITIES: Mapping[str, Nonlinearity] = {
    "sigmoid": Nonlinearity(torch.sigmoid, torch.sigmoid_, lambda value: value * (1 - value), "sigmoid"),
    "tanh": Nonlinearity(torch.tanh, torch.tanh_, lambda value: 1 - value * value, "tanh"),
    "relu": Nonlinearity(torch.relu, torch.relu_, lambda value: (value > 0).to(value.dtype), None),
    "identity": Nonlinearity(lambda value: value, lambda value: value, torch.ones_like, None),
}
# Rows, and products of single numbers, from which oneDNN is worth its call; measured.
_ROWS, _PRODUCTS = 8, 2**20


def output_of(layer: Layer, inputs: Tensor) -> Tensor:
    """The outputs of a layer, shape (..., outputs), for inputs of shape (..., inputs)."""
    if _is_for_onednn(inputs, layer.weight, layer.bias):
        return onednn_layer(_filled_up(inputs), layer)[: len(inputs)]
    return NONLINEARITIES[layer.nonlinearity].of_fresh(F.linear(inputs, layer.weight, layer.bias))


def product_of(inputs: Tensor, weight: Tensor) -> Tensor:
    """`inputs W^T`, shape (..., outputs), for inputs of shape (..., inputs): a layer's part of a tangent's way."""
    if _is_for_onednn(inputs, weight):
        return onednn_linear(_filled_up(inputs), weight)[: len(inputs)]
    return F.linear(inputs, weight)


def _filled_up(inputs: Tensor) -> Tensor:
    """The rows, and below them rows of zeros up to one of the numbers that oneDNN gets to see."""
    step = max(_ROWS, 1 << max(0, len(inputs).bit_length() - 4))
    missing = -len(inputs) % step
    return F.pad(inputs, (0, 0, 0, missing)) if missing else inputs


def is_faster_by_onednn(weight: Tensor) -> bool:
    """Whether oneDNN can multiply with such a weight, and does so faster than what torch takes."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )


def onednn_layer(inputs: Tensor, layer: Layer) -> Tensor:
    """The outputs of a layer by oneDNN, a new tensor; float32 on the CPU, and no derivatives."""
    nonlinearity = NONLINEARITIES[layer.nonlinearity]
    if nonlinearity.onednn is None:
        return nonlinearity.in_place(onednn_linear(inputs, layer.weight, layer.bias))
    return onednn_linear(inputs, layer.weight, layer.bias, nonlinearity.onednn)


def onednn_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None, nonlinearity: str = "none") -> Tensor:
    """`f(inputs W^T + b)` by oneDNN, a new tensor; float32 on the CPU, no derivatives, and a bias without gaps."""
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, nonlinearity, [], "")


def _is_for_onednn(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return False
    return (
        inputs.ndim == 2
        and len(inputs) >= _ROWS
        and len(inputs) * weight.numel() >= _PRODUCTS
        and type(inputs) is Tensor
        and inputs.device.type == "cpu"
        and inputs.dtype == torch.float32
        and (bias is None or (bias.dtype == torch.float32 and bias.shape == weight.shape[:1] and bias.is_contiguous()))
        and is_faster_by_onednn(weight)
        and _only_values_are_asked_for()
    )


def _only_values_are_asked_for() -> bool:
    """No derivatives, which some ask for without gradients, no graph of operations, no other precision."""
    return not (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
        or torch.is_autocast_enabled("cpu")
    )

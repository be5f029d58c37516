"""The matrix products of a step of training, by whichever library is fastest where they are computed.

On a CPU with AVX-512 that is oneDNN (`dynlab.maps.layers`): measured on a Zen 5 core, products of minibatches of 20
take 0.55 of the time that they take MKL, updates of weights by 80 rows half. On a Zen 3 core, which lacks it, training
by oneDNN takes 1.9 times as long as by MKL at k = 1. Its operation gives new tensors, which are copied to where they
are needed; it wants the larger factor of an update as it lies, and the smaller one transposed in memory. A new tensor
as large as a weight may cost as much again, where the system takes its pages back each time; with few rows, where there
is little to win, MKL updates in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dynlab.maps import NONLINEARITIES
from dynlab.maps.layers import Layer, is_faster_by_onednn, onednn_layer, onednn_linear

_FEW_ROWS = 40


@dataclass(frozen=True)
class Products:
    """Products of matrices, or of a batch of them, with a weight of shape (outputs, inputs)."""

    layer: Callable[[Tensor, Tensor, Tensor, str, Tensor], Tensor]
    """`out = f(states W^T + b)`, given states, weight, bias, the name of f, and out."""
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    """`out = gradients W`, given gradients, weight and out."""
    backward_onto: Callable[[Tensor, Tensor, Tensor], Tensor]
    """`out += gradients W`, likewise."""
    update: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    """`W += scale gradients^T inputs`, given weight, gradients of the outputs, inputs, and scale."""


def products_for(weight: Tensor) -> Products:
    """The fastest products with weights such as this one, of shape (outputs, inputs) or (members, outputs, inputs)."""
    if weight.ndim == 3:
        return _BATCHES
    if is_faster_by_onednn(weight):
        return _ONEDNN
    return _MATRICES


def _layer_by_onednn(states: Tensor, weight: Tensor, bias: Tensor, nonlinearity: str, out: Tensor) -> Tensor:
    return out.copy_(onednn_layer(states, Layer(weight, bias, nonlinearity)))


def _update_by_onednn(weight: Tensor, gradients: Tensor, inputs: Tensor, scale: float) -> Tensor:
    if len(inputs) < _FEW_ROWS:
        weight.addmm_(gradients.t(), inputs, alpha=scale)
    elif weight.is_contiguous():
        weight.add_(onednn_linear(gradients.t().contiguous(), inputs.t()), alpha=scale)
    else:  # stored by columns
        weight.t().add_(onednn_linear(inputs.t().contiguous(), gradients.t()), alpha=scale)
    return weight


_ONEDNN = Products(
    layer=_layer_by_onednn,
    backward=lambda gradients, weight, out: out.copy_(onednn_linear(gradients, weight.t())),
    backward_onto=lambda gradients, weight, out: out.add_(onednn_linear(gradients, weight.t())),
    update=_update_by_onednn,
)
_MATRICES = Products(
    layer=lambda states, weight, bias, nonlinearity, out: NONLINEARITIES[nonlinearity].in_place(
        torch.addmm(bias, states, weight.t(), out=out)
    ),
    backward=lambda gradients, weight, out: torch.mm(gradients, weight, out=out),
    backward_onto=lambda gradients, weight, out: out.addmm_(gradients, weight),
    update=lambda weight, gradients, inputs, scale: weight.addmm_(gradients.t(), inputs, alpha=scale),
)
_BATCHES = Products(
    layer=lambda states, weight, bias, nonlinearity, out: NONLINEARITIES[nonlinearity].in_place(
        torch.baddbmm(bias.unsqueeze(-2), states, weight.mT, out=out)
    ),
    backward=lambda gradients, weight, out: torch.bmm(gradients, weight, out=out),
    backward_onto=lambda gradients, weight, out: out.baddbmm_(gradients, weight),
    update=lambda weight, gradients, inputs, scale: weight.baddbmm_(gradients.mT, inputs, alpha=scale),
)

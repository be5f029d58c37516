"""Derivatives of a composition of layers, `F = F_n o ... o F_1` with `F_i(x) = f_i(W_i x + b_i)`.

The Jacobian is the product of all `D_i W_i`, `D_i` the diagonal matrix of the derivatives of layer i. Split at the
narrowest place between two layers it is a product `A B` through that, so its nonzero multipliers are the eigenvalues of
a matrix of that size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dynlab.maps.layers import NONLINEARITIES, Layer, output_of, product_of


def applied(layers: Sequence[Layer], values: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
    """The outputs of the last layer, for inputs of the first."""
    for layer in layers:
        values = output_of(layer, values)
    return values


@torch.no_grad()
def slopes_of(layers: Sequence[Layer], states: Float[Tensor, "batch dim"]) -> list[Tensor]:
    """Derivatives of each layer's nonlinearity where the states take it, shape (batch, outputs)."""
    slopes = []
    for layer in layers:
        states = output_of(layer, states)
        slopes.append(NONLINEARITIES[layer.nonlinearity].derivative_from_value(states))
    return slopes


@torch.no_grad()
def factors_of(
    layers: Sequence[Layer], states: Float[Tensor, "batch dim"]
) -> tuple[Float[Tensor, "batch dim rank"], Float[Tensor, "#batch rank dim"]]:
    """`A = D_n W_n ... W_(k+1) D_k` and `B = W_k D_(k-1) ... W_1`, split after the first of the narrowest layers.

    The last of them, of which there must be two at least, is none to split after. For `k = 1`, `B` is `W_1`, shared by
    all states.
    """
    slopes = slopes_of(layers, states)
    widths = [len(layer.bias) for layer in layers[:-1]]
    cut = widths.index(min(widths)) + 1
    # Transposed, so that each product with a weight is one matrix product for all states.
    a = slopes[cut - 1][:, :, None] * layers[cut].weight.t()
    for layer, slope in zip(layers[cut + 1 :], slopes[cut:], strict=False):
        a = F.linear(a * slope[:, None, :], layer.weight)
    b = layers[cut - 1].weight[None]
    for layer, slope in zip(layers[: cut - 1][::-1], slopes[: cut - 1][::-1], strict=True):
        b = (b * slope[:, None, :]) @ layer.weight
    return (a * slopes[-1][:, None, :]).mT, b


def linearized(layers: Sequence[Layer], states: Float[Tensor, "batch dim"]) -> Callable[[Tensor], Tensor]:
    """Jacobians times vectors, row by row: a product for each layer and vector; derivatives are taken once."""
    slopes = slopes_of(layers, states)

    @torch.no_grad()
    def product(tangents: Tensor) -> Tensor:
        for layer, slope in zip(layers, slopes, strict=True):
            tangents = slope * product_of(tangents, layer.weight)
        return tangents

    return product


@torch.no_grad()
def vjp(
    layers: Sequence[Layer], states: Float[Tensor, "batch dim"], cotangents: Float[Tensor, "batch dim"]
) -> Float[Tensor, "batch dim"]:
    """Transposed Jacobians times vectors, row by row, in a product for each layer."""
    for layer, slope in zip(layers[::-1], slopes_of(layers, states)[::-1], strict=True):
        cotangents = (slope * cotangents) @ layer.weight
    return cotangents

"""Layers of a torch module that is nothing but a row of them: `nn.Sequential` of `nn.Linear` and nonlinearities.

Whoever brings such a module gets what only layers give: factored Jacobians, and certificates that can be proofs. The
module is read and not run, so everything in it must be known to do what its class says: a subclass, a hook or a
parametrization may do anything, and a module with one is a function like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from torch import nn

from dynlab.maps.layers import Layer

_NONLINEARITIES: Mapping[type[nn.Module], str] = {nn.Sigmoid: "sigmoid", nn.Tanh: "tanh", nn.ReLU: "relu"}
_NOTHING = (nn.Identity, nn.Dropout)  # in evaluation mode, in which maps are
_KNOWN = (*_NONLINEARITIES, *_NOTHING, nn.Linear, nn.Flatten, nn.Unflatten)


def layers_of(module: nn.Module, state_shape: tuple[int, ...]) -> tuple[Layer, ...] | None:
    """The layers of a module, the first applied first; None where it is no row of layers.

    A `nn.Flatten` before all layers, and a `nn.Flatten` or `nn.Unflatten` after them, change nothing about flat states.

    Args:
        module: In evaluation mode.
        state_shape: Shape of the states it takes.
    """
    parts = list(_parts(module))
    if not all(type(part) in _KNOWN and _does_what_its_class_says(part) for part in parts):
        return None
    parts = [part for part in parts if type(part) not in _NOTHING]
    if parts and _flattens(parts[0]):
        parts = parts[1:]
    elif len(state_shape) != 1:
        return None  # what comes first works on the last axis alone
    if parts and (_flattens(parts[-1]) or type(parts[-1]) is nn.Unflatten):
        parts = parts[:-1]
    layers: list[Layer] = []
    while parts:
        linear = parts.pop(0)
        if not isinstance(linear, nn.Linear):
            return None
        has_nonlinearity = bool(parts) and type(parts[0]) in _NONLINEARITIES
        name = _NONLINEARITIES[type(parts.pop(0))] if has_nonlinearity else "identity"
        weight = linear.weight.detach()
        bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach()
        layers.append(Layer(weight, bias, name))
    dim = math.prod(state_shape)
    return tuple(layers) if layers and layers[0].weight.shape[1] == len(layers[-1].bias) == dim else None


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """What a module does, one after the other."""
    if type(module) is nn.Sequential and _does_what_its_class_says(module):
        for part in module:
            yield from _parts(part)
    else:
        yield module


def _does_what_its_class_says(module: nn.Module) -> bool:
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _flattens(part: nn.Module) -> bool:
    return isinstance(part, nn.Flatten) and (part.start_dim, part.end_dim) == (1, -1)

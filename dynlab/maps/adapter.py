"""`as_map`: a `Map` of an ordinary torch module or batched function, whatever the shape of its states.

A function `(batch, *state_shape) -> (batch, *state_shape)` becomes a map of flat states, which is what all of dynlab
works on. With `inputs` it is a family of maps, one for each sample, `z -> f(z, x)`, as in equilibrium models: each row
of states goes with its row of inputs.

The map is a snapshot. A module is copied, put into evaluation mode, where dropout and batch normalization are functions
of one row, and its parameters ask for no gradients; inputs are copied too. So the module that was given stays as it
is, and the map stays the same while that is trained on. A plain function is taken as it is: what it closes over is
neither copied nor brought to another dtype or device.

That a function is a map at all is checked on a few states before any work starts: that it keeps shape, dtype and
device, leaves its states alone, gives equal results when called twice, treats rows independently, can be
differentiated by `torch.func`, and works in float64. The check is a sample and no proof.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from types import MethodType

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dynlab.maps.function_check import (
    Inputs,
    Sample,
    call,
    check_is_map,
    check_runs,
    device_of_references,
    differentiable_attention,
    draw_sample,
    each,
    first_line,
)
from dynlab.maps.function_hash import function_hash
from dynlab.maps.layers import Layer
from dynlab.maps.map import Map
from dynlab.maps.sequential import layers_of

Arrays = Tensor | np.ndarray | tuple[Tensor | np.ndarray, ...]


class FunctionMap(Map):
    """A map that applies a module or function; made by `as_map`.

    Its `forward` takes flat states, `(batch, dim)`, or shaped ones, `(batch, *state_shape)`, and returns the same.
    """

    home: Tensor | None

    def __init__(
        self,
        function: Callable[..., Tensor],
        state_shape: tuple[int, ...],
        inputs: Inputs | None,
        home: Tensor | None = None,
        learnable: Sequence[str] = (),
    ) -> None:
        super().__init__(math.prod(state_shape), state_shape)
        self.function = function  # a submodule, if it is a module
        self.owner = function.__self__ if isinstance(function, MethodType) else None  # likewise
        self.learnable = tuple(learnable)  # parameters that asked for gradients before the snapshot was taken
        # For a function that works in one dtype: states go where the first floating point buffer is.
        self.register_buffer("home", home)
        self._inputs_are_tuple = isinstance(inputs, tuple)
        held = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
        self._input_names = [f"input{number}" for number in range(len(held))]
        for name, value in zip(self._input_names, held, strict=True):
            self.register_buffer(name, value)

    @property
    def inputs(self) -> Inputs | None:
        """What is held fixed for each sample, along the first axis."""
        held = tuple(self.get_buffer(name) for name in self._input_names)
        return held if self._inputs_are_tuple else held[0] if held else None

    @property
    def held_samples(self) -> int | None:
        """How many samples there are inputs for, None without inputs."""
        return len(self.get_buffer(self._input_names[0])) if self._input_names else None

    def for_samples(self, rows: Int64[Tensor, " rows"]) -> FunctionMap:
        """The map for a choice of the samples; copies their inputs, and shares the function and its parameters.

        Raises:
            IndexError: If a row is none of the samples.
        """
        if self.inputs is None or self.held_samples == 1:
            return self
        chosen = each(self.inputs, lambda value: value.index_select(0, rows.to(value.device)))
        return FunctionMap(self.function, self.state_shape, chosen, self.home, self.learnable)

    def forward(self, states: Float[Tensor, "batch dim *rest"]) -> Float[Tensor, "batch dim *rest"]:
        """Apply the function once to each row, flat or shaped.

        Raises:
            ValueError: If the states have another shape or number, or the function returns something else than states
                of the shape, dtype and device of its own.
        """
        shaped, inputs = self.shaped(self.flat(states)), self.inputs
        if inputs is not None and self.held_samples == 1:
            inputs = each(inputs, lambda value: value.expand(len(states), *value.shape[1:]))
        elif self.held_samples not in (None, len(states)):
            raise ValueError(
                f"{len(states)} states for a map that holds the inputs of {self.held_samples} samples: "
                "choose theirs by for_samples(rows)"
            )
        return call(self.function, shaped, inputs).reshape(states.shape)

    def layers(self) -> tuple[Layer, ...] | None:
        """Those of a `nn.Sequential` of `nn.Linear` and nonlinearities; None for any other function."""
        return layers_of(self.function, self.state_shape) if isinstance(self.function, nn.Module) else None

    def _differentiable(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """The function, with attention computed by operations that have derivatives."""
        with differentiable_attention():
            return self.forward(states)

    def double(self) -> FunctionMap:
        """Bring parameters and floating point inputs to float64, and see that the function follows.

        Raises:
            ValueError: If the function fails or returns another dtype for float64 states.
        """
        super().double()
        check_runs(self.function, self._sample(torch.float64))
        return self

    def check(self, dtype: torch.dtype) -> None:
        """Check on a few states of `dtype` that the function is a map of such.

        Raises:
            ValueError: If it is none; the message says why.
        """
        check_is_map(self.function, self._sample(dtype))

    def _sample(self, dtype: torch.dtype) -> Sample:
        return draw_sample(self.state_shape, self.inputs, dtype, self._device())

    def _device(self) -> torch.device:
        own = (value.device for value in (*self.parameters(), *self.buffers()))
        return next(own, None) or device_of_references(self.function)

    def extra_repr(self) -> str:
        """The function's name, the states' shape and the samples that inputs are held for."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        held = "" if self.held_samples is None else f", held_samples={self.held_samples}"
        return f"function={name}, state_shape={self.state_shape}{held}"

    def settings_to_hash(self) -> str:
        """As `extra_repr`, and the hash of the function (`dynlab.maps.function_hash`).

        Raises:
            ValueError: If the function refers to something whose content cannot be read.
        """
        return f"{self.extra_repr()}, {function_hash(self.function)}, {self._inputs_are_tuple}"


def as_map(
    function_or_module: Callable[..., Tensor], state_shape: Sequence[int], *, inputs: Arrays | None = None
) -> FunctionMap:
    """Make a map of a torch module, a method of one, or a batched function.

    Args:
        function_or_module: Takes states, shape `(batch, *state_shape)`, to states of the same shape, each row
            independently of the others; with `inputs` it is called as `function(states, inputs)`, and each row of
            states goes with its row of inputs. A module is copied, in evaluation mode.
        state_shape: Shape of a single state, `(1, 8, 8)` for an image with a channel axis.
        inputs: What is held fixed for each sample, shape (samples, ...): a tensor, a numpy array, or a tuple of these,
            which the function gets as a tuple of tensors. Copied; floating point inputs are brought to the dtype, and
            all to the device, of the module's parameters. Inputs of one sample go with any number of states.

    Returns:
        The map. Its dtype is that of the module; a function without inputs computes in the dtype of its states, unless
        it works in float64 alone, for which the map then asks.

    Raises:
        ValueError: If an argument is out of its range, or a check on three random states from 0 to 1 finds that the
            function is no map of such states or does not work in float64; the message says why.
    """
    shape = _checked_shape(state_shape)
    if not callable(function_or_module):
        raise ValueError(f"function_or_module is {function_or_module!r}, expected a torch module or a function")
    function = _snapshot(function_or_module)
    system = FunctionMap(function, shape, None if inputs is None else _copied(inputs))
    own = _module_of(function_or_module)
    asked = {name for name, value in own.named_parameters() if value.requires_grad} if own is not None else set()
    system.learnable = tuple(name for name, _ in system.named_parameters() if name.partition(".")[2] in asked)
    parameters = [value for value in _tensors_of(_module_of(function)) if value.is_floating_point()]
    if parameters:
        home = parameters[0]
        for name in system._input_names:
            value = system.get_buffer(name)
            system.register_buffer(name, value.to(home.device, home.dtype if value.is_floating_point() else None))
        system.check(home.dtype)
        return system
    return _with_dtype_found(system)


def _with_dtype_found(system: FunctionMap) -> FunctionMap:
    """The map of a function without parameters, in a dtype that it works in; float64 it must."""
    system.check(torch.float64)
    home = next((value for value in system.buffers() if value.is_floating_point()), None)
    try:
        system.check(torch.float32 if home is None else home.dtype)
    except ValueError:
        # Whoever closes over float64 tensors wants float64.
        home = torch.empty(0, dtype=torch.float64, device=system._device())
        return FunctionMap(system.function, system.state_shape, system.inputs, home).double()
    return system


def _checked_shape(state_shape: object) -> tuple[int, ...]:
    shape = tuple(state_shape) if isinstance(state_shape, Sequence) else ()
    if not shape or not all(type(size) is int and size >= 1 for size in shape):
        raise ValueError(f"state_shape is {state_shape!r}, expected a tuple of positive integers, such as (64,)")
    return shape


def _snapshot(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    own = _module_of(function)
    parts = [function] if own is None else own.modules()
    if any(isinstance(part, torch.jit.ScriptModule | torch.jit.ScriptFunction) for part in parts):
        raise ValueError(
            "function_or_module is compiled by TorchScript, or a part of it is, which torch.func cannot differentiate: "
            "expected the module it was made of, or one of torch.export"
        )
    try:
        copied = copy.deepcopy(function)
        module = _module_of(copied)
        if module is not None:
            module.eval().requires_grad_(False)
    except Exception as error:  # whatever a class does when it is copied
        raise ValueError(f"function_or_module cannot be copied: {first_line(error)}") from error
    return copied


def _module_of(function: Callable[..., Tensor]) -> nn.Module | None:
    owner = function.__self__ if isinstance(function, MethodType) else function
    return owner if isinstance(owner, nn.Module) else None


def _tensors_of(module: nn.Module | None) -> list[Tensor]:
    return [] if module is None else [*module.parameters(), *module.buffers()]


def _copied(inputs: object) -> Inputs:
    """Check inputs and copy them to tensors."""
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    if not parts:
        raise ValueError("inputs is an empty tuple, expected at least one tensor")
    tensors = []
    for number, part in enumerate(parts):
        name = f"inputs[{number}]" if isinstance(inputs, tuple) else "inputs"
        if not isinstance(part, Tensor | np.ndarray):
            raise ValueError(f"{name} is of type {type(part).__name__}, expected a tensor or a numpy array")
        if isinstance(part, np.ndarray) and part.dtype.kind not in "fiub":
            raise ValueError(f"{name} is of type {part.dtype}, expected numbers")
        tensor = part.detach().clone() if isinstance(part, Tensor) else torch.tensor(part)
        if tensor.ndim == 0 or not len(tensor):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected (samples, ...) with at least 1 sample")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            row = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(dim=1).nonzero()[0, 0])
            raise ValueError(f"{name} is not finite in row {row}")
        if tensors and len(tensor) != len(tensors[0]):
            raise ValueError(f"{name} has {len(tensor)} rows, expected {len(tensors[0])} as inputs[0] has")
        tensors.append(tensor)
    return tuple(tensors) if isinstance(inputs, tuple) else tensors[0]

"""Whether a function is a map: tried on a few states, and each way to fail told apart.

A map keeps shape, dtype and device of its states, leaves them alone, gives equal results for equal states, treats rows
independently and can be differentiated. A function may break each of these without an error of its own, and iteration
would go on with wrong numbers: under batch statistics a sample's orbit depends on its neighbours, with a change in
place every state looks like a fixed point, under `no_grad` every Jacobian is zero. The check is a sample, three states
drawn uniformly from 0 to 1, and no proof.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dynlab.maps.function_hash import references

Inputs = Tensor | tuple[Tensor, ...]
_PROBED = 3  # states
_ADVICE = "; let what it makes follow its states in dtype and device"


def each(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Change a tensor, or every tensor of a tuple."""
    return tuple(change(value) for value in inputs) if isinstance(inputs, tuple) else change(inputs)


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Within this context attention is computed by operations with derivatives both ways, which fused kernels lack."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def call(function: Callable[..., Any], states: Tensor, inputs: Inputs | None) -> Tensor:
    """Call a function for shaped states, with their inputs if there are any.

    Raises:
        ValueError: If what comes back is no tensor of the shape, dtype and device of the states.
    """
    return _checked(function, states, _invoke(function, states, inputs))


@dataclass(frozen=True)
class Sample:
    """A few shaped states, with their inputs if there are any, to try a function on."""

    states: Tensor
    inputs: Inputs | None

    def first(self) -> Sample:
        """The first state alone."""
        return Sample(self.states[:1], None if self.inputs is None else each(self.inputs, lambda value: value[:1]))


def draw_sample(
    state_shape: tuple[int, ...], inputs: Inputs | None, dtype: torch.dtype, device: torch.device
) -> Sample:
    """Draw three states uniformly from 0 to 1, the same ones each time, and take the inputs of the first samples."""
    generator = torch.Generator().manual_seed(0)
    states = torch.rand(_PROBED, *state_shape, dtype=torch.float64, generator=generator).to(device, dtype)
    if inputs is not None:
        rows = torch.arange(_PROBED)
        inputs = each(inputs, lambda value: value[(rows % len(value)).to(value.device)].to(device))
        inputs = each(inputs, lambda value: value.to(dtype) if value.is_floating_point() else value)
    return Sample(states, inputs)


def check_runs(function: Callable[..., Any], sample: Sample) -> Tensor:
    """Check that a function takes the states of a sample to a tensor of their shape, dtype and device.

    Raises:
        ValueError: If it fails or returns something else; the message says what.
    """
    with torch.no_grad():
        return _attempt(function, sample.states, sample.inputs)


def check_is_map(function: Callable[..., Any], sample: Sample) -> None:
    """Check that a function is a map of states like those of a sample, in the ways named above.

    Raises:
        ValueError: If it is none; the message says why.
    """
    _check_values(function, sample)
    with differentiable_attention():
        _check_derivatives(function, sample)


def device_of_references(function: Callable[..., Any]) -> torch.device:
    """Where the tensors are that a plain function refers to; the CPU where it refers to none."""
    return next((value.device for _, value in _tensors_behind(function, "", set())), torch.device("cpu"))


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none; of compiled code what an operation said."""
    inner = re.search(r"got \w+\((['\"])(.+?)\1\)", str(error)) if type(error).__module__.startswith("torch.") else None
    return inner[2] if inner else next(iter(str(error).splitlines()), type(error).__name__)


def _check_values(function: Callable[..., Any], sample: Sample) -> None:
    given, version = sample.states.clone(), sample.states._version
    images = check_runs(function, sample).clone()
    if sample.states._version != version:  # whether or not these very states are changed by that
        raise ValueError("the function changes its states in place: let it return a new tensor")
    if not _close(check_runs(function, sample), images):
        raise ValueError(
            "the function returned different values for equal states: it is random (dropout, noise) or keeps a memory "
            "of earlier calls, and so it is no map"
        )
    try:
        alone = check_runs(function, sample.first())
    except ValueError as error:
        raise ValueError(
            "the function works for several states and fails for one alone, as if its rows depended on each other "
            f"(batch normalization without running statistics?): {error}"
        ) from error
    others = torch.stack([given[0], torch.zeros_like(given[0]), torch.ones_like(given[0])])
    with_others = check_runs(function, Sample(others, sample.inputs))
    if not (_close(alone, images[:1]) and _close(with_others[:1], images[:1])):
        raise ValueError(
            "the function's value for a row depends on the other rows of the batch (batch normalization in training "
            "mode? a sum over the batch?), and so it is no map of single states"
        )


def _check_derivatives(function: Callable[..., Any], sample: Sample) -> None:
    states, ones = sample.states, torch.ones_like(sample.states)

    def apply(rows: Tensor) -> Tensor:
        return call(function, rows, sample.inputs)

    try:
        pulled = torch.func.vjp(apply, states)[1](ones)[0]
        pushed = torch.func.jvp(apply, (states,), (ones,))[1]
    except Exception as error:  # whatever torch or the function raises
        raise ValueError(f"the function cannot be differentiated by torch.func: {first_line(error)}") from error
    # 1' (J 1) is (J' 1)' 1. Reverse mode does not see what runs under `no_grad`, forward mode does.
    pulled, pushed = pulled.detach(), pushed.detach()
    reverse, forward = (value.flatten(1).sum(dim=1) for value in (pulled, pushed))
    known = torch.isfinite(reverse) & torch.isfinite(forward)
    scale = max(float(pulled[known].abs().sum()), float(pushed[known].abs().sum()))
    disagree = not _close(reverse[known], forward[known], scale)
    with torch.no_grad():
        is_constant = _close(apply(states), apply(1 - states))
    with torch.enable_grad():
        is_cut = not apply(states.clone().requires_grad_()).requires_grad
    if disagree or (is_cut and not is_constant):
        raise ValueError(
            "the function's derivatives are wrong, part of it is hidden from torch: it runs under no_grad, or detaches "
            "its states, or has a derivative of its own that is not right"
        )


def _invoke(function: Callable[..., Any], states: Tensor, inputs: Inputs | None) -> Any:
    return function(states) if inputs is None else function(states, inputs)


def _attempt(function: Callable[..., Any], states: Tensor, inputs: Inputs | None) -> Tensor:
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # compiled code logs what it raises as well, at length
    try:
        images = _invoke(function, states, inputs)
    except Exception as error:  # whatever the function raises
        raise ValueError(
            f"the function fails for {states.dtype} states of shape {tuple(states.shape)} on {states.device}: "
            f"{first_line(error)}{_what_does_not_follow(function, states, '')}"
        ) from error
    finally:
        logging.disable(before)
    return _checked(function, states, images)


def _checked(function: Callable[..., Any], states: Tensor, images: Any) -> Tensor:
    if not isinstance(images, Tensor):
        raise ValueError(f"the function returned a {type(images).__name__}, expected a tensor")
    if images.shape != states.shape:
        raise ValueError(f"the function returned shape {tuple(images.shape)} for states of {tuple(states.shape)}")
    if images.dtype != states.dtype:
        culprits = _what_does_not_follow(function, states, _ADVICE)
        raise ValueError(f"the function returned {images.dtype} for {states.dtype} states{culprits}")
    if images.device != states.device:
        culprits = _what_does_not_follow(function, states, _ADVICE)
        raise ValueError(f"the function returned a tensor on {images.device} for states on {states.device}{culprits}")
    return images


def _what_does_not_follow(function: Callable[..., Any], states: Tensor, otherwise: str) -> str:
    """End of a message: what a function refers to that has another dtype or device than its states."""
    found = [
        f"{name} ({value.dtype})" if value.device == states.device else f"{name} ({value.dtype} on {value.device})"
        for name, value in _tensors_behind(function, "", set())
        if value.device != states.device or (value.is_floating_point() and value.dtype != states.dtype)
    ]
    if not found:
        return otherwise
    listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    return (
        f"; it closes over tensors of another dtype or device than its states: {listed}. Let them follow, as in "
        "weight.to(states), or pass a module that has them as parameters or buffers, or a method of one"
    )


def _tensors_behind(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Tensors, and arrays as tensors, that a function, module or container leads to, with names to find them by."""
    if id(value) in seen:
        return
    seen.add(id(value))
    inner: Iterable[tuple[str, Any]] = ()
    match value:
        case Tensor():
            yield name, value
        case np.ndarray() if value.dtype.kind == "f":
            yield name, torch.empty(0, dtype=torch.from_numpy(np.empty(0, value.dtype)).dtype)
        case FunctionType():
            inner = references(value)
        case MethodType():
            inner = (("", value.__self__), ("", value.__func__))
        case functools.partial():
            inner = (("", value.func), ("", value.args), *value.keywords.items())
        case list() | tuple():
            inner = ((f"{name}[{index}]", member) for index, member in enumerate(value))
        case dict():
            inner = ((f"{name}[{key!r}]", member) for key, member in value.items())
        case nn.Module():
            plain = ((key, member) for key, member in vars(value).items() if isinstance(member, Tensor))
            inner = ((f"{name}.{key}".strip("."), member) for key, member in (*plain, *_state_of(value)))
    for inner_name, member in inner:
        yield from _tensors_behind(member, inner_name or name, seen)


def _state_of(module: nn.Module) -> list[tuple[str, Any]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False), *module.named_children()]


def _close(found: Tensor, expected: Tensor, scale: float = 0.0) -> bool:
    """Whether two results agree but for rounding, with room for the reduced precision of some products on a GPU."""
    finite = expected[torch.isfinite(expected)].abs()
    size = max(scale, 1.0, float(finite.amax()) if finite.numel() else 0.0)
    tolerance = 10 * torch.finfo(expected.dtype).eps ** 0.5 * size
    return torch.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True)

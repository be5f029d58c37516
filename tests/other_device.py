"""An emulated second device: what CUDA would refuse about devices is refused, without a GPU.

torch leaves one device type to others, "privateuseone", and lets Python register kernels for it. Here one kernel stands
for all: it looks at where its arguments are, raises what CUDA would raise, and computes with the CPU's kernel on the
same memory. To all that lies above the kernels a tensor of this device is a tensor like any other, so that autograd,
`torch.func`, modules and composite operations do what they do on CUDA. Its storage is memory of the CPU, which torch
does not know to be that: only a copy brings it across.

Refused are operations on tensors of both devices, with CUDA's exceptions (0-dimensional tensors of the CPU as numbers
in pointwise operations, indices of the CPU into a tensor of the device, copies); results written to a tensor of the
other device; generators of the CPU for random numbers of the device; and `numpy()`. What makes the host wait for the
device is counted in `host_waits`.

Not emulated are rounding, kernels that CUDA lacks or has alone, streams, graphs, memory and its limits, and generators
of the device, which are refused.

Source: PyTorch, `torch.utils.backend_registration` and test/test_privateuseone_python_backend.py, for the registration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._C._acc import create_empty_tensor
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "emulated"
host_waits: Counter[str] = Counter()  # by name of the operation; whoever counts clears it before

_aten = torch.ops.aten
_CPU = torch.device("cpu")
_CPU_KERNELS = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
_every_operation = torch.library.Library("_", "IMPL")
_some_operations = torch.library.Library("aten", "IMPL")

_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
# Pointwise as well, though they are not tagged so.
_POINTWISE = {"aten::fill", "aten::fill_", "aten::masked_fill", "aten::masked_fill_"}
# Numbers, or shapes of results, that the host must know before it goes on; so does every copy to the CPU.
_WAITED_FOR = {
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::bincount",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
    "aten::repeat_interleave",
    "aten::unique_consecutive",
    "aten::unique_dim",
}


def emulated_device() -> torch.device:
    """The second device; the first call registers it with torch, for as long as the process lives."""
    if torch._C._get_privateuse1_backend_name() != NAME:
        _setup_privateuseone_for_python_backend(NAME)
        _every_operation.fallback(_kernel, "PrivateUse1")
        _some_operations.impl("empty_strided", _empty_strided, "PrivateUse1")
        _some_operations.impl("_copy_from", _copy_from, "PrivateUse1")
        _some_operations.impl("set_.source_Storage_storage_offset", _set, "PrivateUse1")
        _some_operations.impl("convolution_overrideable", _convolution, "PrivateUse1")
        _some_operations.impl("convolution_backward_overrideable", _convolution_backward, "PrivateUse1")
        # Conjugated and negated views are made real by a copy; for the copy itself that would never end.
        for key in ("Conjugate", "Negative"):
            _some_operations.impl("_copy_from", torch.library.fallthrough_kernel, key)
        torch.UntypedStorage.clone = _cloned  # for deep copies, which would allocate memory of the device
    return torch.device(NAME, 0)


def _kernel(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Any operation that takes or makes a tensor of the device."""
    leaves = list(_leaves([*args, *kwargs.values()]))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    _check_devices(op, args, kwargs, tensors)
    if any(isinstance(leaf, torch.Generator) for leaf in leaves):
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu' in {op}")
    name = op._schema.name
    if name in _WAITED_FOR or (name == "aten::_index_put_impl_" and any(_is_mask(index) for index in args[1])):
        host_waits[name] += 1

    pairs = {id(tensor): (tensor, _on_cpu(tensor)) for tensor in tensors if _is_here(tensor)}
    own = {id(on_cpu): tensor for tensor, on_cpu in pairs.values()}
    bases = {on_cpu.untyped_storage()._cdata: tensor for tensor, on_cpu in pairs.values()}
    layouts = {key: _layout(on_cpu) for key, (_, on_cpu) in pairs.items()}

    def to_cpu(leaf: Any) -> Any:
        return pairs[id(leaf)][1] if id(leaf) in pairs else _CPU if isinstance(leaf, torch.device) else leaf

    def from_cpu(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return own[id(leaf)] if id(leaf) in own else _from_cpu(leaf, bases.get(leaf.untyped_storage()._cdata))

    op = _for_numbers(op, tuple(isinstance(value, int | float | complex) for value in args))
    result = op(*_mapped(to_cpu, args), **{key: _mapped(to_cpu, value) for key, value in kwargs.items()})
    for key, (tensor, on_cpu) in pairs.items():
        if _layout(on_cpu) != layouts[key]:  # the operation has resized it
            _set(tensor, _storage(on_cpu.untyped_storage()), *_fields(on_cpu))
    return _mapped(from_cpu, result)


@cache
def _for_numbers(op: Any, is_number: tuple[bool, ...]) -> Any:
    """The overload that takes numbers, where a tensor that was made of a number comes here as a number again."""

    def kinds(overload: Any) -> dict[str, str]:
        return {argument.name: argument.type.kind() for argument in overload._schema.arguments}

    wanted = kinds(op)
    for name, given in zip(wanted, is_number, strict=False):
        if given and wanted[name] == "TensorType":
            wanted[name] = "NumberType"
    overloads = (getattr(op.overloadpacket, name) for name in op.overloadpacket.overloads())
    return next((overload for overload in overloads if kinds(overload) == wanted), op)


def _empty_strided(size: list[int], stride: list[int], *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return _from_cpu(torch.empty_strided(size, stride, dtype=dtype), None)


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    if not _is_here(target):
        host_waits["copy to the CPU"] += 1
    (_on_cpu(target) if _is_here(target) else target).copy_(_on_cpu(source) if _is_here(source) else source)
    return target


def _set(tensor: Tensor, storage: Any, offset: int, size: list[int], stride: Sequence[int] = ()) -> Tensor:
    set_storage: Any = _aten.set_.source_Storage_storage_offset
    # The CPU's kernel asks for no device: it sets the fields.
    return set_storage.redispatch(_CPU_KERNELS, tensor, storage, offset, size, stride)


def _cloned(self: Any) -> torch.UntypedStorage:
    if self.device.type == NAME:
        return _storage(_cloned(self.on_cpu))
    return torch.UntypedStorage(self.nbytes(), device=self.device).copy_(self)


def _convolution(*args: Any) -> Tensor:
    return _kernel(_aten.convolution.default, *args)


def _convolution_backward(gradient: Tensor, states: Tensor, weight: Tensor, *args: Any) -> tuple[Tensor | None, ...]:
    return _kernel(_aten.convolution_backward.default, gradient, states, weight, [gradient.shape[1]], *args)


def _check_devices(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]) -> None:
    strangers = [tensor for tensor in tensors if not _is_here(tensor)]
    if not strangers:
        return
    name, parameters = op._schema.name, {argument.name: argument for argument in op._schema.arguments}
    given = dict(zip(parameters, args, strict=False)) | kwargs
    written = [value for key, value in given.items() if parameters[key].is_write]
    if name in _INDEXING and _is_here(args[0]):
        admitted = [*args[1], *(value for value in _leaves(args[2:]) if isinstance(value, Tensor) and not value.ndim)]
    elif torch.Tag.pointwise in op.tags or name in _POINTWISE:
        admitted = [tensor for tensor in tensors if not tensor.ndim and not _is_among(tensor, _leaves(written))]
    else:
        admitted = []
    if not all(_is_among(stranger, admitted) for stranger in strangers):
        found = ", ".join(f"{tuple(tensor.shape)} on {tensor.device}" for tensor in tensors)
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {found} in {op}")


def _is_here(tensor: Tensor) -> bool:
    return tensor.device.type == NAME


def _is_among(tensor: Tensor, others: Any) -> bool:
    return any(tensor is other for other in others)


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    return type(value)(_mapped(function, p) for p in value) if type(value) in (list, tuple) else function(value)


def _on_cpu(tensor: Tensor) -> Tensor:
    """A tensor of the device as one of the CPU, in the same memory."""
    storage: Any = tensor.untyped_storage()
    on_cpu = torch.empty(0, dtype=tensor.dtype)
    on_cpu.set_(storage.on_cpu, *_fields(tensor))
    _copy_bits(tensor, on_cpu)
    return on_cpu


def _from_cpu(on_cpu: Tensor, base: Tensor | None) -> Tensor:
    """The reverse; with a `base`, whose memory it must be, a view of that."""
    if on_cpu._is_zerotensor():
        on_cpu = torch.zeros(on_cpu.shape, dtype=on_cpu.dtype)
    # A view made in inference mode is an inference tensor only if its base is one.
    with torch.inference_mode(torch.is_inference_mode_enabled() if base is None else base.is_inference()):
        tensor = create_empty_tensor((0,), on_cpu.dtype)
    _set(tensor, _storage(on_cpu.untyped_storage()) if base is None else base.untyped_storage(), *_fields(on_cpu))
    _copy_bits(on_cpu, tensor)
    return tensor


def _storage(memory: torch.UntypedStorage) -> torch.UntypedStorage:
    """A storage of the device in memory of the CPU."""
    storage: Any = torch._C._construct_storage_from_data_pointer(
        memory.data_ptr(), torch.device(NAME, 0), memory.nbytes()
    )
    storage.on_cpu = memory  # which lives as long as this storage
    return storage


def _fields(tensor: Tensor) -> tuple[Any, list[int], list[int]]:
    return tensor.storage_offset(), list(tensor.shape), list(tensor.stride())


def _copy_bits(source: Tensor, target: Tensor) -> None:
    """Views that are conjugated or negated only when they are read."""
    if source.is_conj():
        torch._C._set_conj(target, True)
    if source.is_neg():
        torch._C._set_neg(target, True)


def _layout(on_cpu: Tensor) -> tuple[Any, ...]:
    storage = on_cpu.untyped_storage()
    return _fields(on_cpu), storage.data_ptr(), storage.nbytes()

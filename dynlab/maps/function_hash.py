"""What determines a Python function: a hash of its code and of all the values it takes from outside.

Two closures of one `def` have equal code and differ in what they close over, so both are hashed: bytecode and
constants, and, recursively, closure variables, defaults, and the global names that the code reads. Values are hashed by
content: numbers, strings, tensors, arrays, containers, functions, `functools.partial`, bound methods; classes of the
user's own by the code of their methods; a torch module by class, attributes, parameters, buffers, submodules and
forward hooks, and a traced or exported one by its operations in place of class and attributes; any other object by what
pickling takes to be its content.

What it cannot know. Of installed packages, the standard library and dynlab the names count, not code or version. What
is looked up as an attribute of a Python module (`mylib.step`) counts as a name too: the code behind it may change
unseen. Bytecode differs between minor versions of Python, and the hash with it. What has no content that can be read,
such as an open file or a lock, is refused: a hash that left it out would call two maps one.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import operator
import sys
import sysconfig
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_LITERALS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    range,
    slice,
    type(...),
    np.dtype,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
)
_NAMED = (
    BuiltinFunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    WrapperDescriptorType,
    np.ufunc,
)
_GUARDS = "torch.export._unlift.GuardsFn"  # checks what an exported module is given, and computes nothing
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
# Of no influence on what a module computes forward, or hashed on their own.
_UNHASHED_ATTRIBUTES = {
    *(f"{name}{suffix}" for name in _HOOKS for suffix in ("", "_with_kwargs", "_always_called")),
    *("_backward_pre_hooks", "_backward_hooks", "_is_full_backward_hook", "_non_persistent_buffers_set"),
    *("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
    *("_parameters", "_buffers", "_modules"),
}


def function_hash(function: Callable[..., Any]) -> str:
    """SHA-256 of what determines a function or module, as the head of this file says.

    Raises:
        ValueError: If it refers to something whose content cannot be read; the message says what and where.
    """
    return _Hasher().of(function, "function")


def module_hash(module: nn.Module, *, without: Collection[str] = ()) -> str:
    """As `function_hash`, but for some attributes of the module, and for the mode that it and its submodules are in.

    Raises:
        ValueError: As `function_hash` does.
    """
    return _Hasher({"training", *without}).of(module, type(module).__name__)


def references(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Names and values that a function takes from outside: closure variables, defaults, and globals its code reads."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for number, value in enumerate(function.__defaults__ or ()):
        yield f"default {number}", value
    yield from (function.__kwdefaults__ or {}).items()
    names = sorted(_global_names(code))
    yield from ((name, function.__globals__[name]) for name in names if name in function.__globals__)


def _global_names(code: CodeType) -> set[str]:
    names = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return names.union(*(_global_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


class _Hasher:
    """Hashes of objects by their content, each computed once."""

    def __init__(self, without: Collection[str] = ()) -> None:
        self._unhashed = _UNHASHED_ATTRIBUTES.union(without)
        # With the objects themselves, so that none is freed and its id given to another.
        self._known: dict[int, tuple[str, object]] = {}
        self._begun: dict[int, int] = {}

    def of(self, value: Any, path: str) -> str:
        """Hash of a value; `path` says where it was found."""
        if isinstance(value, enum.Enum):
            return _combined("enum", _name_of(type(value)), value.name)
        if isinstance(value, _LITERALS):
            return _combined(type(value).__name__, repr(value))
        if id(value) in self._known:
            return self._known[id(value)][0]
        if id(value) in self._begun:
            return _combined("around", str(len(self._begun) - self._begun[id(value)]))
        self._begun[id(value)] = len(self._begun)
        result = self._of_object(value, path)
        del self._begun[id(value)]
        self._known[id(value)] = result, value
        return result

    def _of_object(self, value: Any, path: str) -> str:
        kind = type(value)
        match value:
            case Tensor():
                return _combined("tensor", str(value.dtype), str(tuple(value.shape)), _bytes_of(value))
            case np.ndarray() | np.generic() if not value.dtype.hasobject:
                return _combined("array", str(value.dtype), str(value.shape), value.tobytes())
            case _ if kind in (list, tuple, torch.Size):
                return self._all(kind.__name__, enumerate(value), path)
            case _ if kind in (set, frozenset):
                return _combined(kind.__name__, *sorted(self.of(member, path) for member in value))
            case _ if kind in (dict, MappingProxyType):
                return self._all(kind.__name__, enumerate(value.items()), path)
            case ModuleType():
                return _combined("module", value.__name__)
            case CodeType():
                return self._code(value, path)
            case FunctionType():
                return self._function(value, path)
            case MethodType():
                return self._all("method", (("function", value.__func__), ("self", value.__self__)), path)
            case functools.partial():
                parts = (("func", value.func), ("args", value.args), ("keywords", value.keywords))
                return self._all("partial", parts, path)
            case staticmethod() | classmethod():
                return self._all(kind.__name__, (("function", value.__func__),), path)
            case functools.cached_property():
                return self._all("cached_property", (("function", value.func),), path)
            case property():
                return self._all("property", (("get", value.fget), ("set", value.fset)), path)
            case type():
                return self._class(value, path)
            case torch.fx.GraphModule():
                return self._graph(value, path)
            case nn.Module():
                return self._module(value, path)
            case _ if isinstance(value, _NAMED):
                owner = getattr(value, "__self__", None)
                named = isinstance(owner, type | ModuleType | None)
                return _combined("named", _name_of(value), "" if named else self.of(owner, f"{path}, its self"))
            case _:
                return self._instance(value, path)

    def _code(self, code: CodeType, path: str) -> str:
        arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = " ".join(code.co_names), " ".join(code.co_freevars)
        constants = self._all("constants", enumerate(code.co_consts), path)
        return _combined("code", str(arguments), *names, code.co_code, code.co_exceptiontable, constants)

    def _function(self, function: FunctionType, path: str) -> str:
        found = list(references(function))
        if _is_library(function.__module__):
            # A library's factory makes closures that its name does not tell apart; its globals are its own affair.
            inside = [(name, value) for name, value in found if name not in function.__globals__]
            return _combined("function", _name_of(function), self._all("references", inside, path))
        return _combined("function", self.of(function.__code__, path), self._all("references", found, path))

    def _class(self, value: type, path: str) -> str:
        if _is_library(value.__module__):
            return _combined("class", _name_of(value))
        members = [(name, member) for name, member in sorted(vars(value).items()) if _is_content(name, member)]
        bases = self._all("bases", enumerate(value.__bases__), path)
        return _combined("class", _name_of(value), bases, self._all("members", members, path))

    def _module(self, module: nn.Module, path: str) -> str:
        others = (
            (name, member)
            for name, member in sorted(vars(module).items())
            if name not in self._unhashed and not _is_cached(type(module), name)
        )
        parts = self._parts(module, path)
        return _combined("module", self._class(type(module), path), *parts, self._all("others", others, path))

    def _graph(self, module: torch.fx.GraphModule, path: str) -> str:
        """A traced or exported module, by its operations and what they refer to; the rest tells how it was traced."""
        referred = []
        for node in module.graph.nodes:
            if node.op == "get_attr":
                referred.append((node.target, operator.attrgetter(node.target)(module)))
            # Operations of torch are known by their names in the code.
            elif node.op == "call_function" and type(node.target).__module__ != "torch._ops":
                referred.append((node.name, node.target))
        return _combined("graph", module.code, *self._parts(module, path), self._all("referred", referred, path))

    def _parts(self, module: nn.Module, path: str) -> list[str]:
        """Parameters, buffers, submodules and hooks."""
        modules = [(name, part) for name, part in module._modules.items() if _name_of(type(part)) != _GUARDS]
        parts = (module._parameters.items(), module._buffers.items(), modules)
        # The keys of hooks count up all hooks of a process.
        hooks = [self._all(name, enumerate(getattr(module, name).values()), path) for name in _HOOKS]
        return [*(self._all("part", part, path) for part in parts), *hooks]

    def _instance(self, value: object, path: str) -> str:
        try:
            content = value.__reduce_ex__(4)
        except Exception as error:  # whatever a class raises that cannot be pickled
            raise ValueError(
                f"{path} is a {_name_of(type(value))}, whose content cannot be read, so this map cannot be told from "
                f"others ({error}): let it be made of numbers, tensors, functions and modules"
            ) from error
        if isinstance(content, str):  # a name, as of a function that keeps its results
            content = (content, type(value), getattr(value, "__wrapped__", None))
        members = (list(part) if isinstance(part, Iterator) else part for part in content)
        return self._all("object", enumerate(members), path)

    def _all(self, kind: str, members: Iterable[tuple[object, Any]], path: str) -> str:
        return _combined(kind, *(f"{name}={self.of(member, f'{path}.{name}')}" for name, member in members))


def _combined(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        encoded = part if isinstance(part, bytes) else part.encode(errors="surrogatepass")
        digest.update(f"{len(encoded)}:".encode() + encoded)
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> bytes:
    # As bytes, since numpy does not know all of torch's types.
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _name_of(value: Any) -> str:
    # A process that a program spawns knows the module of the program by another name.
    module = str(getattr(value, "__module__", None)).replace("__mp_main__", "__main__")
    return f"{module}.{getattr(value, '__qualname__', getattr(value, '__name__', value))}"


def _is_cached(kind: type, name: str) -> bool:
    """Whether an attribute is what a property keeps, which follows from its code and other attributes."""
    return any(isinstance(vars(base).get(name), functools.cached_property) for base in kind.__mro__)


def _is_content(name: str, member: object) -> bool:
    """Whether a member of a class is code or a value of the user's, and no bookkeeping of Python's."""
    is_bookkeeping = name.startswith("__") or name == "_abc_impl" or isinstance(member, _NAMED)
    return isinstance(member, FunctionType) or not is_bookkeeping


@functools.cache
def _is_library(module: str | None) -> bool:
    """Whether code of this module is known by its name: of an installed package, the standard library or dynlab."""
    top = (module or "").partition(".")[0]
    if top in sys.stdlib_module_names or top in ("torch", "numpy", "dynlab"):
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return file is not None and any(Path(file).is_relative_to(folder) for folder in installed)

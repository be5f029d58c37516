"""The map that a command is told to look at: a checkpoint of dynlab, or whatever a Python file or module has.

`FILE.py:NAME` and `MODULE:NAME` name an object in Python code: a map, a torch module, a batched function, or what makes
one of these when it is called without arguments. The code is imported, and may itself import from its folder, or the
current one.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from dynlab.dynamics.blocks import home_of
from dynlab.errors import InputError
from dynlab.maps import FunctionMap, Map, as_map, float64_copy, load_map, map_hash
from dynlab.maps.function_check import check_is_map, check_runs, draw_sample

_IN_PYTHON = re.compile(r"(?P<source>.+):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_EXPECTED = "expected a checkpoint, FILE.py:NAME or MODULE:NAME"


def found_map(name: str) -> Any:
    """The map that was named, or the torch module or function that is to be one.

    Args:
        name: The path of a checkpoint, `FILE.py:NAME` or `MODULE:NAME`.

    Raises:
        InputError: If there is none, or its code fails.
    """
    if name.endswith((".py", ":")):
        raise InputError(f"map {name}: names no map in it, expected FILE.py:NAME")
    match = _IN_PYTHON.fullmatch(name)
    if match is None or Path(name).exists():
        return load_map(name)
    module, folder = _module_and_folder(match["source"])
    try:
        found: Any = reduce(getattr, match["name"].split("."), module)
    except AttributeError as error:
        own = [known for known, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        there = ", ".join(own) or "no functions or classes"
        raise InputError(f"map {name}: {match['source']} has no {match['name']}; it has {there}") from error
    makes_it: Any = found if inspect.isclass(found) or (inspect.isroutine(found) and not _takes_states(found)) else None
    if makes_it is not None:
        with _running(name, folder):
            found = makes_it()
    if not callable(found):
        raise InputError(f"map {name}: is of type {type(found).__name__}, expected a torch module or a function")
    return found


def map_on(
    found: Any, name: str, state_shape: tuple[int, ...], device: torch.device, *, is_asked_for: bool = True
) -> Map:
    """Make a map, on a device, of what `found_map` found, and try it on a few states.

    Args:
        found: A map, torch module or function.
        name: What the user called it.
        state_shape: Shape of the states of a torch module or function; a `Map` has its own.
        device: Where it shall compute.
        is_asked_for: Whether the user wants that device; else what works on the CPU only stays there.

    Raises:
        InputError: If it is no map of such states.
    """
    hint = "" if isinstance(found, Map) else f"; tried with states of the shape of the data, {state_shape}"
    try:
        system = found.eval() if isinstance(found, Map) else as_map(found, state_shape)
        try:
            system = _tried(system, device)
        except ValueError:
            if is_asked_for or device.type == "cpu":
                raise
            system = _tried(system, torch.device("cpu"))
        map_hash(system)  # so that what cannot be hashed is refused before the work and not after it
    except ValueError as error:
        raise InputError(f"map {name}: {error}{hint}") from error
    return system


def _tried(system: Map, device: torch.device) -> Map:
    """The map on the device, where it was seen to be one, in its own dtype and in float64."""
    system = system.to(device)
    if isinstance(system, FunctionMap) and not system.state_dict() and device.type != "cpu":
        # A function without tensors computes where its states are: those go where the map says.
        system = FunctionMap(system.function, system.state_shape, None, torch.empty(0, device=device))
    if system.is_one_map:  # else the map has checked itself
        home = home_of(system, torch.empty(0))
        check_is_map(system, draw_sample((system.dim,), None, home.dtype, home.device))
        check_runs(float64_copy(system), draw_sample((system.dim,), None, torch.float64, home.device))
    return system


def _module_and_folder(source: str) -> tuple[ModuleType, Path]:
    """The code of a file or module, and the folder that it may import from."""
    path = Path(source)
    if path.suffix == ".py":
        return _module_of_file(path), path.parent
    if not _MODULE.fullmatch(source):
        raise InputError(f"map: there is no file or module {source}, {_EXPECTED}")
    with _running(source, Path.cwd()):
        try:
            return importlib.import_module(source), Path.cwd()
        except ModuleNotFoundError as error:
            if not f"{source}.".startswith(f"{error.name}."):
                raise  # it is there, and imports another that is not
            raise InputError(f"map: there is no module {error.name}, {_EXPECTED}") from error


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"map: there is no file {path}")
    # A name that no module has, of the standard library for one: what is of such counts by its name, not by its code.
    specification = importlib.util.spec_from_file_location(f"_file_{path.stem}", path)
    assert specification is not None
    assert specification.loader is not None  # as the name ends in .py
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    with _running(str(path), path.parent):
        specification.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _running(what: str, folder: Path) -> Iterator[None]:
    """Run the user's code in a folder, from which it may import; if it fails, in one line, with the place there."""
    folder = folder.resolve()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename is not None:
            frames.append((error.filename, error.lineno))
        places = [(Path(file), line) for file, line in frames if Path(file).is_file()]
        places = [(file.name, line) for file, line in places if file.resolve().parent == folder]
        place = f"{places[-1][0]}, line {places[-1][1]}: " if places else ""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"map {what}: {place}{text}") from error


def _takes_states(function: Any) -> bool:
    """Whether a function cannot be called without arguments, so that it is the map and does not make one."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some of torch's own functions do not tell
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return any(parameter.default is parameter.empty for parameter in positional)

"""The map that a command is told to look at: a checkpoint of dynlab, or whatever a Python file or module has.

`FILE.py:NAME` and `MODULE:NAME` name an object in Python code, which is run as `python FILE.py`, or an import in the
current folder, would run it: a map, a torch module, a batched function, or what makes one of these when it is called
without arguments.
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
from dynlab.maps import FunctionMap, Map, as_map, load_map, map_hash

_IN_PYTHON = re.compile(r"(?P<source>.+):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)")


def map_named(name: str, state_shape: tuple[int, ...], device: torch.device) -> Map:
    """The map that was named, on the device.

    Args:
        name: The path of a checkpoint, `FILE.py:NAME` or `MODULE:NAME`.
        state_shape: Shape of the states of a torch module or function; a `Map` has its own.
        device: Where it shall compute.

    Raises:
        InputError: If there is no such map, the code that makes it fails, or it is no map of such states.
    """
    match = _IN_PYTHON.fullmatch(name)
    if match is None or Path(name).exists():
        return load_map(name).to(device)
    found = _made(name, *_object_of(match["source"], match["name"]))
    try:
        system = found if isinstance(found, Map) else as_map(found, state_shape)
        system = system.to(device)
        if isinstance(system, FunctionMap):  # whose function may refer to tensors that stay where they are
            system.check(home_of(system, torch.zeros(1, system.dim)).dtype)
        map_hash(system)  # so that what cannot be hashed is refused before the work and not after it
    except ValueError as error:
        hint = f"; it was tried with states of the shape of the data, {state_shape}; a dynlab.Map has its own"
        raise InputError(f"map {name}: {error}{'' if isinstance(found, Map) else hint}") from error
    return system


def _made(name: str, found: Any, folder: Path) -> Any:
    """What was named; or what it makes, if it is a class or takes no states."""
    if inspect.isclass(found) or (inspect.isroutine(found) and not _takes_states(found)):
        with _running(name, folder):
            found = found()
    if not callable(found):
        raise InputError(f"map {name}: is of type {type(found).__name__}, expected a torch module or a function")
    return found


def _object_of(source: str, name: str) -> tuple[Any, Path]:
    """What has the dotted name in a file or module, and the folder of that code."""
    path = Path(source)
    if path.suffix == ".py":
        module, folder = _module_of_file(path), path.parent
    else:
        module, folder = _module(source), Path.cwd()
    try:
        return reduce(getattr, name.split("."), module), folder
    except AttributeError as error:
        own = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        raise InputError(
            f"map {source}:{name}: {source} has no {name}, expected one of {', '.join(own) or 'its functions: none'}"
        ) from error


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"map: there is no file {path}")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None  # as the name ends in .py
    module = importlib.util.module_from_spec(specification)
    # Where dataclasses look for their module; one that is there already, such as torch, stays.
    sys.modules.setdefault(path.stem, module)
    with _running(str(path), path.parent):
        specification.loader.exec_module(module)
    return module


def _module(name: str) -> ModuleType:
    with _running(name, Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # it is there, and imports another that is not
            raise InputError(
                f"map: there is no module {error.name}, expected a checkpoint, FILE.py:NAME or MODULE:NAME"
            ) from error


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
        frames = traceback.extract_tb(error.__traceback__)
        places = [frame for frame in frames if Path(frame.filename).parent == folder]
        place = f"{Path(places[-1].filename).name}, line {places[-1].lineno}: " if places else ""
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

"""What results show of themselves where they are typed by name, as in a notebook: short, whatever they hold."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import numpy as np
import torch

_MOST_VALUES = 6  # of an array that is written out
_MOST_ENTRIES = 3  # of a sequence likewise
_LONGEST = 100  # characters of what is no array


def short_repr(self: object) -> str:
    """A dataclass with its fields: arrays by type and shape, long sequences by what they are of.

    Its class takes this for its `__repr__`.
    """
    assert is_dataclass(self)
    shown = [f"{field.name}={_shown(getattr(self, field.name))}" for field in fields(self)]
    name, lines = type(self).__name__, "".join(f"    {part},\n" for part in shown)
    return _cut(f"{name}({', '.join(shown)})", f"{name}(\n{lines})")


def _shown(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return _array(value.detach().cpu().resolve_conj().resolve_neg(), str(value.dtype).removeprefix("torch."))
    if isinstance(value, np.ndarray):
        return _array(value, str(value.dtype))
    if isinstance(value, list | tuple):
        return _sequence(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _cut(" ".join(repr(value).split()), f"{type(value).__name__}(...)")
    text = repr(value)
    return _cut(text, f"{text[: _LONGEST - 3]}...")


def _sequence(value: list[object] | tuple[object, ...]) -> str:
    kinds = {type(entry).__name__ for entry in value}
    summary = f"<{len(value)} {kinds.pop() if len(kinds) == 1 else 'objects'}>"
    if len(value) > _MOST_ENTRIES:
        return summary
    inside = ", ".join(_shown(entry) for entry in value)
    return _cut(f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})", summary)


def _array(value: torch.Tensor | np.ndarray, kind: str) -> str:
    if value.ndim == 1 and len(value) <= _MOST_VALUES:
        return f"[{', '.join(_number(entry) for entry in value.tolist())}]"
    return f"{kind} {tuple(value.shape)}" if value.ndim else _number(value.item())


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float | complex) else repr(value)


def _cut(text: str, instead: str) -> str:
    return text if len(text) <= _LONGEST else instead

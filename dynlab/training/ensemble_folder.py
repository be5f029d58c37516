"""The folder that an ensemble is kept in: a file says which ensemble it is, and any other one is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynlab.errors import InputError
from dynlab.files import check_writable_file, check_writable_folder, read_json, read_tensors, set_aside, write_json
from dynlab.training.checkpoint import read_checkpoint, standing_of
from dynlab.training.member import Member

KIND = "ensemble"
_MANIFEST = "ensemble.json"
_UNDER_WAY = ".checkpoint.safetensors"
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.part")  # `dynlab.files.written_atomically`


def members_checkpoint(folder: Path) -> Path:
    """Where members that are trained side by side are kept on the way."""
    return folder / f"members{_UNDER_WAY}"


def remove_checkpoints(members: Sequence[Member]) -> None:
    """Remove all checkpoints of an ensemble."""
    for path in (members_checkpoint(members[0].folder), *(member.checkpoint_path for member in members)):
        path.unlink(missing_ok=True)


def set_aside_damaged(folder: Path, names: Sequence[str]) -> None:
    """Rename damaged files of an ensemble, with all others of the same member, so that it is trained anew.

    Args:
        folder: That of the ensemble, if there is one; it goes as a whole where nothing tells any more what it is.
        names: Of the members; none begins with another one.
    """
    if (folder / _MANIFEST).exists():
        try:
            read_json(folder / _MANIFEST)
        except InputError:
            shutil.rmtree(folder)
    for path in sorted(folder.glob("*.safetensors")):
        try:
            if path.name.endswith(_UNDER_WAY):
                standing_of(path)
            else:
                read_tensors(path)
        except InputError:
            set_aside(path)
            for name in (name for name in names if path.name.startswith(name)):
                for other in folder.glob(f"{name}*.safetensors"):
                    set_aside(other)


def claim_folder(members: Sequence[Member], known: Mapping[str, Any]) -> None:
    """Make the folder of members that of an ensemble, or see that it is; further members come to those that it has.

    What a program that was killed left half written in it is removed.

    Args:
        members: All members, at least one.
        known: What the ensemble is, beside its members; values that JSON can hold.

    Raises:
        InputError: If members would share a file, the folder is that of another ensemble, holds one of the files
            without being that of an ensemble, or cannot be written to, or if a checkpoint in it is damaged.
    """
    folder = members[0].folder
    check_writable_folder(folder, parameter="folder")
    _check_names(members)
    path = folder / _MANIFEST
    shared = {"kind": KIND, **known, "snapshots": list(members[0].snapshots)}
    each = {
        member.name: {
            "name": member.name,
            "settings": member.identity["settings"],
            "started_from": member.identity["started_from"],
        }
        for member in members
    }
    before = _members_before(path, json.loads(json.dumps(shared)), json.loads(json.dumps(each)))
    new = [member for member in members if member.name not in before]
    files = [file for member in new for file in member.paths()]
    for file in files if before else [members_checkpoint(folder), *files]:
        if file.exists():
            raise InputError(f"{file}: is there already, and no member of this folder's {_MANIFEST}")
    if new:
        write_json(path, {**shared, "members": [*before.values(), *(each[member.name] for member in new)]})
    for member in members:
        if member.checkpoint_path.exists() and not member.is_over:
            read_checkpoint(member.checkpoint_path, member.identity, {})
    for file in folder.iterdir():
        if _TEMPORARY.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _members_before(path: Path, shared: dict[str, Any], each: dict[str, Any]) -> dict[str, Any]:
    """The members that a folder has, by their names.

    Raises:
        InputError: If they are those of another ensemble.
    """
    if not path.exists():
        return {}
    found = read_json(path)
    entries = found.pop("members", None) if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "name" in entry for entry in entries):
        raise InputError(f"{path}: damaged, it does not say which members there are")
    before = {str(entry["name"]): entry for entry in entries}
    in_both = before.keys() & each.keys()
    difference = _difference(found, shared, "") or _difference(
        {name: before[name] for name in sorted(in_both)}, {name: each[name] for name in sorted(in_both)}, ""
    )
    if difference is not None:
        raise InputError(f"{path}: another ensemble, {difference}; name another folder")
    return before


def _check_names(members: Sequence[Member]) -> None:
    taken = dict.fromkeys((_MANIFEST, members_checkpoint(Path()).name), -1)
    for member in members:
        name = member.name
        if not name or name.startswith(".") or Path(name).name != name or "\\" in name:
            raise InputError(f"names holds {name!r}, expected names that can begin the name of a file")
        for path in member.paths():
            check_writable_file(path, parameter="names")
            if taken.setdefault(path.name.casefold(), member.number) != member.number:
                raise InputError(f"names holds {name!r}, whose file {path.name} has another use already")


def _difference(found: Any, expected: Any, where: str) -> str | None:
    """The first place where two values of JSON differ, in words."""
    if isinstance(found, dict) and isinstance(expected, dict):
        pairs = [
            (f"{where}.{name}" if where else name, found.get(name), expected.get(name))
            for name in {**expected, **found}
        ]
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = [(f"{where}[{row}]", *pair) for row, pair in enumerate(zip(found, expected, strict=True))]
    elif found == expected:
        return None
    elif isinstance(found, list) and isinstance(expected, list):
        return f"{where} has {len(found)} entries, expected {len(expected)}"
    else:
        return f"{where or 'it'} is {found!r}, expected {expected!r}"
    differences = (_difference(one, other, name) for name, one, other in pairs)
    return next((difference for difference in differences if difference is not None), None)

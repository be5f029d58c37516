"""Reading and writing files: a file under its final name is whole, and nothing is ever unpickled.

Writers go to a temporary name in the same folder and rename, so that an interrupted program leaves either the old
file or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynlab.errors import InputError

if TYPE_CHECKING:
    import torch

_LONGEST_NAME = 255  # bytes, on the file systems of our days
# As torch.save writes them: a zip archive, or before version 1.6 a bare pickle. A safetensors file may begin so, too.
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def printable(name: str) -> str:
    """The name of a file, or other foreign text, as a line that can be written anywhere.

    Bytes that are no UTF-8 and characters that terminals obey are escapes.
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends without an error.

    After an error, an interrupt included, nothing is left behind: neither the temporary file nor folders made for it.
    The block should do no more than write, as every error of the system in it is taken for one of writing.

    Raises:
        InputError: If `path` is a folder, its own folder cannot be made, or the file cannot be written.
    """
    new_folders: list[Path] = []
    temporary: Path | None = None
    try:
        target = Path(os.path.realpath(path))  # a link stays, and what it points to is written
        if target.exists() and not target.is_file():
            raise InputError(f"{path}: is {_what_is(target)}, expected a file name")
        new_folders = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{secrets.token_hex(8)}.part")
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        # safetensors puts a file of its own in this place, which only its owner may read.
        temporary.chmod(mode)
        temporary.replace(target)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        for folder in new_folders:
            with contextlib.suppress(OSError):  # another program may have begun to fill it
                folder.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
        raise


def set_aside(path: Path) -> None:
    """Give a damaged file, if it is still there, a name that nobody takes it for a whole one by."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.damaged"))


def check_writable_folder(path: Path, *, parameter: str) -> None:
    """Check that files can be written to the folder `path`, which need not exist yet; nothing is left behind.

    Raises:
        InputError: If `path`, or the nearest folder above it that exists, cannot be written to.
    """
    try:
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
            raise InputError(f"{parameter} {path}: a name is longer than {_LONGEST_NAME} bytes")
        target = Path(os.path.realpath(path))
        existing = next(folder for folder in (target, *target.parents) if folder.exists())
        if not existing.is_dir():
            raise InputError(f"{parameter} {path}: {existing} is not a folder")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"{parameter} {path}: the folder cannot be written to ({error.strerror or error})") from error


def check_writable_file(path: Path, *, parameter: str) -> None:
    """Check that a file can be written under the name `path`; nothing is left behind.

    Raises:
        InputError: If `path` is a folder, or the nearest folder above it that exists cannot be written to.
    """
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise InputError(f"{parameter} {path}: the name is longer than {_LONGEST_NAME} bytes")
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{parameter} {path}: is {_what_is(path)}, expected a file name")
    except OSError as error:
        raise InputError(f"{parameter} {path}: cannot be written ({error.strerror or error})") from error
    check_writable_folder(Path(os.path.realpath(path)).parent, parameter=parameter)


def _what_is(path: Path) -> str:
    return "a folder" if path.is_dir() else "no ordinary file"  # such as a device, which must not be replaced


def read_json(path: Path) -> Any:
    """Read a file of JSON.

    Raises:
        InputError: If it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged, not JSON ({error})") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; what is not a finite number becomes null, as JSON knows no NaN."""
    with written_atomically(path) as temporary:
        temporary.write_text(json.dumps(_finite(value), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors, and string metadata, as a safetensors file; equal ones give equal bytes."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with written_atomically(path) as temporary:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(contiguous, temporary, metadata=dict(metadata or {}))
            _sort_metadata(temporary)
        except SafetensorError as error:  # a full disk, for one
            raise InputError(f"{path}: cannot be written ({_first_line(error)})") from error


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors and its metadata.

    Raises:
        InputError: If there is no such file, or it is no whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():
            raise InputError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}")
        with safe_open(path, framework="pt") as file:
            # Copies, as the file is mapped into memory: it could change under them, and they are aligned to 8 bytes
            # where torch needs 16 for complex numbers.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        if _begins_like_pickle(path):
            raise InputError(f"{path}: holds a pickle, which is never loaded; expected a safetensors file") from error
        raise InputError(f"{path}: not a whole safetensors file ({_first_line(error)})") from error


def _sort_metadata(path: Path) -> None:
    """Bring the metadata of a safetensors file into the order of their names: the library's order is one of chance."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        metadata = header.pop("__metadata__", {})
        ordered = {"__metadata__": dict(sorted(metadata.items())), **header}
        text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        if metadata and len(text) == size:
            file.seek(8)
            file.write(text)


def _begins_like_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith(_PICKLE_STARTS)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]

"""Arrays in files: .npy, .npz and IDX, also gzipped, told apart by how they begin; no pickle is ever loaded.

Whatever is wrong with a file comes out as an `InputError` of one line that names it.

Source: numpy enhancement proposal 1 (.npy, .npz); LeCun, Cortes and Burges, The MNIST database of handwritten digits
(IDX).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynlab.errors import InputError

_GZIP, _NPY, _ZIP, _IDX, _PICKLE = b"\x1f\x8b", b"\x93NUMPY", b"PK", b"\0\0", b"\x80"
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".joblib"}
_MEMBERS_NAMED = 5
_REASON_LENGTH = 200


def read_content(path: Path) -> bytes:
    """The bytes of a file, uncompressed if they were gzipped.

    Raises:
        InputError: If the file cannot be read, or its compressed content is damaged.
    """
    with reading(path):
        return decompressed(str(path), path.read_bytes())


@contextlib.contextmanager
def reading(source: str | Path) -> Iterator[None]:
    """Report what the system says against reading `source`, which may be a file or a folder, as an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error})") from error
    except InputError:
        raise
    except ValueError as error:  # a null character in the name
        raise InputError(f"{str(source)!r}: cannot be read ({error})") from error


def decompressed(source: str, content: bytes) -> bytes:
    """What was gzipped, or `content` itself if that was not; `source` is named if it is damaged.

    Raises:
        InputError: If it is gzipped but not whole.
    """
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{source}: not a whole gzip file ({error})") from error


def holds_named_arrays(content: bytes) -> bool:
    """Whether this begins like a .npz file, so that `parse_named_arrays` reads it."""
    return content.startswith(_ZIP)


def parse_array(path: Path, content: bytes) -> NDArray[Any]:
    """The array in the content of a .npy or IDX file; names lie, and .gz hides them, so `path` is only named in errors.

    Raises:
        InputError: If it is neither, damaged, or holds a pickle.
    """
    if content.startswith(_NPY):
        with _damage_reported(path, ".npy"):
            return np.load(io.BytesIO(content), allow_pickle=False)
    if content.startswith(_IDX) and len(content) >= 4 and content[2] in _IDX_TYPES:
        with _damage_reported(path, "IDX"):
            return _parse_idx(content)
    if not content:
        raise InputError(f"{path}: is empty")
    if content.startswith(_PICKLE) or path.suffix in _PICKLE_SUFFIXES:
        raise InputError(_pickle_refused(path))
    raise InputError(f"{path}: not a .npy, .npz or IDX file")


def parse_named_arrays(
    path: Path, content: bytes, *, required: str, optional: Collection[str]
) -> dict[str, NDArray[Any]]:
    """Arrays in the content of a .npz file: the one called `required`, and those of the `optional` ones that are there.

    Raises:
        InputError: If the required one is missing, or the file is damaged or holds a pickle.
    """
    with _damage_reported(path, ".npz"), zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.namelist()
        if any(member.endswith(".pkl") for member in members):  # torch.save writes zip files, too
            raise InputError(_pickle_refused(path))
        if f"{required}.npy" not in members:
            found = ", ".join(repr(member.removesuffix(".npy")) for member in members[:_MEMBERS_NAMED]) or "nothing"
            more = ", ..." if len(members) > _MEMBERS_NAMED else ""
            raise InputError(f"{path}: holds {found}{more}, expected an array {required!r}")
        wanted = [name for name in (required, *optional) if f"{name}.npy" in members]
        # Not through numpy, which hands out as bytes what does not begin like an array.
        return {name: _parse_member(archive.read(f"{name}.npy"), name) for name in wanted}


def _parse_member(content: bytes, name: str) -> NDArray[Any]:
    if not content.startswith(_NPY):
        raise ValueError(f"{name}.npy in it is no array")
    return np.load(io.BytesIO(content), allow_pickle=False)


def _parse_idx(content: bytes) -> NDArray[Any]:
    dtype, ndim = np.dtype(_IDX_TYPES[content[2]]), content[3]
    header = 4 + 4 * ndim
    if len(content) < header:
        raise ValueError(f"{len(content)} bytes, its header alone takes {header}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", ndim, 4))
    expected = header + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(f"{len(content)} bytes, expected {expected} for shape {shape}")
    return np.frombuffer(content, dtype, offset=header).reshape(shape)


@contextlib.contextmanager
def _damage_reported(path: Path, kind: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():  # numpy warns of the odd headers that it can still read
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:  # numpy and zipfile have no closed list of what a damaged file makes them raise
        if "Object arrays" in str(error):
            raise InputError(_pickle_refused(path)) from error
        # It may quote the file, at length and with whatever characters stand there.
        reason = "".join(filter(str.isprintable, str(error).partition("\n")[0][:_REASON_LENGTH]))
        raise InputError(f"{path}: not a whole {kind} file ({reason or type(error).__name__})") from error


def _pickle_refused(path: Path) -> str:
    return f"{path}: holds a pickle, which is never loaded; expected plain arrays, as numpy.save and numpy.savez write"

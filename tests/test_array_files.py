"""Files written by numpy, or byte by byte as the IDX format is described, and every way to damage them."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dynlab.array_files import decompressed, holds_named_arrays, parse_array, parse_named_arrays, read_content
from dynlab.errors import InputError

PATH = Path("some/file")
ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 24


class Unsafe:
    """What leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return pytest.fail, ("a pickle was loaded",)


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def idx(type_code: int, shape: tuple[int, ...], content: bytes) -> bytes:
    return bytes((0, 0, type_code, len(shape))) + b"".join(size.to_bytes(4, "big") for size in shape) + content


def message_of(action: Callable[[], Any]) -> str:
    """The message of the `InputError` that `action` ends with; one line that can be printed."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    return message


def test_npy_is_read() -> None:
    read = parse_array(PATH, npy(ARRAY))
    assert read.dtype == np.float32
    assert np.array_equal(read, ARRAY)


@pytest.mark.parametrize(
    ("type_code", "content", "expected"),
    [
        (0x08, b"\x00\xff\x80", [0, 255, 128]),
        (0x09, b"\x00\xff\x80", [0, -1, -128]),
        (0x0B, b"\x01\x02\xff\xff\x00\x01", [0x0102, -1, 1]),
        (0x0C, b"\x00\x01\x02\x03\xff\xff\xff\xff\x00\x00\x00\x01", [0x010203, -1, 1]),
        (0x0D, b"\x3f\x80\x00\x00\xbf\x00\x00\x00\x00\x00\x00\x00", [1.0, -0.5, 0.0]),
        (0x0E, b"\x3f\xf0" + bytes(6) + b"\xbf\xe0" + bytes(6) + bytes(8), [1.0, -0.5, 0.0]),
    ],
)
def test_idx_of_each_type_is_read(type_code: int, content: bytes, expected: list[float]) -> None:
    assert parse_array(PATH, idx(type_code, (3,), content)).tolist() == expected


def test_idx_is_read_row_by_row() -> None:
    assert parse_array(PATH, idx(0x08, (2, 1, 2), bytes((1, 2, 3, 4)))).tolist() == [[[1, 2]], [[3, 4]]]


def test_npz_is_read() -> None:
    content = npz(x=ARRAY, y=np.arange(2), z=np.zeros(3))
    assert holds_named_arrays(content)
    assert not holds_named_arrays(npy(ARRAY))
    read = parse_named_arrays(PATH, content, required="x", optional=("y", "w"))
    assert sorted(read) == ["x", "y"]
    assert np.array_equal(read["x"], ARRAY)
    assert read["y"].tolist() == [0, 1]


def test_gzip_is_undone(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(b"content")
    packed.write_bytes(gzip.compress(b"content"))
    assert read_content(plain) == read_content(packed) == b"content"


# Named, as gzip writes down the time, which would tell tests collected a second later apart.
@pytest.mark.parametrize(
    "damaged",
    [gzip.compress(bytes(1000))[:-9], gzip.compress(b"x")[:12], b"\x1f\x8bxyz"],
    ids=["without its end", "a beginning", "nothing"],
)
def test_damaged_gzip_is_refused(damaged: bytes) -> None:
    assert message_of(lambda: decompressed("data.gz", damaged)).startswith("data.gz: not a whole gzip file (")


def test_bad_checksum_of_gzip_is_refused() -> None:
    packed = bytearray(gzip.compress(b"content"))
    packed[-5] ^= 1  # in the checksum, which stands before the length
    assert message_of(lambda: decompressed("data.gz", bytes(packed))).startswith("data.gz: not a whole gzip file (")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing.npy", "No such file"), (".", "Is a directory"), ("file/x", "Not a directory"), ("\0", "null")],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "file").touch()
    message = message_of(lambda: read_content(tmp_path / path))
    assert str(tmp_path) in message
    assert reason in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (npy(ARRAY)[:-1], "not a whole .npy file"),
        (npy(ARRAY)[:40], "not a whole .npy file"),
        (npy(ARRAY).replace(b"<f4", b"<q9"), "not a whole .npy file"),
        (npy(ARRAY).replace(b"<f4", b"\x1b[4"), "not a whole .npy file"),
        (npy(ARRAY).replace(b"(2, 3, 4)", b"(-2, 3,4)"), "not a whole .npy file"),
        (npy(ARRAY).replace(b"'descr'", b"'dascr'"), "not a whole .npy file"),
        (b"\x93NUMPY", "not a whole .npy file"),
        (idx(0x08, (3,), b"\0\0"), "not a whole IDX file (10 bytes, expected 11 for shape (3,))"),
        (idx(0x08, (3,), b"\0\0\0\0"), "not a whole IDX file (12 bytes, expected 11 for shape (3,))"),
        (idx(0x0D, (3,), b"\0\0\0"), "not a whole IDX file (11 bytes, expected 20 for shape (3,))"),
        (idx(0x08, (3, 1), b"\0\0\0")[:9], "not a whole IDX file (9 bytes, its header alone takes 12)"),
        (idx(0x08, (2**32 - 1,) * 3, b""), "not a whole IDX file"),
        (idx(0x08, (0,) + (2**32 - 1,) * 3, b""), "not a whole IDX file"),
        (idx(0x08, (1,) * 255, b"\0"), "not a whole IDX file"),
        (b"\0\0\x0a\1", "not a .npy, .npz or IDX file"),
        (b"\0\0", "not a .npy, .npz or IDX file"),
        (b"GIF89a", "not a .npy, .npz or IDX file"),
        (b"", "is empty"),
    ],
)
def test_damaged_array_is_refused(content: bytes, expected: str) -> None:
    assert message_of(lambda: parse_array(PATH, content)).startswith(f"{PATH}: {expected}")


def test_array_cut_anywhere_is_refused() -> None:
    for whole in (npy(ARRAY), idx(0x08, (2, 3, 4), bytes(24))):
        for length in range(len(whole)):
            assert message_of(lambda cut=whole[:length]: parse_array(PATH, cut)).startswith(f"{PATH}: ")


def _named(content: bytes) -> dict[str, NDArray[Any]]:
    return parse_named_arrays(PATH, content, required="x", optional=("y",))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (npz(images=ARRAY), "holds 'images', expected an array 'x'"),
        (npz(**{f"a{i}": ARRAY for i in range(9)}), "holds 'a0', 'a1', 'a2', 'a3', 'a4', ..., expected an array 'x'"),
        (zipped({}), "holds nothing, expected an array 'x'"),
        (zipped({"a\nb\x1b[31m": b""}), r"holds 'a\nb\x1b[31m', expected an array 'x'"),
        (zipped({"x.npy": b"no array at all"}), "not a whole .npz file (x.npy in it is no array)"),
        (zipped({"x.npy": npy(ARRAY)[:-1]}), "not a whole .npz file"),
        (zipped({"x.npy": npy(ARRAY), "y.npy": b""}), "not a whole .npz file (y.npy in it is no array)"),
        (npz(x=ARRAY)[:-30], "not a whole .npz file"),
        (b"PK", "not a whole .npz file"),
    ],
)
def test_damaged_npz_is_refused(content: bytes, expected: str) -> None:
    assert message_of(lambda: _named(content)).startswith(f"{PATH}: {expected}")


def test_bad_checksum_in_npz_is_refused() -> None:
    content = bytearray(npz(x=ARRAY))
    content[content.index(ARRAY.tobytes()) + 5] ^= 1
    assert message_of(lambda: _named(bytes(content))).startswith(f"{PATH}: not a whole .npz file (Bad CRC-32")


def _torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"x": torch.zeros(3)}, buffer)
    return buffer.getvalue()


def test_no_pickle_is_loaded() -> None:
    objects = np.array([Unsafe()], dtype=object)
    for refused in (
        lambda: parse_array(PATH, npy(objects)),
        lambda: parse_array(PATH, npy(np.zeros(2, dtype=[("a", object)]))),
        lambda: parse_array(PATH, pickle.dumps(Unsafe())),
        lambda: parse_array(Path("x.pkl"), pickle.dumps(Unsafe(), protocol=0)),
        lambda: _named(npz(x=objects)),
        lambda: _named(npz(x=ARRAY, y=objects)),
        lambda: _named(_torch_file()),
    ):
        assert "holds a pickle, which is never loaded" in message_of(refused)

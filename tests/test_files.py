"""Files are whole or not there: errors, interrupts and hostile content, and what they leave in the folder."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dynlab.errors import InputError
from dynlab.files import (
    check_writable_file,
    check_writable_folder,
    printable,
    read_tensors,
    sha256,
    write_json,
    write_tensors,
    written_atomically,
)

WRITERS: list[Callable[[Path], None]] = [
    lambda path: write_json(path, {"a": 1}),
    lambda path: write_tensors(path, {"a": torch.zeros(3)}),
]


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def message_of(action: Callable[[], Any]) -> str:
    """The message of the `InputError` that `action` ends with; one line that can be printed."""
    with pytest.raises(InputError) as caught:
        action()
    assert str(caught.value).isprintable()
    return str(caught.value)


def break_off(path: Path, error: type[BaseException] = KeyboardInterrupt) -> None:
    """Write half a file, and be stopped by `error`."""
    with written_atomically(path) as temporary:
        temporary.write_bytes(b"half")
        raise error


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """As if the disk were full: no file can grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    # The example of FIPS 180-2, appendix B.1.
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with written_atomically(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        assert temporary.parent == path.parent  # renaming across file systems would copy
    assert path.read_bytes() == b"half"
    assert everything_in(tmp_path) == [path.parent.parent, path.parent, path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, InputError])
def test_interrupted_writer_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        break_off(tmp_path / "new" / "folder" / "file", error)
    assert everything_in(tmp_path) == []


def test_interrupted_writer_leaves_the_old_file_and_what_else_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        break_off(path)
    assert path.read_bytes() == b"old"
    assert everything_in(tmp_path) == [path]


def test_folder_that_others_use_meanwhile_stays(tmp_path: Path) -> None:
    def others_come() -> None:
        with written_atomically(tmp_path / "folder" / "file"):
            (tmp_path / "folder" / "other").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        others_come()
    assert everything_in(tmp_path) == [tmp_path / "folder", tmp_path / "folder" / "other"]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_others_may_read_what_they_may_read_elsewhere(tmp_path: Path, mask: int, write: Callable[[Path], None]) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("write", WRITERS)
def test_place_that_cannot_be_written_is_named(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = everything_in(tmp_path)
    for path, reason in (
        (tmp_path / "folder", "is a folder, expected a file name"),
        (tmp_path / "folder" / "..", "is a folder, expected a file name"),
        (tmp_path / "file" / "x", "cannot be written (File exists)"),
        (tmp_path / "file" / "x" / "y", "cannot be written (Not a directory)"),
        (tmp_path / "folder" / ("x" * 300), "cannot be written (File name too long)"),
        (Path("/proc/x"), "cannot be written (No such file or directory)"),
    ):
        assert message_of(lambda path=path: write(path)) == f"{path}: {reason}"
    assert everything_in(tmp_path) == before


def test_full_disk_is_told(tmp_path: Path) -> None:
    with files_limited_to(1000):
        for write in (
            lambda path: write_json(path, list(range(1000))),
            lambda path: write_tensors(path, {"a": torch.zeros(1000)}),
        ):
            message = message_of(lambda write=write: write(tmp_path / "new" / "file"))
            assert message.startswith(f"{tmp_path / 'new' / 'file'}: cannot be written (")
            assert "File too large" in message
    assert everything_in(tmp_path) == []


def test_folder_that_can_be_written_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable_folder(tmp_path, parameter="out")
    check_writable_folder(tmp_path / "a" / "b", parameter="out")
    monkeypatch.chdir(tmp_path)
    check_writable_folder(Path("a/b"), parameter="out")
    check_writable_folder(Path(), parameter="out")
    assert everything_in(tmp_path) == []


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        message = message_of(lambda path=path: check_writable_folder(path, parameter="out"))
        assert message == f"out {path}: {tmp_path / 'file'} is not a folder"
    message = message_of(lambda: check_writable_folder(Path("/proc/a"), parameter="out"))
    assert message.startswith("out /proc/a: the folder cannot be written to (")
    for path in (tmp_path / ("x" * 300), tmp_path / "new" / ("x" * 300) / "y"):
        message = message_of(lambda path=path: check_writable_folder(path, parameter="out"))
        assert message == f"out {path}: a name is longer than 255 bytes"
    assert everything_in(tmp_path) == [tmp_path / "file"]


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path, "is a folder, expected a file name"),
        (tmp_path / ("x" * 300), "the name is longer than 255 bytes"),
        (tmp_path / "file" / "x", None),
    ):
        message = message_of(lambda path=path: check_writable_file(path, parameter="out"))
        assert message.startswith("out ")
        assert reason is None or message == f"out {path}: {reason}"
    check_writable_file(tmp_path / ("x" * 255), parameter="out")
    assert everything_in(tmp_path) == [tmp_path / "file"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    write_json(tmp_path / ("x" * 255), {})
    assert everything_in(tmp_path) == [tmp_path / ("x" * 255)]


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "target")
    write_json(tmp_path / "link", {"a": 1})
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "folder" / "target").read_text()) == {"a": 1}


def test_names_that_are_no_utf8_become_printable() -> None:
    assert printable("a\udcffé日") == "a\\xffé日"


def test_json_knows_no_nan(tmp_path: Path) -> None:
    inf = float("inf")
    value = {"nan": float("nan"), "list": [1.5, inf, (-inf, "nan")], 7: {"numpy": np.float64("nan")}, "whole": 3}
    write_json(tmp_path / "file", value)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    read = json.loads((tmp_path / "file").read_text(encoding="utf-8"), parse_constant=refuse)
    assert read == {"nan": None, "list": [1.5, None, [None, "nan"]], "7": {"numpy": None}, "whole": 3}


def test_what_json_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", {"a": object()})
    assert everything_in(tmp_path) == []


def test_tensors_come_back(tmp_path: Path, device: torch.device) -> None:
    tensors = {
        "float64": torch.tensor([[1e-300, 0.1], [float("nan"), float("inf")]], dtype=torch.float64, device=device),
        "int64": torch.tensor([-1, 2**62], device=device),
        "turned": torch.arange(6.0, device=device).reshape(2, 3).T,
        "empty": torch.zeros(0, 5, device=device),
        "learned": torch.nn.Parameter(torch.ones(2, device=device)),
    }
    write_tensors(tmp_path / "file", tensors, {"kind": "täst", "n": "1"})
    read, metadata = read_tensors(tmp_path / "file")
    assert metadata == {"kind": "täst", "n": "1"}
    assert sorted(read) == sorted(tensors)
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        assert np.array_equal(read[name].numpy(), tensor.detach().cpu().numpy(), equal_nan=tensor.is_floating_point())


def test_tensors_stay_what_they_were_when_the_file_changes_and_can_be_seen_as_complex(tmp_path: Path) -> None:
    path, pairs = tmp_path / "file", torch.arange(6.0, dtype=torch.float64).reshape(3, 2)
    write_tensors(path, {f"{name}{size}": torch.ones(size, dtype=torch.int64) for name in "az" for size in range(1, 4)})
    ones = read_tensors(path)[0]
    for size in range(1, 4):  # whole numbers of 8 bytes before the pairs, even and odd
        write_tensors(path, {"a": torch.zeros(size, dtype=torch.int64), "pairs": pairs})
        read = read_tensors(path)[0]["pairs"]
        assert read.data_ptr() % 16 == 0
        assert torch.view_as_complex(read).abs().tolist() == pytest.approx(pairs.norm(dim=1).tolist())
    path.write_bytes(b"\0" * path.stat().st_size)
    assert all(bool((tensor == 1).all()) for tensor in ones.values())


def test_metadata_may_be_missing(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", {"a": torch.zeros(1)})
    assert read_tensors(tmp_path / "file")[1] == {}


def safetensors(header: bytes, content: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + content


def _entry(**changed: Any) -> bytes:
    return json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changed}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        bytes(100),
        b"\xff" * 100,
        safetensors(b"{}")[:-1],
        safetensors(b"not JSON at\nall"),
        safetensors(b"[1, 2]"),
        safetensors(b'{"a": 1}'),
        safetensors(b"\xff\xfe\n"),
        safetensors(b'{"__metadata__": {"kind": 1}}'),
        safetensors(b"[" * 10_000),
        safetensors(_entry(), bytes(7)),
        safetensors(_entry(), bytes(9)),
        safetensors(_entry(shape=[3]), bytes(8)),
        safetensors(_entry(shape=[2**62, 2**62]), bytes(8)),
        safetensors(_entry(shape=[-2]), bytes(8)),
        safetensors(_entry(dtype="object\n"), bytes(8)),
        safetensors(_entry(data_offsets=[8, 0]), bytes(8)),
        safetensors(_entry(data_offsets=[0, 2**63]), bytes(8)),
        (2**40).to_bytes(8, "little") + b"{}",
    ],
)
def test_damaged_tensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert message_of(lambda: read_tensors(path)).startswith(f"{path}: not a whole safetensors file (")


def test_tensors_cut_anywhere_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_tensors(path, {"a": torch.ones(2), "b": torch.ones(1)}, {"kind": "test"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert message_of(lambda: read_tensors(path)).startswith(f"{path}: not a whole safetensors file (")


@pytest.mark.parametrize("new_format", [True, False])
def test_pickle_is_not_loaded(tmp_path: Path, new_format: bool) -> None:
    path = tmp_path / "file.safetensors"
    torch.save({"encoder.weight": torch.zeros(2, 2)}, path, _use_new_zipfile_serialization=new_format)
    assert message_of(lambda: read_tensors(path)) == (
        f"{path}: holds a pickle, which is never loaded; expected a safetensors file"
    )


def test_header_that_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    header = _entry().ljust(0x0280)  # its length begins like a pickle of protocol 2
    path.write_bytes(safetensors(header, bytes(8)))
    assert path.read_bytes().startswith(b"\x80\x02")
    assert read_tensors(path)[0]["a"].tolist() == [0, 0]


def test_missing_file_is_named(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "missing", "no such file"),
        (tmp_path, "is a folder, expected a file"),
        (tmp_path / ("x" * 300), "cannot be read (File name too long)"),
    ):
        assert message_of(lambda path=path: read_tensors(path)) == f"{path}: {reason}"

"""MNIST: its files in a folder or in the user's cache, their hashes, and its split into training and validation.

The training set of 60000 is split once and for all into 50000 for training and 10000 for validation (section 5.1 of the
report), by a seed of its own; both parts keep the order that was drawn.

Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynlab.array_files import decompressed, parse_array, read_content, reading
from dynlab.downloads import download, download_display
from dynlab.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# Of the uncompressed files: the compressed ones differ from mirror to mirror.
MNIST_SHA256: Mapping[str, str] = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST_SPLITS = ("train", "validation", "test")
_TRAINING_SAMPLES = 50000
_SPLIT_SEED = 1998


def read_mnist(split: str, data_dir: str | Path | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images, as bytes of shape (samples, 28, 28), and labels of one of `MNIST_SPLITS`.

    Raises:
        InputError: If a file is missing, damaged or not the one it should be.
    """
    folder = _data_folder(data_dir)
    prefix = "t10k" if split == "test" else "train"
    images = _read_file(folder, f"{prefix}-images-idx3-ubyte")
    labels = _read_file(folder, f"{prefix}-labels-idx1-ubyte")
    if split == "test":
        return images, labels
    order = frozen_permutation(_SPLIT_SEED, len(images))
    chosen = order[:_TRAINING_SAMPLES] if split == "train" else order[_TRAINING_SAMPLES:]
    return images[chosen], labels[chosen]


def fetch_mnist(data_dir: str | Path | None, *, progress: bool, base_url: str) -> Path:
    """Check the files of MNIST in a named folder, or complete them in the cache; return the folder.

    Raises:
        InputError: If a named folder lacks a file or has a damaged one, a download fails or has a wrong hash, or the
            cache cannot be written.
    """
    folder = _data_folder(data_dir)
    if folder.named_by is not None:
        for file_name in MNIST_SHA256:
            _read_file(folder, file_name)
        return folder.path
    with download_display(visible=progress) as display:
        for file_name in MNIST_SHA256:
            if not _is_whole(folder, file_name):
                _fetch_file(folder, file_name, base_url, display)
    return folder.path


def frozen_permutation(seed: int, samples: int) -> NDArray[np.int64]:
    """A permutation that no version of numpy will ever draw differently, as a split must not change.

    The streams of the legacy generator are frozen for good (numpy enhancement proposal 19); those of the newer ones
    are not.
    """
    return np.random.RandomState(seed).permutation(samples)


@dataclass(frozen=True)
class _DataFolder:
    path: Path
    named_by: str | None  # how the user named it; None for the cache


def _data_folder(data_dir: str | Path | None) -> _DataFolder:
    for named_by, named in (("data_dir", data_dir), ("DYNLAB_DATA", os.environ.get("DYNLAB_DATA"))):
        if named:
            with reading(f"{named_by} {named}"):
                if not Path(named).is_dir():
                    raise InputError(f"{named_by} {named}: no such folder")
            return _DataFolder(Path(named), named_by)
    import pooch

    return _DataFolder(Path(pooch.os_cache("dynlab")), None)


def _read_file(folder: _DataFolder, file_name: str) -> NDArray[Any]:
    path = _find_file(folder, file_name)
    content = read_content(path)
    _check_hash(str(path), content, file_name)
    return parse_array(path, content)


def _find_file(folder: _DataFolder, file_name: str) -> Path:
    for parent in (folder.path / "mnist", folder.path):
        for path in (parent / f"{file_name}.gz", parent / file_name):
            with reading(path):
                if path.is_file():
                    return path
    if folder.named_by is None:
        raise InputError(
            f"mnist: {file_name}.gz is not in the cache {folder.path}; "
            "run `dynlab data get mnist`, or set DYNLAB_DATA to a folder that has it"
        )
    raise InputError(f"{folder.named_by} {folder.path}: has no mnist/{file_name}.gz")


def _fetch_file(folder: _DataFolder, file_name: str, base_url: str, display: Progress) -> None:
    url = f"{base_url.rstrip('/')}/{file_name}.gz"

    def check(content: bytes) -> None:
        _check_hash(url, decompressed(url, content), file_name)

    download(url, folder.path / "mnist" / f"{file_name}.gz", check=check, display=display)


def _is_whole(folder: _DataFolder, file_name: str) -> bool:
    try:
        _read_file(folder, file_name)
    except InputError:
        return False
    return True


def _check_hash(source: str, content: bytes, file_name: str) -> None:
    found, expected = hashlib.sha256(content).hexdigest(), MNIST_SHA256[file_name]
    if found != expected:
        raise InputError(f"{source}: content has SHA-256 {found}, expected {expected}")

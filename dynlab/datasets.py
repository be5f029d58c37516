"""WHAT GOES IN: named data sets and files of images, as flat rows of pixels in [0, 1].

MNIST is read from a folder that has it, or from the user's cache, where `fetch_dataset` puts it; it is never downloaded
on the way. Whatever the source, what was read is checked before anything is computed with it, and no pickle is loaded.

MNIST's training set of 60000 is split once and for all into 50000 for training and 10000 for validation. The splits are
drawn by numpy's legacy generator, whose streams are frozen for good (numpy enhancement proposal 19), and both parts
keep the order that was drawn.

Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits (with the IDX format); Alpaydin and Kaynak,
Optical recognition of handwritten digits, 1998 (scikit-learn's digits).
"""

from __future__ import annotations

import contextlib
import difflib
import gzip
import hashlib
import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.errors import InputError
from dynlab.files import written_atomically

if TYPE_CHECKING:
    from rich.progress import Progress

SPLITS: Mapping[str, tuple[str, ...]] = {
    "mnist": ("train", "validation", "test"),
    "digits": ("train", "test"),
}
DATASET_NAMES = tuple(
    name for family, splits in SPLITS.items() for name in (family, *(f"{family}/{split}" for split in splits))
)

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# Of the uncompressed files: the compressed ones differ from mirror to mirror.
MNIST_SHA256: Mapping[str, str] = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST_TRAINING_SAMPLES = 50000
MNIST_SPLIT_SEED = 1998
DIGITS_TRAINING_SAMPLES = 1000
DIGITS_SPLIT_SEED = 1797

_GZIP, _NPY, _ZIP, _IDX = b"\x1f\x8b", b"\x93NUMPY", b"PK", b"\0\0"
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".joblib"}


@dataclass(frozen=True)
class Dataset:
    """Images as flat rows, with their classes where these are known."""

    name: str  # as the user named it
    images: Float32[Tensor, "samples dim"]  # in [0, 1]
    labels: Int64[Tensor, " samples"] | None
    shape: tuple[int, ...]  # of one sample
    sha256: str  # of the pixels and labels here, whatever file format they came in


def load_dataset(
    name: str,
    *,
    labels: str | Path | None = None,
    data_dir: str | Path | None = None,
    limit: int | None = None,
) -> Dataset:
    """Images and labels of a named data set or of a file.

    Bytes are divided by 255 (scikit-learn's digits by 16); floating point pixels are taken as they are.

    Args:
        name: One of `DATASET_NAMES`, where "mnist" is "mnist/train" and "digits" is all 1797 digits; or a .npy, .npz
            (images `x`, labels `y`) or IDX file, also gzipped, of shape (samples, dim), (samples, height, width) or
            (samples, height, width, channels).
        labels: A .npy or IDX file with the classes of the images in the file `name`; before `y` if that is there too.
        data_dir: The folder that has MNIST; the one named by the environment variable `DYNLAB_DATA` if not given, and
            the user's cache if that is not set either.
        limit: Take only the first `limit` samples, at least 1; all if there are fewer.

    Returns:
        The samples in the order of the file, or of the split.

    Raises:
        InputError: If there is no such data, a file is damaged or holds something else than images or labels, a pixel
            is not in [0, 1], or nothing is left.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}, expected at least 1")
    labels_source = f"{name}: y"
    if name in DATASET_NAMES:
        if labels is not None:
            raise InputError(f"labels {labels}: {name} has its own labels, expected none")
        family, _, split = name.partition("/")
        pixels, classes = _read_mnist(split or "train", data_dir) if family == "mnist" else _read_digits(split)
    else:
        pixels, classes = _read_images(_existing_file(name))
        if labels is not None:
            labels_source = f"labels {labels}"
            classes = _parse_array(Path(labels), _read_content(Path(labels)))
    _check_shape(name, pixels)
    images = _unit_interval(name, pixels[:limit].reshape(len(pixels[:limit]), -1))
    targets = None if classes is None else _checked_labels(labels_source, classes, samples=len(pixels))[:limit]
    return Dataset(
        name=name,
        images=torch.from_numpy(images),
        labels=None if targets is None else torch.from_numpy(targets),
        shape=tuple(pixels.shape[1:]),
        sha256=_content_hash(images, targets),
    )


def training_set_of(name: str) -> str | None:
    """Name of the training set that belongs to a named data set; None for a file, which has none."""
    return f"{name.partition('/')[0]}/train" if name in DATASET_NAMES else None


def fetch_dataset(
    name: str, *, data_dir: str | Path | None = None, progress: bool = False, base_url: str = MNIST_URL
) -> Path:
    """Make sure that MNIST is there and whole, downloading into the user's cache what is not.

    Nothing is downloaded when a folder is named, by `data_dir` or `DYNLAB_DATA`: its files are only checked. A file
    gets its final name after the SHA-256 of its uncompressed content was found right.

    Args:
        name: "mnist"; a split of it stands for all of it.
        data_dir: As in `load_dataset`.
        progress: Whether to draw a progress bar on stderr.
        base_url: Where `train-images-idx3-ubyte.gz` and the others are.

    Returns:
        The folder, which `load_dataset` would take as its `data_dir`.

    Raises:
        InputError: If the name is unknown or needs no download, a download fails or has a wrong hash, the cache cannot
            be written, or a named folder lacks a file or has a damaged one.
    """
    if name not in DATASET_NAMES:
        raise InputError(_unknown_name(name))
    if name.partition("/")[0] != "mnist":
        raise InputError(f"{name}: comes with scikit-learn, there is nothing to download")
    folder = _data_folder(data_dir)
    if folder.named_by is not None:
        for file_name in MNIST_SHA256:
            _read_mnist_file(folder, file_name)
        return folder.path
    with _downloads(progress) as bars:
        for file_name in MNIST_SHA256:
            if not _is_whole(folder, file_name):
                _download(f"{base_url.rstrip('/')}/{file_name}.gz", folder.path / "mnist" / f"{file_name}.gz", bars)
    return folder.path


@dataclass(frozen=True)
class _DataFolder:
    path: Path
    named_by: str | None  # how the user named it; None for the cache


def _data_folder(data_dir: str | Path | None) -> _DataFolder:
    for named_by, named in (("data_dir", data_dir), ("DYNLAB_DATA", os.environ.get("DYNLAB_DATA"))):
        if named:
            with _readable(f"{named_by} {named}"):
                if not Path(named).is_dir():
                    raise InputError(f"{named_by} {named}: no such folder")
            return _DataFolder(Path(named), named_by)
    import pooch

    return _DataFolder(Path(pooch.os_cache("dynlab")), None)


def _read_mnist(split: str, data_dir: str | Path | None) -> tuple[NDArray[Any], NDArray[Any]]:
    folder = _data_folder(data_dir)
    prefix = "t10k" if split == "test" else "train"
    images = _read_mnist_file(folder, f"{prefix}-images-idx3-ubyte")
    labels = _read_mnist_file(folder, f"{prefix}-labels-idx1-ubyte")
    if split == "test":
        return images, labels
    order = _frozen_permutation(MNIST_SPLIT_SEED, len(images))
    chosen = order[:MNIST_TRAINING_SAMPLES] if split == "train" else order[MNIST_TRAINING_SAMPLES:]
    return images[chosen], labels[chosen]


def _read_digits(split: str) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images, labels = digits.images / 16, digits.target
    if not split:
        return images, labels
    order = _frozen_permutation(DIGITS_SPLIT_SEED, len(images))
    chosen = order[:DIGITS_TRAINING_SAMPLES] if split == "train" else order[DIGITS_TRAINING_SAMPLES:]
    return images[chosen], labels[chosen]


def _frozen_permutation(seed: int, samples: int) -> NDArray[np.int64]:
    # The newer `Generator` may draw other numbers in another version of numpy; a split must not.
    return np.random.RandomState(seed).permutation(samples)


def _read_mnist_file(folder: _DataFolder, file_name: str) -> NDArray[Any]:
    path = _find_mnist_file(folder, file_name)
    content = _read_content(path)
    _check_hash(str(path), content, MNIST_SHA256[file_name])
    return _parse_array(path, content)


def _find_mnist_file(folder: _DataFolder, file_name: str) -> Path:
    for parent in (folder.path / "mnist", folder.path):
        for path in (parent / f"{file_name}.gz", parent / file_name):
            with _readable(path):
                if path.is_file():
                    return path
    if folder.named_by is None:
        raise InputError(
            f"mnist: {file_name}.gz is not in the cache {folder.path}; "
            "run `dynlab data get mnist`, or set DYNLAB_DATA to a folder that has it"
        )
    raise InputError(f"{folder.named_by} {folder.path}: has no mnist/{file_name}.gz")


def _is_whole(folder: _DataFolder, file_name: str) -> bool:
    try:
        _read_mnist_file(folder, file_name)
    except InputError:
        return False
    return True


def _check_hash(source: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InputError(f"{source}: content has SHA-256 {found}, expected {expected}")


class _Bar:
    """What pooch asks of a progress bar, for one file of a `rich` display."""

    def __init__(self, display: Progress, description: str) -> None:
        self.total = 0
        self._display = display
        self._task = display.add_task(description, total=None)

    def update(self, advance: int) -> None:
        self._display.update(self._task, advance=advance, total=self.total or None)

    def reset(self) -> None:
        self._display.reset(self._task)

    def close(self) -> None:
        """The display closes all its bars together."""


@contextlib.contextmanager
def _downloads(visible: bool) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not visible) as display:
        yield display


def _download(url: str, path: Path, display: Progress) -> None:
    import pooch

    # A mirror must not compress what is compressed: it would be stored uncompressed under a name in .gz.
    bar: Any = _Bar(display, path.name)
    download = pooch.HTTPDownloader(progressbar=bar, headers={"Accept-Encoding": "identity"})
    new_folders = [folder for folder in (path.parent, path.parent.parent) if not folder.exists()]
    try:
        with written_atomically(path) as temporary:
            try:
                download(url, str(temporary), None)
            except OSError as error:  # which those of requests are
                raise InputError(f"{url}: download failed ({_download_failure(error)})") from error
            _check_hash(url, _decompressed(url, temporary.read_bytes()), MNIST_SHA256[path.stem])
    except InputError:
        for folder in new_folders:
            with contextlib.suppress(OSError):  # another program may have begun to fill it
                folder.rmdir()
        raise


def _download_failure(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    # requests wraps the system's short word, such as "Connection refused", three times over.
    while cause := error.__cause__ or error.__context__:
        error = cause
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _existing_file(name: str) -> Path:
    path = Path(name)
    with _readable(path):
        if path.is_file():
            return path
        if name and path.is_dir():
            raise InputError(f"{name}: is a folder, expected a file or one of {', '.join(DATASET_NAMES)}")
    raise InputError(_unknown_name(name))


def _unknown_name(name: str) -> str:
    if Path(name).suffix:
        return f"{name}: no such file"
    family, _, split = name.partition("/")
    if family in SPLITS:
        splits = SPLITS[family]
        return f"{name}: unknown split and no such file, {family} has {', '.join(splits)}{_suggestion(split, splits)}"
    names = ", ".join(DATASET_NAMES)
    return f"{name!r}: unknown data name and no such file, expected one of {names}{_suggestion(name, DATASET_NAMES)}"


def _suggestion(word: str, known: tuple[str, ...]) -> str:
    nearest = difflib.get_close_matches(word.lower(), known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _read_images(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    content = _read_content(path)
    if not content.startswith(_ZIP):
        return _parse_array(path, content), None
    arrays = _parse_npz(path, content)
    return arrays["x"], arrays.get("y")


def _read_content(path: Path) -> bytes:
    with _readable(path):
        return _decompressed(str(path), path.read_bytes())


@contextlib.contextmanager
def _readable(source: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from error


def _decompressed(source: str, content: bytes) -> bytes:
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{source}: not a whole gzip file ({error})") from error


def _parse_array(path: Path, content: bytes) -> NDArray[Any]:
    """The array in a .npy or IDX file, told apart by how they begin: names lie, and .gz hides them."""
    if content.startswith(_NPY):
        with _damage_reported(path, ".npy"):
            return np.load(io.BytesIO(content), allow_pickle=False)
    if content.startswith(_IDX) and len(content) >= 4 and content[2] in _IDX_TYPES:
        return _parse_idx(path, content)
    if not content:
        raise InputError(f"{path}: is empty")
    if content.startswith(b"\x80") or path.suffix in _PICKLE_SUFFIXES:
        raise InputError(_pickle_refused(path))
    raise InputError(f"{path}: not a .npy, .npz or IDX file")


def _parse_npz(path: Path, content: bytes) -> dict[str, NDArray[Any]]:
    """Images `x`, and labels `y` if they are there."""
    with _damage_reported(path, ".npz"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.namelist()
        if any(member.endswith(".pkl") for member in members):  # torch.save writes zip files, too
            raise InputError(_pickle_refused(path))
        if "x.npy" not in members:
            raise InputError(f"{path}: holds {', '.join(members) or 'nothing'}, expected an array x (and y for labels)")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("x", "y") if f"{name}.npy" in members}


def _parse_idx(path: Path, content: bytes) -> NDArray[Any]:
    dtype, ndim = np.dtype(_IDX_TYPES[content[2]]), content[3]
    header = 4 + 4 * ndim
    if len(content) < header:
        raise InputError(f"{path}: not a whole IDX file ({len(content)} bytes, its header alone takes {header})")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", ndim, 4))
    expected = header + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise InputError(f"{path}: not a whole IDX file ({len(content)} bytes, expected {expected} for shape {shape})")
    return np.frombuffer(content, dtype, offset=header).reshape(shape)


@contextlib.contextmanager
def _damage_reported(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # numpy and zipfile have no closed list of what a damaged file makes them raise
        if "Object arrays" in str(error):
            raise InputError(_pickle_refused(path)) from error
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: not a whole {kind} file ({reason or type(error).__name__})") from error


def _pickle_refused(path: Path) -> str:
    return f"{path}: holds a pickle, which is never loaded; expected plain arrays, as numpy.save and numpy.savez write"


def _check_shape(name: str, pixels: NDArray[Any]) -> None:
    if pixels.ndim not in (2, 3, 4):
        raise InputError(
            f"{name}: images have shape {pixels.shape}, "
            "expected (samples, dim), (samples, height, width) or (samples, height, width, channels)"
        )
    if pixels.size == 0:
        raise InputError(f"{name}: images have shape {pixels.shape}, expected at least one sample and one pixel")


def _unit_interval(name: str, rows: NDArray[Any]) -> NDArray[np.float32]:
    if rows.dtype == np.uint8:
        return np.divide(rows, np.float32(255), dtype=np.float32, order="C")
    if rows.dtype.kind != "f":
        # Integers of another size could be bytes, bits or grey levels: to guess would be to dim someone's images.
        raise InputError(
            f"{name}: images are of type {rows.dtype}, expected uint8 (0 to 255) or floating point (0 to 1)"
        )
    with np.errstate(over="ignore"):  # what overflows is reported as infinite
        images = rows.astype(np.float32, order="C")
    if not np.isfinite(images).all():
        raise InputError(f"{name}: pixels are NaN or infinite in {_samples(~np.isfinite(images))}")
    outside = (images < 0) | (images > 1)
    if outside.any():
        raise InputError(
            f"{name}: pixels lie between {images.min()} and {images.max()}, expected 0 to 1 "
            f"(outside in {_samples(outside)})"
        )
    return images


def _samples(bad: NDArray[np.bool_]) -> str:
    rows = np.flatnonzero(bad.any(axis=1))
    return f"{len(rows)} of {len(bad)} samples, first in sample {rows[0]}"


def _checked_labels(source: str, labels: NDArray[Any], *, samples: int) -> NDArray[np.int64]:
    if labels.dtype.kind not in "iu":
        raise InputError(f"{source}: of type {labels.dtype}, expected integers")
    if labels.ndim != 1:
        raise InputError(f"{source}: of shape {labels.shape}, expected ({samples},)")
    if len(labels) != samples:
        raise InputError(f"{source}: {len(labels)} labels for {samples} images, expected as many")
    classes = labels.astype(np.int64)
    if classes.min() < 0:  # also where the largest unsigned ones wrap around
        raise InputError(f"{source}: between {labels.min()} and {labels.max()}, expected 0 to {np.iinfo(np.int64).max}")
    return classes


def _content_hash(images: NDArray[np.float32], labels: NDArray[np.int64] | None) -> str:
    digest = hashlib.sha256(f"{images.shape} {labels is not None}".encode())
    # In one byte order, so that all machines name the data alike.
    digest.update(images.astype("<f4", copy=False).data)
    if labels is not None:
        digest.update(labels.astype("<i8", copy=False).data)
    return digest.hexdigest()

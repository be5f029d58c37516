"""WHAT GOES IN: named data sets and files of images, as flat rows of pixels in [0, 1].

MNIST is read from a folder that has it, or from the user's cache, where `fetch_dataset` puts it; it is never downloaded
on the way. Whatever the source, what was read is checked before anything is computed with it, and no pickle is loaded.

Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits; Alpaydin and Kaynak, Optical recognition of
handwritten digits, 1998 (scikit-learn's digits).
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from dynlab.array_files import holds_named_arrays, parse_array, parse_named_arrays, read_content, reading
from dynlab.errors import InputError
from dynlab.files import printable
from dynlab.mnist import MNIST_SPLITS, MNIST_URL, fetch_mnist, frozen_permutation, read_mnist
from dynlab.short_repr import short_repr

SPLITS: Mapping[str, tuple[str, ...]] = {
    "mnist": MNIST_SPLITS,
    "digits": ("train", "test"),
}
DATASET_NAMES = tuple(
    name for family, splits in SPLITS.items() for name in (family, *(f"{family}/{split}" for split in splits))
)
DIGITS_TRAINING_SAMPLES = 1000
# Classes are counted for each basin, in a table of as many columns. Larger numbers are names, dates and the like.
MOST_LABEL = 65535
DIGITS_SPLIT_SEED = 1797


@dataclass(frozen=True)
class Dataset:
    """Images as flat rows, with their classes where these are known."""

    __repr__ = short_repr

    name: str  # as the user named it
    images: Float32[Tensor, "samples dim"]  # in [0, 1], unless they are states that are no images
    labels: Int64[Tensor, " samples"] | None
    shape: tuple[int, ...]  # of one sample
    sha256: str  # of the pixels and labels here, whatever file format they came in

    def first(self, samples: int) -> Dataset:
        """The first `samples` of them; all if there are fewer."""
        labels = None if self.labels is None else self.labels[:samples]
        return dataset_of(self.images[:samples], labels, name=self.name, shape=self.shape)


def dataset_of(
    images: Float32[Tensor, "samples dim"],
    labels: Int64[Tensor, " samples"] | None = None,
    *,
    name: str,
    shape: tuple[int, ...] | None = None,
) -> Dataset:
    """Make a data set of images in memory, which are not checked; `shape` is that of one sample, flat if not given."""
    images = images.detach().cpu().float()
    labels = None if labels is None else labels.detach().cpu().long()
    digest = _content_hash(images.numpy(), None if labels is None else labels.numpy())
    return Dataset(name, images, labels, shape or (images.shape[1],), digest)


def load_dataset(
    name: str | Path,
    *,
    labels: str | Path | None = None,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    any_values: bool = False,
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
        any_values: Take any finite floating point numbers of a file, and nothing else: states of a map that are no
            images.

    Returns:
        The samples in the order of the file, or of the split.

    Raises:
        InputError: If there is no such data, a file is damaged or holds something else than images or labels, a pixel
            is not in [0, 1] or not finite, or nothing is left.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}, expected at least 1")
    name = str(name)
    labels_source = f"{name}: y"
    if name in DATASET_NAMES:
        if labels is not None:
            raise InputError(f"labels {labels}: {name} has its own labels, expected none")
        family, _, split = name.partition("/")
        pixels, classes = read_mnist(split or "train", data_dir) if family == "mnist" else _read_digits(split)
    else:
        pixels, classes = _read_images(_existing_file(name))
        if labels is not None:
            labels_source = f"labels {labels}"
            classes = parse_array(Path(labels), read_content(Path(labels)))
    _check_shape(name, pixels)
    if any_values and name not in DATASET_NAMES and pixels.dtype.kind != "f":
        raise InputError(f"{name}: states are of type {pixels.dtype}, expected floating point")
    images = _as_floats(name, pixels[:limit].reshape(len(pixels[:limit]), -1))
    if not any_values:
        _check_unit_interval(name, images)
    targets = None if classes is None else _checked_labels(labels_source, classes, samples=len(pixels))[:limit]
    return Dataset(
        name=printable(name),
        images=torch.from_numpy(images),
        labels=None if targets is None else torch.from_numpy(targets),
        shape=tuple(pixels.shape[1:]),
        sha256=_content_hash(images, targets),
    )


def check_dataset_name(name: str) -> None:
    """Check that there is a data set or a file of this name, without reading it.

    Raises:
        InputError: As `load_dataset` says it, if there is none.
    """
    if name not in DATASET_NAMES:
        _existing_file(name)


def labels_of(data: Dataset) -> Int64[Tensor, " samples"]:
    """Labels of a data set that must have them.

    Raises:
        InputError: If it has none.
    """
    if data.labels is None:
        raise InputError(f"{data.name}: has no labels, which are needed here")
    return data.labels


def training_set_of(name: str) -> str | None:
    """Name of the training set that belongs to a named data set; None for a file, which has none."""
    return f"{name.partition('/')[0]}/train" if name in DATASET_NAMES else None


def testing_set_of(name: str) -> str | None:
    """Name of the test set that belongs to a named data set; None for a file, which has none."""
    return f"{name.partition('/')[0]}/test" if name in DATASET_NAMES else None


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
    return fetch_mnist(data_dir, progress=progress, base_url=base_url)


def _read_digits(split: str) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images, labels = digits.images / 16, digits.target
    if not split:
        return images, labels
    order = frozen_permutation(DIGITS_SPLIT_SEED, len(images))
    chosen = order[:DIGITS_TRAINING_SAMPLES] if split == "train" else order[DIGITS_TRAINING_SAMPLES:]
    return images[chosen], labels[chosen]


def _existing_file(name: str) -> Path:
    path = Path(name)
    with reading(path):
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
    content = read_content(path)
    if not holds_named_arrays(content):
        return parse_array(path, content), None
    arrays = parse_named_arrays(path, content, required="x", optional=("y",))
    return arrays["x"], arrays.get("y")


def _check_shape(name: str, pixels: NDArray[Any]) -> None:
    if pixels.ndim not in (2, 3, 4):
        raise InputError(
            f"{name}: images have shape {pixels.shape}, "
            "expected (samples, dim), (samples, height, width) or (samples, height, width, channels)"
        )
    if pixels.size == 0:
        raise InputError(f"{name}: images have shape {pixels.shape}, expected at least one sample and one pixel")


def _as_floats(name: str, rows: NDArray[Any]) -> NDArray[np.float32]:
    if rows.dtype == np.uint8:
        return np.divide(rows, np.float32(255), dtype=np.float32, order="C")
    if rows.dtype.kind != "f":
        # Integers of another size could be bytes, bits or grey levels: to guess would be to dim someone's images.
        raise InputError(
            f"{name}: images are of type {rows.dtype}, expected uint8 (0 to 255) or floating point (0 to 1)"
        )
    if not np.isfinite(rows).all():
        raise InputError(f"{name}: pixels are NaN or infinite in {_samples(~np.isfinite(rows))}")
    with np.errstate(over="ignore"):
        images = rows.astype(np.float32, order="C")
    if not np.isfinite(images).all():
        raise InputError(f"{name}: pixels are beyond the range of float32 in {_samples(~np.isfinite(images))}")
    return images


def _check_unit_interval(name: str, images: NDArray[np.float32]) -> None:
    outside = (images < 0) | (images > 1)
    if outside.any():
        raise InputError(
            f"{name}: pixels lie between {images.min()} and {images.max()}, expected 0 to 1 "
            f"(outside in {_samples(outside)})"
        )


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
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > MOST_LABEL:
        raise InputError(f"{source}: between {low} and {high}, expected classes from 0 to {MOST_LABEL}")
    return labels.astype(np.int64)


def _content_hash(images: NDArray[np.float32], labels: NDArray[np.int64] | None) -> str:
    digest = hashlib.sha256(f"{images.shape} {labels is not None}".encode())
    # In one byte order, so that all machines name the data alike.
    digest.update(np.ascontiguousarray(images, dtype="<f4").data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return digest.hexdigest()

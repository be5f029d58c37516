"""Named data sets against their known contents, files against what was written, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dynlab import datasets
from dynlab.datasets import DATASET_NAMES, Dataset, dataset_of, load_dataset, training_set_of
from dynlab.errors import InputError

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (5, 2, 3), dtype=np.uint8)
SHARES = RANDOM.random((5, 6), dtype=np.float32)


def saved(path: Path, array: Any) -> str:
    np.save(path, array)
    return str(path)


def message_of(action: Callable[[], Any]) -> str:
    """The message of the `InputError` that `action` ends with; one line that can be printed."""
    with pytest.raises(InputError) as caught:
        action()
    assert str(caught.value).isprintable()
    return str(caught.value)


def as_rows(samples: Dataset) -> list[tuple[bytes, int]]:
    """Each sample with its class, in an order of its own."""
    assert samples.labels is not None
    rows = zip(samples.images, samples.labels.tolist(), strict=True)
    return sorted((image.numpy().tobytes(), label) for image, label in rows)


def test_digits_are_those_of_scikit_learn() -> None:
    digits: Any = load_digits()
    samples = load_dataset("digits")
    assert samples.shape == (8, 8)
    assert torch.equal(samples.images * 16, torch.from_numpy(digits.data).float())
    assert samples.labels is not None
    assert samples.labels.tolist() == digits.target.tolist()


def test_splits_of_digits_are_disjoint_and_complete() -> None:
    whole, train, test = (load_dataset(name) for name in ("digits", "digits/train", "digits/test"))
    assert (len(train.images), len(test.images)) == (1000, 797)
    assert sorted(as_rows(train) + as_rows(test)) == as_rows(whole)
    assert train.images.unique(dim=0).shape[0] == 1000  # no image of this set occurs twice
    assert torch.equal(load_dataset("digits/train").images, train.images)


def test_mnist_test_set_is_in_the_order_of_its_file(mnist_test: Dataset) -> None:
    assert mnist_test.images.shape == (10000, 784)
    assert mnist_test.shape == (28, 28)
    assert mnist_test.labels is not None
    # The classes of the first ten test images, and the number of images of each class, as the set is known for.
    assert mnist_test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert mnist_test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert set(np.unique(mnist_test.images.numpy() * 255).round(3)) <= set(range(256))


def test_mnist_training_set_is_split_once(mnist_train: Dataset) -> None:
    validation = load_dataset("mnist/validation")
    assert validation.labels is not None
    assert mnist_train.labels is not None
    assert (len(mnist_train.images), len(validation.images)) == (50000, 10000)
    # Of the file as a whole: the split loses and doubles nothing.
    counts = mnist_train.labels.bincount() + validation.labels.bincount()
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    mean = (mnist_train.images.double().sum() + validation.images.double().sum()) / (60000 * 784)
    assert float(mean) == pytest.approx(0.1307, abs=5e-5)
    distinct = torch.cat([mnist_train.images, validation.images]).numpy()
    assert len({row.tobytes() for row in distinct}) == 60000
    assert load_dataset("mnist", limit=3).sha256 == load_dataset("mnist/train", limit=3).sha256


def test_bytes_are_divided_by_255(tmp_path: Path) -> None:
    samples = load_dataset(saved(tmp_path / "images.npy", BYTES))
    assert samples.shape == (2, 3)
    assert samples.labels is None
    assert torch.equal(samples.images, torch.from_numpy(BYTES.reshape(5, 6)).float() / 255)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_floating_point_is_taken_as_it_is(tmp_path: Path, dtype: str) -> None:
    samples = load_dataset(saved(tmp_path / "images.npy", SHARES.astype(dtype)))
    assert torch.equal(samples.images, torch.from_numpy(SHARES))
    assert samples.images.dtype == torch.float32


def test_column_order_is_no_other_data(tmp_path: Path) -> None:
    rows = load_dataset(saved(tmp_path / "rows.npy", SHARES))
    columns = load_dataset(saved(tmp_path / "columns.npy", np.asfortranarray(SHARES)))
    assert torch.equal(rows.images, columns.images)
    assert rows.sha256 == columns.sha256


def test_images_with_channels_are_flattened(tmp_path: Path) -> None:
    images = RANDOM.random((3, 2, 4, 3), dtype=np.float32)
    samples = load_dataset(saved(tmp_path / "images.npy", images))
    assert samples.shape == (2, 4, 3)
    assert torch.equal(samples.images.reshape(3, 2, 4, 3), torch.from_numpy(images))


def test_labels_come_from_the_npz_or_their_own_file(tmp_path: Path) -> None:
    both = tmp_path / "both.npz"
    np.savez(both, x=SHARES, y=np.arange(5))
    own = saved(tmp_path / "labels.npy", np.array([4, 3, 2, 1, 0], dtype=np.uint8))
    from_npz, from_file = load_dataset(str(both)), load_dataset(str(both), labels=own)
    assert from_npz.labels is not None
    assert from_file.labels is not None
    assert from_npz.labels.tolist() == [0, 1, 2, 3, 4]
    assert from_file.labels.tolist() == [4, 3, 2, 1, 0]
    assert from_file.labels.dtype == torch.int64


def test_limit_takes_the_first(tmp_path: Path) -> None:
    path = tmp_path / "both.npz"
    np.savez(path, x=SHARES, y=np.arange(5))
    two, many = load_dataset(str(path), limit=2), load_dataset(str(path), limit=99)
    assert torch.equal(two.images, torch.from_numpy(SHARES[:2]))
    assert two.labels is not None
    assert two.labels.tolist() == [0, 1]
    assert len(many.images) == 5
    assert torch.equal(many.first(2).images, two.images)
    assert many.first(2).sha256 == two.sha256


def test_hash_tells_data_apart_and_not_formats(tmp_path: Path) -> None:
    plain = load_dataset(saved(tmp_path / "plain.npy", SHARES))
    np.savez_compressed(tmp_path / "packed.npz", x=SHARES.astype(np.float64))
    assert load_dataset(str(tmp_path / "packed.npz")).sha256 == plain.sha256
    changed = SHARES.copy()
    changed[4, 5] = np.nextafter(changed[4, 5], np.float32(0))
    others = [
        dataset_of(torch.from_numpy(changed), name="changed"),
        dataset_of(torch.from_numpy(SHARES.reshape(6, 5)), name="of another shape"),
        dataset_of(torch.from_numpy(SHARES), torch.zeros(5, dtype=torch.int64), name="labelled"),
        dataset_of(torch.from_numpy(SHARES), torch.ones(5, dtype=torch.int64), name="labelled otherwise"),
    ]
    assert len({plain.sha256, *(other.sha256 for other in others)}) == 5


def test_images_in_memory_need_not_be_contiguous() -> None:
    images = torch.from_numpy(SHARES)
    turned = dataset_of(images.T.contiguous().T, name="turned")
    assert turned.sha256 == dataset_of(images, name="straight").sha256


@pytest.mark.parametrize(
    ("name", "training", "test"),
    [
        ("mnist", "mnist/train", "mnist/test"),
        ("mnist/validation", "mnist/train", "mnist/test"),
        ("digits/test", "digits/train", "digits/test"),
        ("file.npy", None, None),
    ],
)
def test_sets_that_belong_together(name: str, training: str | None, test: str | None) -> None:
    assert training_set_of(name) == training
    assert datasets.testing_set_of(name) == test


def test_names() -> None:
    assert DATASET_NAMES == (
        "mnist", "mnist/train", "mnist/validation", "mnist/test", "digits", "digits/train", "digits/test"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnits", "'mnits': unknown data name and no such file, expected one of mnist, "),
        (
            "mnist/tset",
            "mnist/tset: unknown split and no such file, mnist has train, validation, test; did you mean test?",
        ),
        ("digits/validation", "digits/validation: unknown split and no such file, digits has train, test"),
        ("missing.npy", "missing.npy: no such file"),
        ("", "'': unknown data name and no such file"),
        ("\0", "unknown data name"),
        ("x" * 5000, "cannot be read (File name too long)"),
        (".", ".: is a folder, expected a file or one of mnist, "),
    ],
)
def test_unknown_name_is_refused(name: str, expected: str) -> None:
    assert expected in message_of(lambda: load_dataset(name))


def test_nearest_name_is_suggested() -> None:
    assert message_of(lambda: load_dataset("Digits/Trian")).endswith("; did you mean digits/train?")


def _with(array: Any, index: tuple[int, ...], value: float) -> Any:
    changed = array.copy()
    changed[index] = value
    return changed


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (_with(SHARES, (3, 1), np.nan), "pixels are NaN or infinite in 1 of 5 samples, first in sample 3"),
        (_with(SHARES, (0, 0), -np.inf), "pixels are NaN or infinite in 1 of 5 samples, first in sample 0"),
        (SHARES.astype(np.float64) * 1e300, "pixels are beyond the range of float32 in 5 of 5 samples, first in"),
        (_with(_with(SHARES, (2, 0), 1.5), (4, 0), -0.5), "between -0.5 and 1.5, expected 0 to 1 (outside in 2 of 5"),
        (SHARES[:0], "images have shape (0, 6), expected at least one sample and one pixel"),
        (SHARES[:, :0], "images have shape (5, 0), expected at least one sample and one pixel"),
        (SHARES[0], "images have shape (6,), expected (samples, dim), "),
        (np.float32(0.5), "images have shape (), expected (samples, dim), "),
        (np.zeros((1,) * 5, np.float32), "images have shape (1, 1, 1, 1, 1), expected "),
        (BYTES.astype(np.int64), "images are of type int64, expected uint8 (0 to 255) or floating point (0 to 1)"),
        (BYTES > 100, "images are of type bool, expected uint8"),
        (SHARES.astype(complex), "images are of type complex128, expected uint8"),
        (np.array([["a\nb"]]), "images are of type <U3, expected uint8"),
        (np.zeros((2, 2), [("a\nb", "f4")]), "images are of type [('a\\nb', '<f4')], expected uint8"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, array: Any, expected: str) -> None:
    name = saved(tmp_path / "images.npy", array)
    message = message_of(lambda: load_dataset(name))
    assert message.startswith(f"{name}: ")
    assert expected in message


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.arange(4), "4 labels for 5 images, expected as many"),
        (np.arange(5) - 2, "between -2 and 2, expected classes from 0 to 65535"),
        (np.array([0, 1, 2, 3, 2**63], dtype=np.uint64), "between 0 and 9223372036854775808, expected "),
        (np.array([0, 1, 2, 3, 65536]), "between 0 and 65536, expected classes from 0 to 65535"),
        (np.arange(5.0), "of type float64, expected integers"),
        (np.zeros((5, 1), int), "of shape (5, 1), expected (5,)"),
        (np.zeros(0, int), "0 labels for 5 images, expected as many"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path: Path, array: Any, expected: str) -> None:
    images, labels = saved(tmp_path / "images.npy", SHARES), saved(tmp_path / "labels.npy", array)
    assert message_of(lambda: load_dataset(images, labels=labels)).startswith(f"labels {labels}: {expected}")
    np.savez(tmp_path / "both.npz", x=SHARES, y=array)
    message = message_of(lambda: load_dataset(str(tmp_path / "both.npz")))
    assert message.startswith(f"{tmp_path / 'both.npz'}: y: {expected}")


def test_labels_missing_or_not_wanted(tmp_path: Path) -> None:
    images = saved(tmp_path / "images.npy", SHARES)
    missing = str(tmp_path / "labels.npy")
    assert message_of(lambda: load_dataset(images, labels=missing)) == (
        f"{missing}: cannot be read (No such file or directory)"
    )
    assert "has its own labels" in message_of(lambda: load_dataset("digits", labels=images))


@pytest.mark.parametrize("limit", [0, -1])
def test_empty_selection_is_refused(limit: int) -> None:
    assert message_of(lambda: load_dataset("digits", limit=limit)) == f"limit is {limit}, expected at least 1"

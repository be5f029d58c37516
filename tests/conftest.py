"""What all tests share. Array shapes in signatures are checked here, by beartype, and nowhere else."""

from __future__ import annotations

import hashlib
import importlib
import os
import signal
from collections.abc import Iterator
from typing import Any

from jaxtyping import install_import_hook

# The packages whose signatures carry shapes; the hook must be in place before they are imported.
install_import_hook(
    ["dynlab.datasets", "dynlab.maps", "dynlab.training", "dynlab.dynamics", "dynlab.attractors", "dynlab.evaluation"],
    "shapes.checked",
)

# Started in the background, a process and all that it starts may ignore what Ctrl-C sends, which tests send to them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from dynlab.datasets import Dataset, load_dataset  # noqa: E402
from dynlab.errors import InputError  # noqa: E402
from dynlab.evaluation.recognizer import Recognizer, train_recognizer  # noqa: E402
from dynlab.maps import DenoisingAutoencoder  # noqa: E402
from dynlab.studies import ladder  # noqa: E402
from dynlab.training import TrainingSettings, train  # noqa: E402

import shapes  # noqa: E402
from recorded import Recordings  # noqa: E402

analyse = importlib.import_module("dynlab.evaluation.analyse")  # the package has a function of that name

LONG_FILES = {"test_commands.py", "test_demo.py", "test_readme.py", "test_recognizer.py"}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: run on a machine with a GPU"),
        ],
    ),
]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device at hand; CUDA is skipped, and says so, where there is none."""
    return torch.device(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Check the shapes of each function's first calls, in this test and what is set up for it as in any other."""
    shapes.begin()


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recordings:
    """Lets the CPU record work as CUDA does, once a test has it begin."""
    return Recordings(monkeypatch)


@pytest.fixture(scope="session", autouse=True)
def recognizers_once() -> Iterator[None]:
    """Analyses of a test process train a recognizer on the same images once; it has tests of its own."""
    known: dict[tuple[object, ...], Recognizer] = {}

    def once(images: Tensor, classes: Tensor, **options: Any) -> Recognizer:
        on_progress = options.pop("on_progress")
        contents = (hashlib.sha256(array.numpy().tobytes()).hexdigest() for array in (images, classes))
        key = (*contents, *sorted(options.items()))
        if key not in known:
            known[key] = train_recognizer(images, classes, **options, on_progress=on_progress)
        on_progress(1.0)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        for module in (analyse, ladder):
            patch.setattr(module, "train_recognizer", once)
        yield


@pytest.fixture(scope="session")
def mnist_train() -> Dataset:
    """The 50000 training images of MNIST."""
    return _mnist("mnist/train")


@pytest.fixture(scope="session")
def mnist_test() -> Dataset:
    """The 10000 test images of MNIST."""
    return _mnist("mnist/test")


@pytest.fixture(scope="session")
def digits_train() -> Dataset:
    """1000 digits of 8 x 8 pixels."""
    return load_dataset("digits/train")


@pytest.fixture(scope="session")
def digits_test() -> Dataset:
    """The other 797."""
    return load_dataset("digits/test")


@pytest.fixture(scope="session")
def digits_dae(digits_train: Dataset) -> DenoisingAutoencoder:
    """An autoencoder with tens of attractors, trained in seconds; tests must not change it."""
    settings = TrainingSettings(sigma=0.2, walkback=3, epochs=100, annealing=0.995, hidden=128)
    return _autoencoder(train(digits_train.images, settings, state_shape=digits_train.shape, device="cpu"))


@pytest.fixture(scope="session")
def mnist_dae(mnist_train: Dataset) -> DenoisingAutoencoder:
    """An autoencoder of the report's size, trained in well under two minutes; tests must not change it."""
    settings = TrainingSettings(sigma=0.5, walkback=2, epochs=3, annealing=0.9)
    return _autoencoder(train(mnist_train.images, settings, state_shape=mnist_train.shape, device="cpu"))


def _autoencoder(trained: object) -> DenoisingAutoencoder:
    assert isinstance(trained, DenoisingAutoencoder)
    return trained


def _mnist(name: str) -> Dataset:
    try:
        return load_dataset(name)
    except InputError as error:
        reason = f"MNIST is not here: run `dynlab data get mnist` or set DYNLAB_DATA ({error})"
    # Who named a folder wants its files tested, and in CI a skipped test would be a test nobody runs.
    if os.environ.get("CI") or os.environ.get("DYNLAB_DATA"):
        pytest.fail(reason)
    pytest.skip(reason)

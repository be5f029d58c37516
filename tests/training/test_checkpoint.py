"""Nothing is lost: what was interrupted anywhere goes on to the very weights that it would have had."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dynlab.errors import InputError
from dynlab.maps import Map
from dynlab.training import EpochProgress, TrainingDiverged, TrainingSettings, train, train_map
from dynlab.training.driving import Checkpointing, drive
from dynlab.training.initialization import beginning
from dynlab.training.run import TrainingRun

# In minibatches of 20 the last of each epoch has 5 samples.
IMAGES = torch.rand(45, 16, generator=torch.Generator().manual_seed(6))
SETTINGS = TrainingSettings(sigma=0.3, walkback=2, epochs=3, annealing=0.9, hidden=8, seed=4)
KINDS = {
    "one layer": SETTINGS,
    "tied": replace(SETTINGS, tied=True, loss="cross-entropy"),
    "deep": replace(SETTINGS, hidden=(12, 5), contraction=0.01),
    "learned": replace(SETTINGS, corruption="learned"),
    "salt and pepper": replace(SETTINGS, corruption="salt-and-pepper"),
}


def assert_same(found: Map, expected: Map) -> None:
    """The same weights, bit by bit, and the same history."""
    parameters = dict(expected.named_parameters())
    for name, value in found.named_parameters():
        assert value.equal(parameters[name]), name
    assert found.training_settings == expected.training_settings


def new_run(settings: TrainingSettings) -> TrainingRun:
    return TrainingRun(IMAGES, settings, beginning(16, settings, None, None))


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_training_goes_on_from_any_minibatch(settings: TrainingSettings, tmp_path: Path) -> None:
    whole = new_run(settings)
    assert drive(whole)
    minibatches = 3 * settings.epochs
    for first in range(minibatches):  # stopped after that many, again one later, and then taken to the end
        checkpointing = Checkpointing(tmp_path / f"{first}.safetensors", {"first": first})
        for asked in (first, 1):
            countdown = iter(range(asked))
            assert (
                not drive(
                    new_run(settings), checkpointing=checkpointing, stop=lambda left=countdown: next(left, None) is None
                )
                or first + 1 == minibatches
            )
        run = new_run(settings)
        assert drive(run, checkpointing=checkpointing)
        assert_same(run.trained(), whole.trained())


class Raised(Exception):  # noqa: N818
    """What a callback raises."""


def test_what_a_callback_raises_ends_the_training_with_a_checkpoint(tmp_path: Path) -> None:
    path, epochs, snapshots = tmp_path / "c.safetensors", [], []

    def on_epoch(progress: EpochProgress) -> None:
        epochs.append(progress.epoch)
        if epochs == [1, 2]:
            raise Raised

    def on_snapshot(trained: Map) -> None:
        snapshots.append(trained)
        if len(snapshots) == 1:
            raise Raised

    def go_on() -> Map:
        return train(
            IMAGES, SETTINGS, checkpoint=path, snapshots=[2], on_epoch=on_epoch, on_snapshot=on_snapshot, device="cpu"
        )

    # A snapshot that failed is called for again, as nothing that is after it was kept; here, nothing at all.
    with pytest.raises(Raised):
        go_on()
    assert not path.exists()
    epochs.clear()
    with pytest.raises(Raised):
        go_on()
    assert path.exists()
    assert_same(go_on(), train(IMAGES, SETTINGS, device="cpu"))
    assert epochs == [1, 2, 3]
    assert len(snapshots) == 2
    assert_same(snapshots[1], train(IMAGES, replace(SETTINGS, epochs=2), device="cpu"))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_snapshots_are_what_training_for_that_many_epochs_gives() -> None:
    for settings in KINDS.values():
        found: list[Map] = []
        train(IMAGES, settings, device="cpu", snapshots=(1, 3), on_snapshot=found.append)
        for epochs, snapshot in zip((1, 3), found, strict=True):
            assert_same(snapshot, train(IMAGES, replace(settings, epochs=epochs), device="cpu"))


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    def go_on(epochs: list[EpochProgress]) -> Map:
        return train(IMAGES, SETTINGS, device="cpu", checkpoint=tmp_path / "c.safetensors", on_epoch=epochs.append)

    first, again = go_on([]), go_on(told := [])
    assert told == []
    assert_same(again, first)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_a_longer_training_goes_on_from_a_shorter_one(settings: TrainingSettings, tmp_path: Path) -> None:
    """Also with other snapshots; one at the end of the shorter one is made up for, and none is made twice."""
    path, snapshots, told = tmp_path / "c.safetensors", list[Map](), list[EpochProgress]()

    def go_on(epochs: int, *kept: int) -> Map:
        snapshots.clear()
        told.clear()
        return train(
            IMAGES,
            replace(settings, epochs=epochs),
            device="cpu",
            checkpoint=path,
            snapshots=kept,
            on_epoch=told.append,
            on_snapshot=snapshots.append,
        )

    def direct(epochs: int) -> Map:
        return train(IMAGES, replace(settings, epochs=epochs), device="cpu")

    assert_same(go_on(3, 1), direct(3))
    assert_same(go_on(5, 1, 3, 4), direct(5))
    assert [(one.epoch, one.epochs) for one in told] == [(4, 5), (5, 5)]
    for snapshot, epochs in zip(snapshots, (3, 4), strict=True):
        assert_same(snapshot, direct(epochs))
    assert_same(go_on(6, 1, 3, 4), direct(6))
    assert snapshots == []


def test_a_snapshot_that_nobody_took_was_not_kept(tmp_path: Path) -> None:
    path, taken = tmp_path / "c.safetensors", list[Map]()
    train(IMAGES, SETTINGS, device="cpu", checkpoint=path, snapshots=[1])
    with pytest.raises(InputError, match="no snapshot was kept after 1"):
        train(IMAGES, SETTINGS, device="cpu", checkpoint=path, snapshots=[1], on_snapshot=taken.append)
    train(IMAGES, SETTINGS, device="cpu", checkpoint=path, snapshots=[3], on_snapshot=taken.append)
    assert_same(taken[0], train(IMAGES, SETTINGS, device="cpu"))


def test_a_checkpoint_beyond_what_is_asked_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"

    def stop(progress: EpochProgress) -> None:
        if progress.epoch == 3:
            raise Raised

    def go_on(epochs: int, *snapshots: int) -> Map:
        return train(
            IMAGES,
            replace(SETTINGS, epochs=epochs),
            device="cpu",
            checkpoint=path,
            snapshots=snapshots,
            on_epoch=stop,
            on_snapshot=lambda trained: None,
        )

    with pytest.raises(Raised):
        go_on(5, 2)
    advice = "; delete it or name another file$"
    for epochs, snapshots, words in (
        (2, (), "holds 3 epochs, expected at most 2"),
        (5, (1, 4), "holds 3 epochs, no snapshot was kept after 1"),
        (5, (1, 2), "holds 3 epochs, no snapshot was kept after 1"),
    ):
        before = path.read_bytes()
        with pytest.raises(InputError, match=words + advice) as error:
            go_on(epochs, *snapshots)
        assert str(error.value).startswith(f"{path}: ")
        assert path.read_bytes() == before
    assert_same(go_on(3, 2, 3), train(IMAGES, SETTINGS, device="cpu"))

    # In the midst of the fourth epoch its weights are those of three epochs no more.
    countdown = iter(range(1))
    run = new_run(replace(SETTINGS, epochs=4))
    other = Checkpointing(tmp_path / "other.safetensors", {})
    assert drive(new_run(SETTINGS), checkpointing=other)
    assert not drive(run, checkpointing=other, stop=lambda: next(countdown, None) is None)
    with pytest.raises(InputError, match="holds 3 epochs and more, expected at most 3" + advice):
        drive(new_run(SETTINGS), checkpointing=other)
    with pytest.raises(InputError, match="holds 3 epochs, no snapshot was kept after 3" + advice):
        drive(new_run(replace(SETTINGS, epochs=4)), checkpointing=other, snapshots=[3])


def test_a_divergence_is_told_again(tmp_path: Path) -> None:
    settings, words = replace(SETTINGS, learning_rate=1e38, walkback=1, epochs=5), []
    snapshots: list[Map] = []
    for _ in range(2):
        with pytest.raises(TrainingDiverged) as error:
            train(
                10 * IMAGES,
                settings,
                device="cpu",
                checkpoint=tmp_path / "c.safetensors",
                snapshots=(1, 2, 3),
                on_snapshot=snapshots.append,
            )
        words.append(str(error.value))
    assert words[0] == words[1]
    for snapshot in snapshots:
        assert all(parameter.isfinite().all() for parameter in snapshot.parameters())


class Scaled(Map):
    """A map of one's own, with parameters that are trained and one that is not."""

    def __init__(self) -> None:
        super().__init__(16)
        self.scale = torch.nn.Parameter(torch.ones(16))
        self.fixed = torch.nn.Parameter(torch.full((16,), 0.1), requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        return torch.tanh(self.scale * states + self.fixed)


def test_a_map_of_ones_own_goes_on(tmp_path: Path) -> None:
    path, system = tmp_path / "c.safetensors", Scaled()

    def interrupt(progress: EpochProgress) -> None:
        if progress.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_map(system, IMAGES, SETTINGS, device="cpu", checkpoint=path, on_epoch=interrupt)
    found = train_map(system, IMAGES, SETTINGS, device="cpu", checkpoint=path)
    assert_same(found, train_map(system, IMAGES, SETTINGS, device="cpu"))
    assert found.fixed.equal(system.fixed)
    system.scale.data.mul_(2)
    with pytest.raises(InputError, match=r"c\.safetensors: the checkpoint of another training, map "):
        train_map(system, IMAGES, SETTINGS, device="cpu", checkpoint=path)


# Killed

LONG = replace(SETTINGS, epochs=1500)
SCRIPT = """
import sys
from pathlib import Path
import torch
from dynlab.training import TrainingSettings, train

images = torch.rand(45, 16, generator=torch.Generator().manual_seed(6))
settings = TrainingSettings(sigma=0.3, walkback=2, epochs=1500, annealing=0.9, hidden=8, seed=4)
seconds = float(sys.argv[2])
train(images, settings, device="cpu", checkpoint=Path(sys.argv[1]), checkpoint_seconds=seconds,
      on_epoch=lambda progress: print(progress.epoch, flush=True))
"""


def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    path, chance = tmp_path / "c.safetensors", random.Random(1)
    reached, before = 0, None
    for number, seconds in (
        (signal.SIGKILL, 0.0),
        (signal.SIGTERM, 60.0),
        (signal.SIGINT, 60.0),
        (signal.SIGKILL, 0.0),
    ):
        command = [sys.executable, "-c", SCRIPT, str(path), str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            epochs = [int(process.stdout.readline()) for _ in range(5)]
            time.sleep(0.01 * chance.random())
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        # Python's own end after a KeyboardInterrupt is by the signal, too.
        assert process.returncode == -number, err
        # An epoch may be told that SIGKILL let no checkpoint be written of.
        assert epochs[0] > reached - (before == signal.SIGKILL)
        before = number
        reached = int(out.split()[-1]) if out.split() else epochs[-1]
        assert reached < LONG.epochs
        first = train_epochs_left(path)
        # With a signal that can be held back, nothing that was told is lost.
        assert first >= reached if number != signal.SIGKILL else first >= reached - 1
    assert_same(train(IMAGES, LONG, device="cpu", checkpoint=path), train(IMAGES, LONG, device="cpu"))


def train_epochs_left(path: Path) -> int:
    """How many epochs a checkpoint has behind it."""
    return len(load_file(path)["objectives"])


# Damaged, foreign, and a full disk


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint in the middle of an epoch."""
    path = tmp_path_factory.mktemp("whole") / "c.safetensors"
    epochs: list[int] = []

    def interrupt(progress: EpochProgress) -> None:
        epochs.append(progress.epoch)
        raise Raised

    with pytest.raises(Raised):
        train(IMAGES, SETTINGS, device="cpu", checkpoint=path, on_epoch=interrupt)
    return path.read_bytes()


def refused(path: Path, message: str, images: Tensor = IMAGES, **changes: Any) -> None:
    """See that `path` is refused by its name, and left as it is."""
    before = path.read_bytes()
    start = changes.pop("start", None)
    shape = changes.pop("state_shape", None)
    with pytest.raises(InputError, match=message) as error:
        train(images, replace(SETTINGS, **changes), start=start, state_shape=shape, device="cpu", checkpoint=path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "not a whole safetensors file"),
        (lambda data: data[:-1], "not a whole safetensors file"),
        (lambda data: data[: len(data) // 2], "not a whole safetensors file"),
        (lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:], "damaged"),
        (lambda data: data.replace(b"training-checkpoint", b"training-chickpoint"), "of kind 'training-chickpoint'"),
        (lambda data: data.replace(b'0.3', b'0.4'), r"another training, sigma 0\.4, expected 0\.3"),
        (lambda data: pickle.dumps({"epoch": 3}), "holds a pickle"),
        (lambda data: b"epoch 3", "not a whole safetensors file"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_refused(
    damage: Callable[[bytes], bytes], message: str, whole: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    refused(path, message)


def test_every_flipped_bit_is_found(whole: bytes, tmp_path: Path) -> None:
    path, expected = tmp_path / "c.safetensors", train(IMAGES, SETTINGS, device="cpu")
    header = 8 + int.from_bytes(whole[:8], "little")
    chance = random.Random(2)
    for position in [*range(8), *chance.sample(range(8, header), 40), *chance.sample(range(header, len(whole)), 40)]:
        changed = bytearray(whole)
        changed[position] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            found = train(IMAGES, SETTINGS, device="cpu", checkpoint=path)
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:  # a byte that means nothing, such as a space
            assert_same(found, expected)
            assert position < header


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": 0.5}, r"another training, sigma 0\.3, expected 0\.5"),
        ({"seed": 5}, "another training, seed 4, expected 5"),
        ({"hidden": (8, 4)}, r"another training, hidden 8, expected \[8, 4\]"),
        ({"images": IMAGES.flip(0)}, "another training, images '"),
        ({"images": IMAGES[:40]}, "another training, images '"),
        ({"state_shape": (2, 8)}, r"another training, state_shape \[4, 4\], expected \[2, 8\]"),
        ({"start": beginning(16, replace(SETTINGS, seed=9), None, None)}, "another training, map '"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(
    changes: dict[str, Any], message: str, whole: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(whole)
    refused(path, message, **changes)


def test_another_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dae.safetensors"
    train(IMAGES, SETTINGS, device="cpu").save(path)
    refused(path, "a file of kind 'denoising-autoencoder', expected 'training-checkpoint'")
    save_file({"x": torch.zeros(3)}, path)
    refused(path, "a file of kind None")


def test_a_checkpoint_that_lacks_a_tensor_is_refused(whole: bytes, tmp_path: Path) -> None:
    # As only another program would write it, with a hash that fits.
    from dynlab.training.checkpoint import write_checkpoint

    path = tmp_path / "c.safetensors"
    path.write_bytes(whole)
    tensors = load_file(path)
    identity = json.loads(json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]["identity"])
    write_checkpoint(path, {name: value for name, value in tensors.items() if name != "objectives"}, identity)
    refused(path, "tensor objectives is missing")
    write_checkpoint(path, {**tensors, "parameters.encoder.bias": torch.zeros(3)}, identity)
    refused(path, r"parameters.encoder.bias is torch.float32 of shape \(3,\), expected torch.float32 of shape \(8,\)")


def test_a_full_disk_ends_training_and_leaves_the_last_checkpoint(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(whole)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot be written") as error:
            train(IMAGES, SETTINGS, device="cpu", checkpoint=path, checkpoint_seconds=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(error.value).startswith(f"{path}: ")
    assert path.read_bytes() == whole
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert_same(train(IMAGES, SETTINGS, device="cpu", checkpoint=path), train(IMAGES, SETTINGS, device="cpu"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"checkpoint_seconds": -1.0}, "^checkpoint_seconds is -1.0, expected at least 0"),
        ({"checkpoint_seconds": float("nan")}, "^checkpoint_seconds is nan, expected at least 0"),
        ({"checkpoint": Path(os.devnull) / "c.safetensors"}, "^checkpoint /dev/null: /dev/null is not a folder"),
        ({"snapshots": [0]}, "^snapshots holds 0, expected epochs from 1 to 3"),
        ({"snapshots": [2, 4]}, "^snapshots holds 4, expected epochs from 1 to 3"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    told: list[EpochProgress] = []
    arguments = {"checkpoint": tmp_path / "c.safetensors", "on_epoch": told.append} | arguments
    with pytest.raises(InputError, match=message):
        train(IMAGES, SETTINGS, device="cpu", **arguments)
    assert told == []
    assert list(tmp_path.iterdir()) == []

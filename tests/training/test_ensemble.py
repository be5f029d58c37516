"""Ensembles: members are trained as if they were alone, and nothing is lost."""

from __future__ import annotations

import copy
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dynlab.errors import InputError
from dynlab.maps import Autoencoder, Map, load_map, map_hash
from dynlab.training import EpochProgress, TrainingDiverged, TrainingFailed, TrainingSettings, train
from dynlab.training.batched import SHARED_SETTINGS
from dynlab.training.ensemble import Backend, train_ensemble
from dynlab.training.initialization import beginning
from dynlab.training.member import Member

IMAGES = torch.rand(45, 16, generator=torch.Generator().manual_seed(6))  # the last minibatch has 5
SETTINGS = TrainingSettings(sigma=0.3, walkback=2, epochs=4, annealing=0.9, hidden=8, seed=4)
MEMBERS = [
    SETTINGS,
    replace(SETTINGS, seed=5, sigma=0.1),
    replace(SETTINGS, seed=6, learning_rate=0.3, annealing=1.0),
    replace(SETTINGS, seed=7, corruption="salt-and-pepper", sigma=0.2),
]
DIVERGING = replace(SETTINGS, learning_rate=1e38, seed=8)


class Raised(Exception):  # noqa: N818
    """What `on_progress` raises."""


def assert_same_weights(found: Map | None, expected: Map) -> None:
    """Bit by bit."""
    assert found is not None
    parameters = dict(found.named_parameters())
    for name, value in expected.named_parameters():
        assert value.equal(parameters[name]), name


def trained(settings: TrainingSettings, **options: Any) -> Autoencoder:
    return train(IMAGES, settings, device="cpu", **options)


def workers_of(parent: int) -> list[int]:
    """The processes that train for a process, by their numbers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            its_parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        if its_parent == parent and b"dynlab.training.worker" in words:
            found.append(int(folder.name))
    return found


def is_there(process: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Any:
    yield
    assert workers_of(os.getpid()) == []


# Alone, in company, and by `train`


def test_alone_and_in_company_a_member_is_trained_as_by_train(tmp_path: Path) -> None:
    told: list[tuple[int, EpochProgress | TrainingDiverged]] = []
    company = train_ensemble(
        IMAGES,
        MEMBERS,
        device="cpu",
        processes=2,
        snapshots=(1, 3),
        folder=tmp_path,
        on_progress=lambda number, progress: told.append((number, progress)),
    )
    (alone,) = train_ensemble(IMAGES, MEMBERS[1:2], device="cpu")
    reversed_ = train_ensemble(IMAGES, MEMBERS[::-1], device="cpu", processes=1)
    for number, (settings, member) in enumerate(zip(MEMBERS, company, strict=True)):
        expected = trained(settings)
        assert_same_weights(member.autoencoder, expected)
        assert_same_weights(reversed_[-1 - number].autoencoder, expected)
        assert (member.settings, member.diverged) == (settings, None)
        assert member.autoencoder is not None
        grouping = {"members": 4, "member": number, "processes": 2}
        known = expected.training_settings | {"backend": "processes", "ensemble": grouping}
        assert member.autoencoder.training_settings == known
        # What is told of each, in its order.
        objectives = [
            progress.objective for row, progress in told if row == number and isinstance(progress, EpochProgress)
        ]
        assert objectives == expected.training_settings["objective"]
        # N epochs are the beginning of more.
        assert list(member.snapshots) == [1, 3]
        for epochs, snapshot in member.snapshots.items():
            shorter = trained(replace(settings, epochs=epochs))
            assert_same_weights(snapshot, shorter)
            known = shorter.training_settings | {"backend": "processes", "ensemble": grouping}
            assert snapshot.training_settings == known
            assert_same_weights(load_map(tmp_path / f"member-{number:03d}-epoch-{epochs}.safetensors"), shorter)
        assert_same_weights(load_map(tmp_path / f"member-{number:03d}.safetensors"), expected)
    assert_same_weights(alone.autoencoder, trained(MEMBERS[1]))
    names = {"ensemble.json"} | {f"member-{row:03d}{end}.safetensors" for row in range(4) for end in ENDS}
    assert {path.name for path in tmp_path.iterdir()} == names


ENDS = ("", "-epoch-1", "-epoch-3")


def test_deep_members_begin_from_given_weights(tmp_path: Path) -> None:
    # Images that lie in memory as no tensor of torch's own does.
    images = torch.rand(46 * 9 + 1, generator=torch.Generator().manual_seed(1))[1:].view(46, 9)[1:]
    members = [
        replace(SETTINGS, hidden=(7, 3), corruption="clean", loss="cross-entropy", walkback_variant="last"),
        replace(SETTINGS, hidden=(7, 3), seed=5, loss="cross-entropy", walkback_variant="last"),
    ]
    starts = [beginning(9, replace(members[0], seed=seed), None, (9, 1)) for seed in (20, 21)]
    found = train_ensemble(images, members, device="cpu", start=starts, processes=1)
    for settings, start, member in zip(members, starts, found, strict=True):
        assert_same_weights(member.autoencoder, train(images, settings, start=start, device="cpu"))
        assert member.autoencoder is not None
        assert member.autoencoder.state_shape == (9, 1)
        assert member.autoencoder.training_settings["started_from"] == map_hash(start)


@pytest.mark.parametrize("backend", ["processes", "batched"])
def test_one_that_diverges_stops_alone(backend: Any, tmp_path: Path) -> None:
    images, settings = 10 * IMAGES, [replace(one, walkback=1, epochs=6) for one in (SETTINGS, DIVERGING)]
    told: list[tuple[int, EpochProgress | TrainingDiverged]] = []

    def go_on() -> list[Any]:
        return train_ensemble(
            images,
            settings,
            backend=backend,
            device="cpu",
            processes=1,
            folder=tmp_path,
            names=["good", "bad"],
            snapshots=[1, 6],
            on_progress=lambda number, progress: told.append((number, progress)),
        )

    first = go_on()
    with pytest.raises(TrainingDiverged) as error:
        train(images, settings[1], device="cpu")
    (words,) = [str(progress) for number, progress in told if isinstance(progress, TrainingDiverged) and number == 1]
    assert words == first[1].diverged
    if backend == "processes":
        assert words == str(error.value)
    assert len([number for number, _ in told if number == 0]) == 6
    told.clear()
    for good, bad in (first, go_on()):
        assert good.diverged is None
        assert list(good.snapshots) == [1, 6]
        if backend == "processes":
            assert_same_weights(good.autoencoder, train(images, settings[0], device="cpu"))
        assert bad.autoencoder is None
        assert bad.diverged == words
        for snapshot in bad.snapshots.values():
            assert all(parameter.isfinite().all() for parameter in snapshot.parameters())
    assert told == []


# Interrupted

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from dynlab.training import TrainingSettings
from dynlab.training.ensemble import Backend, train_ensemble
from dynlab.training.member import Member

print("imported by nobody but", __name__, file=sys.stderr)
images = torch.rand(45, 16, generator=torch.Generator().manual_seed(6))
settings = TrainingSettings(sigma=0.3, walkback=2, epochs=2000, annealing=0.9, hidden=8, seed=4)
train_ensemble(images, [replace(settings, seed=seed) for seed in range(2)], device="cpu", processes=int(sys.argv[3]),
               folder=Path(sys.argv[1]), checkpoint_seconds=float(sys.argv[2]), snapshots=[7, 2000],
               on_progress=lambda number, progress: print(number, progress.epoch, flush=True))
"""


def test_an_interrupted_ensemble_goes_on(tmp_path: Path) -> None:
    folder, temporary = tmp_path / "kept", tmp_path / "temporary"
    temporary.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for number, seconds, processes in ((signal.SIGKILL, 0.0, 2), (signal.SIGINT, 60.0, 1), (signal.SIGTERM, 60.0, 1)):
        with subprocess.Popen(
            [sys.executable, str(script), str(folder), str(seconds), str(processes)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"TMPDIR": str(temporary)},
        ) as process:
            assert process.stdout is not None
            for _ in range(20):
                assert process.stdout.readline()
            workers = workers_of(process.pid)
            assert workers
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # as a terminal does
            else:
                process.send_signal(number)
            _, err = process.communicate(timeout=60)
        assert process.returncode == -number, err
        # The program is imported by none of them, and they say nothing.
        assert err.count("imported by nobody but __main__") == 1
        assert "worker" not in err
        assert err.count("Traceback") == (1 if number == signal.SIGINT else 0)
        deadline = time.monotonic() + (30 if number == signal.SIGKILL else 0)
        while any(map(is_there, workers)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(map(is_there, workers))
        assert list(temporary.iterdir()) == []
        assert list(folder.glob("*.checkpoint.safetensors"))
        assert not list(folder.glob("*.part"))
    members = [replace(SETTINGS, epochs=2000, seed=seed) for seed in range(2)]
    found = train_ensemble(IMAGES, members, device="cpu", processes=1, folder=folder, snapshots=[7, 2000])
    for settings, member in zip(members, found, strict=True):
        assert_same_weights(member.autoencoder, trained(settings))
        assert_same_weights(member.snapshots[7], trained(replace(settings, epochs=7)))
    assert not list(folder.glob("*.checkpoint.safetensors"))


def test_a_process_whose_input_ends_stops_within_an_epoch(tmp_path: Path) -> None:
    shared, folder = tmp_path / "dynlab-ensemble-shared", tmp_path / "kept"
    shared.mkdir()
    np.save(shared / "images.npy", IMAGES.repeat(10000, 1).numpy())  # an epoch takes more than ten seconds
    settings = replace(SETTINGS, batch_size=2)
    member = Member(0, "a", folder, settings, 16, (4, 4), None, (), 0.1, {"of": "a test"}, {})
    command = [sys.executable, "-m", "dynlab.training.worker", str(shared / "images.npy")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"member": member.as_json()}) + "\n")
        process.stdin.flush()
        while not member.checkpoint_path.exists():
            assert process.poll() is None
            time.sleep(0.01)
        out, _ = process.communicate(timeout=60)  # which closes its input
    assert [json.loads(line) for line in out.split("\n") if line] == [{"ready": True}, {"stopped": True}]
    assert process.returncode == 0
    tensors = load_file(member.checkpoint_path)
    assert len(tensors["objectives"]) == 0
    assert len(tensors["sums"]) > 0
    assert not shared.exists()


def test_a_member_whose_process_is_killed_goes_on_in_another(tmp_path: Path) -> None:
    killed: dict[int, set[int]] = {0: set(), 1: set()}

    def kill(number: int, progress: EpochProgress | TrainingDiverged) -> None:
        assert isinstance(progress, EpochProgress)
        # Each process that trains the first member, and one that trains the second.
        if progress.epoch % 20 == 3 and (number == 0 or not killed[1]):
            for worker in set(workers_of(os.getpid())) - killed[0]:
                killed[number].add(worker)
                os.kill(worker, signal.SIGKILL)

    members = [replace(member, epochs=300) for member in MEMBERS[:2]]
    with pytest.raises(TrainingFailed, match=r"^training a failed: its process ended 3 times, .* SIGKILL$") as error:
        train_ensemble(
            IMAGES,
            members,
            device="cpu",
            processes=1,
            folder=tmp_path,
            names=["a", "b"],
            checkpoint_seconds=0.0,
            on_progress=kill,
        )
    assert [len(killed[number]) for number in (0, 1)] == [3, 1]
    assert set(error.value.failures) == {"a"}
    again = copy.copy(error.value)  # in the way in which processes give it to each other
    assert (str(again), again.failures) == (str(error.value), error.value.failures)
    # All others are finished before a failure is raised, and kept.
    assert_same_weights(load_map(tmp_path / "b.safetensors"), trained(members[1]))
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("ended_by", ["signal", "callback"])
def test_members_side_by_side_go_on(ended_by: str, tmp_path: Path) -> None:
    def interrupt(number: int, progress: EpochProgress | TrainingDiverged) -> None:
        assert isinstance(progress, EpochProgress)
        if (number, progress.epoch) == (2, 2):
            if ended_by == "callback":
                raise Raised
            signal.raise_signal(signal.SIGINT)

    def go_on(folder: Path | None = tmp_path / "folder", epochs: int = 4, **options: Any) -> list[Any]:
        members = [replace(member, epochs=epochs) for member in MEMBERS]
        return train_ensemble(IMAGES, members, backend="batched", device="cpu", folder=folder, **options)

    with pytest.raises(Raised if ended_by == "callback" else KeyboardInterrupt):
        go_on(snapshots=[1, 3], on_progress=interrupt)
    kept = tmp_path / "folder" / "members.checkpoint.safetensors"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=f"^{kept}: "):
        go_on(snapshots=[1, 3])
    kept.write_bytes(whole)
    told: list[int] = []
    found = go_on(snapshots=[1, 3], on_progress=lambda _number, progress: told.append(progress.epoch))
    assert set(told) == {3, 4}
    assert not kept.exists()
    for number, (member, whole_member) in enumerate(zip(found, go_on(None), strict=True)):
        assert_same_weights(member.autoencoder, whole_member.autoencoder)
        known = member.autoencoder.training_settings
        assert known == whole_member.autoencoder.training_settings
        assert known["backend"] == "batched"
        assert known["ensemble"] == {"members": 4, "member": number}
        assert_same_weights(member.snapshots[3], go_on(None, 3)[number].autoencoder)


# Damaged and foreign folders


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one member finished and the other one under way."""
    folder = tmp_path_factory.mktemp("begun")

    def interrupt(number: int, progress: EpochProgress | TrainingDiverged) -> None:
        assert isinstance(progress, EpochProgress)
        if (number, progress.epoch) == (1, 2):
            raise Raised

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    members = [replace(MEMBERS[0], epochs=1500), replace(MEMBERS[1], epochs=1500)]
    with pytest.raises(Raised):
        train_ensemble(IMAGES, members, device="cpu", processes=1, folder=folder, on_progress=interrupt)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert workers_of(os.getpid()) == []
    names = ["ensemble.json", "member-000.safetensors", "member-001.checkpoint.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    return folder


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(begun, tmp_path / "folder")


def go_on(folder: Path, images: Tensor = IMAGES, **options: Any) -> list[Any]:
    members = options.pop("members", [replace(MEMBERS[0], epochs=1500), replace(MEMBERS[1], epochs=1500)])
    return train_ensemble(images, members, **({"device": "cpu", "processes": 1, "folder": folder} | options))


def test_what_a_callback_raises_leaves_the_members_to_go_on(folder: Path) -> None:
    (folder / ".0123456789abcdef.part").write_bytes(b"left by a program that was killed")
    told: list[int] = []
    found = go_on(folder, on_progress=lambda number, _progress: told.append(number))
    assert set(told) <= {1}
    assert_same_weights(found[1].autoencoder, trained(replace(MEMBERS[1], epochs=1500)))
    names = ["ensemble.json", "member-000.safetensors", "member-001.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(folder: Path, message: str, **options: Any) -> None:
    """See that the folder is refused before anything is trained, and left as it is."""
    before = contents(folder)
    told: list[int] = []
    with pytest.raises(InputError, match=message) as error:
        go_on(folder, on_progress=lambda number, _progress: told.append(number), **options)
    assert "\n" not in str(error.value)
    assert told == []
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["ensemble.json", "member-000.safetensors", "member-001.checkpoint.safetensors"])
@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\x80\x04K\x01."]
)
def test_a_damaged_file_is_refused(name: str, damage: Callable[[bytes], bytes], folder: Path) -> None:
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    refused(folder, f"^{path}: ")


def test_files_of_another_training_are_refused(folder: Path, tmp_path: Path) -> None:
    finished, checkpoint = folder / "member-000.safetensors", folder / "member-001.checkpoint.safetensors"
    whole = finished.read_bytes(), checkpoint.read_bytes()
    trained(SETTINGS).save(finished)
    refused(folder, f"^{finished}: a map trained with epochs 4, expected 1500")
    finished.write_bytes(whole[1])
    refused(folder, f"^{finished}: ")
    finished.write_bytes(whole[0])
    checkpoint.write_bytes(whole[0])
    refused(folder, f"^{checkpoint}: a file of kind 'denoising-autoencoder'")
    trained(SETTINGS, checkpoint=tmp_path / "c.safetensors")
    checkpoint.write_bytes((tmp_path / "c.safetensors").read_bytes())
    refused(folder, f"^{checkpoint}: the checkpoint of another training, ")
    checkpoint.write_bytes(bytes([*whole[1][:-1], whole[1][-1] ^ 4]))
    refused(folder, f"^{checkpoint}: damaged, its tensors are not those that were written")
    checkpoint.unlink()
    (folder / "ensemble.json").unlink()
    refused(folder, f"^{finished}: is there already, and no member of this folder's ensemble.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES.flip(0)}, "another ensemble, images is '"),
        (
            {"members": [replace(MEMBERS[0], epochs=1500), replace(MEMBERS[1], epochs=1500, sigma=0.7)]},
            r"member-001\.settings\.sigma is 0\.1, expected 0\.7",
        ),
        ({"snapshots": [3]}, "snapshots has 0 entries, expected 1"),
        ({"state_shape": (2, 8)}, r"state_shape\[0\] is 4, expected 2"),
        ({"start": beginning(16, SETTINGS, None, None)}, r"member-000\.started_from is None, expected '"),
        ({"backend": "batched"}, "backend is 'processes', expected 'batched'"),
    ],
)
def test_the_folder_of_another_ensemble_is_refused(changes: dict[str, Any], message: str, folder: Path) -> None:
    refused(folder, f"^{folder / 'ensemble.json'}: another ensemble, .*{message.removeprefix('another ensemble, ')}",
            **changes)  # fmt: skip


@pytest.mark.parametrize("backend", ["processes", "batched"])
def test_a_folder_grows_by_further_members(backend: Backend, tmp_path: Path) -> None:
    ensemble: dict[str, Any] = {"device": "cpu", "backend": backend, "folder": tmp_path / "folder"}
    train_ensemble(IMAGES, MEMBERS[:2], names=["a", "b"], **ensemble)
    told: list[int] = []
    grown = train_ensemble(
        IMAGES,
        [MEMBERS[2], MEMBERS[1]],
        names=["c", "b"],
        on_progress=lambda number, _: told.append(number),
        **ensemble,
    )
    assert set(told) == {0}  # b is there already
    whole = train_ensemble(IMAGES, MEMBERS[:3], names=["a", "b", "c"], **ensemble)
    alone = train_ensemble(IMAGES, MEMBERS[:3], device="cpu", backend=backend)
    for found, expected in zip([*whole, *grown], [*alone, alone[2], alone[1]], strict=True):
        assert expected.autoencoder is not None
        assert_same_weights(found.autoencoder, expected.autoencoder)
    listed = json.loads((tmp_path / "folder" / "ensemble.json").read_text())["members"]
    assert [entry["name"] for entry in listed] == ["a", "b", "c"]


# Arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": []}, "members is empty, expected at least one"),
        ({"backend": "threads"}, "backend is 'threads', expected one of auto, processes, batched"),
        ({"device": "cuda:99"}, "device is 'cuda:99'"),
        ({"processes": 0}, "processes is 0, expected at least 1"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds is -1.0, expected at least 0"),
        ({"snapshots": [1501]}, "snapshots holds 1501, expected epochs from 1 to 1500"),
        ({"tf32": True}, "tf32 is True, expected False where CUDA does not compute"),
        ({"names": ["a"]}, "names holds 1 names, expected one for each of 2 members"),
        ({"names": ["a", "a"]}, "names holds 'a', whose file a.safetensors has another use already"),
        ({"names": ["a", "A"]}, "names holds 'A', whose file A.safetensors has another use already"),
        ({"names": ["a", "a-epoch-3"], "snapshots": [3]}, "names holds 'a-epoch-3', whose file"),
        ({"names": ["a", "a.checkpoint"]}, "names holds 'a.checkpoint', whose file"),
        ({"names": ["a", "../b"]}, "names holds '../b', expected names that can begin the name of a file"),
        ({"names": ["a", ""]}, "names holds '', expected"),
        ({"names": ["a", ".b"]}, "names holds '.b', expected"),
        ({"start": [beginning(16, SETTINGS, None, None)]}, "start holds 1 maps, expected one for each of 2 members"),
        ({"start": beginning(9, SETTINGS, None, None)}, "start has dim 9, expected 16"),
        (
            {"start": [beginning(16, replace(SETTINGS, hidden=hidden), None, None) for hidden in (8, 7)]},
            "start has hidden 7, expected 8",
        ),
        (
            {"backend": "batched", "members": [replace(SETTINGS, hidden=(8, 4))]},
            r"members\[0\] has hidden \(8, 4\), expected one hidden layer for the backend 'batched'",
        ),
        (
            {"backend": "batched", "members": [SETTINGS, replace(SETTINGS, corruption="learned")]},
            r"members\[1\] has corruption 'learned', expected one that is not learned for the backend 'batched'",
        ),
        ({"folder": Path(os.devnull)}, "folder /dev/null: /dev/null is not a folder"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    unchecked = inspect.unwrap(train_ensemble)  # of types, as a user calls it
    arguments = {"members": [replace(member, epochs=1500) for member in MEMBERS[:2]], "folder": tmp_path / "new"}
    with pytest.raises(InputError, match=f"^{message}"):
        unchecked(IMAGES, **({"device": "cpu"} | arguments | options))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SHARED_SETTINGS)
def test_members_of_different_architectures_are_refused(name: str) -> None:
    other: dict[str, Any] = {
        "epochs": 5,
        "walkback": 3,
        "walkback_variant": "last",
        "loss": "cross-entropy",
        "contraction": 0.5,
        "batch_size": 7,
        "hidden": 9,
        "tied": True,
        "hidden_nonlinearity": "tanh",
        "output_nonlinearity": "identity",
    }
    message = rf"^members\[1\] has {name} {other[name]!r}, expected {getattr(SETTINGS, name)!r} as members\[0\] has"
    with pytest.raises(InputError, match=message):
        train_ensemble(IMAGES, [SETTINGS, replace(SETTINGS, **{name: other[name]})], device="cpu")


def test_a_file_that_cannot_be_written_ends_the_ensemble(tmp_path: Path) -> None:
    (tmp_path / "folder" / "a-epoch-3.safetensors").mkdir(parents=True)
    with pytest.raises(InputError, match=r"a-epoch-3\.safetensors: is a folder, expected a file name"):
        train_ensemble(IMAGES, [SETTINGS], device="cpu", folder=tmp_path / "folder", names=["a"], snapshots=[3])
    (tmp_path / "folder" / "a-epoch-3.safetensors").rmdir()

    def block(_number: int, progress: EpochProgress | TrainingDiverged) -> None:
        if isinstance(progress, EpochProgress) and progress.epoch == 1:
            (tmp_path / "folder" / "a-epoch-2000.safetensors").mkdir()

    long = replace(SETTINGS, epochs=2000)
    with pytest.raises(InputError, match=r"a-epoch-2000\.safetensors: is a folder, expected a file name") as error:
        train_ensemble(
            IMAGES,
            [long],
            device="cpu",
            folder=tmp_path / "folder",
            names=["a"],
            snapshots=[2000],
            on_progress=block,
        )
    assert "\n" not in str(error.value)
    assert json.loads((tmp_path / "folder" / "ensemble.json").read_text())["members"][0]["name"] == "a"

"""Training many autoencoders of one architecture together, at the speed of the hardware.

On a CPU members are spread over processes, each of which computes on one thread (`dynlab.training.processes`); on a GPU
all of them go on together in batches of products (`dynlab.training.batched`). A member's random numbers are its own, so
that it sees the same ones alone and in company. In processes its weights are equal, bit by bit, to those that `train`
gives it on the same machine's CPU.

Everything goes through files: a folder holds the members that are finished, the snapshots, and checkpoints of the rest,
so that an interrupted ensemble goes on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import torch
from jaxtyping import Float32
from torch import Tensor

from dynlab.devices import available_cores, one_thread, resolve_device
from dynlab.errors import InputError
from dynlab.maps import Autoencoder, map_hash
from dynlab.training.batched import BatchedRun, check_shared, obstacle_to_batches
from dynlab.training.driving import Checkpointing, drive
from dynlab.training.ensemble_folder import claim_folder, members_checkpoint, remove_checkpoints
from dynlab.training.initialization import beginning
from dynlab.training.interruption import Interruption, held_back
from dynlab.training.member import TEMPORARY, EnsembleMember, Member, OnProgress, Work
from dynlab.training.objective import check_objective
from dynlab.training.processes import train_in_processes
from dynlab.training.run import EpochProgress, TrainingDiverged
from dynlab.training.settings import TrainingSettings
from dynlab.training.trainer import check_images, check_snapshots, images_hash

Backend = Literal["auto", "processes", "batched"]


def train_ensemble(
    images: Float32[Tensor, "samples dim"],
    members: Sequence[TrainingSettings],
    *,
    backend: Backend = "auto",
    device: torch.device | str = "auto",
    processes: int | None = None,
    state_shape: tuple[int, ...] | None = None,
    start: Autoencoder | Sequence[Autoencoder] | None = None,
    folder: str | Path | None = None,
    names: Sequence[str] | None = None,
    checkpoint_seconds: float = 60.0,
    snapshots: Sequence[int] = (),
    tf32: bool = False,
    on_progress: OnProgress | None = None,
) -> list[EnsembleMember]:
    """Train several autoencoders of one architecture on the same images.

    Members share all settings but `sigma`, `corruption`, `annealing`, `learning_rate` and `seed`.

    Args:
        images: Shape (samples, dim), in their order of use, at least one.
        members: How to train each, at least one.
        backend: "processes" on the CPU, or "batched" on any device, for one hidden layer and corruptions that are not
            learned. "auto" is the second on CUDA, else the first.
        device: Where to compute; "auto" is CUDA where there is some and the backend can use it, else the CPU.
        processes: How many processes to use, at least 1; by default as many as there are cores that this process may
            use. There are never more than members.
        state_shape: How a state is looked at, kept in the autoencoders; by default as in `start`, if that is given.
        start: Whose weights to begin from: one for all, or one for each member. Without it they are drawn.
        folder: Where to keep the ensemble. `<name>.safetensors` is there as soon as a member is finished,
            `<name>-epoch-<epoch>.safetensors` for each snapshot, and checkpoints as long as they are needed. Called
            again with the same arguments, training goes on from there, to the weights that it would have had without
            the interruption; called with further members, these are trained and come to the others. SIGINT and SIGTERM
            write checkpoints before they have their effect. Without a folder, nothing outlasts an interruption.
        names: Of the members, for their files; by default member-000, member-001, ...
        checkpoint_seconds: How often to write checkpoints, at least 0.
        snapshots: Epochs, from 1 to the last, after which to keep a copy: what training for that many epochs gives.
        tf32: Whether products may round their factors to TF32, on CUDA; faster, with about 3 digits.
        on_progress: Called with the number of a member and how it stands, after each of its epochs and when it
            diverged, in the thread that calls `train_ensemble`. What it raises ends the training, with checkpoints
            written.

    Returns:
        All members, in their order, with maps on the device. A member that diverged has none, and does not keep the
        others from being trained. The `training_settings` of a map are those of `train`, with the `backend` and, as
        `ensemble`, which ensemble it was in.

    Raises:
        InputError: Before any work, if an argument cannot be used, `folder` is that of another ensemble, or a file in
            it is damaged; later, if a file cannot be written.
        ValueError: As in `train`.
        TrainingFailed: If members cannot be trained, for instance as their processes are killed each time. If there
            is a `folder`, all others are finished and in it.
        RuntimeError: If processes end before they can train any.
    """
    if not members:
        raise InputError("members is empty, expected at least one")
    folder = None if folder is None else Path(folder)
    chosen = _backend(backend, device, members)
    names = tuple(names) if names is not None else tuple(f"member-{number:03d}" for number in range(len(members)))
    _check_arguments(images, members, names, processes, checkpoint_seconds, snapshots, tf32, chosen)
    starts = _starts(start, len(members))
    probe = _check_beginnings(images.shape[1], members, starts, state_shape)
    hashes = [None if begins is None else map_hash(begins) for begins in starts]
    known = {
        "backend": chosen.backend,
        "device": chosen.device.type,
        "images": images_hash(images),
        "state_shape": list(probe.state_shape),
        "tf32": tf32,
    }
    used = min(processes or available_cores(), len(members))
    grouping = {"processes": used} if chosen.backend == "processes" else {}
    while True:  # more than once if a signal was none to end at
        # Held back where there is something to keep, and longer than the temporary files are needed.
        signals = contextlib.nullcontext(Interruption()) if folder is None else held_back()
        with (
            signals as interruption,
            TemporaryDirectory(prefix=TEMPORARY, ignore_cleanup_errors=True) as temporary,
        ):
            shared = Path(temporary)
            described = [
                Member(
                    number=number,
                    name=names[number],
                    folder=folder if folder is not None else shared / "members",
                    settings=settings,
                    dim=images.shape[1],
                    state_shape=probe.state_shape,
                    start=_written(starts[number], shared),
                    snapshots=tuple(sorted(set(snapshots))),
                    checkpoint_seconds=checkpoint_seconds,
                    identity=known | {"settings": settings.as_json(), "started_from": hashes[number]},
                    record={
                        "backend": chosen.backend,
                        "ensemble": {"members": len(members), "member": number, **grouping},
                        **({} if hashes[number] is None else {"started_from": hashes[number]}),
                    },
                )
                for number, settings in enumerate(members)
            ]
            claim_folder(described, known)
            # Read before anything is trained, so that a damaged file is found now.
            over = {member.number: member.read(chosen.device) for member in described if member.is_over}
            if len(over) < len(described):
                work = Work(images, described, shared, folder is not None, interruption, on_progress)
                if chosen.backend == "processes":
                    train_in_processes(work, used)
                else:
                    _train_batched(work, chosen.device, tf32)
            if not interruption.requested:
                remove_checkpoints(described)
                return [over.get(member.number) or member.read(chosen.device) for member in described]


def _written(start: Autoencoder | None, folder: Path) -> Path | None:
    if start is None:
        return None
    path = folder / f"start-{id(start):x}.safetensors"
    if not path.exists():
        start.save(path)
    return path


def _train_batched(work: Work, device: torch.device, tf32: bool) -> None:
    """Train members side by side: all of them if they are under way, else those that are not over."""
    members = work.members
    if not members_checkpoint(members[0].folder).exists():
        members = [member for member in members if not member.is_over]
    systems = [member.beginning().to(device) for member in members]
    records = [member.record for member in members]
    run = BatchedRun(work.images.to(device), [member.settings for member in members], systems, records, tf32=tf32)
    told: set[int] = set()  # members that diverged

    def on_epoch() -> None:
        for member, progress in zip(members, run.progress(), strict=True):
            if member.number not in told:
                work.report(member.number, progress)
            if isinstance(progress, TrainingDiverged):
                told.add(member.number)

    def on_snapshot(epoch: int) -> None:
        for place, (member, progress) in enumerate(zip(members, run.progress(), strict=True)):
            if isinstance(progress, EpochProgress):
                member.write_snapshot(run.trained(place), epoch)

    checkpointing = None
    if work.is_kept:
        identity = {"members": [member.identity for member in members]}
        checkpointing = Checkpointing(members_checkpoint(members[0].folder), identity, members[0].checkpoint_seconds)
    with one_thread():
        finished = drive(
            run,
            checkpointing=checkpointing,
            snapshots=members[0].snapshots,
            on_epoch=on_epoch,
            on_snapshot=on_snapshot,
            stop=lambda: work.interruption.requested,
        )
    if not finished:
        return
    for place, (member, progress) in enumerate(zip(members, run.progress(), strict=True)):
        if isinstance(progress, TrainingDiverged):
            member.write_divergence(progress)
        else:
            member.write_map(run.trained(place))


@dataclass(frozen=True)
class _Chosen:
    backend: str
    device: torch.device


def _backend(backend: str, device: torch.device | str, members: Sequence[TrainingSettings]) -> _Chosen:
    if backend not in get_args(Backend):
        raise InputError(f"backend is {backend!r}, expected one of {', '.join(get_args(Backend))}")
    obstacles = ((number, obstacle_to_batches(settings)) for number, settings in enumerate(members))
    obstacle = next((f"members[{number}] has {words}" for number, words in obstacles if words is not None), None)
    if device == "auto" and (backend == "processes" or (backend == "auto" and obstacle is not None)):
        device = "cpu"
    resolved = resolve_device(device) if isinstance(device, str) else device
    if backend == "auto":
        backend = "batched" if resolved.type == "cuda" else "processes"
    if backend == "processes" and resolved.type != "cpu":
        raise InputError(f"device is {str(resolved)!r}, expected 'cpu' for the backend 'processes'")
    if backend == "batched" and obstacle is not None:
        raise InputError(f"{obstacle} for the backend 'batched'; 'processes' trains others")
    return _Chosen(backend, resolved)


def _check_arguments(
    images: Tensor,
    members: Sequence[TrainingSettings],
    names: tuple[str, ...],
    processes: int | None,
    checkpoint_seconds: float,
    snapshots: Sequence[int],
    tf32: bool,
    chosen: _Chosen,
) -> None:
    check_shared(members)
    if len(names) != len(members):
        raise InputError(f"names holds {len(names)} names, expected one for each of {len(members)} members")
    if processes is not None and processes < 1:
        raise InputError(f"processes is {processes}, expected at least 1")
    if not checkpoint_seconds >= 0:
        raise InputError(f"checkpoint_seconds is {checkpoint_seconds}, expected at least 0")
    if tf32 and chosen.device.type != "cuda":
        raise InputError("tf32 is True, expected False where CUDA does not compute")
    check_images(images, members[0])
    check_snapshots(snapshots, members[0].epochs)


def _starts(start: Autoencoder | Sequence[Autoencoder] | None, count: int) -> list[Autoencoder | None]:
    if start is None or isinstance(start, Autoencoder):
        return [start] * count
    if len(start) != count:
        raise InputError(f"start holds {len(start)} maps, expected one for each of {count} members")
    return list(start)


def _check_beginnings(
    dim: int,
    members: Sequence[TrainingSettings],
    starts: Sequence[Autoencoder | None],
    state_shape: tuple[int, ...] | None,
) -> Autoencoder:
    """Check that all members can begin.

    Returns:
        What the first one begins with.
    """
    probe = beginning(dim, members[0], starts[0], state_shape)
    check_objective(probe, members[0].objective())
    for number, (settings, start) in enumerate(zip(members, starts, strict=True)):
        settings.schedule(probe.state_shape)
        if start is None or start is starts[0]:
            continue
        found = beginning(dim, settings, start, state_shape).state_shape
        if found != probe.state_shape:
            raise InputError(f"start[{number}] has state_shape {found}, expected {probe.state_shape} as start[0] has")
    return probe

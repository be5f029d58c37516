"""The trainings of a study: tasks that fill the stage `train` of the cells that are snapshots of them.

A training of its own, on one thread of a CPU or on a GPU, puts each snapshot to its place as soon as it is there.
Several that go on together, as one ensemble, fill their places at the end. Both keep their checkpoints in
`trainings/` of the study, where they go on from after an interruption. A checkpoint that is damaged is renamed, and its
training begins anew. That of a training of its own stays when it is finished: if more epochs are asked for one day, it
goes on.

On a CPU the weights of a training are the same, bit by bit, either way, and so are the files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynlab.datasets import Dataset
from dynlab.devices import resolve_device
from dynlab.errors import InputError
from dynlab.files import set_aside
from dynlab.maps import Autoencoder, load_map
from dynlab.studies.keys import folder_name, sha256_of
from dynlab.studies.running.task import Order
from dynlab.studies.stage import Report, dataset_at
from dynlab.studies.store import Place
from dynlab.training import EpochProgress, TrainingDiverged, TrainingFailed, TrainingSettings, train, train_ensemble
from dynlab.training.checkpoint import standing_of
from dynlab.training.ensemble_folder import set_aside_damaged

STAGE = "train"
MAP_FILE = "map.safetensors"
TRAININGS = "trainings"  # of the folder of a study


def train_one(order: Order, report: Report) -> dict[str, str]:
    """Do one training.

    Its arguments: `member`, with `settings`, `folder` and `epochs`, the epochs of each place by the place's name;
    `data`, `device` and `checkpoint_seconds`.
    """
    arguments, member = order.arguments, order.arguments["member"]
    data, settings = dataset_at(arguments["data"]), TrainingSettings.of_json(member["settings"])
    folder = order.folder / TRAININGS / member["folder"]
    device = resolve_device(arguments["device"])
    missing = {member["epochs"][place.name]: place for place in order.places}
    reasons: dict[str, str] = {}

    def keep(autoencoder: Autoencoder) -> None:
        place = missing.pop(autoencoder.training_settings["epochs"], None)
        if place is not None:
            _fill(order, place, autoencoder, data)

    def on_epoch(progress: EpochProgress) -> None:
        report(progress.share, str(progress))

    # Twice if what is missing is partly past, as a snapshot was damaged, or is of another number of epochs than before.
    while missing:
        checkpoint, wanted = folder / f"{device.type}.safetensors", sorted(missing)
        reached = _reached(checkpoint)
        past = [epoch for epoch in wanted if epoch < reached]
        if past:
            checkpoint, wanted = folder / f"{device.type}-{past[-1]}.safetensors", past
            if _reached(checkpoint) > past[0]:
                checkpoint.unlink()
        last = wanted[-1]
        try:
            trained = train(
                data.images,
                dataclasses.replace(settings, epochs=last),
                state_shape=data.shape,
                device=device,
                checkpoint=checkpoint,
                checkpoint_seconds=arguments["checkpoint_seconds"],
                snapshots=wanted[:-1],
                on_epoch=on_epoch,
                on_snapshot=keep,
            )
        except TrainingDiverged as error:
            finite = standing_of(checkpoint).epochs - 1
            for epoch in [epoch for epoch in missing if epoch > finite]:
                reasons[missing.pop(epoch).name] = str(error)
        else:
            keep(trained)
    for path in folder.iterdir():  # half written as a process was killed, damaged, or of what is past
        if path.stem not in ("cpu", "cuda"):
            path.unlink()
    return reasons


def train_together(order: Order, report: Report) -> dict[str, str]:
    """Do several trainings as an ensemble.

    Its arguments: `members`, each as in `train_one`; `data`, `device` and `checkpoint_seconds`.
    """
    arguments = order.arguments
    data = dataset_at(arguments["data"])
    trainings = order.folder / TRAININGS
    missing = {place.name: place for place in order.places}

    def fill(member: Mapping[str, Any], maps: Mapping[int, Autoencoder]) -> None:
        for name, epochs in member["epochs"].items():
            if name in missing and epochs in maps:
                _fill(order, missing.pop(name), maps[epochs], data)

    for member in arguments["members"]:  # what an ensemble trained that did not come to fill all of its places
        wanted = {epochs for name, epochs in member["epochs"].items() if name in missing}
        fill(member, _finished(trainings, member["folder"], wanted))
    if not missing:
        return {}
    every = arguments["members"]
    # All of them while their folder is there: they go on together. Else those of which something is missing.
    if (trainings / _ensemble_folder(every)).exists():
        members = every
    else:
        members = [member for member in every if any(name in missing for name in member["epochs"])]
    folder = trainings / _ensemble_folder(members)
    set_aside_damaged(folder, [member["folder"] for member in members])
    settings = [TrainingSettings.of_json(member["settings"]) for member in members]
    epochs = settings[0].epochs
    shares, rates = [0.0] * len(members), [0.0] * len(members)
    diverged: dict[int, str] = {}

    def on_progress(number: int, progress: EpochProgress | TrainingDiverged) -> None:
        if isinstance(progress, EpochProgress):
            shares[number], rates[number] = progress.share, progress.samples_per_second
        else:
            shares[number], rates[number], diverged[number] = 1.0, 0.0, str(progress)
        report(sum(shares) / len(shares), f"{len(members)} trainings, {sum(rates):.0f} samples/s in all")

    reasons: dict[str, str] = {}
    try:
        trained = train_ensemble(
            data.images,
            settings,
            device=arguments["device"],
            state_shape=data.shape,
            folder=folder,
            names=[member["folder"] for member in members],
            checkpoint_seconds=arguments["checkpoint_seconds"],
            snapshots=sorted({number for member in members for number in member["epochs"].values()} - {epochs}),
            on_progress=on_progress,
        )
    except RuntimeError as error:  # those that are finished are in the folder
        for member in members:
            fill(member, _finished(trainings, member["folder"], set(member["epochs"].values())))
        if not isinstance(error, TrainingFailed):
            raise
        for number, member in enumerate(members):
            lines = error.failures.get(member["folder"], "").strip().splitlines()
            reason = f"training failed: {lines[-1]}" if lines else diverged.get(number, "")  # of a traceback the end
            reasons |= {name: reason for name in member["epochs"] if name in missing}
        return reasons
    for member, one in zip(members, trained, strict=True):
        fill(member, one.snapshots | ({} if one.autoencoder is None else {epochs: one.autoencoder}))
        reasons |= {name: str(one.diverged) for name in member["epochs"] if name in missing and one.diverged}
    if not reasons:
        shutil.rmtree(folder, ignore_errors=True)
    return reasons


def _fill(order: Order, place: Place, autoencoder: Autoencoder, data: Dataset) -> None:
    """Put a trained map to its place, with a record that is the same however it was trained, on a CPU."""
    record = dict(autoencoder.training_settings)
    if record["device"] == "cpu":
        record = {name: value for name, value in record.items() if name not in ("backend", "ensemble")}
    autoencoder.training_settings = record | {"data": data.name, "data_sha256": data.sha256}
    with order.store.filling(place, is_all=False) as folder:
        autoencoder.save(folder / MAP_FILE)


def _ensemble_folder(members: Sequence[Mapping[str, Any]]) -> str:
    return "ensemble-" + folder_name(sha256_of([[member["folder"], member["epochs"]] for member in members]))


def _finished(trainings: Path, name: str, wanted: set[int]) -> dict[int, Autoencoder]:
    """Maps of a training, by their epochs, that stand finished in folders of ensembles."""
    found: dict[int, Autoencoder] = {}
    for path in sorted(trainings.glob(f"ensemble-*/{name}*.safetensors")) if wanted else ():
        with contextlib.suppress(InputError):
            autoencoder = load_map(path)
            epochs = autoencoder.training_settings.get("epochs")
            if epochs in wanted:
                found[epochs] = autoencoder
    return found


def _reached(checkpoint: Path) -> float:
    """How many epochs a training stands after, more by a half within the next one; 0 without a checkpoint."""
    if checkpoint.exists():
        try:
            standing = standing_of(checkpoint)
        except InputError:
            set_aside(checkpoint)
        else:
            return standing.epochs + (0 if standing.is_between_epochs else 0.5)
    return 0

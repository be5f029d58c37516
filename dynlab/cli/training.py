"""What `dynlab train` does: train one map to a file, or an ensemble to a folder, with progress and a summary."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import typer

import dynlab
from dynlab.cli.output import print_error
from dynlab.datasets import Dataset
from dynlab.display import Display, shown
from dynlab.errors import InputError
from dynlab.files import check_writable_file
from dynlab.maps import load_map
from dynlab.training import (
    EpochProgress,
    TrainingDiverged,
    TrainingSettings,
    measure_on_datasets,
    train,
    train_ensemble,
)

if TYPE_CHECKING:
    from dynlab.maps import Autoencoder
    from dynlab.training.ensemble import Backend

# What members of an ensemble may differ in, in the order in which files are named for it.
_OWN_SETTINGS = ("corruption", "sigma", "learning_rate", "annealing", "seed")
_INTERRUPTED = "interrupted; given again, the same command goes on from here"


@dataclass(frozen=True)
class Hardware:
    """Where and how to compute."""

    device: str  # as it was given: what "auto" means depends on what is trained
    backend: Backend
    processes: int | None
    tf32: bool


def train_one_to(
    out: Path,
    images: Dataset,
    tests: Dataset | None,
    settings: TrainingSettings,
    snapshots: Sequence[int],
    checkpoint_seconds: float,
    hardware: Hardware,
    *,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train one map and write it to the file `out`, its snapshots beside it."""
    check_writable_file(out, parameter="out")
    state = _beside(out, ".checkpoint")
    maps = {out: settings.epochs} | {_snapshot_path(out, epoch): epoch for epoch in snapshots}
    for path in (state, *maps):
        check_writable_file(path, parameter="out")
    for path, epochs in {} if overwrite else maps.items():
        _check_not_another(path, images, dataclasses.replace(settings, epochs=epochs))
    for option, given, default in (
        ("backend", hardware.backend, "auto"),
        ("processes", hardware.processes, None),
        ("tf32", hardware.tf32, False),
    ):
        if given != default:
            raise InputError(f"{option} {given}: given for one map, expected several to be trained")

    def keep(autoencoder: Autoencoder) -> None:
        measure_on_datasets(autoencoder, settings, images, tests)
        autoencoder.save(_snapshot_path(out, autoencoder.training_settings["epochs"]))

    already = None if state.exists() else _trained_already(out, images, settings, snapshots)
    autoencoder = already
    if autoencoder is None:
        with shown(quiet=quiet) as display, interruption_told():
            try:
                autoencoder = train(
                    images.images,
                    settings,
                    state_shape=images.shape,
                    device=hardware.device,
                    checkpoint=state,
                    checkpoint_seconds=checkpoint_seconds,
                    snapshots=snapshots,
                    on_epoch=partial(_show, display, "training"),
                    on_snapshot=keep,
                )
            except TrainingDiverged as error:
                state.unlink(missing_ok=True)
                print_error(str(error))
                raise typer.Exit(1) from error
    measure_on_datasets(autoencoder, settings, images, tests)
    autoencoder.save(out)
    state.unlink(missing_ok=True)
    for which, errors in autoencoder.training_settings["errors"].items():
        print(
            f"{which}: squared error {errors['clean']:.3f} (clean), {errors['corrupted']:.3f} (corrupted), "
            f"{errors['walkback']:.3f} (mean over walkback)"
        )
    print(f"checkpoint: {out}{'' if already is None else ' (trained already)'}")


def train_ensemble_to(
    out: Path,
    images: Dataset,
    tests: Dataset | None,
    members: Sequence[TrainingSettings],
    snapshots: Sequence[int],
    checkpoint_seconds: float,
    hardware: Hardware,
    *,
    quiet: bool,
) -> None:
    """Train several maps and write them to the folder `out`."""
    names = names_of(members)
    if out.suffix == ".safetensors" and not out.is_dir():
        raise InputError(f"out {out}: is the name of a file, expected that of a folder for {len(members)} maps")
    with shown(quiet=quiet) as display, interruption_told():

        def report(number: int, progress: EpochProgress | TrainingDiverged) -> None:
            if isinstance(progress, EpochProgress):
                _show(display, names[number], progress)
            else:
                display(names[number], 1.0, "diverged")

        trained = train_ensemble(
            images.images,
            members,
            backend=hardware.backend,
            device=hardware.device,
            processes=hardware.processes,
            state_shape=images.shape,
            folder=out,
            names=names,
            checkpoint_seconds=checkpoint_seconds,
            snapshots=snapshots,
            tf32=hardware.tf32,
            on_progress=report,
        )
        for number, (name, member) in enumerate(zip(names, trained, strict=True)):
            display("errors", (number + 1) / len(names))
            path = out / f"{name}.safetensors"
            kept = {_snapshot_path(path, epoch): snapshot for epoch, snapshot in member.snapshots.items()}
            if member.autoencoder is not None:
                kept[path] = member.autoencoder
            for path, autoencoder in kept.items():
                measure_on_datasets(autoencoder, member.settings, images, tests)
                autoencoder.save(path)
    _print_ensemble(names, [member.autoencoder for member in trained])
    print(f"checkpoints: {out}")
    diverged = [(name, member.diverged) for name, member in zip(names, trained, strict=True) if member.diverged]
    for name, words in diverged:
        print_error(f"{name}: {words}")
    if diverged:
        raise typer.Exit(1)


@contextlib.contextmanager
def interruption_told() -> Iterator[None]:
    """Tell how to go on after a signal that ends the program, SIGTERM as well as SIGINT."""

    def terminate(_number: int, _frame: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    try:
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, terminate)
        yield
    except (KeyboardInterrupt, SystemExit):
        print_error(_INTERRUPTED)
        raise
    finally:
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, before)


def _check_not_another(path: Path, images: Dataset, settings: TrainingSettings) -> None:
    """Check that a file, if it is there, holds what this training would write, or less of the same training."""
    if not path.exists():
        return
    try:
        known = load_map(path).training_settings
    except InputError as error:
        raise InputError(f"out {error}; --overwrite replaces the file") from error
    wanted = _wanted(images, settings)
    differing = [name for name, value in wanted.items() if name != "epochs" and known.get(name) != value]
    if not differing and known.get("epochs", math.inf) > settings.epochs:
        differing = ["epochs"]
    if differing:
        name = differing[0]
        raise InputError(
            f"out {path}: holds a map with {name} {known.get(name)}, expected a new file for {name} {wanted[name]}; "
            "--overwrite replaces the map"
        )


def _wanted(images: Dataset, settings: TrainingSettings) -> dict[str, object]:
    """What a map that this command trains has among its `training_settings`."""
    return settings.as_json() | {"data_sha256": images.sha256, "started_from": None}


def _trained_already(
    out: Path, images: Dataset, settings: TrainingSettings, snapshots: Sequence[int]
) -> Autoencoder | None:
    """The map in the file `out`, if that and its snapshots are what this training would write."""
    try:
        found = [load_map(path) for path in (out, *(_snapshot_path(out, epoch) for epoch in snapshots))]
    except InputError:
        return None
    versions = {"dynlab": dynlab.__version__, "torch": str(torch.__version__)}
    for autoencoder, epochs in zip(found, (settings.epochs, *snapshots), strict=True):
        expected = _wanted(images, settings) | {"epochs": epochs, "versions": versions}
        if any(autoencoder.training_settings.get(name) != value for name, value in expected.items()):
            return None
    return found[0]


def names_of(members: Sequence[TrainingSettings]) -> list[str]:
    """A name for each member, of the settings in which members differ."""
    settings = [member.as_json() for member in members]
    differing = [name for name in _OWN_SETTINGS if len({str(one[name]) for one in settings}) > 1]
    names = [
        "-".join(f"{name.replace('_', '-')}-{_as_name(one[name])}" for name in differing if one[name] is not None)
        for one in settings
    ]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        values = ", ".join(f"{name} {getattr(members[0], name)!r}" for name in _OWN_SETTINGS)
        which = twice[0] or f"a member ({values})"
        raise InputError(f"the settings of {which} are given twice, expected each combination once")
    first = dict[TrainingSettings, str]()
    for member, name in zip(members, names, strict=True):
        other = first.setdefault(member.meaning(), name)
        if other != name:
            raise InputError(f"the settings of {other} and {name} mean the same training, expected each once")
    return names


def _as_name(value: object) -> str:
    text = repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
    return re.sub(r"[^A-Za-z0-9.+]+", "-", text).strip("-")


def _show(display: Display, what: str, progress: EpochProgress) -> None:
    display(what, progress.share, str(progress))


def _print_ensemble(names: Sequence[str], maps: Sequence[Autoencoder | None]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    judged = next((one.training_settings["errors"] for one in maps if one is not None), {})
    which = "test" if "test" in judged else "train"
    inputs = ("clean", "corrupted", "walkback")
    table = Table("", *inputs, title=f"squared error, {which} set", title_justify="left", box=SIMPLE_HEAD)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for name, one in zip(names, maps, strict=True):
        errors = {} if one is None else one.training_settings["errors"][which]
        table.add_row(name, *(f"{errors[given]:.3f}" if errors else "diverged" for given in inputs))
    Console().print(table)


def _snapshot_path(out: Path, epoch: int) -> Path:
    return _beside(out, f"-epoch-{epoch}")


def _beside(out: Path, more: str) -> Path:
    return out.with_name(f"{out.name.removesuffix('.safetensors')}{more}.safetensors")

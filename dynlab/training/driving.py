"""Take a training from where it is to its end, and lose nothing on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynlab.errors import InputError
from dynlab.training.checkpoint import Standing, read_checkpoint, write_checkpoint
from dynlab.training.interruption import Interruption, held_back
from dynlab.training.run import Run


@dataclass(frozen=True)
class Checkpointing:
    """Where and how often a training is kept."""

    path: Path
    identity: Mapping[str, Any]  # what the training is, `read_checkpoint`
    seconds: float = 60.0  # between two checkpoints, at least 0


def drive(
    run: Run,
    *,
    checkpointing: Checkpointing | None = None,
    snapshots: Collection[int] = (),
    on_epoch: Callable[[], None] | None = None,
    on_snapshot: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> bool:
    """Train to the end, or until told to stop.

    With a checkpoint, the training goes on from it if it is there, also if it was to be longer or shorter, or kept
    after other epochs. It is written again at its interval, at SIGINT and SIGTERM (in the main thread), when `stop`
    says so, when `on_epoch` raises, and at the end; a signal has its usual effect after that, and if that is none,
    training goes on. A checkpoint that cannot be written ends the training.

    Args:
        run: What is trained.
        checkpointing: Where to keep it; without, a signal has its usual effect at once.
        snapshots: Epochs after which `on_snapshot` is called.
        on_epoch: Called after each epoch.
        on_snapshot: Called with the number of the epoch, before `on_epoch`. No checkpoint of this epoch or a later one
            is written before it is done, so none is missing after an interruption. If the training stands at the end of
            an epoch that it was not kept after, this is made up for.
        stop: Asked between minibatches whether to keep what there is and end.

    Returns:
        Whether the end was reached.

    Raises:
        InputError: If the checkpoint cannot be used or not be written, has gone on for longer than `run` is to, or
            was not kept after one of these epochs.
    """
    if checkpointing is None:
        return _drive(run, lambda: stop is not None and stop(), lambda: None, snapshots, on_epoch, on_snapshot)
    kept: set[int] = set()
    if checkpointing.path.exists():
        state = read_checkpoint(checkpointing.path, checkpointing.identity, run.state())
        standing = Standing.of(checkpointing.path, state)
        _check_standing(checkpointing.path, standing, run.epochs, snapshots)
        kept |= standing.snapshots
        run.restore(state)
        if on_snapshot and run.epoch in snapshots and run.epoch not in kept:
            on_snapshot(run.epoch)
    written = time.monotonic()

    def keep() -> None:
        nonlocal written
        kept.update(epoch for epoch in snapshots if epoch <= run.epoch)
        write_checkpoint(checkpointing.path, run.state(), checkpointing.identity, kept)
        written = time.monotonic()

    while True:
        with held_back() as interruption:

            def told_to_stop(interruption: Interruption = interruption) -> bool:
                if interruption.requested or (stop is not None and stop()):
                    return True
                if time.monotonic() - written >= checkpointing.seconds:
                    keep()
                return False

            finished = _drive(run, told_to_stop, keep, snapshots, on_epoch, on_snapshot)
        if finished or not interruption.requested:
            return finished


def _check_standing(path: Path, standing: Standing, epochs: int, snapshots: Collection[int]) -> None:
    """Check that a training can go on to an epoch, and that it was kept wherever that is asked for and past."""
    advice = "delete it or name another file"
    if standing.epochs > epochs or (standing.epochs == epochs and not standing.is_between_epochs):
        further = "" if standing.is_between_epochs else " and more"
        raise InputError(f"{path}: holds {standing.epochs} epochs{further}, expected at most {epochs}; {advice}")
    past = standing.epochs - standing.is_between_epochs
    for epoch in sorted(epoch for epoch in snapshots if epoch <= past):
        if epoch not in standing.snapshots:
            raise InputError(f"{path}: holds {standing.epochs} epochs, no snapshot was kept after {epoch}; {advice}")


def _drive(
    run: Run,
    stop: Callable[[], bool],
    keep: Callable[[], None],
    snapshots: Collection[int],
    on_epoch: Callable[[], None] | None,
    on_snapshot: Callable[[int], None] | None,
) -> bool:
    while run.epoch < run.epochs and run.run_epoch(stop):
        if on_snapshot and run.epoch in snapshots:
            on_snapshot(run.epoch)
        try:
            if on_epoch:
                on_epoch()
        except BaseException:
            keep()
            raise
    keep()
    return run.epoch >= run.epochs

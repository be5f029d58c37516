"""A process that trains members of an ensemble, one after another, on one thread of the CPU.

`dynlab.training.processes` starts it and speaks with it by lines of JSON. On its standard input come members to train,
`{"member": ...}`, and in the end `{"stop": true}`; a line of its standard output tells how a member stands:

    {"ready": true}                      waits for its first member
    {"progress": {...}}                  after each epoch
    {"diverged": "..."}                  training is over, the words for it are in the folder
    {"finished": true}                   training is over, the map is in the folder
    {"stopped": true}                    told to stop before that: the checkpoint is in the folder
    {"refused": "..."}                   a file or an argument that cannot be used
    {"failed": "..."}                    any other error

It stops, and keeps what it has, when told to, at SIGTERM, and when its input ends without a word, as then the process
that started it is no more. In that case it also removes the folder that is there for this training alone.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from dynlab.errors import InputError
from dynlab.training.driving import Checkpointing, drive
from dynlab.training.member import TEMPORARY, Member
from dynlab.training.run import EpochProgress, TrainingDiverged, TrainingRun

_READ_SIZE = 1 << 16


def main() -> None:
    """Train what comes, until told to stop; the argument of the program is the file of the images, in that folder."""
    path = Path(sys.argv[1])
    lines = _Lines()
    torch.set_num_threads(1)
    # Mapped into memory, so that all processes have the images once; the way of mapping keeps torch from warning of
    # what cannot be written to.
    try:
        images = torch.from_numpy(np.load(path, mmap_mode="c"))
    except FileNotFoundError:  # orphaned before it began, and another one has cleaned up already
        return
    lines.send({"ready": True})
    while (member := lines.next_member()) is not None:
        lines.send(_end_of_training(member, images, lines))
    if lines.orphaned and path.parent.name.startswith(TEMPORARY):
        shutil.rmtree(path.parent, ignore_errors=True)


class _Lines:
    """What comes in and goes out."""

    def __init__(self) -> None:
        # Others may print: they get the standard error, and the standard output remains for what is said here.
        self._out = os.fdopen(os.dup(1), "w", encoding="ascii")
        os.dup2(2, 1)
        self._members: queue.SimpleQueue[Member | None] = queue.SimpleQueue()
        self._stop = False
        self.orphaned = False
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._end())
        threading.Thread(target=self._listen, daemon=True).start()
        self._out.write("\n")  # whatever was printed before ends here

    def send(self, message: Mapping[str, Any]) -> None:
        """Say something; stop if nobody listens any more, as the program that started this one is gone then."""
        try:
            self._out.write(json.dumps(message) + "\n")
            self._out.flush()
        except OSError:
            self.orphaned = True
            self._end()

    def next_member(self) -> Member | None:
        """Wait for the next member to train; None if it is time to end."""
        member = self._members.get()
        return None if self._stop else member

    def stop(self) -> bool:
        """Whether it is time to end."""
        return self._stop

    def _listen(self) -> None:
        # By the system's own call, as a thread must not hold a lock of Python's input when the program ends.
        unfinished, told = b"", False
        while received := os.read(0, _READ_SIZE):
            *whole, unfinished = (unfinished + received).split(b"\n")
            for line in map(json.loads, whole):
                if "member" in line:
                    self._members.put(Member.of_json(line["member"]))
                else:
                    told = True
                    self._end()
        if not told:
            self.orphaned = True
        self._end()

    def _end(self) -> None:
        self._stop = True
        self._members.put(None)


def _end_of_training(member: Member, images: Tensor, lines: _Lines) -> dict[str, Any]:
    try:
        return _train(member, images, lines.stop, lines.send)
    except InputError as error:
        return {"refused": str(error)}
    except Exception:
        return {"failed": traceback.format_exc()}


def _train(
    member: Member,
    images: Float32[Tensor, "samples dim"],
    stop: Callable[[], bool],
    tell: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    run = TrainingRun(images, member.settings, member.beginning(), member.record)

    def on_epoch() -> None:
        (progress,) = run.progress()
        if isinstance(progress, EpochProgress):
            tell({"progress": asdict(progress)})

    def on_snapshot(epoch: int) -> None:
        (progress,) = run.progress()
        if isinstance(progress, EpochProgress):
            member.write_snapshot(run.trained(), epoch)

    finished = drive(
        run,
        checkpointing=Checkpointing(member.checkpoint_path, member.identity, member.checkpoint_seconds),
        snapshots=member.snapshots,
        on_epoch=on_epoch,
        on_snapshot=on_snapshot,
        stop=stop,
    )
    if not finished:
        return {"stopped": True}
    (progress,) = run.progress()
    diverged = isinstance(progress, TrainingDiverged)
    if diverged:
        member.write_divergence(progress)
    else:
        member.write_map(run.trained())
    member.checkpoint_path.unlink(missing_ok=True)
    return {"diverged": str(progress)} if diverged else {"finished": True}


if __name__ == "__main__":
    main()

"""Train along a ladder of corruption levels, follow the attractors, and write the page of bands.

Each level's checkpoint is written as soon as it is trained, and what there is of it every minute. Where work was
interrupted, levels whose checkpoints are there are taken as they are, if they were trained with the same settings, on
the same images and from the level before, and the level under way goes on.
Checkpoints of another training are never overwritten: the folder is refused.

One level is trained on a second time, like the next one but without a change of the level, and attractors are followed
from it to there too. What happens on that way is noise of training, and the page tells how much it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dynlab.attractors.following.follow import follow_attractors
from dynlab.attractors.following.followed import EVENT_COLUMNS, Followed
from dynlab.datasets import Dataset, labels_of
from dynlab.devices import one_thread
from dynlab.display import Display
from dynlab.errors import InputError
from dynlab.evaluation import Analysis, AnalysisSettings, analyse
from dynlab.evaluation.arrays import ARRAYS_FILE, RESULTS_FILE
from dynlab.evaluation.followed_kinds import FollowedKinds, kinds_along
from dynlab.evaluation.inputs import check_shape, learnable
from dynlab.evaluation.recognizer import Recognizer, enough_to_learn, train_recognizer
from dynlab.files import check_writable_file, check_writable_folder, written_atomically
from dynlab.maps import Autoencoder, load_map, map_hash
from dynlab.report import write_report
from dynlab.report.figure_data import csv_text
from dynlab.training import EpochProgress, TrainingSettings, train_on_dataset
from dynlab.training.ladder import ladder_settings

CERTIFIED = 3  # attractors of the first and of the last level
PAGE, FOLLOWED, BANDS, EVENTS = "index.html", "followed.safetensors", "bands.csv", "events.csv"
_CHECKPOINTS = "level-*.safetensors"
_UNDER_WAY = ".checkpoint.safetensors"  # what its name ends in while a level is trained, as of any training


@one_thread()  # a second thread slows products of a minibatch's size down
def run_ladder(
    out: Path,
    training: Dataset,
    samples: Dataset,
    settings: TrainingSettings,
    levels: Sequence[float],
    *,
    epochs_per_level: int,
    same_noise: bool = True,
    share: float = 0.5,
    device: torch.device,
    display: Display,
) -> tuple[Followed, list[Analysis]]:
    """Train, follow, analyse the first and the last level, and write all of it.

    Args:
        out: Folder for the page, `index.html`, the attractors, `followed.safetensors`, its tables `bands.csv` and
            `events.csv`, and for each level a checkpoint; for the first and the last one a folder of results too.
            `control-sigma-....safetensors` is the level that was trained on without a change.
        training: Images to train on; where they have classes, to learn to recognize them too.
        samples: What is iterated, of the same dim.
        settings: How to train at the first level, whose `sigma` is the first of `levels`; its seed is that of the
            recognizer and of the analyses too.
        levels: Corruption levels, at least two, strictly rising or strictly falling.
        epochs_per_level: Passes over the images at each further level.
        same_noise: As in `train_ladder`.
        share: As in `follow_attractors`.
        device: Where to compute.
        display: What shows the progress.

    Returns:
        The attractors along the levels, and the analyses of the first and the last level.

    Raises:
        InputError: Before any work, if an argument is out of its range, the data do not fit together, or `out` cannot
            be written to or holds checkpoints of another training.
        TrainingDiverged: If the objective or a weight stops being finite.
    """
    rungs = ladder_settings(settings, levels, epochs_per_level, same_noise=same_noise)
    _check(training, samples, share)
    names = [f"level-{row:03d}-sigma-{rung.sigma:g}" for row, rung in enumerate(rungs)]
    # Not of the first level where that can be helped: training has not settled there.
    controlled = min(1, len(rungs) - 2)
    unchanged = replace(rungs[controlled + 1], sigma=rungs[controlled].sigma)
    control_path = out / f"control-sigma-{unchanged.sigma:g}.safetensors"
    _check_folder(out, names, control_path.name)
    separable = None not in (training.labels, samples.labels) and enough_to_learn(labels_of(training))
    finished = finished_levels(out, training, names, rungs)
    finished_control = _finished_control(control_path, training, unchanged, finished[controlled : controlled + 1])
    try:
        learned_from = learnable(training) or learnable(samples)
        recognizer = None
        if learned_from is not None:
            recognizer = _recognizer(learned_from, training.shape, settings.seed, device, display)
        maps: list[Autoencoder] = []
        for row, (name, rung) in enumerate(zip(names, rungs, strict=True)):
            done = finished[row] if row < len(finished) else None
            path, start = out / f"{name}.safetensors", maps[-1] if maps else None
            display.prefix = f"sigma {rung.sigma:g}: "
            maps.append(done or _train(path, training, rung, start, device, display))
            display("training", 1.0, "already done")
        display.prefix = f"sigma {unchanged.sigma:g} once more: "
        control = finished_control or _train(control_path, training, unchanged, maps[controlled], device, display)
        display("training", 1.0, "already done")
        display.prefix = ""
        maps = [autoencoder.to(device) for autoencoder in maps]
        followed = follow_attractors(
            maps, samples.images, levels, share=share, on_progress=lambda done: display("attractors", done)
        )
        display("attractors", 1.0)
        (out / PAGE).unlink(missing_ok=True)  # of a shorter ladder, whose numbers are replaced
        followed.save(out / FOLLOWED)
        kinds = kinds_along(followed, recognizer)
        write_tables(out, followed, kinds)
        noise = follow_attractors(
            [maps[controlled], control.to(device)],
            samples.images,
            (0.0, 1.0),
            parameter="repetition",
            share=share,
            on_progress=lambda done: display("attractors at an unchanged level", done),
        )
        display("attractors at an unchanged level", 1.0)
        analyses = []
        for row in (0, len(rungs) - 1):
            display.prefix = f"sigma {rungs[row].sigma:g}: "
            analysis = analyse(
                maps[row],
                samples,
                train_data=training if separable else None,
                recognizer=recognizer,
                recognizer_data=learned_from,
                settings=AnalysisSettings(seed=settings.seed, certified_attractors=CERTIFIED),
                name=f"sigma {rungs[row].sigma:g}",
                on_progress=display,
            )
            analysis.save(out / names[row])
            analyses.append(analysis)
    finally:
        display.prefix = ""
    write_report(analyses, out / PAGE, followed=followed, followed_kinds=kinds, control=noise)
    return followed, analyses


def finished_levels(
    out: Path, training: Dataset, names: Sequence[str], rungs: Sequence[TrainingSettings]
) -> list[Autoencoder]:
    """The levels from the first one on whose checkpoints are in the folder, by name and settings of all levels.

    Raises:
        InputError: If a checkpoint there cannot be read, or belongs to another training.
    """
    own = {f"{name}{suffix}" for name in names for suffix in (".safetensors", _UNDER_WAY)}
    others = {path.name for path in out.glob(_CHECKPOINTS)} - own
    if others:
        raise InputError(f"out {out}: holds {min(others)}, a level of another ladder; expected a folder without")
    found: list[Autoencoder] = []
    for row, (name, rung) in enumerate(zip(names, rungs, strict=True)):
        path = out / f"{name}.safetensors"
        if path.exists():
            is_next = len(found) == row  # after a gap levels are trained anew, and come out the same
            start = {"started_from": map_hash(found[-1]) if found else None} if is_next else {}
            autoencoder = _checked(path, training, rung, start)
            found += [autoencoder] if is_next else []
    return found


def _finished_control(
    path: Path, training: Dataset, unchanged: TrainingSettings, start: Sequence[Autoencoder]
) -> Autoencoder | None:
    """The control in the folder, if it is there and the level that it began from is, too."""
    if not path.exists():
        return None
    autoencoder = _checked(path, training, unchanged, {"started_from": map_hash(start[0])} if start else {})
    return autoencoder if start else None


def _checked(path: Path, training: Dataset, rung: TrainingSettings, more: dict[str, Any]) -> Autoencoder:
    """The autoencoder in a checkpoint, if its training was that of the rung, on these images."""
    autoencoder = load_map(path)
    expected = {**rung.as_json(), "samples": len(training.images), "data_sha256": training.sha256, **more}
    for setting, value in expected.items():
        told = autoencoder.training_settings.get(setting)
        if told != value:
            raise InputError(
                f"{path}: was trained with {setting} {told}, expected {value}; choose another folder as out, or delete "
                "the checkpoints in this one"
            )
    return autoencoder


def _train(
    path: Path,
    training: Dataset,
    rung: TrainingSettings,
    start: Autoencoder | None,
    device: torch.device,
    display: Display,
) -> Autoencoder:
    """Train one level, or what is left of it after an interruption, and write its checkpoint at once."""

    def report(progress: EpochProgress) -> None:
        display("training", progress.share, str(progress))

    under_way = path.with_suffix(_UNDER_WAY)
    autoencoder = train_on_dataset(training, rung, start=start, device=device, checkpoint=under_way, on_epoch=report)
    autoencoder.save(path)
    under_way.unlink(missing_ok=True)
    return autoencoder


def write_tables(out: Path, followed: Followed, kinds: FollowedKinds) -> None:
    """Write `bands.csv`, a row for each attractor of each level, and `events.csv`, a row for each event.

    Raises:
        InputError: If they cannot be written.
    """
    columns: dict[str, list[Any]] = {}
    for name, column in followed.attractor_columns().items():
        columns[name] = column.tolist()
        if name == "attractor":
            columns["kind"] = [kind.value for row in kinds.kinds for kind in row]
            columns["class"] = [label for row in kinds.classes for label in row]
    _write(out / BANDS, csv_text(list(columns), zip(*columns.values(), strict=True)))
    _write(out / EVENTS, csv_text(EVENT_COLUMNS, followed.event_rows()))


def _write(path: Path, text: str) -> None:
    with written_atomically(path) as temporary:
        temporary.write_bytes(text.encode())  # line ends as they are


def _recognizer(
    data: Dataset, state_shape: tuple[int, ...], seed: int, device: torch.device, display: Display
) -> Recognizer:
    return train_recognizer(
        data.images,
        labels_of(data),
        state_shape=state_shape,
        seed=seed,
        device=device,
        on_progress=lambda done: display("recognizer", done),
    )


def _check(training: Dataset, samples: Dataset, share: float) -> None:
    if not 0 <= share <= 1:
        raise InputError(f"share is {share}, expected from 0 to 1")
    dim, found = training.images.shape[1], samples.images.shape[1]
    if found != dim:
        raise InputError(f"{samples.name}: images have {found} pixels, expected {dim} as {training.name} has")
    for used in (training, samples):
        if not len(used.images):
            raise InputError(f"{used.name}: no samples, expected at least one")
    check_shape(samples, training.shape)


def _check_folder(out: Path, names: Sequence[str], control: str) -> None:
    check_writable_folder(out, parameter="out")
    for file_name in (PAGE, FOLLOWED, BANDS, EVENTS, control, *(f"{name}.safetensors" for name in names)):
        check_writable_file(out / file_name, parameter="out")
    for name in (names[0], names[-1]):
        check_writable_folder(out / name, parameter="out")
        for file_name in (RESULTS_FILE, ARRAYS_FILE):
            check_writable_file(out / name / file_name, parameter="out")

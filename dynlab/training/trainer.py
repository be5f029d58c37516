"""Training a map, as the report did: plain stochastic gradient descent on the walkback objective.

Minibatches are taken in the order of the images, around and around, every sample corrupted anew each time. After each
epoch the learning rate is multiplied by the annealing factor. Weights start uniform within the bound of Glorot and
Bengio, biases at zero.

On a CPU one thread computes: with minibatches of a usual size a second one gains nothing, and the weights are the same
however many cores there are.

Source: Bahdanau and Jaeger, Smart Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 5.3.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float32
from torch import Tensor

from dynlab.devices import one_thread, resolve_device
from dynlab.errors import InputError
from dynlab.files import check_writable_file
from dynlab.maps import Autoencoder, FunctionMap, MapT, check_map, map_hash
from dynlab.training.batched import BatchedRun, can_be_batched
from dynlab.training.driving import Checkpointing, drive
from dynlab.training.initialization import beginning, check_float32
from dynlab.training.run import EpochProgress, Run, TrainingDiverged, TrainingRun
from dynlab.training.settings import TrainingSettings


@dataclass(frozen=True)
class _Watched:
    """Where training goes on, and what is kept and told on the way."""

    device: torch.device | str
    checkpoint: str | Path | None
    checkpoint_seconds: float
    snapshots: Collection[int]
    on_epoch: Callable[[EpochProgress], None] | None
    on_snapshot: Callable[[Any], None] | None


def train(
    images: Float32[Tensor, "samples dim"],
    settings: TrainingSettings,
    *,
    start: Autoencoder | None = None,
    state_shape: tuple[int, ...] | None = None,
    device: torch.device | str = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    snapshots: Collection[int] = (),
    on_epoch: Callable[[EpochProgress], None] | None = None,
    on_snapshot: Callable[[Autoencoder], None] | None = None,
) -> Autoencoder:
    """Train an autoencoder.

    The same images, settings and device give the same weights. On another device all random numbers are the same, and
    the weights differ by rounding.

    Args:
        images: Shape (samples, dim), in their order of use, at least one.
        settings: How to train, and what: one layer of hidden units makes a `DenoisingAutoencoder`, more of them a
            `DeepAutoencoder`.
        start: Whose weights to begin from, which it keeps; without it they are drawn.
        state_shape: How a state is looked at, kept in the autoencoder; by default as in `start`, if that is given.
        device: Where to compute; "auto" is CUDA where there is some, else the CPU.
        checkpoint: A file, `.safetensors`, to keep the training in while it goes on. If it is there already, the
            training goes on from it, to the weights that it would have had without the interruption. SIGINT and SIGTERM
            write it before they have their effect. It stays when the training is finished, and a longer one goes on
            from there.
        checkpoint_seconds: How often to write it, at least 0.
        snapshots: Epochs after which `on_snapshot` is called, from 1 to `settings.epochs`.
        on_epoch: Called after each epoch; what it raises ends the training.
        on_snapshot: Called with a copy of the autoencoder as it is: what training for that many epochs gives. Epochs
            that are before the checkpoint are not trained again, and not called for; if it was not called for one of
            `snapshots`, the checkpoint is refused.

    Returns:
        The autoencoder, on `device`. Its `training_settings` hold all of `settings`, the `objective` after each epoch,
        what it was trained with, and, if it began from `start`, the hash of that map as `started_from`.

    Raises:
        InputError: If there is no such device, no memory for so many hidden units, `start` is not what `settings` make,
            in float32, an argument is out of its range, or the checkpoint is damaged, of another training or a longer
            one, or cannot be written.
        ValueError: If `images` is empty, not finite, or not float32 of shape (samples, dim), or `state_shape` does not
            hold `dim` numbers.
        TrainingDiverged: If the objective or a weight stops being finite.
    """
    check_images(images, settings)
    record = {} if start is None else {"started_from": map_hash(start)}
    return _train(
        beginning(images.shape[1], settings, start, state_shape),
        images,
        settings,
        record,
        _Watched(device, checkpoint, checkpoint_seconds, snapshots, on_epoch, on_snapshot),
    )


def train_map(
    system: MapT,
    images: Float32[Tensor, " samples *state"],
    settings: TrainingSettings,
    *,
    device: torch.device | str = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    snapshots: Collection[int] = (),
    on_epoch: Callable[[EpochProgress], None] | None = None,
    on_snapshot: Callable[[MapT], None] | None = None,
) -> MapT:
    """Train any map, such as one of your own, from the parameters that it has.

    Gradients come from autograd, which is slower than what `train` does for an autoencoder with one hidden layer. A map
    that draws random numbers of its own, as one with dropout does, is not trained to the same weights again.

    Args:
        system: A map with parameters; it keeps them, a copy is trained. Of a module that `as_map` made a map of, those
            that asked for gradients are, in evaluation mode; the trained module is the `function` of what comes back.
        images: As in `train`, or in the shape of states; like everything that follows.
        settings: Those of them that say what to train, such as `hidden` and `tied`, have no effect.
        device: See `train`.
        checkpoint: See `train`.
        checkpoint_seconds: See `train`.
        snapshots: See `train`.
        on_epoch: See `train`.
        on_snapshot: See `train`.

    Returns:
        The trained copy, on `device`, with `training_settings`, as in `train`.

    Raises:
        InputError: As in `train`; also if `system` has no parameters in float32 that can be trained, or the contractive
            penalty is asked for and it has no `encode`.
        ValueError: As in `train`; also if `system` is no map.
        TrainingDiverged: If the objective or a weight stops being finite.
    """
    check_map(system)
    if images.shape[1:] == system.state_shape:
        images = system.flat(images)
    check_images(images, settings)
    if images.shape[1] != system.dim:
        raise InputError(f"images have {images.shape[1]} pixels, expected {system.dim} as the map has")
    trained = copy.deepcopy(system)
    for name in trained.learnable if isinstance(trained, FunctionMap) else ():
        trained.get_parameter(name).requires_grad_()
    if not any(parameter.requires_grad for parameter in trained.parameters()):
        raise InputError("system has no parameters to train, expected at least one that requires a gradient")
    check_float32("system", system)
    record = {"started_from": map_hash(system)}
    return _train(
        trained,
        images,
        settings,
        record,
        _Watched(device, checkpoint, checkpoint_seconds, snapshots, on_epoch, on_snapshot),
    )


def _train(
    system: MapT,
    images: Tensor,
    settings: TrainingSettings,
    record: Mapping[str, Any],
    watched: _Watched,
) -> MapT:
    """Train `system` itself."""
    device, snapshots = watched.device, watched.snapshots
    chosen = resolve_device(device) if isinstance(device, str) else device
    check_snapshots(snapshots, settings.epochs)
    run: Run
    if chosen.type == "cuda" and can_be_batched(system, settings):
        run = BatchedRun(images.to(chosen), [settings], [system], [record])
    else:
        run = TrainingRun(images.to(chosen), settings, system.to(chosen), record)
    checkpointing = None
    if watched.checkpoint is not None:
        more = {
            "map": map_hash(system),
            "state_shape": list(system.state_shape),
            "device": chosen.type,
        }
        path = Path(watched.checkpoint)
        checkpointing = checkpointing_of(path, watched.checkpoint_seconds, settings, images, more)

    def told() -> None:
        (progress,) = run.progress()
        if watched.on_epoch is not None and isinstance(progress, EpochProgress):
            watched.on_epoch(progress)

    def snapshot(_epoch: int) -> None:
        (progress,) = run.progress()
        if watched.on_snapshot is not None and isinstance(progress, EpochProgress):
            watched.on_snapshot(cast(MapT, run.trained(0)))

    with one_thread():
        drive(
            run,
            checkpointing=checkpointing,
            snapshots=snapshots if watched.on_snapshot is not None else (),  # it was kept after those that are taken
            on_epoch=told,
            on_snapshot=snapshot,
        )
    (progress,) = run.progress()
    if isinstance(progress, TrainingDiverged):
        raise progress
    return cast(MapT, run.trained(0))


def checkpointing_of(
    path: Path, seconds: float, settings: TrainingSettings, images: Tensor, more: Mapping[str, Any]
) -> Checkpointing:
    """Where to keep a training, and what tells it from others.

    Raises:
        InputError: If the file cannot be written, or `seconds` is below 0.
    """
    if not seconds >= 0:
        raise InputError(f"checkpoint_seconds is {seconds}, expected at least 0")
    check_writable_file(path, parameter="checkpoint")
    identity = {"settings": settings.identity(), "images": images_hash(images), **more}
    return Checkpointing(path, identity, seconds)


def images_hash(images: Float32[Tensor, "samples dim"]) -> str:
    """SHA-256 of the shape and the pixels, in hexadecimal."""
    digest = hashlib.sha256(f"{tuple(images.shape)}".encode())
    digest.update(images.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def check_images(images: Tensor, settings: TrainingSettings) -> None:
    """Check that images can be trained on.

    Raises:
        ValueError: If they are empty, not finite, not float32 of shape (samples, dim), or outside [0, 1] where
            cross-entropy needs that.
    """
    if images.ndim != 2 or images.dtype != torch.float32:
        found = f"{images.dtype} of shape {tuple(images.shape)}"
        raise ValueError(f"images is {found}, expected torch.float32 of shape (samples, dim)")
    if len(images) == 0:
        raise ValueError("images is empty, expected at least one sample")
    if not torch.isfinite(images).all():
        raise ValueError("images holds NaN or infinite values, expected finite pixels")
    if settings.loss == "cross-entropy" and not (images.min() >= 0 and images.max() <= 1):
        found = f"from {images.min():g} to {images.max():g}"
        raise ValueError(f"images holds pixels {found}, expected from 0 to 1 for cross-entropy")


def check_snapshots(snapshots: Collection[int], epochs: int) -> None:
    """Check that snapshots are asked for after epochs that there are.

    Raises:
        InputError: If one is not from 1 to `epochs`.
    """
    for epoch in snapshots:
        if type(epoch) is not int or not 1 <= epoch <= epochs:
            raise InputError(f"snapshots holds {epoch}, expected epochs from 1 to {epochs}")

"""The training of all members of an ensemble at once, in products of a whole batch of matrices: for GPUs.

One member in minibatches of 20 leaves a GPU idle. Here the parameters of M members are stacked, and each product of a
step is a batch of M products (`dynlab.training.backpropagation`). All members see the same minibatches, corrupted by
noise of their own, which is drawn where it is needed. Several steps are one launch, a recorded CUDA graph
(`dynlab.training.launches`); their random numbers, which have addresses, are made all together at its beginning.
Nothing waits for the device before the end of an epoch.

Per step and member the products take, in the variants full and last, `(6 k - 1) 2 batch dim hidden` operations. The
weights must pass from memory and back once, `16 dim hidden` bytes. Where those of all members are larger than the cache
they pass again for every product, which makes `4 (4 k + 3) dim hidden` bytes. In minibatches of 20, 784-500-784:

    k = 1      78 MFLOP      6 MB, or 11 MB without a cache
    k = 4     361 MFLOP      6 MB, or 30 MB

Noise costs the same for each k. By count, a number takes about 130 instructions of Philox, and 40 more to become
normal; this makes 2.7 million a step and member, beside 39 million multiplications with addition in the products at
k = 1. Fused, some 40 bytes a number pass through memory, 0.6 MB a step. As single operations of torch, 500 of them, it
is 1.2 kB a number and 19 MB a step, more than the products need: hence `torch.compile` on CUDA, where it works (`noise`
in the record is "fused", else "plain").

A member costs its parameters, `4 (2 dim hidden + dim + hidden)` bytes, twice while launches are recorded; the values
and gradients of a step, `4 batch ((2 k + 1) dim + 2 k hidden)`; and the corrupted images of a launch with what makes
them, some 20 bytes a pixel: at k = 1 with 10 steps a launch 6.3, 0.3 and 3 MB. Images are there once.

All operations are elementwise, along the rows of one member, or one product of each member, so a member that diverges
changes no other. It is set to zero at the end of its epoch and stays there. On a CPU a member's weights are the same,
bit by bit, alone and in whatever company.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dynlab.errors import InputError
from dynlab.maps import DenoisingAutoencoder, Map
from dynlab.training.backpropagation import GradientDescent, Parameters, apart
from dynlab.training.corruption import Corruption, stack_corruptions
from dynlab.training.draws import MembersNoise, noise_can_be_fused
from dynlab.training.launches import Launch, Launcher, launches, precision_of_products
from dynlab.training.run import EpochProgress, TrainingDiverged, diverged, training_record
from dynlab.training.settings import TrainingSettings

STEPS_PER_LAUNCH = 10
# What members have in common, as they could not go through one product otherwise.
SHARED_SETTINGS = (
    "hidden",
    "tied",
    "hidden_nonlinearity",
    "output_nonlinearity",
    "walkback",
    "walkback_variant",
    "loss",
    "contraction",
    "batch_size",
    "epochs",
)


def check_shared(members: Sequence[TrainingSettings]) -> None:
    """Check that members can be those of one ensemble.

    Raises:
        InputError: If two of them differ in one of `SHARED_SETTINGS`.
    """
    for number, settings in enumerate(members):
        for name in SHARED_SETTINGS:
            found, expected = getattr(settings, name), getattr(members[0], name)
            if found != expected:
                raise InputError(f"members[{number}] has {name} {found!r}, expected {expected!r} as members[0] has")


def obstacle_to_batches(settings: TrainingSettings) -> str | None:
    """What keeps a member from being trained side by side with others, with what was expected; None if nothing does."""
    if isinstance(settings.hidden, tuple):
        return f"hidden {settings.hidden}, expected one hidden layer"
    if settings.schedule().learns:
        return f"corruption {settings.corruption!r}, expected one that is not learned"
    return None


def can_be_batched(system: Map, settings: TrainingSettings) -> bool:
    """Whether `BatchedRun` can train this map in this way."""
    return isinstance(system, DenoisingAutoencoder) and not settings.schedule().learns


class BatchedRun:
    """The training of several autoencoders that go on together, a `Run`.

    Args:
        images: Shape (samples, dim), on the device to compute on.
        members: How to train each; they differ in `sigma`, `corruption`, `annealing`, `learning_rate` and `seed` only.
        systems: What each begins as, not changed; on any device.
        records: For each, put into the `training_settings` of what is trained, beside what is put there anyway.
        tf32: Whether products round to TF32, on CUDA.
        steps_per_launch: Minibatches between two questions whether to stop, at least 1.

    Raises:
        InputError: If there are no members, they differ in what they must share, a system is no
            `DenoisingAutoencoder`, a corruption is learned, or `tf32` is asked for elsewhere than on CUDA.
    """

    def __init__(
        self,
        images: Float32[Tensor, "samples dim"],
        members: Sequence[TrainingSettings],
        systems: Sequence[Map],
        records: Sequence[Mapping[str, Any]],
        *,
        tf32: bool = False,
        steps_per_launch: int = STEPS_PER_LAUNCH,
    ) -> None:
        device = images.device
        autoencoders = _checked(members, systems, records)
        if tf32 and device.type != "cuda":
            raise InputError(f"tf32 is True on {device.type}, expected False: there is TF32 on CUDA only")
        if steps_per_launch < 1:
            raise InputError(f"steps_per_launch is {steps_per_launch}, expected at least 1")
        self.epoch = 0
        self.epochs = members[0].epochs
        self._images, self._members, self._records, self._tf32 = images, list(members), list(records), tf32
        self._batch, self._steps = members[0].batch_size, steps_per_launch
        self._like = autoencoders[0]  # in all but parameters
        self._fused = device.type == "cuda" and noise_can_be_fused(device)
        self._schedules = [settings.schedule(self._like.state_shape) for settings in members]
        self._corruptions: list[Corruption] = []  # those of each member that are in use
        self._parts: list[_Part] = []

        self._parameters = _stacked_parameters(autoencoders, device)
        weight = self._parameters["encoder.weight"]
        self._descent = GradientDescent(
            Parameters(
                weight,
                self._parameters["encoder.bias"],
                self._parameters.get("decoder.weight", weight.mT),
                self._parameters["decoder.bias"],
                members[0].hidden_nonlinearity,
                members[0].output_nonlinearity,
            ),
            members[0].objective(),
        )
        self._rates = torch.zeros(len(members), device=device)
        self._presentation = torch.zeros((), dtype=torch.int64, device=device)
        # Of the minibatches of the epoch under way, summed over their samples.
        self._sums = torch.zeros(math.ceil(len(images) / self._batch), len(members), device=device)
        self._done = 0  # of these
        self._offsets = torch.arange(len(images), device=device)
        self._launcher = Launcher(self._advance, [*self._parameters.values(), self._presentation, self._sums], device)
        self._objectives: list[list[float]] = []  # of each member in each finished epoch, NaN after it has diverged
        self._diverged = [0] * len(members)  # in which epoch, 0 where not
        self._samples_per_second = math.nan

    def run_epoch(self, stop: Callable[[], bool]) -> bool:
        """See `Run`; `stop` is asked between launches."""
        samples, before, started = len(self._images), self._done, time.perf_counter()
        with torch.no_grad(), precision_of_products(tf32=self._tf32):
            self._prepare(self.epoch + 1)
            self._presentation.fill_(self.epoch * samples + before * self._batch)
            for launch in launches(samples, self._batch, before, self._steps):
                if stop():
                    return False
                self._launcher(launch)
                self._done += launch.steps
            # In the same order for each member, however many there are.
            sums = self._sums.cpu().double().T.contiguous()
        self._samples_per_second = (samples - before * self._batch) / (time.perf_counter() - started)
        self._objectives.append(
            [math.nan if epoch else sums[member].sum().item() / samples for member, epoch in enumerate(self._diverged)]
        )
        self._done = 0
        self.epoch += 1
        self._stop_diverged()
        return True

    def progress(self) -> list[EpochProgress | TrainingDiverged]:
        """See `Run`."""
        return [self._progress_of(member) for member in range(len(self._members))]

    def trained(self, member: int) -> DenoisingAutoencoder:
        """See `Run`.

        Raises:
            TrainingDiverged: If the member has diverged.
        """
        if self._diverged[member]:
            raise self._divergence_of(member)
        system = copy.deepcopy(self._like).to(self._images.device)
        for name, parameter in system.named_parameters():
            parameter.detach().copy_(self._parameters[name][member])
        how = {"backend": "batched", "tf32": self._tf32, "noise": "fused" if self._fused else "plain"}
        objectives = [of_members[member] for of_members in self._objectives]
        system.training_settings = training_record(
            self._members[member], objectives, self._images, {**how, **self._records[member]}
        )
        return system

    def state(self) -> dict[str, Tensor]:
        """See `Run`; tensors have a dimension for the members."""
        parameters = {f"parameters.{name}": value for name, value in self._parameters.items()}
        return parameters | {
            "objectives": torch.tensor(self._objectives, dtype=torch.float64).view(-1, len(self._members)),
            "sums": self._sums[: self._done].cpu(),
            "diverged": torch.tensor(self._diverged),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Run`."""
        for name, value in self._parameters.items():
            value.copy_(state[f"parameters.{name}"])
        self._objectives = state["objectives"].tolist()
        self._diverged = state["diverged"].tolist()
        self._done = len(state["sums"])
        self._sums[: self._done] = state["sums"].to(self._sums.device)
        self.epoch = len(self._objectives)
        if all(self._diverged):
            self.epochs = self.epoch

    def _prepare(self, epoch: int) -> None:
        """Rates and corruptions of an epoch, brought to the device."""
        rates = [
            0.0 if stopped else settings.learning_rate_in(epoch)
            for settings, stopped in zip(self._members, self._diverged, strict=True)
        ]
        self._rates.copy_(torch.tensor(rates))
        corruptions = [schedule.at(epoch) for schedule in self._schedules]
        if corruptions == self._corruptions:
            return
        self._launcher.forget()
        self._corruptions = corruptions
        self._parts = [
            _Part([self._members[member].seed for member in members], members, corruption, self._images, self._fused)
            for members, corruption in stack_corruptions(corruptions, self._images.device)
        ]

    def _advance(self, launch: Launch) -> None:
        """Go on by some minibatches: what is recorded."""
        rows, members = launch.rows * launch.steps, len(self._members)
        first = self._presentation.remainder(len(self._images))
        minibatch = torch.div(first, self._batch, rounding_mode="floor")
        clean = self._images.index_select(0, self._offsets[:rows] + first)
        corrupted = self._corrupted(clean)
        sums = [
            self._descent.step(minibatch_clean.expand(members, -1, -1), minibatch_corrupted, self._rates)
            for minibatch_clean, minibatch_corrupted in zip(
                clean.split(launch.rows), corrupted.split(launch.rows, dim=1), strict=True
            )
        ]
        self._sums.index_copy_(0, self._offsets[: launch.steps] + minibatch, torch.stack(sums))
        self._presentation.add_(rows)

    def _corrupted(self, clean: Float[Tensor, "rows dim"]) -> Float[Tensor, "members rows dim"]:
        state_shape = self._like.state_shape
        if len(self._parts) == 1:
            return self._parts[0].corrupted(clean, self._presentation, state_shape)
        corrupted = clean.new_empty(len(self._members), *clean.shape)
        for part in self._parts:
            corrupted.index_copy_(0, part.members, part.corrupted(clean, self._presentation, state_shape))
        return corrupted

    def _progress_of(self, member: int) -> EpochProgress | TrainingDiverged:
        if self._diverged[member]:
            return self._divergence_of(member)
        return EpochProgress(
            self.epoch,
            self._members[member].epochs,
            self._objectives[-1][member],
            self._members[member].learning_rate_in(self.epoch),
            self._samples_per_second,
        )

    def _divergence_of(self, member: int) -> TrainingDiverged:
        epoch = self._diverged[member]
        rate = self._members[member].learning_rate_in(epoch)
        return diverged(epoch, rate, self._objectives[epoch - 1][member])

    def _stop_diverged(self) -> None:
        finite = torch.stack([value.isfinite().flatten(1).all(dim=1) for value in self._parameters.values()])
        for member, is_finite in enumerate(finite.all(dim=0).tolist()):
            if not self._diverged[member] and not (is_finite and math.isfinite(self._objectives[-1][member])):
                self._diverged[member] = self.epoch
                for value in self._parameters.values():
                    value[member].zero_()
        if all(self._diverged):
            self.epochs = self.epoch


class _Part:
    """Members whose images are corrupted together."""

    def __init__(
        self, seeds: list[int], members: list[int], corruption: Corruption, images: Tensor, fused: bool
    ) -> None:
        self.members = torch.tensor(members, device=images.device)
        self._corruption = corruption
        self._noise = MembersNoise(seeds, "corruption", images.device, fused=fused)

    def corrupted(self, clean: Tensor, presentation: Tensor, state_shape: tuple[int, ...]) -> Tensor:
        """Images as each of these members sees them, in the presentations from `presentation` on."""
        return self._corruption(clean, self._noise.at(presentation, len(clean)), state_shape)


def _stacked_parameters(systems: Sequence[DenoisingAutoencoder], device: torch.device) -> dict[str, Tensor]:
    """Copies of the parameters, with a leading dimension for the members."""
    stacked: dict[str, Tensor] = {}
    for name, _ in systems[0].named_parameters():
        values = torch.stack([dict(system.named_parameters())[name].detach().to(device) for system in systems])
        by_columns = name == "decoder.weight"  # as a single training has it
        values = values.mT if by_columns else values
        copied = apart(values, values.shape[:1], *values.shape[1:]).copy_(values)
        stacked[name] = copied.mT if by_columns else copied
    return stacked


def _checked(
    members: Sequence[TrainingSettings], systems: Sequence[Map], records: Sequence[Mapping[str, Any]]
) -> list[DenoisingAutoencoder]:
    """The systems, if these arguments of `BatchedRun` go together."""
    if not members:
        raise InputError("members is empty, expected at least one")
    for parameter, values in (("systems", systems), ("records", records)):
        if len(values) != len(members):
            raise InputError(f"{parameter} has {len(values)} entries, expected one for each of {len(members)} members")
    check_shared(members)
    autoencoders = []
    for index, (settings, system) in enumerate(zip(members, systems, strict=True)):
        if not isinstance(system, DenoisingAutoencoder):
            raise InputError(
                f"systems[{index}] is a {type(system).__name__}, expected a DenoisingAutoencoder: the backend "
                "'processes' trains others"
            )
        obstacle = obstacle_to_batches(settings)
        if obstacle is not None:
            raise InputError(f"members[{index}] has {obstacle}: the backend 'processes' trains others")
        if system.state_shape != systems[0].state_shape:
            found, expected = system.state_shape, systems[0].state_shape
            raise InputError(f"systems[{index}] has state_shape {found}, expected {expected} as systems[0] has")
        autoencoders.append(system)
    return autoencoders

"""A training as a state that goes on minibatch by minibatch, and can be kept and taken up again at any of them.

All that goes on in a training is in its parameters and in the number of minibatches so far: minibatches are taken in
the order of the images, around and around, and the random numbers of a presentation follow from its number
(`dynlab.training.draws`). So a training that was kept and taken up again ends at the same weights as one that was never
interrupted, and one of 100 epochs is the beginning of one of 250.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float32
from torch import Tensor

import dynlab
from dynlab.maps import Autoencoder, DenoisingAutoencoder, FunctionMap, Map
from dynlab.training.adversary import Adversary
from dynlab.training.autograd_descent import AutogradDescent
from dynlab.training.backpropagation import GradientDescent
from dynlab.training.draws import Noise
from dynlab.training.settings import TrainingSettings

_ALIGNMENT = 64  # bytes


# Settings that say nothing of other maps.
_OF_AUTOENCODERS = ("hidden", "tied", "hidden_nonlinearity", "output_nonlinearity")


class TrainingDiverged(RuntimeError):  # noqa: N818
    """The objective or a weight is no finite number any more."""


class TrainingFailed(RuntimeError):  # noqa: N818
    """Members of an ensemble cannot be trained; `failures` says of each, by its name, what came up."""

    def __init__(self, failures: Mapping[str, str]) -> None:
        super().__init__(failures)  # as it is given to who unpickles the error
        self.failures = dict(failures)

    def __str__(self) -> str:
        return "\n".join(f"training {name} failed: {failure}" for name, failure in self.failures.items())


@dataclass(frozen=True)
class EpochProgress:
    """How training stands after an epoch."""

    epoch: int  # from 1
    epochs: int
    objective: float  # of the corrupted minibatches, mean over the epoch while the weights moved
    learning_rate: float  # in this epoch
    samples_per_second: float  # in this epoch, of this member

    @property
    def share(self) -> float:
        """Of all epochs, how many are over: above 0, up to 1."""
        return self.epoch / self.epochs

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch} of {self.epochs}, objective {self.objective:.3f}, "
            f"{self.samples_per_second:.0f} samples/s"
        )


@runtime_checkable
class Run(Protocol):
    """A training of one member, or of several that go on together."""

    epoch: int  # finished so far
    epochs: int  # in all

    def run_epoch(self, stop: Callable[[], bool]) -> bool:
        """Go on to the end of the epoch under way, or to the minibatch after which `stop` says true.

        Returns:
            Whether the epoch is finished.
        """
        ...

    def progress(self) -> list[EpochProgress | TrainingDiverged]:
        """How each member stands after the last epoch that was finished, or why it was stopped."""
        ...

    def trained(self, member: int) -> Map:
        """An independent copy of a member's map as it is after the last epoch, with its `training_settings`."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that changes during a training, by name."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a state that `state` gave."""
        ...


class TrainingRun:
    """The training of one map, in the process that asks for it.

    Args:
        images: Shape (samples, dim), on the device to compute on.
        settings: How to train.
        system: The map as it begins, on the same device. Its parameters are changed.
        record: Put into the `training_settings` of what is trained, beside what is put there anyway.
    """

    def __init__(
        self,
        images: Float32[Tensor, "samples dim"],
        settings: TrainingSettings,
        system: Map,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.epoch = 0
        self.epochs = settings.epochs
        self._images, self._settings, self._system, self._record = images, settings, system, dict(record or {})
        self._minibatches = _aligned(images).split(settings.batch_size)
        self._schedule = settings.schedule(system.state_shape)
        self._noise = Noise(settings.seed, "corruption", images.device)
        self._objectives: list[float] = []  # of the epochs that are finished, a mean over samples
        self._sums: list[Tensor] = []  # of the minibatches of the epoch under way, summed over their samples
        self._samples_per_second = math.nan
        self._diverged: TrainingDiverged | None = None
        self._adversary = Adversary(system.dim, settings.seed, images.device) if self._schedule.learns else None
        self._by_hand = isinstance(system, DenoisingAutoencoder)
        self._objective = settings.objective()
        if isinstance(system, DenoisingAutoencoder):
            if not system.tied:
                # Stored by columns while it is trained: its products, the update most of all, are a few percent faster.
                weight = system.decoder["weight"]
                weight.data = weight.data.t().contiguous().t()
            self._descent = GradientDescent(system, self._objective)
        else:
            self._descent = AutogradDescent(system, self._objective)

    def run_epoch(self, stop: Callable[[], bool]) -> bool:
        """See `Run`."""
        epoch, settings = self.epoch + 1, self._settings
        learning_rate = settings.learning_rate_in(epoch)
        corruption, state_shape = self._schedule.at(epoch), self._system.state_shape
        done, samples, started = len(self._sums), len(self._images), time.perf_counter()
        presentation = self.epoch * samples + done * settings.batch_size
        adversary = self._adversary if corruption.learns else None
        if adversary is not None:
            corruption = adversary.corruption(corruption)
        # Autograd need not keep watch over gradients that are written out.
        with torch.inference_mode(self._by_hand and self._adversary is None):
            for clean in self._minibatches[done:]:
                if stop():
                    return False
                corrupted = corruption(clean, self._noise.at(presentation, len(clean)), state_shape)
                if adversary is not None:
                    adversary.step(self._system, clean, corrupted, self._objective, learning_rate)
                self._sums.append(self._descent.step(clean, corrupted.detach(), learning_rate))
                presentation += len(clean)
        objective = torch.stack(self._sums).double().sum().item() / samples
        trained = sum(len(clean) for clean in self._minibatches[done:])
        self._samples_per_second = trained / (time.perf_counter() - started)
        self._objectives.append(objective)
        self._sums = []
        self.epoch = epoch
        self._stop_if_diverged()
        return True

    def progress(self) -> list[EpochProgress | TrainingDiverged]:
        """See `Run`."""
        if self._diverged is not None:
            return [self._diverged]
        rate = self._settings.learning_rate_in(self.epoch)
        return [EpochProgress(self.epoch, self._settings.epochs, self._objectives[-1], rate, self._samples_per_second)]

    def trained(self, member: int = 0) -> Map:
        """See `Run`."""
        system = copy.deepcopy(self._system)
        for parameter in system.parameters():
            parameter.data = parameter.data.contiguous()
        if isinstance(system, FunctionMap):  # a snapshot, as `as_map` gives it
            system.requires_grad_(False)
        record = training_record(self._settings, self._objectives, self._images, {"backend": "single", **self._record})
        if not isinstance(system, Autoencoder):
            record = {name: value for name, value in record.items() if name not in _OF_AUTOENCODERS}
        return with_record(system, record)

    def state(self) -> dict[str, Tensor]:
        """See `Run`."""
        parameters = {f"parameters.{name}": value.detach() for name, value in self._system.state_dict().items()}
        if self._adversary is not None:
            parameters |= self._adversary.state()
        return parameters | {
            "objectives": torch.tensor(self._objectives, dtype=torch.float64),
            "sums": torch.stack(self._sums).cpu() if self._sums else torch.empty(0),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Run`."""
        for name, value in self._system.state_dict().items():
            value.copy_(state[f"parameters.{name}"])
        if self._adversary is not None:
            self._adversary.restore(state)
        self._objectives = state["objectives"].tolist()
        self._sums = list(state["sums"].to(self._images.device).unbind())
        self.epoch = len(self._objectives)
        self._stop_if_diverged()

    def _stop_if_diverged(self) -> None:
        if not self._objectives:
            return
        objective = self._objectives[-1]
        if not (math.isfinite(objective) and all(bool(torch.isfinite(p).all()) for p in self._system.parameters())):
            self._diverged = diverged(self.epoch, self._settings.learning_rate_in(self.epoch), objective)
            self.epochs = self.epoch


def _aligned(images: Tensor) -> Tensor:
    """The images, or a copy, where torch would put them: on a CPU the bits of a product depend on that."""
    images = images.contiguous()
    return images if images.data_ptr() % _ALIGNMENT == 0 else images.clone()


def diverged(epoch: int, learning_rate: float, objective: float) -> TrainingDiverged:
    """Why a member was stopped."""
    return TrainingDiverged(
        f"training diverged in epoch {epoch} at learning rate {learning_rate:g}, the objective was {objective:g}: "
        "a smaller learning rate may help"
    )


def with_record(system: Map, record: dict[str, Any]) -> Map:
    """The map, with what is known of its training as `training_settings`."""
    object.__setattr__(system, "training_settings", record)  # autoencoders have it, other maps get it
    return system


def training_record(
    settings: TrainingSettings, objectives: list[float], images: Tensor, more: Mapping[str, Any]
) -> dict[str, Any]:
    """What is kept with a map of how it was trained, up to the epoch it is at."""
    return {
        **settings.as_json(),
        "epochs": len(objectives),
        "samples": len(images),
        "objective": list(objectives),
        "device": images.device.type,
        "versions": {"dynlab": dynlab.__version__, "torch": str(torch.__version__)},
        **more,
    }

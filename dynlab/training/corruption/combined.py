"""Corruptions made of others: one after another, and by chance one or another.

Every part has random numbers of its own (`Draws.part`), so what one part draws changes no other.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynlab.errors import InputError
from dynlab.training.corruption.corruption import Corruption, number_text
from dynlab.training.draws import Draws


@dataclass(frozen=True)
class _Combined(Corruption):
    """A corruption made of parts."""

    parts: tuple[Corruption, ...]

    @property
    def needs_images(self) -> bool:
        """See `Corruption`."""
        return any(part.needs_images for part in self.parts)

    @property
    def learns(self) -> bool:
        """See `Corruption`."""
        return any(part.learns for part in self.parts)

    def with_network(self, network: nn.Module) -> Corruption:
        """See `Corruption`."""
        return replace(self, parts=tuple(part.with_network(network) for part in self.parts))

    def without_network(self) -> Corruption:
        """See `Corruption`."""
        return replace(self, parts=tuple(part.without_network() for part in self.parts))


@dataclass(frozen=True)
class Successive(_Combined):
    """One part after another, each on what the one before made of the images."""

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`."""
        for index, part in enumerate(self.parts):
            images = part(images, draws.part(index), state_shape)
        return images

    def __str__(self) -> str:
        return " then ".join(str(part) for part in self.parts)

    @property
    def structure(self) -> Hashable:
        """See `Corruption`."""
        return "then", tuple(part.structure for part in self.parts)

    @property
    def numbers(self) -> tuple[float, ...]:
        """See `Corruption`."""
        return _numbers_of(self.parts)

    def with_numbers(self, numbers: Sequence[Tensor]) -> Corruption:
        """See `Corruption`."""
        return Successive(_parts_with(self.parts, numbers))


@dataclass(frozen=True)
class Mixture(_Combined):
    """By chance one of the parts, drawn for each sample with a probability in proportion to the part's weight.

    Raises:
        InputError: If a weight is not finite or not above 0.
    """

    weights: tuple[float | Tensor, ...]

    def __post_init__(self) -> None:
        for weight in self.weights:
            if not isinstance(weight, Tensor) and not (math.isfinite(weight) and weight > 0):
                raise InputError(f"a part has the weight {number_text(weight)}, expected a finite number above 0")

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`."""
        chance = draws.uniform(0, 1)
        *bounds, total = accumulate(self.weights)
        outcomes = [part(images, draws.part(index), state_shape) for index, part in enumerate(self.parts)]
        mixed = outcomes[-1]
        for bound, outcome in zip(reversed(bounds), reversed(outcomes[:-1]), strict=True):
            share = bound / total
            # Rounded to float32 in either case, so that members choose together as they do alone.
            mixed = torch.where(chance < (share.float() if isinstance(share, Tensor) else share), outcome, mixed)
        return mixed

    def __str__(self) -> str:
        parts = zip(self.weights, self.parts, strict=True)
        return " + ".join(f"{number_text(weight)} {part}" for weight, part in parts)

    @property
    def structure(self) -> Hashable:
        """See `Corruption`."""
        return "+", tuple(part.structure for part in self.parts)

    @property
    def numbers(self) -> tuple[float, ...]:
        """See `Corruption`."""
        return (*map(float, self.weights), *_numbers_of(self.parts))

    def with_numbers(self, numbers: Sequence[Tensor]) -> Corruption:
        """See `Corruption`."""
        count = len(self.weights)
        return Mixture(_parts_with(self.parts, numbers[count:]), tuple(numbers[:count]))


def _numbers_of(parts: Sequence[Corruption]) -> tuple[float, ...]:
    return tuple(number for part in parts for number in part.numbers)


def _parts_with(parts: Sequence[Corruption], numbers: Sequence[Tensor]) -> tuple[Corruption, ...]:
    rest = iter(numbers)
    return tuple(part.with_numbers(list(islice(rest, len(part.numbers)))) for part in parts)

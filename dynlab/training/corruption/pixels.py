"""Corruptions of every pixel on its own: none at all, Gaussian noise, and salt and pepper.

Source: Bahdanau and Jaeger, Smart Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 5.2
(Gaussian); Vincent, Larochelle, Lajoie, Bengio and Manzagol, Stacked Denoising Autoencoders, 2010, section 3.3 (salt
and pepper).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.training.corruption.corruption import Corruption, LevelledCorruption
from dynlab.training.draws import Draws


@dataclass(frozen=True)
class Clean(Corruption):
    """Nothing is done."""

    name: ClassVar[str] = "clean"

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`."""
        return images.expand(*draws.shape, images.shape[-1])

    def __str__(self) -> str:
        return self.name

    @property
    def structure(self) -> Hashable:
        """See `Corruption`."""
        return self.name

    @property
    def numbers(self) -> tuple[float, ...]:
        """See `Corruption`."""
        return ()

    def with_numbers(self, numbers: Sequence[Tensor]) -> Corruption:
        """See `Corruption`."""
        return self


@dataclass(frozen=True)
class Gaussian(LevelledCorruption):
    """Gaussian noise, `x + level n` with `n` standard normal in every pixel; never clipped, so pixels leave [0, 1].

    Args:
        level: Standard deviation of the noise, in units of a pixel, at least 0.
    """

    name: ClassVar[str] = "gaussian"

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`."""
        noise = draws.normal(0, images.shape[-1]).to(images.dtype)
        # In two roundings: a fused product and sum would differ between one level and the levels of members.
        return images + noise * self.level


@dataclass(frozen=True)
class SaltAndPepper(LevelledCorruption):
    """Pixels at random become 0 or 1, each of the two as likely.

    Args:
        level: Probability that a pixel does, from 0 to 1.
    """

    name: ClassVar[str] = "salt-and-pepper"
    most: ClassVar[float] = 1.0

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`."""
        chance = draws.uniform(0, images.shape[-1])
        return torch.where(chance < self.level, (chance < self.level / 2).to(images.dtype), images)

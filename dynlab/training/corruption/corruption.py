"""What a corruption is: images go in, corrupted images come out, and all chance comes from the draws it is given.

Corruptions are frozen dataclasses. Without tensors among their levels they can be compared and written as text
(`str`), which `parse_schedule` reads back. They never change their input, and they ask nothing of the values that they
compute: no shape depends on them and nothing waits for them, so that a step of training can be recorded as a CUDA
graph.

Members of an ensemble whose corruptions have the same `structure` and differ in their levels only can be corrupted
at once, by a corruption whose levels are tensors of shape (members, 1, 1). Each gets what it would get alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynlab.errors import InputError
from dynlab.training.draws import Draws


class Corruption(ABC):
    """A way to corrupt images. A new one writes `__call__`, `__str__`, `structure`, `numbers` and `with_numbers`."""

    @abstractmethod
    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """Corrupt each image by the numbers of its presentation.

        Args:
            images: Shape (rows, dim), or (members, rows, dim) where `draws` are those of several members.
            draws: The random numbers, of shape (rows,) or (members, rows).
            state_shape: How an image is looked at: it holds `dim` numbers.

        Returns:
            The corrupted images, of shape (rows, dim), or (members, rows, dim) where `draws` are those of several
            members; a new tensor, or `images` itself where nothing changes; dtype and device of `images`.
        """

    @property
    def needs_images(self) -> bool:
        """Whether a state must have height and width, its last two axes."""
        return False

    @property
    def learns(self) -> bool:
        """Whether a network that is trained beside the map has a part in it (`dynlab.training.adversary`)."""
        return False

    def with_network(self, network: nn.Module) -> Corruption:
        """The same corruption, its learned parts made by this network."""
        return self

    def without_network(self) -> Corruption:
        """The same corruption with Gaussian noise of the same level in place of its learned parts."""
        return self

    @property
    @abstractmethod
    def structure(self) -> Hashable:
        """What the corruptions of members must share for one call to corrupt the images of all of them."""

    @property
    @abstractmethod
    def numbers(self) -> tuple[float, ...]:
        """The numbers in which corruptions of one structure differ."""

    @abstractmethod
    def with_numbers(self, numbers: Sequence[Tensor]) -> Corruption:
        """A corruption of this structure for several members.

        Args:
            numbers: What each of `numbers` is for the members, shape (members, 1, 1), float64.
        """


@dataclass(frozen=True)
class LevelledCorruption(Corruption):
    """A kind of corruption that has one number, its level.

    Raises:
        InputError: If the level is out of its range.
    """

    level: float | Tensor
    name: ClassVar[str]
    most: ClassVar[float] = math.inf  # the largest level; the smallest is 0

    def __post_init__(self) -> None:
        if not isinstance(self.level, Tensor):
            check_level(self.name, "level", self.level, self.most)

    def __str__(self) -> str:
        return f"{self.name}({number_text(self.level)})"

    @property
    def structure(self) -> Hashable:
        return self.name

    @property
    def numbers(self) -> tuple[float, ...]:
        return (float(self.level),)

    def with_numbers(self, numbers: Sequence[Tensor]) -> Corruption:
        (level,) = numbers
        return replace(self, level=level.float())


class ImageCorruption(LevelledCorruption):
    """A kind of corruption that looks at states as images."""

    @property
    def needs_images(self) -> bool:
        return True

    def level_on(self, device: torch.device) -> Float[Tensor, "#members 1 1"] | Float[Tensor, "1 1"]:
        """The level as a tensor, rounded to float32, so that members compute together what they do alone."""
        return self.level if isinstance(self.level, Tensor) else torch.full((1, 1), self.level, device=device)


def check_level(name: str, what: str, value: float, most: float) -> None:
    """Refuse a level that is not finite, negative or larger than `most`.

    Raises:
        InputError: With the name of the kind, the value and the range.
    """
    if not (math.isfinite(value) and 0 <= value <= most):
        expected = "a finite number of at least 0" if math.isinf(most) else f"a number from 0 to {most:g}"
        raise InputError(f"{name} has the {what} {number_text(value)}, expected {expected}")


def number_text(value: float | Tensor) -> str:
    """The shortest text that reads back to the same number, without `.0`."""
    return str(value) if isinstance(value, Tensor) else repr(float(value)).removesuffix(".0")

"""A learned corruption: a small network proposes what to add to an image, and learns what is hardest to undo.

    h = tanh(U x + V z + c)
    d = W h + b
    x~ = x + d min(1, budget / ||d||),    budget = level sqrt(dim)

`z` is noise, so that one image can be corrupted in many ways. The budget is the length that Gaussian noise of the same
level has, as good as always; but noise spreads it over all directions, while a network may spend it in one, so that
small levels go far: docs/corruption.md says what was measured. For every minibatch the network goes one step up the
gradient of the objective that the map goes down, through the map as it is before its own step. It has far fewer units
than the map, as it should find directions that many images share, not learn images by heart.

Source: Goodfellow, Shlens and Szegedy, Explaining and Harnessing Adversarial Examples, 2015 (training on what is
hardest within a budget); Baluja and Fischer, Adversarial Transformation Networks, 2017 (a network that proposes it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dynlab.errors import InputError
from dynlab.training.corruption.corruption import Corruption, LevelledCorruption
from dynlab.training.corruption.pixels import Gaussian
from dynlab.training.draws import Draws
from dynlab.training.streams import generator

HIDDEN, NOISE = 32, 16


class Proposer(nn.Module):
    """The network that proposes corruptions.

    Args:
        dim: Length of a state.
        seed: Of its weights, which are drawn within the bound of Glorot and Bengio; biases begin at zero.
    """

    def __init__(self, dim: int, seed: int) -> None:
        super().__init__()
        stream = generator(seed, "adversary")

        def drawn(outputs: int, inputs: int) -> nn.Parameter:
            bound = math.sqrt(6 / (outputs + inputs))
            return nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound, generator=stream))

        self.from_image, self.from_noise, self.outputs = drawn(HIDDEN, dim), drawn(HIDDEN, NOISE), drawn(dim, HIDDEN)
        self.hidden_bias, self.output_bias = nn.Parameter(torch.zeros(HIDDEN)), nn.Parameter(torch.zeros(dim))

    def forward(
        self, images: Float[Tensor, "rows dim"], noise: Float[Tensor, "rows noise"]
    ) -> Float[Tensor, "rows dim"]:
        """What to add to each image, before the budget."""
        hidden = torch.tanh(F.linear(images, self.from_image, self.hidden_bias) + F.linear(noise, self.from_noise))
        return F.linear(hidden, self.outputs, self.output_bias)


@dataclass(frozen=True)
class Learned(LevelledCorruption):
    """What a network proposes within a budget of length `level sqrt(dim)`, once it has one (`with_network`)."""

    name = "learned"
    network: ClassVar[Proposer | None] = None

    def __call__(
        self, images: Float[Tensor, "*rows dim"], draws: Draws, state_shape: tuple[int, ...]
    ) -> Float[Tensor, "*drawn dim"]:
        """See `Corruption`; it can be differentiated by the network's parameters.

        Raises:
            InputError: If there is no network yet.
        """
        if self.network is None:
            raise InputError("corruption 'learned' is learned while a map is trained, expected a kind that is known")
        proposed = self.network(images, draws.normal(0, NOISE))
        length = torch.linalg.vector_norm(proposed, dim=-1, keepdim=True)
        budget = float(self.level) * math.sqrt(images.shape[-1])
        # The smallest normal number keeps a budget of 0 from dividing nothing by nothing.
        return images + proposed * (budget / length.clamp(min=max(budget, torch.finfo(length.dtype).tiny)))

    @property
    def learns(self) -> bool:
        """See `Corruption`."""
        return True

    def with_network(self, network: nn.Module) -> Corruption:
        """See `Corruption`."""
        return _Proposing(self.level, network)

    def without_network(self) -> Corruption:
        """See `Corruption`."""
        return Gaussian(self.level)

    def with_numbers(self, numbers: Sequence[Tensor]) -> Corruption:
        """See `Corruption`.

        Raises:
            InputError: Always, as every member has a network of its own.
        """
        raise InputError("corruption 'learned' cannot be used on several members at once")


@dataclass(frozen=True)
class _Proposing(Learned):
    """`Learned` with its network."""

    network: Any = None  # a `Proposer`

"""Training a learned corruption beside a map: one step up the objective that the map goes down.

The step is taken on the same minibatch and through the map as it is before its own step. The gradient is
multiplied with the map's learning rate, which anneals.

Source: Goodfellow, Shlens and Szegedy, Explaining and Harnessing Adversarial Examples, 2015.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.maps import Map
from dynlab.training.corruption.corruption import Corruption
from dynlab.training.corruption.learned import Proposer
from dynlab.training.objective import Objective, objective_value

_PREFIX = "adversary."  # of the names of its parameters in the state of a training


class Adversary:
    """The network of a learned corruption, and how it learns.

    Args:
        dim: Length of a state.
        seed: Of the member it belongs to.
        device: Where to compute.
    """

    def __init__(self, dim: int, seed: int, device: torch.device) -> None:
        self._network = Proposer(dim, seed).to(device)

    def corruption(self, corruption: Corruption) -> Corruption:
        """The corruption, its learned parts made by this network."""
        return corruption.with_network(self._network)

    def step(
        self,
        system: Map,
        clean: Float[Tensor, "batch dim"],
        corrupted: Float[Tensor, "batch dim"],
        objective: Objective,
        learning_rate: float,
    ) -> None:
        """Go one step up the gradient of the objective.

        Args:
            system: The map that learns to undo the corruption.
            clean: What it should come back to.
            corrupted: What this network, among others, made of it; with its graph.
            objective: What the map minimizes.
            learning_rate: What the gradient is multiplied with.
        """
        if not corrupted.requires_grad:
            return  # no sample of the minibatch, or no part of the corruption, came from the network
        parameters = list(self._network.parameters())
        value = objective_value(system, clean, corrupted, objective)
        for parameter, gradient in zip(parameters, torch.autograd.grad(value, parameters), strict=True):
            parameter.data.add_(gradient, alpha=learning_rate)

    def state(self) -> dict[str, Tensor]:
        """The parameters, by name."""
        return {f"{_PREFIX}{name}": value.detach() for name, value in self._network.state_dict().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to parameters that `state` gave."""
        for name, value in self._network.state_dict().items():
            value.copy_(state[f"{_PREFIX}{name}"])


def proposer_of(state: Mapping[str, Tensor]) -> Proposer:
    """The network of a training, to look at what it learned: for `Corruption.with_network`.

    Args:
        state: What `TrainingRun.state` gave, of a training with a learned corruption.

    Returns:
        An independent copy, on the CPU.

    Raises:
        ValueError: If there is no network in `state`.
    """
    parameters = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    if not parameters:
        raise ValueError("state has no network, expected that of a training with a learned corruption")
    network = Proposer(parameters["from_image"].shape[1], seed=0)
    network.load_state_dict(parameters)
    return network

"""The energy of a tied sigmoid autoencoder, which no step of iteration raises.

With tied weights `F(x) = sigmoid(W' sigmoid(W x + b) + c)` is one step of the concave-convex procedure on

    E(x) = -sum_j softplus(w_j . x + b_j) - c . x - H(x),    H(x) = -sum_i x_i log x_i + (1 - x_i) log(1 - x_i):

E is a convex function minus a convex one, and `F(x)` is where the first has the slope that the second has at x. Hence

    E(x) - E(F(x)) = D(x, F(x)) + S(W F(x) + b, W x + b) >= 0,

D being the Kullback-Leibler divergence of independent bits and S the Bregman divergence of the softplus. So every orbit
goes downhill, fixed points are exactly the critical points of E, there are no cycles, and E at a saddle, less E at an
attractor, is the height of a barrier. The Jacobian is similar to a symmetric positive semidefinite matrix, so
multipliers are real and at least 0.

Untied, `V sigmoid(W x + b)` is no gradient, and there is no such function. The guide taken here is the energy of the
nearest tied autoencoder, that with the weight `(W + V') / 2`, which for a tied one is its own. Of the energies that the
weights alone give it misleads least: with `W` or `V'` in its place, rises are larger and more orbits end higher than
they began (docs/score.md has the figures). It falls along orbits as a whole and in most of the first steps; near the
attractor, where steps are short, it rises as often as not. `energy_along_orbits` measures how far it guides.

Source: Yuille and Rangarajan, The concave-convex procedure, Neural Computation 15, 2003, theorem 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from dynlab.dynamics.blocks import block_rows
from dynlab.errors import check_count
from dynlab.maps import DenoisingAutoencoder, Map, flat_states, float64_copy
from dynlab.short_repr import short_repr


def energy(autoencoder: DenoisingAutoencoder, states: Float[Tensor, " batch *state"]) -> Float64[Tensor, " batch"]:
    """Energy of each state under a sigmoid autoencoder, in nats.

    Args:
        autoencoder: Sigmoid in both layers. If it is not tied, the energy is that of the nearest tied one: a guide.
        states: Shape (batch, dim), in the cube from 0 to 1, its corners and faces included. Computed in float64.

    Returns:
        Shape (batch,), float64, where the autoencoder is.

    Raises:
        ValueError: If `autoencoder` is another map or a nonlinearity is another, or states have another dim, are not
            finite, or leave the cube.
    """
    parts = _TiedParts.of(autoencoder)
    return parts.energy(_checked_states(autoencoder, states))


def energy_gradient(
    autoencoder: DenoisingAutoencoder, states: Float[Tensor, " batch *state"]
) -> Float64[Tensor, "batch dim"]:
    """Gradient of `energy`, `logit(x) - W' sigmoid(W x + b) - c`; zero exactly at the fixed points of a tied one.

    Args:
        autoencoder: As for `energy`.
        states: As for `energy`; where an entry is 0 or 1, that of the gradient is infinite.

    Returns:
        Shape (batch, dim), float64.

    Raises:
        ValueError: As `energy` does.
    """
    parts = _TiedParts.of(autoencoder)
    exact = _checked_states(autoencoder, states)
    return torch.logit(exact) - torch.sigmoid(F.linear(exact, parts.weight, parts.b)) @ parts.weight - parts.c


@dataclass(frozen=True)
class EnergyAlongOrbits:
    """Energies of orbits, and what rounding alone can make of them."""

    __repr__ = short_repr

    energies: Float64[Tensor, "times samples"]  # from the initial states on, in nats
    rounding: Float64[Tensor, "times samples"]  # a bound for the error of each

    @property
    def changes(self) -> Float64[Tensor, "steps samples"]:
        """Change of the energy in each step, in nats."""
        return self.energies.diff(dim=0)

    @property
    def rises(self) -> Bool[Tensor, "steps samples"]:
        """Steps in which the energy rises by more than rounding can make of it."""
        return self.changes > self.rounding[1:] + self.rounding[:-1]

    @property
    def falls(self) -> Bool[Tensor, "steps samples"]:
        """Steps in which it falls by more than rounding can make of it."""
        return self.changes < -(self.rounding[1:] + self.rounding[:-1])

    @property
    def rising_share(self) -> float:
        """Share of rises among rises and falls, from 0 to 1; 0 where there are neither. Always 0 for a tied map."""
        rises, falls = int(self.rises.sum()), int(self.falls.sum())
        return rises / max(1, rises + falls)

    @property
    def largest_rise(self) -> float:
        """The largest rise in one step, in nats; 0 where there is none."""
        return float(torch.where(self.rises, self.changes, 0.0).amax())

    @property
    def climbs(self) -> Float64[Tensor, " samples"]:
        """How far the energy ever climbs above where it was before, on each orbit, in nats: rises add up in it."""
        return (self.energies - self.energies.cummin(dim=0).values).amax(dim=0)


@torch.no_grad()
def energy_along_orbits(
    autoencoder: DenoisingAutoencoder, initial_states: Float[Tensor, " samples *state"], steps: int
) -> EnergyAlongOrbits:
    """Follow the energy along orbits, iterated in float64.

    Args:
        autoencoder: As for `energy`.
        initial_states: Shape (samples, dim), in the cube from 0 to 1, at least one.
        steps: How many to take, at least 1.

    Returns:
        The energies at the initial states and after each step, and how far to trust them.

    Raises:
        ValueError: If an argument is out of its range, as for `energy`.
    """
    parts = _TiedParts.of(autoencoder)
    states = _checked_states(autoencoder, initial_states, parameter="initial_states")
    if not len(states):
        raise ValueError("initial_states has no rows, expected at least 1")
    check_count("steps", steps, 1)
    exact = float64_copy(autoencoder)
    energies = states.new_empty(steps + 1, len(states))
    rounding = torch.empty_like(energies)
    rows = block_rows(exact.dim, states)
    for start in range(0, len(states), rows):
        block, columns = states[start : start + rows], slice(start, start + rows)
        for step in range(steps + 1):
            block = exact(block) if step else block
            energies[step, columns], rounding[step, columns] = parts.energy(block), parts.rounding(block)
    return EnergyAlongOrbits(energies, rounding)


@dataclass(frozen=True)
class _TiedParts:
    """Parameters of a tied autoencoder in float64."""

    weight: Float64[Tensor, "hidden dim"]
    b: Float64[Tensor, " hidden"]
    c: Float64[Tensor, " dim"]

    @staticmethod
    def of(autoencoder: Map) -> _TiedParts:
        """Those of an autoencoder itself, or of the nearest tied one.

        Raises:
            ValueError: If the map is another, or a nonlinearity is none of the sigmoid.
        """
        if not isinstance(autoencoder, DenoisingAutoencoder):
            raise ValueError(f"autoencoder is a {type(autoencoder).__name__}, expected a DenoisingAutoencoder")
        for layer in ("hidden", "output"):
            name = getattr(autoencoder, f"{layer}_nonlinearity")
            if name != "sigmoid":
                raise ValueError(f"{layer}_nonlinearity is {name!r}, expected 'sigmoid', which the energy is known for")
        encoder, decoder = autoencoder.encoder["weight"].detach().double(), autoencoder.decoder_weight.detach().double()
        biases = autoencoder.encoder["bias"], autoencoder.decoder["bias"]
        return _TiedParts((encoder + decoder.T) / 2, *(bias.detach().double() for bias in biases))

    def energy(self, states: Float64[Tensor, "batch dim"]) -> Float64[Tensor, " batch"]:
        """Energy of each state."""
        hidden = F.softplus(F.linear(states, self.weight, self.b), threshold=40).sum(dim=1)
        return -hidden - states @ self.c - _entropy(states)

    def rounding(self, states: Float64[Tensor, "batch dim"]) -> Float64[Tensor, " batch"]:
        """A bound for the error of the energy, whatever the order of its sums.

        A sum of n terms is wrong by at most about n times the unit roundoff of the sum of their moduli. The softplus
        passes errors of its argument on, never larger; to those come a few roundoffs for every function. One roundoff
        for each entry covers that the states of an orbit are rounded too: they minimize what the step minimizes, so
        that errors of theirs count squared, over their distance from 0 and 1.
        """
        hidden, dim = self.weight.shape
        inputs = F.linear(states.abs(), self.weight.abs(), self.b.abs()).sum(dim=1)
        softplus = F.softplus(F.linear(states, self.weight, self.b), threshold=40).sum(dim=1)
        terms = (
            (dim + 2) * inputs
            + (hidden + 4) * softplus
            + (dim + 2) * (states @ self.c.abs())
            + (dim + 6) * _entropy(states)
            + dim
        )
        return torch.finfo(torch.float64).eps * terms


def _entropy(states: Float64[Tensor, "batch dim"]) -> Float64[Tensor, " batch"]:
    """Entropy of independent bits, in nats; 0 at the corners of the cube."""
    return (torch.special.entr(states) + torch.special.entr(1 - states)).sum(dim=1)


def _checked_states(
    autoencoder: DenoisingAutoencoder, states: Float[Tensor, " batch *state"], *, parameter: str = "states"
) -> Float64[Tensor, "batch dim"]:
    states = flat_states(autoencoder, states, parameter=parameter)
    outside = ((states < 0) | (states > 1)).any(dim=1)
    if outside.any():
        row = int(outside.nonzero()[0, 0])
        raise ValueError(f"{parameter} leaves the cube from 0 to 1 in row {row}, where the energy ends; F(x) is inside")
    return states.detach().to(autoencoder.encoder["weight"].device, torch.float64)

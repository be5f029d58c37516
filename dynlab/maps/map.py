"""`Map`: anything that takes a state to the next state.

A new map writes one method, `forward: (batch, dim) -> (batch, dim)`, row by row independent. Its derivatives then come
from `torch.func`, and iteration, spectra, basins and reports work. A map made of layers writes `layers` instead:
derivatives are then theirs, and certificates can be proofs. One that knows its Jacobian as a product in another way
overrides `jacobian_factors`, and everything that solves or takes eigenvalues gets cheaper.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from numbers import Integral
from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dynlab.errors import check_count
from dynlab.maps import composition
from dynlab.maps.function_hash import module_hash
from dynlab.maps.layers import Layer


class Map(nn.Module):
    """A map `F` from states of dimension `dim` to states of the same dimension.

    Args:
        dim: Length of a state, at least 1.
        state_shape: How a state is looked at, `(28, 28)` for an image of 784 pixels; `(dim,)` if not given.

    Raises:
        ValueError: If `state_shape` does not hold `dim` numbers.
    """

    def __init__(self, dim: int, state_shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        check_count("dim", dim, 1)
        self.dim = dim
        self.state_shape = tuple(state_shape or (dim,))
        are_sizes = all(isinstance(size, Integral) and size >= 1 for size in self.state_shape)
        if not are_sizes or math.prod(self.state_shape) != dim:
            raise ValueError(f"state_shape is {self.state_shape}, expected a shape of {dim} numbers")

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map once to each row; a subclass that does not write `layers` must write this."""
        layers = self._layers_in(states.dtype)
        if layers is None:
            raise NotImplementedError(f"{type(self).__name__} must define forward(states) or layers()")
        return composition.applied(layers, states)

    def _differentiable(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """The map as `torch.func` is to see it, for one whose `forward` takes ways without derivatives."""
        return self.forward(states)

    def jacobian(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim dim"]:
        """Jacobian at each state: entry `[b, i, j]` is the derivative of output `i` with respect to input `j`."""
        factors = self.jacobian_factors(states)
        if factors is not None:
            return factors[0] @ factors[1]
        # Rows being independent, one cotangent for all rows finds the same row of every Jacobian.
        vjp = torch.func.vjp(self._differentiable, states)[1]
        basis = torch.eye(self.dim, dtype=states.dtype, device=states.device)
        rows = torch.func.vmap(lambda cotangent: vjp(cotangent.expand_as(states))[0])(basis)
        return rows.detach().transpose(0, 1)

    def jacobian_factors(
        self,
        states: Float[Tensor, "batch dim"],
    ) -> tuple[Float[Tensor, "batch dim rank"], Float[Tensor, "#batch rank dim"]] | None:
        """Matrices `A` and `B` with `J = A B` at each state, or None where the map knows no such product.

        The second may be shared by the whole batch, with a first axis of length 1. Of two `layers` and more they are
        split at the narrowest place.
        """
        layers = self._layers_in(states.dtype)
        return None if layers is None or len(layers) < 2 else composition.factors_of(layers, states)

    def jvp(
        self, states: Float[Tensor, "batch dim"], tangents: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch dim"]:
        """Jacobian times vector, row by row: `J(states[b]) @ tangents[b]`."""
        layers = self._layers_in(states.dtype)
        if layers is not None:
            return composition.linearized(layers, states)(tangents)
        return torch.func.jvp(self._differentiable, (states,), (tangents,))[1].detach()

    def linearized(self, states: Float[Tensor, "batch dim"]) -> Callable[[Tensor], Tensor]:
        """`jvp` at fixed states, for who multiplies the same Jacobians with many vectors: a function of the tangents.

        Derivatives of `layers` are taken once; another map that can do so overrides this.
        """
        layers = self._layers_in(states.dtype)
        if layers is not None:
            return composition.linearized(layers, states)
        return lambda tangents: self.jvp(states, tangents)

    def vjp(
        self, states: Float[Tensor, "batch dim"], cotangents: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch dim"]:
        """Transposed Jacobian times vector, row by row: `J(states[b]).T @ cotangents[b]`."""
        layers = self._layers_in(states.dtype)
        if layers is not None:
            return composition.vjp(layers, states, cotangents)
        return torch.func.vjp(self._differentiable, states)[1](cotangents)[0].detach()

    def layers(self) -> tuple[Layer, ...] | None:
        """The map as a composition of layers, the first applied first, or None where it is no such thing.

        They must do what `forward` does, as derivatives are theirs. They are all that a certificate
        (`dynlab.dynamics.certify`) needs, and only with them can it be a proof.
        """
        return None

    def _layers_in(self, dtype: torch.dtype) -> list[Layer] | None:
        """`layers` in the dtype of states, to which a map may bring parameters of another."""
        layers = self.layers()
        if layers is None:
            return None
        return [Layer(weight.to(dtype), bias.to(dtype), name) for weight, bias, name in layers]

    def jacobian_lipschitz(self, state: Float[Tensor, " dim"], radius: float) -> float | None:
        """A Lipschitz constant of the Jacobian near a state, or None where none is known.

        A number `L` with `||J(x) - J(y)||_2 <= L ||x - y||_2` for all `x` and `y` within `radius` of `state`, a finite
        one. A map without `layers` must know it for a certificate to be estimated.
        """
        return None

    def flat(
        self, states: Float[Tensor, "*batch_and_state"], *, parameter: str = "states"
    ) -> Float[Tensor, "batch dim"]:
        """States as rows of length `dim`, from shaped ones or flat ones.

        Raises:
            ValueError: If they are neither.
        """
        if tuple(states.shape[1:]) not in ((self.dim,), self.state_shape):
            shapes = dict.fromkeys(", ".join(map(str, shape)) for shape in ((self.dim,), self.state_shape))
            expected = " or ".join(f"(batch, {shape})" for shape in shapes)
            raise ValueError(f"{parameter} has shape {tuple(states.shape)}, expected {expected}")
        return states.reshape(len(states), self.dim)

    def shaped(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch first *rest"]:
        """Flat states in the shape in which they are looked at."""
        return states.reshape(len(states), *self.state_shape)

    @property
    def held_samples(self) -> int | None:
        """How many samples the map holds inputs for, row by row those of its states; None where it holds none.

        Samples with other inputs move under other maps: a fixed point of one is none of another. With the inputs of one
        sample a map is one map for all states, as without inputs, and takes any number of them.
        """
        return None

    @property
    def is_one_map(self) -> bool:
        """Whether all states move under one map, so that a fixed point is one for every sample."""
        return self.held_samples in (None, 1)

    def for_samples(self, rows: Int64[Tensor, " rows"]) -> Map:
        """The map for a choice of the samples whose inputs it holds; itself where it is one map for all states.

        Args:
            rows: Which samples, in which order, as indices from 0 to below `held_samples`; they may repeat.

        Returns:
            A map whose states are those of these samples. It shares its parameters with this one, so neither may be
            moved to another device or dtype in place.
        """
        return self

    def extra_repr(self) -> str:
        """Settings that determine the map, besides its parameters."""
        return f"dim={self.dim}"

    def settings_to_hash(self) -> str:
        """What `map_hash` takes the settings to be: `extra_repr`, and of a class of the user's its code and attributes.

        Raises:
            ValueError: If an attribute, or something that the code refers to, has no content that can be read.
        """
        if type(self).__module__.partition(".")[0] == "dynlab":  # whose classes say all of them
            return self.extra_repr()
        return f"{self.extra_repr()}, {module_hash(self, without=['training_settings'])}"


MapT = TypeVar("MapT", bound=Map)


def float64_copy(system: MapT) -> MapT:
    """Copy a map with all its parameters and buffers in float64; the map itself stays as it is."""
    return copy.deepcopy(system).double()


def map_hash(system: Map) -> str:
    """SHA-256 of what determines a map: its class, its settings (`settings_to_hash`), its parameters and buffers.

    Raises:
        ValueError: If a map of the user's refers to something whose content cannot be read.
    """
    digest = hashlib.sha256(f"{type(system).__qualname__}({system.settings_to_hash()})".encode())
    for name, value in sorted(system.state_dict().items()):
        digest.update(f"|{name}:{value.dtype}:{tuple(value.shape)}|".encode())
        # As bytes, since numpy does not know all of torch's types.
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_map(system: object, *, parameter: str = "system") -> None:
    """Check that something is a `Map`, and no module or function that is yet to become one.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(system, Map):
        raise ValueError(f"{parameter} is a {type(system).__name__}, expected a Map, as `dynlab.as_map` makes one")


def check_is_one_map(system: Map, *, parameter: str = "system") -> None:
    """Check that a map holds no inputs, or those of one sample only.

    Raises:
        ValueError: If it holds those of several, as what is asked is asked of one map, or is no map.
    """
    check_map(system, parameter=parameter)
    if not system.is_one_map:
        found = f"inputs for {system.held_samples} samples"
        raise ValueError(f"{parameter} holds {found}, expected one map for all states, as for_samples chooses one")


def flat_states(system: Map, states: object, *, parameter: str = "states") -> Float[Tensor, "batch dim"]:
    """States in the shape in which they are looked at, or flat ones, as flat ones; checked as `check_states` does.

    What they ask of gradients is left behind: nothing that follows is learned from.

    Raises:
        ValueError: If they have another shape, are not finite or not as many as `system` holds inputs for, or that is
            no map.
    """
    check_map(system)
    if not isinstance(states, Tensor):
        raise ValueError(f"{parameter} is of type {type(states).__name__}, expected a tensor")
    states = system.flat(states, parameter=parameter)
    check_states(system, states, parameter=parameter)
    if not system.is_one_map and len(states) != system.held_samples:
        raise ValueError(
            f"{parameter} holds {len(states)} rows, expected {system.held_samples}, as the map holds inputs for"
        )
    return states.detach()


def flat_state(system: Map, state: object, *, parameter: str = "state") -> Float[Tensor, " dim"]:
    """A single state, in the shape in which it is looked at or flat, as a flat one.

    Raises:
        ValueError: If it has another shape, is not finite, or `system` is no map or holds inputs for several samples.
    """
    check_is_one_map(system)
    if not isinstance(state, Tensor):
        raise ValueError(f"{parameter} is of type {type(state).__name__}, expected a tensor")
    shapes = dict.fromkeys(((system.dim,), system.state_shape))
    if tuple(state.shape) not in shapes:
        raise ValueError(f"{parameter} has shape {tuple(state.shape)}, expected {' or '.join(map(str, shapes))}")
    return flat_states(system, state[None], parameter=parameter)[0]


def check_states(system: Map, states: object, *, parameter: str = "states") -> None:
    """Check that `states` are finite floating point rows of the dimension of `system`.

    Raises:
        ValueError: If they are not, or `system` is no map; the message names the parameter and what was found.
    """
    check_map(system)
    if not isinstance(states, Tensor):
        raise ValueError(f"{parameter} is of type {type(states).__name__}, expected a tensor")
    if states.ndim != 2 or states.shape[1] != system.dim:
        raise ValueError(f"{parameter} has shape {tuple(states.shape)}, expected (batch, {system.dim})")
    if not states.is_floating_point():
        raise ValueError(f"{parameter} is of type {states.dtype}, expected floating point")
    if not torch.isfinite(states).all():
        row = int((~torch.isfinite(states)).any(dim=1).nonzero()[0, 0])
        raise ValueError(f"{parameter} is not finite in row {row}")

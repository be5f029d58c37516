"""Several steps of a map as one map, whose fixed points are the cycles of that map.

Source: the chain rule along an orbit; Kuznetsov, Elements of Applied Bifurcation Theory, section 1.4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dynlab.errors import check_count
from dynlab.maps.layers import Layer
from dynlab.maps.map import Map


class Iterated(Map):
    """`F^n`, `steps` applications of a map.

    Args:
        base: The map `F`, which is shared and not copied.
        steps: n, at least 1.

    Raises:
        ValueError: If `steps` is below 1.
    """

    def __init__(self, base: Map, steps: int) -> None:
        super().__init__(base.dim, base.state_shape)
        check_count("steps", steps, 1)
        self.base, self.steps = base, steps

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map n times to each row."""
        for _ in range(self.steps):
            states = self.base(states)
        return states

    def jacobian(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim dim"]:
        """The product of the Jacobians along the orbit, the last one first."""
        first, *others = self._orbit(states)
        product = self.base.jacobian(first)
        for state in others:
            product = self.base.jacobian(state) @ product
        return product

    def jacobian_factors(
        self, states: Float[Tensor, "batch dim"]
    ) -> tuple[Float[Tensor, "batch dim rank"], Float[Tensor, "#batch rank dim"]] | None:
        """`A` of the last step, and everything before it as `B`."""
        factors = None
        for state in self._orbit(states):
            step = self.base.jacobian_factors(state)
            if step is None:
                return None
            factors = step if factors is None else (step[0], (step[1] @ factors[0]) @ factors[1])
        return factors

    def jvp(
        self, states: Float[Tensor, "batch dim"], tangents: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch dim"]:
        """Jacobian times vector, step by step."""
        return self.linearized(states)(tangents)

    def linearized(self, states: Float[Tensor, "batch dim"]) -> Callable[[Tensor], Tensor]:
        """`jvp` at fixed states, with the orbit worked out once."""
        products = [self.base.linearized(state) for state in self._orbit(states)]

        def product(tangents: Tensor) -> Tensor:
            for step in products:
                tangents = step(tangents)
            return tangents

        return product

    def layers(self) -> tuple[Layer, ...] | None:
        """Those of the map, n times."""
        layers = self.base.layers()
        return None if layers is None else layers * self.steps

    @property
    def held_samples(self) -> int | None:
        """As many as the map holds inputs for."""
        return self.base.held_samples

    def for_samples(self, rows: Int64[Tensor, " rows"]) -> Map:
        """n steps of the map for a choice of the samples whose inputs it holds."""
        return Iterated(self.base.for_samples(rows), self.steps)

    def extra_repr(self) -> str:
        """Settings that determine the map, besides those of `F`."""
        return f"dim={self.dim}, steps={self.steps}"

    def settings_to_hash(self) -> str:
        """The class and the settings of `F` belong to it, too."""
        return f"{self.extra_repr()}, base={type(self.base).__qualname__}({self.base.settings_to_hash()})"

    @torch.no_grad()
    def _orbit(self, states: Tensor) -> list[Tensor]:
        orbit = [states]
        for _ in range(self.steps - 1):
            orbit.append(self.base(orbit[-1]))
        return orbit

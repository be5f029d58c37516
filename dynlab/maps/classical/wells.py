"""Gradient descent on a potential with many wells, of which everything is known: wells, saddles, connections, basins.

In rotated coordinates `y = Q^T x` the potential is a sum over the coordinates, so the map is a product of maps of the
line, and so are its answers: a fixed point is -1, 0 or 1 in each double well, where 0 is unstable, and 0 elsewhere.

Source: the normal form of a pitchfork, Strogatz, Nonlinear Dynamics and Chaos, section 3.4; Wales, Energy Landscapes,
2003, for index-1 saddles and the graph they make.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Complex128, Float, Float64, Int64
from torch import Tensor
from torch.nn import Buffer

from dynlab.maps.classical.numbers import positive
from dynlab.maps.map import Map


class MultiWell(Map):
    """`F(x) = x - step grad V(x)`, `V = sum_i s_i (y_i^2 - 1)^2 / 4 + sum_j c_j y_j^2 / 2` with `y = Q^T x`.

    The first m coordinates of y are double wells and the others quadratic: 2^m wells at `y_i = -1` or `y_i = 1`, and
    3^m fixed points in all, where as many directions are unstable as there are zeros among those `y_i`. The signs of
    `det(I - J)` add up to 1. A saddle with one unstable direction, in coordinate i, joins the two wells that differ
    from it there; it lies `s_i / 4` above both, at distance 1. A hyperplane `y_i = 0` is mapped into itself.

    Args:
        scales: `s_1` to `s_m`, above 0; m from 1 to 10.
        dim: Length of a state, at least m.
        curvatures: `c_j` of the dim - m other coordinates, above 0; all 1 if not given.
        step: Step size, above 0, with `step s_i` at most 0.5 and `step c_j` at most 1: no orbit from within `reach`
            changes a sign.
        seed: Of the random orthogonal matrix Q; None for the identity.

    Raises:
        ValueError: If an argument is out of its range.
    """

    scales: Tensor
    curvatures: Tensor
    rotation: Tensor

    def __init__(
        self,
        scales: Sequence[float],
        dim: int,
        *,
        curvatures: Sequence[float] | None = None,
        step: float = 0.1,
        seed: int | None = 0,
    ) -> None:
        super().__init__(dim)
        if not 1 <= len(scales) <= min(dim, 10):
            raise ValueError(f"scales has {len(scales)} numbers, expected 1 to {min(dim, 10)}")
        rest = dim - len(scales)
        curvatures = [1.0] * rest if curvatures is None else curvatures
        if len(curvatures) != rest:
            raise ValueError(
                f"curvatures has {len(curvatures)} numbers, expected {rest}, one for each other coordinate"
            )
        self.step, self.seed = positive("step", step), seed
        for parameter, values, limit in (("scales", scales, 0.5), ("curvatures", curvatures, 1.0)):
            for index, value in enumerate(values):
                if self.step * positive(f"{parameter}[{index}]", value) > limit:
                    expected = f"at most {limit / value:.6g}, where step times {parameter}[{index}] is {limit}"
                    raise ValueError(f"step is {step}, expected {expected}")
        self.scales = Buffer(torch.tensor(scales, dtype=torch.float64))
        self.curvatures = Buffer(torch.tensor(curvatures, dtype=torch.float64))
        self.rotation = Buffer(torch.eye(dim, dtype=torch.float64) if seed is None else _orthogonal(dim, seed))

    @property
    def reach(self) -> Float64[Tensor, " double_wells"]:
        """`sqrt(1 + 1 / (step s_i))`: while `|y_i|` is below, no step changes its sign."""
        return (1 + 1 / (self.step * self.scales.double())).sqrt()

    def coordinates(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """`y = Q^T x`, the double wells first."""
        return states @ self.rotation.to(states.dtype)

    def states_at(self, coordinates: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """`x = Q y`."""
        return coordinates @ self.rotation.to(coordinates.dtype).T

    def potential(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
        """`V`, which falls along every orbit from within `reach` and is 0 at the wells."""
        double, quadratic = self._split(self.coordinates(states))
        scales, curvatures = self.scales.to(states.dtype), self.curvatures.to(states.dtype)
        return (double.square() - 1).square() @ scales / 4 + quadratic.square() @ curvatures / 2

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Apply the map once to each row."""
        double, quadratic = self._split(self.coordinates(states))
        scales, curvatures = self.scales.to(states.dtype), self.curvatures.to(states.dtype)
        slopes = torch.cat([scales * double * (double.square() - 1), curvatures * quadratic], dim=1)
        return states - self.step * self.states_at(slopes)

    def jacobian_lipschitz(self, state: Float[Tensor, " dim"], radius: float) -> float:
        """`F''` in coordinate i of y is `-6 step s_i y_i`, and nothing else varies."""
        double = self._split(self.coordinates(state[None]).double())[0][0]
        return float((6 * self.step * self.scales.double() * (double.abs() + radius)).max())

    def fixed_points(self) -> Float64[Tensor, "points dim"]:
        """All 3^m, by growing number of unstable directions; those alike in it ordered like their y, -1 < 0 < 1."""
        return self._at(self._signs())

    def unstable_directions(self) -> Int64[Tensor, " points"]:
        """How many multipliers of each of `fixed_points` lie outside the unit circle; all others lie inside."""
        return (self._signs() == 0).sum(1)

    def multipliers(self) -> Complex128[Tensor, "points dim"]:
        """`1 - 2 step s_i` where `y_i` is -1 or 1, `1 + step s_i` where it is 0, and `1 - step c_j`."""
        scales = self.step * self.scales.double()
        rest = 1 - self.step * self.curvatures.double()
        signs = self._signs()
        double = torch.where(signs == 0, 1 + scales, 1 - 2 * scales)
        values = torch.cat([double, rest.expand(len(signs), -1)], dim=1)
        return values.sort(dim=1, descending=True).values.to(torch.complex128)

    def wells(self) -> Float64[Tensor, "wells dim"]:
        """All 2^m, the first of `fixed_points`: the index of a well is the binary number of its positive `y_i`."""
        return self._at(self._of_index(0))

    def saddles(self) -> Float64[Tensor, "saddles dim"]:
        """The `m 2^(m - 1)` saddles with one unstable direction, which come after the wells in `fixed_points`."""
        return self._at(self._of_index(1))

    def connections(self) -> Int64[Tensor, "saddles 2"]:
        """The two wells, as indices into `wells`, where the unstable manifold of each of `saddles` ends."""
        signs = self._of_index(1)
        ends = [torch.where(signs == 0, side, signs) for side in (-1, 1)]
        return torch.stack([self._index_of(end) for end in ends], dim=1)

    def basins(self, states: Float[Tensor, "batch dim"]) -> Int64[Tensor, " batch"]:
        """Index into `fixed_points` of where the orbit of each state goes: that of a well, unless a `y_i` is 0.

        -1 where a `y_i` is beyond its `reach`, where steps change signs and no closed form is known. Exact up to the
        rounding of y.
        """
        double = self._split(self.coordinates(states))[0]
        within = (double.abs() < self.reach.to(double.dtype)).all(dim=1)
        return torch.where(within, self._index_of(double.sign().long()), -1)

    def extra_repr(self) -> str:
        """Settings that determine the map, besides its scales, its curvatures and Q."""
        return f"dim={self.dim}, double_wells={len(self.scales)}, step={self.step!r}"

    def _split(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        return coordinates[:, : len(self.scales)], coordinates[:, len(self.scales) :]

    def _signs(self) -> Tensor:
        """The first m coordinates of all fixed points, in the order of `fixed_points`."""
        # Sorting is stable, so that those of one index stay in the order of the product.
        signs = sorted(itertools.product((-1, 0, 1), repeat=len(self.scales)), key=lambda point: point.count(0))
        return torch.tensor(signs, device=self.scales.device)

    def _of_index(self, unstable: int) -> Tensor:
        signs = self._signs()
        return signs[(signs == 0).sum(1) == unstable]

    def _at(self, signs: Tensor) -> Tensor:
        zeros = torch.zeros(len(signs), self.dim - len(self.scales), dtype=torch.float64, device=signs.device)
        return self.states_at(torch.cat([signs.double(), zeros], dim=1))

    def _index_of(self, signs: Tensor) -> Tensor:
        """Row of `_signs` that equals each row."""
        powers = 3 ** torch.arange(len(self.scales), device=signs.device)
        known = ((self._signs() + 1) * powers).sum(1)
        place = torch.empty_like(known)
        place[known] = torch.arange(len(known), device=signs.device)
        return place[((signs + 1) * powers).sum(1)]


def _orthogonal(dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=generator))[0]

"""Lyapunov exponents: the mean logarithmic growth of small differences along an orbit.

For orbits that do not settle they are what multipliers are for fixed points: positive ones mean chaos. An orthonormal
frame of `count` tangents is pushed along by the Jacobian and made orthonormal again after each step, `J Q = Q' R`; the
logarithms of the diagonal of R, averaged over the steps, are the leading exponents. All in float64.

The frame is the same for every sample, random, and pushed along through the transient too, so that it has turned into
the directions of growth before the average begins.

Source: Benettin, Galgani, Giorgilli and Strelcyn, Lyapunov characteristic exponents for smooth dynamical systems,
Meccanica 15, 1980; Eckmann and Ruelle, Ergodic theory of chaos and strange attractors, Reviews of Modern Physics 57,
1985, section V.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from dynlab.dynamics.blocks import block_rows, home_of
from dynlab.errors import check_count
from dynlab.maps import Map, flat_states, float64_copy
from dynlab.short_repr import short_repr

_BLOCKS = 20
# Up to this dimension the whole Jacobian costs less than tangents one by one.
_DENSE_UP_TO = 32


@dataclass(frozen=True)
class LyapunovExponents:
    """Exponents of the orbit of each sample, natural logarithm per step, and how far they can be trusted.

    They are in the order of the frame's tangents, which is falling as far as the averages have converged, so that the
    first k add up to the growth rate of k-dimensional volumes. NaN where the orbit diverged. -inf where a step
    annihilates a tangent, or leaves so little of it that float64 cannot tell it from the tangents before it. A
    superstable orbit that rounding keeps one digit beside its critical point has about ln(1e-16) = -37 a step instead.
    """

    __repr__ = short_repr

    exponents: Float64[Tensor, "samples count"]
    block_means: Float64[Tensor, "samples blocks count"]  # of 20 consecutive stretches of the steps averaged over
    diverged: Bool[Tensor, " samples"]  # whether the orbit, or its tangents, left the range of floating point numbers

    @property
    def standard_errors(self) -> Float64[Tensor, "samples count"]:
        """Standard deviation of the block means over the square root of their number.

        A standard error as far as the blocks are long against the orbit's memory. It says nothing of a transient that
        outlasts the steps (see `drifts`) or of a part of the attractor that the orbit has not visited. NaN where the
        exponent is not finite.
        """
        return self.block_means.std(dim=1) / self.block_means.shape[1] ** 0.5

    @property
    def drifts(self) -> Float64[Tensor, "samples count"]:
        """Mean of the second half of the blocks minus mean of the first.

        About two standard errors for an orbit that has settled; many of them mean that `transient` was too short. NaN
        where the exponent is not finite.
        """
        first, second = self.block_means.chunk(2, dim=1)
        return second.mean(dim=1) - first.mean(dim=1)


def lyapunov_exponents(
    system: Map,
    initial_states: Float[Tensor, " samples *state"],
    *,
    count: int | None = None,
    steps: int = 10_000,
    transient: int = 1000,
) -> LyapunovExponents:
    """Leading Lyapunov exponents of the orbit of each initial state, by the QR method.

    A step costs one step of the map, `count` tangents by `system.jvp` (up to dimension 32 a Jacobian instead, those of
    many steps at once), and a QR factorization, for each sample; memory is that of the Jacobians of a block of samples.

    Args:
        system: The map; its own `jvp` and `jacobian` are used if it has them. Computed in float64.
        initial_states: Shape (samples, dim) or `(samples, *state_shape)`, finite.
        count: How many exponents, from 1 to dim; all if not given.
        steps: Number of steps to average over, at least 20.
        transient: Number of steps before these, at least 0: for the orbit to reach its attractor and the frame to turn.

    Returns:
        The exponents, in the order of `initial_states`; all tensors on the CPU.

    Raises:
        ValueError: If an argument is out of its range, or the states have another dim than the map or are not finite.
    """
    initial_states = flat_states(system, initial_states, parameter="initial_states")
    if count is None:
        count = system.dim
    check_count("count", count, 1, system.dim)
    check_count("steps", steps, _BLOCKS)
    check_count("transient", transient, 0)
    exact = float64_copy(system)
    home = home_of(exact, initial_states.double())
    orbit = _TangentOrbit(exact, initial_states.to(home.device, torch.float64), count)
    orbit.advance(transient)
    ends = [steps * (block + 1) // _BLOCKS for block in range(_BLOCKS)]
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    sums = torch.stack([orbit.advance(length) for length in lengths], dim=1).cpu()
    diverged = ~orbit.alive.cpu()
    sums[diverged] = float("nan")
    return LyapunovExponents(
        exponents=sums.sum(dim=1) / steps,
        block_means=sums / torch.tensor(lengths, dtype=torch.float64)[:, None],
        diverged=diverged,
    )


class _TangentOrbit:
    """The present states of a batch, and at each an orthonormal frame of tangents."""

    def __init__(self, exact: Map, states: Float64[Tensor, "samples dim"], count: int) -> None:
        self.exact, self.states = exact, states
        self.alive = torch.ones(len(states), dtype=torch.bool, device=states.device)
        # Random, since tangents along the axes of a diagonal Jacobian would never turn.
        start = torch.randn(exact.dim, count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        self.frames = torch.linalg.qr(start)[0].to(states.device).expand(len(states), -1, -1)

    def advance(self, steps: int) -> Float64[Tensor, "samples count"]:
        """Go `steps` steps; the sums of the logarithms of growth on the way."""
        growth = torch.zeros(len(self.states), self.frames.shape[2], dtype=torch.float64, device=self.states.device)
        is_dense = self.exact.dim <= _DENSE_UP_TO
        # As many rows at a time as of samples elsewhere: what the map makes on its way to a Jacobian may be wide.
        longest = max(1, block_rows(self.exact.dim, self.states) // max(1, len(self.states))) if is_dense else 1
        while steps > 0:
            length = min(steps, longest)
            growth += self._stretch(length) if is_dense else self._step()
            steps -= length
        return growth

    def _stretch(self, length: int) -> Float64[Tensor, "samples count"]:
        """Go some steps by whole Jacobians, all of which are worked out at once: the states do not need the frames."""
        with torch.no_grad():
            orbit = [self.states]
            for _ in range(length):
                orbit.append(self.exact(orbit[-1]))
        states = torch.stack(orbit)
        rows = torch.arange(len(self.states), device=states.device).repeat(length)
        jacobians = self.exact.for_samples(rows).jacobian(states[:-1].flatten(0, 1)).unflatten(0, (length, -1))
        self.states = states[-1]
        self.alive = (
            self.alive & states.isfinite().all(dim=2).all(dim=0) & jacobians.isfinite().all(dim=3).all(2).all(0)
        )
        # What diverged keeps its frame, since LAPACK promises nothing on NaN.
        identity = torch.eye(self.exact.dim, dtype=torch.float64, device=states.device)
        jacobians = torch.where(self.alive[:, None, None], jacobians, identity)
        pushed, triangles = [], []
        for jacobian in jacobians:
            pushed.append(jacobian @ self.frames)
            self.frames, triangle = torch.linalg.qr(pushed[-1])
            triangles.append(triangle)
        return _growth(torch.stack(pushed), torch.stack(triangles)).sum(dim=0)

    def _step(self) -> Float64[Tensor, "samples count"]:
        """Go a step, with the frame's tangents one by one."""
        # By vmap, so that what belongs to the states alone is computed once for all tangents.
        push = torch.func.vmap(lambda tangents: self.exact.jvp(self.states, tangents), in_dims=2, out_dims=2)
        pushed = push(self.frames)
        with torch.no_grad():
            images = self.exact(self.states)
        self.alive = self.alive & images.isfinite().all(dim=1) & pushed.isfinite().all(dim=2).all(dim=1)
        self.states = images
        pushed = torch.where(self.alive[:, None, None], pushed, self.frames)
        self.frames, triangle = torch.linalg.qr(pushed)
        return _growth(pushed, triangle)


def _growth(
    pushed: Float64[Tensor, "*batch dim count"], triangles: Float64[Tensor, "*batch count count"]
) -> Float64[Tensor, "*batch count"]:
    """The logarithm of each tangent's growth beyond those before it; -inf where rounding leaves nothing of it."""
    growth = triangles.diagonal(dim1=-2, dim2=-1).abs()
    lengths = torch.linalg.vector_norm(pushed, dim=-2)
    resolved = growth > lengths * (pushed.shape[-2] * torch.finfo(torch.float64).eps)
    return torch.where(resolved, growth, 0.0).log()

"""How much a perturbation can grow under the linearization before the spectral radius has its way.

The Jacobian of a learned map is not normal: its eigenvectors are not orthogonal, so a sum of shrinking components can
grow for some steps, by `||J^p||_2` at most in `p` of them. With `J = J Q Q^T` through few units, as in
`dynlab.dynamics.dense`, all powers are `J^p = (J Q) S^(p-1) Q^T`, whose norm is that of the narrow `(J Q) S^(p-1)`.

Source: Trefethen and Embree, Spectra and Pseudospectra, 2005, sections 14 to 16 and 48.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from dynlab.dynamics.blocks import in_float64
from dynlab.dynamics.dense import Restriction, check_jacobians, restrictions
from dynlab.dynamics.spectra import spectral_radius
from dynlab.errors import check_count
from dynlab.maps import Map, flat_states
from dynlab.short_repr import short_repr

_ROUNDING = 1e-12  # a norm or a spectral radius that exceeds one by no more is one


@dataclass(frozen=True)
class TransientAmplification:
    """The largest factor by which the linearization ever lengthens a perturbation, at each state; on the CPU."""

    __repr__ = short_repr

    factors: Float64[Tensor, " batch"]  # max over p = 0, 1, ... of ||J^p||_2, so at least 1; inf where it keeps growing
    steps: Int64[Tensor, " batch"]  # the first p at which that is attained, 0 where nothing ever grows; -1 where inf
    is_settled: Bool[Tensor, " batch"]  # whether larger p are ruled out; if not, the factor is a lower bound


def jacobian_norm(system: Map, states: Float[Tensor, " batch *state"]) -> Float64[Tensor, " batch"]:
    """`||J||_2`, the largest singular value of the Jacobian of `system` at each state.

    Args:
        system: The map to linearize; its own `jacobian_factors` are used if it has them.
        states: Where to linearize, shape (batch, dim) or `(batch, *state_shape)`. Computed in
            float64 whatever their dtype.

    Returns:
        Shape (batch,), dimensionless, on the CPU: by how much a step lengthens a small perturbation at most.

    Raises:
        ValueError: If `states` has another dim than `system` or is not finite, or a Jacobian is not finite.
    """
    norms = [_norms(restriction.images) for restriction in _restrictions(system, states)]
    return torch.cat([torch.zeros(0, dtype=torch.float64), *(part.cpu() for part in norms)])


def departure_from_normality(system: Map, states: Float[Tensor, " batch *state"]) -> Float64[Tensor, " batch"]:
    """Henrici's `sqrt(||J||_F^2 - sum |lambda|^2)` of the Jacobian of `system` at each state.

    Zero where the Jacobian is normal, that is, has orthogonal eigenvectors. Taken as the Frobenius norm of the strict
    upper triangle of the Schur form, which is the same and loses no digits to a difference.

    Args:
        system: The map to linearize; its own `jacobian_factors` are used if it has them.
        states: Where to linearize, shape (batch, dim) or `(batch, *state_shape)`. Computed in
            float64 whatever their dtype.

    Returns:
        Shape (batch,), dimensionless, on the CPU.

    Raises:
        ValueError: If `states` has another dim than `system` or is not finite, or a Jacobian is not finite.

    Source: Henrici, Bounds for iterates, inverses, spectral variation and fields of values of non-normal matrices,
    Numerische Mathematik 4, 1962.
    """
    departures: list[float] = []
    for restriction in _restrictions(system, states):
        # With the complement of the span first, the Jacobian is block triangular: zeros, what leaves the span, and S.
        leaving = torch.linalg.matrix_norm(restriction.complement).tolist()
        for small, outside in zip(restriction.small.cpu().numpy(), leaving, strict=True):
            departures.append(float(np.hypot(_strict_triangle(small), outside)))
    return torch.tensor(departures, dtype=torch.float64)


def transient_amplification(
    system: Map, states: Float[Tensor, " batch *state"], *, max_steps: int = 1000
) -> TransientAmplification:
    """`max_p ||J^p||_2` over `p = 0, 1, 2, ...` for the Jacobian `J` of `system` at each state.

    Powers are taken until one has a norm of at most 1, say `||J^q|| <= 1`: then no larger one is longer than the
    longest of the first `q`, since `||J^(a q + r)|| <= ||J^q||^a ||J^r||`. That comes to an end wherever the spectral
    radius is below 1, after about `log(condition) / (1 - spectral radius)` steps. Where it is above 1, powers grow
    without limit.

    Args:
        system: The map to linearize; its own `jacobian_factors` are used if it has them.
        states: Where to linearize, shape (batch, dim) or `(batch, *state_shape)`. Computed in
            float64 whatever their dtype.
        max_steps: Limit of `p`, at least 1.

    Returns:
        The factors, the steps at which they are attained, and whether the limit was not in the way.

    Raises:
        ValueError: If `states` has another dim than `system` or is not finite, `max_steps` is not positive, or a
            Jacobian is not finite.
    """
    check_count("max_steps", max_steps, 1)
    radii = spectral_radius(system, states)
    factors = torch.ones(len(states), dtype=torch.float64)
    steps = torch.zeros(len(states), dtype=torch.int64)
    is_settled = torch.ones(len(states), dtype=torch.bool)
    first = 0
    for restriction in _restrictions(system, states):
        for images, small in zip(restriction.images, restriction.small, strict=True):
            if radii[first] > 1 + _ROUNDING:
                factors[first], steps[first] = torch.inf, -1
            else:
                factors[first], steps[first], is_settled[first] = _largest_power(images, small, max_steps)
            first += 1
    return TransientAmplification(factors, steps, is_settled)


def _restrictions(system: Map, states: Tensor) -> Iterator[Restriction]:
    states = flat_states(system, states)
    exact, states = in_float64(system, states)
    check_jacobians(exact, states)
    return restrictions(exact, states)


def _largest_power(
    images: Float64[Tensor, "dim size"], small: Float64[Tensor, "size size"], max_steps: int
) -> tuple[float, int, bool]:
    """The largest norm of a power, the power, and whether one of norm at most 1 was met."""
    largest, attained, power = 1.0, 0, images
    for step in range(1, max_steps + 1):
        # The Frobenius norm is an upper bound that costs nothing, and good once few components are left.
        norm = float(torch.linalg.matrix_norm(power))
        if norm > largest:
            norm = float(_norms(power[None])[0])
        if norm > largest * (1 + _ROUNDING):
            largest, attained = norm, step
        if norm <= 1 + _ROUNDING:
            return largest, attained, True
        power = power @ small
    return largest, attained, False


def _norms(matrices: Float64[Tensor, "batch dim size"]) -> Float64[Tensor, " batch"]:
    """Largest singular value of each matrix."""
    scale = matrices.abs().amax(dim=(1, 2), keepdim=True)
    scaled = matrices / torch.where(scale > 0, scale, 1.0)
    return torch.linalg.eigvalsh(scaled.mT @ scaled)[:, -1].clamp(min=0.0).sqrt() * scale[:, 0, 0]


def _strict_triangle(matrix: np.ndarray) -> float:
    """Frobenius norm of what stands above the diagonal of the complex Schur form."""
    from scipy.linalg import schur

    triangle = schur(matrix)[0]  # real: a conjugate pair is a block [[a, b], [c, a]], which adds |b + c| itself
    below = np.diagonal(triangle, -1)
    strict = np.triu(triangle, 1)
    index = np.flatnonzero(below)
    strict[index, index + 1] += below[index]
    return float(np.linalg.norm(strict))

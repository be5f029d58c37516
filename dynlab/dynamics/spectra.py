"""Spectra: the eigenvalues of the Jacobian, at fixed points called multipliers, in float64.

The leading few are found by Arnoldi iteration on all states at once, from products of the Jacobians with vectors. All
of them, those of small Jacobians, and whatever that iteration does not settle come from the matrices, which a map that
knows factors of its Jacobian makes small.

Source: Golub and Van Loan, Matrix Computations, section 7; Saad, Numerical Methods for Large Eigenvalue Problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex128, Float, Float64, Int64
from torch import Tensor

from dynlab.dynamics.arnoldi import Product, arnoldi, first_length
from dynlab.dynamics.blocks import in_float64
from dynlab.dynamics.dense import Eigenpairs, check_jacobians, dense_eigenpairs, matrix_size
from dynlab.errors import check_count, check_positive
from dynlab.maps import Map, flat_states
from dynlab.maps.composition import slopes_of
from dynlab.short_repr import short_repr

_DENSE_BELOW = 3  # first lengths of Arnoldi's bases: below that size, all eigenvalues cost no more than the leading few
_BLOCK_BYTES = 2**28  # of eigenvectors that are held at once
_NEAR_UNITY_FIRST = 8  # eigenvalues looked at before it is known how many are near 1


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of the Jacobian at each state, by falling modulus, on the CPU.

    Conjugate pairs are whole and stand together, the positive imaginary part first. So a row holds `k` eigenvalues, or
    one more where the last of `k` would be half a pair; if some rows hold one more, the others end in NaN.
    """

    __repr__ = short_repr

    eigenvalues: Complex128[Tensor, "batch count"]
    residuals: Float64[Tensor, "batch count"]  # ||J v - lambda v||_2 for an eigenvector of length 1

    @property
    def spectral_radius(self) -> Float64[Tensor, " batch"]:
        """Largest modulus at each state."""
        return self.eigenvalues[:, 0].abs()


def spectrum(system: Map, states: Float[Tensor, " batch *state"], k: int | None = None) -> Spectrum:
    """Eigenvalues of the Jacobian of `system` at each state, by falling modulus.

    Moduli that agree to 1e-12 of the largest count as equal; of equal ones those with the larger imaginary part come
    first. A multiple eigenvalue is listed as often as it occurs.

    Args:
        system: The map to linearize; its own `jacobian_factors` are used if it has them.
        states: Where to linearize, shape (batch, dim) or `(batch, *state_shape)`. Computed in
            float64 whatever their dtype.
        k: How many to return, from 1 to dim; all `dim` if not given. A few of many are much cheaper than all.

    Returns:
        Eigenvalues of shape (batch, k), or (batch, k + 1) where a conjugate pair would be cut in two, and a residual
        for each, at most 1e-10 ||J||_2.

    Raises:
        ValueError: If `states` has another dim than `system` or is not finite, `k` is out of range, or a Jacobian is
            not finite.
    """
    states = flat_states(system, states)
    count = system.dim if k is None else k
    check_count("k", count, 1, system.dim)
    exact, states = in_float64(system, states)
    check_jacobians(exact, states)
    parts = []
    block_rows = max(1, _BLOCK_BYTES // (16 * system.dim * count))
    for rows in torch.arange(len(states), device=states.device).split(block_rows):
        pairs = _eigenpairs(exact.for_samples(rows), states[rows], count)
        parts.append((pairs.multipliers, pairs.residuals))
    eigenvalues, residuals = (torch.cat(part) for part in zip(*parts, strict=True))
    is_cut = eigenvalues[:, -1].imag > 0
    if is_cut.any():
        other = torch.where(is_cut, eigenvalues[:, -1].conj(), complex("nan+nanj"))
        eigenvalues = torch.cat([eigenvalues, other[:, None]], dim=1)
        residuals = torch.cat([residuals, torch.where(is_cut, residuals[:, -1], torch.nan)[:, None]], dim=1)
    return Spectrum(eigenvalues, residuals)


def spectrum_across_one(system: Map, state: Float[Tensor, " dim"], k: int) -> Complex128[Tensor, " count"]:
    """The leading eigenvalues at one state: `k`, and as many more as it takes to come inside the unit circle.

    Args:
        system: The map to linearize.
        state: Where to linearize, shape (dim,).
        k: How many to return at least, or all where there are fewer; at least 1.

    Returns:
        Shape (count,), on the CPU: all of them, or down to one that is not outside the unit circle.

    Raises:
        ValueError: As `spectrum` does.
    """
    count = min(k, system.dim)
    while True:
        found = spectrum(system, state[None], count).eigenvalues[0]
        if count == system.dim or float(found[count - 1].abs()) <= 1:
            return found
        count = min(2 * count, system.dim)


def spectral_radius(system: Map, states: Float[Tensor, " batch *state"]) -> Float64[Tensor, " batch"]:
    """Largest modulus among the eigenvalues of the Jacobian of `system` at each state.

    Below 1 at a fixed point, the fixed point attracts, and orbits approach it like `spectral_radius ** step`.

    Args:
        system: The map to linearize; its own `jacobian_factors` are used if it has them.
        states: Where to linearize, shape (batch, dim) or `(batch, *state_shape)`. Computed in
            float64 whatever their dtype.

    Returns:
        Shape (batch,), dimensionless, float64.

    Raises:
        ValueError: If `states` has another dim than `system`, or is not finite, or a Jacobian is not finite.

    Source: Golub and Van Loan, Matrix Computations, section 7.3.
    """
    return spectrum(system, states, 1).spectral_radius


def near_unity_counts(
    system: Map, states: Float[Tensor, " batch *state"], radii: Sequence[float] = (0.01, 0.03, 0.1)
) -> Int64[Tensor, "batch radii"]:
    """How many eigenvalues of the Jacobian lie within each radius of 1, at each state.

    How close is this to a continuous attractor? One of dimension `m` has `m` multipliers of exactly 1. Asked at fixed
    points and along the slow stretches of orbits.

    Args:
        system: The map to linearize; its own `jacobian_factors` are used if it has them.
        states: Where to linearize, shape (batch, dim) or `(batch, *state_shape)`. Computed in
            float64 whatever their dtype.
        radii: Distances `|lambda - 1|`, positive; eigenvalues at less than that are counted.

    Returns:
        Shape (batch, radii), on the CPU.

    Raises:
        ValueError: If `states` has another dim than `system` or is not finite, a radius is not positive, or a
            Jacobian is not finite.

    Source: Seung, Learning continuous attractors in recurrent networks, 1998.
    """
    states = flat_states(system, states)
    if not isinstance(radii, Sequence):
        raise ValueError(f"radii is {radii}, expected a sequence of numbers above 0")
    for place, radius in enumerate(radii):
        check_positive(f"radii[{place}]", radius)
    limits = torch.tensor(list(radii), dtype=torch.float64)
    counts = torch.zeros(len(states), len(limits), dtype=torch.int64)
    pending, k = torch.arange(len(states)), min(_NEAR_UNITY_FIRST, system.dim)
    while len(pending) and len(limits):
        rows = pending.to(states.device)
        eigenvalues = spectrum(system.for_samples(rows), states[rows], k).eigenvalues
        distances = (eigenvalues - 1).abs()
        counts[pending] = (distances[:, :, None] < limits).sum(dim=1)
        # Whatever has not been looked at is smaller than the last, and no nearer to 1 than 1 less that.
        is_open = eigenvalues[:, k - 1].abs() > 1 - limits.max()
        pending = pending[is_open] if k < system.dim else pending[:0]
        k = min(2 * k, system.dim)
    return counts


def eigenpairs(exact: Map, states: Float64[Tensor, "batch dim"], count: int) -> Eigenpairs:
    """Leading eigenvalues and right eigenvectors of the Jacobian at each state.

    Args:
        exact: The map in float64 (`dynlab.maps.float64_copy`).
        states: Where to linearize, shape (batch, dim), on the device of the map.
        count: How many, from 1 to dim; may cut a conjugate pair in two.

    Returns:
        The pairs, on the CPU; residuals at most 1e-10 ||J||_2.

    Raises:
        ValueError: If a Jacobian is not finite.
    """
    check_jacobians(exact, states)
    return _eigenpairs(exact, states, count)


def _eigenpairs(exact: Map, states: Float64[Tensor, "batch dim"], count: int) -> Eigenpairs:
    size = matrix_size(exact, states)
    if size < _DENSE_BELOW * first_length(count):
        return dense_eigenpairs(exact, states, count)

    def product_of(rows: np.ndarray) -> Product:
        chosen = torch.from_numpy(rows).to(states.device)
        return _jacobian_product(exact.for_samples(chosen), states[chosen])

    pairs, is_good = arnoldi(product_of, states, count, longest=size // 2)
    if not is_good.all():
        missing = torch.from_numpy(np.flatnonzero(~is_good))
        chosen = missing.to(states.device)
        dense = dense_eigenpairs(exact.for_samples(chosen), states[chosen], count)
        pairs.multipliers[missing] = dense.multipliers
        pairs.directions[missing] = dense.directions
        pairs.residuals[missing] = dense.residuals
    return pairs


@torch.no_grad()
def _jacobian_product(exact: Map, states: Float64[Tensor, "rows dim"]) -> Product:
    """What takes vectors, of each state as many as of others, to their images under the Jacobian there."""
    layers = exact.layers()
    if layers is None:
        return lambda vectors: torch.stack([exact.jvp(states, vector) for vector in vectors.unbind(1)], dim=1)
    slopes = slopes_of(layers, states)  # which a product by itself would work out anew each time

    def product(vectors: Tensor) -> Tensor:
        for layer, slope in zip(layers, slopes, strict=True):
            # All in one matrix product: on three axes torch would take one for each state.
            images = F.linear(vectors.flatten(0, 1), layer.weight)
            vectors = images.unflatten(0, vectors.shape[:2]).mul_(slope[:, None])
        return vectors

    return product

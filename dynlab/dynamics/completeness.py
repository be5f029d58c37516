"""Completeness: whether fixed points must be missing from a set of them.

For a continuous map of a convex compact set into itself, whose fixed points are all nondegenerate (no multiplier is 1)
and lie inside the set, the signs of `det(I - J)` over all fixed points add up to 1. A stable one has sign +1, a saddle
with one real multiplier above 1 has -1: A attractors force at least A - 1 others. A sum of 1 does not show that a set
is complete, since what is missing may add up to nothing; any other sum shows that it is not, and how many are missing
at least.

Source: Lefschetz's fixed point theorem; Milnor, Topology from the Differentiable Viewpoint, 1965, sections 5 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dynlab.dynamics.blocks import in_float64
from dynlab.maps import Map, check_is_one_map, flat_states

# A multiplier nearer to 1 than this, relative to the scale of the matrix, may be on either side of it.
MARGIN = 1e-9
EXPECTED = 1


@dataclass(frozen=True)
class Completeness:
    """The signs of `det(I - J)` over a set of fixed points."""

    indices: Int64[Tensor, " points"]  # the sign at each, 0 where it is too near to call; on the CPU
    expected: int | None = EXPECTED  # over all fixed points; None where the map gives no reason to expect anything

    @property
    def index_sum(self) -> int:
        """The sum of the signs."""
        return int(self.indices.sum())

    @property
    def undecided(self) -> int:
        """How many fixed points have a multiplier so near 1 that the sign cannot be told."""
        return int((self.indices == 0).sum())

    @property
    def missing(self) -> int | None:
        """How many fixed points are missing at least, whatever the undecided signs are; None where none is expected."""
        if self.expected is None:
            return None
        return max(abs(self.expected - self.index_sum) - self.undecided, 0)


def completeness(
    system: Map, fixed_points: Float[Tensor, " points *state"], *, expected: int | None = EXPECTED
) -> Completeness:
    """Add up the signs of `det(I - J)` over the fixed points known of a map.

    For a continuous map of a convex compact set into itself, such as an autoencoder with sigmoid outputs and the cube,
    the sum over *all* fixed points is 1 if all are nondegenerate and inside the set. That the map is such is assumed,
    not found out: `x -> 2 x` has but one fixed point, and that of index -1, and `x -> 4 x (1 - x)`, which keeps the
    interval from 0 to 1, has one on its end. For a map of which nothing is known, `expected` is None.

    Each fixed point must be given once.

    Args:
        system: The map.
        fixed_points: Those known, stable or not, in float64, shape (points, dim).
        expected: What the sum over all fixed points must be; None if that is not known.

    Returns:
        The signs and their sum.

    Raises:
        ValueError: If `fixed_points` are not finite states of the map.
    """
    check_is_one_map(system)
    fixed_points = flat_states(system, fixed_points, parameter="fixed_points")
    exact, states = in_float64(system, fixed_points)
    signs = [_index(exact, state) for state in states]
    return Completeness(torch.tensor(signs, dtype=torch.int64), expected)


def _index(exact: Map, state: Tensor) -> int:
    # det(I - A B) = det(I - B A), by Sylvester: the smaller of the two will do.
    factors = exact.jacobian_factors(state[None])
    if factors is None:
        jacobian = exact.jacobian(state[None])[0]
    else:
        a, b = factors[0][0], factors[1][0]
        jacobian = b @ a if a.shape[1] < a.shape[0] else a @ b
    matrix = torch.eye(len(jacobian), dtype=jacobian.dtype, device=jacobian.device) - jacobian.detach()
    singular = torch.linalg.svdvals(matrix)
    # Rounding moves a matrix by its norm times some 1e-15 a row: one that stands further from all singular matrices
    # keeps the sign of its determinant.
    if not singular[-1] > MARGIN * singular[0]:
        return 0
    return int(torch.linalg.slogdet(matrix).sign)

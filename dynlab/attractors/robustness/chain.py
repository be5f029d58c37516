"""Markov chains on attractors: where they stay in the long run, and what they rarely leave.

Chains that come from rare events are reducible or nearly so, and have eigenvalues that are hard to tell from one. So
everything here goes without a subtraction of nearly equal numbers where it can, and says of which part it speaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex128, Float64, Int64
from torch import Tensor

from dynlab.attractors.merging import numbered_by_first

_SAME_GAP = 1e-9  # up to which two gaps are equal, and the fewer groups are taken
_MEMBERSHIP_DECIMALS = 9  # up to which two memberships are equal, and the first is taken


@dataclass(frozen=True)
class MarkovChain:
    """A Markov chain on attractors, where it stays in the long run, and what it rarely leaves; on the CPU.

    Attractors from which nothing leads to one that is in the chain are no part of it, and steps to them are left out.
    """

    transitions: Float64[Tensor, "states states"]  # from row to column; rows add up to 1, those of left-out states to 0
    eigenvalues: Complex128[Tensor, " included"]  # of the transition matrix, by falling real part
    # Recurrent class, one that the chain never leaves, of each state; -1 for transient and left-out states.
    classes: Int64[Tensor, " states"]
    stationary: Float64[Tensor, "classes states"]  # the stationary distribution on each recurrent class
    groups: Int64[Tensor, " states"]  # metastable group, numbered by their first states; -1 for left-out states

    @property
    def is_irreducible(self) -> bool:
        """Whether all states are one recurrent class: only then is there one stationary distribution, above 0."""
        return len(self.stationary) == 1 and bool((self.classes == 0).all())

    def metastable_groups(self, count: int) -> Int64[Tensor, " states"]:
        """As many metastable groups as are asked for, in the form of `groups`, for coarser and finer views.

        Raises:
            ValueError: If `count` is not from 1 to the number of states in the chain, or the eigenvalues before it and
                after it have one real part: then no such groups are set apart.
        """
        real_parts = self.eigenvalues.real.tolist()
        if not 1 <= count <= len(real_parts):
            raise ValueError(f"count is {count}, expected from 1 to {len(real_parts)}")
        above, below = real_parts[count - 1], (*real_parts, -2.0)[count]  # none is below -1
        if above - below <= _SAME_GAP:
            raise ValueError(f"count is {count}, expected one at which the real parts of the eigenvalues fall")
        kept = self.transitions.sum(dim=1) > 0
        groups = torch.full_like(self.groups, -1)
        inner = self.transitions[kept][:, kept].numpy()
        groups[kept] = torch.from_numpy(_groups(inner, (above + below) / 2))
        return groups


def markov_chain(weights: Float64[Tensor, "states states"]) -> MarkovChain:
    """The Markov chain whose transition probabilities are proportional to the rows of `weights`.

    *Stationary distributions*, one for each recurrent class, are found by elimination without subtraction, which keeps
    the relative precision of every entry, however rarely states are left. It asks for no aperiodicity.

    *Metastable groups* are found by generalized Perron cluster analysis: as many groups as there are eigenvalues before
    the largest gap in their real parts, negative ones taken as 0, with which all memory is lost at once; an orthonormal
    basis of their invariant subspace by the real Schur decomposition; and as representatives the states whose rows in
    it are the corners of the simplex that the rows nearly fill. A state belongs to the group in which it has its
    largest membership. With little noise each attractor is one; `MarkovChain.metastable_groups` has coarser views. Real
    parts and not moduli, as a cycle has the moduli of groups and stays in none. Neither reversibility nor
    irreducibility is asked for: a transient state that is rarely left is a group as well.

    Args:
        weights: Shape (states, states), finite and not negative: counts, or probabilities.

    Returns:
        The chain.

    Raises:
        ValueError: If the weights are negative or not finite.

    Sources: Grassmann, Taksar and Heyman 1985, Regenerative analysis and steady state distributions for Markov chains;
    Reuter, Fackeldey and Weber 2019, Generalized Markov modeling of nonreversible molecular kinetics (Schur vectors);
    Weber and Galliat 2002, Characterization of transition states in conformational dynamics using fuzzy sets (corners).
    """
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise ValueError("weights holds negative numbers or such that are not finite, expected counts or probabilities")
    given = weights.cpu().numpy()
    included = np.ones(len(given), dtype=bool)
    while True:
        totals = np.where(included, given @ included, 0)
        if np.array_equal(totals > 0, included):
            break
        included = totals > 0
    kept = np.flatnonzero(included)
    inner = given[np.ix_(kept, kept)] / totals[kept, None]
    transitions = np.zeros_like(given)
    transitions[np.ix_(kept, kept)] = inner
    classes, groups = np.full((2, len(given)), -1)
    classes[kept] = _recurrent_classes(inner)
    stationary = np.zeros((classes.max(initial=-1) + 1, len(given)))
    for number in range(len(stationary)):
        members = np.flatnonzero(classes == number)
        stationary[number, members] = _stationary(transitions[np.ix_(members, members)])
    eigenvalues = np.linalg.eigvals(inner).astype(np.complex128)
    eigenvalues = eigenvalues[np.lexsort((eigenvalues.imag, -eigenvalues.real))]
    if len(kept):
        levels = np.append(np.clip(eigenvalues.real, 0, 1), 0)
        gaps = levels[:-1] - levels[1:]
        widest = int(np.argmax(gaps > gaps.max() - _SAME_GAP))
        groups[kept] = _groups(inner, (levels[widest] + levels[widest + 1]) / 2)
    return MarkovChain(
        *(torch.from_numpy(array) for array in (transitions, eigenvalues, classes, stationary, groups)),
    )


def _recurrent_classes(transitions: np.ndarray) -> np.ndarray:
    """The recurrent class of each state, numbered by their first states, -1 for transient states."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    count, component = connected_components(csr_array(transitions > 0), directed=True, connection="strong")
    starts, ends = np.nonzero(transitions)
    is_left = np.zeros(count, dtype=bool)
    is_left[component[starts[component[starts] != component[ends]]]] = True
    return numbered_by_first(np.where(is_left[component], -1, component))


def _stationary(transitions: np.ndarray) -> np.ndarray:
    """The stationary distribution of an irreducible chain."""
    rates = transitions.copy()
    for state in range(len(rates) - 1, 0, -1):  # the chain watched only while it is at the states before
        rates[:state, state] /= rates[state, :state].sum()
        rates[:state, :state] += np.outer(rates[:state, state], rates[state, :state])
    visits = np.ones(len(rates))
    for state in range(1, len(rates)):
        visits[state] = visits[:state] @ rates[:state, state]
    return visits / visits.sum()


def _groups(transitions: np.ndarray, limit: float) -> np.ndarray:
    """Metastable groups, as many as there are eigenvalues with a real part above `limit`."""
    from scipy.linalg import schur

    ordered: Any = schur(transitions, output="real", sort=lambda real, _: real > limit)
    rows = ordered[1][:, : ordered[2]]
    count = rows.shape[1]
    # Constants are in the subspace, so the rows lie in a plane, and memberships below add up to 1.
    rest = rows.copy()
    corners = [int(np.argmax(np.linalg.norm(rest, axis=1)))]
    rest -= rest[corners[0]]
    for _ in range(count - 1):
        lengths = np.linalg.norm(rest, axis=1)
        corners.append(int(np.argmax(lengths)))
        direction = rest[corners[-1]] / lengths[corners[-1]]
        rest -= np.outer(rest @ direction, direction)
    memberships = np.linalg.solve(rows[corners].T, rows.T).T
    return numbered_by_first(np.argmax(np.round(memberships, _MEMBERSHIP_DECIMALS), axis=1))

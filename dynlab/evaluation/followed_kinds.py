"""What followed attractors are: the kind and the class of each at each level.

Each attractor is judged by its own state, at each level anew, so that a branch may turn from a stain into a prototype
on its way.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import torch

from dynlab.attractors.following.followed import Followed
from dynlab.evaluation.attractors import kinds_of
from dynlab.evaluation.kinds import Kind
from dynlab.evaluation.recognizer import Recognizer


@dataclass(frozen=True)
class FollowedKinds:
    """For each level, what each attractor of its basins is."""

    kinds: list[list[Kind]]
    classes: list[list[int | None]]  # of prototypes, None for others


def kinds_along(followed: Followed, recognizer: Recognizer | None) -> FollowedKinds:
    """The kinds of followed attractors.

    Args:
        followed: The attractors of each level.
        recognizer: Tells prototypes from stains; without one, what is no explosion is of unknown kind.

    Returns:
        Kind and class of each attractor, in the order of the basins.

    Raises:
        ValueError: If the recognizer is for states of another dim.
    """
    counts = [len(basins.fixed_points) for basins in followed.basins]
    states = torch.cat([basins.fixed_points for basins in followed.basins])
    found = iter(kinds_of(states, recognizer.recognize(states) if recognizer is not None and len(states) else None))
    rows = [list(islice(found, count)) for count in counts]
    return FollowedKinds([[kind for kind, _ in row] for row in rows], [[label for _, label in row] for row in rows])

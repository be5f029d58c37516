"""What followed attractors are: the kind and the class of each at each level.

Each attractor is judged by its own state, at each level anew, so that a branch may turn from a stain into a prototype
on its way.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float64
from torch import Tensor

from dynlab.attractors.followed import Followed
from dynlab.evaluation.kinds import Kind, is_explosion
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
    found = iter(_kinds(torch.cat([basins.fixed_points for basins in followed.basins]), recognizer))
    rows = [list(islice(found, count)) for count in counts]
    return FollowedKinds([[kind for kind, _ in row] for row in rows], [[label for _, label in row] for row in rows])


def _kinds(states: Float64[Tensor, "attractors dim"], recognizer: Recognizer | None) -> list[tuple[Kind, int | None]]:
    if not len(states):
        return []
    exploded = is_explosion(states).tolist()
    if recognizer is None:
        return [(Kind.EXPLOSION if explosion else Kind.UNKNOWN, None) for explosion in exploded]
    recognized = recognizer.recognize(states)
    found: list[tuple[Kind, int | None]] = []
    for explosion, member, label in zip(
        exploded, recognized.is_member.tolist(), recognized.classes.tolist(), strict=True
    ):
        if explosion:
            found.append((Kind.EXPLOSION, None))
        else:
            found.append((Kind.PROTOTYPE, label) if member else (Kind.STAIN, None))
    return found

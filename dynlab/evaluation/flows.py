"""Where did the members of each class go: the flow matrix from true classes to what their attractors are.

A row is a true class; its columns are the classes of the prototypes reached, then the ways to reach none and what
nobody can tell. On the diagonal stand the samples that kept their class. It is the confusion matrix of the map
taken as a classifier that may also refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from dynlab.evaluation.analysis import Analysis
from dynlab.evaluation.kinds import Outcome
from dynlab.short_repr import short_repr

# Columns after the classes. The unknown ones are samples that have a class, but an attractor of unknown kind.
ELSEWHERE = tuple(outcome for outcome in Outcome if outcome not in (Outcome.KEPT, Outcome.CHANGED))


@dataclass(frozen=True)
class FlowMatrix:
    """How many samples of each class went where."""

    __repr__ = short_repr

    classes: tuple[int, ...]  # rising: those of samples and of the prototypes they reach
    # A column for each class of `classes`, then one for each of `ELSEWHERE`.
    counts: Int64[Tensor, "classes columns"]
    without_class: int  # samples that form no row, as their class is not known

    @property
    def columns(self) -> tuple[str, ...]:
        """What each column stands for."""
        return (*map(str, self.classes), *map(str, ELSEWHERE))

    @property
    def shares(self) -> Float64[Tensor, "classes columns"]:
        """Counts as shares of their row; NaN in the row of a class without samples."""
        return self.counts.double() / self.counts.sum(dim=1, keepdim=True)


def flow_matrix(
    classes: Int64[Tensor, " samples"],
    outcomes: Sequence[Outcome],
    labels: Int64[Tensor, " samples"],
    attractor_classes: Sequence[int | None],
) -> FlowMatrix:
    """Count where the samples of each class went.

    Args:
        classes: True class of each sample, -1 for none.
        outcomes: What became of each sample, as `outcomes_of` gives it.
        labels: Attractor of each sample, -1 for none.
        attractor_classes: Class of each attractor that is a prototype.

    Returns:
        The matrix.

    Raises:
        ValueError: If the arguments differ in length, or a sample is said to have kept or changed its class where it
            has none, its attractor has none, or the two classes say otherwise.
    """
    if not len(classes) == len(outcomes) == len(labels):
        raise ValueError(
            f"classes, outcomes and labels are of {len(classes)}, {len(outcomes)} and {len(labels)} samples, "
            "expected equally many"
        )
    pairs: list[tuple[int, int | Outcome]] = []  # class and column of each sample that has a class
    known, attractors = classes.tolist(), labels.tolist()
    for sample, (from_class, outcome, attractor) in enumerate(zip(known, outcomes, attractors, strict=True)):
        reached = attractor_classes[attractor] if attractor >= 0 else None
        if outcome in (Outcome.KEPT, Outcome.CHANGED):
            if from_class < 0 or reached is None or (outcome is Outcome.KEPT) != (from_class == reached):
                raise ValueError(
                    f"sample {sample} of class {from_class} is {outcome}, but its attractor's is {reached}"
                )
            pairs.append((from_class, reached))
        elif from_class >= 0:
            pairs.append((from_class, outcome))
    rows = sorted({member for pair in pairs for member in pair if not isinstance(member, Outcome)})
    column: dict[int | Outcome, int] = {name: index for index, name in enumerate((*rows, *ELSEWHERE))}
    counts = torch.zeros(len(rows), len(column), dtype=torch.int64)
    if pairs:
        where = torch.tensor([[column[from_class], column[to]] for from_class, to in pairs])
        counts.index_put_((where[:, 0], where[:, 1]), torch.ones(len(where), dtype=torch.int64), accumulate=True)
    return FlowMatrix(tuple(rows), counts, len(known) - len(pairs))


def flow_of(analysis: Analysis) -> FlowMatrix:
    """The flow matrix of the samples of an analysis."""
    names, arrays = list(Outcome), analysis.arrays
    return flow_matrix(
        arrays.classes,
        [names[code] for code in arrays.outcomes.tolist()],
        arrays.labels,
        [attractor.label for attractor in analysis.results.attractors],
    )

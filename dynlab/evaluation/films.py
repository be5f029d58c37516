"""Film strips: a few samples on their way, at the steps of figure 4 of the report and where they end."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from dynlab.datasets import Dataset
from dynlab.dynamics import states_at
from dynlab.evaluation.kinds import Outcome
from dynlab.maps import Map

FILM_STEPS = (0, 1, 25)
_FILMS = 12
_FILMS_OF_AN_OUTCOME = 3


def film_samples(data: Dataset, outcomes: list[Outcome], seed: int) -> Int64[Tensor, " films"]:
    """A few random samples: of each outcome that occurs, then of each class, then any."""
    order = np.random.default_rng(seed).permutation(len(outcomes)).tolist()
    classes = data.labels.tolist() if data.labels is not None else [None] * len(outcomes)
    of_outcome = [[sample for sample in order if outcomes[sample] is outcome] for outcome in Outcome]
    # Outcomes take turns, so that the rare ones are there.
    chosen = [samples[turn] for turn in range(_FILMS_OF_AN_OUTCOME) for samples in of_outcome if turn < len(samples)]
    for sample in order:
        if classes[sample] not in {classes[other] for other in chosen}:
            chosen.append(sample)
    chosen += [sample for sample in order if sample not in set(chosen)]
    return torch.tensor(sorted(chosen[:_FILMS], key=lambda sample: (classes[sample] or 0, sample)), dtype=torch.int64)


def film_states(
    system: Map, images: Float32[Tensor, "films dim"], ends: Float32[Tensor, "films dim"]
) -> Float32[Tensor, "films frames dim"]:
    """The states of a few samples at `FILM_STEPS`, and `ends` after them; on the CPU."""
    frames = states_at(system, images, FILM_STEPS).float()
    return torch.cat([frames, ends[None]]).transpose(0, 1).contiguous()

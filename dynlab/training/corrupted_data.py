"""A data set whose samples are corrupted, to start orbits where training started."""

from __future__ import annotations

from dynlab.datasets import Dataset, dataset_of
from dynlab.training.corruption import corrupt, parse_schedule


def corrupt_dataset(
    data: Dataset, corruption: str, *, seed: int, level: float | None = None, first: int = 0
) -> Dataset:
    """Corrupt every sample of a data set once; its name says so.

    Args:
        data: What to corrupt; its samples keep their order, classes and shape.
        corruption: As in `corrupt`.
        seed: Of the random numbers, from 0 to 2^63 - 1.
        level: Of kinds for which the text gives none.
        first: As in `corrupt`: two sets are corrupted independently where one begins after the other's samples.

    Returns:
        A data set with the corrupted samples, which noise takes out of [0, 1].

    Raises:
        InputError: If the text cannot be read or does not suit the samples, or a level is out of its range.
        ValueError: If `seed` is out of its range.
    """
    corrupted = corrupt(data.images, corruption, level=level, seed=seed, state_shape=data.shape, first=first)
    name = f"{data.name} corrupted by {parse_schedule(corruption, level)} (seed {seed})"
    return dataset_of(corrupted, data.labels, name=name, shape=data.shape)

"""Do autoencoders explode because they never saw clean images? The report's first explanation, put to the test.

    python benchmarks/explosions.py [--epochs 30] [--seeds 0 1] [--limit 2000] [--folder maps]

Autoencoders of 784-500-784 units are trained on MNIST, k = 1 and sigma 0.7, with four corruptions: Gaussian noise
alone; with a fifth of the samples left clean; Gaussian noise, and clean images in the last fifth of the epochs; half of
the samples with noise of level 0.2. Orbits of test images then start at the images as they are, at images with Gaussian
noise of level 0.7, and at images corrupted as in training, where that is neither. If the explanation holds, fewer
explode where orbits start as training did, and fewer where training saw clean images.

Counted are states without a pixel above 0.5, in the transformed set and where exact iteration ends, with Wilson's
intervals of 95%: of the share among all test images, for this one map. What another seed makes of it shows the second
map. Without `--folder` maps are not kept; with it, the same command given again trains none twice.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynlab.datasets import Dataset
    from dynlab.maps import Autoencoder
    from dynlab.training import EpochProgress, TrainingDiverged, TrainingSettings

SIGMA, HIDDEN, ANNEALING = 0.7, 500, 0.99
NOISE = f"gaussian({SIGMA:g})"


@dataclass(frozen=True)
class Count:
    """How many samples exploded."""

    transformed: int
    attractors: int
    samples: int


def main() -> None:
    """Train, measure and print the tables."""
    parser = argparse.ArgumentParser(description="Explosions with and without clean images in training.")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="one map of each corruption for each")
    parser.add_argument("--training-limit", type=int, help="take only the first training images")
    parser.add_argument("--limit", type=int, default=2000, help="test images that orbits start from")
    parser.add_argument("--processes", type=int, default=1, help="how many maps to train at a time")
    parser.add_argument("--folder", type=Path, help="where to keep the maps")
    options = parser.parse_args()

    from dynlab.datasets import load_dataset
    from dynlab.training import TrainingSettings, train_ensemble

    training = load_dataset("mnist/train", limit=options.training_limit)
    test = load_dataset("mnist/test")
    members = [
        TrainingSettings(
            sigma=SIGMA, epochs=options.epochs, hidden=HIDDEN, annealing=ANNEALING, corruption=corruption, seed=seed
        )
        for corruption in corruptions(options.epochs)
        for seed in options.seeds
    ]
    trained = train_ensemble(
        training.images,
        members,
        backend="processes",
        processes=options.processes,
        state_shape=training.shape,
        folder=options.folder,
        on_progress=_shown,
    )
    found = []
    for member in trained:
        if member.autoencoder is None:
            raise RuntimeError(f"{member.settings.corruption}: {member.diverged}")
        found.append((member.settings, member.autoencoder))
    _print_errors(found, test)
    _print_explosions(found, test.first(options.limit))


def corruptions(epochs: int) -> list[str]:
    """What is compared."""
    noisy = epochs - max(1, epochs // 5)
    schedule = [f"gaussian until {noisy}, clean"] if noisy else []
    return ["gaussian", "0.8 gaussian + 0.2 clean", *schedule, f"0.5 gaussian({SIGMA:g}) + 0.5 gaussian(0.2)"]


def starts(settings: TrainingSettings) -> list[str]:
    """How samples are corrupted before orbits start."""
    first = str(settings.schedule().at(1))
    return ["clean", NOISE, *([] if first == NOISE else [first])]


def _shown(number: int, progress: EpochProgress | TrainingDiverged) -> None:
    print(f"map {number}: {progress}", flush=True)


def _print_errors(found: list[tuple[TrainingSettings, Autoencoder]], test: Dataset) -> None:
    from dynlab.training import reconstruction_errors

    print(f"\nReconstruction error of {len(test.images)} test images, clean and with {NOISE}:\n")
    print("| trained with | seed | clean | noisy |\n| --- | --- | --- | --- |")
    for settings, autoencoder in found:
        errors = reconstruction_errors(autoencoder, test.images, walkback=1, seed=settings.seed, corruption=NOISE)
        print(f"| {settings.corruption} | {settings.seed} | {errors.clean:.2f} | {errors.corrupted:.2f} |", flush=True)


def _print_explosions(found: list[tuple[TrainingSettings, Autoencoder]], test: Dataset) -> None:
    print(f"\nExplosions of {len(test.images)} test images, in the transformed set and at the attractors:\n")
    print("| trained with | seed | orbits start at | transformed set | attractors |\n| --- | --- | --- | --- | --- |")
    for settings, autoencoder in found:
        for start in starts(settings):
            count = explosions(autoencoder, test, start, settings.seed)
            shares = " | ".join(_share(exploded, count.samples) for exploded in (count.transformed, count.attractors))
            print(f"| {settings.corruption} | {settings.seed} | {start} | {shares} |", flush=True)


def explosions(autoencoder: Autoencoder, test: Dataset, start: str, seed: int) -> Count:
    """Count explosions of orbits that start at samples corrupted once."""
    from dynlab.attractors import basins_of_attraction
    from dynlab.dynamics import transform
    from dynlab.evaluation.kinds import is_explosion
    from dynlab.training import corrupt_dataset

    images = corrupt_dataset(test, start, seed=seed).images
    transformed = int(is_explosion(transform(autoencoder, images).states).sum())
    basins = basins_of_attraction(autoencoder, images)
    attractors = int(basins.sizes[is_explosion(basins.fixed_points)].sum())
    return Count(transformed, attractors, len(images))


def _share(exploded: int, samples: int) -> str:
    import torch

    from dynlab.attractors import wilson_interval

    ((low, high),) = (100 * wilson_interval(torch.tensor([exploded]), torch.tensor([samples]))).tolist()
    return f"{100 * exploded / samples:.1f}% ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()

"""What a learned corruption does to attractors, beside Gaussian noise of the same length.

    python benchmarks/learned_corruption.py [--data digits] [--levels 0.05 0.1 0.15 0.2 0.3] [--seeds 0 1 2 3]

For each level and seed three autoencoders are trained that differ in the corruption alone: Gaussian noise, the learned
corruption with a budget of the length that this noise has, and half of the samples with each. Printed are, as means and
standard deviations over the seeds: the reconstruction error of clean test images, and of images with Gaussian noise of
the level; the attractors that test images reach, and their outcomes; the test accuracy of logistic regression on the
transformed set and after four steps, which that of the raw images stands above.

A second table says what the networks of the learned corruption propose for test images in the end, in sixteen draws
each: what share of the budget they spend; how much of the squared length is due to the noise that they take in, to the
image, and to what is common to all images; the number of directions, which is `(sum l)^2 / sum l^2` of the squared
singular values `l` of all that is proposed; and the reconstruction error of images that are corrupted so.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynlab.datasets import Dataset
    from dynlab.evaluation.recognizer import Recognizer
    from dynlab.maps import Map
    from dynlab.training import TrainingSettings
    from dynlab.training.corruption.learned import Proposer

CORRUPTIONS = ("gaussian", "learned", "0.5 learned + 0.5 gaussian")
DRAWS, LOOKED_AT = 16, 500
OUTCOMES = ("kept", "changed", "stain", "explosion")
STEPS = 4


def main() -> None:
    """Train, measure and print the tables."""
    parser = argparse.ArgumentParser(description="Learned corruption beside Gaussian noise.")
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits", help="images")
    parser.add_argument("--levels", type=float, nargs="+", default=[0.05, 0.1, 0.15, 0.2, 0.3])
    parser.add_argument("--corruptions", nargs="+", default=CORRUPTIONS, help="what to train with, at each level")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--walkback", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--limit", type=int, help="training images, the first ones")
    parser.add_argument("--analysed", type=int, default=2000, help="test images, and images to fit classifiers on")
    options = parser.parse_args()

    from dynlab.datasets import labels_of, load_dataset
    from dynlab.evaluation.recognizer import train_recognizer
    from dynlab.training import TrainingSettings

    training = load_dataset(f"{options.data}/train", limit=options.limit)
    test = load_dataset(f"{options.data}/test").first(options.analysed)
    recognizer = train_recognizer(training.images, labels_of(training), state_shape=training.shape)
    fitted = training.first(options.analysed)
    tables: tuple[list[str], list[str]] = [], []
    raw = 0.0
    for level in options.levels:
        for corruption in options.corruptions:
            columns: list[list[float]] = []
            proposed: list[list[float]] = []
            for seed in options.seeds:
                settings = TrainingSettings(
                    sigma=level,
                    epochs=options.epochs,
                    walkback=options.walkback,
                    hidden=options.hidden,
                    corruption=corruption,
                    seed=seed,
                )
                system, proposer = _trained(training, settings)
                found = _measured(system, settings, test, fitted, recognizer, training)
                raw = found.raw
                columns.append(found.numbers)
                if proposer is not None:
                    proposed.append(_proposals(system, proposer, settings, test))
                print(f"{level} {corruption} {seed}: {found.numbers} {proposed[-1:]}", flush=True)
            tables[0].append(_row(level, corruption, columns, (2, 2, 0, 0, 0, 0, 0, 1, 1)))
            if proposed:
                tables[1].append(_row(level, corruption, proposed, (2, 2, 2, 2, 1, 2)))
    print(f"\n{len(test.images)} test images, accuracy of raw images {100 * raw:.1f}%; {len(options.seeds)} seeds\n")
    outcomes = " | ".join(f"{outcome}, %" for outcome in OUTCOMES)
    print(f"| level | trained with | error, clean | noisy | attractors | {outcomes} | accuracy, % | {STEPS} steps |")
    print("| --- " * 11 + "|", *tables[0], sep="\n")
    if tables[1]:
        print("\n| level | trained with | spent | by noise | by image | in common | directions | error |")
        print("| --- " * 8 + "|", *tables[1], sep="\n")


def _trained(training: Dataset, settings: TrainingSettings) -> tuple[Map, Proposer | None]:
    """The map, and the network of its learned corruption."""
    from dynlab.devices import one_thread
    from dynlab.training.adversary import proposer_of
    from dynlab.training.initialization import beginning
    from dynlab.training.run import TrainingRun

    run = TrainingRun(training.images, settings, beginning(training.images.shape[1], settings, None, training.shape))
    with one_thread():
        for _ in range(settings.epochs):
            run.run_epoch(lambda: False)
    return run.trained(), proposer_of(run.state()) if settings.schedule().learns else None


@dataclass(frozen=True)
class _Found:
    numbers: list[float]  # of a row
    raw: float  # accuracy of the raw images


def _measured(
    system: Map,
    settings: TrainingSettings,
    test: Dataset,
    fitted: Dataset,
    recognizer: Recognizer,
    training: Dataset,
) -> _Found:
    from dynlab.evaluation import AnalysisSettings, analyse
    from dynlab.training import reconstruction_errors

    errors = reconstruction_errors(system, test.images, sigma=settings.sigma, walkback=1, seed=settings.seed)
    results = analyse(
        system,
        test,
        train_data=fitted,
        recognizer=recognizer,
        recognizer_data=training,
        settings=AnalysisSettings(recorded_samples=0, linearized_attractors=0, certified_attractors=0, basin_planes=0),
    ).results
    shares = [100 * results.outcomes[outcome] / len(test.images) for outcome in OUTCOMES]
    separable = results.separability
    assert separable is not None
    (after,) = (accuracy.test for accuracy in separable.along_orbit if accuracy.step == STEPS)
    accuracies = [100 * separable.transformed.test, 100 * after]
    return _Found(
        [errors.clean, errors.corrupted, float(len(results.attractors)), *shares, *accuracies], separable.raw.test
    )


def _proposals(system: Map, proposer: Proposer, settings: TrainingSettings, test: Dataset) -> list[float]:
    """What the network proposes for test images, as a row of the second table."""
    import torch

    from dynlab.training import parse_schedule
    from dynlab.training.draws import Noise

    corruption = parse_schedule("learned", settings.sigma).at(1).with_network(proposer)
    clean = test.images[:LOOKED_AT]
    count, noise = len(clean), Noise(settings.seed, "evaluation", clean.device)
    with torch.no_grad():
        corrupted = torch.stack([corruption(clean, noise.at(draw * count, count), test.shape) for draw in range(DRAWS)])
        error = float((system(corrupted.flatten(0, 1)) - clean.repeat(DRAWS, 1)).square().sum(dim=1).mean())
    added = (corrupted - clean).double()  # (draws, images, dim)
    whole = float(added.square().sum(dim=2).mean())
    # Of the mean over a few draws, too, a part is due to the noise.
    by_noise = float(added.var(dim=0).sum(dim=1).mean())
    common = float(added.mean(dim=(0, 1)).square().sum())
    squares = torch.linalg.svdvals(added.flatten(0, 1)).square()
    directions = float(squares.sum().square() / squares.square().sum())
    spent = float(added.norm(dim=2).mean()) / (float(settings.sigma or 0) * test.images.shape[1] ** 0.5)
    return [spent, by_noise / whole, 1 - (by_noise + common) / whole, common / whole, directions, error]


def _row(level: float, corruption: str, rows: list[list[float]], digits: tuple[int, ...]) -> str:
    cells = []
    for column, places in zip(zip(*rows, strict=True), digits, strict=True):
        spread = f" ± {statistics.stdev(column):.{places}f}" if len(column) > 1 else ""
        cells.append(f"{statistics.mean(column):.{places}f}{spread}")
    return f"| {level:g} | {corruption} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()

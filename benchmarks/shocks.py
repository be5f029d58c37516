"""How small a perturbation is found that sends an attractor elsewhere, beside what simpler searches find.

    python benchmarks/shocks.py [--checkpoint dae.safetensors]

The minimal critical shock of 20 attractors of a denoising autoencoder 784-500-784. Three programs:

    dynlab    `dynlab.attractors.robustness.shocks.critical_shocks`: normals of the boundary by transport along orbits
    straight  bisection along the lines to all other attractors
    random    bisection along random directions, as many as take as many map evaluations as dynlab

A map evaluation is one state taken through the map, or one vector through its Jacobian or the transpose, labels
included. The median over attractors is given of each upper bound, and of its ratio to that of
dynlab, with the smallest and the largest ratio. Attractors for which a program finds nothing are counted, and left out.

Without a checkpoint one is trained first, for three epochs on MNIST. Its attractors are the first that test images
reach.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trained import CHECKPOINT_HELP, mnist_autoencoder

if TYPE_CHECKING:
    from torch import Tensor

    from dynlab.dynamics import FixedPoint
    from dynlab.maps import Map

POINTS, IMAGES = 20, 2000
TRIAL = 8  # random directions from which the cost of one is known


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Size of critical shocks, and cost of finding them.")
    parser.add_argument("--checkpoint", type=Path, help=CHECKPOINT_HELP)
    autoencoder = mnist_autoencoder(parser.parse_args().checkpoint)

    import torch

    from dynlab.attractors.robustness.shocks import critical_shocks, random_shock

    system, evaluations = _counted(autoencoder)
    known = _attractors(autoencoder)
    states = torch.stack([point.state for point in known[:POINTS]])
    results: dict[str, tuple[Tensor, float, float]] = {}

    def measure(program: str, shock: Callable[[], Tensor]) -> None:
        before, started = evaluations(), time.perf_counter()
        upper = shock()
        results[program] = upper, (evaluations() - before) / len(states), (time.perf_counter() - started) / len(states)

    def straight() -> Tensor:
        return critical_shocks(system, states, known, neighbours=len(known), max_iterations=0).upper

    measure("dynlab", lambda: critical_shocks(system, states, known).upper)
    measure("straight", straight)
    measure("random", lambda: random_shock(system, states, known, TRIAL))
    directions = max(1, round(TRIAL * results["dynlab"][1] / results["random"][1]))
    measure("random", lambda: random_shock(system, states, known, directions))

    print(f"{len(states)} of {len(known)} attractors; {directions} random directions each; medians\n")
    print(f"{'':9}{'found':>6}{'shock':>8}{'times dynlab':>22}{'evaluations/state':>19}{'s/state':>9}")
    best = results["dynlab"][0]
    for program, (upper, cost, seconds) in results.items():
        both = torch.isfinite(upper) & torch.isfinite(best)
        median, ratios = "-", "-"
        if bool(both.any()):
            ratio = upper[both] / best[both]
            median = f"{float(upper[both].median()):.3f}"
            ratios = f"{float(ratio.median()):.2f} ({float(ratio.min()):.2f}-{float(ratio.max()):.2f})"
        found = int(torch.isfinite(upper).sum())
        print(f"{program:9}{found:6}{median:>8}{ratios:>22}{cost:19.0f}{seconds:9.2f}")


def _attractors(autoencoder: Map) -> list[FixedPoint]:
    from dynlab.attractors import basins_of_attraction
    from dynlab.attractors.reached import known_attractors
    from dynlab.datasets import load_dataset

    basins = basins_of_attraction(autoencoder, load_dataset("mnist/test").images[:IMAGES])
    return known_attractors(autoencoder, basins.fixed_points)


def _counted(autoencoder: Map) -> tuple[Map, Callable[[], int]]:
    """The same map, and a function that says how often it has been evaluated, its copies included."""
    from dynlab.maps import Map

    counts: list[int] = []

    class Counted(Map):
        def __init__(self) -> None:
            super().__init__(autoencoder.dim)
            self.autoencoder = autoencoder

        def forward(self, states: Tensor) -> Tensor:
            counts.append(len(states))
            return self.autoencoder(states)

        def vjp(self, states: Tensor, cotangents: Tensor) -> Tensor:
            counts.append(len(states))
            return self.autoencoder.vjp(states, cotangents)

        def jvp(self, states: Tensor, tangents: Tensor) -> Tensor:
            return self.linearized(states)(tangents)

        def linearized(self, states: Tensor) -> Callable[[Tensor], Tensor]:
            product = self.autoencoder.linearized(states)

            def counted(tangents: Tensor) -> Tensor:
                counts.append(len(states))
                return product(tangents)

            return counted

    return Counted(), lambda: sum(counts)


if __name__ == "__main__":
    main()

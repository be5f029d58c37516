"""Whether rounding decides where orbits go: float32 against float64, and what twins see of it.

    python benchmarks/rounding.py [--checkpoint dae.safetensors]

An autoencoder of MNIST; without a checkpoint one is trained first, for three epochs. Of the first test images: how
many their twins (`dynlab.dynamics.twins`) leave in doubt, and how far float32 takes the others from where float64
takes them, at any of 400 steps. Then images on the boundary of two basins, one on either side, so near to each other
that float32 knows none between them, found by bisection with the attractors that float64 reaches: how many labels are
wrong, by float32 alone and by dynlab's defaults.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trained import CHECKPOINT_HELP, mnist_autoencoder

if TYPE_CHECKING:
    from torch import Tensor

    from dynlab.maps import DenoisingAutoencoder, Map

STEPS, BISECTIONS, SAME = 400, 24, 1e-6
TOLERANCE = 1e-4  # dynlab's default


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What rounding decides.")
    parser.add_argument("--checkpoint", type=Path, help=CHECKPOINT_HELP)
    parser.add_argument("--samples", type=int, default=2000, help="test images, the first ones")
    parser.add_argument("--pairs", type=int, default=200, help="pairs of test images between which boundaries are")
    options = parser.parse_args()

    from dynlab import load_dataset
    from dynlab.maps import float64_copy

    system = mnist_autoencoder(options.checkpoint)
    images, exact = load_dataset("mnist/test").images, float64_copy(system)
    print(_of_images(system, exact, images[: options.samples]))
    pairs = images[: 2 * options.pairs]
    print(_on_boundaries(system, exact, pairs[: options.pairs], pairs[options.pairs :]))


def _of_images(system: DenoisingAutoencoder, exact: Map, images: Tensor) -> str:
    import torch

    from dynlab.dynamics.decision import LARGEST_RADIUS
    from dynlab.dynamics.plain import Finished, iterate_plainly
    from dynlab.dynamics.sources import Source
    from dynlab.dynamics.twins import Twins

    twins = Twins(system, exact, LARGEST_RADIUS * TOLERANCE)
    source = Source(system, images, parameter="images")
    parts = iterate_plainly(system, source, tolerance=TOLERANCE, max_steps=STEPS, twins=twins)
    found = Finished.together(list(parts))
    doubtful = torch.from_numpy(found.doubtful[found.ids.argsort()])
    single, double = images, images.double()
    apart = torch.zeros(len(images), dtype=torch.float64)
    with torch.no_grad():
        for _ in range(STEPS):
            single, double = system(single), exact(double)
            apart = torch.maximum(apart, (single.double() - double).norm(dim=1))
    others = apart[~doubtful]
    return (
        f"{len(images)} test images, {int(doubtful.sum())} in doubt ({float(doubtful.double().mean()):.1%}); of the "
        f"others float32 takes none farther than {float(others.max()):.1e} from where float64 takes it, the median "
        f"{float(others.median()):.1e}; of those in doubt the farthest {float(apart[doubtful].max()):.1e}"
    )


def _on_boundaries(system: DenoisingAutoencoder, exact: Map, low: Tensor, high: Tensor) -> str:
    import torch

    from dynlab import iterate

    def ends(of: Map, states: Tensor, *, recheck: bool = True) -> Tensor:
        return iterate(of, states, max_exact_steps=20_000, recheck=recheck).states

    reached = ends(exact, torch.cat([low, high]).double())
    first, second = reached.split(len(low))
    parted = (first - second).norm(dim=1) > 1e-3
    low, high, first = low[parted], high[parted], first[parted]
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        is_first = (ends(exact, middle.double()) - first).norm(dim=1, keepdim=True) < SAME
        low, high = torch.where(is_first, middle, low), torch.where(is_first, high, middle)
    states = torch.cat([low, high])
    right = ends(exact, states.double())
    wrong = [
        int(((ends(system, states, recheck=recheck) - right).norm(dim=1) > SAME).sum()) for recheck in (False, True)
    ]
    return f"{len(states)} images on boundaries: wrong by float32 {wrong[0]}, by dynlab's defaults {wrong[1]}"


if __name__ == "__main__":
    main()

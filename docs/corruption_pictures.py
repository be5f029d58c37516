"""Draw the pictures of corruption.md: `python docs/corruption_pictures.py`, where MNIST is at hand; a minute or two.

One picture for each kind of corruption. The top row are ten digits as they are, the rows below the same digits
corrupted. Black is 0 and white is 1, as are numbers beyond them. Printed is how far each moves images: the root of the
mean square, over the pixels of all images, of what it changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dynlab.datasets import load_dataset
from dynlab.files import written_atomically
from dynlab.report.png import encode_png
from dynlab.training import TrainingSettings, corrupt, parse_schedule
from dynlab.training.adversary import proposer_of
from dynlab.training.corruption.learned import Proposer
from dynlab.training.draws import Noise
from dynlab.training.run import TrainingRun
from dynlab.training.trainer import beginning

FOLDER = Path(__file__).parent / "corruption"
ROWS = {
    "gaussian": ["gaussian(0.2)", "gaussian(0.5)", "gaussian(0.9)"],
    "salt-and-pepper": ["salt-and-pepper(0.1)", "salt-and-pepper(0.25)", "salt-and-pepper(0.5)"],
    "square": ["square(0.2)", "square(0.35)", "square(0.5)"],
    "strokes": ["strokes(1)", "strokes(2)", "strokes(2, 0.05)"],
    "occlusion": ["occlusion(0.2)", "occlusion(0.35)", "occlusion(0.5)"],
    "scaling": ["scaling(0.1)", "scaling(0.2)", "scaling(0.5)"],
    "rotation": ["rotation(10)", "rotation(20)", "rotation(45)"],
    "sequence": ["rotation(15) then scaling(0.2) then gaussian(0.2)"],
    "mixture": ["0.4 gaussian(0.5) + 0.3 strokes(1) + 0.3 clean"],
}
# The learned corruption of autoencoders of 784-200-784 units after 5 epochs on 20000 images, k = 1; its level, and the
# seed of what it proposes.
LEARNED = [(0.05, 1), (0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
SEED = 1
MAGNIFICATION, GAP, WHITE = 2, 6, 255


def main() -> None:
    """Write all pictures, and print how far images are moved."""
    digits = load_dataset("mnist/test")
    assert digits.labels is not None
    first_of_each = [int((digits.labels == digit).nonzero()[0]) for digit in range(10)]
    clean = digits.images[first_of_each]
    for name, texts in ROWS.items():
        corrupted = [corrupt(clean, text, seed=SEED, state_shape=(28, 28)) for text in texts]
        picture = encode_png(sheet(torch.stack([clean, *corrupted])))
        with written_atomically(FOLDER / f"{name}.png") as path:
            path.write_bytes(picture)
        for text in texts:
            moved = corrupt(digits.images, text, seed=SEED, state_shape=(28, 28)) - digits.images
            print(f"{text}: {moved.square().mean().sqrt():.2f}")
    networks = {level: learned_network(level) for level, _ in LEARNED}
    corrupted = [propose(networks[level], level, clean, seed) for level, seed in LEARNED]
    with written_atomically(FOLDER / "learned.png") as path:
        path.write_bytes(encode_png(sheet(torch.stack([clean, *corrupted]))))
    for level, network in networks.items():
        moved = propose(network, level, digits.images, SEED) - digits.images
        print(f"learned({level:g}): {moved.square().mean().sqrt():.2f}")


def learned_network(level: float) -> Proposer:
    """What is learned at a level."""
    training = load_dataset("mnist/train", limit=20_000)
    settings = TrainingSettings(corruption=f"learned({level:g})", epochs=5, hidden=200, seed=SEED)
    run = TrainingRun(training.images, settings, beginning(784, settings, None, training.shape))
    for _ in range(settings.epochs):
        run.run_epoch(lambda: False)
    return proposer_of(run.state())


@torch.no_grad()
def propose(network: Proposer, level: float, images: torch.Tensor, seed: int) -> torch.Tensor:
    """Images with what a network adds to them."""
    corruption = parse_schedule("learned", level).at(1).with_network(network)
    draws = Noise(seed, "evaluation", images.device).at(0, len(images))
    return corruption(images, draws, (28, 28))


def sheet(images: torch.Tensor) -> NDArray[np.uint8]:
    """Images of shape (rows, columns, 784) beside and below each other."""
    greys = (images.clamp(0, 1) * WHITE).round().to(torch.uint8).numpy().reshape(*images.shape[:2], 28, 28)
    magnified = greys.repeat(MAGNIFICATION, axis=2).repeat(MAGNIFICATION, axis=3)
    spaced = np.pad(magnified, [(0, 0), (0, 0), (0, GAP), (0, GAP)], constant_values=WHITE)
    rows, columns, height, width = spaced.shape
    return spaced.swapaxes(1, 2).reshape(rows * height, columns * width)[:-GAP, :-GAP]


if __name__ == "__main__":
    main()

"""Labels against exact iteration: float64, 20000 steps, then Newton's method, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynlab.attractors import basins_of_attraction, merge_states
from dynlab.datasets import Dataset, labels_of
from dynlab.dynamics import iterate, transform
from dynlab.evaluation.kinds import is_explosion
from dynlab.evaluation.separability import logistic_regression_accuracy
from dynlab.maps import DenoisingAutoencoder, float64_copy
from dynlab.training import TrainingSettings, reconstruction_errors, train

EXACT_STEPS = 20_000
MERGING_DISTANCES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1)


def exact_ends(autoencoder: DenoisingAutoencoder, images: torch.Tensor) -> np.ndarray:
    """Where float64 iteration stands after 20000 steps, polished by Newton's method on the whole Jacobian.

    Written out in numpy from equations 1 and 2, with nothing of the library in it. A sample whose step is at the
    rounding floor stays where it is for good, and is left out of the remaining steps.
    """
    w1, b1, w2, b2 = (
        autoencoder.state_dict()[name].numpy().astype(np.float64)
        for name in ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
    )

    def sigmoid(values: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-values))

    def apply(states: np.ndarray) -> np.ndarray:
        return sigmoid(sigmoid(states @ w1.T + b1) @ w2.T + b2)

    ends = images.numpy().astype(np.float64)
    moving = np.arange(len(ends))
    for _ in range(0, EXACT_STEPS, 100):
        before = current = ends[moving]
        for _ in range(100):
            before, current = current, apply(current)
        ends[moving] = current
        moving = moving[np.linalg.norm(current - before, axis=1) > 1e-14 * np.linalg.norm(current, axis=1)]
        if not len(moving):
            break
    # Ends that are one point to many digits are polished once.
    polished = np.empty_like(ends)
    known: list[tuple[np.ndarray, np.ndarray]] = []
    for index, end in enumerate(ends):
        match = next((point for start, point in known if np.linalg.norm(start - end) < 1e-10), None)
        if match is None:
            match = end
            for _ in range(5):
                hidden = sigmoid(w1 @ match + b1)
                output = sigmoid(w2 @ hidden + b2)
                jacobian = (output * (1 - output))[:, None] * (w2 * (hidden * (1 - hidden))) @ w1
                match = match + np.linalg.solve(np.eye(len(end)) - jacobian, output - match)
            known.append((end, match))
        polished[index] = match
    return polished


def check_labels(autoencoder: DenoisingAutoencoder, images: torch.Tensor) -> None:
    basins = basins_of_attraction(autoencoder, images)
    expected = exact_ends(autoencoder, images)
    assert int((basins.labels < 0).sum()) == 0
    found = basins.fixed_points[basins.labels].numpy()
    distances = np.linalg.norm(found - expected, axis=1)
    assert int((distances > 1e-6).sum()) == 0
    # and no two attractors are one point
    apart = torch.cdist(basins.fixed_points, basins.fixed_points).fill_diagonal_(torch.inf)
    assert len(basins.fixed_points) == 1 or float(apart.min()) > 1e-3
    assert float(basins.spectral_radii.max()) < 1
    assert float(basins.residuals.max()) <= 1e-12
    # Merging the exact ends finds the same attractors, whatever the distance.
    for distance in MERGING_DISTANCES:
        merged = merge_states(torch.from_numpy(expected), distance)
        assert same_partition(merged, basins.labels)


def same_partition(ones: torch.Tensor, others: torch.Tensor) -> bool:
    """Whether two labellings part samples alike."""
    pairs = torch.stack([ones, others], dim=1).unique(dim=0)
    return len(pairs) == len(ones.unique()) == len(others.unique())


def test_digits(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    check_labels(digits_dae, digits_test.images[:300])


def test_mnist(mnist_dae: DenoisingAutoencoder, mnist_test: Dataset):
    check_labels(mnist_dae, mnist_test.images[:100])


def test_images_on_the_boundary_of_two_basins(digits_dae: DenoisingAutoencoder, digits_test: Dataset):
    """Bisected until float32 knows no image between them: whichever side one is on, rounding must not decide."""
    exact = float64_copy(digits_dae)
    low, high = digits_test.images[:40].clone(), digits_test.images[40:80].clone()
    ends, others = (iterate(exact, images.double(), recorded=0).states for images in (low, high))
    parted = (ends - others).norm(dim=1) > 1e-3
    low, high, ends = low[parted], high[parted], ends[parted]
    assert len(low) > 20
    for _ in range(24):
        middle = (low + high) / 2
        same = (iterate(exact, middle.double(), recorded=0).states - ends).norm(dim=1, keepdim=True) < 1e-6
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    check_labels(digits_dae, torch.cat([low, high]))


@pytest.mark.slow
@pytest.mark.parametrize("walkback", [1, 4])
def test_mnist_models_of_full_length(walkback: int, mnist_train: Dataset, mnist_test: Dataset):
    settings = TrainingSettings(sigma=0.7, walkback=walkback, epochs=60, annealing=0.99)
    autoencoder = train(mnist_train.images, settings, state_shape=mnist_train.shape, device="cpu")
    assert isinstance(autoencoder, DenoisingAutoencoder)
    errors = reconstruction_errors(autoencoder, mnist_test.images, sigma=0.7, walkback=walkback, seed=0)
    transformed = transform(autoencoder, mnist_test.images).states
    explosions = int(is_explosion(transformed).sum())
    if walkback == 1:
        assert 100 <= explosions <= 3000
    else:
        assert 12.8 <= errors.walkback <= 13.6
        assert explosions <= 100
        train_states = transform(autoencoder, mnist_train.images).states
        accuracy = logistic_regression_accuracy(
            train_states, labels_of(mnist_train), transformed, labels_of(mnist_test)
        )
        assert accuracy.test >= 0.89
    check_labels(autoencoder, mnist_test.images[:2000])

"""Similarity of the weights of autoencoders whose answer is known; `test_stages` has another against plain loops."""

from __future__ import annotations

import pytest
import torch

from dynlab.evaluation.weights import weight_similarities
from dynlab.maps import DeepAutoencoder, DenoisingAutoencoder
from dynlab.maps.classical import Linear


def test_tied_weights_are_the_same(device: torch.device) -> None:
    system = DenoisingAutoencoder(16, 6, tied=True).to(device)
    torch.nn.init.normal_(system.encoder["weight"], generator=None)
    (found,) = weight_similarities(system)
    assert torch.allclose(found.cosines, torch.ones(6, dtype=torch.float64))
    assert (found.nearest_share, found.whole, found.length_ratio) == pytest.approx((1, 1, 1))
    assert found.cosines.device.type == "cpu"


def test_strangers_are_as_similar_as_chance_has_it() -> None:
    torch.manual_seed(0)
    system = DenoisingAutoencoder(400, 200)
    for weight in (system.encoder["weight"], system.decoder["weight"]):
        torch.nn.init.normal_(weight)
    (found,) = weight_similarities(system)
    # Cosines of random directions have the standard deviation 1 / sqrt(dim).
    assert found.shuffled_sd == pytest.approx(1 / 20, rel=0.02)
    assert abs(found.shuffled_mean) < 0.001
    assert abs(float(found.cosines.mean())) < 4 / 20 / 200**0.5
    assert found.nearest_share < 0.05


def test_each_layer_of_a_deep_autoencoder_has_its_mirror_image() -> None:
    torch.manual_seed(0)
    tied = DeepAutoencoder(9, (7, 3), tied=True)
    untied = DeepAutoencoder(9, (7, 3))
    for system in (tied, untied):
        for parameter in system.parameters():
            torch.nn.init.normal_(parameter)
    assert [(one.layer, len(one.cosines)) for one in weight_similarities(untied)] == [(0, 7), (1, 3)]
    for one in weight_similarities(tied):
        assert torch.allclose(one.cosines, torch.ones_like(one.cosines))
    assert max(one.whole for one in weight_similarities(untied)) < 0.9


def test_units_without_weights_and_maps_without_layers() -> None:
    (found,) = weight_similarities(DenoisingAutoencoder(4, 1))  # all zeros
    assert (found.cosines.tolist(), found.shuffled_mean, found.whole) == ([0.0], 0.0, 0.0)
    assert weight_similarities(Linear(0.5 * torch.eye(3))) == []

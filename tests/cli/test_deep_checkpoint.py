"""`dynlab analyse` on the checkpoint of a deep autoencoder, and on one of a kind that it does not know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from dynlab.datasets import Dataset
from dynlab.evaluation import Analysis
from dynlab.maps import DeepAutoencoder, map_hash

Run = Callable[..., tuple[int, str, str]]
# From a file, which has no labels: no recognizer is trained.
SAMPLES = ("--data", "digits.npy", "--limit", "30", "--recorded-samples", "10", "--certify", "3", "--planes", "1")


def test_a_deep_autoencoder_is_analysed(run: Run, digits_test: Dataset):
    np.save("digits.npy", digits_test.images.numpy())
    autoencoder = DeepAutoencoder(64, (24, 8), tied=True, training={"sigma": 0.2})
    stream = torch.Generator().manual_seed(1)
    for parameter in autoencoder.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(generator=stream)
    # Thresholds in the middle of where states and hidden units move, so that there are several attractors.
    middle = torch.full((64,), 0.3)
    for layer in autoencoder.layers():
        layer.bias.copy_(-layer.weight @ middle)
        middle = torch.full((len(layer.bias),), 0.5)
    autoencoder.save("deep.safetensors")
    threads = torch.get_num_threads()
    status, _, error = run("analyse", "deep.safetensors", *SAMPLES, "--quiet", "--graph", "--out", "out")
    torch.set_num_threads(threads)
    assert (status, error) == (0, "")
    analysis = Analysis.load(Path("out"))
    results = analysis.results
    assert (results.map.kind, results.map.sha256) == ("DeepAutoencoder", map_hash(autoencoder))
    assert "hidden=(24, 8)" in results.map.description
    assert "hidden=(24, 8)" in Path("out/index.html").read_text()
    assert results.energy is None
    assert [certificate.reason for certificate in results.certificates] == [""] * 3
    points = analysis.arrays.fixed_points
    assert len(points) >= 2
    exact = autoencoder.double()
    radii = torch.linalg.eigvals(torch.func.vmap(torch.func.jacrev(exact.forward))(points)).abs().amax(dim=1)
    found = torch.tensor([attractor.spectral_radius for attractor in results.attractors], dtype=torch.float64)
    torch.testing.assert_close(found, radii.detach(), rtol=1e-8, atol=1e-12)


def test_another_kind_is_named(run: Run):
    save_file({"weight": torch.zeros(1)}, "other.safetensors", {"kind": "basins-of-attraction"})
    status, _, error = run("analyse", "other.safetensors", *SAMPLES, "--out", "out")
    assert status == 2
    expected = "of kind 'basins-of-attraction', expected 'denoising-autoencoder' or 'deep-autoencoder'"
    assert error.strip().endswith(f"other.safetensors: a checkpoint {expected}")
    assert not Path("out").exists()

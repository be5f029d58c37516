"""The loop that most people write to train a denoising autoencoder, which benchmarks compare with."""

from __future__ import annotations

import time

import torch
from torch import nn


def plain_rate(
    samples: int,
    *,
    dim: int,
    hidden: int,
    batch: int,
    walkback: int,
    sigma: float,
    learning_rate: float,
    threads: int,
    epochs: int = 2,
) -> float:
    """Samples per second of `nn.Linear`, autograd and `optim.SGD`, noise included, in the epochs after the first."""
    torch.set_num_threads(threads)
    images = torch.rand(samples, dim)
    model = nn.Sequential(nn.Linear(dim, hidden), nn.Sigmoid(), nn.Linear(hidden, dim), nn.Sigmoid())
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    started = 0.0
    for epoch in range(epochs):
        if epoch == 1:
            started = time.perf_counter()
        for clean in images.split(batch):
            states = clean + sigma * torch.randn_like(clean)
            objective = torch.zeros(())
            for _ in range(walkback):
                states = model(states)
                objective = objective + (states - clean).square().sum(dim=1).mean() / walkback
            optimizer.zero_grad()
            objective.backward()
            optimizer.step()
    return (epochs - 1) * samples / (time.perf_counter() - started)

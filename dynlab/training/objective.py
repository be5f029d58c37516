"""The walkback objective, equation 8, and the reconstruction errors that a trained map is judged by.

    L(F) = mean over samples of 1/k sum_{i=1..k} ||x - F^i(x~)||^2

The squared error is summed over the pixels. With k = 1 it is the objective of a denoising autoencoder, equation 4.

Source: Bahdanau and Jaeger, Smart Decisions by Small Adjustments: Iterating Denoising Autoencoders, 2014, section 2;
Bengio, Yao, Alain and Vincent, Generalized Denoising Auto-Encoders as Generative Models, 2013 (walkback).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynlab.maps import Map, check_states
from dynlab.training.corruption import corrupt
from dynlab.training.streams import generator

_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class ReconstructionErrors:
    """Squared errors, summed over pixels and averaged over samples, in squared units of a pixel."""

    walkback: float  # equation 8: corrupted input, averaged over the walkback steps
    corrupted: float  # after one step from corrupted input, equation 4
    clean: float  # after one step from clean input, equation 3


def walkback_objective(
    system: Map, clean: Float[Tensor, "batch dim"], corrupted: Float[Tensor, "batch dim"], walkback: int
) -> Float[Tensor, ""]:
    """Equation 8 for one minibatch; its gradient goes through all the steps.

    Args:
        system: The map `F`.
        clean: What to come back to, shape (batch, dim).
        corrupted: Where to start, shape (batch, dim).
        walkback: The number of steps k, at least 1.

    Raises:
        ValueError: If `walkback` is below 1.
    """
    if walkback < 1:
        raise ValueError(f"walkback is {walkback}, expected at least 1")
    return torch.stack(_step_errors(system, clean, corrupted, walkback)).mean()


@torch.no_grad()
def reconstruction_errors(
    system: Map, images: Float[Tensor, "samples dim"], *, sigma: float, walkback: int, seed: int
) -> ReconstructionErrors:
    """The walkback objective and the plain reconstruction errors of a map on a set of images.

    Every image is corrupted once, by the stream "evaluation" of `seed`, so that two maps are judged on the same noise.

    Args:
        system: The map; images go to its device and dtype, a block at a time.
        images: Shape (samples, dim), at least one.
        sigma: The corruption level, in units of a pixel, at least 0.
        walkback: The number of steps k, at least 1.
        seed: From 0 to 2^63 - 1.

    Raises:
        ValueError: If an argument is out of its range or `images` is not finite.
    """
    check_states(system, images, parameter="images")
    if len(images) == 0:
        raise ValueError("images is empty, expected at least one sample")
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"sigma is {sigma}, expected a finite number of at least 0")
    if walkback < 1:
        raise ValueError(f"walkback is {walkback}, expected at least 1")
    like = next(system.parameters(), images)
    noise = generator(seed, "evaluation")
    totals = torch.zeros(3, dtype=torch.float64, device=like.device)
    for rows in images.split(_BLOCK_ROWS):
        clean = rows.to(like)
        from_corrupted = _step_errors(system, clean, corrupt(clean, sigma, noise), walkback)
        from_clean = _step_errors(system, clean, clean, 1)
        errors = (torch.stack(from_corrupted).mean(), from_corrupted[0], from_clean[0])
        totals += len(rows) * torch.stack(errors).double()
    walkback_error, corrupted_error, clean_error = (totals / len(images)).tolist()
    return ReconstructionErrors(walkback=walkback_error, corrupted=corrupted_error, clean=clean_error)


def _step_errors(system: Map, clean: Tensor, start: Tensor, steps: int) -> list[Tensor]:
    """Mean squared error, summed over pixels, after each step."""
    states, errors = start, []
    for _ in range(steps):
        states = system(states)
        errors.append((states - clean).square().sum(dim=1).mean())
    return errors

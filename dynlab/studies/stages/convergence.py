"""How a few samples converge, figure 7 of the report, and how far a sample must have moved to be looked at."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynlab.dynamics import reference_distances
from dynlab.dynamics.blocks import home_of
from dynlab.maps import Map

LENGTHS = 100  # steps whose lengths are kept
REFERENCE_STEP, STEPS = 500, 600
_MOVED, _MOVED_DIM = 5.0, 784  # of the report's pictures


def moved(dim: int) -> float:
    """The distance between a sample and where it ends that the report asks for in figures 4 and 6: 5 for 784 pixels.

    For other states it is what the same change of every pixel comes to, `5 sqrt(dim / 784)`; units of the state.
    """
    return _MOVED * math.sqrt(dim / _MOVED_DIM)


@torch.no_grad()
def convergence_of(system: Map, images: Tensor) -> dict[str, Tensor]:
    """The lengths of the first 100 steps, and distances to the state at step 500, section 6.3 and figure 7.

    Args:
        system: The map.
        images: Where the samples start, shape (samples, dim).

    Returns:
        `step_lengths`, shape (100, samples), row i that of step i + 1; and `distances` in units of the state, shape
        (601, samples), row i that of the state after i steps; on the CPU.
    """
    home = home_of(system, images)
    current, lengths = images.to(home.device, home.dtype), []
    for _ in range(LENGTHS):
        following = system(current)
        lengths.append(torch.linalg.vector_norm(following - current, dim=1))
        current = following
    distances = reference_distances(system, images, reference_step=REFERENCE_STEP, steps=STEPS).distances
    return {"step_lengths": torch.stack(lengths).cpu(), "distances": distances}

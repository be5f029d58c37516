"""How many map evaluations it takes to find the saddles between neighbouring attractors, beside plain edge tracking.

    python benchmarks/connections.py [--checkpoint dae.safetensors] [--pairs 24] [--graph 100]

A denoising autoencoder 784-500-784 of MNIST, in float64, and its attractors from the first 2000 test images. Programs:

    dynlab      edge tracking of all pairs at once, with Newton's method from where orbits were slowest
    plain       edge tracking as it is mostly written, pair by pair: bisection to 1e-6 of the distance, both ends taken
                along the boundary until they are 1e-3 of it apart, and so on until the step length is below 1e-5; an
                orbit belongs to the attractor that it comes within 0.05 of

An evaluation is one state that goes through the map, or one product of a Jacobian with a vector. Factorizations and
eigenvalues are not counted, but are in the seconds. Both judge what they find by the whole Jacobian: a saddle with one
multiplier outside the unit circle, real and above 1.

Then the whole connection graph of the attractors with the largest basins, with its time.

Without a checkpoint, one is trained first: one walkback step, sigma 0.7, 60 epochs, some minutes on a core.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from trained import CHECKPOINT_HELP, LONG, mnist_autoencoder

from dynlab.attractors import basins_of_attraction, connection_graph, known_attractors, track_counts
from dynlab.attractors.connections.edge_tracking import Saddles, Track, track_edges
from dynlab.datasets import load_dataset
from dynlab.dynamics.known import KnownFixedPoints
from dynlab.maps import DenoisingAutoencoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SAMPLES = 2000
PLAIN_CLOSE, PLAIN_APART, PLAIN_AT_REST = 1e-6, 1e-3, 1e-5  # the first two as shares of the distance
PLAIN_NEAR, PLAIN_STEPS, PLAIN_ROUNDS = 0.05, 5000, 60


class Counted(DenoisingAutoencoder):
    """An autoencoder that counts its evaluations, those of its copies with them."""

    evaluations = 0

    def forward(self, states: Tensor) -> Tensor:
        Counted.evaluations += len(states)
        return super().forward(states)

    def linearized(self, states: Tensor) -> Callable[[Tensor], Tensor]:
        product = super().linearized(states)

        def counted(tangents: Tensor) -> Tensor:
            Counted.evaluations += len(tangents)
            return product(tangents)

        return counted


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Edge tracking.")
    parser.add_argument("--checkpoint", type=Path, help=CHECKPOINT_HELP)
    parser.add_argument("--pairs", type=int, default=24, help="pairs of nearest neighbours")
    parser.add_argument("--graph", type=int, default=100, help="attractors of the graph")
    options = parser.parse_args()
    plain_system = mnist_autoencoder(options.checkpoint, {**LONG, "walkback": 1})
    images = load_dataset("mnist/test", limit=SAMPLES).images
    basins = basins_of_attraction(plain_system, images)
    system = Counted(plain_system.dim, len(plain_system.state_dict()["encoder.bias"])).double()
    system.load_state_dict({name: value.double() for name, value in plain_system.state_dict().items()})
    pairs = nearest_pairs(basins.fixed_points, options.pairs)

    seconds, evaluations, found = {}, {}, {}
    for name, program in (("dynlab", tracked), ("plain", plainly_tracked)):
        Counted.evaluations, begun = 0, time.perf_counter()
        found[name] = program(system, basins.fixed_points, pairs)
        seconds[name], evaluations[name] = time.perf_counter() - begun, Counted.evaluations / len(pairs)
    print(f"{len(pairs)} pairs of nearest neighbours among {len(basins.fixed_points)} attractors\n")
    for name in seconds:
        print(f"{name:8}{evaluations[name]:10.0f} evaluations a pair {seconds[name]:8.1f} s {found[name]:4d} saddles")
    print(
        f"plain / dynlab: {evaluations['plain'] / evaluations['dynlab']:.1f} times the evaluations, "
        f"{seconds['plain'] / seconds['dynlab']:.1f} times the time"
    )
    some = replace(
        basins,
        fixed_points=basins.fixed_points[: options.graph],
        residuals=basins.residuals[: options.graph],
        multipliers=basins.multipliers[: options.graph],
        labels=torch.where(basins.labels < options.graph, basins.labels, -1),
    )
    begun = time.perf_counter()
    graph = connection_graph(plain_system, some, samples=images)
    taken = time.perf_counter() - begun
    attractors = len(some.fixed_points)
    joined = sum(graph.degree(node) > 0 for node in range(attractors))
    print(f"graph: {graph.number_of_edges()} edges, {joined} of {attractors} attractors have one, {taken:.1f} s")
    print(", ".join(f"{count} {track}" for track, count in track_counts(graph).items()))


def nearest_pairs(states: Tensor, count: int) -> Tensor:
    """The attractors with the largest basins, each with its nearest neighbour, no pair twice."""
    apart = torch.cdist(states, states).fill_diagonal_(torch.inf)
    pairs = dict.fromkeys(tuple(sorted((row, int(other)))) for row, other in enumerate(apart.argmin(dim=1)))
    return torch.tensor(list(pairs)[:count])


def tracked(system: Counted, states: Tensor, pairs: Tensor) -> int:
    """How many pairs lead to a saddle."""
    known, saddles = KnownFixedPoints(states.device, system.dim), Saddles(states.device, system.dim)
    for point in known_attractors(system, states):
        known.add(point)
    found = track_edges(system, states[pairs[:, 0]], states[pairs[:, 1]], pairs, known, saddles)
    return sum(one.track in (Track.SADDLE, Track.BETWEEN) for one in found)


def plainly_tracked(system: Counted, states: Tensor, pairs: Tensor) -> int:
    """The same, pair by pair."""
    with torch.no_grad():
        return sum(plain_pair(system, states, int(source), int(target)) for source, target in pairs)


def plain_pair(system: Counted, states: Tensor, source: int, target: int) -> bool:
    """Whether plain edge tracking ends at a saddle with one unstable direction."""
    inside, outside = states[source], states[target]
    distance = float((inside - outside).norm())
    for _ in range(PLAIN_ROUNDS):
        while float((inside - outside).norm()) > PLAIN_CLOSE * distance:
            middle = (inside + outside) / 2
            if plain_end(system, states, middle) == source:
                inside = middle
            else:
                outside = middle
        while True:
            following = system(torch.stack([inside, outside]))
            if float((following[0] - inside).norm()) < PLAIN_AT_REST:
                moduli = torch.linalg.eigvals(system.jacobian(following[:1])[0])
                outer = moduli[moduli.abs() > 1]
                return len(outer) == 1 and float(outer[0].real) > 1
            if float((following[0] - following[1]).norm()) > PLAIN_APART * distance:
                break
            inside, outside = following
    return False


def plain_end(system: Counted, states: Tensor, state: Tensor) -> int:
    """The attractor that an orbit comes near to first."""
    state = state[None]
    for _ in range(PLAIN_STEPS):
        nearest = torch.linalg.vector_norm(states - state, dim=1).min(dim=0)
        if float(nearest.values) < PLAIN_NEAR:
            return int(nearest.indices)
        state = system(state)
    return -1


if __name__ == "__main__":
    main()

"""How fast final states are merged into attractors, and in how much memory, beside DBSCAN.

    python benchmarks/merging.py [--samples 60000] [--rounds 1]

The states are those of the set "clusters-784": tight clusters in the cube [0, 1]^784 in float32, one for every fifteen
states, whose sizes fall like a power of their rank, and every twentieth state stands alone; members scatter around
their centre with a standard deviation of 1e-5 in each direction. They are merged at a distance of 0.01. Programs:

    dynlab      `dynlab.attractors.merging.merge_states`
    dbscan      `sklearn.cluster.DBSCAN` with `min_samples=1`, whose partition is single linkage, too

Each runs in a process of its own, in turn; libraries are imported and states read before its clock starts. Memory
is the peak of anonymous memory (`RssAnon` of /proc/self/status, seen every 10 ms) above that of an interpreter that has
imported torch, with the states. Both must find one partition, that of the clusters.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from memory import anonymous, watched

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIM, SPREAD, DISTANCE = 784, 1e-5, 0.01
PER_CLUSTER, ALONE, POWER = 15, 20, 1.1  # states for each cluster, states for each single one, decay of sizes


def main() -> None:
    """Measure and print the table; with `--program`, measure once."""
    parser = argparse.ArgumentParser(description="Speed and memory of merging.")
    parser.add_argument("--samples", type=int, default=60_000, help="how many states")
    parser.add_argument("--rounds", type=int, default=1, help="measurements of each program")
    parser.add_argument("--program", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        print(json.dumps(_measure(options.program, options.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        options.folder = Path(name)
        states, clusters = clusters_784(options.samples)
        np.save(options.folder / "states.npy", states)
        rounds = [
            {program: _measured_apart(program, options, clusters) for program in PROGRAMS}
            for _ in range(options.rounds)
        ]
    sizes = np.bincount(clusters)
    print(f"{len(clusters)} states ({states.nbytes / 2**20:.0f} MiB) in {len(sizes)} components, ", end="")
    print(f"the largest of {sizes.max()}, {(sizes == 1).sum()} alone")
    print(f"in both the partition of the clusters; {rounds[0]['dynlab']['threads']} threads; {len(rounds)} rounds")
    for program in PROGRAMS:
        seconds, processor = (
            statistics.median(measured[program][clock] for measured in rounds) for clock in ("seconds", "processor")
        )
        memory = max(measured[program]["memory"] for measured in rounds)
        print(f"{program:8}{seconds:9.2f} s{processor:9.2f} s of processors{memory / 2**20:8.0f} MiB above torch's")
    for clock in ("seconds", "processor"):
        ratios = [measured["dbscan"][clock] / measured["dynlab"][clock] for measured in rounds]
        print(f"dbscan / dynlab in {clock}: {statistics.median(ratios):.1f} times (lowest round {min(ratios):.1f})")


def dynlab(states: NDArray[np.float32]) -> NDArray[np.int64]:
    """Labels of `merge_states`."""
    import torch

    from dynlab.attractors.merging import merge_states

    return merge_states(torch.from_numpy(states), DISTANCE).numpy()


def dbscan(states: NDArray[np.float32]) -> NDArray[np.int64]:
    """Labels of DBSCAN."""
    from sklearn.cluster import DBSCAN

    return DBSCAN(eps=DISTANCE, min_samples=1).fit_predict(states)


PROGRAMS = {"dynlab": dynlab, "dbscan": dbscan}


def clusters_784(samples: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The states, mixed, and the cluster of each, numbered by first appearance."""
    random = np.random.default_rng(0)
    count, alone = max(1, samples // PER_CLUSTER), samples // ALONE
    weights = np.arange(1, count + 1) ** -POWER
    names = random.choice(count, size=samples - alone, p=weights / weights.sum())
    names = random.permutation(np.concatenate([names, np.arange(count, count + alone)]))
    centres = random.random((count + alone, DIM), dtype=np.float32)
    states = SPREAD * random.standard_normal((samples, DIM), dtype=np.float32)
    states += centres[names]
    return np.clip(states, 0, 1, out=states), _numbered(names)


def _numbered(names: NDArray[np.int64]) -> NDArray[np.int64]:
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _measured_apart(program: str, options: argparse.Namespace, clusters: NDArray[np.int64]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--program", program, "--folder", options.folder]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    labels = np.load(options.folder / f"{program}.npy")
    assert np.array_equal(_numbered(labels), clusters), f"{program} finds another partition"
    return measured


def _measure(program: str, folder: Path) -> dict[str, Any]:
    import torch

    before = anonymous()
    states = np.load(folder / "states.npy")
    PROGRAMS[program](states[:100])  # libraries are there before the clock starts
    with watched() as peak:
        started, processor = time.perf_counter(), time.process_time()
        labels = PROGRAMS[program](states)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
    np.save(folder / f"{program}.npy", labels)
    memory, threads = peak.bytes - before, torch.get_num_threads()
    return {"seconds": seconds, "processor": processor, "memory": memory, "threads": threads}


if __name__ == "__main__":
    main()

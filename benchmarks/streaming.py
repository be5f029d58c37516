"""How much memory it takes to label samples that stream from a memory-mapped file.

    python benchmarks/streaming.py

A denoising autoencoder 64-256-64 is trained on the 8 x 8 digits. Samples are digits with noise, written to a file of
float32 that is far larger than what may be in memory. Each number of samples is run in a process of its own, which
asks for labels, statuses and quantiles of step lengths, and not for final states. Shown is the peak of its anonymous
memory (`RssAnon` of /proc/self/status, seen every 10 ms) above that of an interpreter that has imported torch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memory import anonymous, watched

DIM, SIGMA, NOISE, CHUNK = 64, 0.2, 0.3, 50_000


def main() -> None:
    """Measure and print the table; with `--file`, measure one file."""
    parser = argparse.ArgumentParser(description="Memory of streamed samples.")
    parser.add_argument("--samples", type=int, nargs="+", default=[100_000, 1_000_000], help="how many to stream")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        print(_measure(options.file, options.checkpoint))
        return
    with tempfile.TemporaryDirectory() as name:
        checkpoint = _trained(Path(name) / "dae.safetensors")
        for samples in options.samples:
            path = _written(Path(name) / "samples.npy", samples)
            command = [sys.executable, __file__, "--file", path, "--checkpoint", checkpoint]
            words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            print(f"{samples:>9} samples, {path.stat().st_size / 2**20:.0f} MiB on disk: {words}")


def _measure(path: Path, checkpoint: Path) -> str:
    import torch

    before = anonymous()
    import numpy as np

    from dynlab import DenoisingAutoencoder, Status, iterate

    autoencoder = DenoisingAutoencoder.load(checkpoint)
    samples = np.load(path, mmap_mode="r")
    started = time.perf_counter()
    with watched() as peak:
        orbits = iterate(autoencoder, samples, keep_states=False, histogram=True)
    seconds = time.perf_counter() - started
    assert orbits.histogram is not None
    median = orbits.histogram.quantiles([0.5])
    converged = orbits.status.counts()[Status.CONVERGED]
    return (
        f"{(peak.bytes - before) / 2**20:.0f} MiB above torch's {before / 2**20:.0f}, {seconds:.0f} s on "
        f"{torch.get_num_threads()} threads, {converged} converged to {len(orbits.fixed_points)} attractors, "
        f"median step length below {1e-3:g} after {int((median[:, 0] >= 1e-3).sum())} steps"
    )


def _trained(path: Path) -> Path:
    from dynlab import TrainingSettings, load_dataset, train

    settings = TrainingSettings(sigma=SIGMA, walkback=3, epochs=200, annealing=0.995, hidden=256)
    train(load_dataset("digits/train").images, settings, device="cpu").save(path)
    return path


def _written(path: Path, samples: int) -> Path:
    import numpy as np

    from dynlab import load_dataset

    digits = load_dataset("digits").images.numpy()
    random = np.random.default_rng(0)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(samples, DIM))
    for start in range(0, samples, CHUNK):
        count = min(CHUNK, samples - start)
        noise = random.normal(scale=NOISE, size=(count, DIM))
        file[start : start + count] = digits[random.integers(len(digits), size=count)] + noise
    file.flush()
    return path


if __name__ == "__main__":
    main()

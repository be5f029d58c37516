"""How fast an ensemble trains on the cores of a CPU, beside the plain loop over modules at its best number of threads.

    python benchmarks/processes.py
    python benchmarks/processes.py --table

Denoising autoencoders 784-500-784 in minibatches of 20 with k = 4, on random images of MNIST's size: four members by
`dynlab.training.train_ensemble`, spread over the cores, and one module after another by `nn.Linear`, autograd and
`optim.SGD`, noise included, once for each number of threads up to the number of cores. Rates are samples a second of
all members together, counted in epochs during which every process was busy, for either program after its first epoch;
the seconds that the processes take to start are told apart. The programs take turns, round by round; ratios are taken
within a round.

With `--table`: seconds an epoch of 50000 samples against members, hidden units, samples of a minibatch and k, projected
from fewer samples.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict

DIM, EPOCH = 784, 50_000
SIGMA, LEARNING_RATE = 0.7, 0.1
MEMBERS, HIDDEN, BATCH, WALKBACK = 4, 500, 20, 4


def main() -> None:
    """Measure and print; with `--plain`, measure the plain loop once and print samples per second."""
    parser = argparse.ArgumentParser(description="Speed of the training of ensembles on the cores of a CPU.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each program")
    parser.add_argument("--samples", type=int, default=2000, help="samples of a measured epoch")
    parser.add_argument("--table", action="store_true", help="seconds an epoch against the shape, instead")
    parser.add_argument("--plain", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        print(plain(options.samples, options.plain))
    elif options.table:
        print_table(options.samples)
    else:
        print_ratio(options.samples, options.rounds)


def print_ratio(samples: int, rounds: int) -> None:
    """Throughput of four members at k = 4 beside that of the plain loop."""
    cores = len(os.sched_getaffinity(0))
    threads = range(1, cores + 1)
    dynlab_rates, starts, plain_rates = [], [], defaultdict(list)
    for _ in range(rounds):
        rate, start = ensemble(samples, MEMBERS, HIDDEN, BATCH, WALKBACK)
        dynlab_rates.append(rate)
        starts.append(start)
        for count in threads:
            plain_rates[count].append(_plain_apart(samples, count))
    best = max(threads, key=lambda count: statistics.median(plain_rates[count]))
    print(f"{MEMBERS} members {DIM}-{HIDDEN}-{DIM}, k = {WALKBACK}, minibatches of {BATCH}, {cores} cores; medians\n")
    print("| | samples/s | times plain at its best (lowest round) |\n| --- | --- | --- |")
    rows = [("dynlab", dynlab_rates), *((f"plain, {count} threads", plain_rates[count]) for count in threads)]
    for name, rates in rows:
        ratios = [rate / other for rate, other in zip(rates, plain_rates[best], strict=True)]
        print(f"| {name} | {statistics.median(rates):.0f} | {statistics.median(ratios):.2f} ({min(ratios):.2f}) |")
    print(f"\nProcesses take {statistics.median(starts):.1f} s to start.")


def print_table(samples: int) -> None:
    """Seconds an epoch, each of the numbers varied by itself."""
    shapes = [(MEMBERS, HIDDEN, BATCH, WALKBACK)]
    shapes += [(members, HIDDEN, BATCH, WALKBACK) for members in (1, 2, 8)]
    shapes += [(MEMBERS, hidden, BATCH, WALKBACK) for hidden in (250, 1000)]
    shapes += [(MEMBERS, HIDDEN, batch, WALKBACK) for batch in (50, 100)]
    shapes += [(MEMBERS, HIDDEN, BATCH, walkback) for walkback in (1, 2, 3, 5)]
    print("| members | hidden | batch | k | s/epoch | s/epoch and member | GFLOP/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for members, hidden, batch, walkback in shapes:
        rate, _ = ensemble(samples, members, hidden, batch, walkback)
        gigaflops = rate * (6 * walkback - 1) * 2 * DIM * hidden / 1e9
        seconds = members * EPOCH / rate
        cells = (members, hidden, batch, walkback, f"{seconds:.1f}", f"{seconds / members:.1f}", f"{gigaflops:.0f}")
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def ensemble(samples: int, members: int, hidden: int, batch: int, walkback: int) -> tuple[float, float]:
    """Samples per second of all members of an ensemble together, and the seconds until its processes had started.

    Rates are those of epochs after a member's first one, during which as many processes were busy as there are.
    """
    import torch

    from dynlab.training import EpochProgress, TrainingDiverged, TrainingSettings, train_ensemble

    settings = [
        TrainingSettings(
            sigma=SIGMA,
            walkback=walkback,
            epochs=3,
            batch_size=batch,
            learning_rate=LEARNING_RATE,
            hidden=hidden,
            seed=seed,
        )
        for seed in range(members)
    ]
    processes = min(members, len(os.sched_getaffinity(0)))
    rates: list[float] = []
    begun = time.perf_counter()
    first_epoch: list[float] = []

    def told(_member: int, progress: EpochProgress | TrainingDiverged) -> None:
        if isinstance(progress, TrainingDiverged):
            raise progress
        if not first_epoch:
            first_epoch.append(time.perf_counter() - begun - samples / progress.samples_per_second)
        if progress.epoch > 1:
            rates.append(progress.samples_per_second)

    train_ensemble(torch.rand(samples, DIM), settings, backend="processes", processes=processes, on_progress=told)
    # The members that are trained last may be fewer than the processes.
    whole = len(rates) - 2 * (members % processes)
    return processes * statistics.harmonic_mean(rates[:whole]), first_epoch[0]


def plain(samples: int, threads: int) -> float:
    """Samples per second of the loop that everybody writes, in the second and third epoch."""
    from plain_training import plain_rate

    return plain_rate(
        samples,
        dim=DIM,
        hidden=HIDDEN,
        batch=BATCH,
        walkback=WALKBACK,
        sigma=SIGMA,
        learning_rate=LEARNING_RATE,
        threads=threads,
        epochs=3,
    )


def _plain_apart(samples: int, threads: int) -> float:
    command = [sys.executable, __file__, "--plain", str(threads), "--samples", str(samples)]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    }
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()

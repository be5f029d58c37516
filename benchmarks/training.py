"""How fast training is, on one thread, beside a plain loop of torch and the bare matrix products.

    python benchmarks/training.py

A denoising autoencoder 784-500-784 in minibatches of 20, on random images of MNIST's size. Three programs:

    dynlab    `dynlab.training.train`, its noise and its bookkeeping included
    plain     `nn.Linear`, autograd and `optim.SGD`, its noise included
    products  only the matrix products of a step, on the layouts and by the library that `train` uses: the floor

Each measurement runs in a process of its own, since how often the plain loop gets new pages for its gradients depends
on what else a process has allocated. The programs take turns, round by round, so that a machine that is busy at times
is so for all of them; ratios are taken within a round, and medians over rounds.

A step with k walkback steps counts `(6 k - 1) 2 batch dim hidden` operations, whoever takes it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

DIM, HIDDEN, BATCH = 784, 500, 20
SIGMA, LEARNING_RATE = 0.7, 0.1
WALKBACKS = (1, 4)


def main() -> None:
    """Measure and print the table; with `--program`, measure once and print samples per second."""
    parser = argparse.ArgumentParser(description="Speed of training on one thread.")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each program")
    parser.add_argument("--samples", type=int, default=10_000, help="samples of one measurement, at k = 1")
    parser.add_argument("--program", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--walkback", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        print(PROGRAMS[options.program](options.samples, options.walkback))
        return
    print(f"{DIM}-{HIDDEN}-{DIM}, minibatches of {BATCH}, one thread; medians of {options.rounds} rounds\n")
    print(f"{'':14}{'samples/s':>11}{'GFLOP/s':>9}{'x plain (lowest round)':>25}{'share of products':>19}")
    for walkback in WALKBACKS:
        rounds = [
            {name: _measured_apart(name, options.samples // walkback, walkback) for name in PROGRAMS}
            for _ in range(options.rounds)
        ]
        for name in PROGRAMS:
            speed = statistics.median(rates[name] for rates in rounds)
            gigaflops = speed * (6 * walkback - 1) * 2 * DIM * HIDDEN / 1e9
            against_plain = [rates[name] / rates["plain"] for rates in rounds]
            of_products = statistics.median(rates[name] / rates["products"] for rates in rounds)
            ratio = f"{statistics.median(against_plain):.2f} ({min(against_plain):.2f})"
            print(f"k = {walkback} {name:9}{speed:10.0f}{gigaflops:9.1f}{ratio:>25}{of_products:>19.2f}")


def dynlab(samples: int, walkback: int) -> float:
    """Samples per second of `train`, in the second of two epochs."""
    import torch

    from dynlab.training import TrainingSettings, train

    torch.set_num_threads(1)
    settings = TrainingSettings(
        sigma=SIGMA, walkback=walkback, epochs=2, batch_size=BATCH, learning_rate=LEARNING_RATE, hidden=HIDDEN
    )
    speeds: list[float] = []
    train(
        torch.rand(samples, DIM),
        settings,
        device=torch.device("cpu"),
        on_epoch=lambda progress: speeds.append(progress.samples_per_second),
    )
    return speeds[-1]


def plain(samples: int, walkback: int) -> float:
    """Samples per second of the loop that everybody writes, in the second of two epochs."""
    from plain_training import plain_rate

    return plain_rate(
        samples,
        dim=DIM,
        hidden=HIDDEN,
        batch=BATCH,
        walkback=walkback,
        sigma=SIGMA,
        learning_rate=LEARNING_RATE,
        threads=1,
    )


def products(samples: int, walkback: int) -> float:
    """Samples per second if a step were its matrix products and nothing else, in the second of two epochs."""
    import torch

    from dynlab.training.products import products_for

    torch.set_num_threads(1)
    # The layouts that `train` has, and the library that it multiplies by.
    encoder, decoder = torch.rand(HIDDEN, DIM), torch.rand(HIDDEN, DIM).t()
    by = products_for(encoder)
    stacked_states, stacked_hidden = torch.rand(BATCH * walkback, DIM), torch.rand(BATCH * walkback, HIDDEN)
    batches = list(zip(stacked_states.split(BATCH), stacked_hidden.split(BATCH), strict=True))
    to_states, to_hidden = torch.empty(BATCH, DIM), torch.empty(BATCH, HIDDEN)
    no_bias, no_hidden_bias = torch.zeros(DIM), torch.zeros(HIDDEN)
    speed = 0.0
    with torch.inference_mode():
        for _ in range(2):
            started = time.perf_counter()
            for _ in range(samples // BATCH):
                for states, hidden in batches:
                    by.layer(states, encoder, no_hidden_bias, "identity", to_hidden)
                    by.layer(hidden, decoder, no_bias, "identity", to_states)
                for i, (states, hidden) in enumerate(batches):
                    by.backward(states, decoder, to_hidden)
                    if i > 0:
                        by.backward(hidden, encoder, to_states)
                by.update(decoder, stacked_states, stacked_hidden, 1e-9)
                by.update(encoder, stacked_hidden, stacked_states, 1e-9)
            speed = samples / (time.perf_counter() - started)
    return speed


PROGRAMS = {"dynlab": dynlab, "plain": plain, "products": products}


def _measured_apart(program: str, samples: int, walkback: int) -> float:
    command = [sys.executable, __file__, "--program", program, "--samples", str(samples), "--walkback", str(walkback)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if program == "products":
        # A floor must not depend on whether the C library gives pages back to the system and gets them again.
        environment |= {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "67108864"}
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()

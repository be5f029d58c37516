"""How fast ensembles train: the members of one batch, on a GPU, beside what its arithmetic and its memory allow.

    python benchmarks/ensembles.py
    python benchmarks/ensembles.py --device cpu --samples 400 --members 1 4 --hidden 100 --batch 20 --walkback 1 4

Denoising autoencoders 784-h-784 on random images of MNIST's size, `dynlab.training.batched` with its noise and its
bookkeeping. Seconds are those of an epoch of 50000 samples, projected from fewer; the first epoch, in which kernels are
compiled and launches recorded, does not count. Members, hidden units, samples of a minibatch and steps k of the
walkback vary one at a time, while the others are the first values that are given.

A step of one member cannot be faster than either of two floors, and `share` is the higher one over what was measured:

    arithmetic   its `(6 k - 1) 2 batch 784 h` operations, at the rate of one large product, measured
    memory       its `16 784 h` bytes, weights read and written once, at the rate of a copy within as much memory as all
                 weights take, measured; where that is less than the cache, the copy has the cache's rate

The large product is one of 8192 rows and columns, 1024 on a CPU, in the same precision. The report's grid is 220
trainings in groups of the same k, minibatch and epochs; its time is that of its groups, each one ensemble, one after
another.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from dynlab.devices import resolve_device
from dynlab.training import EpochProgress, TrainingSettings
from dynlab.training.batched import BatchedRun
from dynlab.training.initialization import beginning
from dynlab.training.launches import Launch, Launcher, precision_of_products

DIM, EPOCH = 784, 50_000
SIGMA, LEARNING_RATE = 0.5, 0.1
REPETITIONS = 5


@dataclass(frozen=True)
class Shape:
    """An ensemble, as far as its speed depends on it."""

    members: int
    hidden: int
    batch: int
    walkback: int

    @property
    def operations(self) -> int:
        """Of a step of all members, additions and multiplications."""
        return self.members * (6 * self.walkback - 1) * 2 * self.batch * DIM * self.hidden

    @property
    def weights(self) -> int:
        """Bytes of the weights of all members."""
        return self.members * 2 * 4 * DIM * self.hidden


@dataclass(frozen=True)
class Group:
    """Trainings of the report that differ in sigma, alpha, seed and epochs only."""

    walkback: int
    batch: int
    members: int  # with the same number of epochs
    epochs: tuple[int, ...]


# Section 5.3 of the report, five seeds each: three sigmas and two alphas where k = 1, three sigmas where k is 2 or 3,
# two alphas where it is 4 or 5.
GRID = (
    Group(walkback=1, batch=20, members=30, epochs=(250, 500)),
    Group(walkback=1, batch=50, members=30, epochs=(250, 500)),
    Group(walkback=2, batch=20, members=15, epochs=(100, 250)),
    Group(walkback=3, batch=20, members=15, epochs=(100, 250)),
    Group(walkback=4, batch=20, members=10, epochs=(100, 250)),
    Group(walkback=5, batch=20, members=10, epochs=(100, 250)),
)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description="Speed of the training of ensembles.")
    parser.add_argument("--device", default="auto", help="auto, cpu or a CUDA device")
    parser.add_argument("--samples", type=int, default=10_000, help="samples of a measured epoch")
    parser.add_argument("--members", type=int, nargs="+", default=[30, 1, 5, 120])
    parser.add_argument("--hidden", type=int, nargs="+", default=[500, 250, 1000, 2000])
    parser.add_argument("--batch", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--walkback", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    options = parser.parse_args()
    device = resolve_device(options.device)
    precisions = (False, True) if device.type == "cuda" else (False,)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"
    torch.set_num_threads(1)
    print(f"{name}, torch {torch.__version__}; seconds an epoch of {EPOCH} samples\n")
    shapes = _shapes(options.members, options.hidden, options.batch, options.walkback)
    print_speeds(shapes, options.samples, device, precisions)
    if len(precisions) > 1:
        print_differences(shapes[0], options.samples, device)
    print_grid(options.hidden[0], options.samples, device, precisions)


def print_speeds(shapes: Sequence[Shape], samples: int, device: torch.device, precisions: Sequence[bool]) -> None:
    """The table of seconds and shares of the floor."""
    print("| members | hidden | batch | k | precision | s/epoch | s/epoch and member | TFLOP/s | floor | share |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for tf32 in precisions:
        rate = operations_per_second(device, tf32=tf32)
        for shape in shapes:
            seconds = seconds_per_epoch(shape, samples, device, tf32=tf32)
            steps = EPOCH / shape.batch
            arithmetic, memory = shape.operations / rate, 2 * shape.weights / bytes_per_second(shape.weights, device)
            floor = "arithmetic" if arithmetic > memory else "memory"
            cells = [
                *(shape.members, shape.hidden, shape.batch, shape.walkback, "TF32" if tf32 else "float32"),
                *(
                    f"{seconds:.3g}",
                    f"{seconds / shape.members:.3g}",
                    f"{shape.operations * steps / seconds / 1e12:.3g}",
                ),
                *(floor, f"{max(arithmetic, memory) * steps / seconds:.2f}"),
            ]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        print(f"\nOne large product, {'TF32' if tf32 else 'float32'}: {rate / 1e12:.3g} TFLOP/s\n")


def print_differences(shape: Shape, samples: int, device: torch.device) -> None:
    """What TF32 changes in the results, beside what another seed does."""
    exact, rounded = (_ensemble(shape, samples, device, tf32=tf32, epochs=3) for tf32 in (False, True))
    for run in (exact, rounded):
        while run.epoch < run.epochs:
            run.run_epoch(lambda: False)
    differences = [
        ((value - like).norm() / like.norm()).item()
        for member in range(shape.members)
        for value, like in zip(
            rounded.trained(member).state_dict().values(), exact.trained(member).state_dict().values(), strict=True
        )
    ]
    objectives, like = _objectives(rounded), _objectives(exact)
    of_objectives = statistics.median(abs(a - b) / b for a, b in zip(objectives, like, strict=True))
    print(f"TF32 against float32 after {3 * samples // shape.batch} steps, {shape}:")
    print(f"  parameters, relative: median {statistics.median(differences):.1e}, largest {max(differences):.1e}")
    print(f"  objectives, relative: median {of_objectives:.1e}", end="")
    if shape.members > 1:
        print(f"; over seeds they vary by {statistics.stdev(like) / statistics.mean(like):.1e}", end="")
    print("\n")


def print_grid(hidden: int, samples: int, device: torch.device, precisions: Sequence[bool]) -> None:
    """The time that the report's grid takes."""
    trainings = sum(group.members * len(group.epochs) for group in GRID)
    for tf32 in precisions:
        separate = at_once = operations = 0.0
        for group in GRID:
            shape = Shape(group.members, hidden, group.batch, group.walkback)
            seconds = seconds_per_epoch(shape, samples, device, tf32=tf32)
            separate += sum(group.epochs) * seconds
            at_once += max(group.epochs) * seconds
            operations += sum(group.epochs) * shape.operations * EPOCH / shape.batch
        print(
            f"The report's {trainings} trainings with {hidden} hidden units, {operations / 1e15:.1f} PFLOP, "
            f"{'TF32' if tf32 else 'float32'}: {separate / 3600:.2f} h; {at_once / 3600:.2f} h where those of fewer "
            "epochs are snapshots of the others",
            flush=True,
        )


def seconds_per_epoch(shape: Shape, samples: int, device: torch.device, *, tf32: bool) -> float:
    """Of all members, for `EPOCH` samples, the median of two."""
    run = _ensemble(shape, samples, device, tf32=tf32, epochs=3)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        run.run_epoch(lambda: False)  # waits for the device
        seconds.append(time.perf_counter() - started)
    if not all(isinstance(progress, EpochProgress) for progress in run.progress()):
        raise SystemExit(f"{shape} diverged: these are no measurements")
    return statistics.median(seconds[1:]) * EPOCH / samples


def operations_per_second(device: torch.device, *, tf32: bool) -> float:
    """Of one large product."""
    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.rand(size, size, device=device) for _ in range(2))
    product = torch.empty_like(left)
    with precision_of_products(tf32=tf32):
        return 2 * size**3 / _seconds(lambda: torch.mm(left, right, out=product), device, times=10)


def bytes_per_second(size: int, device: torch.device) -> float:
    """Read and written, of a copy within `size` bytes."""
    halves = torch.zeros(2, size // 8, device=device)
    return size / _seconds(lambda: halves[1].copy_(halves[0]), device, times=50)


def _seconds(work: Callable[[], object], device: torch.device, *, times: int) -> float:
    """Of one piece of work, done many times in a launch; the shortest of some."""

    def launch(planned: Launch) -> None:
        for _ in range(planned.steps):
            work()

    launcher, planned = Launcher(launch, [], device), Launch(rows=1, steps=times)
    seconds = []
    for _ in range(REPETITIONS + 1):
        _wait(device)
        started = time.perf_counter()
        launcher(planned)
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:]) / times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _ensemble(shape: Shape, samples: int, device: torch.device, *, tf32: bool, epochs: int) -> BatchedRun:
    images = torch.rand(samples, DIM, generator=torch.Generator().manual_seed(0)).to(device)
    settings = TrainingSettings(
        sigma=SIGMA,
        walkback=shape.walkback,
        epochs=epochs,
        batch_size=shape.batch,
        learning_rate=LEARNING_RATE,
        hidden=shape.hidden,
    )
    members = [replace(settings, seed=seed) for seed in range(shape.members)]
    systems = [beginning(DIM, member, None, None) for member in members]
    return BatchedRun(images, members, systems, [{}] * len(members), tf32=tf32)


def _objectives(run: BatchedRun) -> list[float]:
    return [progress.objective for progress in run.progress() if isinstance(progress, EpochProgress)]


def _shapes(
    members: Sequence[int], hidden: Sequence[int], batches: Sequence[int], walkbacks: Sequence[int]
) -> list[Shape]:
    """The first of each, and each value of one with the first of the others."""
    base = Shape(members[0], hidden[0], batches[0], walkbacks[0])
    varied = [
        *(replace(base, members=value) for value in members),
        *(replace(base, hidden=value) for value in hidden),
        *(replace(base, batch=value) for value in batches),
        *(replace(base, walkback=value) for value in walkbacks),
    ]
    return list(dict.fromkeys(varied))


if __name__ == "__main__":
    main()

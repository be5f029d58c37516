"""How fast samples are labelled by their attractors, beside plain loops, equilibrium solvers and bare matrix products.

    python benchmarks/orbits.py [--checkpoint dae.safetensors] [--device cpu]

A denoising autoencoder 784-500-784 on the test set of MNIST, on all threads that torch takes. Programs:

    dynlab      `dynlab.iterate` with labels in the map's own precision (`recheck=False`), states not kept
    exact       the same with its defaults: a twin beside each sample, and whom it leaves in doubt goes in float64
    engine      only the iteration of `dynlab.iterate`, each sample to the tolerance; as plain loops, it labels nothing
    dropping    a plain loop: blocks of 1000 samples, each sample dropped once its step length is below the tolerance
    own         the same loop with dynlab's map, whose layers are multiplied by another library where that is faster
    whole       a plain loop: the whole set at once, until the last sample that ever converges has converged
    products    the bare matrix products of the shapes that `dynlab` takes, by the libraries that it takes: the floor
    steps       those that `engine` takes

Plain loops iterate the map as most people write it, two `nn.Linear` with `nn.Sigmoid`; they end at short steps and
label nothing, which is less than what dynlab does. All stop a sample that has not converged after the limit of steps.
Each measurement runs in a process of its own; the programs take turns, round by round; ratios are taken within a round,
and medians over rounds.

Then, once: dynlab's labels are compared with those of plain float32 iteration and with those of float64 iteration, and
torchdeq's solvers, at their defaults but for tolerance and limit, are run on the same map and the first samples.

Without a checkpoint, one is trained first: four walkback steps, sigma 0.7, 60 epochs, a quarter of an hour on a core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trained import CHECKPOINT_HELP, LONG, mnist_autoencoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from dynlab.dynamics import Orbits
    from dynlab.maps import DenoisingAutoencoder, Map

TOLERANCE, MAX_STEPS, BLOCK = 1e-4, 10_000, 1000
SOLVERS, SOLVER_STEPS = ("anderson", "broyden", "fixed_point_iter"), 500
SAME = 1e-2  # distance of a state to its attractor: they stand 0.3 apart or more
RATIOS = (("dropping", "dynlab"), ("own", "dynlab"), ("whole", "dynlab"), ("dropping", "exact"), ("dropping", "engine"))
FLOORS = (("products", "dynlab"), ("steps", "engine"))


def main() -> None:
    """Measure and print the tables; with `--program`, measure once and print the seconds."""
    parser = argparse.ArgumentParser(description="Speed of labels.")
    parser.add_argument("--checkpoint", type=Path, help=CHECKPOINT_HELP)
    parser.add_argument("--samples", type=int, default=10_000, help="test images, the first ones")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each program")
    parser.add_argument("--solver-samples", type=int, default=1000, help="samples that torchdeq gets")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--program", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--facts", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        print(_measure(options))
        return
    with tempfile.TemporaryDirectory() as name:
        options.facts = Path(name) / "facts.json"
        if options.checkpoint is None:
            options.checkpoint = Path(name) / "dae.safetensors"
            mnist_autoencoder(None, LONG).save(options.checkpoint)
        system, images = _load(options)
        facts = _facts(system, images)
        options.facts.write_text(json.dumps({name: facts[name] for name in ("last", "products", "steps")}))
        rounds = [{program: _measured_apart(program, options) for program in PROGRAMS} for _ in range(options.rounds)]
    print(f"{len(images)} test images of MNIST on {_device_name(options.device)}; medians of {len(rounds)} rounds\n")
    for program in PROGRAMS:
        print(f"{program:10}{statistics.median(seconds[program] for seconds in rounds):9.2f} s")
    for slow, fast in RATIOS:
        ratios = [seconds[slow] / seconds[fast] for seconds in rounds]
        print(f"{slow} / {fast}: {statistics.median(ratios):.2f} times (lowest round {min(ratios):.2f})")
    for floor, program in FLOORS:
        shares = [seconds[floor] / seconds[program] for seconds in rounds]
        print(f"share of products in {program}: {statistics.median(shares):.2f} (lowest round {min(shares):.2f})")
    for line in facts["words"]:
        print(line)
    for line in _solvers(system, images[: options.solver_samples], facts["exact"]):
        print(line)


def dynlab(system: DenoisingAutoencoder, images: Tensor, facts: dict[str, Any]) -> None:
    """Labels in the map's own precision."""
    _labels(system, images, recheck=False)


def exact(system: DenoisingAutoencoder, images: Tensor, facts: dict[str, Any]) -> None:
    """Labels that float64 decides where rounding may have decided."""
    _labels(system, images, recheck=True)


def _labels(system: DenoisingAutoencoder, images: Tensor, *, recheck: bool) -> Orbits:
    from dynlab import iterate

    # A sample that circles for good is given up, as the plain loops do.
    return iterate(
        system,
        images,
        tolerance=TOLERANCE,
        max_steps=MAX_STEPS,
        max_exact_steps=3000,
        recheck=recheck,
        keep_states=False,
    )


def engine(system: DenoisingAutoencoder, images: Tensor, facts: dict[str, Any]) -> None:
    """Iteration alone."""
    from dynlab.dynamics.plain import iterate_plainly
    from dynlab.dynamics.sources import Source

    source = Source(system, images, parameter="images")
    for _ in iterate_plainly(system, source, tolerance=TOLERANCE, max_steps=MAX_STEPS):
        pass


def dropping(system: DenoisingAutoencoder, images: Tensor, facts: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Where plain float32 iteration stands when each step length is below the tolerance, and after how many steps."""
    return _dropping(_plain(system), images)


def own(system: DenoisingAutoencoder, images: Tensor, facts: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The same with dynlab's map."""
    return _dropping(system, images)


def _plain(system: DenoisingAutoencoder) -> nn.Module:
    """The same map as torch's own modules."""
    from torch import nn

    parts = [nn.Linear(system.dim, system.hidden), nn.Sigmoid(), nn.Linear(system.hidden, system.dim), nn.Sigmoid()]
    plain = nn.Sequential(*parts).to(system.encoder["weight"].device)
    names = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
    values = system.state_dict()
    plain.load_state_dict({name: values[own] for name, own in zip(plain.state_dict(), names, strict=True)})
    return plain


def _dropping(system: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    ends, steps = torch.empty_like(images), torch.full((len(images),), -1)
    with torch.no_grad():
        for ids in torch.arange(len(images), device=images.device).split(BLOCK):
            states = images[ids]
            for step in range(1, MAX_STEPS + 1):
                following = system(states)
                done = (following - states).norm(dim=1) < TOLERANCE
                if done.any():
                    ends[ids[done]], steps[ids[done].cpu()] = following[done], step
                    ids, following = ids[~done], following[~done]
                states = following
                if not len(ids):
                    break
            ends[ids] = states
    return ends, steps


def whole(system: DenoisingAutoencoder, images: Tensor, facts: dict[str, Any]) -> None:
    """As many steps with all samples as the last one needs that ever converges."""
    import torch

    plain = _plain(system)
    with torch.no_grad():
        states = images
        for _ in range(facts["last"]):
            following = plain(states)
            bool(((following - states).norm(dim=1) < TOLERANCE).all())
            states = following


def products(system: DenoisingAutoencoder, images: Tensor, facts: dict[str, Any]) -> None:
    """The matrix products that `dynlab` takes: of its steps, and of Newton's method and the linearizations."""
    _multiply(images, facts["products"])


def steps(system: DenoisingAutoencoder, images: Tensor, facts: dict[str, Any]) -> None:
    """The matrix products that `engine` takes."""
    _multiply(images, facts["steps"])


def _multiply(images: Tensor, shapes: Sequence[Sequence[Any]]) -> None:
    import torch

    from dynlab.maps.layers import onednn_linear

    with torch.no_grad():
        for rows, inputs, outputs, dtype, library, count in shapes:
            left = torch.rand(rows, inputs, dtype=getattr(torch, dtype), device=images.device)
            right = torch.rand(outputs, inputs, dtype=getattr(torch, dtype), device=images.device)
            out = torch.empty(rows, outputs, dtype=getattr(torch, dtype), device=images.device)
            for _ in range(count):
                if library == "oneDNN":
                    onednn_linear(left, right)
                else:
                    torch.mm(left, right.t(), out=out)


PROGRAMS = {
    "dynlab": dynlab,
    "exact": exact,
    "engine": engine,
    "dropping": dropping,
    "own": own,
    "whole": whole,
    "products": products,
    "steps": steps,
}


def _facts(system: DenoisingAutoencoder, images: Tensor) -> dict[str, Any]:
    """What is measured once: how the labels compare, how long the slowest takes, which products dynlab takes."""
    import torch

    from dynlab.maps import float64_copy

    with _counted_products() as shapes:
        orbits = _labels(system, images, recheck=False)
    with _counted_products() as engine_shapes:
        engine(system, images, {})
    default = _labels(system, images, recheck=True)
    double = _labels(float64_copy(system), images.double(), recheck=True)
    ends, taken_plainly = dropping(system, images, {})
    points = torch.stack([point.state for point in orbits.fixed_points]).to(images)
    # Plain iteration goes on in float32 until it stands at an attractor, or is seen to stand at none.
    plain, plain_map = _nearest(points, ends), _plain(system)
    with torch.no_grad():
        for _ in range(MAX_STEPS // 100):
            away = (plain < 0).nonzero()[:, 0].to(ends.device)
            if not len(away):
                break
            states = ends[away]
            for _ in range(100):
                states = plain_map(states)
            ends[away] = states
            plain[away.cpu()] = _nearest(points, states)
    found = orbits.fixed_point
    different = int((found != plain).sum())
    against = {"float64 iteration": double, "dynlab's defaults": default}
    taken, whole_way = (counts.clamp(min=0).double().mean() for counts in (orbits.steps, taken_plainly))
    steps_taken = f"steps, mean: {taken:.0f}, to the tolerance {whole_way:.0f}, the slowest {int(taken_plainly.max())}"
    words = [
        f"{len(orbits.fixed_points)} attractors; {int((found < 0).sum())} samples without one",
        f"labels that differ from those of plain float32 iteration: {different}",
        *(f"labels that differ from those of {name}: {_differ(orbits, other)}" for name, other in against.items()),
        f"labels of dynlab's defaults that differ from those of float64 iteration: {_differ(default, double)}",
        steps_taken,
    ]
    return {
        "words": words,
        "last": int(taken_plainly.max()),
        "products": [[*shape, count] for shape, count in shapes.items()],
        "steps": [[*shape, count] for shape, count in engine_shapes.items()],
        "exact": double,
    }


def _differ(one: Orbits, other: Orbits) -> int:
    """How many samples have another attractor."""
    import torch

    missing = torch.full((1, one.fixed_points[0].state.shape[0]), torch.inf, dtype=torch.float64)
    ends = [
        torch.cat([torch.stack([point.state for point in orbits.fixed_points]), missing])[orbits.fixed_point]
        for orbits in (one, other)
    ]
    both = torch.isinf(ends[0][:, 0]) & torch.isinf(ends[1][:, 0])
    return int((~((ends[0] - ends[1]).norm(dim=1) < SAME) & ~both).sum())


def _nearest(points: Tensor, states: Tensor) -> Tensor:
    """Index of the attractor that each state stands at, -1 for none."""
    import torch

    found = [
        torch.cdist(part, points, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1) for part in states.split(500)
    ]
    distances, indices = torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])
    return torch.where(distances < SAME, indices, -1).cpu()


class _counted_products:  # noqa: N801
    """Counts the products that an autoencoder takes, by shape, dtype and library; rows filled up for it included.

    No steps are replayed from a CUDA graph meanwhile, where nothing could be counted.
    """

    def __enter__(self) -> Counter[tuple[int, int, int, str, str]]:
        import torch.nn.functional as functional

        from dynlab.dynamics import stepping
        from dynlab.maps import layers

        counts: Counter[tuple[int, int, int, str, str]] = Counter()
        self._torch, self._onednn, self._take = functional.linear, layers.onednn_linear, stepping.Strides.take

        def counted(library: str, multiply: Callable[..., Tensor]) -> Callable[..., Tensor]:
            def linear(states: Tensor, weight: Tensor, *more: Any) -> Tensor:
                dtype = str(states.dtype).removeprefix("torch.")
                counts[len(states), weight.shape[1], weight.shape[0], dtype, library] += 1
                return multiply(states, weight, *more)

            return linear

        def take(self: stepping.Strides, system: Map, states: Tensor, steps: int) -> tuple[Tensor, Tensor]:
            return stepping._steps(system, states, steps, self.copies)

        functional.linear = counted("torch", self._torch)
        layers.onednn_linear = counted("oneDNN", self._onednn)
        stepping.Strides.take = take
        return counts

    def __exit__(self, *error: object) -> None:
        import torch.nn.functional as functional

        from dynlab.dynamics import stepping
        from dynlab.maps import layers

        functional.linear, layers.onednn_linear = self._torch, self._onednn
        stepping.Strides.take = self._take


def _solvers(system: DenoisingAutoencoder, images: Tensor, exact: Orbits) -> list[str]:
    """Time of torchdeq's solvers, and how many samples they take where iteration takes them."""
    import torch
    from torchdeq import get_deq

    targets = torch.stack([point.state for point in exact.fixed_points])
    labels = exact.fixed_point[: len(images)]
    lines = []
    started = time.perf_counter()
    _labels(system, images, recheck=True)
    lines.append(f"torchdeq on {len(images)} samples; dynlab takes {time.perf_counter() - started:.2f} s")
    for solver in SOLVERS:
        equilibrium = get_deq(f_solver=solver, f_max_iter=SOLVER_STEPS, f_tol=TOLERANCE, f_stop_mode="abs").eval()
        started = time.perf_counter()
        with torch.no_grad():
            states = torch.cat([equilibrium(lambda z: system(z), part)[0][-1] for part in images.split(BLOCK)])
        seconds = time.perf_counter() - started
        reached = (states.double().cpu() - targets[labels]).norm(dim=1) < SAME
        share = float((reached & (labels >= 0)).double().mean())
        lines.append(f"  {solver:17}{seconds:8.2f} s, {share:.1%} at the attractor that iteration reaches")
    return lines


def _measure(options: argparse.Namespace) -> float:
    import torch

    system, images = _load(options)
    facts = json.loads(options.facts.read_text())
    with torch.no_grad():
        system(images[:100])  # threads and libraries are there before the clock starts
    started = time.perf_counter()
    PROGRAMS[options.program](system, images, facts)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _measured_apart(program: str, options: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--program", program, "--facts", options.facts, "--device", options.device]
    command += ["--checkpoint", options.checkpoint, "--samples", str(options.samples)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _load(options: argparse.Namespace) -> tuple[DenoisingAutoencoder, Tensor]:
    from dynlab import DenoisingAutoencoder, load_dataset

    images = load_dataset("mnist/test").images[: options.samples]
    return DenoisingAutoencoder.load(options.checkpoint).to(options.device), images.to(options.device)


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device != "cpu" else f"a CPU, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()

"""How fast the leading multipliers are found, beside the eigenvalues of whole Jacobians.

    python benchmarks/spectra.py [--checkpoint dae.safetensors]

The leading six multipliers at 200 fixed points of a denoising autoencoder 784-500-784, on all threads that torch takes.
Two programs:

    dynlab    `dynlab.spectrum`, everything included
    plain     the Jacobians in float64 by `vmap(jacrev)` and all their eigenvalues by `eigvals`, in chunks; numpy's or
              torch's, whichever is faster

Without a checkpoint one is trained first, for three epochs on MNIST. Its fixed points are those that test images reach;
should these be fewer than 200, the images after 50 steps make up for the rest.

Each measurement runs in a process of its own, after a first call on few points that is not counted. The programs take
turns, round by round, so that a machine that is busy at times is so for all of them; ratios are taken within a round,
and medians over rounds. The plain program sees the first points only, since all cost it the same.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from trained import CHECKPOINT_HELP, mnist_autoencoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from dynlab.maps import DenoisingAutoencoder

POINTS, LEADING = 200, 6
PLAIN_POINTS, CHUNK = 40, 20
WARM_UP = 4
IMAGES, BATCH = 2000, 250


def main() -> None:
    """Measure and print the table; with `--program`, measure once and print milliseconds a point."""
    parser = argparse.ArgumentParser(description="Speed of the leading multipliers.")
    parser.add_argument("--checkpoint", type=Path, help=CHECKPOINT_HELP)
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each program")
    parser.add_argument("--program", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        print(_measure(options.program, options.folder))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = _prepare(folder, options.checkpoint)
        rounds = [{program: _measured_apart(program, folder) for program in PROGRAMS} for _ in range(options.rounds)]
        difference = _largest_difference(folder)
    print(f"{LEADING} multipliers at {POINTS} states, {found} of them fixed points; medians of {len(rounds)} rounds\n")
    print(f"{'':9}{'ms/point':>10}{'times plain (lowest round)':>29}")
    for program in PROGRAMS:
        cost = statistics.median(costs[program] for costs in rounds)
        ratios = [costs["plain"] / costs[program] for costs in rounds]
        print(f"{program:9}{cost:10.2f}{f'{statistics.median(ratios):.1f} ({min(ratios):.1f})':>29}")
    print(f"\nlargest difference of a multiplier over {PLAIN_POINTS} points: {difference:.1e}")


def dynlab(autoencoder: DenoisingAutoencoder, states: Tensor) -> Tensor:
    """Leading multipliers by `spectrum`."""
    from dynlab.dynamics.spectra import spectrum

    return spectrum(autoencoder, states, LEADING).eigenvalues


def plain(autoencoder: DenoisingAutoencoder, states: Tensor, *, by_torch: bool = False) -> Tensor:
    """All multipliers, from whole Jacobians by automatic differentiation."""
    import copy

    import numpy as np
    import torch

    exact = copy.deepcopy(autoencoder).double().requires_grad_(False)
    jacobians_at = torch.func.vmap(torch.func.jacrev(lambda state: exact(state[None])[0]))
    parts = []
    for chunk in states.double().split(CHUNK):
        jacobians = jacobians_at(chunk).detach()
        if by_torch:
            parts.append(torch.linalg.eigvals(jacobians))
        else:
            parts.append(torch.from_numpy(np.linalg.eigvals(jacobians.numpy()).astype(np.complex128)))
    return torch.cat(parts)


PROGRAMS = {"dynlab": dynlab, "plain": plain}


def _prepare(folder: Path, checkpoint: Path | None) -> int:
    """Put a checkpoint and the states into the folder; the number of states that are fixed points."""
    import torch
    from safetensors.torch import save_file

    from dynlab.datasets import load_dataset
    from dynlab.dynamics import iterate

    autoencoder = mnist_autoencoder(checkpoint)
    autoencoder.save(folder / "dae.safetensors")
    images = load_dataset("mnist/test").images[:IMAGES]
    points = {}
    for batch in images.split(BATCH):
        for point in iterate(autoencoder, batch, recorded=0, known=list(points.values())).fixed_points:
            points[id(point)] = point
        if len(points) >= POINTS:
            break
    states = [point.state for point in points.values()][:POINTS]
    with torch.no_grad():
        others = images[: POINTS - len(states)]
        for _ in range(50):
            others = autoencoder(others)
    save_file({"states": torch.cat([torch.stack(states), others.double()])}, folder / "states.safetensors")
    return len(states)


def _measure(program: str, folder: Path) -> float:
    """Milliseconds a point; the multipliers go into the folder."""
    import torch
    from safetensors.torch import load_file, save_file

    from dynlab.maps import DenoisingAutoencoder

    autoencoder = DenoisingAutoencoder.load(folder / "dae.safetensors")
    states = load_file(folder / "states.safetensors")["states"]

    def timed(solve: Callable[[Tensor], Tensor], chosen: Tensor) -> tuple[float, Tensor]:
        solve(states[:WARM_UP])
        started = time.perf_counter()
        values = solve(chosen)
        return 1000 * (time.perf_counter() - started) / len(chosen), values

    if program == "dynlab":
        cost, values = timed(lambda chosen: dynlab(autoencoder, chosen), states)
    else:
        both = [
            timed(
                lambda chosen, by_torch=by_torch: plain(autoencoder, chosen, by_torch=by_torch), states[:PLAIN_POINTS]
            )
            for by_torch in (False, True)
        ]
        cost, values = min(both, key=lambda result: result[0])
    save_file({"values": torch.view_as_real(values).contiguous()}, folder / f"{program}.safetensors")
    return cost


def _measured_apart(program: str, folder: Path) -> float:
    command = [sys.executable, __file__, "--program", program, "--folder", str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _largest_difference(folder: Path) -> float:
    """Of the leading moduli, and of each multiplier and the nearest one that the other program found."""
    import torch
    from safetensors.torch import load_file

    found, expected = (
        torch.view_as_complex(load_file(folder / f"{program}.safetensors")["values"])[:PLAIN_POINTS, :]
        for program in ("dynlab", "plain")
    )
    leading = expected.abs().sort(dim=1, descending=True).values[:, :LEADING]
    nearest = (found[:, :LEADING, None] - expected[:, None, :]).abs().amin(dim=2)
    return max(float(nearest.max()), float((found[:, :LEADING].abs() - leading).abs().max()))


if __name__ == "__main__":
    main()

"""`dynlab demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynlab.cli.options import PAGE, Device, Quiet, integer
from dynlab.cli.output import print_summary


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the page and the results.")] = Path("reports/demo"),
    seed: Annotated[int, typer.Option(help="Seed of every random stream.", parser=integer, metavar="INTEGER")] = 0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train on 8 x 8 digits at four corruption levels, analyse, and write one page. Needs no data and no network."""
    from dynlab.devices import resolve_device
    from dynlab.display import shown
    from dynlab.files import check_writable_folder
    from dynlab.folders import check_kind
    from dynlab.studies.demo import run_demo

    check_writable_folder(out, parameter="out")
    check_kind(out, "a demo", parameter="out")
    chosen = resolve_device(device)
    with shown(quiet=quiet) as display:
        analyses = run_demo(out, seed=seed, device=chosen, display=display)
    print_summary(analyses)
    print(f"page: {out / PAGE}")

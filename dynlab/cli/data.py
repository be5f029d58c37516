"""`dynlab data`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dynlab.cli.options import DataDir, Quiet

data_app = typer.Typer(help="Data sets.", rich_markup_mode=None)


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="mnist")],
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Download a data set into the user's cache; check one that a named folder has."""
    from dynlab.datasets import fetch_dataset

    folder = fetch_dataset(name, data_dir=data_dir, progress=not quiet and sys.stderr.isatty())
    print(f"{name}: {folder}")

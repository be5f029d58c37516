"""The command itself. Errors that the user can mend are a line each on stderr, and exit status 2."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from dynlab import __version__
from dynlab.cli.analyse import analyse
from dynlab.cli.compare import compare
from dynlab.cli.data import data_app
from dynlab.cli.demo import demo
from dynlab.cli.ladder import ladder
from dynlab.cli.output import print_error
from dynlab.cli.run import report, run, status
from dynlab.cli.train import train
from dynlab.errors import InputError, SpecificationError

app = typer.Typer(
    name="dynlab",
    help="Where does everything go when a learned map is applied again and again?",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (demo, run, status, report, train, analyse, compare, ladder):
    app.command()(command)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line and exit."""
    if sys.stdout is None:  # closed by what started the program
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no error
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except SpecificationError as error:
        for line in error.lines:
            print_error(line)
        sys.exit(2)
    except (InputError, TyperException) as error:
        print_error(error.format_message() if isinstance(error, TyperException) else str(error))
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush when Python ends
        sys.exit(1)
    except OSError as error:
        print_error(f"{error.filename or 'output'}: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dynlab {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())

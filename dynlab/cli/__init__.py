"""The `dynlab` command: its subcommands, and what they share of options, arguments and output."""

from dynlab.cli.command import main

__all__ = ["main"]

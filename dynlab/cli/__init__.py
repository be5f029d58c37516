"""The `dynlab` command, a module for each of its commands."""

from dynlab.cli.command import main

__all__ = ["main"]

"""Rows of results.csv, for tests."""

from __future__ import annotations

from typing import Any

from dynlab.studies.answers.rows import Row


def row(**changes: Any) -> Row:
    """A row of the report's settings at the high level without walkback, but for what is given."""
    settings = {
        "key": f"{changes.get('seed', 0):064x}",
        "stages": "iterate:0123456789abcdef",
        "sigma": 0.7,
        "corruption": "gaussian",
        "walkback": 1,
        "walkback_variant": "full",
        "loss": "squared-error",
        "contraction": 0.0,
        "hidden": 500,
        "hidden_nonlinearity": "sigmoid",
        "output_nonlinearity": "sigmoid",
        "tied": False,
        "batch_size": 20,
        "annealing": 0.99,
        "epochs": 250,
        "learning_rate": 0.1,
        "seed": 0,
    }
    return Row(**settings | changes)

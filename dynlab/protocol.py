"""How the technical report trained and iterated: what its figures are of, and what settings are compared with.

Source: Bahdanau and Jaeger 2014, sections 4 to 5.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OBJECTIVE: Mapping[str, Any] = {"walkback_variant": "full", "loss": "squared-error", "contraction": 0.0}
# All trainings of table 1 have these, section 5; their corruption is Gaussian.
ALL_TRAININGS: Mapping[str, Any] = {
    **OBJECTIVE,
    "hidden": 500,
    "hidden_nonlinearity": "sigmoid",
    "output_nonlinearity": "sigmoid",
    "tied": False,
    "learning_rate": 0.1,
}
TOLERANCE, SHARE = 1e-4, 0.75  # a set stops once more than this share of its step lengths is below the tolerance

"""How the technical report trained and iterated: what its figures are of, and what settings are compared with.

Source: Bahdanau and Jaeger 2014, sections 4 and 5.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OBJECTIVE: Mapping[str, Any] = {"walkback_variant": "full", "loss": "squared-error", "contraction": 0.0}
TOLERANCE, SHARE = 1e-4, 0.75  # a set stops once more than this share of its step lengths is below the tolerance

"""Which map, which samples and which versions an analysis is about."""

from __future__ import annotations

import math
import platform
from importlib.metadata import version

from dynlab import __version__
from dynlab.datasets import Dataset
from dynlab.evaluation.kinds import black_fraction, white_fraction
from dynlab.evaluation.results import DataIdentity, MapIdentity
from dynlab.maps import Map, map_hash


def shown_shape(system: Map, data: Dataset) -> tuple[int, ...]:
    """The shape in which states are looked at: that of the map, or of the data, where the map has flat states only."""
    own = system.state_shape
    return data.shape if own == (system.dim,) and math.prod(data.shape) == system.dim else own


def map_identity(system: Map, name: str, state_shape: tuple[int, ...]) -> MapIdentity:
    """Which map this is, and how its states are looked at."""
    return MapIdentity(
        name=name,
        kind=type(system).__name__,
        sha256=map_hash(system),
        dim=system.dim,
        state_shape=state_shape,
        description=system.extra_repr(),
        training=dict(getattr(system, "training_settings", {})),
    )


def data_identity(data: Dataset) -> DataIdentity:
    """Which samples these are."""
    return DataIdentity(
        name=data.name,
        sha256=data.sha256,
        samples=len(data.images),
        labelled=data.labels is not None,
        black_fraction=float(black_fraction(data.images).mean()),
        white_fraction=float(white_fraction(data.images).mean()),
    )


def versions_used() -> dict[str, str]:
    """Versions of dynlab, Python and the libraries that results depend on."""
    packages = {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")}
    return {"dynlab": __version__, "python": platform.python_version(), **packages}

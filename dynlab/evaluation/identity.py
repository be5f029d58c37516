"""Which map, which samples and which versions an analysis is about."""

from __future__ import annotations

import platform
from importlib.metadata import version

from dynlab import __version__
from dynlab.datasets import Dataset
from dynlab.evaluation.kinds import black_fraction, white_fraction
from dynlab.evaluation.results import DataIdentity, MapIdentity
from dynlab.maps import Map, map_hash


def map_identity(system: Map, name: str) -> MapIdentity:
    """Which map this is."""
    return MapIdentity(
        name=name,
        kind=type(system).__name__,
        sha256=map_hash(system),
        dim=system.dim,
        state_shape=tuple(system.state_shape),
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

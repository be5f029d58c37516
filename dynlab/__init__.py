"""dynlab: where does everything go when a learned map is applied again and again?

    import dynlab as dl
    dae = dl.DenoisingAutoencoder.load("dae.safetensors")
    orbits = dl.iterate(dae, images)

Names are imported when first used, so that `import dynlab` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynlab.attractors import Basins as Basins
    from dynlab.attractors import basins_of_attraction as basins_of_attraction
    from dynlab.datasets import Dataset as Dataset
    from dynlab.datasets import load_dataset as load_dataset
    from dynlab.dynamics import Orbits as Orbits
    from dynlab.dynamics import Status as Status
    from dynlab.dynamics import iterate as iterate
    from dynlab.dynamics import multipliers as multipliers
    from dynlab.dynamics import spectral_radius as spectral_radius
    from dynlab.dynamics import transform as transform
    from dynlab.errors import InputError as InputError
    from dynlab.evaluation import Analysis as Analysis
    from dynlab.evaluation import AnalysisSettings as AnalysisSettings
    from dynlab.evaluation import Kind as Kind
    from dynlab.evaluation import Outcome as Outcome
    from dynlab.evaluation import analyse as analyse
    from dynlab.maps import DenoisingAutoencoder as DenoisingAutoencoder
    from dynlab.maps import Map as Map
    from dynlab.report import write_report as write_report
    from dynlab.training import TrainingSettings as TrainingSettings
    from dynlab.training import train as train

__version__ = "0.1.0"

_HOME = {
    "Analysis": "dynlab.evaluation",
    "AnalysisSettings": "dynlab.evaluation",
    "Basins": "dynlab.attractors",
    "Dataset": "dynlab.datasets",
    "DenoisingAutoencoder": "dynlab.maps",
    "InputError": "dynlab.errors",
    "Kind": "dynlab.evaluation",
    "Map": "dynlab.maps",
    "Orbits": "dynlab.dynamics",
    "Outcome": "dynlab.evaluation",
    "Status": "dynlab.dynamics",
    "TrainingSettings": "dynlab.training",
    "analyse": "dynlab.evaluation",
    "basins_of_attraction": "dynlab.attractors",
    "iterate": "dynlab.dynamics",
    "load_dataset": "dynlab.datasets",
    "multipliers": "dynlab.dynamics",
    "spectral_radius": "dynlab.dynamics",
    "train": "dynlab.training",
    "transform": "dynlab.dynamics",
    "write_report": "dynlab.report",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'dynlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])

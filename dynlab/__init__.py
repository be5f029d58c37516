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
    from dynlab.errors import InputError as InputError
    from dynlab.maps import DenoisingAutoencoder as DenoisingAutoencoder
    from dynlab.maps import Map as Map

__version__ = "0.1.0"

_HOME = {
    "InputError": "dynlab.errors",
    "Map": "dynlab.maps",
    "DenoisingAutoencoder": "dynlab.maps",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'dynlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""What all tests share. Array shapes in signatures are checked here, by beartype, and nowhere else."""

from __future__ import annotations

from jaxtyping import install_import_hook

# The packages whose signatures carry shapes; the hook must be in place before they are imported.
install_import_hook(
    ["dynlab.maps", "dynlab.training", "dynlab.dynamics", "dynlab.attractors", "dynlab.evaluation"],
    "beartype.beartype",
)

import pytest  # noqa: E402
import torch  # noqa: E402

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: run on a machine with a GPU"),
        ],
    ),
]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device at hand; CUDA is skipped, and says so, where there is none."""
    return torch.device(request.param)

"""What tests of studies share."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage_runs import run_stages


@pytest.fixture(scope="session")
def stage_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders that all stages have filled for the tiny study of `stage_runs`; tests must not change them."""
    return run_stages(tmp_path_factory.mktemp("stages"))

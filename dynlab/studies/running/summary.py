"""What a run of a study did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dynlab.studies.running.failures import Failure


@dataclass(frozen=True)
class Summary:
    """What a run did, by the names of tasks."""

    computed: tuple[str, ...]
    reused: tuple[str, ...]
    failed: tuple[Failure, ...]
    not_run: tuple[str, ...]  # as what they need failed
    stopped: tuple[str, ...]  # or never begun, as the run was interrupted
    set_aside: tuple[Path, ...]  # what was damaged
    seconds: float

    @property
    def interrupted(self) -> bool:
        """Whether the run ended before its end."""
        return bool(self.stopped)

    @property
    def complete(self) -> bool:
        """Whether all there is to know of the study is in the store."""
        return not (self.failed or self.not_run or self.stopped)

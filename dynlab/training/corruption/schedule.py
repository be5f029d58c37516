"""Which corruption is used in which epoch."""

from __future__ import annotations

from dataclasses import dataclass

from dynlab.training.corruption.corruption import Corruption


@dataclass(frozen=True)
class Phase:
    """A corruption that is used up to an epoch."""

    corruption: Corruption
    last_epoch: int | None  # the last one it is used in; None for the phase that never ends

    def __str__(self) -> str:
        return str(self.corruption) if self.last_epoch is None else f"{self.corruption} until {self.last_epoch}"


@dataclass(frozen=True)
class Schedule:
    """Corruptions by epoch. Its text (`str`) holds every level, and `parse_schedule` reads it back."""

    phases: tuple[Phase, ...]  # at least one, by rising `last_epoch`; the last one alone has none

    def at(self, epoch: int) -> Corruption:
        """The corruption in an epoch, from 1 on."""
        return next(phase.corruption for phase in self.phases if phase.last_epoch is None or epoch <= phase.last_epoch)

    @property
    def learns(self) -> bool:
        """Whether a network that is trained beside the map has a part in it."""
        return any(phase.corruption.learns for phase in self.phases)

    def __str__(self) -> str:
        return ", ".join(str(phase) for phase in self.phases)

"""Corrupt the images of several members of an ensemble at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dynlab.training.corruption.corruption import Corruption


def stack_corruptions(corruptions: Sequence[Corruption], device: torch.device) -> list[tuple[list[int], Corruption]]:
    """Group members whose corruptions differ in their levels only.

    Args:
        corruptions: Of each member.
        device: Where images are corrupted.

    Returns:
        For each group its members, rising, and one corruption for all of them, which takes draws of shape
        (members, rows). A member gets what its own corruption makes of its images, bit for bit on one device.
    """
    groups: dict[object, list[int]] = {}
    for member, corruption in enumerate(corruptions):
        groups.setdefault(corruption.structure, []).append(member)
    return [(members, _stacked([corruptions[member] for member in members], device)) for members in groups.values()]


def _stacked(alike: Sequence[Corruption], device: torch.device) -> Corruption:
    columns = zip(*(corruption.numbers for corruption in alike), strict=True)
    return alike[0].with_numbers(
        [torch.tensor(column, dtype=torch.float64, device=device).view(-1, 1, 1) for column in columns]
    )

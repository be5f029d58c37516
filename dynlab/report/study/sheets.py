"""Pictures of a study as files of their own, for the README that stands beside its page.

A sheet is a table of pictures of the page, drawn larger and without its words: these are its description.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynlab.report.study.parts import PictureTable, StudyPage

# Sections that have a sheet, and how many of their tables of pictures stand on it.
_SHEETS = {"films": 1, "fixed_points": 2, "explosions": 1}
_GAP, _APART, _WHITE = 4, 16, 255
_SIDE = 56  # pixels that a picture shall at least have


@dataclass(frozen=True)
class Sheet:
    """A picture file."""

    name: str
    description: str
    pixels: NDArray[np.uint8]


def sheets_of(page: StudyPage) -> list[Sheet]:
    """The sheets that a page has pictures for."""
    sheets = []
    for section in page.sections:
        tables = [table for part in section.parts for table in part.pictures if not table.is_strips]
        tables = [table for table in tables if _all(table)][: _SHEETS.get(section.anchor, 0)]
        if tables:
            description = " ".join(_description(table) for table in tables)
            sheets.append(Sheet(f"{section.anchor}.png", description, sheet_pixels(tables)))
    return sheets


def sheet_pixels(tables: Sequence[PictureTable]) -> NDArray[np.uint8]:
    """Tables of pictures below each other; places without a picture are white."""
    shown = [pixels for table in tables for pixels in _all(table)]
    largest = [max(pixels.shape[axis] for pixels in shown) for axis in (0, 1)]
    scale = max(2, math.ceil(_SIDE / max(largest)))
    height, width = (scale * side for side in largest)
    columns = max(len(pictures) for table in tables for _, pictures in table.rows)
    apart = {column for table in tables for column in table.apart}
    lefts = [column * (width + _GAP) + _APART * sum(one <= column for one in apart) for column in range(columns)]
    lines, top = [], 0
    for number, table in enumerate(tables):
        top += _APART if number else 0
        for _, pictures in table.rows:
            lines.append((top, pictures))
            top += height + _GAP
    sheet = np.full((top - _GAP, lefts[-1] + width, 3), _WHITE, dtype=np.uint8)
    for line, pictures in lines:
        for left, picture in zip(lefts, pictures, strict=False):
            if picture is not None:
                pixels = picture.pixels.repeat(scale, axis=0).repeat(scale, axis=1)
                pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
                sheet[line : line + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return sheet[:, :, 0] if all(pixels.ndim == 2 for pixels in shown) else sheet


def _all(table: PictureTable) -> list[NDArray[np.uint8]]:
    return [picture.pixels for _, pictures in table.rows for picture in pictures if picture is not None]


def _description(table: PictureTable) -> str:
    rows = "; ".join(label for label, _ in table.rows)
    first = table.groups[0][1] if table.groups else len(table.heads) - 1  # of groups that are all alike
    columns = ", ".join(head for head in table.heads[1 : 1 + first] if head)
    groups = f", for each of {'; '.join(name for name, _ in table.groups)}" if table.groups else ""
    return f"{table.words}. Rows: {rows}. Columns: {columns}{groups}."

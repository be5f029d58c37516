"""What the page of a study is built of: parts with words, tables, charts and pictures, all plain values.

Who gathers the answers of a study fills these; `dynlab.report.study.page` makes HTML of them and escapes all text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dynlab.report.drawing import Drawing, drawing_of
from dynlab.report.png import png_uri

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Table:
    """Rows of words and numbers, as they stand on the page; the first cell of a row names it."""

    words: str  # what it is, for readers who cannot see it
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]  # as many cells each as there are heads
    note: str = ""  # below it

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.heads):
                raise ValueError(f"rows has one of {len(row)} cells, expected {len(self.heads)} as there are heads")


@dataclass(frozen=True)
class Chart:
    """A figure with what is above it."""

    heading: str  # empty where the part says it
    drawing: Drawing

    @staticmethod
    def of(heading: str, anchor: str, figure: go.Figure, words: str) -> list[Chart]:
        """The chart of a figure; none where there is nothing in it. Arguments as in `drawing_of`."""
        drawing = drawing_of(anchor, figure, words)
        return [] if drawing is None else [Chart(heading, drawing)]


@dataclass(frozen=True)
class Picture:
    """A small picture."""

    pixels: NDArray[np.uint8]  # as `encode_png` takes them
    words: str

    @property
    def source(self) -> str:
        """It as a data URI."""
        return png_uri(self.pixels)


@dataclass(frozen=True)
class Scale:
    """The legend of a colour scale: a bar, and what its ticks say, evenly spaced from its left to its right end."""

    source: str
    words: str
    ticks: Sequence[str]


@dataclass(frozen=True)
class PictureTable:
    """Rows of pictures under common heads."""

    words: str
    heads: Sequence[str]  # of all columns, the first that of the names of rows
    rows: Sequence[tuple[str, Sequence[Picture | None]]]
    groups: Sequence[tuple[str, int]] = ()  # heads over so many columns each, from the first column of pictures on
    apart: frozenset[int] = frozenset()  # columns of pictures, from 0, with a gap before them
    scale: Scale | None = None
    is_strips: bool = False  # states that are no images


@dataclass(frozen=True)
class Part:
    """A part of a section: its words first, then its tables, charts and pictures."""

    heading: str = ""
    words: Sequence[str] = ()  # paragraphs
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    pictures: Sequence[PictureTable] = ()
    folded: str = ""  # if given, all but the words is folded away under it


@dataclass(frozen=True)
class StudySection:
    """A section of the page, with an entry in its list of contents."""

    anchor: str
    title: str
    lede: str = ""
    parts: Sequence[Part] = ()


@dataclass(frozen=True)
class Link:
    """A link to a file beside the page."""

    target: str
    words: str


@dataclass(frozen=True)
class Failed:
    """What failed, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class StudyPage:
    """All that the page of a study shows."""

    title: str
    question: str
    introduction: Sequence[str]  # sentences
    failures: Sequence[Failed] = ()
    discussion: str = ""  # Markdown: paragraphs, lists, emphasis, code
    links: Sequence[Link] = ()
    sections: Sequence[StudySection] = ()
    identity: Sequence[tuple[str, str]] = field(default=())  # what exactly was computed

"""Tables of pictures as files of their own."""

from __future__ import annotations

import numpy as np

from dynlab.report.study.parts import Part, Picture, PictureTable, StudyPage, StudySection
from dynlab.report.study.sheets import sheet_pixels, sheets_of


def table(rows: int, columns: int, *, colours: bool = False, is_strips: bool = False) -> PictureTable:
    """Pictures of 3 x 4 pixels, each of its own grey, with a gap before the second column and one missing."""
    shape = (3, 4, 3) if colours else (3, 4)
    made: list[tuple[str, list[Picture | None]]] = [
        (f"map {row}", [Picture(np.full(shape, 10 * row + column, np.uint8), "") for column in range(columns)])
        for row in range(rows)
    ]
    made[0][1][-1] = None
    heads = ["", *map(str, range(columns))]
    return PictureTable("Films", heads, made, [("8", columns)], apart=frozenset({1}), is_strips=is_strips)


def page(*tables: PictureTable) -> StudyPage:
    parts = [Part(pictures=[one]) for one in tables]
    return StudyPage("", "", [], sections=[StudySection(name, "", "", parts) for name in ("films", "weights")])


def test_each_picture_stands_in_its_row_and_column() -> None:
    sheet = sheet_pixels([table(2, 3), table(1, 2)])
    # So large that the longer side has 56 pixels: columns of 56, gaps of 4 and 16; rows of 42, gaps of 4 and 16.
    lefts, tops = (0, 56 + 4 + 16, 2 * (56 + 4) + 16), (0, 42 + 4, 2 * (42 + 4) + 16)
    expected = np.full((tops[-1] + 42, lefts[-1] + 56), 255)
    for top, row, columns in zip(tops, (0, 1, 0), ((0, 1), (0, 1, 2), (0,)), strict=True):
        for column in columns:
            expected[top : top + 42, lefts[column] : lefts[column] + 56] = 10 * row + column
    np.testing.assert_array_equal(sheet, expected)


def test_greys_beside_colours_are_colours() -> None:
    grey, colour = table(1, 2), table(1, 2, colours=True)
    sheet = sheet_pixels([grey, colour])
    assert sheet.shape[2] == 3
    np.testing.assert_array_equal(sheet[:, :, 0], sheet_pixels([grey, grey]))


def test_sections_with_pictures_have_sheets_and_states_that_are_no_images_have_none() -> None:
    (sheet,) = sheets_of(page(table(2, 3), table(1, 2)))
    assert sheet.name == "films.png"
    assert sheet.description == "Films. Rows: map 0; map 1. Columns: 0, 1, 2, for each of 8."
    np.testing.assert_array_equal(sheet.pixels, sheet_pixels([table(2, 3)]))
    assert sheets_of(page(table(2, 3, is_strips=True))) == sheets_of(page()) == []
    empty = PictureTable("Films", ["", "a"], [("map", [None])])
    assert sheets_of(page(empty)) == []

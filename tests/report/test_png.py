"""Pictures decode back to what they were made of, by the tests' own decoder."""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from dynlab.report.png import description_in, encode_png, png_uri

Decode = Callable[[bytes], NDArray[np.uint8]]


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (3, 7), (1, 500), (5, 4, 3)])
def test_decodes_back(decode_png: Decode, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(pixels)), pixels)


def test_a_description_is_kept(decode_png: Decode) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    png = encode_png(pixels, "σ = 0.3\nand more")
    np.testing.assert_array_equal(decode_png(png), pixels)
    assert description_in(png) == "σ = 0.3\nand more"
    for other in (encode_png(pixels), b"", b"no picture at all", *(png[:cut] for cut in range(40))):
        assert description_in(other) == ""


def test_uri_holds_the_file(decode_png: Decode) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    head, _, body = png_uri(pixels).partition(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(decode_png(base64.b64decode(body)), pixels)


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros((0, 3), np.uint8), np.zeros((2, 2, 4), np.uint8)])
def test_what_is_no_picture_is_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="pixels is"):
        encode_png(pixels)

"""Small pictures as PNG, written with nothing but zlib.

Source: Portable Network Graphics Specification (third edition), W3C 2025, sections 5 (datastream), 9 (filtering) and
11 (chunks).
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREYSCALE, _RGB = 0, 2
# Begins international text: its keyword, that it is not compressed, no language, no translated keyword.
_DESCRIPTION = b"Description\0\0\0\0\0"


def encode_png(pixels: NDArray[np.uint8], description: str = "") -> bytes:
    """A picture as a PNG file.

    Args:
        pixels: Shape (height, width) for greys or (height, width, 3) for red, green and blue, 0 to 255; at least one
            pixel.
        description: What it shows, kept in the file; see `description_in`.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: If `pixels` has another shape or type.
    """
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not is_picture or pixels.size == 0:
        raise ValueError(
            f"pixels is {pixels.dtype} of shape {pixels.shape}, expected uint8 of (height, width) or (height, width, 3)"
        )
    height, width = pixels.shape[:2]
    colour = _GREYSCALE if pixels.ndim == 2 else _RGB
    rows = pixels.reshape(height, -1)
    # Each row begins with the number of its filter; 0 is none, which is as small as any on pictures this small.
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"".join(
        [
            _SIGNATURE,
            _chunk(b"IHDR", header),
            *([_chunk(b"iTXt", _DESCRIPTION + description.encode())] if description else []),
            _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def description_in(png: bytes) -> str:
    """What a file by `encode_png` says that it shows; nothing if it says nothing, or is something else."""
    place = len(_SIGNATURE)
    while png.startswith(_SIGNATURE) and place + 12 <= len(png):
        length, name = struct.unpack_from(">I4s", png, place)
        data = png[place + 8 : place + 8 + length]
        if name == b"iTXt" and len(data) == length and data.startswith(_DESCRIPTION):
            return data.removeprefix(_DESCRIPTION).decode("utf-8", "replace")
        place += length + 12
    return ""


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """A picture as a data URI, to stand in the `src` of an image."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(pixels)).decode('ascii')}"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

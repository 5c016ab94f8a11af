"""Which picture formats are read, and how their readers fail."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from PIL import Image

_READ = ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "AVIF", "BMP"]
"""By Pillow's names. What a file is, is decided by its content: one that is called a JPEG may hold anything, and Pillow would
hand PostScript to a program that runs what is written in it."""

try:
    import pillow_heif

    pillow_heif.register_heif_opener()
    _READ.append("HEIF")
except ImportError:
    pass  # HEIC is read where its plugin for Pillow is installed

PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""All that Pillow raises for damaged files; SyntaxError is what its PNG and TIFF readers use."""


def opened(path: Path) -> Image.Image:
    """A picture whose head is read; to be closed.

    Raises:
        UnidentifiedImageError: it is in none of the formats that are read.
        OSError: likewise for other reasons; see `PILLOW_ERRORS`.
    """
    return Image.open(path, formats=_READ)

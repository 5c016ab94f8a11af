"""Pictures with 16 bits per value, for which Pillow has no RGB mode. OpenCV reads and writes the pixels of a PNG."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nstpipe.media.frame import in_sixteen_bits
from nstpipe.media.pictures import tiff_pixels
from nstpipe.media.pictures.tiff import first_directory
from nstpipe.media.pictures.tiff_tags import FileContent, first_tags
from nstpipe.system.raw_messages import discard_raw_messages

PNG_COMPRESSION = 6
"""The compression level, 0 to 9; this one is the default of most programs."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BITS_OFFSET = 24
"""The offset of the bit depth in a PNG: in IHDR, which is always the first chunk."""

_PIXEL_CHUNKS = (b"IHDR", b"IDAT", b"IEND")
_BITS_A_SAMPLE, _IMAGE_WIDTH = 258, 256


def is_deep(path: Path) -> bool:
    """Whether a picture is read with more than 8 bits per value, from its head."""
    with path.open("rb") as file:
        head = file.read(_PNG_BITS_OFFSET + 1)
        if head.startswith(_PNG_SIGNATURE):
            return len(head) > _PNG_BITS_OFFSET and head[_PNG_BITS_OFFSET] == 16
        tags = first_tags(FileContent(file))
        return tags is not None and tiff_pixels.is_deep(tags) and tiff_pixels.can_decode(tags)


def deep_png(path: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None]:
    """The pixels of a PNG with 16 bits per value as they are stored, not turned upright.

    Returns:
        The colors, height x width x 3, RGB; and the alpha channel, height x width, or None.

    Raises:
        OSError: The file cannot be decoded.
    """
    import cv2

    content = np.frombuffer(path.read_bytes(), np.uint8)
    try:
        with discard_raw_messages():
            stored = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise OSError(str(error)) from error
    if stored is None:
        raise OSError("its pixels cannot be decoded")
    values = in_sixteen_bits(stored)
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[2] in (1, 2):
        alpha = values[..., 1] if values.shape[2] == 2 else None
        return np.repeat(values[..., :1], 3, axis=2), alpha
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    return np.ascontiguousarray(values[..., 2::-1]), alpha


def encoded_png(pixels: NDArray[np.uint16], **options: Any) -> bytes:
    """A PNG with 16 bits per value.

    Args:
        pixels: height x width x 3 or 4, RGB or RGBA.
        options: Options of Pillow's ``save`` for the metadata.
    """
    import cv2

    order = [2, 1, 0, 3][: pixels.shape[2]]
    fine, content = cv2.imencode(".png", pixels[..., order], [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])
    if not fine:
        raise OSError("OpenCV cannot encode it")
    deep = content.tobytes()
    carrier = io.BytesIO()
    Image.new("RGB", (1, 1)).save(carrier, format="PNG", **options)
    beside = b"".join(chunk for chunk in _chunks(carrier.getvalue()) if chunk[4:8] not in _PIXEL_CHUNKS)
    header_end = len(_PNG_SIGNATURE) + 25
    return deep[:header_end] + beside + deep[header_end:]


def _chunks(png: bytes) -> list[bytes]:
    found, place = [], len(_PNG_SIGNATURE)
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        found.append(png[place : place + 12 + length])
        place += 12 + length
    return found


def encoded_tiff(pixels: NDArray[np.uint16], **options: Any) -> bytes:
    """A TIFF with 16 bits per value.

    Pillow writes the two bytes of each value as two values of a picture that is twice as wide. Then the width and the depth
    in the file's head are corrected.

    Args:
        pixels: height x width x 3 or 4, RGB or RGBA.
        options: Options of Pillow's ``save`` for the metadata.
    """
    height, width, channels = pixels.shape
    bytes_of_values = np.ascontiguousarray(pixels, "<u2").view(np.uint8).reshape(height, 2 * width, channels)
    content = io.BytesIO()
    Image.fromarray(bytes_of_values).save(content, format="TIFF", **options)
    tiff = bytearray(content.getvalue())
    if tiff[:4] != b"II*\x00":
        raise OSError("Pillow has written its values with the high byte first")
    directory = first_directory(tiff)
    assert directory is not None
    directory.put(tiff, _IMAGE_WIDTH, width)
    struct.pack_into(f"<{channels}H", tiff, directory.value(tiff, _BITS_A_SAMPLE), *[16] * channels)
    return bytes(tiff)

"""Pictures with 16 bits per value, for which Pillow has no RGB mode: OpenCV reads their pixels, Pillow all else."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from nstpipe.media.frame import in_sixteen_bits
from nstpipe.media.pictures.tiff import first_directory
from nstpipe.system.raw_messages import discard_raw_messages

PNG_COMPRESSION = 6
"""The compression level, 0 to 9; this one is the default of most programs."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BITS_OFFSET = 24
"""The offset of the bit depth in a PNG: in IHDR, which is always the first chunk."""

_PIXEL_CHUNKS = (b"IHDR", b"IDAT", b"IEND")
_BITS_A_SAMPLE, _SAMPLE_FORMAT, _IMAGE_WIDTH, _IMAGE_LENGTH = 258, 339, 256, 257
_PHOTOMETRIC, _PLANAR = 262, 284
_WHITE_IS_ZERO, _INKS = 0, 5
"""Values of a TIFF's photometric interpretation: for negatives, and for CMYK."""
_PLANES_APART = 2
"""The value of a TIFF's planar configuration for colors that are stored in separate planes."""
_WHOLE_NUMBERS, _FLOATS = 1, 3
"""Values of a TIFF's sample format."""


def is_deep(path: Path, image: Image.Image) -> bool:
    """Whether a picture is read with more than 8 bits per value.

    Args:
        path: The file.
        image: The file as Pillow has opened it.
    """
    with path.open("rb") as file:
        head = file.read(_PNG_BITS_OFFSET + 1)
    if head.startswith(_PNG_SIGNATURE):
        return len(head) > _PNG_BITS_OFFSET and head[_PNG_BITS_OFFSET] == 16
    if not head.startswith((b"II*\x00", b"MM\x00*")):
        return False
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) == _INKS or (tags.get(_PLANAR) == _PLANES_APART and len(tags.get(_BITS_A_SAMPLE, ())) > 1):
        return False  # OpenCV cannot read the first, and reads the second as white. Pillow reads both with 8 bits
    bits, kind = tags.get(_BITS_A_SAMPLE, (8,)), tags.get(_SAMPLE_FORMAT, (1,))
    return max(bits) == 16 or _FLOATS in tuple(kind)


def tiff_size(path: Path) -> tuple[int, int] | None:
    """The width and height in pixels of a TIFF that `deep_pixels` can read, from its head; None for any other file."""
    tags = _tags(path)
    bits, kinds = tags.get(_BITS_A_SAMPLE, (1,)), set(tags.get(_SAMPLE_FORMAT, (_WHOLE_NUMBERS,)))
    if not tags or not (kinds == {_FLOATS} or (kinds == {_WHOLE_NUMBERS} and max(bits) <= 16)):
        return None
    return tags[_IMAGE_WIDTH], tags[_IMAGE_LENGTH]


def _tags(path: Path) -> Mapping[int, Any]:
    """The tags of a TIFF, even if Pillow cannot read its pixels; empty for any other file."""
    with path.open("rb") as file:
        head = file.read(8)
        if not head.startswith((b"II*\x00", b"MM\x00*")):
            return {}
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(directory.next)
        directory.load(file)
        return directory


def deep_pixels(path: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None]:
    """The pixels of a picture with 16 or 32 bits per value as they are stored, not turned upright.

    Floating-point values are clipped to 0 to 1.

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
    values = _of_any_kind(stored)
    if values.ndim == 2:
        values = values[..., None]
    if _tags(path).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values[..., 0] = 65535 - values[..., 0]  # OpenCV gives gray values as they are stored
    if values.shape[2] in (1, 2):
        alpha = values[..., 1] if values.shape[2] == 2 else None
        return np.repeat(values[..., :1], 3, axis=2), alpha
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    return np.ascontiguousarray(values[..., 2::-1]), alpha


def _of_any_kind(stored: NDArray[Any]) -> NDArray[np.uint16]:
    if stored.dtype == np.uint8 or stored.dtype == np.uint16:
        return in_sixteen_bits(stored)
    if np.issubdtype(stored.dtype, np.floating):
        levels: NDArray[np.uint16] = (np.nan_to_num(stored).clip(0, 1) * 65535).round().astype(np.uint16)
        return levels
    raise OSError(f"its values are {stored.dtype}, which is not supported")


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

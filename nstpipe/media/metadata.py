"""The few changes that a picture's metadata needs when its pixels have been turned upright and resized."""

from __future__ import annotations

import re
import struct

ORIENTATION_TAG = 0x0112
UPRIGHT = 1

_EXIF_HEADER = b"Exif\x00\x00"
_TIFF_LONG = 4


def upright_exif(exif: bytes) -> bytes:
    r"""The EXIF block with its orientation set to upright and every other byte as it was.

    Writing the block anew would be simpler, but breaks maker notes, whose offsets count from the block's start.

    Args:
        exif: as Pillow gives it: ``Exif\0\0`` and a TIFF structure (Exif 2.32, section 4.5).

    Returns:
        The block; unchanged where it has no orientation or is damaged.
    """
    start = len(_EXIF_HEADER) if exif.startswith(_EXIF_HEADER) else 0
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2])
    if order is None:
        return exif
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, start + 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, start + directory)
        for index in range(entries):
            place = start + directory + 2 + 12 * index
            tag, kind, _, _ = struct.unpack_from(f"{order}HHII", exif, place)
            if tag == ORIENTATION_TAG:
                value = struct.pack(f"{order}I" if kind == _TIFF_LONG else f"{order}H", UPRIGHT)
                return exif[: place + 8] + value + exif[place + 8 + len(value) :]
    except struct.error:
        return exif
    return exif


_XMP_WIDTHS = (
    "FullPanoWidthPixels",
    "CroppedAreaImageWidthPixels",
    "CroppedAreaLeftPixels",
    "LargestValidInteriorRectLeft",
    "LargestValidInteriorRectWidth",
)
_XMP_HEIGHTS = (
    "FullPanoHeightPixels",
    "CroppedAreaImageHeightPixels",
    "CroppedAreaTopPixels",
    "LargestValidInteriorRectTop",
    "LargestValidInteriorRectHeight",
)


def adapted_xmp(xmp: bytes, scale_x: float, scale_y: float) -> bytes:
    """The XMP packet with its orientation upright and its panorama's sizes (GPano, Photo Sphere) scaled.

    Args:
        xmp: the packet, as attributes or as elements.
        scale_x: new width over old.
        scale_y: new height over old.
    """
    xmp = _replaced(xmp, "tiff", ("Orientation",), lambda _: UPRIGHT)
    xmp = _replaced(xmp, "GPano", _XMP_WIDTHS, lambda pixels: round(pixels * scale_x))
    return _replaced(xmp, "GPano", _XMP_HEIGHTS, lambda pixels: round(pixels * scale_y))


def _replaced(xmp: bytes, prefix: str, names: tuple[str, ...], change: object) -> bytes:
    assert callable(change)
    pattern = rf"(<?{prefix}:(?:{'|'.join(names)})(?:\s*=\s*[\"']|>\s*))(\d{{1,15}}(?:\.\d+)?)(?![\d.])"
    return re.sub(pattern.encode(), lambda match: match[1] + str(change(float(match[2]))).encode(), xmp)


def is_full_panorama(xmp: bytes | None) -> bool:
    """Whether an XMP packet says that the picture goes all the way round (GPano: equirectangular and not cropped)."""
    if xmp is None or not re.search(rb"GPano:ProjectionType\s*(?:=\s*[\"']|>\s*)equirectangular", xmp):
        return False
    widths = {
        name: re.search(rf"GPano:{name}\s*(?:=\s*[\"']|>\s*)(\d+)".encode(), xmp)
        for name in ("FullPanoWidthPixels", "CroppedAreaImageWidthPixels")
    }
    full, cropped = widths.values()
    return full is None or cropped is None or full[1] == cropped[1]

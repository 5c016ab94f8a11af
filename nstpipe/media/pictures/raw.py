"""Recognizes raw files of cameras, and other files that begin with a small preview, which must not be taken for the picture."""

from __future__ import annotations

import struct
from pathlib import Path

from nstpipe.media.pictures.tiff_tags import TIFF_HEADS, FileContent, TagDirectory, first_tags
from nstpipe.media.signature import SIGNATURE_BYTES, Signature, matches, starts_with
from nstpipe.system.files import check_is_no_special_file

RAW_SUFFIXES = (
    ".3fr", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25",
    ".kdc", ".mdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef", ".ptx", ".raf", ".raw", ".rw2", ".rwl",
    ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
"""The suffixes of raw files, in lower case."""

DEVELOP_FIRST = (
    "Develop it in a raw converter first, such as darktable or RawTherapee, and give the TIFF or JPEG that it writes."
)
"""What to do with a raw file."""

_SIGNATURES: tuple[Signature, ...] = (
    starts_with(b"FUJIFILMCCD-RAW"[:SIGNATURE_BYTES]),
    starts_with(b"IIRO"),  # Olympus
    starts_with(b"IIRS"),
    starts_with(b"MMOR"),
    starts_with(b"IIU\x00"),  # Panasonic, Leica
    starts_with(b"\x00MRM"),  # Minolta
    starts_with(b"FOVb"),  # Sigma
    ((0, b"II"), (6, b"HEAPCC")),  # Canon's CRW
    ((4, b"ftypcrx "),),  # Canon's CR3
    ((0, b"II*\x00"), (8, b"CR\x02\x00")),  # Canon's CR2
    ((0, b"II*\x00"), (8, b"IIII")),  # Phase One
    ((0, b"MM\x00*"), (8, b"MMMM")),
)
"""How raw files begin whose beginning tells them from a TIFF."""

_PHOTOMETRIC, _DNG_VERSION = 262, 50706
_SENSOR_VALUES = (32803, 34892)
"""Values of a TIFF's photometric interpretation: a mosaic of colored filters, and a sensor's values without one."""


def begins_as_raw(head: bytes) -> bool:
    """Whether the beginning of a file tells that it holds a camera's raw values; many raw files begin as any TIFF does."""
    return matches(head, _SIGNATURES)


def is_raw(path: Path) -> bool:
    """Whether a file holds a camera's raw values, by its content; False for a file that cannot be read."""
    try:
        check_is_no_special_file(path)
        with path.open("rb") as file:
            head = file.read(SIGNATURE_BYTES)
            if begins_as_raw(head):
                return True
            if not head.startswith(TIFF_HEADS):
                return False
            first = first_tags(FileContent(file))
            return first is not None and any(map(_is_of_sensor, first.and_following()))
    except (OSError, ValueError, struct.error):
        return False


def picture_behind_preview(path: Path) -> tuple[int, int] | None:
    """The width and height of the largest picture in a TIFF that begins with a reduced copy of it; None for any other file.

    Some scanners and cameras write such files.

    Args:
        path: The file.
    """
    try:
        check_is_no_special_file(path)
        with path.open("rb") as file:
            first = first_tags(FileContent(file))
            if first is None or not _is_beside(first):
                return None
            largest = max((one for one in first.and_following() if not _is_beside(one)), key=_pixels_of, default=first)
            return (largest.value(_WIDTH), largest.value(_LENGTH)) if _pixels_of(largest) > _pixels_of(first) else None
    except (OSError, ValueError, struct.error):
        return None


_WIDTH, _LENGTH, _NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 256, 257, 254, 255
_REDUCED_OR_MASK = 0b101
"""Bits of the new kind of file within a file: a reduced copy, and a mask (TIFF 6.0, section 8)."""

_REDUCED = 2
"""The value of the old one for a reduced copy."""


def _is_beside(directory: TagDirectory) -> bool:
    """Whether a picture of a TIFF is a reduced copy or a mask of another one."""
    return bool(directory.value(_NEW_SUBFILE_TYPE) & _REDUCED_OR_MASK) or directory.value(_SUBFILE_TYPE) == _REDUCED


def _pixels_of(directory: TagDirectory) -> int:
    return directory.value(_WIDTH) * directory.value(_LENGTH)


def _is_of_sensor(directory: TagDirectory) -> bool:
    return directory.value(_PHOTOMETRIC, -1) in _SENSOR_VALUES or _DNG_VERSION in directory.entries

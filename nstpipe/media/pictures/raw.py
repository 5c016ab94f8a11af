"""Recognizes the raw files of cameras: the values of a sensor, with a small preview that must not be taken for the picture."""

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


def _is_of_sensor(directory: TagDirectory) -> bool:
    return directory.value(_PHOTOMETRIC, -1) in _SENSOR_VALUES or _DNG_VERSION in directory.entries

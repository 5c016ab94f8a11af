"""Recognizes the raw files of cameras: the values of a sensor, with a small preview that must not be taken for the picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from PIL import TiffImagePlugin

from nstpipe.media.pictures.pillow import PILLOW_ERRORS
from nstpipe.media.signature import SIGNATURE_BYTES, Signature, matches, starts_with

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

_TIFF_HEADS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_PHOTOMETRIC, _DIRECTORIES_BELOW, _DNG_VERSION = 262, 330, 50706
_SENSOR_VALUES = (32803, 34892)
"""Values of a TIFF's photometric interpretation: a mosaic of colored filters, and a sensor's values without one."""

_MOST_DIRECTORIES = 32


def begins_as_raw(head: bytes) -> bool:
    """Whether the beginning of a file tells that it holds a camera's raw values; many raw files begin as any TIFF does."""
    return matches(head, _SIGNATURES)


def is_raw(path: Path) -> bool:
    """Whether a file holds a camera's raw values, by its content; False for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(SIGNATURE_BYTES)
            if begins_as_raw(head):
                return True
            return head.startswith(_TIFF_HEADS) and any(map(_is_of_sensor, _directories(file)))
    except PILLOW_ERRORS:
        return False


def _is_of_sensor(directory: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    return directory.get(_PHOTOMETRIC) in _SENSOR_VALUES or _DNG_VERSION in directory


def _directories(file: IO[bytes]) -> Iterator[TiffImagePlugin.ImageFileDirectory_v2]:
    """The directories of a TIFF, and those below them, where a raw file keeps the values of the sensor."""
    file.seek(0)
    head = file.read(8)
    if head[2:4] in (b"+\x00", b"\x00+"):
        head += file.read(8)
    places: list[Any] = [TiffImagePlugin.ImageFileDirectory_v2(head).next]
    seen = set[int]()
    while places and len(seen) < _MOST_DIRECTORIES:
        place = places.pop(0)
        if not isinstance(place, int) or place in seen or not place:
            continue
        seen.add(place)
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(place)
        try:
            directory.load(file)
        except (struct.error, *PILLOW_ERRORS):
            continue
        yield directory
        below = directory.get(_DIRECTORIES_BELOW, ())
        places += [directory.next, *(below if isinstance(below, tuple) else (below,))]

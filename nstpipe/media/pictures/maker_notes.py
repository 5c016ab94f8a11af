"""Previews that a camera's maker note names and a result does not hold, since they stand behind the original's picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nstpipe.media.pictures.pixel_rules import EXIF
from nstpipe.media.pictures.tiff import Directory, first_directory

_MAKER_NOTE = 0x927C


@dataclass(frozen=True)
class _MakerNote:
    """How a maker's notes begin, and where they name previews.

    Attributes:
        begin: Their first bytes.
        directory: Where their directory begins in them; 0 if a TIFF structure of their own begins at `base`.
        base: Where in them their offsets count from; None if those count from the beginning of EXIF.
        inner: The tag of a directory in theirs that names the preview; 0 if theirs does.
        pairs: Tags of a preview's place and of its length.
        values: Tags whose value is a preview.
    """

    begin: bytes
    directory: int
    base: int | None = None
    inner: int = 0
    pairs: tuple[tuple[int, int], ...] = ()
    values: tuple[int, ...] = ()


_OLYMPUS_SETTINGS, _OLYMPUS_PREVIEW = 0x2020, ((0x0101, 0x0102),)

_MAKER_NOTES = (
    _MakerNote(b"SONY DSC \0\0\0", 12, values=(0x2001,)),
    _MakerNote(b"SONY CAM \0\0\0", 12, values=(0x2001,)),
    _MakerNote(b"AOC\0", 6, pairs=((0x0004, 0x0003),)),
    _MakerNote(b"QVC\0\0\0", 6, pairs=((0x0004, 0x0003),), values=(0x2000,)),
    _MakerNote(b"OLYMPUS\0", 12, base=0, inner=_OLYMPUS_SETTINGS, pairs=_OLYMPUS_PREVIEW),
    _MakerNote(b"OM SYSTEM\0\0\0", 16, base=0, inner=_OLYMPUS_SETTINGS, pairs=_OLYMPUS_PREVIEW),
    _MakerNote(b"OLYMP\0", 8, inner=_OLYMPUS_SETTINGS, pairs=_OLYMPUS_PREVIEW),
    _MakerNote(b"Nikon\0\x02", 0, base=10, inner=0x0011, pairs=((0x0201, 0x0202),)),
)
"""Sony, Pentax, Casio, Olympus (three generations) and Nikon."""


def remove_missing_previews(block: bytearray, first: Directory) -> None:
    """Set the place and the length of previews to zero that lie behind the end of an EXIF block, as makers do for none.

    Args:
        block: The EXIF block.
        first: Its first directory.

    Raises:
        struct.error: The notes are cut off.
    """
    if EXIF not in first.entries:
        return
    details = first.at(block, first.value(block, EXIF))
    if _MAKER_NOTE not in details.entries:
        return
    note = first.start + details.value(block, _MAKER_NOTE)
    for row in _MAKER_NOTES:
        if block[note : note + len(row.begin)] == row.begin:
            for directory in _directories(block, first, note, row):
                _remove_from(block, directory, row)


def _directories(block: bytearray, first: Directory, note: int, row: _MakerNote) -> Iterator[Directory]:
    """The directory of a maker's notes that names previews; none if it cannot be read."""
    if not row.directory:
        own = first_directory(block, note + (row.base or 0))
    else:
        start = first.start if row.base is None else note + row.base
        place = note + row.directory
        # The order may differ from that of EXIF. A number of entries in the wrong order is large.
        order = min("<>", key=lambda one: struct.unpack_from(f"{one}H", block, place)[0])
        own = replace(first, start=start, order=order).at(block, place - start)
    if own is not None and row.inner:
        own = own.at(block, own.value(block, row.inner)) if row.inner in own.entries else None
    if own is not None:
        yield own


def _remove_from(block: bytearray, directory: Directory, row: _MakerNote) -> None:
    for place, length in row.pairs:
        if place in directory.entries and length in directory.entries:
            end = directory.start + directory.value(block, place) + directory.value(block, length)
            if end > len(block):
                _set_to_zero(block, directory, place, 8)
                _set_to_zero(block, directory, length, 8)
    for tag in row.values:
        if tag in directory.entries:
            try:
                directory.content(block, tag)
            except struct.error:  # it lies behind the end
                _set_to_zero(block, directory, tag, 4)


def _set_to_zero(block: bytearray, directory: Directory, tag: int, begin: int) -> None:
    """Set an entry to zero from its count (4) or its value (8) on."""
    entry = directory.entries[tag]
    if entry + 12 > len(block):
        raise struct.error(f"the entry of tag {tag} is cut off")
    block[entry + begin : entry + 12] = bytes(12 - begin)

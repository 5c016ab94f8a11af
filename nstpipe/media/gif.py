"""The blocks of a GIF (GIF89a, sections 18 to 27)."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
GRAPHIC_CONTROL, COMMENT, APPLICATION = 0xF9, 0xFE, 0xFF


@dataclass(frozen=True)
class GifBlock:
    """A block of a GIF.

    Attributes:
        kind: `EXTENSION`, `IMAGE` or `TRAILER`.
        label: What kind of extension it is, such as `COMMENT`; 0 for the others.
        begin: Where its content begins, at the length of its first part.
        end: Where the next block begins.
    """

    kind: int
    label: int
    begin: int
    end: int


def gif_blocks(gif: bytes | mmap.mmap) -> Iterator[GifBlock]:
    """The blocks of a GIF up to its trailer, or to where it is damaged.

    Raises:
        IndexError: It is cut short within a block.
    """
    place = 13 + _table_bytes(gif[10])
    while place < len(gif):
        kind, label, begin = gif[place], 0, place + 1
        if kind == EXTENSION:
            label, begin = gif[place + 1], place + 2
        elif kind == IMAGE:
            begin = place + 11 + _table_bytes(gif[place + 9])
        else:
            yield GifBlock(kind, 0, begin, begin)
            return
        end = begin
        while gif[end]:
            end += 1 + gif[end]
        yield GifBlock(kind, label, begin, end + 1)
        place = end + 1


XMP_EXTENSION = b"XMP DataXMP"
"""The name of the application extension with an XMP packet."""

_XMP_TRAILER_BYTES = 258
"""Behind the packet: they lead readers that know only the lengths of parts to the end (XMP specification, part 3, 1.1.2)."""


def xmp_of_gif(gif: bytes) -> bytes | None:
    """The XMP packet of a GIF, wherever it stands; None if there is none.

    Raises:
        IndexError: It is cut short within a block.
    """
    for block in gif_blocks(gif):
        if block.label == APPLICATION and gif[block.begin + 1 : block.begin + 12] == XMP_EXTENSION:
            return gif[block.begin + 12 : block.end - _XMP_TRAILER_BYTES]
    return None


def _table_bytes(flags: int) -> int:
    """The bytes of a table of colors."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0

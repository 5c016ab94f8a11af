"""The directories of a TIFF structure, as TIFF files and EXIF blocks have them (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

ENTRY_BYTES = 12
LONG = 4
"""The number of the type with 32 bits; SHORT, with 16 bits, is the other one that sizes and orientations have."""

_ORDERS = {b"II": "<", b"MM": ">"}
_LARGEST_SHORT = 65_535


@dataclass(frozen=True)
class Directory:
    """A directory of tags.

    Attributes:
        order: The byte order, for `struct`.
        start: Where the TIFF structure begins; offsets in it count from there.
        entries: Where the entry of each tag is.
        next_place: Where the offset of the next directory is.
    """

    order: str
    start: int
    entries: Mapping[int, int]
    next_place: int

    def kind(self, block: bytes | bytearray, tag: int) -> int:
        """The type of a tag's values."""
        return self._read(block, "H", self.entries[tag] + 2)

    def value(self, block: bytes | bytearray, tag: int) -> int:
        """The value of a tag, or the offset of its values, as a LONG."""
        return self._read(block, "I", self.entries[tag] + 8)

    def put(self, block: bytearray, tag: int, value: int) -> None:
        """Set the value of a tag that has a LONG or a SHORT. A SHORT that cannot hold it stays as it is."""
        is_long = self.kind(block, tag) == LONG
        if is_long or value <= _LARGEST_SHORT:
            struct.pack_into(f"{self.order}{'I' if is_long else 'H'}", block, self.entries[tag] + 8, value)

    def at(self, block: bytes | bytearray, offset: int) -> Directory:
        """Another directory of the same structure.

        Raises:
            struct.error: It reaches beyond the end of the block.
        """
        return _directory(block, self.start, offset, self.order)

    def next(self, block: bytes | bytearray) -> Directory | None:
        """The directory that follows; None if this is the last one."""
        offset = self._read(block, "I", self.next_place)
        return self.at(block, offset) if offset else None

    def _read(self, block: bytes | bytearray, kind: str, place: int) -> int:
        found: int = struct.unpack_from(f"{self.order}{kind}", block, place)[0]
        return found


def first_directory(block: bytes | bytearray, start: int = 0, *, whole: bool = True) -> Directory | None:
    """The first directory of a TIFF structure; None if there is no such structure.

    Args:
        block: The bytes.
        start: Where the structure begins in them.
        whole: Refuse a directory that is cut off. If not, the entries that are left are given.

    Raises:
        struct.error: The directory reaches beyond the end of the block.
    """
    order = _ORDERS.get(bytes(block[start : start + 2]))
    if order is None:
        return None
    (offset,) = struct.unpack_from(f"{order}I", block, start + 4)
    return _directory(block, start, offset, order, whole=whole)


def _directory(block: bytes | bytearray, start: int, offset: int, order: str, *, whole: bool = True) -> Directory:
    (count,) = struct.unpack_from(f"{order}H", block, start + offset)
    if not whole:
        count = min(count, (len(block) - start - offset - 2) // ENTRY_BYTES)
    places = [start + offset + 2 + ENTRY_BYTES * index for index in range(count)]
    entries = {struct.unpack_from(f"{order}H", block, place)[0]: place for place in places}
    return Directory(order, start, entries, start + offset + 2 + ENTRY_BYTES * count)

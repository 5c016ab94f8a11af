"""The directories of a TIFF structure, as TIFF files and EXIF blocks have them (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

ENTRY_BYTES = 12
ASCII, SHORT, LONG, DOUBLE = 2, 3, 4, 12
"""Numbers of types: text, 16 bits, 32 bits, and floating point with 64 bits."""

_INLINE_BYTES = 4
"""Values of no more bytes than this stand in the entry itself."""

_FORMATS = {1: "B", ASCII: "s", SHORT: "H", LONG: "I", 5: "I", 6: "b", 7: "B", 8: "h", 9: "i", 10: "i", 11: "f", DOUBLE: "d"}
"""The format of each type's values, for `struct`."""

_FRACTIONS = (5, 10)
"""The types of fractions: a numerator and a denominator of 32 bits each, without and with a sign."""

_LARGEST_DENOMINATOR = 1_000_000

_ORDERS = {b"II": "<", b"MM": ">"}
_LARGEST_SHORT = 65_535


@dataclass(frozen=True)
class Directory:
    """A directory of tags.

    Attributes:
        order: The byte order, for `struct`.
        start: Where the TIFF structure begins; offsets in it count from there.
        begin: Where the directory begins.
        entries: Where the entry of each tag is.
        next_place: Where the offset of the next directory is.
    """

    order: str
    start: int
    begin: int
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

    def content(self, block: bytes | bytearray, tag: int) -> bytes:
        """The bytes of a tag's values.

        Raises:
            struct.error: They reach beyond the end of the block, or the type is unknown.
        """
        kind, count = self.kind(block, tag), self._read(block, "I", self.entries[tag] + 4)
        length = count * _bytes_of(kind)
        begin = self.entries[tag] + 8 if length <= _INLINE_BYTES else self.start + self.value(block, tag)
        if begin + length > len(block):
            raise struct.error(f"the values of tag {tag} are cut off")
        return bytes(block[begin : begin + length])

    def numbers(self, block: bytes | bytearray, tag: int) -> tuple[float, ...]:
        """The values of a tag as numbers.

        Raises:
            struct.error: See `content`; or they are a text, or a fraction has no value.
        """
        kind, content = self.kind(block, tag), self.content(block, tag)
        if kind == ASCII:
            raise struct.error(f"tag {tag} is a text")
        found = struct.unpack(f"{self.order}{len(content) // struct.calcsize(_FORMATS[kind])}{_FORMATS[kind]}", content)
        if kind not in _FRACTIONS:
            return found
        if 0 in found[1::2]:
            raise struct.error(f"tag {tag} has a fraction without a value")
        return tuple(above / below for above, below in zip(found[::2], found[1::2], strict=True))

    def put_numbers(self, block: bytearray, tag: int, values: Sequence[float], kind: int | None = None) -> None:
        """Set the values of a tag. Whole numbers are rounded; those that outgrow 16 bits become LONGs.

        Args:
            block: The bytes; what does not fit in its old place is added at the end.
            tag: One of the directory.
            values: The new values.
            kind: Their type; None for the one that the tag has.

        Raises:
            struct.error: The type cannot hold the values.
        """
        kind = self.kind(block, tag) if kind is None else kind
        flat: list[float] = []
        for value in values:
            if kind in _FRACTIONS:
                largest = max(1, min(_LARGEST_DENOMINATOR, int(2**31 / max(abs(value), 1))))
                share = Fraction(value).limit_denominator(largest)
                flat += [share.numerator, share.denominator]
            else:
                flat.append(value if _FORMATS[kind] in "fd" else round(value))
        if kind == SHORT and max(flat) > _LARGEST_SHORT:
            kind = LONG
        self.put_content(block, tag, struct.pack(f"{self.order}{len(flat)}{_FORMATS[kind]}", *flat), kind)

    def put_content(self, block: bytearray, tag: int, content: bytes, kind: int) -> None:
        """Set the bytes and the type of a tag's values; see `put_numbers`."""
        place, length = self.entries[tag], len(self.content(block, tag))
        at = self.value(block, tag)
        if len(content) <= _INLINE_BYTES:
            block[place + 8 : place + 12] = content.ljust(4, b"\x00")
        else:
            if length <= _INLINE_BYTES or len(content) > length:
                block.extend(bytes((len(block) - self.start) % 2))  # offsets are even
                at = len(block) - self.start
                block.extend(content)
            block[self.start + at : self.start + at + len(content)] = content
            struct.pack_into(f"{self.order}I", block, place + 8, at)
        struct.pack_into(f"{self.order}HI", block, place + 2, kind, len(content) // _bytes_of(kind))

    def rename(self, block: bytearray, tag: int, new: int) -> Directory:
        """The directory with another number for a tag, in the order of the numbers."""
        struct.pack_into(f"{self.order}H", block, self.entries[tag], new)
        return self._written(block, list(self.entries.values()))

    def without(self, block: bytearray, tag: int) -> Directory:
        """The directory without a tag, whose values stay in the block unused."""
        return self._written(block, [place for other, place in self.entries.items() if other != tag])

    def _written(self, block: bytearray, places: Sequence[int]) -> Directory:
        """The directory of these entries, in the order of their numbers, written in its old place."""
        entries = sorted(
            (bytes(block[place : place + ENTRY_BYTES]) for place in places),
            key=lambda entry: struct.unpack_from(f"{self.order}H", entry)[0],
        )
        content = struct.pack(f"{self.order}H", len(entries)) + b"".join(entries) + block[self.next_place : self.next_place + 4]
        block[self.begin : self.begin + len(content)] = content
        return self.at(block, self.begin - self.start)

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


def _bytes_of(kind: int) -> int:
    """The bytes of one value of a type."""
    if kind not in _FORMATS:
        raise struct.error(f"unknown type {kind}")
    return struct.calcsize(_FORMATS[kind]) * (2 if kind in _FRACTIONS else 1)


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
    return Directory(order, start, start + offset, entries, start + offset + 2 + ENTRY_BYTES * count)

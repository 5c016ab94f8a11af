"""Reads the tags of TIFF and BigTIFF files of either byte order."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

CLASSIC_HEADS, BIG_HEADS = (b"II*\x00", b"MM\x00*"), (b"II+\x00", b"MM\x00+")
TIFF_HEADS = (*CLASSIC_HEADS, *BIG_HEADS)
"""How a TIFF begins; the last two are BigTIFF."""

SUB_DIRECTORIES = 330
_MOST_DIRECTORIES = 32
_LONG, _UNDEFINED, _LONG8, _IFD8 = 4, 7, 16, 18

_FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"} | {
    _LONG8: "Q",
    17: "q",
    _IFD8: "Q",
}
"""The format of a value of each type, for `struct`."""


class Content(Protocol):
    """The bytes of a file, of which parts can be taken, as of `bytes`."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> bytes: ...


class FileContent:
    """The bytes of an open file. A part is read when it is taken."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._length = file.seek(0, 2)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> bytes:
        begin, end, _ = part.indices(self._length)
        self._file.seek(begin)
        return self._file.read(max(0, end - begin))


@dataclass(frozen=True)
class TagDirectory:
    """A directory of tags, whose values are read when they are asked for.

    Attributes:
        content: The file.
        order: The byte order, for `struct`.
        is_big: Whether the file is a BigTIFF.
        entries: The type, the number and the place of each tag's values.
        next: The place of the next directory; 0 if this is the last one.
    """

    content: Content
    order: str
    is_big: bool
    entries: dict[int, tuple[int, int, int]]
    next: int

    def raw(self, tag: int) -> bytes:
        """The bytes of a tag's values; empty if there is no such tag, or its type is unknown.

        Raises:
            struct.error: They reach beyond the end of the file.
        """
        kind, count, place = self.entries.get(tag, (0, 0, 0))
        length = count * struct.calcsize(f"={_FORMATS[kind]}") if kind in _FORMATS else 0
        if place + length > len(self.content):
            raise struct.error(f"the values of tag {tag} are cut off")
        return self.content[place : place + length]

    def values(self, tag: int, default: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        """The numbers of a tag; the default if it has none.

        Raises:
            struct.error: See `raw`.
        """
        kind, count, _ = self.entries.get(tag, (0, 0, 0))
        raw = self.raw(tag)
        if not raw or _FORMATS[kind] == "s":
            return default
        return struct.unpack(f"{self.order}{count * len(_FORMATS[kind])}{_FORMATS[kind][0]}", raw)

    def value(self, tag: int, default: int = 0) -> int:
        """The first number of a tag; the default if it has none."""
        return int(self.values(tag, (default,))[0])

    def at(self, place: int) -> TagDirectory:
        """Another directory of the same file.

        Raises:
            struct.error: It reaches beyond the end of the file.
        """
        return _directory(self.content, place, self.order, is_big=self.is_big)

    def and_following(self) -> Iterator[TagDirectory]:
        """This directory, those below it, and those that follow. Damaged ones are left out."""
        yield self
        seen = set[int]()
        places = [*self.values(SUB_DIRECTORIES), self.next]
        while places and len(seen) < _MOST_DIRECTORIES:
            place = places.pop(0)
            if place in seen or not place:
                continue
            seen.add(place)
            try:
                directory = self.at(place)
                places += [*directory.values(SUB_DIRECTORIES), directory.next]
            except (struct.error, OverflowError):
                continue
            yield directory


def first_tags(content: Content) -> TagDirectory | None:
    """The first directory of a file; None if the file is not a TIFF.

    Raises:
        struct.error: The directory reaches beyond the end of the file.
    """
    head = content[:16]
    if not head.startswith(TIFF_HEADS):
        return None
    order, is_big = "<" if head.startswith(b"II") else ">", head.startswith(BIG_HEADS)
    (place,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", head, 8 if is_big else 4)
    return _directory(content, place, order, is_big=is_big)


def _directory(content: Content, place: int, order: str, *, is_big: bool) -> TagDirectory:
    head, entry, word = (f"{order}Q", f"{order}HHQ", f"{order}Q") if is_big else (f"{order}H", f"{order}HHI", f"{order}I")
    inline = struct.calcsize(word)
    (count,) = struct.unpack(head, content[place : place + struct.calcsize(head)])
    begin, step = place + struct.calcsize(head), struct.calcsize(entry) + inline
    if begin + count * step + inline > len(content):
        raise struct.error("the directory is cut off")
    listed = content[begin : begin + count * step + inline]
    entries = {}
    for at in range(0, count * step, step):
        tag, kind, number = struct.unpack_from(entry, listed, at)
        value_at = at + struct.calcsize(entry)
        if kind in _FORMATS and number * struct.calcsize(f"={_FORMATS[kind]}") > inline:
            entries[tag] = (kind, number, struct.unpack_from(word, listed, value_at)[0])
        else:
            entries[tag] = (kind, number, begin + value_at)
    return TagDirectory(content, order, is_big, entries, struct.unpack_from(word, listed, count * step)[0])


def exif_of(directory: TagDirectory, pointers: tuple[int, ...], left_out: frozenset[int]) -> bytes:
    r"""An EXIF block with the tags of a directory: ``Exif\0\0`` and a TIFF structure with the same values.

    Args:
        directory: The tags.
        pointers: Those of them that point to directories which come along, such as that of GPS.
        left_out: Tags that do not.
    """
    head = (b"II*\x00" if directory.order == "<" else b"MM\x00*") + struct.pack(f"{directory.order}I", 8)
    return b"Exif\x00\x00" + head + _block(directory, 8, pointers, left_out)


def _is_readable(directory: TagDirectory, tag: int) -> bool:
    try:
        return directory.entries[tag][0] in _FORMATS and bool(directory.raw(tag))
    except struct.error:
        return False


def _block(directory: TagDirectory, at: int, pointers: tuple[int, ...], left_out: frozenset[int]) -> bytes:
    """A directory and its values, and the directories below it, for a place within the block."""
    order = directory.order
    tags = [tag for tag in sorted(directory.entries) if tag not in left_out and _is_readable(directory, tag)]
    entries, values = struct.pack(f"{order}H", len(tags)), b""
    values_at = at + 2 + 12 * len(tags) + 4
    for tag in tags:
        kind, count, _ = directory.entries[tag]
        raw = directory.raw(tag)
        if tag in pointers:
            values += b"\x00" * (len(values) % 2)
            place = values_at + len(values)
            values += _block(directory.at(directory.value(tag)), place, pointers, left_out)
            kind, count, raw = _LONG, 1, struct.pack(f"{order}I", place)
        elif kind >= _LONG8:
            numbers = directory.values(tag)
            kind, raw = _LONG, struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(f"{order}HHI", tag, kind, count)
        if len(raw) > 4:
            values += b"\x00" * (len(values) % 2)
            entries += struct.pack(f"{order}I", values_at + len(values))
            values += raw
        else:
            entries += raw.ljust(4, b"\x00")
    return entries + bytes(4) + values

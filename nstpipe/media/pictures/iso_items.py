"""The boxes of AVIF and HEIC, and what they tell of the picture that is shown (ISO/IEC 14496-12 and 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_LONG_ID, _LONG_INDEX = 1, 1
"""The version from which a box has long numbers of items, and the flag with which it has long numbers of properties."""


def boxes(content: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name, the begin and the end of the content of each box of ISO media."""
    while begin + 8 <= end:
        length, kind = struct.unpack_from(">I4s", content, begin)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", content, begin + 8)
            head = 16
        last = end if length == 0 else begin + length
        if length and length < head:
            return
        yield kind, begin + head, min(last, end)
        begin = last


def color_chunks(content: bytes) -> dict[bytes, bytes]:
    """What a file tells of its picture's colors next to a profile, as the chunks of a PNG that say the same.

    Decoders give RGB of the full range, so the file's own range and matrix are left out.

    Args:
        content: The file.

    Raises:
        struct.error: It is cut off.
        IndexError: It is cut off.
    """
    found: dict[bytes, bytes] = {}
    for kind, begin, end in _properties(content):
        if kind == b"colr" and content[begin : begin + 4] == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", content, begin + 4)
            if max(primaries, transfer) < 256:
                found[b"cICP"] = bytes([primaries, transfer, 0, 1])
        elif kind == b"clli":
            found[b"cLLI"] = struct.pack(">2I", *(10_000 * nits for nits in struct.unpack_from(">2H", content, begin)))
        elif kind == b"mdcv":
            found[b"mDCV"] = content[begin:end]
    return found


def _properties(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The properties of the picture that is shown: each one's name, begin and end. Other pictures have their own."""
    top = _by_name(content, 0, len(content))
    if b"meta" not in top:
        return
    meta = _by_name(content, top[b"meta"][0] + 4, top[b"meta"][1])
    if not {b"pitm", b"iprp"} <= meta.keys():
        return
    first = meta[b"pitm"][0]
    (shown,) = struct.unpack_from(">I" if content[first] >= _LONG_ID else ">H", content, first + 4)
    known: list[tuple[bytes, int, int]] = []
    for kind, begin, end in boxes(content, *meta[b"iprp"]):
        if kind == b"ipco":
            known = list(boxes(content, begin, end))
        elif kind == b"ipma":
            yield from (known[index - 1] for index in _indices(content, begin, shown) if 0 < index <= len(known))


def _by_name(content: bytes, begin: int, end: int) -> dict[bytes, tuple[int, int]]:
    return {kind: (first, last) for kind, first, last in boxes(content, begin, end)}


def _indices(content: bytes, begin: int, item: int) -> Iterator[int]:
    """The numbers of an item's properties, from 1, in a box of associations."""
    version, flags = content[begin], content[begin + 3]
    (count,) = struct.unpack_from(">I", content, begin + 4)
    place = begin + 8
    for _ in range(count):
        head = ">IB" if version >= _LONG_ID else ">HB"
        found, number = struct.unpack_from(head, content, place)
        place += struct.calcsize(head)
        kind = f">{number}{'H' if flags & _LONG_INDEX else 'B'}"
        if found == item:
            # The highest bit says that a reader must know the property.
            yield from (one & (0x7FFF if flags & _LONG_INDEX else 0x7F) for one in struct.unpack_from(kind, content, place))
        place += struct.calcsize(kind)

"""An EXIF block written by hand, byte for byte known: Exif 2.32 on TIFF 6.0."""

from __future__ import annotations

import struct

MAKER_NOTE = b"Maker\x00\x00\x00\x10\x00\x00\x00" + bytes(range(256))
"""As makers write them: binary, with an offset from the start of the block (16)."""

LATITUDE = ((52, 1), (31, 1), (1234, 100))
LONGITUDE = ((13, 1), (24, 1), (5678, 100))
MAKER = b"Streetview Inc\x00"

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 2, 3, 4, 5, 7
_UNIT = {_BYTE: 1, _ASCII: 1, _SHORT: 2, _LONG: 4, _RATIONAL: 8, _UNDEFINED: 1}

Entry = tuple[int, int, bytes]


def exif_block(
    orientation: int | None,
    *,
    order: str = "<",
    wide: bool = False,
    thumbnail: bytes | None = None,
    size: tuple[int, int] | None = None,
) -> bytes:
    """A block with a maker, an orientation, a time, a maker note and a place.

    Args:
        orientation: 1 to 8; None for none.
        order: of bytes, as in `struct`.
        wide: the orientation as LONG, which some programs write, rather than SHORT.
        thumbnail: a JPEG, in a second directory.
        size: width and height of the picture, as LONG and SHORT.
    """

    def rationals(values: tuple[tuple[int, int], ...]) -> bytes:
        return b"".join(struct.pack(f"{order}II", *value) for value in values)

    def number(value: int, kind: int) -> bytes:
        return struct.pack(f"{order}{'H' if kind == _SHORT else 'I'}", value)

    details: list[Entry] = [(0x9003, _ASCII, b"2024:05:01 12:34:56\x00"), (0x927C, _UNDEFINED, MAKER_NOTE)]
    if size is not None:
        details += [(0xA002, _LONG, number(size[0], _LONG)), (0xA003, _SHORT, number(size[1], _SHORT))]
    place: list[Entry] = [
        (1, _ASCII, b"N\x00"),
        (2, _RATIONAL, rationals(LATITUDE)),
        (3, _ASCII, b"E\x00"),
        (4, _RATIONAL, rationals(LONGITUDE)),
    ]
    kind = _LONG if wide else _SHORT
    turned: list[Entry] = [] if orientation is None else [(0x0112, kind, number(orientation, kind))]

    def main(details_at: int, place_at: int) -> list[Entry]:
        pointers: list[Entry] = [(0x8769, _LONG, number(details_at, _LONG)), (0x8825, _LONG, number(place_at, _LONG))]
        return [(0x010F, _ASCII, MAKER), *turned, *pointers]

    details_at = 8 + len(_directory(main(0, 0), 8, order))
    place_at = details_at + len(_directory(details, details_at, order))
    thumbnail_at = place_at + len(_directory(place, place_at, order))
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + number(8, _LONG)
    block = (
        b"Exif\x00\x00"
        + head
        + _directory(main(details_at, place_at), 8, order, 0 if thumbnail is None else thumbnail_at)
        + _directory(details, details_at, order)
        + _directory(place, place_at, order)
    )
    if thumbnail is None:
        return block
    pixels_at = thumbnail_at + 2 + 2 * 12 + 4
    second: list[Entry] = [(0x0201, _LONG, number(pixels_at, _LONG)), (0x0202, _LONG, number(len(thumbnail), _LONG))]
    return block + _directory(second, thumbnail_at, order) + thumbnail


def _directory(entries: list[Entry], at: int, order: str, following: int = 0) -> bytes:
    """A TIFF directory that begins at an offset, its long values behind it, with the offset of the one that follows."""
    values_at = at + 2 + 12 * len(entries) + 4
    fixed, values = struct.pack(f"{order}H", len(entries)), b""
    for tag, kind, value in entries:
        fixed += struct.pack(f"{order}HHI", tag, kind, len(value) // _UNIT[kind])
        if len(value) <= 4:
            fixed += value.ljust(4, b"\x00")
        else:
            fixed += struct.pack(f"{order}I", values_at + len(values))
            values += value + b"\x00" * (len(value) % 2)
    return fixed + struct.pack(f"{order}I", following) + values

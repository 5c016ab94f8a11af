"""A maker's notes name no preview that a result does not hold."""

from __future__ import annotations

import struct

import pytest
from PIL import ExifTags, Image

from nstpipe.media.pictures.metadata import adapted_exif
from nstpipe.media.pictures.pixel_map import PixelMap

FAR = 10_000_000
SHORT, LONG, BYTES = 3, 4, 7
Entry = tuple[int, int, int, int]
"""Tag, type, count and value."""


def directory(order: str, *entries: Entry) -> bytes:
    content = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    return struct.pack(f"{order}H", len(entries)) + content + bytes(4)


def olympus(place: int, length: int) -> bytes:
    inner = directory("<", (0x0101, LONG, 1, place), (0x0102, LONG, 1, length), (0x0200, LONG, 1, 7))
    outer = directory("<", (0x2020, 13, 1, 12 + 2 + 12 + 4))
    return b"OLYMPUS\0II\x03\0" + outer + inner


def nikon(place: int, length: int) -> bytes:
    inner = directory(">", (0x0201, LONG, 1, place), (0x0202, LONG, 1, length))
    outer = directory(">", (0x0011, LONG, 1, 8 + 2 + 12 + 4))
    return b"Nikon\0\x02\x11\0\0MM\0*\0\0\0\x08" + outer + inner


def pentax(place: int, length: int) -> bytes:
    return b"AOC\0MM" + directory(">", (0x0002, SHORT, 1, 1 << 16), (0x0003, LONG, 1, length), (0x0004, LONG, 1, place))


def sony(place: int, length: int) -> bytes:
    return b"SONY DSC \0\0\0" + directory("<", (0x0102, LONG, 1, 3), (0x2001, BYTES, length, place))


def block_with(note: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif[ExifTags.IFD.Exif] = {0x927C: note}
    return exif.tobytes()


def adapted(block: bytes) -> bytes:
    return adapted_exif(block, PixelMap.of_upright((64, 48), (64, 48), 1), lambda old: None)[0]


@pytest.mark.parametrize("make", [olympus, nikon, pentax])
def test_a_preview_behind_the_picture_is_no_longer_named(make: object) -> None:
    assert callable(make)
    assert adapted(block_with(make(FAR, 5000))) == block_with(make(0, 0))
    assert adapted(block_with(make(0, 8))) == block_with(make(0, 8)), "one within EXIF is"


def test_a_preview_that_is_a_value_is_no_longer_named() -> None:
    assert adapted(block_with(sony(FAR, 5000))) == block_with(sony(0, 0))
    assert adapted(block_with(sony(8, 5))) == block_with(sony(8, 5))


@pytest.mark.parametrize("cut", [5, 12, 20, 30])
@pytest.mark.parametrize("make", [olympus, nikon, pentax, sony])
def test_notes_that_are_cut_off_stay_as_they_are(make: object, cut: int) -> None:
    assert callable(make)
    block = block_with(make(FAR, 5000)[:cut])
    assert len(adapted(block)) == len(block)

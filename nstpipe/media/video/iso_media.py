"""Reads and edits what ffmpeg does not write into MP4 and MOV: the boxes of ISO base media files (ISO/IEC 14496-12)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from nstpipe.system.files import atomic_write

_CHILDREN_AT = {b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"edts": 0, b"stsd": 8}
"""Boxes that are opened, and the bytes before their first child."""

_VIDEO_ENTRY_BYTES = 78
"""Of a video's sample description before its first child."""

_LONGEST_MOOV_BYTES = 1 << 29
"""A larger one is that of a damaged file: an hour of video has some megabytes."""

_SPARE_BYTES = 1 << 20
"""By which the beginning of a file may grow. Places of the content that would then need more than 32 bits are widened."""

_USER_BOXES_OF_FFMPEG = frozenset(
    {b"meta", b"chpl", b"loci", b"titl", b"auth", b"cprt", b"desc", b"dscp", b"perf", b"gnre", b"albm", b"yrrc", b"rtng"}
) | {b"name", b"free", b"skip", b"hnti", b"hinf", b"WLOC", b"AllF", b"SelO", b"LOOP", b"XMP_", b"Xtra", b"date", b"keyw"}
"""Boxes of a movie's udta that ffmpeg reads as tags, or that have no meaning for a result."""

TAGS_OF_USER_BOXES = {b"FIRM": "firmware", b"MANU": "make", b"manu": "make", b"MODL": "model", b"modl": "model"}
"""Boxes of a camera that ffmpeg also reads as a tag, and its name."""

XMP_KINDS = frozenset({b"XMP_", bytes.fromhex("be7acfcb97a942e89c71999491e3afac")})
"""Where MP4 and MOV hold an XMP packet: a box of udta, and a UUID beside the description."""

_PICTURE_HANDLERS = (b"vide", b"pict")
"""Of tracks of moving pictures: a video's, and those of an animated AVIF or HEIC."""

_TEXT = 1
"""The type of a value that is text in UTF-8 (QuickTime's well-known types)."""


@dataclass
class Box:
    """A box.

    Attributes:
        kind: Its type, of four bytes.
        head: The content before its children; all of the content if it is not opened.
        children: The boxes in it.
        tail: What follows its children, such as a terminator of QuickTime.
    """

    kind: bytes
    head: bytes = b""
    children: list[Box] = field(default_factory=list)
    tail: bytes = b""

    def __bytes__(self) -> bytes:
        content = b"".join((self.head, *map(bytes, self.children), self.tail))
        return (8 + len(content)).to_bytes(4, "big") + self.kind + content

    def find(self, *kinds: bytes) -> Box | None:
        """The first box at the end of a path of types; None if there is none."""
        if not kinds:
            return self
        found = (child.find(*kinds[1:]) for child in self.children if child.kind == kinds[0])
        return next((box for box in found if box is not None), None)

    def all(self, kind: bytes) -> list[Box]:
        """The children of one type."""
        return [child for child in self.children if child.kind == kind]

    def opened(self, skip: int) -> Box:
        """The box with its content taken apart.

        Args:
            skip: The bytes before its first child.
        """
        children, tail = _children(self.head[skip:])
        return Box(self.kind, self.head[:skip], children, tail)


def _children(content: bytes) -> tuple[list[Box], bytes]:
    """The boxes of a content, and what of it is no box."""
    found, place = [], 0
    while place + 8 <= len(content):
        size, start = int.from_bytes(content[place : place + 4], "big"), 8
        kind = content[place + 4 : place + 8]
        if size == 1:
            size, start = int.from_bytes(content[place + 8 : place + 16], "big"), 16
        elif size == 0 and any(kind):
            size = len(content) - place
        if not start <= size <= len(content) - place:
            break
        box = Box(kind, content[place + start : place + size])
        found.append(box.opened(_CHILDREN_AT[kind]) if kind in _CHILDREN_AT else box)
        place += size
    return found, content[place:]


def _top_level(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The type, the place and the size of each box of a file."""
    place, end = 0, file.seek(0, os.SEEK_END)
    while place + 8 <= end:
        file.seek(place)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        size = size or end - place
        if size < 8:
            return
        yield kind, place, min(size, end - place)
        place += size


@dataclass
class _Table:
    """A box with a version and numbers, of which one has more bits in its later version.

    Attributes:
        box: The box; what is set is set in it.
    """

    box: Box

    @property
    def is_long(self) -> bool:
        return self.box.head[0] == 1

    def get(self, place: int, count: int) -> int:
        return int.from_bytes(self.box.head[place : place + count], "big")

    def set(self, place: int, count: int, value: int) -> None:
        head = self.box.head
        most = (1 << 8 * count) - 1
        self.box.head = head[:place] + min(value, most).to_bytes(count, "big") + head[place + count :]


def _duration_place(box: Box) -> tuple[int, int]:
    """Where the duration is in a box of type mvhd, mdhd or tkhd, and how many bytes it has."""
    long = box.head[0] == 1
    shift = 4 if box.kind == b"tkhd" else 0  # a tkhd has the track's number and a reserved field in place of a time scale
    return (24 + shift, 8) if long else (16 + shift, 4)


def _timescale(box: Box) -> int:
    """Of a box of type mvhd or mdhd; at least 1."""
    return max(1, _Table(box).get(20 if box.head[0] == 1 else 12, 4))


def _get_duration(box: Box) -> int:
    return _Table(box).get(*_duration_place(box))


def _set_duration(box: Box, value: int) -> None:
    _Table(box).set(*_duration_place(box), value)


_CODE = re.compile("[a-z]{3}")
_LETTERS_FROM = 0x60
"""A code of ISO 639-2 is stored with 5 bits for each letter, counted from this one."""


def _language_place(box: Box) -> int:
    """Where the language is in a box of type mdhd: behind the duration."""
    place, count = _duration_place(box)
    return place + count


@dataclass(frozen=True)
class _Edits:
    """The edit list of a track with one part of its content.

    Attributes:
        box: The box.
        entry: Where the entry of that part begins in it.
        empty: What is shown before it, in ticks of the movie.
        duration: How long it is shown, in ticks of the movie; 0 for all of it.
        media_time: Where it begins, in ticks of the track.
    """

    box: Box
    entry: int
    empty: int
    duration: int
    media_time: int

    @classmethod
    def of(cls, track: Box) -> _Edits | None:
        """The edits of a track; None if it has none, or several parts."""
        box = track.find(b"edts", b"elst")
        if box is None or len(box.head) < 8:
            return None
        table, width = _Table(box), 8 if box.head[0] == 1 else 4
        empty, found = 0, []
        for index in range(table.get(4, 4)):
            place = 8 + index * (2 * width + 4)
            duration, time = table.get(place, width), table.get(place + width, width)
            if time == (1 << 8 * width) - 1:
                empty += duration
            else:
                found.append(cls(box, place, empty, duration, time))
        return found[0] if len(found) == 1 else None

    def set_duration(self, ticks: int) -> None:
        """Set how long the part is shown, in ticks of the movie."""
        _Table(self.box).set(self.entry, 8 if self.box.head[0] == 1 else 4, ticks)


class Movie:
    """The description of an MP4 or MOV file (its box moov), which can be changed and written back.

    Args:
        path: The file.
        moov: Its description.
        place: Where the description begins in the file.
        size: How many bytes it has there.
    """

    def __init__(self, path: Path, moov: Box, place: int, size: int) -> None:
        self.path = path
        self.moov = moov
        self._place = place
        self._size = size

    @classmethod
    def read(cls, path: Path) -> Movie | None:
        """The description of a file; None if it has none that can be read, or its content is in fragments."""
        try:
            with path.open("rb") as file:
                for kind, place, size in _top_level(file):
                    if kind == b"moov" and size <= _LONGEST_MOOV_BYTES:
                        file.seek(place)
                        found, _ = _children(file.read(size))
                        is_whole = bool(found) and found[0].find(b"mvhd") is not None and found[0].find(b"mvex") is None
                        return cls(path, found[0], place, size) if is_whole else None
        except OSError:
            pass
        return None

    @property
    def track(self) -> Box | None:
        """The first track of moving pictures."""
        for track in self.moov.all(b"trak"):
            handler = track.find(b"mdia", b"hdlr")
            if handler is not None and handler.head[8:12] in _PICTURE_HANDLERS and track.find(b"mdia", b"mdhd") is not None:
                return track
        return None

    @property
    def sample_kinds(self) -> tuple[str, ...]:
        """What the samples of each track are, by the four letters of their description; empty for a track without one."""
        tables = (track.find(b"mdia", b"minf", b"stbl", b"stsd") for track in self.moov.all(b"trak"))
        entries = (table.children[0].kind if table is not None and table.children else b"" for table in tables)
        return tuple(entry.decode("latin-1").strip() for entry in entries)

    @property
    def all_user_boxes(self) -> list[Box]:
        """The user's boxes of the movie (udta)."""
        return [child for box in self.moov.all(b"udta") for child in box.opened(0).children]

    @property
    def user_boxes(self) -> list[Box]:
        """The user's boxes of the movie (udta) that are neither tags nor chapters that ffmpeg reads: a camera's own."""
        found = (box for box in self.all_user_boxes if box.kind not in _USER_BOXES_OF_FFMPEG)
        return [box for box in found if box.kind[:1] != b"\xa9" and box.head]

    def add_user_boxes(self, boxes: Iterable[Box]) -> None:
        """Add boxes to the user's boxes of the movie."""
        content = b"".join(map(bytes, boxes))
        place = next(iter(self.moov.all(b"udta")), None)
        if place is not None:
            place.head = content + place.head  # QuickTime ends them with zeros
        elif content:
            self.moov.children.append(Box(b"udta", content))

    @property
    def outer_kinds(self) -> tuple[bytes, ...]:
        """The types of the boxes beside the description, in order; those with a UUID by that."""
        found = []
        with self.path.open("rb") as file:
            for kind, place, _ in _top_level(file):
                file.seek(place + 8)
                found.append(file.read(16) if kind == b"uuid" else kind)
        return tuple(found)

    # In which language its streams are.

    def set_languages(self, languages: Iterable[str]) -> None:
        """Set the languages of the first tracks. One that is no code of ISO 639-2 leaves its track as it is."""
        for track, language in zip(self.moov.all(b"trak"), languages, strict=False):
            table = track.find(b"mdia", b"mdhd")
            if table is not None and _CODE.fullmatch(language):
                first, second, third = (ord(letter) - _LETTERS_FROM for letter in language)
                _Table(table).set(_language_place(table), 2, first << 10 | second << 5 | third)

    # How long the last frame is shown.

    @property
    def end(self) -> Fraction | None:
        """When the last frame of the picture ends, in seconds; None if the file does not tell."""
        track, header = self.track, self.moov.find(b"mvhd")
        media = track.find(b"mdia", b"mdhd") if track is not None else None
        if track is None or media is None or header is None:
            return None
        edits, movie_scale = _Edits.of(track), _timescale(header)
        end = Fraction(_get_duration(media), _timescale(media))
        if edits is None:
            several = track.find(b"edts", b"elst") is not None
            return None if several else end + Fraction(_first_offset(track), _timescale(media))
        # The edit is rounded to the movie's ticks, and the track is exact. Some writers count what the edit skips, some do not.
        exact = (end - Fraction(edits.media_time, _timescale(media)), end)
        shown = Fraction(edits.duration, movie_scale) if edits.duration else exact[0]
        near = (one for one in exact if abs(one - shown) <= Fraction(1, movie_scale))
        return next(near, shown) + Fraction(edits.empty, movie_scale)

    def set_end(self, end: Fraction) -> None:
        """Set when the last frame of the picture ends, in seconds."""
        track, header = self.track, self.moov.find(b"mvhd")
        media = track.find(b"mdia", b"mdhd") if track is not None else None
        times = track.find(b"mdia", b"minf", b"stbl", b"stts") if track is not None else None
        if track is None or media is None or header is None or times is None:
            return
        scale, movie_scale, edits = _timescale(media), _timescale(header), _Edits.of(track)
        shown = end - (Fraction(edits.empty, movie_scale) if edits is not None else 0)
        begin = edits.media_time if edits is not None else -_first_offset(track)
        _set_duration(media, _set_last_step(times, round(shown * scale) + begin))
        if edits is not None:
            edits.set_duration(round(shown * movie_scale))
        track_header = track.find(b"tkhd")
        if track_header is not None:
            _set_duration(track_header, round(end * movie_scale))
        headers = [one for track in self.moov.all(b"trak") if (one := track.find(b"tkhd")) is not None]
        _set_duration(header, max(map(_get_duration, headers), default=0))

    # Tags by names that are not those of iTunes.

    @property
    def keys(self) -> dict[str, bytes]:
        """The values of tags with free names (QuickTime's metadata keys), as they are stored: type, locale, value."""
        found: dict[str, bytes] = {}
        places = [self.moov, *(box.opened(0) for box in self.moov.all(b"udta"))]
        for meta in (box for place in places for box in place.all(b"meta")):
            # In MP4 a version stands before the first child, in QuickTime none does.
            opened = meta.opened(0 if meta.head[4:8] == b"hdlr" else 4) if not meta.children else meta
            handler, keys, values = opened.find(b"hdlr"), opened.find(b"keys"), opened.find(b"ilst")
            if handler is None or keys is None or values is None or handler.head[8:12] != b"mdta":
                continue
            names = [box.head.decode(errors="replace") for box in keys.opened(8).children]
            for item in values.opened(0).children:
                index, data = int.from_bytes(item.kind, "big"), item.opened(0).find(b"data")
                if data is not None and 1 <= index <= len(names):
                    found.setdefault(names[index - 1], data.head)
        return found

    def add_keys(self, values: Mapping[str, bytes]) -> None:
        """Add tags with free names.

        Args:
            values: The values as in `keys`.
        """
        handler = Box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
        names = [Box(b"mdta", name.encode()) for name in values]
        keys = Box(b"keys", bytes(4) + len(names).to_bytes(4, "big"), names)
        items = [
            Box(index.to_bytes(4, "big"), b"", [Box(b"data", value)]) for index, value in enumerate(values.values(), start=1)
        ]
        # Without a version, as phones write it: readers expect none at this place, in MP4 either.
        self.moov.children.append(Box(b"meta", b"", [handler, keys, Box(b"ilst", b"", items)]))

    # Boxes that describe the picture.

    def picture_boxes(self, *kinds: bytes) -> list[Box]:
        """The boxes of some types in the description of the picture's samples, and in its track."""
        track = self.track
        entry = self._entry
        inside = entry.opened(_VIDEO_ENTRY_BYTES).children if entry is not None else []
        beside = track.children if track is not None else []
        return [box for box in (*inside, *beside) if box.kind in kinds]

    def add_picture_boxes(self, boxes: Iterable[Box]) -> None:
        """Add boxes to the description of the picture's samples; those of type uuid to its track."""
        track, entry = self.track, self._entry
        if track is None or entry is None:
            return
        for box in boxes:
            if box.kind == b"uuid":
                track.children.append(box)
            else:
                opened = entry.opened(_VIDEO_ENTRY_BYTES)
                opened.children.append(box)
                entry.head = b"".join((opened.head, *map(bytes, opened.children), opened.tail))

    @property
    def _entry(self) -> Box | None:
        """The description of the picture's samples."""
        track = self.track
        table = track.find(b"mdia", b"minf", b"stbl", b"stsd") if track is not None else None
        return table.children[0] if table is not None and table.children else None

    def write(self) -> None:
        """Write the description back into the file. The file is replaced at once, or stays as it was.

        Raises:
            OutputError: It cannot be written; a DiskFullError if there is no room.
        """
        grown = len(bytes(self.moov)) - self._size
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            is_last = self._place + self._size == size
            if grown and not is_last:
                self._widen_places(size)
                grown = len(bytes(self.moov)) - self._size
                self._move_places(grown)
            with atomic_write(self.path) as replaced, replaced.open("wb") as copy:
                file.seek(0)
                _copy(file, copy, self._place)
                copy.write(bytes(self.moov))
                file.seek(self._place + self._size)
                shutil.copyfileobj(file, copy, 1 << 20)

    def _widen_places(self, file_size: int) -> None:
        """Give the places of the content 64 bits if 32 do not suffice after it has moved."""
        if file_size + _SPARE_BYTES < 1 << 32:
            return
        for table in self._sample_tables():
            for box in table.all(b"stco"):
                places = (box.head[at : at + 4] for at in range(8, len(box.head) - 3, 4))
                box.kind, box.head = b"co64", box.head[:8] + b"".join(bytes(4) + place for place in places)

    def _move_places(self, by: int) -> None:
        """Add to the places of the content that follows the description."""
        for table in self._sample_tables():
            for kind, width in ((b"stco", 4), (b"co64", 8)):
                for box in table.all(kind):
                    places = (int.from_bytes(box.head[at : at + width], "big") for at in range(8, len(box.head), width))
                    moved = (place + by * (place > self._place) for place in places)
                    box.head = box.head[:8] + b"".join(place.to_bytes(width, "big") for place in moved)

    def _sample_tables(self) -> Iterator[Box]:
        for track in self.moov.all(b"trak"):
            table = track.find(b"mdia", b"minf", b"stbl")
            if table is not None:
                yield table


def text_value(text: str) -> bytes:
    """The value of a tag that is text, as in `Movie.keys`."""
    return _TEXT.to_bytes(4, "big") + bytes(4) + text.encode()


def _first_offset(track: Box) -> int:
    """How much later than it is decoded the first frame is shown, in ticks of the track."""
    offsets = track.find(b"mdia", b"minf", b"stbl", b"ctts")
    return int.from_bytes(offsets.head[12:16], "big", signed=True) if offsets is not None and len(offsets.head) >= 16 else 0


def _set_last_step(times: Box, end: int) -> int:
    """Let the last frame that is decoded take until the end, in ticks of the track.

    Returns:
        The end, or one tick after that frame if the end would be before it.
    """
    head = times.head
    runs = [[int.from_bytes(head[at + part : at + part + 4], "big") for part in (0, 4)] for at in range(8, len(head), 8)]
    if not runs:
        return end
    runs[-1][0] -= 1
    last = max(1, end - sum(count * step for count, step in runs))
    runs = [run for run in runs if run[0]]
    if runs and runs[-1][1] == last:
        runs[-1][0] += 1
    else:
        runs.append([1, last])
    end = sum(count * step for count, step in runs)
    numbers = b"".join(number.to_bytes(4, "big") for run in runs for number in run)
    times.head = head[:4] + len(runs).to_bytes(4, "big") + numbers
    return end


def _copy(source: BinaryIO, target: BinaryIO, count: int) -> None:
    while count:
        part = source.read(min(count, 1 << 20))
        if not part:
            return
        target.write(part)
        count -= len(part)

"""Reads and edits what ffmpeg does not write into Matroska and WebM: the elements before the first cluster (RFC 9559)."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_SEEK_HEAD, _SEEK, _SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AC
_INFO, _TIMESTAMP_SCALE, _DURATION = 0x1549A966, 0x2AD7B1, 0x4489
_TRACKS, _TRACK, _TRACK_UID, _TRACK_TYPE, _VIDEO = 0x1654AE6B, 0xAE, 0x73C5, 0x83, 0xE0
_TAGS, _TAG, _TARGETS, _TAG_TRACK_UID = 0x1254C367, 0x7373, 0x63C0, 0x63C5
_SIMPLE_TAG, _TAG_NAME, _TAG_STRING = 0x67C8, 0x45A3, 0x4487
_VOID, _CRC = 0xEC, 0xBF

_MASTERS = frozenset({_SEEK_HEAD, _SEEK, _INFO, _TRACKS, _TRACK, _VIDEO, _TAGS, _TAG, _TARGETS, _SIMPLE_TAG})
"""Elements that are opened."""

_IS_VIDEO = b"\x01"
_NANOSECONDS = 1_000_000_000
_LONGEST_HEAD_BYTES = 1 << 28
"""A file whose elements before the first cluster are larger is not edited; they contain its attachments."""

_SPARE_BYTES = 1 << 12
"""By which elements before the first cluster may move."""

ROOM_TAG = "NSTPIPE_ROOM"
"""The name of a tag of the file that makes room for what is added. It is removed when the file is edited."""

ROOM_BYTES = 160
"""How long its text is."""


@dataclass
class Element:
    """An element.

    Attributes:
        kind: Its ID, with the marker bits.
        content: What it holds if it is not opened.
        children: What it holds if it is opened.
        place: Where it begins, in bytes from the start of the segment's content; of the elements of the segment only.
    """

    kind: int
    content: bytes = b""
    children: list[Element] = field(default_factory=list)
    place: int = -1

    def __bytes__(self) -> bytes:
        children = [child for child in self.children if child.kind != _CRC]
        content = self.content + b"".join(map(bytes, children))
        if len(children) < len(self.children):
            content = bytes(Element(_CRC, zlib.crc32(content).to_bytes(4, "little"))) + content
        return self._head(len(content)) + content

    def _head(self, size: int) -> bytes:
        return self.kind.to_bytes((self.kind.bit_length() + 7) // 8, "big") + _size(size)

    def all(self, kind: int) -> list[Element]:
        """The children of one kind."""
        return [child for child in self.children if child.kind == kind]

    def first(self, kind: int) -> Element | None:
        """The first child of a kind; None if there is none."""
        return next(iter(self.all(kind)), None)

    def value(self, kind: int) -> bytes:
        """The content of the first child of a kind; empty if there is none."""
        found = self.first(kind)
        return found.content if found is not None else b""


def _size(size: int, width: int = 0) -> bytes:
    """A size as a number of variable length, in as few bytes as it takes or as wanted."""
    width = width or next(count for count in range(1, 9) if size < (1 << 7 * count) - 1)
    return (size | 1 << 7 * width).to_bytes(width, "big")


def _number(content: bytes, place: int, *, keep_marker: bool) -> tuple[int, int] | None:
    """A number of variable length and how many bytes it has; -1 if it stands for an unknown size."""
    if place >= len(content) or not content[place]:
        return None
    count = 9 - content[place].bit_length()
    if place + count > len(content):
        return None
    value = int.from_bytes(content[place : place + count], "big")
    if keep_marker:
        return value, count
    value &= (1 << 7 * count) - 1
    return (-1 if value == (1 << 7 * count) - 1 else value), count


def _parsed(content: bytes) -> list[Element]:
    found, place = [], 0
    while (kind := _number(content, place, keep_marker=True)) is not None:
        size = _number(content, place + kind[1], keep_marker=False)
        if size is None or size[0] < 0:
            break
        begin = place + kind[1] + size[1]
        inside = content[begin : begin + size[0]]
        opened = kind[0] in _MASTERS
        found.append(Element(kind[0], b"" if opened else inside, _parsed(inside) if opened else [], place))
        place = begin + size[0]
    return found


def _segment(file: BinaryIO) -> tuple[int, int] | None:
    """Where the content of the segment begins and ends; None if it is no Matroska file, the file's end if it does not say."""
    end = file.seek(0, os.SEEK_END)
    for kind, begin, stop in _elements(file, 0, end):
        if kind == _SEGMENT:
            return begin, stop
        if kind != _EBML:
            break
    return None


def _elements(file: BinaryIO, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The kinds of elements that follow one another, and where the content of each begins and ends."""
    while place < end:
        file.seek(place)
        head = file.read(12)
        kind = _number(head, 0, keep_marker=True)
        size = _number(head, kind[1], keep_marker=False) if kind is not None else None
        if kind is None or size is None:
            return
        begin = place + kind[1] + size[1]
        stop = end if size[0] < 0 else begin + size[0]
        yield kind[0], begin, stop
        place = stop


def is_complete(path: Path) -> bool:
    """Whether a Matroska file is as long as it says, without a gap between its parts."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            segment = _segment(file)
            if segment is None or segment[1] > size:
                return False
            stop = segment[0]
            for _, _, stop in _elements(file, *segment):  # noqa: B007 - the last one counts
                pass
            return stop == segment[1]
    except OSError:
        return False


class Head:
    """The elements of a Matroska file before its first cluster, which can be changed and written back in their place.

    Args:
        path: The file.
        elements: The elements of the segment.
        begin: Where the content of the segment begins in the file.
        size: How many bytes there are before the first cluster.
    """

    def __init__(self, path: Path, elements: list[Element], begin: int, size: int) -> None:
        self.path = path
        self.elements = elements
        self._begin = begin
        self._size = size

    @classmethod
    def read(cls, path: Path) -> Head | None:
        """The head of a file; None if it is not a Matroska file, or has no cluster."""
        try:
            with path.open("rb") as file:
                segment = _segment(file)
                if segment is None:
                    return None
                end = segment[0]
                for kind, _, stop in _elements(file, *segment):
                    if kind == _CLUSTER:
                        break
                    end = stop
                else:
                    return None
                if end - segment[0] > _LONGEST_HEAD_BYTES:
                    return None
                file.seek(segment[0])
                elements = _parsed(file.read(end - segment[0]))
        except OSError:
            return None
        return cls(path, elements, segment[0], end - segment[0])

    def _all(self, kind: int) -> list[Element]:
        return [element for element in self.elements if element.kind == kind]

    @property
    def _track(self) -> Element | None:
        """The first track of moving pictures."""
        tracks = (track for element in self._all(_TRACKS) for track in element.all(_TRACK))
        return next((track for track in tracks if track.value(_TRACK_TYPE) == _IS_VIDEO), None)

    def set_end(self, end: Fraction) -> None:
        """Set when the last frame of the picture ends, in seconds. The file lasts as long, or longer if its sound does."""
        for info in self._all(_INFO):
            scale = int.from_bytes(info.value(_TIMESTAMP_SCALE), "big") or 1_000_000
            ticks = float(end * _NANOSECONDS / scale)
            duration = info.first(_DURATION)
            if duration is None:
                info.children.append(Element(_DURATION, struct.pack(">d", ticks)))
                continue
            stated = struct.unpack(">d" if len(duration.content) == 8 else ">f", duration.content)[0]
            # The picture itself may have been what lasted longest.
            longest = max((float(one * _NANOSECONDS / scale) for one in self._other_ends()), default=0.0)
            duration.content = struct.pack(">d", max(ticks, min(stated, longest)))
        for text in self._durations(of_picture=True):
            hours, rest = divmod(round(end * _NANOSECONDS), 3600 * _NANOSECONDS)
            minutes, rest = divmod(rest, 60 * _NANOSECONDS)
            seconds, rest = divmod(rest, _NANOSECONDS)
            said = f"{hours:02}:{minutes:02}:{seconds:02}.{rest:09}"
            text.content = said.encode().ljust(len(text.content), b"\0")

    def _other_ends(self) -> Iterator[Fraction]:
        for text in self._durations(of_picture=False):
            found = seconds_of(text.content.rstrip(b"\0").decode(errors="replace"))
            if found is not None:
                yield found

    def _durations(self, *, of_picture: bool) -> Iterator[Element]:
        """The texts of the tags that state how long tracks last."""
        track = self._track
        uid = track.value(_TRACK_UID) if track is not None else b""
        for tag in (tag for tags in self._all(_TAGS) for tag in tags.all(_TAG)):
            targets = tag.first(_TARGETS)
            target = targets.value(_TAG_TRACK_UID) if targets is not None else b""
            if not target or (target == uid) != of_picture:
                continue
            for simple in tag.all(_SIMPLE_TAG):
                text = simple.first(_TAG_STRING)
                if text is not None and simple.value(_TAG_NAME) == b"DURATION":
                    yield text

    def add_to_picture(self, elements: list[Element]) -> None:
        """Add elements to the description of the picture, in place of those of the same kind."""
        track = self._track
        video = track.first(_VIDEO) if track is not None else None
        if video is not None:
            kinds = {element.kind for element in elements}
            video.children = [*(child for child in video.children if child.kind not in kinds), *elements]

    def write(self) -> bool:
        """Write the elements back in their place.

        Returns:
            Whether there was room for them. If not, the file is as it was.

        Raises:
            OSError: They cannot be written.
        """
        for tags in self._all(_TAGS):
            for tag in tags.all(_TAG):
                room = [one for one in tag.all(_SIMPLE_TAG) if one.value(_TAG_NAME) == ROOM_TAG.encode()]
                tag.children = [child for child in tag.children if child not in room]
            tags.children = [one for one in tags.children if one.kind != _TAG or one.all(_SIMPLE_TAG)]
        kept = [element for element in self.elements if element.kind != _VOID]
        self._move_seeks(kept)
        content = b"".join(map(bytes, kept))
        left = self._size - len(content)
        if left < 0 or left == 1:  # one byte is too few for an element
            return False
        if left:
            width = 1 if left < 127 else 8
            content += bytes([_VOID]) + _size(left - 1 - width, width) + bytes(left - 1 - width)
        with self.path.open("r+b") as file:
            file.seek(self._begin)
            file.write(content)
        return True

    def _move_seeks(self, kept: list[Element]) -> None:
        """Let the list of places of elements name the places that they will have."""
        seeks = [seek for head in kept if head.kind == _SEEK_HEAD for seek in head.all(_SEEK)]
        positions = [position for seek in seeks if (position := seek.first(_SEEK_POSITION)) is not None]
        old = [int.from_bytes(position.content, "big") for position in positions]
        for position, place in zip(positions, old, strict=True):
            # As wide as any new place, so that the list has its size before the places are known.
            width = max(len(position.content), ((place + _SPARE_BYTES).bit_length() + 7) // 8)
            position.content = place.to_bytes(width, "big")
        moved, at = {}, 0
        for element in kept:
            moved[element.place] = at
            at += len(bytes(element))
        for position, place in zip(positions, old, strict=True):
            position.content = moved.get(place, place).to_bytes(len(position.content), "big")


def seconds_of(text: str) -> Fraction | None:
    """The seconds of a time such as ``00:01:02.500000000``; None if it is no such time."""
    parts = text.strip().split(":")
    try:
        hours, minutes, seconds = (Fraction(part) for part in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds

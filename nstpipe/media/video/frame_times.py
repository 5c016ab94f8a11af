"""Reads the packets of a video: the times of its frames, the clocks of its streams, and the losses that the packets reveal."""

from __future__ import annotations

import errno
import mmap
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

import av
from av.format import Flags

from nstpipe.errors import ItemError
from nstpipe.media.video.clock import OtherPackets, PicturePackets, Timeline, timeline
from nstpipe.media.video.ffmpeg import local
from nstpipe.media.video.info import MissingFrames
from nstpipe.media.video.matroska import is_complete

TRANSPORT_PACKET_BYTES = 188
"""A transport stream consists of packets of this size; with a time stamp before each packet, of 192 bytes."""

PACKETS_AT_JOINT = 3
"""Packets before a joint of which one is marked as damaged, because the demuxer notices the joint while it puts it together."""

SOUND_STEP_SECONDS = Fraction(1, 10)
"""The longest packet of sound in common codecs. A whole file may end this much before its stated duration."""

Open = Callable[[], AbstractContextManager[av.container.InputContainer]]
"""Opens a file at its beginning. A seek to the beginning would need a key frame at zero."""


def opened(path: Path, *, first_byte: int = 0) -> av.container.InputContainer:
    """Open a video at its beginning.

    Args:
        path: The file.
        first_byte: What comes before it is not read.

    Raises:
        av.FFmpegError: It cannot be opened.
    """
    # Old files have tags in other encodings; a tag that is not UTF-8 must not stop the film.
    options = {"protocol_whitelist": "file"}
    if first_byte:
        options["skip_initial_bytes"] = str(first_byte)
    return av.open(local(path), options=options, metadata_errors="replace")


_NONE = -(1 << 62)
"""Stands for a time that a packet does not have."""


@dataclass
class _Packets:
    """What the packets of a file tell, counted while they are read.

    Attributes:
        shown: The presentation time of each packet of the picture that is shown, in ticks.
        decoded: The decoding time of each, in ticks.
        keys: Whether each can be decoded by itself.
        places: The number of each in the file.
        others: The other streams.
        held: How many intact packets the picture has.
        corrupt: The numbers in the file of its packets that are marked as damaged, and their times in ticks.
        last_moment: The decoding time of the last intact one, in ticks.
        end: When the longest stream ends, in seconds.
        bytes_read: Where the last packet of the picture begins in the file.
        complaint: Why reading stopped early; empty if it did not.
    """

    shown: array[int] = field(default_factory=lambda: array("q"))
    decoded: array[int] = field(default_factory=lambda: array("q"))
    keys: bytearray = field(default_factory=bytearray)
    places: array[int] = field(default_factory=lambda: array("q"))
    others: dict[int, OtherPackets] = field(default_factory=dict)
    held: int = 0
    corrupt: list[tuple[int, int | None]] = field(default_factory=list)
    last_moment: int = -1
    end: Fraction = Fraction(0)
    bytes_read: int = 0
    complaint: str = ""


@dataclass(frozen=True)
class FrameTimes:
    """What the packets of a file tell.

    Attributes:
        timeline: The times of the frames.
        loss: What is missing; None if nothing is.
        others: The streams of sound and subtitles, by their numbers in the file.
        is_read_to_end: Whether reading did not stop early.
    """

    timeline: Timeline
    loss: MissingFrames | None
    others: Mapping[int, OtherPackets]
    is_read_to_end: bool


def frame_times(open_again: Open, index: int) -> FrameTimes:
    """Read all packets of a file. If the picture's have no times, decode it too.

    Args:
        open_again: Opens the file.
        index: The number of the picture's stream.

    Raises:
        ItemError: No frame can be decoded.
    """
    with open_again() as container:
        stream = container.streams[index]
        assert isinstance(stream, av.VideoStream)
        packets = _read_packets(container, stream)
        line = _timeline(open_again, container, stream, packets)
        if not line.ticks:
            name = container.name.removeprefix("file:")
            raise ItemError(f"{name} has a video stream, but no frame of it can be decoded.")
        return FrameTimes(line, _loss(container, stream, packets, line), packets.others, not packets.complaint)


def _read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> _Packets:
    found = _Packets()
    bases = {other.index: Fraction(other.time_base or Fraction(1, 1000)) for other in container.streams}
    ends: dict[int, int] = {}
    for other in container.streams:
        if other.index != stream.index and other.type in ("audio", "subtitle"):
            found.others[other.index] = OtherPackets(other.type == "audio", bases[other.index])
    try:
        # One packet at a time: together they are as large as the file. All streams: the longest one gives the duration.
        for place, packet in enumerate(container.demux()):
            if not packet.size:
                continue
            index, shown, duration = packet.stream_index, packet.pts, packet.duration or 0
            if shown is not None:
                ends[index] = max(ends.get(index, 0), shown + duration)
            if index == stream.index:
                found.bytes_read = max(found.bytes_read, packet.pos or 0)
                _add_picture(found, packet, place)
            elif (packets := found.others.get(index)) is not None:
                if not packets.count:
                    packets.first_byte = found.bytes_read
                moment = packet.dts if packet.dts is not None else shown
                packets.add(place, moment, duration, is_broken=is_broken(packet, container), is_hidden=packet.is_discard)
    except av.FFmpegError as error:
        # Some old demuxers end with -1, which is this error's number.
        found.complaint = "" if error.errno == errno.EPERM else error.strerror or str(error)
    found.end = max((end * bases[index] for index, end in ends.items() if index in bases), default=Fraction(0))
    if container.format.name == "avi":
        # The index of an AVI counts moments, one per tick. Those in which the picture before goes on are empty.
        is_whole = _has_whole_chunks(Path(container.name.removeprefix("file:")))
        found.held = max(stream.frames, 1 + found.last_moment) if is_whole else 1 + found.last_moment
    return found


def _has_whole_chunks(path: Path) -> bool:
    """Whether the chunks of which an AVI consists have the length that they state; a large one consists of several."""
    position, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while file.seek(position) < size and (head := file.read(8))[:4] == b"RIFF":
            position += 8 + int.from_bytes(head[4:], "little")
    return 8 < position <= size


_FRAGILE_CODECS = frozenset({"eac3", "truehd"})
"""Codecs whose packets are looked into when they are written, so that a damaged one ends the writing."""


def is_broken(packet: av.Packet[Any], container: av.container.InputContainer) -> bool:
    """Whether a packet of sound is so damaged that it would end the writing of a result."""
    codec = packet.stream.codec_context.name if packet.stream.codec_context is not None else ""
    if codec == "aac" and container.format.name == "mpegts":
        # Each packet has an ADTS header (ISO 13818-7), which begins with these bits and states its size.
        head = bytes(memoryview(packet)[:6])
        return len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or _adts_size(head) > packet.size
    return packet.is_corrupt and codec in _FRAGILE_CODECS


def _adts_size(head: bytes) -> int:
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def _add_picture(found: _Packets, packet: av.Packet[Any], place: int) -> None:
    if packet.is_corrupt:
        found.corrupt.append((place, packet.pts))
    else:
        found.held += 1
        found.last_moment = max(found.last_moment, packet.dts if packet.dts is not None else -1)
    if not packet.is_discard:
        found.shown.append(_NONE if packet.pts is None else packet.pts)
        found.decoded.append(_NONE if packet.dts is None else packet.dts)
        found.keys.append(packet.is_keyframe)
        found.places.append(place)


def _timeline(open_again: Open, container: av.container.InputContainer, stream: av.VideoStream, packets: _Packets) -> Timeline:
    base = Fraction(stream.time_base or Fraction(1, 1000))
    rate_step = max(1, round(1 / (Fraction(stream.average_rate or 25) * base)))
    if _NONE in packets.shown:
        shown, filled = _decoded_times(open_again, stream.index, rate_step)
        last = len(packets.places) - 1
        places = [packets.places[min(number, last)] for number in range(len(shown))]
        picture = PicturePackets(base, shown, [None] * len(shown), [True] * len(shown), places, rate_step, filled)
    else:
        moments = [None if moment == _NONE else moment for moment in packets.decoded]
        keys = [bool(key) for key in packets.keys]
        picture = PicturePackets(base, packets.shown, moments, keys, packets.places, rate_step)
    is_set_anew = bool(container.format.flags & Flags.ts_discont.value)  # type: ignore[operator]  # both are whole numbers
    return timeline(picture, packets.others, clock_is_set_anew=is_set_anew)


def _decoded_times(open_again: Open, index: int, rate_step: int) -> tuple[Sequence[int], int]:
    """The times of the frames as they are decoded, in ticks of the file, and how many are filled in by the frame rate.

    Args:
        open_again: Opens the file.
        index: The number of the picture's stream.
        rate_step: Between two frames at the frame rate, in ticks.
    """
    shown: list[int | None] = []
    decoded: list[int | None] = []
    with open_again() as container:
        try:
            for frame in container.decode(container.streams[index]):
                assert isinstance(frame, av.VideoFrame)
                shown.append(frame.pts)
                decoded.append(frame.dts)
        except av.FFmpegError:
            pass  # what is decoded before an error counts
    for times in (shown, decoded):
        known = [time for time in times if time is not None]
        if len(known) == len(times):
            return known, 0
    return _filled(shown, rate_step)


def _filled(times: Sequence[int | None], rate_step: int) -> tuple[list[int], int]:
    """Times with those that are missing filled in, by the frame rate from the nearest one that is known."""
    first = next((number for number, time in enumerate(times) if time is not None), None)
    anchor = times[first] if first is not None else None
    last = -rate_step if first is None or anchor is None else anchor - (first + 1) * rate_step
    found = []
    for time in times:
        last = time if time is not None else last + rate_step
        found.append(last)
    return found, times.count(None)


def _loss(
    container: av.container.InputContainer, stream: av.VideoStream, packets: _Packets, line: Timeline
) -> MissingFrames | None:
    ticks, time_base = line.ticks, line.time_base
    steps = [later - earlier for earlier, later in pairwise(ticks)] or [0]
    behind_last = (ticks[-1] + median_low(steps)) * time_base
    joints = line.mending.joints if line.mending is not None else ()
    # Between two recordings that were joined, the counters of the packets do not fit. Nothing is missing there.
    between = {place for joint in joints for place in packets.places[max(0, joint - PACKETS_AT_JOINT) : joint + 1]}
    corrupt = [(place, time) for place, time in packets.corrupt if place not in between]
    first_corrupt = next((time * line.raw_time_base for _, time in corrupt if time is not None), None)
    if packets.held < stream.frames:
        reason = f"the file is cut short: its index lists {stream.frames} frames and it holds {packets.held}"
        time = behind_last if first_corrupt is None else first_corrupt
        return MissingFrames(time, stream.frames - packets.held, reason)
    unread = _unread_recording(container, packets.bytes_read)
    if unread is not None:
        reason = (
            f"another recording begins at byte {unread}, because files were joined byte by byte, and ffmpeg reads only what "
            "comes before it; join them with ffmpeg's concat demuxer instead"
        )
        return MissingFrames(behind_last, None, reason)
    stated_end = _stated_end(container)
    is_early = stated_end is not None and packets.end + max(steps) * time_base < stated_end - SOUND_STEP_SECONDS
    # The last frame of a complete file may be shown until the stated end.
    if stated_end is not None and is_early and not is_complete(Path(container.name.removeprefix("file:"))):
        reason = f"the file is cut short: it should last {float(stated_end):.3f} s and ends at {float(packets.end):.3f} s"
        return MissingFrames(behind_last, None, reason)
    if container.format.name == "mpegts" and container.size % TRANSPORT_PACKET_BYTES and container.size % 192:
        return MissingFrames(behind_last, None, "the file is cut short: it ends in the middle of a transport packet")
    if corrupt:
        reason = f"{len(corrupt)} of its packets are damaged"
        return MissingFrames(first_corrupt or Fraction(0), None, reason)
    return MissingFrames(behind_last, None, f"reading stopped: {packets.complaint}") if packets.complaint else None


_BEGINNINGS = {
    "flv": re.compile(rb"FLV\x01[\x00-\x05]\x00\x00\x00\x09"),
    "matroska": re.compile(rb"\x1aE\xdf\xa3[\x80-\xff].{0,60}?\x42\x82", re.DOTALL),
    "asf": re.compile(rb"0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa\x00b\xcel"),
}
"""How files of a format begin, by the first of ffmpeg's names of the format; of those that ffmpeg reads only once in a file."""


def _unread_recording(container: av.container.InputContainer, bytes_read: int) -> int | None:
    """Where another file of the same format begins behind the last packet; None if there is none."""
    name, path = container.format.name.split(",")[0], Path(container.name.removeprefix("file:"))
    if name == "mov":
        return _second_movie(path)
    if name not in _BEGINNINGS or not container.size:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = _BEGINNINGS[name].search(content, bytes_read)
    return None if found is None else found.start()


def _second_movie(path: Path) -> int | None:
    """Where a second file type box stands at the top level of an MP4 or MOV (ISO 14496-12); None if there is none."""
    types, position, size = 0, 0, path.stat().st_size
    with path.open("rb") as file:
        while position + 16 <= size:
            file.seek(position)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            types += head[4:8] == b"ftyp"
            if types == 2:
                return position
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            if length < 8:  # the last box goes on to the end
                break
            position += length
    return None


def _stated_end(container: av.container.InputContainer) -> Fraction | None:
    """The duration that a Matroska file states, in seconds; in other containers it is counted from what is there."""
    if not container.format.name.startswith("matroska") or container.duration is None:
        return None
    return Fraction(container.duration, 1_000_000)

"""The times of a video's frames, from its packets, and the losses that the packets reveal."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median_low

import av

from nstpipe.errors import ItemError
from nstpipe.media.video.info import MissingFrames
from nstpipe.media.video.matroska import is_complete

TRANSPORT_PACKET_BYTES = 188
"""A transport stream consists of packets of this size; with a time stamp before each packet, of 192 bytes."""

SOUND_STEP_SECONDS = Fraction(1, 10)
"""The longest packet of sound in common codecs. A whole file may end this much before its stated duration."""


@dataclass
class _Packets:
    """What the packets of a file tell, counted while they are read.

    Attributes:
        shown: The presentation time of each packet of the picture, in ticks.
        held: How many intact packets the picture has.
        corrupt: How many of its packets are marked as damaged.
        first_corrupt: The time of the first of them, in ticks.
        last_moment: The decoding time of the last intact one, in ticks.
        end: When the longest stream ends, in seconds.
        complaint: Why reading stopped early; empty if it did not.
    """

    shown: list[int | None]
    held: int = 0
    corrupt: int = 0
    first_corrupt: int | None = None
    last_moment: int = -1
    end: Fraction = Fraction(0)
    complaint: str = ""


def frame_times(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[tuple[int, ...], MissingFrames | None]:
    """The times of all frames, from the packets, or by decoding if the packets have no times.

    Returns:
        The times in ticks, in display order; and what is missing, or None.

    Raises:
        ItemError: No frame can be decoded.
    """
    packets = _read_packets(container, stream)
    ticks = _ordered(container, stream, packets.shown)
    if not ticks:
        raise ItemError(f"{container.name.removeprefix('file:')} has a video stream, but no frame of it can be decoded.")
    return ticks, _loss(container, stream, packets, ticks)


def _read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> _Packets:
    found = _Packets([])
    try:
        # One packet at a time: together they are as large as the file. All streams: the longest one gives the duration.
        for packet in container.demux():
            if not packet.size:
                continue
            if packet.pts is not None and packet.time_base:
                found.end = max(found.end, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
            if packet.stream.index != stream.index:
                continue
            if packet.is_corrupt:
                found.corrupt += 1
                found.first_corrupt = packet.pts if found.first_corrupt is None else found.first_corrupt
            else:
                found.held += 1
                found.last_moment = max(found.last_moment, packet.dts if packet.dts is not None else -1)
            if not packet.is_discard:
                found.shown.append(packet.pts)
    except av.FFmpegError as error:
        found.complaint = error.strerror or str(error)
    if container.format.name == "avi":
        # The index of an AVI counts moments, one per tick, and some of them are empty if the rate varies.
        found.held = 1 + found.last_moment
    return found


def _loss(
    container: av.container.InputContainer, stream: av.VideoStream, packets: _Packets, ticks: tuple[int, ...]
) -> MissingFrames | None:
    time_base = Fraction(stream.time_base or Fraction(1, 1000))
    steps = [later - earlier for earlier, later in pairwise(ticks)] or [0]
    behind_last = (ticks[-1] + median_low(steps)) * time_base
    if packets.held < stream.frames:
        reason = f"the file is cut short: its index lists {stream.frames} frames and it holds {packets.held}"
        time = behind_last if packets.first_corrupt is None else packets.first_corrupt * time_base
        return MissingFrames(time, stream.frames - packets.held, reason)
    stated_end = _stated_end(container)
    is_early = stated_end is not None and packets.end + max(steps) * time_base < stated_end - SOUND_STEP_SECONDS
    # The last frame of a complete file may be shown until the stated end.
    if stated_end is not None and is_early and not is_complete(Path(container.name.removeprefix("file:"))):
        reason = f"the file is cut short: it should last {float(stated_end):.3f} s and ends at {float(packets.end):.3f} s"
        return MissingFrames(behind_last, None, reason)
    if container.format.name == "mpegts" and container.size % TRANSPORT_PACKET_BYTES and container.size % 192:
        return MissingFrames(behind_last, None, "the file is cut short: it ends in the middle of a transport packet")
    if packets.corrupt:
        reason = f"{packets.corrupt} of its packets are damaged"
        return MissingFrames((packets.first_corrupt or 0) * time_base, None, reason)
    return MissingFrames(behind_last, None, f"reading stopped: {packets.complaint}") if packets.complaint else None


def _stated_end(container: av.container.InputContainer) -> Fraction | None:
    """The duration that a Matroska file states, in seconds; in other containers it is counted from what is there."""
    if not container.format.name.startswith("matroska") or container.duration is None:
        return None
    return Fraction(container.duration, 1_000_000)


def _ordered(container: av.container.InputContainer, stream: av.VideoStream, shown: list[int | None]) -> tuple[int, ...]:
    if None not in shown and len(set(shown)) == len(shown):
        return tuple(sorted(pts for pts in shown if pts is not None))
    container.seek(0)
    decoded: list[int | None] = []
    try:
        for frame in container.decode(stream):
            decoded.append(frame.pts)  # noqa: PERF401 - what is decoded before an error counts
    except av.FFmpegError:
        pass
    if None in decoded:
        rate = Fraction(stream.average_rate or 25)
        step = 1 / (rate * Fraction(stream.time_base or Fraction(1, 1000)))
        return tuple(round(index * step) for index in range(len(decoded)))
    return tuple(pts for pts in decoded if pts is not None)

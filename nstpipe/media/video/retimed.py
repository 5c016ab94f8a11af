"""Copies the sound and the subtitles of a video whose times are mended into a file of their own, with the mended times."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from nstpipe.errors import ItemError
from nstpipe.media.video.clock import Shift
from nstpipe.media.video.frame_times import opened
from nstpipe.media.video.info import Stream, VideoInfo

_FORMATS = ("nut", "matroska", "mov")
"""Containers that hold streams of nearly every codec, by ffmpeg's names. NUT comes first: it keeps exact times."""


def write_retimed(info: VideoInfo, streams: Iterable[Stream], path: Path, *, seconds: float | None = None) -> None:
    """Copy streams of a video packet by packet, in their order, and move each packet as the recording that it belongs to.

    Args:
        info: The video, whose timeline says how its recordings are moved.
        streams: The streams to copy.
        path: The file to write.
        seconds: How much of each stream is copied; None for all of it.

    Raises:
        ItemError: No container holds these streams.
    """
    wanted = tuple(stream.index for stream in streams)
    reasons = []
    for name in _FORMATS:
        try:
            _copy(info, wanted, path, name, seconds)
        except (av.FFmpegError, ValueError) as error:
            reasons.append(getattr(error, "strerror", None) or str(error))
        else:
            return
    raise ItemError(f"{info.path}: its sound cannot be copied with mended times: {reasons[0]}.", "Set `audio: none`.")


def _copy(info: VideoInfo, wanted: tuple[int, ...], path: Path, name: str, seconds: float | None) -> None:
    assert info.timeline is not None
    assert info.timeline.mending is not None
    clocks = {index: _Clock(info.timeline.mending.shifts[index]) for index in wanted}
    # Nothing of it may be moved again: some sound begins a little before zero.
    options = {"avoid_negative_ts": "disabled"}
    with opened(info.path) as original, av.open(str(path), "w", format=name, options=options) as copy:
        copies = {index: copy.add_stream_from_template(original.streams[index]) for index in wanted}
        copy.start_encoding()
        with suppress(av.FFmpegError):  # what is read before an error counts
            for packet in original.demux([original.streams[index] for index in wanted]):
                index = packet.stream.index
                if packet.size and clocks[index].move(packet, seconds):
                    packet.stream = copies[index]
                    copy.mux(packet)


class _Clock:
    """Moves the packets of one stream, in their order."""

    def __init__(self, shifts: tuple[Shift, ...]) -> None:
        self._firsts = [shift.first_packet for shift in shifts]
        self._shifts = [shift.seconds for shift in shifts]
        self._number = 0
        self._first: int | None = None
        self._last: int | None = None

    def move(self, packet: av.Packet[Any], seconds: float | None) -> bool:
        """Give a packet its mended times. Return whether it is to be copied."""
        base = Fraction(packet.time_base or Fraction(1, 1000))
        shift = round(self._shifts[bisect_right(self._firsts, self._number) - 1] / base)
        self._number += 1
        moment = packet.dts if packet.dts is not None else packet.pts
        if moment is None:
            return False
        moment += shift
        # Sound that overlaps by the rounding of its file follows at once.
        late = 0 if self._last is None else max(0, self._last + 1 - moment)
        self._last = moment + late
        self._first = moment if self._first is None else self._first
        packet.dts = self._last
        packet.pts = self._last if packet.pts is None else packet.pts + shift + late
        return seconds is None or (self._last - self._first) * base < seconds

"""Copies the sound and the subtitles of a video into a file of their own, mended: at the times that go with the picture's."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from nstpipe.errors import ItemError
from nstpipe.media.video.clock import Shift
from nstpipe.media.video.frame_times import is_broken, opened
from nstpipe.media.video.info import Stream, VideoInfo

_FORMATS = ("nut", "matroska", "mov")
"""Containers that hold streams of nearly every codec, by ffmpeg's names. NUT comes first: it keeps exact times."""


def write_retimed(info: VideoInfo, streams: Iterable[Stream], path: Path, *, seconds: float | None = None) -> None:
    """Copy streams of a video packet by packet, in their order, and move each packet as the recording that it belongs to.

    Damaged packets, and those that were cut away at the beginning, are left out.

    Args:
        info: The video, whose timeline says how its recordings are moved, if they are.
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
        except (av.FFmpegError, ValueError, StopIteration) as error:
            reasons.append(getattr(error, "strerror", None) or str(error))
        else:
            return
    raise ItemError(f"{info.path}: its sound cannot be copied with mended times: {reasons[0]}.", "Set `audio: none`.")


def _copy(info: VideoInfo, wanted: tuple[int, ...], path: Path, name: str, seconds: float | None) -> None:
    mending = info.timeline.mending if info.timeline is not None else None
    shifts = mending.shifts if mending is not None else {}
    cut_away = {stream.index: stream.cut_away for stream in info.streams}
    clocks = {index: _Clock(shifts.get(index, (Shift(0, Fraction(0)),)), cut_away[index]) for index in wanted}
    late_from = {stream.index: stream.late_from for stream in info.streams if stream.index in wanted}
    # Nothing of it may be moved again: some sound begins a little before zero.
    options = {"avoid_negative_ts": "disabled"}
    with ExitStack() as stack:
        originals = {first: stack.enter_context(opened(info.path, first_byte=first)) for first in set(late_from.values())}
        of_stream = {index: _counterpart(originals, info.path, index, first) for index, first in late_from.items()}
        copy = stack.enter_context(av.open(str(path), "w", format=name, options=options))
        copies = {index: copy.add_stream_from_template(of_stream[index]) for index in wanted}
        copy.start_encoding()
        for first, original in originals.items():
            numbers = {of_stream[index].index: index for index in wanted if late_from[index] == first}
            for packet in _packets(original, [of_stream[index] for index in numbers.values()]):
                index = numbers[packet.stream.index]
                if clocks[index].move(packet, seconds) and not is_broken(packet, original):
                    packet.stream = copies[index]
                    copy.mux(packet)


def _packets(original: av.container.InputContainer, streams: Sequence[Any]) -> Iterator[av.Packet[Any]]:
    with suppress(av.FFmpegError):  # what is read before an error counts
        yield from (packet for packet in original.demux(streams) if packet.size)


def _counterpart(originals: Mapping[int, av.container.InputContainer], path: Path, index: int, first_byte: int) -> Any:
    """A stream in a file that was opened behind its beginning, where it may have another number."""
    if not first_byte:
        return originals[0].streams[index]
    with opened(path) as whole:
        wanted = whole.streams[index].id
    return next(stream for stream in originals[first_byte].streams if stream.id == wanted)


class _Clock:
    """Moves the packets of one stream, in their order."""

    def __init__(self, shifts: tuple[Shift, ...], cut_away: int) -> None:
        self._firsts = [shift.first_packet for shift in shifts]
        self._shifts = [shift.seconds for shift in shifts]
        self._cut_away = cut_away
        self._number = 0
        self._first: int | None = None
        self._last: int | None = None

    def move(self, packet: av.Packet[Any], seconds: float | None) -> bool:
        """Give a packet its mended times. Return whether it is to be copied."""
        base = Fraction(packet.time_base or Fraction(1, 1000))
        shift = round(self._shifts[bisect_right(self._firsts, self._number) - 1] / base)
        self._number += 1
        moment = packet.dts if packet.dts is not None else packet.pts
        if moment is None or self._number <= self._cut_away:
            return False
        moment += shift
        # Sound that overlaps by the rounding of its file follows at once.
        late = 0 if self._last is None else max(0, self._last + 1 - moment)
        self._last = moment + late
        self._first = moment if self._first is None else self._first
        packet.dts = self._last
        packet.pts = self._last if packet.pts is None else packet.pts + shift + late
        return seconds is None or (self._last - self._first) * base < seconds

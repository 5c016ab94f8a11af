"""Reads a video as frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from nstpipe.media.frame import Alpha, Frame, Pixels
from nstpipe.media.transparency import with_hidden_filled
from nstpipe.media.video.animation import animation_frames
from nstpipe.media.video.ffmpeg_frames import ffmpeg_frames
from nstpipe.media.video.info import Reader, VideoInfo
from nstpipe.media.video.sequence import numbered_pictures


class VideoSource:
    """Reads the frames of a video one by one."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info

    @property
    def path(self) -> Path:
        """The file."""
        return self.info.path

    @property
    def frame_count(self) -> int:
        """How many frames the file holds."""
        return len(self.info.ticks)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright and with square pixels."""
        return self.info.width, self.info.height

    def read(self, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
        """See `Source.read`."""
        yield from _FRAMES_OF[self.info.reader](self.info, first_frame_index, end_frame_index)


def _animation(info: VideoInfo, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
    pictures = islice(animation_frames(info.path, end_frame_index), first_frame_index, None)
    return _timed(info, pictures, first_frame_index)


def _sequence(info: VideoInfo, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
    return _timed(info, numbered_pictures(info, first_frame_index, end_frame_index), first_frame_index)


def _timed(info: VideoInfo, pictures: Iterator[tuple[Pixels, Alpha | None]], first_frame_index: int) -> Iterator[Frame]:
    for frame_index, (pixels, found) in enumerate(pictures, start=first_frame_index):
        alpha = found if info.is_transparent else None
        shown = pixels if alpha is None else with_hidden_filled(pixels, alpha)
        yield Frame(shown, frame_index, info.ticks[frame_index] * info.time_base, alpha=alpha)


_FRAMES_OF: dict[Reader, Callable[[VideoInfo, int, int], Iterator[Frame]]] = {
    Reader.FFMPEG: ffmpeg_frames,
    Reader.ANIMATION: _animation,
    Reader.SEQUENCE: _sequence,
}
"""What decodes the frames from the first one up to, not including, the end."""

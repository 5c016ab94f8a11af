"""Writes stylized frames as a video, an animation, or numbered pictures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from nstpipe.errors import ItemError
from nstpipe.media.frame import SIXTEEN_BIT_STEP, Frame, Pixels, in_eight_bits, in_sixteen_bits, resized
from nstpipe.media.video.encoding import EncodeSettings, EncodingTask, bits_of, encoding_graph, keeps_alpha, pixel_format_of
from nstpipe.media.video.ffmpeg import PIPE_BYTES, Process
from nstpipe.media.video.ffmpeg_frames import raw_format
from nstpipe.media.video.finishing import add_what_is_missing
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.last_duration import set_duration
from nstpipe.media.video.probe import probe
from nstpipe.media.video.retimed import write_retimed
from nstpipe.media.video.sequence import SequenceSink
from nstpipe.system.files import complete, ensure_writable, is_numbered, partial_path


class VideoSink:
    """Encodes stylized frames at the original's times, with the original's sound, tags and chapters.

    Args:
        path: The final name of the result; its suffix decides the container.
        info: The original.
        size: Width and height of the stylized frames, in pixels.
        encode: The codec and the quality.
        copy_audio: Whether the result carries the sound.
        keep_metadata: Whether the result carries the tags and the chapters.
        frame_count: How many frames will be written; `finish` checks it.
        seconds_of_sound: How much of the sound the result carries; None for all of it.
        place: Called with the complete file just before it gets its name. It may raise an error to keep it from that.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        size: tuple[int, int],
        encode: EncodeSettings,
        *,
        copy_audio: bool,
        keep_metadata: bool,
        frame_count: int,
        seconds_of_sound: float | None = None,
        place: Callable[[Path], None] = lambda _: None,
    ) -> None:
        ensure_writable(path.parent)
        self.path = path
        self._info = info
        self._size = size
        self._keep_metadata = keep_metadata
        self._frame_count = frame_count
        self._place = place
        self._written: list[int] = []
        self._partial = partial_path(path)
        # The ffmpeg of a run that was killed may still be writing: its file no longer has this name.
        self._partial.unlink(missing_ok=True)
        task = EncodingTask(path, info, encode, copy_audio, keep_metadata, seconds_of_sound)
        self._retimed = partial_path(path).with_suffix(".sound")
        if task.must_retime:
            task = replace(task, retimed=self._retimed)
            write_retimed(info, task.timed_streams, self._retimed, seconds=seconds_of_sound)
        self._container = task.container
        self._languages = (info.language, *(one.stream.language for one in task.carried)) if keep_metadata else ()
        self._is_deep = bits_of(encode, info, path) > 8
        self._has_alpha = keeps_alpha(encode, info, path)
        self._frame_format = raw_format(deep=self._is_deep, alpha=self._has_alpha)
        # swscale expects 255 * 256 for white when it converts 16 bits to Y'CbCr.
        pixel_format = pixel_format_of(encode, info, path)
        self._white_is_lower = self._is_deep and not av.VideoFormat(pixel_format).is_rgb
        self._process = Process(encoding_graph(task, self._partial), path, stdin=True)
        # The frames travel in NUT, the one raw container that carries their exact times through a pipe.
        self._pipe = av.open(_WriteOnly(self._process.stdin), "w", format="nut", buffer_size=PIPE_BYTES)
        stream = self._pipe.add_stream("rawvideo", rate=info.average_rate)
        stream.width, stream.height = size
        stream.pix_fmt = self._frame_format
        stream.time_base = stream.codec_context.time_base = info.time_base
        self._stream = stream

    def write(self, pixels: Pixels, frame: Frame) -> None:
        """See `Sink.write`.

        Raises:
            ItemError: The encoder has failed.
        """
        values: Any = in_sixteen_bits(pixels) if self._is_deep else in_eight_bits(pixels)
        if self._white_is_lower:
            values = values - values // SIXTEEN_BIT_STEP
        if self._has_alpha:
            values = np.dstack([values, self._alpha_of(frame, values)])
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format=self._frame_format)
        picture.pts = tick = self._info.ticks[frame.frame_index]
        picture.time_base = self._info.time_base
        try:
            self._pipe.mux(self._stream.encode(picture))
        except (BrokenPipeError, av.FFmpegError) as error:
            raise self._failure() from error
        self._written.append(tick)

    def _alpha_of(self, frame: Frame, values: NDArray[Any]) -> NDArray[Any]:
        """How opaque a frame is, at the size and with the type of its values."""
        if frame.alpha is None:
            return np.full(values.shape[:2], np.iinfo(values.dtype).max, values.dtype)
        alpha = resized(frame.alpha, (values.shape[1], values.shape[0]))
        return in_sixteen_bits(alpha) if self._is_deep else in_eight_bits(alpha)

    def finish(self) -> VideoInfo:
        """Complete the file, check it, and give it its final name.

        Returns:
            What the finished file holds.

        Raises:
            ItemError: Encoding failed, or the file does not hold each frame at its time.
        """
        try:
            self._pipe.mux(self._stream.encode(None))
            self._pipe.close()
        except (BrokenPipeError, av.FFmpegError) as error:
            raise self._failure() from error
        self._process.finish()
        add_what_is_missing(self._partial, self._info, self._size, keep_metadata=self._keep_metadata, languages=self._languages)
        self._hold_last_frame()
        found = probe(self._partial)
        self._check_times(found)
        self._place(self._partial)
        complete(self._partial, self.path)
        self._retimed.unlink(missing_ok=True)
        return found

    def _hold_last_frame(self) -> None:
        """Show the last frame of an animation as long as the original does, if its file tells."""
        ticks, end = self._info.ticks, self._info.end_tick
        if end is not None:
            set_duration(self._partial, self._container, (end - ticks[0]) * self._info.time_base)

    def _check_times(self, found: VideoInfo) -> None:
        expected = self._expected_ticks(found)
        joined = len(self._written) - len(expected)
        if not self._frame_count == len(self._written) == len(found.ticks) + joined:
            raise ItemError(
                f"{self.path}: {self._frame_count} frames planned, {len(self._written)} written and "
                f"{len(found.ticks)} found in the encoded file."
            )
        # As they are in the file, not as they would be mended: Matroska may give the same millisecond to two frames.
        line = found.timeline
        times, time_base = (found.ticks, found.time_base) if line is None else (line.raw, line.raw_time_base)
        for tick, original_tick in zip(times, expected, strict=True):
            apart = abs(tick * time_base - self._seconds_in_file(original_tick))
            if apart > max(time_base, self._info.time_base):
                raise ItemError(f"{self.path}: a frame is {float(apart):.4f} s from its time in the encoded file.")

    def _seconds_in_file(self, tick: int) -> Fraction:
        """When a frame is shown. An animation begins with its first frame, whenever the original does."""
        start = self._written[0] if self._container.is_animation else 0
        return (tick - start) * self._info.time_base

    def _expected_ticks(self, found: VideoInfo) -> list[int]:
        """The ticks of the frames written, without those that the encoder has joined with an equal frame before them."""
        if not self._container.joins_equal_frames:
            return self._written
        kept: list[int] = []
        times = [round(tick * found.time_base * 1000) for tick in found.ticks]
        for tick in self._written:
            # Times are rounded, and two frames may be a millisecond apart: each one found stands for one written.
            if len(kept) < len(times) and abs(round(self._seconds_in_file(tick) * 1000) - times[len(kept)]) <= 1:
                kept.append(tick)
        return kept

    def _failure(self) -> ItemError:
        try:
            self._process.finish()
        except ItemError as error:
            return error
        return self._process.failure("a closed pipe")

    def abandon(self) -> None:
        """See `Sink.abandon`."""
        self._process.__exit__(None, None, None)
        with suppress(OSError):  # the error that is being raised says more
            self._partial.unlink(missing_ok=True)
            self._retimed.unlink(missing_ok=True)

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.abandon()


def video_sink(
    path: Path,
    info: VideoInfo,
    size: tuple[int, int],
    encode: EncodeSettings,
    *,
    copy_audio: bool,
    keep_metadata: bool,
    frame_count: int,
    place: Callable[[Path], None] = lambda _: None,
) -> VideoSink | SequenceSink:
    """The sink of a path: a video, an animation, or numbered pictures. See `VideoSink` for the arguments."""
    if is_numbered(path):
        return SequenceSink(path, numbers_of(info, frame_count), place=place)
    return VideoSink(
        path,
        info,
        size,
        encode,
        copy_audio=copy_audio,
        keep_metadata=keep_metadata,
        frame_count=frame_count,
        place=place,
    )


def numbers_of(info: VideoInfo, frame_count: int) -> tuple[int, ...]:
    """The numbers in the names of the result: those of numbered pictures, with their gaps, or from 1 for a video."""
    if info.is_sequence:
        return tuple(info.first_number + tick for tick in info.ticks[:frame_count])
    return tuple(range(1, frame_count + 1))


class _WriteOnly:
    """A pipe as PyAV needs it: PyAV takes an object with a seek method for a file."""

    def __init__(self, pipe: BufferedWriter) -> None:
        self._pipe = pipe

    def write(self, content: bytes) -> int:
        return self._pipe.write(content)

"""Videos: what is in them, their frames out, and stylised frames back in with their time, colour and sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

import av
import ffmpeg as graphs
import numpy as np
from av.stream import Disposition

from nstpipe.config.models import Encode
from nstpipe.errors import ItemError
from nstpipe.files import complete, ensure_folder, partial_path
from nstpipe.media.ffmpeg import LOCAL_ONLY, Process, local
from nstpipe.media.frame import Frame, Pixels

Matrix = Literal["bt709", "smpte170m", "bt2020nc"]

_MATRICES: dict[int, Matrix] = {1: "bt709", 5: "smpte170m", 6: "smpte170m", 9: "bt2020nc"}
"""ITU-T H.273 numbers of matrix coefficients; 5 and 6 are the two namings of BT.601's one matrix."""

_PRIMARIES = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020"}
_TRANSFERS = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12"}

HD_HEIGHT = 720
"""An untagged picture of this height or more is taken for BT.709, a smaller one for BT.601, as players do."""

SEEKABLE_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""Containers with an index, in which a seek is exact; others are decoded from their beginning."""

H273_FULL_RANGE = 2
"""FFmpeg's number for colour values that use all of 0 to 255."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video holds.

    Attributes:
        path: the file.
        width: of a frame in pixels, upright and with square pixels.
        height: likewise.
        time_base: seconds that one tick lasts.
        ticks: each frame's time in ticks, in display order.
        average_rate: frames a second.
        matrix: from Y'CbCr to R'G'B'.
        matrix_is_tagged: whether the file says so, or it was taken from the picture's height.
        full_range: whether the file's values use 0 to 255, rather than 16 to 235.
        primaries: ffmpeg's name, or None if the file says nothing.
        transfer: likewise.
        audio_streams: how many.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    ticks: tuple[int, ...]
    average_rate: Fraction
    matrix: Matrix
    matrix_is_tagged: bool
    full_range: bool
    primaries: str | None
    transfer: str | None
    audio_streams: int


def probe(path: Path) -> VideoInfo:
    """Look into a video, without decoding more than its first frame where its packets carry their times.

    Raises:
        ItemError: it is missing, no video, or promises more than it holds.
    """
    try:
        with av.open(local(path), options={"protocol_whitelist": "file"}) as container:
            streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
            if not streams:
                raise ItemError(f"{path} has no video stream.", "Give a video, or a folder of pictures.")
            stream = streams[0]
            first = next(container.decode(stream), None)
            if first is None:
                raise ItemError(f"{path} has a video stream, but no frame of it can be decoded.")
            container.seek(0)
            ticks = _ticks(container, stream)
            aspect = stream.sample_aspect_ratio or Fraction(1)
            width, height = round(first.width * aspect), first.height
            if first.rotation % 180:
                width, height = height, width
            matrix = _MATRICES.get(int(first.colorspace))
            return VideoInfo(
                path=path,
                width=width,
                height=height,
                time_base=Fraction(stream.time_base or Fraction(1, 1000)),
                ticks=ticks,
                average_rate=Fraction(stream.average_rate or 25),
                matrix=matrix or ("bt709" if first.height >= HD_HEIGHT else "smpte170m"),
                matrix_is_tagged=matrix is not None,
                full_range=int(first.color_range) == H273_FULL_RANGE,
                primaries=_PRIMARIES.get(int(first.color_primaries)),
                transfer=_TRANSFERS.get(int(first.color_trc)),
                audio_streams=len(container.streams.audio),
            )
    except FileNotFoundError as error:
        raise ItemError(f"{path} does not exist.") from error
    except IsADirectoryError as error:
        raise ItemError(f"{path} is a folder, not a video.") from error
    except av.FFmpegError as error:
        if path.is_file() and path.stat().st_size == 0:
            raise ItemError(f"{path} is empty (0 bytes).", "Copy the video again.") from error
        reason = error.strerror or str(error)
        raise ItemError(f"{path} is no video that can be read: {reason}.", "Play it to see whether it is whole.") from error
    except OSError as error:
        raise ItemError(f"{path} cannot be read: {error.strerror}.") from error


def _ticks(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[int, ...]:
    """Times of all frames, from the packets; by decoding if the packets do not say."""
    shown: list[int | None] = []
    held, last_moment = 0, -1
    # One packet at a time: together they are as large as the file.
    for packet in container.demux(stream):
        if not packet.size:
            continue
        if not packet.is_corrupt:
            held += 1
            last_moment = max(last_moment, packet.dts if packet.dts is not None else -1)
        if not packet.is_discard:
            shown.append(packet.pts)
    if container.format.name == "avi":
        # AVI promises moments, one a tick, and leaves some of them empty where the rate varies.
        held = 1 + last_moment
    if held < stream.frames:
        name = stream.container.name.removeprefix("file:")
        raise ItemError(f"{name} is cut short: it promises {stream.frames} frames and holds {held}.", "Get the whole file.")
    if None not in shown and len(set(shown)) == len(shown):
        return tuple(sorted(pts for pts in shown if pts is not None))
    container.seek(0)
    decoded = [frame.pts for frame in container.decode(stream)]
    if None in decoded:
        rate = Fraction(stream.average_rate or 25)
        step = 1 / (rate * Fraction(stream.time_base or Fraction(1, 1000)))
        return tuple(round(index * step) for index in range(len(decoded)))
    return tuple(pts for pts in decoded if pts is not None)


class VideoSource:
    """A video's frames, decoded one by one."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info

    @property
    def path(self) -> Path:
        """The file."""
        return self.info.path

    @property
    def frame_count(self) -> int:
        """Frames that the file holds."""
        return len(self.info.ticks)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright and with square pixels."""
        return self.info.width, self.info.height

    def read(self, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
        """See `Source.read`."""
        info = self.info
        skip, seek = self._seek(first_frame_index)
        stream = graphs.input(local(info.path), **LOCAL_ONLY, **seek)
        # ffmpeg turns the picture upright by itself. The matrix is given, for swscale takes BT.601 where none is tagged.
        # V leaves cover pictures out, as the probe did.
        video = (
            stream["V"]
            .filter(
                "scale",
                info.width,
                info.height,
                flags="bicubic+accurate_rnd+full_chroma_int",
                in_color_matrix=info.matrix,
                in_range="full" if info.full_range else "limited",
                out_range="full",
            )
            .filter("format", "rgb24")
        )
        # passthrough: one picture out for each picture in, none doubled or dropped to keep a rate.
        graph = graphs.output(video, "pipe:1", format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough")
        frame_bytes = info.width * info.height * 3
        with Process(graph, info.path, stdout=True) as process:
            for frame_index in range(first_frame_index - skip, end_frame_index):
                content = _read_exactly(process.stdout, frame_bytes)
                if len(content) < frame_bytes:
                    process.finish()
                    raise process.failure(f"only {frame_index} of {self.frame_count} frames decoded")
                if frame_index >= first_frame_index:
                    pixels = np.frombuffer(content, np.uint8).reshape(info.height, info.width, 3)
                    yield Frame(pixels, frame_index, info.ticks[frame_index] * info.time_base)
            if end_frame_index == self.frame_count and process.stdout.read(1):
                raise process.failure(f"more than the {self.frame_count} frames that were planned")

    def _seek(self, first_frame_index: int) -> tuple[int, dict[str, object]]:
        """How many frames before the first one will be decoded and thrown away, and ffmpeg's options to get there."""
        if first_frame_index == 0 or self.path.suffix.lower() not in SEEKABLE_SUFFIXES:
            return first_frame_index, {}
        # ffmpeg goes to the key frame before and drops what is earlier than the time: half-way between two frames is
        # safe from rounding. The time counts from zero, not from the file's own start, as ffmpeg's default would.
        ticks = self.info.ticks
        half_way = Fraction(ticks[first_frame_index - 1] + ticks[first_frame_index], 2) * self.info.time_base
        return 0, {"ss": f"{float(half_way):.6f}", "seek_timestamp": 1}


def _read_exactly(pipe: IO[bytes], count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        block = pipe.read(count - len(content))
        if not block:
            break
        content += block
    return bytes(content)


_DEFAULT_CRF = {"libx264": 18, "libx265": 18, "libsvtav1": 25}
_NO_STREAM = "a:999?"
_ENCODER = {"prores": "prores_ks"}
"""ffmpeg has several ProRes encoders; ks is the one that keeps 10 bits and alpha."""


class VideoSink:
    """Encodes stylised frames at the original's times, with the original's sound, tags and chapters.

    Args:
        path: the result's final name; its suffix chooses the container.
        info: of the original.
        size: width and height of the stylised frames, in pixels.
        encode: codec and quality.
        copy_audio: whether the sound comes along.
        keep_metadata: whether tags and chapters come along.
        frame_count: how many frames will be written; `finish` checks it.
        seconds_of_sound: how much of the sound comes along; None for all of it.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        size: tuple[int, int],
        encode: Encode,
        *,
        copy_audio: bool,
        keep_metadata: bool,
        frame_count: int,
        seconds_of_sound: float | None = None,
    ) -> None:
        ensure_folder(path.parent)
        self.path = path
        self._info = info
        self._frame_count = frame_count
        self._written: list[int] = []
        self._partial = partial_path(path)
        # The ffmpeg of a run that was killed may still be writing: what it writes no longer has this name.
        self._partial.unlink(missing_ok=True)
        graph = self._graph(size, encode, copy_audio, keep_metadata, seconds_of_sound)
        self._process = Process(graph, path, stdin=True)
        # The frames travel in NUT, the one raw container that carries their exact times through a pipe.
        self._container = av.open(_WriteOnly(self._process.stdin), "w", format="nut")
        stream = self._container.add_stream("rawvideo", rate=info.average_rate)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb24"
        stream.time_base = stream.codec_context.time_base = info.time_base
        self._stream = stream

    def _graph(
        self,
        size: tuple[int, int],
        encode: Encode,
        copy_audio: bool,
        keep_metadata: bool,
        seconds_of_sound: float | None,
    ) -> object:
        info = self._info
        pix_fmt = encode.pix_fmt or ("yuv422p10le" if encode.codec == "prores" else "yuv420p")
        # The tags of the result are true only when scale's output and setparams are both told.
        video = (
            graphs.input("pipe:0", format="nut", **LOCAL_ONLY)
            .video.filter(
                "scale",
                flags="bicubic+accurate_rnd+full_chroma_int",
                out_color_matrix=info.matrix,
                out_range="limited",
            )
            .filter("format", pix_fmt)
            .filter(
                "setparams",
                range="limited",
                colorspace=info.matrix,
                color_primaries=info.primaries or "bt709",
                color_trc=info.transfer or "bt709",
            )
        )
        limit = {} if seconds_of_sound is None else {"t": seconds_of_sound}
        original = graphs.input(local(info.path), **LOCAL_ONLY, **limit)
        # A stream there is none of: ffmpeg-python leaves an input out that nothing is taken from, and with it its tags.
        streams = [video, original["a?" if copy_audio else _NO_STREAM]]
        options: dict[str, object] = {
            "vcodec": _ENCODER.get(encode.codec, encode.codec),
            "fps_mode": "passthrough",
            # ffmpeg would otherwise count time in frames, and lose what lies between.
            "enc_time_base": f"{info.time_base.numerator}/{info.time_base.denominator}",
            "map_metadata": "1" if keep_metadata else "-1",
            "map_chapters": "1" if keep_metadata else "-1",
            "acodec": "copy",
        }
        crf = encode.crf if encode.crf is not None else _DEFAULT_CRF.get(encode.codec)
        if crf is not None and encode.codec in _DEFAULT_CRF:
            options["crf"] = crf
        if encode.preset is not None:
            options["preset"] = encode.preset
        if self.path.suffix.lower() in (".mp4", ".mov"):
            options["video_track_timescale"] = info.time_base.denominator
            options["movflags"] = "+faststart"
            if encode.codec == "libx265":
                options["tag:v"] = "hvc1"  # the tag that Apple's players look for
        # Without copyts each input would be shifted to zero by itself, and sound would leave its picture.
        return graphs.output(*streams, local(self._partial), **options).global_args("-copyts")

    def write(self, pixels: Pixels, frame: Frame) -> None:
        """See `Sink.write`.

        Raises:
            ItemError: the encoder has failed.
        """
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        picture.pts = tick = self._info.ticks[frame.frame_index]
        picture.time_base = self._info.time_base
        try:
            self._container.mux(self._stream.encode(picture))
        except (BrokenPipeError, av.FFmpegError) as error:
            raise self._failure() from error
        self._written.append(tick)

    def finish(self) -> VideoInfo:
        """Close the file, look into it, and give it its name.

        Returns:
            What the finished file holds.

        Raises:
            ItemError: encoding failed, or the file does not hold each frame at its time.
        """
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except (BrokenPipeError, av.FFmpegError) as error:
            raise self._failure() from error
        self._process.finish()
        found = probe(self._partial)
        if not self._frame_count == len(self._written) == len(found.ticks):
            raise ItemError(
                f"{self.path}: {self._frame_count} frames planned, {len(self._written)} written and "
                f"{len(found.ticks)} found in the encoded file."
            )
        for tick, original_tick in zip(found.ticks, self._written, strict=True):
            apart = abs(tick * found.time_base - original_tick * self._info.time_base)
            if apart > max(found.time_base, self._info.time_base):
                raise ItemError(f"{self.path}: a frame stands {float(apart):.4f} s from its time in the encoded file.")
        complete(self._partial, self.path)
        return found

    def _failure(self) -> ItemError:
        try:
            self._process.finish()
        except ItemError as error:
            return error
        return self._process.failure("a closed pipe")

    def abandon(self) -> None:
        """See `Sink.abandon`."""
        self._process.__exit__(None, None, None)
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.abandon()


TRIAL_FRAMES = 2
TRIAL_SECONDS = 1.0


def try_encode(
    folder: Path, suffix: str, info: VideoInfo, size: tuple[int, int], encode: Encode, *, copy_audio: bool, keep_metadata: bool
) -> None:
    """Encode two grey frames and a second of the original's sound, so that what cannot work fails before the long work.

    Args:
        folder: where the trial is written, and removed from.
        suffix: of the result's name; the container.
        info: of the original.
        size: width and height of the stylised frames, in pixels.
        encode: codec and quality.
        copy_audio: whether the sound comes along.
        keep_metadata: whether tags and chapters come along.

    Raises:
        ItemError: this codec, container and sound do not go together, or ffmpeg lacks the encoder.
    """
    short = dataclasses.replace(info, ticks=info.ticks[:TRIAL_FRAMES])
    path = folder / f"trial_encode{suffix}"
    width, height = size
    grey = np.full((height, width, 3), 128, np.uint8)
    try:
        with VideoSink(
            path,
            short,
            size,
            encode,
            copy_audio=copy_audio,
            keep_metadata=keep_metadata,
            frame_count=len(short.ticks),
            seconds_of_sound=TRIAL_SECONDS,
        ) as sink:
            for frame_index in range(len(short.ticks)):
                sink.write(grey, Frame(grey, frame_index))
            sink.finish()
    except ItemError as error:
        raise ItemError(
            f"{info.path} could not be encoded as {suffix} with {encode.codec} (a trial of {TRIAL_FRAMES} frames): "
            + error.problem.removeprefix(f"{path}: "),
            "Choose another codec, another suffix for output, or `audio: none`.",
        ) from error
    finally:
        path.unlink(missing_ok=True)


class _WriteOnly:
    """A pipe as PyAV wants it: whoever has a seek method is taken for a file."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def write(self, content: bytes) -> int:
        return self._pipe.write(content)

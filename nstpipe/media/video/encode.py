"""Videos from stylized frames: at the original's times, with its color, its sound and all else that it carries."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import av
import ffmpeg as graphs
import numpy as np

from nstpipe.config.models import ANIMATION_SUFFIXES, Encode
from nstpipe.errors import ItemError
from nstpipe.media.frame import SIXTEEN_BIT_STEP, Frame, Pixels, in_eight_bits, in_sixteen_bits
from nstpipe.media.video.animation import loop_option
from nstpipe.media.video.ffmpeg import LOCAL_ONLY, PIPE_BYTES, Process, local
from nstpipe.media.video.probe import Stream, VideoInfo, probe
from nstpipe.media.video.sequence import SequenceSink, check_free
from nstpipe.system.files import complete, ensure_writable, is_numbered, partial_path

PHONE_TAGS = "com.apple.quicktime."
"""How the tags of a phone's videos begin, such as ``com.apple.quicktime.location.ISO6709``."""

_DEFAULT_CRF = {"libx264": 18, "libx265": 18, "libsvtav1": 25}
_DEEP_CODECS = ("libx265", "libsvtav1", "ffv1")
"""Codecs whose common players show 10 bits; H.264's mostly do not."""

_NO_STREAM = "a:999?"
_ENCODER = {"prores": "prores_ks"}
"""ffmpeg has several ProRes encoders; ks is the one that keeps 10 bits and alpha."""


@dataclass(frozen=True)
class _Subtitles:
    """What a container takes.

    Attributes:
        copied: codecs that it takes as they are.
        text: what any other text is turned into.
    """

    copied: frozenset[str]
    text: str


_TEXT_SUBTITLES = frozenset({"subrip", "ass", "ssa", "webvtt", "mov_text", "text"})
_SUBTITLES = {
    ".mp4": _Subtitles(frozenset({"mov_text", "dvd_subtitle"}), "mov_text"),
    ".mov": _Subtitles(frozenset({"mov_text"}), "mov_text"),
    ".mkv": _Subtitles(
        frozenset({"subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"}), "subrip"
    ),
    ".webm": _Subtitles(frozenset({"webvtt"}), "webvtt"),
}
"""Subtitles, by the suffix of the container; an animated picture takes none."""

ANIMATION_ENCODERS = {".gif": "gif", ".webp": "libwebp_anim"}
"""Moving pictures that are no videos: what writes them has no settings of `encode`."""

ANIMATION_QUALITY = 90
"""Of WebP, 0 to 100; above it files grow fast and nothing visible is gained."""

SHORTEST_GIF_SECONDS = Fraction(2, 100)
"""What browsers and ffmpeg show; a shorter delay is taken for a tenth of a second."""


@dataclass(frozen=True)
class _Companion:
    """A stream that comes along, and the codec that it then has."""

    stream: Stream
    codec: str


def _companions(info: VideoInfo, suffix: str, copy_audio: bool) -> tuple[list[_Companion], list[str]]:
    """The streams that a container takes beside the picture, and what is to be said of the others."""
    along: list[_Companion] = []
    said: list[str] = []
    subtitles = _SUBTITLES.get(suffix)
    for stream in info.streams:
        if stream.kind == "audio" and not copy_audio:
            continue
        if stream.kind == "audio" and subtitles is not None:
            # What the container cannot take is an error of the trial, for nobody wants a film to lose its sound.
            along.append(_Companion(stream, "copy"))
        elif stream.kind == "subtitle" and subtitles is not None and stream.codec in subtitles.copied:
            along.append(_Companion(stream, "copy"))
        elif stream.kind == "subtitle" and subtitles is not None and stream.codec in _TEXT_SUBTITLES:
            along.append(_Companion(stream, subtitles.text))
            said.append(f"{stream} becomes {subtitles.text}, for {suffix} does not take it as it is")
        elif stream.kind == "attachment" and suffix == ".mkv":
            along.append(_Companion(stream, "copy"))
        elif stream.kind == "video":
            said.append(f"{stream} is left out: it shows the picture before it was painted, or another one")
        else:
            said.append(f"{stream} is left out, for {suffix} does not take it")
    return along, said


def dropped_streams(info: VideoInfo, path: Path, *, copy_audio: bool) -> tuple[str, ...]:
    """What of a video does not come along as it is, in sentences.

    Args:
        info: of the original.
        path: of the result; its suffix chooses the container.
        copy_audio: whether the sound is wanted.
    """
    suffix = path.suffix.lower()
    _, said = _companions(info, suffix, copy_audio)
    if info.chapters and suffix not in _SUBTITLES:
        said.append(f"{info.chapters} chapters are left out, for {suffix} does not take them")
    if info.has_captions:
        said.append("the closed captions within its picture are left out: they are not in a painted picture")
    return tuple(said)


def pixel_format_of(encode: Encode, info: VideoInfo, path: Path) -> str:
    """The pixel format of a result: what the job says, else 4:2:0 with the original's depth where players show it."""
    if encode.pix_fmt is not None:
        return encode.pix_fmt
    codec = encode.codec_for(path.suffix)
    if codec == "prores":
        return "yuv422p10le"
    return "yuv420p10le" if info.is_deep and codec in _DEEP_CODECS else "yuv420p"


def bits_of(encode: Encode, info: VideoInfo, path: Path) -> int:
    """Bits of a color value in a result: 8 or more.

    Args:
        encode: codec and pixel format.
        info: of the original.
        path: of the result.
    """
    if is_numbered(path):
        return info.bits
    if path.suffix.lower() in ANIMATION_SUFFIXES:
        return 8
    try:
        return max(component.bits for component in av.VideoFormat(pixel_format_of(encode, info, path)).components)
    except ValueError:
        return 8  # the trial will say that there is no such format


class VideoSink:
    """Encodes stylized frames at the original's times, with the original's sound, tags and chapters.

    Args:
        path: the result's final name; its suffix chooses the container.
        info: of the original.
        size: width and height of the stylized frames, in pixels.
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
        ensure_writable(path.parent)
        self.path = path
        self._info = info
        self._frame_count = frame_count
        self._written: list[int] = []
        self._partial = partial_path(path)
        # The ffmpeg of a run that was killed may still be writing: what it writes no longer has this name.
        self._partial.unlink(missing_ok=True)
        self._suffix = path.suffix.lower()
        self._frame_format = "rgb24" if bits_of(encode, info, path) == 8 else "rgb48le"
        # swscale takes 255 * 256 for white where it makes Y'CbCr of 16 bits.
        pixel_format = pixel_format_of(encode, info, path)
        self._white_is_lower = self._frame_format == "rgb48le" and not av.VideoFormat(pixel_format).is_rgb
        graph = self._graph(size, encode, copy_audio, keep_metadata, seconds_of_sound)
        self._process = Process(graph, path, stdin=True)
        # The frames travel in NUT, the one raw container that carries their exact times through a pipe.
        self._container = av.open(_WriteOnly(self._process.stdin), "w", format="nut", buffer_size=PIPE_BYTES)
        stream = self._container.add_stream("rawvideo", rate=info.average_rate)
        stream.width, stream.height = size
        stream.pix_fmt = self._frame_format
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
        frames = graphs.input("pipe:0", format="nut", **LOCAL_ONLY).video
        options: dict[str, object] = {
            "fps_mode": "passthrough",
            # ffmpeg would otherwise count time in frames, and lose what lies between.
            "enc_time_base": f"{info.time_base.numerator}/{info.time_base.denominator}",
            "map_metadata": "1" if keep_metadata else "-1",
            "map_chapters": "1" if keep_metadata else "-1",
        }
        if self._suffix in ANIMATION_SUFFIXES:
            video = _palette_of_its_own(frames) if self._suffix == ".gif" else frames.filter("format", "yuv420p")
            options |= {"vcodec": ANIMATION_ENCODERS[self._suffix], "loop": loop_option(info.loops or 0, self._suffix)}
            options |= {"quality": ANIMATION_QUALITY} if self._suffix == ".webp" else {}
        else:
            video = self._in_video_colors(frames, pixel_format_of(encode, info, self.path))
            options |= self._video_options(encode)
        limit = {} if seconds_of_sound is None else {"t": seconds_of_sound}
        original: Any = graphs.input(local(info.path), **LOCAL_ONLY, **limit) if info.reader == "ffmpeg" else None
        streams = [video]
        companions, _ = _companions(info, self._suffix, copy_audio)
        for number, companion in enumerate(companions, start=1):
            streams.append(original[str(companion.stream.index)])
            attachments = sum(earlier.stream.kind == "attachment" for earlier in companions[: number - 1])
            options |= _stream_options(number, attachments, companion, keep_metadata)
        if original is None:
            options["map_metadata"] = options["map_chapters"] = "-1"
        elif not companions:
            # A stream there is none of: ffmpeg-python leaves an input out that nothing is taken from, and its tags too.
            streams.append(original[_NO_STREAM])
        if keep_metadata:
            # ffmpeg-python gives an option once only; ffmpeg knows the one stream under two names.
            options |= {"metadata:s:0": f"language={info.language}"} if info.language else {}
            options |= {"metadata:s:v:0": f"title={info.title}"} if info.title else {}
        # Without copyts each input would be shifted to zero by itself, and sound would leave its picture.
        return graphs.output(*streams, local(self._partial), **options).global_args("-copyts")

    def _in_video_colors(self, frames: Any, pixel_format: str) -> Any:
        info = self._info
        # What was HDR has been brought to BT.709.
        matrix, primaries, transfer = info.matrix, info.primaries or "bt709", info.transfer or "bt709"
        if info.hdr is not None:
            matrix, primaries, transfer = "bt709", "bt709", "bt709"
        # The tags of the result are true only when scale's output and setparams are both told.
        return (
            frames.filter("scale", flags="bicubic+accurate_rnd+full_chroma_int", out_color_matrix=matrix, out_range="limited")
            .filter("format", pixel_format)
            .filter("setsar", 1)
            .filter("setparams", range="limited", colorspace=matrix, color_primaries=primaries, color_trc=transfer)
        )

    def _video_options(self, encode: Encode) -> dict[str, object]:
        codec = encode.codec_for(self._suffix)
        options: dict[str, object] = {"vcodec": _ENCODER.get(codec, codec)}
        crf = encode.crf if encode.crf is not None else _DEFAULT_CRF.get(codec)
        if crf is not None and codec in _DEFAULT_CRF:
            options["crf"] = crf
        if encode.preset is not None:
            options["preset"] = encode.preset
        if self._suffix in (".mp4", ".mov"):
            options["video_track_timescale"] = self._info.time_base.denominator
            # ffmpeg leaves a phone's place, maker and time out, unless it writes all tags as phones do.
            has_phone_tags = any(name.startswith(PHONE_TAGS) for name, _ in self._info.tags)
            options["movflags"] = "+faststart" + ("+use_metadata_tags" if has_phone_tags else "")
            if codec == "libx265":
                options["tag:v"] = "hvc1"  # the tag that Apple's players look for
        return options

    def write(self, pixels: Pixels, frame: Frame) -> None:
        """See `Sink.write`.

        Raises:
            ItemError: the encoder has failed.
        """
        values: Any = in_eight_bits(pixels) if self._frame_format == "rgb24" else in_sixteen_bits(pixels)
        if self._white_is_lower:
            values = values - values // SIXTEEN_BIT_STEP
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format=self._frame_format)
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
        found_frames = len(found.ticks)
        if self._suffix == ".webp":
            # WebP's writer joins a frame with the one before if nobody could tell them apart; both are then shown.
            found_frames += len(self._written) - len(self._standing(found))
        if not self._frame_count == len(self._written) == found_frames:
            raise ItemError(
                f"{self.path}: {self._frame_count} frames planned, {len(self._written)} written and "
                f"{len(found.ticks)} found in the encoded file."
            )
        for tick, original_tick in zip(found.ticks, self._standing(found), strict=True):
            apart = abs(tick * found.time_base - original_tick * self._info.time_base)
            if apart > max(found.time_base, self._info.time_base):
                raise ItemError(f"{self.path}: a frame stands {float(apart):.4f} s from its time in the encoded file.")
        complete(self._partial, self.path)
        return found

    def _standing(self, found: VideoInfo) -> list[int]:
        """Ticks of the frames written, less those that WebP has joined with others."""
        if self._suffix != ".webp":
            return self._written
        times = {round(tick * found.time_base * 1000) for tick in found.ticks}
        milliseconds = [round(tick * self._info.time_base * 1000) for tick in self._written]
        return [tick for tick, time in zip(self._written, milliseconds, strict=True) if times & {time - 1, time, time + 1}]

    def _failure(self) -> ItemError:
        try:
            self._process.finish()
        except ItemError as error:
            return error
        return self._process.failure("a closed pipe")

    def abandon(self) -> None:
        """See `Sink.abandon`."""
        self._process.__exit__(None, None, None)
        with suppress(OSError):  # the error that is on its way says more
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.abandon()


def _palette_of_its_own(frames: Any) -> Any:
    """For GIF: 256 colors chosen for each frame, so that no frame waits for those behind it."""
    both = frames.filter_multi_output("split")
    palette = both[0].filter("palettegen", stats_mode="single")
    return graphs.filter([both[1], palette], "paletteuse", new=1)


def _stream_options(number: int, attachment: int, companion: _Companion, keep_metadata: bool) -> dict[str, object]:
    """Options of a stream by its number in the result, and by that among its attachments."""
    stream = companion.stream
    options: dict[str, object] = {
        f"c:{number}": companion.codec,
        f"disposition:{number}": "+".join(stream.dispositions) or "0",
    }
    if stream.kind == "attachment":
        # Matroska takes none without its name and type, also where all else is stripped.
        options[f"metadata:s:{number}"] = f"filename={stream.file_name}"
        options[f"metadata:s:t:{attachment}"] = f"mimetype={stream.media_type}"
    elif stream.language and keep_metadata:
        options[f"metadata:s:{number}"] = f"language={stream.language}"
    return options


def video_sink(
    path: Path,
    info: VideoInfo,
    size: tuple[int, int],
    encode: Encode,
    *,
    copy_audio: bool,
    keep_metadata: bool,
    frame_count: int,
) -> VideoSink | SequenceSink:
    """What writes a path: a video, an animation, or numbered pictures; see `VideoSink` for the arguments."""
    if is_numbered(path):
        return SequenceSink(path, _numbers(info, frame_count))
    return VideoSink(path, info, size, encode, copy_audio=copy_audio, keep_metadata=keep_metadata, frame_count=frame_count)


def _numbers(info: VideoInfo, frame_count: int) -> tuple[int, ...]:
    """Numbered pictures keep their numbers, with their gaps; a video's frames are counted from 1."""
    if info.reader == "files":
        return tuple(info.first_number + tick for tick in info.ticks[:frame_count])
    return tuple(range(1, frame_count + 1))


TRIAL_FRAMES = 2
TRIAL_SECONDS = 1.0


def try_output(
    folder: Path, path: Path, info: VideoInfo, size: tuple[int, int], encode: Encode, *, copy_audio: bool, keep_metadata: bool
) -> None:
    """See that a result can be written where and as it is wanted; see `try_encode`.

    Args:
        folder: for a trial.
        path: of the result.
        info: of the original.
        size: width and height of the stylized frames, in pixels.
        encode: codec and quality.
        copy_audio: whether the sound comes along.
        keep_metadata: whether tags and chapters come along.

    Raises:
        ItemError: it cannot.
    """
    if is_numbered(path):
        check_free(path, _numbers(info, len(info.ticks)))
        return
    try_encode(folder, path.suffix, info, size, encode, copy_audio=copy_audio, keep_metadata=keep_metadata)


def try_encode(
    folder: Path, suffix: str, info: VideoInfo, size: tuple[int, int], encode: Encode, *, copy_audio: bool, keep_metadata: bool
) -> None:
    """Encode two gray frames and a second of the original's sound, so that what cannot work fails before the long work.

    Args:
        folder: where the trial is written, and removed from.
        suffix: of the result's name; the container.
        info: of the original.
        size: width and height of the stylized frames, in pixels.
        encode: codec and quality.
        copy_audio: whether the sound comes along.
        keep_metadata: whether tags and chapters come along.

    Raises:
        ItemError: this codec, container and sound do not go together, or ffmpeg lacks the encoder.
    """
    shortest = min((later - earlier for earlier, later in pairwise(info.ticks)), default=0) * info.time_base
    if suffix.lower() == ".gif" and 0 < shortest < SHORTEST_GIF_SECONDS:
        raise ItemError(
            f"{info.path} shows a frame for {float(shortest):.4f} s; a GIF shows none shorter than "
            f"{float(SHORTEST_GIF_SECONDS):.2f} s.",
            "Choose another suffix for output, such as .webp or .mp4.",
        )
    short = dataclasses.replace(info, ticks=info.ticks[:TRIAL_FRAMES])
    path = folder / f".trial_encode{suffix}"
    width, height = size
    gray = np.full((height, width, 3), 128, np.uint8)
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
                sink.write(gray + np.uint8(40 * frame_index), Frame(gray, frame_index))
            sink.finish()
    except ItemError as error:
        raise ItemError(
            f"{info.path} could not be encoded as {suffix} with {encode.codec_for(suffix)} (a trial of {TRIAL_FRAMES} frames): "
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

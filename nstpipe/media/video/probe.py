"""What is in a video: its frames' times, shape, colors, streams; and what of it is damaged."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any, Literal

import av
import ffmpeg as graphs
from av.buffer import Buffer
from av.stream import Disposition

from nstpipe.errors import ItemError
from nstpipe.media.pictures.files import picture_bits, picture_size
from nstpipe.media.video.animation import AnimationTimes, animation_times, gif_loops
from nstpipe.media.video.ffmpeg import LOCAL_ONLY, Process, local
from nstpipe.media.video.sequence import DEFAULT_RATE
from nstpipe.system.files import is_numbered, numbered_files

Matrix = Literal["bt709", "smpte170m", "bt2020nc"]

_MATRICES: dict[int, Matrix] = {1: "bt709", 5: "smpte170m", 6: "smpte170m", 9: "bt2020nc"}
"""ITU-T H.273 numbers of matrix coefficients; 5 and 6 are the two namings of BT.601's one matrix."""

_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020",
    11: "smpte431",
    12: "smpte432",
}
_TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    18: "arib-std-b67",
}
HDR_TRANSFERS = {"smpte2084": "HDR10 (PQ)", "arib-std-b67": "HLG"}
"""Transfer curves for more light than a common screen gives, and what people call them."""

HD_HEIGHT = 720
"""An untagged picture of this height or more is taken for BT.709, a smaller one for BT.601, as players do."""

H273_FULL_RANGE = 2
"""FFmpeg's number for color values that use all of 0 to 255."""

PLAYLISTS = ("hls", "applehttp", "concat", "dash", "imf", "sdp")
"""Formats of text that make ffmpeg open whatever they name: not what a folder of footage is trusted to hold."""

FRAMES_LOOKED_AT = 8
"""Decoded to see whether a video is interlaced: some broadcasts mark only part of their frames."""

TRANSPORT_PACKET_BYTES = 188
"""A transport stream is made of these and of nothing else; with a time stamp before each they have 192."""


@dataclass(frozen=True)
class Stream:
    """A stream beside the picture's.

    Attributes:
        index: from 0, in the file.
        kind: audio, subtitle, attachment, data, or video for a cover or another picture.
        codec: by ffmpeg's name.
        language: by its ISO 639 code; empty if the file says nothing.
        title: likewise.
        dispositions: by ffmpeg's names, such as ``default`` or ``forced``.
        file_name: of an attachment.
        media_type: of an attachment.
    """

    index: int
    kind: str
    codec: str
    language: str = ""
    title: str = ""
    dispositions: tuple[str, ...] = ()
    file_name: str = ""
    media_type: str = ""

    def __str__(self) -> str:
        details = ", ".join(word for word in (self.codec, self.language, self.title, self.file_name) if word)
        return f"{self.kind} stream {self.index} ({details})"


@dataclass(frozen=True)
class MissingFrames:
    """What a damaged file has no longer.

    Attributes:
        time: of the first frame that is missing, in seconds.
        frames: how many are missing; None if the file does not say.
        reason: what shows it.
    """

    time: Fraction
    frames: int | None
    reason: str

    def __str__(self) -> str:
        how_many = "frames are" if self.frames is None else f"{self.frames} frame{' is' if self.frames == 1 else 's are'}"
        return f"{how_many} missing from {float(self.time):.3f} s on: {self.reason}"


@dataclass(frozen=True)
class VideoInfo:
    """What a video holds.

    Attributes:
        path: the file; for numbered pictures the pattern of their names.
        width: of a frame in pixels, upright and with square pixels.
        height: likewise.
        time_base: seconds that one tick lasts.
        ticks: each frame's time in ticks, in display order.
        average_rate: frames a second.
        matrix: from Y'CbCr to R'G'B'.
        matrix_is_tagged: whether the file says so (or holds RGB), or it was taken from the picture's height.
        full_range: whether the file's values use 0 to 255, rather than 16 to 235.
        primaries: ffmpeg's name, or None if the file says nothing.
        transfer: likewise.
        audio_streams: how many.
        reader: who decodes it: ffmpeg, Pillow for an animated WebP, or Pillow file by file for numbered pictures.
        container: ffmpeg's names of the format.
        codec: of the picture.
        pixel_format: ffmpeg's name.
        bits: of a color value.
        rotation: degrees that the stored picture is turned by, counter-clockwise.
        sample_aspect: width over height of a stored pixel.
        interlaced: whether its frames are made of two fields.
        streams: all beside the picture's.
        chapters: how many.
        tags: of the file, sorted by name.
        language: of the picture's stream; empty if the file says nothing.
        title: likewise.
        loops: how often an animation is shown, 0 for ever; None for what is no animation.
        first_number: in the name of the first of numbered pictures.
        has_captions: whether there are closed captions within the picture's stream (CEA-608 or 708).
        mastering: for which light HDR was made, in words; empty if the file does not say.
        loss: what is missing; None if it is whole.
        complaint: what a decoder found wrong without losing a frame.
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
    reader: Literal["ffmpeg", "animation", "files"] = "ffmpeg"
    container: str = ""
    codec: str = ""
    pixel_format: str = ""
    bits: int = 8
    rotation: int = 0
    sample_aspect: Fraction = Fraction(1)
    interlaced: bool = False
    streams: tuple[Stream, ...] = ()
    chapters: int = 0
    tags: tuple[tuple[str, str], ...] = ()
    language: str = ""
    title: str = ""
    loops: int | None = None
    first_number: int = 1
    has_captions: bool = False
    mastering: str = ""
    loss: MissingFrames | None = None
    complaint: str = ""

    @property
    def start_time(self) -> Fraction:
        """When the first frame is shown, in seconds."""
        return self.ticks[0] * self.time_base

    @property
    def rate_is_constant(self) -> bool:
        """Whether all frames are shown equally long, within the rounding of a tick."""
        steps = {later - earlier for earlier, later in pairwise(self.ticks)}
        return not steps or max(steps) - min(steps) <= 1

    @property
    def hdr(self) -> str | None:
        """What people call its kind of HDR; None for a standard picture."""
        return HDR_TRANSFERS.get(self.transfer or "")

    @property
    def is_rgb(self) -> bool:
        """Whether its values are R'G'B' as they are stored."""
        return not self.pixel_format or av.VideoFormat(self.pixel_format).is_rgb

    @property
    def is_deep(self) -> bool:
        """Whether a color value has more than 8 bits."""
        return self.bits > 8

    def picture_of(self, frame_index: int) -> Path:
        """The file of a frame of numbered pictures."""
        return self.path.with_name(self.path.name % (self.first_number + self.ticks[frame_index]))


@dataclass(frozen=True)
class DecodeCheck:
    """What came of decoding a whole video.

    Attributes:
        ticks: of the frames that decode, in display order; None if they are those that the probe promised.
        complaints: what the decoder said; empty if all went well.
    """

    ticks: tuple[int, ...] | None
    complaints: str

    def as_json(self) -> str:
        """For the journal."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DecodeCheck:
        """Back from `as_json`."""
        content = json.loads(text)
        return cls(None if content["ticks"] is None else tuple(content["ticks"]), content["complaints"])


DECODE_CHECK_VERSION = 2
"""Part of the key under which surveys are kept: raised when the same video gives another one."""


def probe(path: Path, rate: Fraction = DEFAULT_RATE) -> VideoInfo:
    """Look into a video. What is seen to be cut short is decoded to its end, to find out what is left of it.

    Args:
        path: as for `probe_header`.
        rate: likewise.

    Raises:
        ItemError: it is missing, or nothing of it can be decoded.
    """
    info = probe_header(path, rate)
    return info if info.loss is None else apply_decode_check(info, decode_check(info))


def probe_header(path: Path, rate: Fraction = DEFAULT_RATE) -> VideoInfo:
    """What a video says that it holds, without decoding more than its first frames where its packets carry their times.

    Args:
        path: of a video, an animated picture, or of numbered pictures as a pattern (``frame_%05d.png``).
        rate: frames a second of numbered pictures.

    Raises:
        ItemError: it is missing, or nothing of it can be decoded.
    """
    if is_numbered(path):
        return _probe_numbered(path, rate)
    animation = animation_times(path)
    if animation is not None:
        return _probe_animation(path, animation)
    return _probe_packets(path)


def _probe_numbered(path: Path, rate: Fraction) -> VideoInfo:
    files = numbered_files(path)
    if not files:
        raise ItemError(f"{path}: there is no picture of that pattern.", "Look at the numbers in the names.")
    numbers = sorted(files)
    first = files[numbers[0]]
    width, height = picture_size(first)
    # Numbers may be times, with millions between two: gaps are counted, and not listed.
    missing_count = numbers[-1] - numbers[0] + 1 - len(numbers)
    loss = None
    if missing_count:
        first_missing = next(one + 1 for one, following in itertools.pairwise(numbers) if following > one + 1)
        said = f"{path.name % first_missing} does not exist"
        loss = MissingFrames((first_missing - numbers[0]) / rate, missing_count, said)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        time_base=1 / rate,
        ticks=tuple(number - numbers[0] for number in numbers),
        average_rate=rate,
        **_RGB,
        bits=picture_bits(first),
        reader="files",
        container="numbered pictures",
        first_number=numbers[0],
        loss=loss,
    )


def _probe_animation(path: Path, animation: AnimationTimes) -> VideoInfo:
    ticks, end = animation.milliseconds[:-1], animation.milliseconds[-1]
    return VideoInfo(
        path=path,
        width=animation.width,
        height=animation.height,
        time_base=Fraction(1, 1000),
        ticks=ticks,
        average_rate=Fraction(1000 * len(ticks), max(1, end)),
        **_RGB,
        reader="animation",
        container=animation.format.lower(),
        codec=animation.format.lower(),
        loops=animation.loops,
    )


_RGB: dict[str, Any] = {
    "matrix": "bt709",
    "matrix_is_tagged": True,
    "full_range": True,
    "primaries": "bt709",
    "transfer": "iec61966-2-1",
    "audio_streams": 0,
}
"""Colors of pictures, which are sRGB when they have been read."""


def _probe_packets(path: Path) -> VideoInfo:
    try:
        # Old files carry tags in the encoding of their day; what is no UTF-8 must not stop the film.
        with av.open(local(path), options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
            if container.format.name in PLAYLISTS:
                raise ItemError(
                    f"{path} is a playlist ({container.format.name}), which names other files; a video is wanted.",
                    "Give the file that it names.",
                )
            streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
            if not streams:
                raise ItemError(f"{path} has no video stream.", "Give a video, or a folder of pictures.")
            stream = streams[0]
            if not stream.codec_context:
                raise ItemError(f"{path} has a video stream in a codec that this ffmpeg does not know.")
            first_packet = next(container.demux(stream))
            # What came out of the encoder, with nothing around it, as small cameras write it.
            if first_packet.size and first_packet.pts is None and first_packet.dts is None:
                raise ItemError(
                    f"{path} does not say when its frames are shown: it is {container.format.long_name}, without a container.",
                    f"Put it into one, with its frame rate in place of 25: ffmpeg -framerate 25 -i {shlex.quote(path.name)} "
                    f"-c:v ffv1 {shlex.quote(path.stem + '.mkv')}",
                )
            # Frames protected as stores do it; some may decode all the same, into noise.
            if first_packet.has_sidedata("encryption_info"):
                raise ItemError(f"{path} is encrypted; it can be played only with its key.", "Give a copy without protection.")
            container.seek(0)
            first_frames = _first_frames(container, stream)
            if not first_frames:
                raise ItemError(f"{path} has a video stream, but no frame of it can be decoded.")
            first = first_frames[0]
            container.seek(0)
            ticks, loss = _ticks(container, stream)
            aspect = Fraction(stream.sample_aspect_ratio or 1)
            width, height = round(first.width * aspect), first.height
            if first.rotation % 180:
                width, height = height, width
            is_rgb = first.format.is_rgb
            matrix = _MATRICES.get(int(first.colorspace))
            tags = {name: text for name, text in container.metadata.items() if text}
            return VideoInfo(
                path=path,
                width=width,
                height=height,
                time_base=Fraction(stream.time_base or Fraction(1, 1000)),
                ticks=ticks,
                average_rate=Fraction(stream.average_rate or 25),
                matrix=matrix or ("bt709" if first.height >= HD_HEIGHT else "smpte170m"),
                matrix_is_tagged=matrix is not None or is_rgb,
                full_range=int(first.color_range) == H273_FULL_RANGE or is_rgb,
                primaries=_PRIMARIES.get(int(first.color_primaries)),
                transfer=_TRANSFERS.get(int(first.color_trc)),
                audio_streams=len(container.streams.audio),
                container=container.format.name,
                codec=stream.codec_context.name,
                pixel_format=first.format.name,
                bits=max(component.bits for component in first.format.components),
                rotation=first.rotation % 360,
                sample_aspect=aspect,
                interlaced=any(frame.interlaced_frame for frame in first_frames),
                streams=tuple(_described(other) for other in container.streams if other.index != stream.index),
                chapters=len(container.chapters()),
                tags=tuple(sorted(tags.items())),
                language=stream.metadata.get("language", ""),
                title=stream.metadata.get("title", ""),
                loops=gif_loops(path) if container.format.name == "gif" else None,
                has_captions=any(_side_data(frame, "A53_CC") for frame in first_frames),
                mastering=_mastering(first),
                loss=loss,
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


def _first_frames(container: av.container.InputContainer, stream: av.VideoStream) -> list[av.VideoFrame]:
    found: list[av.VideoFrame] = []
    try:
        for frame in container.decode(stream):
            found.append(frame)
            if len(found) == FRAMES_LOOKED_AT:
                break
    except av.FFmpegError:
        if not found:
            raise
    return found


def _side_data(frame: av.VideoFrame, kind: str) -> bytes:
    """What stands beside a frame's pixels, by FFmpeg's name of it; empty if there is none."""
    try:
        found: Buffer | None = frame.side_data.get(kind)  # type: ignore[assignment]  # it is typed as of text
    except ValueError:
        return b""  # PyAV gives none of it where one is of a kind that it does not know
    return bytes(found) if found is not None else b""


_MASTERING = struct.Struct("=22i")
"""FFmpeg's AVMasteringDisplayMetadata: eight fractions of primaries and white, darkest, brightest, and what is set."""

_LIGHT = struct.Struct("=2I")
"""FFmpeg's AVContentLightMetadata: MaxCLL and MaxFALL."""


def _mastering(frame: av.VideoFrame) -> str:
    """For which light HDR was made (SMPTE ST 2086) and how bright it becomes (CTA-861.3), in words."""
    said = []
    display, light = _side_data(frame, "MASTERING_DISPLAY_METADATA"), _side_data(frame, "CONTENT_LIGHT_LEVEL")
    if len(display) == _MASTERING.size:
        *_, darkest, darkest_parts, brightest, brightest_parts, _, has_light = _MASTERING.unpack(display)
        if has_light and darkest_parts and brightest_parts:
            said.append(f"mastered from {darkest / darkest_parts:g} to {brightest / brightest_parts:g} nits")
    if len(light) >= _LIGHT.size:
        pixel, average = _LIGHT.unpack_from(light)
        said.append(f"brightest pixel {pixel} nits, brightest frame {average} nits")
    return ", ".join(said)


def _described(stream: Any) -> Stream:
    context = getattr(stream, "codec_context", None)
    codec = getattr(getattr(context, "codec", None), "canonical_name", None) or getattr(context, "name", None) or ""
    tags = stream.metadata
    return Stream(
        index=stream.index,
        kind=stream.type or "data",
        codec=codec,
        language=tags.get("language", ""),
        title=tags.get("title", ""),
        dispositions=tuple(flag.name for flag in Disposition if flag.name and flag in stream.disposition),
        file_name=tags.get("filename", ""),
        media_type=tags.get("mimetype", ""),
    )


def _ticks(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[tuple[int, ...], MissingFrames | None]:
    """Times of all frames, from the packets (by decoding if they do not say), and what is seen to be missing."""
    shown: list[int | None] = []
    held, corrupt, last_moment, end = 0, 0, -1, Fraction(0)
    first_corrupt: int | None = None
    try:
        # One packet at a time: together they are as large as the file. All streams: the longest one gives the duration.
        for packet in container.demux():
            if not packet.size:
                continue
            if packet.pts is not None and packet.time_base:
                end = max(end, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
            if packet.stream.index != stream.index:
                continue
            if packet.is_corrupt:
                corrupt += 1
                first_corrupt = packet.pts if first_corrupt is None else first_corrupt
            else:
                held += 1
                last_moment = max(last_moment, packet.dts if packet.dts is not None else -1)
            if not packet.is_discard:
                shown.append(packet.pts)
    except av.FFmpegError as error:
        said = error.strerror or str(error)
    else:
        said = ""
    if container.format.name == "avi":
        # AVI promises moments, one a tick, and leaves some of them empty where the rate varies.
        held = 1 + last_moment
    ticks = _ordered(container, stream, shown)
    if not ticks:
        raise ItemError(f"{container.name.removeprefix('file:')} has a video stream, but no frame of it can be decoded.")
    time_base = Fraction(stream.time_base or Fraction(1, 1000))
    step = median_low([later - earlier for earlier, later in pairwise(ticks)] or [0])
    behind_last = (ticks[-1] + step) * time_base
    if held < stream.frames:
        reason = f"the file is cut short: it promises {stream.frames} frames and holds {held}"
        time = behind_last if first_corrupt is None else first_corrupt * time_base
        return ticks, MissingFrames(time, stream.frames - held, reason)
    probe_header = _promised_end(container)
    longest_step = max([later - earlier for earlier, later in pairwise(ticks)] or [0]) * time_base
    if probe_header is not None and end + longest_step < probe_header - SOUND_STEP_SECONDS:
        reason = f"the file is cut short: it promises {float(probe_header):.3f} s and ends at {float(end):.3f} s"
        return ticks, MissingFrames(behind_last, None, reason)
    if container.format.name == "mpegts" and container.size % TRANSPORT_PACKET_BYTES and container.size % 192:
        return ticks, MissingFrames(behind_last, None, "the file is cut short: it ends in the middle of a transport packet")
    if corrupt:
        return ticks, MissingFrames((first_corrupt or 0) * time_base, None, f"{corrupt} of its packets are damaged")
    return ticks, MissingFrames(behind_last, None, f"it cannot be read on: {said}") if said else None


SOUND_STEP_SECONDS = Fraction(1, 10)
"""The longest that a packet of sound lasts in common codecs: so much a whole file may end before its duration."""


def _promised_end(container: av.container.InputContainer) -> Fraction | None:
    """When a Matroska file says that it ends; in other containers the duration is counted from what is there."""
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


def decode_check(info: VideoInfo, on_frame: Callable[[int], None] = lambda _: None) -> DecodeCheck:
    """Decode all of a video, by the program that will decode it again, to see what it gives and what is wrong with it.

    Takes as long as playing it at full speed.

    Args:
        info: what a probe found.
        on_frame: told how many frames were decoded; ends the decoding by raising something.
    """
    if info.reader != "ffmpeg":
        return DecodeCheck(None, "")
    # Several threads may give other frames each time where something is wrong.
    ticks, complaints = _decoded(info, ONE_THREAD if info.loss else {}, on_frame)
    if info.loss is None and (ticks != info.ticks or complaints):
        ticks, complaints = _decoded(info, ONE_THREAD, on_frame)
    return DecodeCheck(None if ticks == info.ticks else ticks, complaints)


ONE_THREAD: dict[str, Any] = {"threads": 1}


def _decoded(info: VideoInfo, options: dict[str, Any], on_frame: Callable[[int], None]) -> tuple[tuple[int, ...], str]:
    source = graphs.input(local(info.path), **LOCAL_ONLY, **options)
    time_base = f"{info.time_base.numerator}/{info.time_base.denominator}"
    # One line a frame, with its time; wrapped, because nobody reads its pixels.
    graph = graphs.output(
        source["V:0"], "pipe:1", format="framecrc", vcodec="wrapped_avframe", fps_mode="passthrough", enc_time_base=time_base
    ).global_args("-copyts")
    ticks: list[int] = []
    with Process(graph, info.path, stdout=True, loglevel="error") as process:
        for line in process.stdout:
            if not line.startswith(b"#"):
                ticks.append(int(line.split(b",")[2]))
                on_frame(len(ticks))
        try:
            process.finish()
        except ItemError:
            if not ticks:
                raise
        return tuple(sorted(ticks)), process.messages()


GAP_STEPS = 1.5
"""A frame lasts longer than so many of the usual steps only where one is missing, if the decoder has complained too."""


def apply_decode_check(info: VideoInfo, found: DecodeCheck) -> VideoInfo:
    """What a video holds, after all of it was decoded: its frames are those that decode, and its loss is known.

    Raises:
        ItemError: nothing of it decodes.
    """
    ticks = info.ticks if found.ticks is None else found.ticks
    if not ticks:
        raise ItemError(f"{info.path} has a video stream, but no frame of it can be decoded.")
    loss = info.loss
    said = found.complaints.splitlines()[-1] if found.complaints else ""
    if len(ticks) < len(info.ticks):
        missing = sorted(set(info.ticks).difference(ticks)) or [ticks[-1]]
        more = len(info.ticks) - len(ticks)
        reason = loss.reason if loss is not None else f"they cannot be decoded ({said or 'the decoder does not say why'})"
        before = loss.frames if loss is not None else 0
        time = missing[0] * info.time_base if loss is None else min(loss.time, missing[0] * info.time_base)
        loss = MissingFrames(time, None if before is None else before + more, reason)
    elif loss is None and said:
        loss = _loss_in_times(ticks, info.time_base, said)
    return dataclasses.replace(info, ticks=ticks, loss=loss, complaint="" if loss is not None else said)


_CUT_SHORT = ("ended prematurely", "partial file", "runcated")
"""What ffmpeg says of a file that ends too early."""


def _loss_in_times(ticks: Sequence[int], time_base: Fraction, said: str) -> MissingFrames | None:
    steps = [later - earlier for earlier, later in pairwise(ticks)]
    usual = median_low(steps) if steps else 0
    gaps: Iterable[tuple[int, int]] = ((tick, step) for tick, step in zip(ticks, steps, strict=False))
    wide = [(tick, step) for tick, step in gaps if step > GAP_STEPS * usual]
    if wide:
        frames = sum(round(step / usual) - 1 for _, step in wide)
        return MissingFrames((wide[0][0] + usual) * time_base, frames, f"the decoder said: {said}")
    if any(words in said for words in _CUT_SHORT):
        return MissingFrames((ticks[-1] + usual) * time_base, None, f"the decoder said: {said}")
    return None

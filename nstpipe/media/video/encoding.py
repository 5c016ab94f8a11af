"""The arguments with which ffmpeg encodes a result."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import av
import ffmpeg as graphs

from nstpipe.media.pictures.formats import format_of
from nstpipe.media.video.alpha import has_alpha, is_rgb
from nstpipe.media.video.codecs import VIDEO_CODECS
from nstpipe.media.video.containers import CODECS, Container, Family, container_of
from nstpipe.media.video.ffmpeg import LOCAL_ONLY, each_at_its_time, local
from nstpipe.media.video.ffmpeg_program import is_at_least
from nstpipe.media.video.ffmpeg_streams import ffmpeg_stream
from nstpipe.media.video.finishing import needs_room
from nstpipe.media.video.info import SCALE_MATRICES, Reader, Stream, VideoInfo
from nstpipe.media.video.matroska import ROOM_BYTES, ROOM_TAG
from nstpipe.media.video.streams import CarriedStream, carried_streams
from nstpipe.system.files import is_numbered

_NO_STREAM = "a:999?"


class EncodeSettings(Protocol):
    """How a video is encoded; None stands for the default.

    Attributes:
        codec: ffmpeg's name of the encoder.
        crf: The constant rate factor.
        preset: The encoder's preset.
        pix_fmt: ffmpeg's name of the pixel format.
    """

    @property
    def codec(self) -> str | None: ...  # noqa: D102 - described above

    @property
    def crf(self) -> int | None: ...  # noqa: D102

    @property
    def preset(self) -> str | None: ...  # noqa: D102

    @property
    def pix_fmt(self) -> str | None: ...  # noqa: D102


def codec_of(encode: EncodeSettings, container: Container) -> str:
    """The encoder of a result: the one asked for, or the container's default."""
    if container.is_animation:
        return container.codecs[0]
    return encode.codec or (container.codecs or CODECS)[0]


def encoder_of(encode: EncodeSettings, container: Container) -> str:
    """Ffmpeg's name of the encoder of a result."""
    codec = codec_of(encode, container)
    row = VIDEO_CODECS.get(codec)
    return row.encoder or row.name if row is not None else codec


def pixel_format_of(encode: EncodeSettings, info: VideoInfo, path: Path) -> str:
    """The pixel format of a result: the one asked for, or that of the codec for the original's depth and transparency."""
    if encode.pix_fmt is not None:
        return encode.pix_fmt
    codec = VIDEO_CODECS.get(codec_of(encode, container_of(path)))
    if codec is None:  # an animation
        return "yuva420p" if info.is_transparent else "yuv420p"
    return ((codec.alpha_formats if info.is_transparent else None) or codec.formats)[info.is_deep]


def keeps_alpha(encode: EncodeSettings, info: VideoInfo, path: Path) -> bool:
    """Whether a result holds the transparency of its original; False if the original is opaque.

    Args:
        encode: The codec and the pixel format.
        info: The original.
        path: The result.
    """
    if not info.is_transparent:
        return False
    if is_numbered(path):
        return format_of(path).alpha
    container = container_of(path)
    if container.is_animation:
        return True
    codec = VIDEO_CODECS[codec_of(encode, container)]
    return codec.alpha_formats is not None and has_alpha(pixel_format_of(encode, info, path))


def bits_of(encode: EncodeSettings, info: VideoInfo, path: Path) -> int:
    """The bits of a color value in a result: 8 or more.

    Args:
        encode: The codec and the pixel format.
        info: The original.
        path: The result.
    """
    if is_numbered(path):
        return info.bits
    if container_of(path).is_animation:
        return 8
    try:
        return max(component.bits for component in av.VideoFormat(pixel_format_of(encode, info, path)).components)
    except ValueError:
        return 8  # the trial reports that there is no such format


_TIMECODE_RATES = frozenset({24, 25, 30, 48, 50, 60, 100, 120, 150})
"""Frames per second that ffmpeg writes timecodes for, and the same slowed down by 1001/1000."""


def takes_timecode(info: VideoInfo, container: Container) -> bool:
    """Whether a container can hold the timecode of a video."""
    rates = (info.average_rate, info.average_rate * Fraction(1001, 1000))
    return container.timecode and (container.family is Family.MATROSKA or any(rate in _TIMECODE_RATES for rate in rates))


@dataclass(frozen=True)
class EncodingTask:
    """What is encoded, and how.

    Attributes:
        path: The result; its suffix decides the container.
        info: The original.
        encode: The codec and the quality.
        copy_audio: Whether the result carries the sound.
        keep_metadata: Whether the result carries the tags and the chapters.
        seconds_of_sound: How much of the sound the result carries; None for all of it.
        retimed: A file with the sound and the subtitles at mended times; None if those of the original are right.
    """

    path: Path
    info: VideoInfo
    encode: EncodeSettings
    copy_audio: bool
    keep_metadata: bool
    seconds_of_sound: float | None = None
    retimed: Path | None = None

    @property
    def container(self) -> Container:
        """The container of the result."""
        return container_of(self.path)

    @property
    def carried(self) -> tuple[CarriedStream, ...]:
        """The streams of the original that the result carries."""
        return carried_streams(self.info, self.container, copy_audio=self.copy_audio)

    @property
    def timed_streams(self) -> tuple[Stream, ...]:
        """Those of them that are heard or read with the picture."""
        return tuple(one.stream for one in self.carried if one.stream.kind in ("audio", "subtitle"))

    @property
    def must_retime(self) -> bool:
        """Whether ffmpeg cannot copy them from the original: their times are mended, or packets are left out."""
        mending = self.info.timeline.mending if self.info.timeline is not None else None
        moves = mending is not None and mending.moves_sound
        return any(
            moves or stream.broken or stream.late_from > 0 or (stream.cut_away > 0 and not self.container.hides)
            for stream in self.timed_streams
        )


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
"""A time that every version of ffmpeg reads."""

SMALLEST_OLD_STEP = Fraction(1, 999)
"""The smallest unit of time, in seconds, in which ffmpeg before 5.1 gives each packet a duration."""


def encoder_time_base(info: VideoInfo, container: Container) -> Fraction:
    """The unit of time, in seconds, in which the encoder counts: that of the original.

    For MP4 and MOV, ffmpeg before 5.1 needs a larger one. In a unit of a thousandth of a second or less it gives the last
    frame no duration, and the file does not show it. The times of a variable rate are rounded by up to half of that.
    """
    if not container.sets_timescale or is_at_least(5, 1):
        return info.time_base
    base = info.time_base * (math.gcd(*info.ticks) or 1)
    return max(base, SMALLEST_OLD_STEP)


def encoding_graph(task: EncodingTask, partial: Path) -> object:
    """The graph of ffmpeg that encodes frames from a pipe, in NUT, together with the streams of the original.

    Args:
        task: What is encoded.
        partial: Where the result is written until it is complete.
    """
    info, container = task.info, task.container
    frames = graphs.input("pipe:0", format="nut", **LOCAL_ONLY).video
    options: dict[str, object] = {
        **each_at_its_time(),
        # By default ffmpeg would count time in frames, and lose the times between them.
        "enc_time_base": f"{(base := encoder_time_base(info, container)).numerator}/{base.denominator}",
        "map_metadata": "1" if task.keep_metadata else "-1",
        "map_chapters": "1" if task.keep_metadata else "-1",
    }
    video = _animation_frames(frames, info, container) if container.is_animation else _video_frames(frames, task)
    options |= _animation_options(info, container) if container.is_animation else _video_options(task)
    streams = [video]
    carried = task.carried
    if info.reader is Reader.FFMPEG:
        streams += _original_streams(task)
    else:
        options["map_metadata"] = options["map_chapters"] = "-1"
    of_kind: Counter[str] = Counter()
    for number, one in enumerate(carried, start=1):
        options |= _stream_options(number, of_kind[one.stream.kind], one, task.keep_metadata)
        of_kind[one.stream.kind] += 1
    if task.keep_metadata:
        # ffmpeg-python allows each option once, and ffmpeg knows this stream under two names.
        options |= {"metadata:s:0": f"language={info.language}"} if info.language else {}
        options |= {"metadata:s:v:0": f"title={info.title}"} if info.title else {}
        if info.timecode and takes_timecode(info, container):
            options["metadata:s:v"] = f"timecode={info.timecode}"
    made_at = next((text for name, text in info.tags if name.lower() == "creation_time"), "")
    if task.keep_metadata and _TIME.fullmatch(made_at):
        # ffmpeg does not copy it if the original has it as a tag too.
        options["metadata"] = f"creation_time={made_at}"
    if needs_room(info, container):
        options["metadata:g"] = f"{ROOM_TAG}={'-' * ROOM_BYTES}"
    # Without copyts, ffmpeg would shift each input to zero by itself, and the sound would no longer fit the picture.
    return graphs.output(*streams, local(partial), **options).global_args("-copyts")


def _original_streams(task: EncodingTask) -> list[Any]:
    """The streams of the original that are carried, each from the file where its times are right."""
    limit: dict[str, object] = {} if task.seconds_of_sound is None else {"t": task.seconds_of_sound}
    line = task.info.timeline
    if line is not None and line.mending is not None and line.mending.start_shift:
        limit["itsoffset"] = f"{float(line.mending.start_shift):.6f}"  # its chapters are moved too
    original: Any = graphs.input(local(task.info.path), **LOCAL_ONLY, **limit)
    # An input that nothing is taken from is dropped by ffmpeg-python, and its tags too. A stream that does not exist stands
    # for the original.
    if task.retimed is None:
        return [original[ffmpeg_stream(task.info, one.stream.index)] for one in task.carried] or [original[_NO_STREAM]]
    numbers = {stream.index: number for number, stream in enumerate(task.timed_streams)}
    retimed: Any = graphs.input(local(task.retimed), **LOCAL_ONLY)
    found = [
        retimed[str(numbers[one.stream.index])]
        if one.stream.index in numbers
        else original[ffmpeg_stream(task.info, one.stream.index)]
        for one in task.carried
    ]
    return [original[_NO_STREAM], *found]


def _animation_frames(frames: Any, info: VideoInfo, container: Container) -> Any:
    if not container.has_palette:
        return frames.filter("format", "yuva420p" if info.is_transparent else "yuv420p")
    # A palette for each frame, so that no frame waits for those behind it.
    both = frames.filter_multi_output("split")
    palette = both[0].filter("palettegen", stats_mode="single")
    return graphs.filter([both[1], palette], "paletteuse", new=1)


def _animation_options(info: VideoInfo, container: Container) -> dict[str, object]:
    return {"vcodec": container.codecs[0], "loop": container.loop_option(info.loops or 0), **container.options}


def _video_frames(frames: Any, task: EncodingTask) -> Any:
    """The filters from R'G'B' to the pixel format and the colors of the result."""
    matrix, primaries, transfer = _colors_of_result(task.info)
    pixel_format = pixel_format_of(task.encode, task.info, task.path)
    in_rgb = is_rgb(pixel_format)
    stored, name = "full" if in_rgb else "limited", SCALE_MATRICES[matrix]
    # The tags of the result are right only if both scale and setparams set them.
    return (
        frames.filter("scale", flags="bicubic+accurate_rnd+full_chroma_int", out_color_matrix=name, out_range=stored)
        .filter("format", pixel_format)
        .filter("setsar", 1)
        .filter(
            "setparams",
            range=stored,
            colorspace="gbr" if in_rgb else matrix,
            color_primaries=primaries,
            color_trc=transfer,
        )
    )


def _colors_of_result(info: VideoInfo) -> tuple[str, str, str]:
    """The matrix, the primaries and the transfer function of a result, by ffmpeg's names."""
    color = info.color
    if color.hdr is not None:  # it was tone-mapped to BT.709
        return "bt709", "bt709", "bt709"
    return color.matrix, color.primaries or "bt709", color.transfer or "bt709"


def _color_options(task: EncodingTask) -> dict[str, object]:
    """The options that tag the colors of a result: before its version 5, ffmpeg does not take the tags from the frames."""
    if is_at_least(5):
        return {}
    matrix, primaries, transfer = _colors_of_result(task.info)
    in_rgb = is_rgb(pixel_format_of(task.encode, task.info, task.path))
    return {
        "colorspace": "rgb" if in_rgb else matrix,
        "color_primaries": primaries,
        "color_trc": transfer,
        "color_range": "pc" if in_rgb else "tv",
    }


def _video_options(task: EncodingTask) -> dict[str, object]:
    encode, container = task.encode, task.container
    codec = VIDEO_CODECS[codec_of(encode, container)]
    options: dict[str, object] = {"vcodec": codec.encoder or codec.name, **codec.options, **_color_options(task)}
    if keeps_alpha(encode, task.info, task.path):
        options |= codec.alpha_options
    if codec.crf is not None:
        options["crf"] = codec.crf if encode.crf is None else encode.crf
    if encode.preset is not None:
        options["preset"] = encode.preset
    if container.sets_timescale and not is_at_least(5, 1) and _has_variable_rate(task.info):
        # The file would last as long as its packets in the order of decoding, and not show its last frames.
        options |= {"x265-params": "bframes=0"} if codec.name == "libx265" else {"bf": 0}
    if container.sets_timescale:
        options["video_track_timescale"] = encoder_time_base(task.info, container).denominator
    options |= container.options
    return {**options, **container.codec_options.get(codec.name, {})}


def _has_variable_rate(info: VideoInfo) -> bool:
    return len({later - earlier for earlier, later in pairwise(info.ticks)}) > 1


def _stream_options(number: int, before: int, carried: CarriedStream, keep_metadata: bool) -> dict[str, object]:
    """The options of a stream.

    Args:
        number: Of the stream in the result.
        before: How many streams of its kind stand before it.
        carried: The stream.
        keep_metadata: Whether its language and title are kept.
    """
    stream = carried.stream
    options: dict[str, object] = {
        f"c:{number}": carried.codec,
        f"disposition:{number}": "+".join(stream.dispositions) or "0",
    }
    if stream.kind == "attachment":
        # Matroska needs the name and the type of an attachment, even if all other metadata is stripped.
        options[f"metadata:s:{number}"] = f"filename={stream.file_name}"
        options[f"metadata:s:t:{before}"] = f"mimetype={stream.media_type}"
    elif keep_metadata:
        options |= {f"metadata:s:{number}": f"language={stream.language}"} if stream.language else {}
        # ffmpeg reads the title of a stream of MP4 by another name than it writes it.
        options |= {f"metadata:s:{stream.kind[0]}:{before}": f"title={stream.title}"} if stream.title else {}
    return options

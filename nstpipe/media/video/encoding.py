"""The arguments with which ffmpeg encodes a result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import ffmpeg as graphs

from nstpipe.media.video.containers import CODECS, Container, container_of
from nstpipe.media.video.ffmpeg import LOCAL_ONLY, local
from nstpipe.media.video.info import Reader, Stream, VideoInfo
from nstpipe.media.video.streams import CarriedStream, carried_streams
from nstpipe.system.files import is_numbered

PHONE_TAGS = "com.apple.quicktime."
"""How the tags of a phone's videos begin, such as ``com.apple.quicktime.location.ISO6709``."""

_DEFAULT_CRF = {"libx264": 18, "libx265": 18, "libsvtav1": 25}
_DEEP_CODECS = ("libx265", "libsvtav1", "ffv1")
"""Codecs that common players show with 10 bits. Most players do not show H.264 with 10 bits."""

_NO_STREAM = "a:999?"
_ENCODER = {"prores": "prores_ks"}
"""Of ffmpeg's ProRes encoders, the one that keeps 10 bits and alpha."""


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


def pixel_format_of(encode: EncodeSettings, info: VideoInfo, path: Path) -> str:
    """The pixel format of a result: the one asked for, or 4:2:0 with the original's depth if players show it."""
    if encode.pix_fmt is not None:
        return encode.pix_fmt
    codec = codec_of(encode, container_of(path))
    if codec == "prores":
        return "yuv422p10le"
    return "yuv420p10le" if info.is_deep and codec in _DEEP_CODECS else "yuv420p"


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
        """Those of them that have times: all but attachments."""
        return tuple(one.stream for one in self.carried if one.stream.kind != "attachment")

    @property
    def must_retime(self) -> bool:
        """Whether ffmpeg cannot copy them from the original: their times are mended, or some of their packets are damaged."""
        mending = self.info.timeline.mending if self.info.timeline is not None else None
        moves = mending is not None and mending.moves_sound
        return any(moves or stream.broken or stream.late_from > 0 for stream in self.timed_streams)


def encoding_graph(task: EncodingTask, partial: Path) -> object:
    """The graph of ffmpeg that encodes frames from a pipe, in NUT, together with the streams of the original.

    Args:
        task: What is encoded.
        partial: Where the result is written until it is complete.
    """
    info, container = task.info, task.container
    frames = graphs.input("pipe:0", format="nut", **LOCAL_ONLY).video
    options: dict[str, object] = {
        "fps_mode": "passthrough",
        # By default ffmpeg would count time in frames, and lose the times between them.
        "enc_time_base": f"{info.time_base.numerator}/{info.time_base.denominator}",
        "map_metadata": "1" if task.keep_metadata else "-1",
        "map_chapters": "1" if task.keep_metadata else "-1",
    }
    video = _animation_frames(frames, container) if container.is_animation else _video_frames(frames, task)
    options |= _animation_options(info, container) if container.is_animation else _video_options(task)
    streams = [video]
    carried = task.carried
    if info.reader is Reader.FFMPEG:
        streams += _original_streams(task)
    else:
        options["map_metadata"] = options["map_chapters"] = "-1"
    attachments = 0
    for number, one in enumerate(carried, start=1):
        options |= _stream_options(number, attachments, one, task.keep_metadata)
        attachments += one.stream.kind == "attachment"
    if task.keep_metadata:
        # ffmpeg-python allows each option once, and ffmpeg knows this stream under two names.
        options |= {"metadata:s:0": f"language={info.language}"} if info.language else {}
        options |= {"metadata:s:v:0": f"title={info.title}"} if info.title else {}
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
        return [original[str(one.stream.index)] for one in task.carried] or [original[_NO_STREAM]]
    numbers = {stream.index: number for number, stream in enumerate(task.timed_streams)}
    retimed: Any = graphs.input(local(task.retimed), **LOCAL_ONLY)
    found = [
        retimed[str(numbers[one.stream.index])] if one.stream.index in numbers else original[str(one.stream.index)]
        for one in task.carried
    ]
    return [original[_NO_STREAM], *found]


def _animation_frames(frames: Any, container: Container) -> Any:
    if not container.has_palette:
        return frames.filter("format", "yuv420p")
    # A palette for each frame, so that no frame waits for those behind it.
    both = frames.filter_multi_output("split")
    palette = both[0].filter("palettegen", stats_mode="single")
    return graphs.filter([both[1], palette], "paletteuse", new=1)


def _animation_options(info: VideoInfo, container: Container) -> dict[str, object]:
    return {"vcodec": container.codecs[0], "loop": container.loop_option(info.loops or 0), **container.options}


def _video_frames(frames: Any, task: EncodingTask) -> Any:
    """The filters from R'G'B' to the pixel format and the colors of the result."""
    color = task.info.color
    matrix, primaries, transfer = color.matrix, color.primaries or "bt709", color.transfer or "bt709"
    if color.hdr is not None:  # it was tone-mapped to BT.709
        matrix, primaries, transfer = "bt709", "bt709", "bt709"
    # The tags of the result are right only if both scale and setparams set them.
    return (
        frames.filter("scale", flags="bicubic+accurate_rnd+full_chroma_int", out_color_matrix=matrix, out_range="limited")
        .filter("format", pixel_format_of(task.encode, task.info, task.path))
        .filter("setsar", 1)
        .filter("setparams", range="limited", colorspace=matrix, color_primaries=primaries, color_trc=transfer)
    )


def _video_options(task: EncodingTask) -> dict[str, object]:
    encode, container = task.encode, task.container
    codec = codec_of(encode, container)
    options: dict[str, object] = {"vcodec": _ENCODER.get(codec, codec)}
    crf = encode.crf if encode.crf is not None else _DEFAULT_CRF.get(codec)
    if crf is not None and codec in _DEFAULT_CRF:
        options["crf"] = crf
    if encode.preset is not None:
        options["preset"] = encode.preset
    if container.sets_timescale:
        options["video_track_timescale"] = task.info.time_base.denominator
    options |= container.options
    if any(name.startswith(PHONE_TAGS) for name, _ in task.info.tags):
        options |= container.phone_tag_options
    return {**options, **container.codec_options.get(codec, {})}


def _stream_options(number: int, attachments: int, carried: CarriedStream, keep_metadata: bool) -> dict[str, object]:
    """The options of a stream.

    Args:
        number: Of the stream in the result.
        attachments: How many attachments stand before it.
        carried: The stream.
        keep_metadata: Whether its language is kept.
    """
    stream = carried.stream
    options: dict[str, object] = {
        f"c:{number}": carried.codec,
        f"disposition:{number}": "+".join(stream.dispositions) or "0",
    }
    if stream.kind == "attachment":
        # Matroska needs the name and the type of an attachment, even if all other metadata is stripped.
        options[f"metadata:s:{number}"] = f"filename={stream.file_name}"
        options[f"metadata:s:t:{attachments}"] = f"mimetype={stream.media_type}"
    elif stream.language and keep_metadata:
        options[f"metadata:s:{number}"] = f"language={stream.language}"
    return options

"""Probes a video: reads what it holds without decoding all of it."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import Any

import av
from av.format import Flags
from av.stream import Disposition

from nstpipe.errors import ItemError
from nstpipe.media.pictures.files import picture_bits, picture_size
from nstpipe.media.video.alpha import alpha_decoder, with_transparency
from nstpipe.media.video.animation import AnimationTimes, animation_times, gif_loops
from nstpipe.media.video.clock import Timeline
from nstpipe.media.video.color import color_of, side_data
from nstpipe.media.video.decode_check import apply_decode_check, decode_check
from nstpipe.media.video.frame_times import FrameTimes, frame_times, opened
from nstpipe.media.video.info import PICTURE_COLOR, MissingFrames, Reader, Stream, VideoInfo
from nstpipe.media.video.iso_media import Movie
from nstpipe.media.video.last_frame import end_tick
from nstpipe.media.video.projection import projection_of, stereo_of
from nstpipe.media.video.sequence import DEFAULT_RATE
from nstpipe.media.video.shapes import upright_size
from nstpipe.system.files import SpecialFileError, check_is_no_special_file, is_numbered, numbered_files

PLAYLISTS = ("hls", "applehttp", "concat", "dash", "imf", "sdp")
"""Text formats that make ffmpeg open whatever they name. A folder of footage is not trusted to hold them."""

LARGEST_RATE_ERROR = 8
"""A frame rate that is more times as high as the usual one of the frames is that of the clock."""

FRAMES_LOOKED_AT = 8
"""Frames decoded to see whether a video is interlaced or transparent: some broadcasts mark only some of their frames."""


def probe(path: Path, rate: Fraction = DEFAULT_RATE) -> VideoInfo:
    """Probe a video. If it is seen to be cut short, it is decoded to its end to find out which frames are left.

    Args:
        path: As for `probe_header`.
        rate: Frames per second of numbered pictures.

    Raises:
        ItemError: The video is missing, or no frame of it can be decoded.
    """
    info = probe_header(path, rate)
    return info if info.loss is None else apply_decode_check(info, decode_check(info))


def probe_header(path: Path, rate: Fraction = DEFAULT_RATE) -> VideoInfo:
    """Probe a video, and decode no more than its first frames unless its packets have no times.

    Args:
        path: A video, an animated picture, or the pattern of numbered pictures (``frame_%05d.png``).
        rate: Frames per second of numbered pictures.

    Raises:
        ItemError: The video is missing, or no frame of it can be decoded.
    """
    if is_numbered(path):
        return _probe_numbered(path, rate)
    try:
        check_is_no_special_file(path)
    except SpecialFileError as error:
        raise ItemError(f"{path} cannot be read: {error.strerror}.", "Give the path of a video.") from error
    animation = animation_times(path)
    if animation is not None:
        return _probe_animation(path, animation)
    return _probe_file(path)


def _probe_numbered(path: Path, rate: Fraction) -> VideoInfo:
    files = numbered_files(path)
    if not files:
        raise ItemError(f"{path}: no picture has a name of this pattern.", "Check the numbers in the names.")
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
    info = VideoInfo(
        path=path,
        width=width,
        height=height,
        time_base=1 / rate,
        ticks=tuple(number - numbers[0] for number in numbers),
        average_rate=rate,
        color=PICTURE_COLOR,
        bits=picture_bits(first),
        reader=Reader.SEQUENCE,
        container="numbered pictures",
        first_number=numbers[0],
        loss=loss,
    )
    return with_transparency(info, 1)


def _probe_animation(path: Path, animation: AnimationTimes) -> VideoInfo:
    ticks, end = animation.milliseconds[:-1], animation.milliseconds[-1]
    return VideoInfo(
        path=path,
        width=animation.width,
        height=animation.height,
        time_base=Fraction(1, 1000),
        ticks=ticks,
        average_rate=Fraction(1000 * len(ticks), max(1, end)),
        color=PICTURE_COLOR,
        reader=Reader.ANIMATION,
        container=animation.format.lower(),
        codec=animation.format.lower(),
        loops=animation.loops,
        end_tick=end,
        is_transparent=animation.is_transparent,
    )


def _probe_file(path: Path) -> VideoInfo:
    try:
        with opened(path) as container:
            stream = _picture_stream(container, path)
            first_frames = _first_frames(container, stream, path)
            info = _info(path, container, stream, first_frames, frame_times(partial(opened, path), stream.index))
        return with_transparency(info, FRAMES_LOOKED_AT)
    except FileNotFoundError as error:
        raise ItemError(f"{path} does not exist.") from error
    except IsADirectoryError as error:
        raise ItemError(f"{path} is a folder, not a video.") from error
    except av.FFmpegError as error:
        if path.is_file() and path.stat().st_size == 0:
            raise ItemError(f"{path} is empty (0 bytes).", "Copy the video again.") from error
        reason = error.strerror or str(error)
        raise ItemError(f"{path} is not a readable video: {reason}.", "Play it to see whether it is whole.") from error
    except OSError as error:
        raise ItemError(f"{path} cannot be read: {error.strerror}.") from error


def _picture_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The stream of the picture.

    Raises:
        ItemError: There is none, or in an unknown codec.
    """
    if container.format.name in PLAYLISTS:
        raise ItemError(
            f"{path} is a playlist ({container.format.name}), which names other files; give a video.",
            "Give the file that it names.",
        )
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise ItemError(f"{path} has no video stream.", "Give a video, or a folder of pictures.")
    # A file of the HEIF family may hold a still picture of its animation in front of it.
    stream = next((stream for stream in streams if stream.frames != 1), streams[0])
    if not stream.codec_context:
        raise ItemError(f"{path} has a video stream in a codec that this ffmpeg does not know.")
    return stream


def _check_first_packet(container: av.container.InputContainer, first_packet: av.Packet[Any], path: Path) -> None:
    # The bare output of an encoder, as small cameras write it.
    has_no_clock = bool(container.format.flags & Flags.no_timestamps.value)  # type: ignore[operator]  # whole numbers
    if has_no_clock and first_packet.size and first_packet.pts is None and first_packet.dts is None:
        raise ItemError(
            f"{path} has no frame times: it is {container.format.long_name}, without a container.",
            f"Put it into one, with its frame rate in place of 25: ffmpeg -framerate 25 -i {shlex.quote(path.name)} "
            f"-c:v ffv1 {shlex.quote(path.stem + '.mkv')}",
        )
    # Some frames of a protected video decode anyway, to noise.
    if first_packet.has_sidedata("encryption_info"):
        raise ItemError(f"{path} is encrypted; it can be played only with its key.", "Give a copy without protection.")


def _first_frames(container: av.container.InputContainer, stream: av.VideoStream, path: Path) -> list[av.VideoFrame]:
    """The first frames of a stream that is at its beginning.

    Raises:
        ItemError: The frames have no times, are encrypted, or none of them can be decoded.
    """
    found: list[av.VideoFrame] = []
    try:
        for number, packet in enumerate(container.demux(stream)):
            if number == 0:
                _check_first_packet(container, packet, path)
            found += [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
            if len(found) >= FRAMES_LOOKED_AT:
                break
    except av.FFmpegError:
        if not found:
            raise
    if not found:
        raise ItemError(f"{path} has a video stream, but no frame of it can be decoded.")
    return found


def _info(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    first_frames: Sequence[av.VideoFrame],
    times: FrameTimes,
) -> VideoInfo:
    first = first_frames[0]
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    width, height = upright_size(first, aspect)
    tags = {name: text for name, text in container.metadata.items() if text}
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        time_base=times.timeline.time_base,
        ticks=times.timeline.ticks,
        average_rate=_average_rate(stream, times.timeline),
        color=color_of(first),
        container=container.format.name,
        codec=stream.codec_context.name,
        pixel_format=first.format.name,
        bits=max(component.bits for component in first.format.components),
        rotation=first.rotation % 360,
        sample_aspect=aspect,
        interlaced=any(frame.interlaced_frame for frame in first_frames),
        stream_index=stream.index,
        streams=_other_streams(path, container, stream, times),
        chapters=len(container.chapters()),
        tags=tuple(sorted(tags.items())),
        language=stream.metadata.get("language", ""),
        title=_title_of(stream.metadata),
        stream_tags=_other_tags(stream.metadata),
        timecode=_timecode_of(container, stream),
        loops=gif_loops(path) if container.format.name == "gif" else None,
        has_captions=any(side_data(frame, "A53_CC") for frame in first_frames),
        end_tick=None if times.timeline.mending is not None else end_tick(path, container, stream, times.timeline.ticks),
        projection=projection_of(side_data(first, "SPHERICAL")),
        stereo=stereo_of(side_data(first, "STEREO3D")),
        dynamic_hdr=_dynamic_hdr(first_frames),
        decoder=alpha_decoder(stream.codec_context.name, stream.metadata),
        loss=times.loss,
        index=stream.index,
        timeline=times.timeline if times.timeline.mending is not None else None,
    )


def _average_rate(stream: av.VideoStream, line: Timeline) -> Fraction:
    """Frames per second, by the file, unless the times of the frames show that it states its time base instead."""
    stated = Fraction(stream.average_rate or 25)
    steps = [later - earlier for earlier, later in itertools.pairwise(line.ticks)]
    measured = 1 / (median_low(steps) * line.time_base) if steps else stated
    return measured if stated > LARGEST_RATE_ERROR * measured else stated


def _sample_rate(context: Any) -> int:
    return getattr(context, "sample_rate", 0)


_DYNAMIC_HDR = {"DOVI_METADATA": "Dolby Vision", "DOVI_RPU_BUFFER": "Dolby Vision", "DYNAMIC_HDR_PLUS": "HDR10+"}
"""Metadata that adapts HDR from scene to scene: FFmpeg's names, and the usual ones."""

_STREAM_TAGS_KEPT = frozenset({"language", "title", "name", "filename", "mimetype", "timecode"})
"""Tags of a stream that have a field of their own."""

_STREAM_TAGS_OF_THE_CONTAINER = frozenset(
    {"handler_name", "vendor_id", "encoder", "creation_time", "rotate", "alpha_mode", "stereo_mode", "variant_bitrate"}
)
"""Tags of a stream that describe how it is stored."""


def _title_of(tags: dict[str, str]) -> str:
    return tags.get("title") or tags.get("name") or ""  # of Matroska, and of MP4


def _other_tags(tags: dict[str, str]) -> tuple[str, ...]:
    """The names of a stream's tags that are the user's own, without the figures that mkvmerge and ffmpeg write."""
    own = (name for name, text in tags.items() if text and name.lower() not in _STREAM_TAGS_KEPT)
    return tuple(
        name
        for name in own
        if name.lower() not in _STREAM_TAGS_OF_THE_CONTAINER
        and not name.startswith(("DURATION", "BPS", "NUMBER_OF_", "_STATISTICS", "SOURCE_ID"))
    )


def _timecode_of(container: av.container.InputContainer, stream: av.VideoStream) -> str:
    for tags in (stream.metadata, container.metadata):
        found = next((text for name, text in tags.items() if name.lower() == "timecode"), "")
        if found:
            return found
    return ""


def _dynamic_hdr(frames: Sequence[av.VideoFrame]) -> str:
    return next((name for kind, name in _DYNAMIC_HDR.items() if any(side_data(frame, kind) for frame in frames)), "")


def _other_streams(
    path: Path, container: av.container.InputContainer, picture: av.VideoStream, times: FrameTimes
) -> tuple[Stream, ...]:
    found = [_stream_of(other, times) for other in container.streams if other.index != picture.index]
    movie = Movie.read(path) if any(one.kind == "data" for one in found) else None
    kinds = movie.sample_kinds if movie is not None else ()
    # FFmpeg has one name for the data streams of many cameras.
    return tuple(
        replace(one, codec=kinds[one.index]) if one.kind == "data" and one.index < len(kinds) and kinds[one.index] else one
        for one in found
    )


def _stream_of(stream: Any, times: FrameTimes) -> Stream:
    context = getattr(stream, "codec_context", None)
    codec = getattr(getattr(context, "codec", None), "canonical_name", None) or getattr(context, "name", None) or ""
    tags, packets = stream.metadata, times.others.get(stream.index)
    return Stream(
        index=stream.index,
        kind=stream.type or "data",
        codec=codec,
        language=tags.get("language", ""),
        title=_title_of(tags),
        dispositions=tuple(flag.name for flag in Disposition if flag.name and flag in stream.disposition),
        file_name=tags.get("filename", ""),
        media_type=tags.get("mimetype", ""),
        is_empty=packets is not None and not packets.count and times.is_read_to_end,
        broken=packets.broken if packets is not None else 0,
        cut_away=packets.cut_away if packets is not None else 0,
        late_from=packets.first_byte if packets is not None and stream.type == "audio" and not _sample_rate(context) else 0,
        tags=_other_tags(tags),
        timecode=tags.get("timecode", ""),
    )

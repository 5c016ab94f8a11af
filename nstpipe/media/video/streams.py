"""Which streams of a video its result carries, and which it loses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nstpipe.media.losses import Omission
from nstpipe.media.video.containers import Container, container_of
from nstpipe.media.video.info import Stream, VideoInfo

OTHER_PICTURE = "it shows the picture before it was painted, or another picture"
"""Why a second stream of pictures, such as a cover, is dropped."""

CAPTIONS = "a painted picture does not contain them"
"""Why captions within the picture's stream are dropped."""


@dataclass(frozen=True)
class CarriedStream:
    """A stream that the result carries.

    Attributes:
        stream: The stream of the original.
        codec: Its codec in the result, or ``copy``.
    """

    stream: Stream
    codec: str


def carried_streams(info: VideoInfo, container: Container, *, copy_audio: bool) -> tuple[CarriedStream, ...]:
    """The streams that a container can hold next to the picture, in the order of the original."""
    found = ((stream, _codec(stream, container, copy_audio)) for stream in info.streams)
    return tuple(CarriedStream(stream, codec) for stream, codec in found if codec is not None)


def _codec(stream: Stream, container: Container, copy_audio: bool) -> str | None:
    """The codec that a stream gets, ``copy``, or None if it is dropped."""
    if stream.is_empty:
        return None
    if stream.kind == "audio":
        # Sound in a codec that the container cannot hold fails the trial, because nobody wants a film to lose its sound.
        return "copy" if container.sound and copy_audio else None
    if stream.kind == "subtitle":
        return container.subtitle_codec(stream.codec)
    if stream.kind == "data":
        return "copy" if stream.codec in container.data else None
    return "copy" if stream.kind == "attachment" and container.attachments else None


def omitted_streams(info: VideoInfo, path: Path, *, copy_audio: bool, keep_metadata: bool = True) -> tuple[Omission, ...]:
    """What the result does not carry as it is in the original.

    Args:
        info: The original.
        path: The result; its suffix decides the container.
        copy_audio: Whether the sound is wanted. If not, sound is not named.
        keep_metadata: Whether chapters and timecodes are wanted. If not, they are not named.
    """
    container = container_of(path)
    found: list[Omission] = []
    for stream in info.streams:
        if (stream.kind == "audio" and not copy_audio) or _is_kept_in_another_way(stream, info):
            continue
        codec = _codec(stream, container, copy_audio)
        if stream.kind == "video":
            found.append(Omission("video streams", f"{stream} is dropped: {OTHER_PICTURE}"))
        elif stream.is_empty:
            what = "sound" if stream.kind == "audio" else "subtitles"
            found.append(Omission(f"empty {what}", f"{stream} is dropped: the file announces it, but holds none of it"))
        elif codec is None:
            found.append(Omission(f"{stream.kind} streams", f"{stream} is dropped: {container.suffix} cannot hold it"))
        elif stream.broken:
            packets = "1 damaged packet" if stream.broken == 1 else f"{stream.broken} damaged packets"
            verb = "is" if stream.broken == 1 else "are"
            found.append(Omission("damaged packets of sound", f"{packets} of {stream} {verb} dropped: the rest of it stays"))
        elif codec != "copy":
            reason = f"{container.suffix} cannot hold it as it is"
            found.append(Omission(f"{stream.kind} streams", f"{stream} is converted to {codec}: {reason}"))
    if info.chapters and not container.chapters and keep_metadata:
        found.append(Omission("chapters", f"{info.chapters} chapters are dropped: {container.suffix} cannot hold them"))
    if info.has_captions:
        found.append(Omission("captions", f"the closed captions in the picture's stream are dropped: {CAPTIONS}"))
    return tuple(found)


def _is_kept_in_another_way(stream: Stream, info: VideoInfo) -> bool:
    """Whether a data stream holds the timecode or the names of the chapters, which have a field of their own."""
    is_chapters = stream.codec == "text" and info.chapters > 0
    return stream.kind == "data" and (bool(stream.timecode and info.timecode) or is_chapters)

"""Which streams of a video its result carries, and which it loses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nstpipe.media.video.containers import Container, container_of
from nstpipe.media.video.info import Stream, VideoInfo


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
    return "copy" if stream.kind == "attachment" and container.attachments else None


def dropped_streams(info: VideoInfo, path: Path, *, copy_audio: bool) -> tuple[str, ...]:
    """What the result does not carry as it is in the original, one sentence each.

    Args:
        info: The original.
        path: The result; its suffix decides the container.
        copy_audio: Whether the sound is wanted. If not, sound is not named.
    """
    container = container_of(path)
    said: list[str] = []
    for stream in info.streams:
        if stream.kind == "audio" and not copy_audio:
            continue
        codec = _codec(stream, container, copy_audio)
        if stream.kind == "video":
            said.append(f"{stream} is dropped: it shows the picture before it was painted, or another picture")
        elif stream.is_empty:
            said.append(f"{stream} is dropped: the file announces it, but holds none of it")
        elif codec is None:
            said.append(f"{stream} is dropped: {container.suffix} cannot hold it")
        elif stream.broken:
            packets = "1 damaged packet" if stream.broken == 1 else f"{stream.broken} damaged packets"
            said.append(f"{packets} of {stream} {'is' if stream.broken == 1 else 'are'} dropped")
        elif codec != "copy":
            said.append(f"{stream} is converted to {codec}: {container.suffix} cannot hold it as it is")
    if info.chapters and not container.chapters:
        said.append(f"{info.chapters} chapters are dropped: {container.suffix} cannot hold them")
    time_code = next((text for name, text in info.tags if name.lower() == "timecode"), "")
    if time_code and not container.time_code:
        said.append(f"the time code {time_code} is dropped: {container.suffix} holds one only with a constant frame rate")
    if info.has_captions:
        said.append("the closed captions in the picture's stream are dropped: a painted picture does not contain them")
    return tuple(said)

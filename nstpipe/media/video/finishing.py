"""Adds to an encoded file what it should hold and ffmpeg's muxers leave out, whatever their version."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from nstpipe.media.video.containers import Container, Family, container_of
from nstpipe.media.video.ffmpeg import local
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.iso_media import TAGS_OF_USER_BOXES, Movie, text_value
from nstpipe.media.video.last_frame import end_tick
from nstpipe.media.video.matroska import Head
from nstpipe.media.video.projection import GOOGLE_UUID, google_box, iso_boxes, matroska_elements

OWN_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
"""Tags, in lower case, that describe a file's container rather than its content; the new container has its own."""

_TOLERANCE = Fraction(1, 1000)
"""Seconds by which two ends of a last frame may differ: containers count in steps up to this length."""


def user_tags(info: VideoInfo) -> dict[str, str]:
    """The tags of a video that are not its container's own."""
    return {name: text for name, text in info.tags if name.lower() not in OWN_TAGS}


def needs_room(info: VideoInfo, container: Container) -> bool:
    """Whether an encoded file needs room at its beginning for what is added afterwards."""
    return container.family is Family.MATROSKA and bool(matroska_elements(info.projection, info.stereo))


def add_what_is_missing(
    path: Path, info: VideoInfo, size: tuple[int, int], *, keep_metadata: bool, languages: Sequence[str] = ()
) -> None:
    """Add to an encoded file its layout, the end of its last frame, its languages and its tags, if ffmpeg has not written them.

    Args:
        path: The file. It is changed only if something is missing.
        info: The original.
        size: Width and height of the encoded frames, in pixels.
        keep_metadata: Whether the tags of the original are wanted.
        languages: Of the streams of the file, in their order; empty for one that has none.

    Raises:
        OSError: The file cannot be written.
    """
    family = container_of(path).family
    if family is None:
        return
    found_tags, found_end, time_base = _found(path)
    end = info.end_tick * info.time_base if info.end_tick is not None else None
    if end is not None and found_end is not None and abs(end - found_end) <= max(_TOLERANCE, info.time_base, time_base):
        end = None
    scale = size[0] / info.width, size[1] / info.height
    if family is Family.MATROSKA:
        _add_to_matroska(path, info, scale, end)
    else:
        _add_to_iso_media(path, info, scale, end, found_tags if keep_metadata else None, languages)


def _found(path: Path) -> tuple[frozenset[str], Fraction | None, Fraction]:
    """The names of the tags of a file in lower case, when its last frame ends in seconds, and the seconds of a tick."""
    with av.open(local(path), options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
        tags = frozenset(name.lower() for name in container.metadata)
        stream = container.streams.video[0]
        time_base = Fraction(stream.time_base or Fraction(1, 1000))
        times = [packet.pts for packet in container.demux(stream) if packet.pts is not None and packet.size]
        end = end_tick(path, container, stream, (max(times, default=0),))
        return tags, None if end is None else end * time_base, time_base


def _add_to_matroska(path: Path, info: VideoInfo, scale: tuple[float, float], end: Fraction | None) -> None:
    projection = info.projection.resized(scale[0]) if info.projection is not None else None
    elements = matroska_elements(projection, info.stereo)
    head = Head.read(path) if elements or end is not None else None
    if head is not None:
        head.add_to_picture(elements)
        if end is not None:
            head.set_end(end)
        head.write()


def _add_to_iso_media(
    path: Path,
    info: VideoInfo,
    scale: tuple[float, float],
    end: Fraction | None,
    found_tags: frozenset[str] | None,
    languages: Sequence[str],
) -> None:
    projection = info.projection.resized(scale[0]) if info.projection is not None else None
    boxes = iso_boxes(projection, info.stereo)
    original = Movie.read(info.path) if boxes or found_tags is not None else None
    if boxes and original is not None:
        older = (box for box in original.picture_boxes(b"uuid") if box.head.startswith(GOOGLE_UUID))
        boxes += [google_box(box, scale) for box in older]
    of_camera = original.user_boxes if original is not None and found_tags is not None else []
    values: dict[str, bytes] = {}
    if found_tags is not None:
        found_tags |= {TAGS_OF_USER_BOXES[box.kind] for box in of_camera if box.kind in TAGS_OF_USER_BOXES}
        # A phone's values have types, and ffmpeg gives each as text.
        typed = original.keys if original is not None else {}
        names = dict.fromkeys((*typed, *user_tags(info)))
        texts = user_tags(info)
        for name in names:
            if name.lower() not in found_tags and name.lower() not in OWN_TAGS:
                values[name] = typed.get(name) or text_value(texts[name])
    # For MOV, ffmpeg writes the numbers of Macintosh, and nothing for a language that has none there.
    in_mov = any(languages) and path.suffix.lower() == ".mov"
    movie = Movie.read(path) if boxes or values or of_camera or end is not None or in_mov else None
    if movie is None:
        return
    if in_mov:
        movie.set_languages(languages)
    movie.add_picture_boxes(boxes)
    movie.add_user_boxes(of_camera)
    if values:
        movie.add_keys(values)
    if end is not None:
        movie.set_end(end)
    movie.write()

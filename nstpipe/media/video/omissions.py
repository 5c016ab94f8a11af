"""What the result of a video does not hold of it: the table of containers and codecs against the original."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from nstpipe.media.losses import Omission
from nstpipe.media.video import streams
from nstpipe.media.video.codecs import VIDEO_CODECS
from nstpipe.media.video.containers import CONTAINERS, Container, Family, container_of
from nstpipe.media.video.encoding import EncodeSettings, bits_of, codec_of, keeps_alpha, pixel_format_of, takes_timecode
from nstpipe.media.video.finishing import user_tags
from nstpipe.media.video.info import VideoInfo
from nstpipe.media.video.iso_media import XMP_KINDS, Movie
from nstpipe.media.video.projection import is_stereo_held
from nstpipe.media.video.streams import carried_streams, omitted_streams
from nstpipe.system.files import is_numbered

NEVER_HELD = {
    "further pictures": streams.OTHER_PICTURE,
    "captions": streams.CAPTIONS,
    "high dynamic range": "is brought to the range of a standard picture in BT.709",
    "dynamic HDR metadata": "it describes the picture before it was painted",
    "XMP": "it describes the original",
    "second view": "one view is painted",
}
"""What no result of a video holds, and why."""

_MOST_NAMES = 4
"""Names of tags that stand in a sentence; the others are counted."""


def omissions_of_video(
    info: VideoInfo, output: Path, encode: EncodeSettings, *, copy_audio: bool, keep_metadata: bool
) -> tuple[Omission, ...]:
    """What the result of a video does not hold, or holds in another form.

    Args:
        info: The original.
        output: The result; its suffix decides the container.
        encode: The codec and the pixel format.
        copy_audio: Whether the sound is wanted. If not, it is not named.
        keep_metadata: Whether tags, chapters and the like are wanted. If not, they are not named.
    """
    container = container_of(output)
    found = list(omitted_streams(info, output, copy_audio=copy_audio, keep_metadata=keep_metadata))
    found += _of_the_picture(info, output, encode, container)
    if keep_metadata:
        found += _of_the_tags(info, container, copy_audio=copy_audio)
    return tuple(found)


def _of_the_picture(info: VideoInfo, output: Path, encode: EncodeSettings, container: Container) -> Iterator[Omission]:
    if info.is_transparent and not keeps_alpha(encode, info, output):
        yield _transparency(info, output, encode, container)
    elif info.is_transparent and container.has_palette and info.codec != "gif":
        yield Omission("partial transparency", f"pixels between clear and opaque become one or the other in {container.suffix}")
    holder = "numbered pictures" if is_numbered(output) else container.suffix
    if info.projection is not None and not (container.layout and info.projection.is_held):
        remedy = "" if not info.projection.is_held else "Give output the suffix .mp4, .mov, .mkv or .webm."
        detail = f"how its 360° picture is laid out ({info.projection.kind}) is dropped: {holder} cannot say it"
        yield Omission("360° layout", detail, remedy)
    in_matroska = container.family is Family.MATROSKA
    stereo = info.stereo if info.stereo is not None and not info.stereo.is_flat else None
    if stereo is not None and not (container.layout and is_stereo_held(stereo, in_matroska=in_matroska)):
        detail = f"how the views of the two eyes are laid out ({stereo.layout}) is dropped: {holder} cannot say it"
        yield Omission("stereo layout", detail, "Give output the suffix .mkv.")
    if info.color.hdr is not None:
        mastering = f" ({info.color.mastering})" if info.color.mastering else ""
        yield Omission("high dynamic range", f"its {info.color.hdr}{mastering} {NEVER_HELD['high dynamic range']}")
    elif info.is_deep and bits_of(encode, info, output) == 8:
        yield _depth(info, encode, container)
    if info.dynamic_hdr:
        detail = f"the metadata of {info.dynamic_hdr} is dropped: {NEVER_HELD['dynamic HDR metadata']}"
        yield Omission("dynamic HDR metadata", detail)
    if not container.times:
        yield from _times(info)


def _transparency(info: VideoInfo, output: Path, encode: EncodeSettings, container: Container) -> Omission:
    if is_numbered(output):
        return Omission("transparency", f"the transparency is dropped: {output.suffix} cannot hold it", "Write .png or .tif.")
    name = codec_of(encode, container)
    codec = VIDEO_CODECS[name]
    if codec.alpha_formats is not None:
        detail = f"the transparency is dropped: the pixel format {pixel_format_of(encode, info, output)} cannot hold it"
        remedy = f"Set `encode: {{codec: {name}, pix_fmt: {codec.alpha_formats[info.is_deep]}}}` to keep it."
        return Omission("transparency", detail, remedy)
    detail = f"the transparency is dropped: {name} in {container.suffix} cannot hold it"
    return Omission("transparency", detail, _with_alpha(container))


def _depth(info: VideoInfo, encode: EncodeSettings, container: Container) -> Omission:
    codecs = (name for name in container.codecs if container.family and "10" in VIDEO_CODECS[name].formats[True])
    deeper = next(codecs, None)
    how = f"{codec_of(encode, container)} in {container.suffix}" if container.family else container.suffix
    remedy = f"Set `encode: {{codec: {deeper}}}` to keep 10 bits." if deeper is not None and encode.pix_fmt is None else ""
    return Omission("depth of color", f"its {info.bits} bits of a color value become 8, as {how} is written", remedy)


def _with_alpha(container: Container) -> str:
    """How to keep transparency: with another codec, or in another container."""
    for row, how in ((container, ""), (CONTAINERS[".mov"], "Give output the suffix .mov, and set ")):
        names = [name for name in _ALPHA_CODECS if name in row.transparent_codecs]
        if names:
            codec = VIDEO_CODECS[names[0]]
            assert codec.alpha_formats is not None
            return f"{how or 'Set '}`encode: {{codec: {codec.name}, pix_fmt: {codec.alpha_formats[0]}}}` to keep it."
    return ""


_ALPHA_CODECS = ("prores", "libvpx-vp9", "ffv1")
"""Codecs that hold transparency, the one that most programs read first."""


def _times(info: VideoInfo) -> Iterator[Omission]:
    """The times of frames, which numbered pictures do not have."""
    if info.is_sequence:
        return
    ends = (*info.ticks, info.end_tick) if info.end_tick is not None else info.ticks
    steps = [(later - earlier) * info.time_base for earlier, later in pairwise(ends)]
    # Times of a steady rate are rounded to ticks.
    if steps and max(steps) - min(steps) > max(2 * info.time_base, min(steps) / 2):
        detail = f"how long each frame is shown (from {_seconds(min(steps))} to {_seconds(max(steps))}) is dropped"
        yield Omission("times", f"{detail}: numbered pictures have no times")


def _seconds(value: Fraction) -> str:
    return f"{float(value):.3g} s"


def _of_the_tags(info: VideoInfo, container: Container, *, copy_audio: bool) -> Iterator[Omission]:
    suffix = container.suffix
    tags = user_tags(info)
    if tags and not container.tags:
        yield Omission("tags", f"{_named('tag', tuple(tags))} dropped: {suffix} cannot hold them")
    carried = (*(one.stream for one in carried_streams(info, container, copy_audio=copy_audio)),)
    of_streams = tuple(dict.fromkeys((*info.stream_tags, *(name for one in carried for name in one.tags))))
    lost = info.stream_tags if container.stream_tags else of_streams
    if lost and container.tags:
        reason = "a painted stream has none" if container.stream_tags else f"{suffix} holds tags of the whole file only"
        yield Omission("tags of streams", f"{_named('tag', lost, of=' of its streams')} dropped: {reason}")
    if info.timecode and not takes_timecode(info, container):
        reason = f"{suffix} cannot hold it"
        if container.timecode:
            reason = f"its rate of {float(info.average_rate):.5g} frames a second has no timecode"
        yield Omission("timecode", f"the timecode {info.timecode} is dropped: {reason}")
    yield from _boxes(info, container)


def _named(what: str, names: tuple[str, ...], several: str = "tags", of: str = "") -> str:
    more = len(names) - _MOST_NAMES
    listed = ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    return f"the {what} {listed}{of} is" if len(names) == 1 else f"the {several} {listed}{of} are"


def _boxes(info: VideoInfo, container: Container) -> Iterator[Omission]:
    """What MP4 and MOV hold beside streams and tags."""
    movie = Movie.read(info.path) if "mov" in info.container.split(",") else None
    if movie is None:
        return
    kinds = {box.kind for box in movie.all_user_boxes} | set(movie.outer_kinds)
    if kinds & XMP_KINDS:
        yield Omission("XMP", f"the XMP is dropped: {NEVER_HELD['XMP']}")
    names = tuple(box.kind.decode("latin-1") for box in movie.user_boxes)
    if names and container.family is not Family.ISO_MEDIA:
        yield Omission("boxes", f"{_named('box', names, 'boxes')} dropped: {container.suffix} has none")
    if movie.picture_boxes(b"lhvC") and not movie.picture_boxes(b"vexu"):
        detail = f"the second layer of its HEVC (transparency or a second view) is dropped: {NEVER_HELD['second view']}"
        yield Omission("second layer", detail)
    if movie.picture_boxes(b"vexu"):
        yield Omission("second view", f"the second view of its spatial video is dropped: {NEVER_HELD['second view']}")

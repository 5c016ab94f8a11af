"""The containers of videos and animations: one row each, with what it reads, writes, carries and loses.

Everything that depends on a container's suffix is in its row. A new container is a new row; docs/extending/container.md shows
one. The module imports no decoder, so the configuration can read it at no cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from pathlib import Path

from nstpipe.media.signature import Signature, starts_with
from nstpipe.media.video.codecs import VIDEO_CODECS

TEXT_SUBTITLES = frozenset({"subrip", "ass", "ssa", "webvtt", "mov_text", "text"})
"""Subtitle codecs that ffmpeg converts to one another. The others are pictures of text."""


class Family(Enum):
    """Formats whose structure several containers have."""

    ISO_MEDIA = "ISO base media"
    MATROSKA = "Matroska"


@dataclass(frozen=True)
class Container:
    """A format of video files.

    Attributes:
        suffix: Of its files, in lower case, with the dot.
        codecs: The video encoders that it is written with, by ffmpeg's names; the first one is the default. Empty for a
            container that is only read.
        is_animation: Whether it is an animated picture. Its encoder has no settings, so `encode` does not apply to it.
        signatures: How its files begin, where that tells it from a picture.
        family: The format whose structure it has, which decides how nstpipe adds what ffmpeg does not write.
        demuxer: One of ffmpeg's names for its reader; empty if it does not matter.
        has_index: Whether its reader can seek to a frame. Other containers are decoded from their beginning.
        sound: Whether it can hold sound.
        sound_codecs: The codecs of the sound that it can hold; empty if the encoding of a trial tells.
        subtitles: The subtitle codecs that it can hold.
        subtitle_text: The subtitle codec that other text subtitles are converted to; None if it holds no subtitles.
        attachments: Whether it can hold attachments such as fonts.
        chapters: Whether it can hold chapters.
        tags: Whether it can hold a title and other tags, of any name.
        stream_tags: Whether it can hold tags of a stream beside its language and title.
        timecode: Whether it can hold the timecode of the first frame.
        data: The codecs of data streams that it can hold, by the names that MP4 gives them.
        options: Options of ffmpeg for every file.
        codec_options: Further options, by encoder.
        sets_timescale: Whether its time base is an option of ffmpeg, and is set to that of the original.
        counts_repeats: Whether it stores how often an animation is repeated, rather than how often it is shown.
        has_palette: Whether each frame has a palette of 256 colors.
        joins_equal_frames: Whether its encoder joins a frame with an equal one before it.
        shortest_frame: Seconds of the shortest frame that players show; None for no limit.
        frame_unit: Seconds of the unit in which an animation states the duration of each frame; None for a video.
        frame_duration_bytes: How many bytes state it.
    """

    suffix: str
    codecs: tuple[str, ...] = ()
    is_animation: bool = False
    signatures: tuple[Signature, ...] = ()
    family: Family | None = None
    demuxer: str = ""
    has_index: bool = False
    sound: bool = False
    sound_codecs: frozenset[str] = frozenset()
    subtitles: frozenset[str] = frozenset()
    subtitle_text: str | None = None
    attachments: bool = False
    chapters: bool = False
    tags: bool = False
    stream_tags: bool = False
    timecode: bool = False
    data: frozenset[str] = frozenset()
    options: Mapping[str, object] = field(default_factory=dict)
    codec_options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    sets_timescale: bool = False
    counts_repeats: bool = False
    has_palette: bool = False
    joins_equal_frames: bool = False
    shortest_frame: Fraction | None = None
    frame_unit: Fraction | None = None
    frame_duration_bytes: int = 0

    @property
    def layout(self) -> bool:
        """Whether it can hold how the picture of a 360° or stereoscopic video is laid out."""
        return self.family is not None

    @property
    def hides(self) -> bool:
        """Whether a part of a stream can be in it without being shown or heard."""
        return self.family is Family.ISO_MEDIA

    @property
    def times(self) -> bool:
        """Whether it can hold the time of each frame, and when the last one ends."""
        return self.is_animation or self.family is not None

    @property
    def transparent_codecs(self) -> tuple[str, ...]:
        """Those of its codecs that hold transparency; an animation holds it with its one codec."""
        return tuple(name for name in self.codecs if self.is_animation or VIDEO_CODECS[name].alpha_formats is not None)

    @property
    def is_written(self) -> bool:
        """Whether nstpipe writes it."""
        return bool(self.codecs)

    def subtitle_codec(self, codec: str) -> str | None:
        """What subtitles of a codec become: ``copy``, the name of another codec, or None if they are dropped."""
        if codec in self.subtitles:
            return "copy"
        return self.subtitle_text if codec in TEXT_SUBTITLES else None

    @property
    def longest_frame(self) -> Fraction | None:
        """Seconds of the longest frame that it can state; None for no limit."""
        return None if self.frame_unit is None else self.frame_unit * ((1 << 8 * self.frame_duration_bytes) - 1)

    def loop_option(self, plays: int) -> int:
        """The value of ffmpeg's ``loop`` option for an animation that is shown so often, 0 for endlessly."""
        if not self.counts_repeats or plays == 0:
            return plays
        return plays - 1 if plays > 1 else -1


_ISO_OPTIONS: dict[str, object] = {"movflags": "+faststart"}
_ISO_DATA = frozenset({"gpmd"})
"""Of the data streams of cameras, the one that ffmpeg writes: GoPro's measurements (GPMF)."""

_MATROSKA_OPTIONS: dict[str, object] = {"avoid_negative_ts": "disabled"}
"""Before its version 8, ffmpeg would move all times, because sound in AAC begins before zero with what its decoder drops."""

_ISO_CODEC_OPTIONS: dict[str, dict[str, object]] = {"libx265": {"tag:v": "hvc1"}}
"""The tag that Apple's players look for."""

_MATROSKA = starts_with(b"\x1aE\xdf\xa3")
_ISO_MEDIA: Signature = ((4, b"ftyp"),)
_RIFF_AVI: Signature = ((0, b"RIFF"), (8, b"AVI "))

WEBP_QUALITY = 90
"""The quality of an animated WebP, 0 to 100; above it, files grow fast with no visible gain."""

CONTAINERS: dict[str, Container] = {
    row.suffix: row
    for row in (
        Container(
            ".mp4",
            codecs=("libx264", "libx265", "libsvtav1"),
            signatures=(_ISO_MEDIA,),
            family=Family.ISO_MEDIA,
            demuxer="mp4",
            has_index=True,
            sound=True,
            subtitles=frozenset({"mov_text", "dvd_subtitle"}),
            subtitle_text="mov_text",
            chapters=True,
            tags=True,
            timecode=True,
            data=_ISO_DATA,
            options=_ISO_OPTIONS,
            codec_options=_ISO_CODEC_OPTIONS,
            sets_timescale=True,
        ),
        Container(
            ".mov",
            codecs=("libx264", "libx265", "prores", "qtrle", "png"),
            signatures=(_ISO_MEDIA,),
            family=Family.ISO_MEDIA,
            demuxer="mov",
            has_index=True,
            sound=True,
            subtitles=frozenset({"mov_text"}),
            subtitle_text="mov_text",
            chapters=True,
            tags=True,
            timecode=True,
            data=_ISO_DATA,
            options=_ISO_OPTIONS,
            codec_options=_ISO_CODEC_OPTIONS,
            sets_timescale=True,
        ),
        Container(
            ".mkv",
            codecs=("libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "prores"),
            signatures=(_MATROSKA,),
            family=Family.MATROSKA,
            demuxer="matroska",
            has_index=True,
            sound=True,
            options=_MATROSKA_OPTIONS,
            subtitles=frozenset({"subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"}),
            subtitle_text="subrip",
            attachments=True,
            chapters=True,
            tags=True,
            stream_tags=True,
            timecode=True,
        ),
        Container(
            ".webm",
            codecs=("libsvtav1", "libvpx-vp9"),
            signatures=(_MATROSKA,),
            family=Family.MATROSKA,
            demuxer="webm",
            has_index=True,
            sound=True,
            # Some versions of ffmpeg never end when they are given another one.
            sound_codecs=frozenset({"opus", "vorbis"}),
            options=_MATROSKA_OPTIONS,
            subtitles=frozenset({"webvtt"}),
            subtitle_text="webvtt",
            chapters=True,
            tags=True,
            stream_tags=True,
            timecode=True,
        ),
        Container(
            ".gif",
            codecs=("gif",),
            is_animation=True,
            counts_repeats=True,
            has_palette=True,
            # Browsers and ffmpeg show a frame with a shorter delay for a tenth of a second.
            shortest_frame=Fraction(2, 100),
            frame_unit=Fraction(1, 100),
            frame_duration_bytes=2,
        ),
        Container(
            ".webp",
            codecs=("libwebp_anim",),
            is_animation=True,
            options={"quality": WEBP_QUALITY},
            joins_equal_frames=True,
            frame_unit=Fraction(1, 1000),
            frame_duration_bytes=3,
        ),
        Container(".m4v", signatures=(_ISO_MEDIA,), demuxer="mp4", has_index=True),
        Container(".avi", signatures=(_RIFF_AVI,)),
        Container(".mpg", signatures=(starts_with(b"\x00\x00\x01\xba"),)),
        Container(".mpeg", signatures=(starts_with(b"\x00\x00\x01\xba"),)),
        Container(".ts"),
        Container(".mts"),
        Container(".m2ts"),
        Container(".wmv", signatures=(starts_with(b"0&\xb2u"),)),
        Container(".flv", signatures=(starts_with(b"FLV\x01"),)),
    )
}
"""Every container that has a suffix of its own, by that suffix."""

OTHER_VIDEO_SIGNATURES = (starts_with(b"OggS"),)
"""Formats that ffmpeg reads whatever they are called: Ogg."""


def container_of(path: Path) -> Container:
    """The container that the suffix of a path stands for; one that holds nothing but pictures if the suffix is unknown."""
    suffix = path.suffix.lower()
    return CONTAINERS.get(suffix, Container(suffix))


VIDEO_CODECS_BY_SUFFIX = {row.suffix: row.codecs for row in CONTAINERS.values() if row.is_written and not row.is_animation}
"""The suffixes of videos that are written, and the codecs that each can hold; the first one is its default."""

CODECS = tuple(dict.fromkeys(codec for codecs in VIDEO_CODECS_BY_SUFFIX.values() for codec in codecs))
"""Every encoder of videos."""

_OTHER_SUFFIXES = (
    *(".3g2", ".3gp", ".asf", ".divx", ".dv", ".f4v", ".gxf", ".ivf", ".m2v", ".mjpeg", ".mod", ".mpe", ".mxf", ".nut"),
    *(".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".trp", ".vob", ".wtv", ".y4m"),
)
"""Suffixes of videos that ffmpeg reads and of which nothing else is to be said."""

VIDEO_SUFFIXES = (*(row.suffix for row in CONTAINERS.values() if not row.is_animation), *_OTHER_SUFFIXES)
"""The suffixes of videos that are read."""

ANIMATION_SUFFIXES = tuple(row.suffix for row in CONTAINERS.values() if row.is_animation)
"""The suffixes of animated pictures, which are read and written like videos. One of a single frame is a picture."""

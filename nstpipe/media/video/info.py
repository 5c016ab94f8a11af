"""What is known of a video: its frames' times, colors and streams, and what of it is missing."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av

from nstpipe.media.video.clock import Timeline
from nstpipe.media.video.projection import Projection, Stereo, is_full_sphere

Matrix = Literal["bt709", "smpte170m", "bt2020nc"]

SCALE_MATRICES: dict[str, str] = {"bt709": "bt709", "smpte170m": "smpte170m", "bt2020nc": "bt2020"}
"""The names of the matrices in ffmpeg's filter `scale`, which all versions know."""

HDR_TRANSFERS = {"smpte2084": "HDR10 (PQ)", "arib-std-b67": "HLG"}
"""Transfer functions of high dynamic range, and their usual names."""


QUARTER_TURN = 90
"""Degrees. Players turn a picture by multiples of this only: any other angle would leave empty corners."""


class Reader(Enum):
    """The decoders: ffmpeg, Pillow for an animated WebP, and Pillow file by file for numbered pictures."""

    FFMPEG = "ffmpeg"
    ANIMATION = "animation"
    SEQUENCE = "sequence"


@dataclass(frozen=True)
class VideoColor:
    """How a video stores its colors.

    Attributes:
        matrix: From Y'CbCr to R'G'B'.
        matrix_is_tagged: Whether the file names the matrix (or holds RGB). If not, it was chosen by the picture's height.
        full_range: Whether the values use 0 to 255 rather than 16 to 235.
        primaries: ffmpeg's name, or None if the file has no tag for them.
        transfer: ffmpeg's name of the transfer function, or None if the file has no tag for it.
        mastering: The display and the brightness that HDR was mastered for, in words; empty if the file does not tell.
    """

    matrix: Matrix
    matrix_is_tagged: bool
    full_range: bool
    primaries: str | None
    transfer: str | None
    mastering: str = ""

    @property
    def hdr(self) -> str | None:
        """The usual name of its kind of HDR; None for standard dynamic range."""
        return HDR_TRANSFERS.get(self.transfer or "")


PICTURE_COLOR = VideoColor("bt709", True, True, "bt709", "iec61966-2-1")
"""The colors of pictures, which are converted to sRGB when they are read."""


@dataclass(frozen=True)
class Stream:
    """A stream of a file other than its picture.

    Attributes:
        index: Its number in the file, from 0.
        kind: ``audio``, ``subtitle``, ``attachment``, ``data``, or ``video`` for a cover or another picture.
        codec: ffmpeg's name.
        language: The ISO 639 code; empty if the file has none.
        title: The stream's title; empty if the file has none.
        dispositions: ffmpeg's names, such as ``default`` or ``forced``.
        file_name: The name of an attachment.
        media_type: The MIME type of an attachment.
        tags: The names of its other tags that are not its container's own.
        timecode: The timecode that a stream of timecodes begins with.
        is_empty: Whether it is sound or subtitles without a single packet.
        broken: How many of its packets are damaged.
        cut_away: How many packets at its beginning were cut away, and are in the file only to be passed over.
        late_from: For sound that begins so late that its format is not known at the beginning of the file: a byte of the file
            from which on it is known; else 0.
    """

    index: int
    kind: str
    codec: str
    language: str = ""
    title: str = ""
    dispositions: tuple[str, ...] = ()
    file_name: str = ""
    media_type: str = ""
    tags: tuple[str, ...] = ()
    timecode: str = ""
    is_empty: bool = False
    broken: int = 0
    cut_away: int = 0
    late_from: int = 0

    def __str__(self) -> str:
        language = "" if self.language == "und" else self.language
        details = ", ".join(word for word in (self.codec, language, self.title, self.file_name) if word)
        return f"{self.kind} stream {self.index} ({details})"


@dataclass(frozen=True)
class Shape:
    """How frames look from one frame on.

    Attributes:
        first_frame_index: The first frame.
        width: Pixels, upright and with square pixels.
        height: Pixels, upright and with square pixels.
        color: How the colors are stored.
    """

    first_frame_index: int
    width: int
    height: int
    color: VideoColor


@dataclass(frozen=True)
class MissingFrames:
    """What a damaged file has lost.

    Attributes:
        time: When the first missing frame would be shown, in seconds.
        frames: How many frames are missing; None if that is not known.
        reason: How the loss was noticed.
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
        path: The file; for numbered pictures, the pattern of their names.
        width: Pixels of a frame, upright and with square pixels.
        height: Pixels of a frame, upright and with square pixels.
        time_base: Seconds of one tick.
        ticks: The time of each frame in ticks, in display order.
        average_rate: Frames per second.
        color: How the colors are stored.
        reader: The decoder that reads it.
        container: ffmpeg's names of the format.
        codec: ffmpeg's name of the picture's codec.
        pixel_format: ffmpeg's name.
        bits: Of a color value.
        rotation: Degrees that the stored picture is to be turned by, counterclockwise. Only quarter turns are applied.
        sample_aspect: Width over height of a stored pixel.
        interlaced: Whether the frames are made of two fields.
        stream_index: The number of the picture's stream in the file, from 0.
        streams: All streams but the picture's.
        chapters: How many chapters there are.
        tags: The tags of the file, sorted by name.
        language: The language of the picture's stream; empty if the file has none.
        title: The title of the picture's stream; empty if the file has none.
        stream_tags: The names of the other tags of the picture's stream that are not its container's own.
        timecode: The timecode of the first frame, such as ``01:00:00:00``; empty if there is none.
        loops: How often an animation is shown, 0 for endlessly; None for a video.
        first_number: The number in the name of the first of numbered pictures.
        has_captions: Whether the picture's stream contains closed captions (CEA-608 or 708).
        end_tick: When the last frame ends, in ticks; None if the file does not tell.
        projection: How the picture of a 360° video is laid out; None for a flat picture.
        stereo: How the views of two eyes are laid out; None if the file does not say.
        dynamic_hdr: The usual name of the metadata that adapts HDR from scene to scene; empty if there is none.
        is_transparent: Whether some of its pixels are not opaque.
        decoder: ffmpeg's name of the decoder that reads its transparency; empty for the usual one.
        loss: What is missing; None if the file is whole.
        complaint: What a decoder reported without losing a frame.
        index: The number of the picture's stream in the file.
        timeline: How the file's own times were mended to `ticks`; None if they are the same.
        shapes: The frames from which on the picture has another shape or other colors, in order; empty if none has.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    ticks: tuple[int, ...]
    average_rate: Fraction
    color: VideoColor
    reader: Reader = Reader.FFMPEG
    container: str = ""
    codec: str = ""
    pixel_format: str = ""
    bits: int = 8
    rotation: int = 0
    sample_aspect: Fraction = Fraction(1)
    interlaced: bool = False
    stream_index: int = 0
    streams: tuple[Stream, ...] = ()
    chapters: int = 0
    tags: tuple[tuple[str, str], ...] = ()
    language: str = ""
    title: str = ""
    stream_tags: tuple[str, ...] = ()
    timecode: str = ""
    loops: int | None = None
    first_number: int = 1
    has_captions: bool = False
    end_tick: int | None = None
    projection: Projection | None = None
    stereo: Stereo | None = None
    dynamic_hdr: str = ""
    is_transparent: bool = False
    decoder: str = ""
    loss: MissingFrames | None = None
    complaint: str = ""
    index: int = 0
    timeline: Timeline | None = None
    shapes: tuple[Shape, ...] = ()

    @property
    def mended(self) -> tuple[str, ...]:
        """What was mended of its times and fitted of its frames, one sentence each."""
        mending = self.timeline.mending if self.timeline is not None else None
        said = list(mending.said) if mending is not None else []
        if self.changes_size:
            others = [shape for shape in self.shapes if (shape.width, shape.height) != (self.width, self.height)]
            sizes = ", ".join(dict.fromkeys(f"{shape.width}x{shape.height}" for shape in others))
            said.append(
                f"its frames change their size, first at frame {others[0].first_frame_index}, to {sizes}; they are fitted into "
                f"{self.width}x{self.height}, with black bars where the shape differs"
            )
        return tuple(said)

    @property
    def changes_size(self) -> bool:
        """Whether a frame has another size than the first one."""
        return any((shape.width, shape.height) != (self.width, self.height) for shape in self.shapes)

    @property
    def audio_streams(self) -> int:
        """How many streams of sound there are."""
        return sum(stream.kind == "audio" for stream in self.streams)

    @property
    def is_sequence(self) -> bool:
        """Whether it is a sequence of numbered pictures."""
        return self.reader is Reader.SEQUENCE

    @property
    def is_panorama(self) -> bool:
        """Whether it is a 360° video whose right edge continues at the left."""
        return is_full_sphere(self.projection, self.stereo)

    @property
    def is_rgb(self) -> bool:
        """Whether its values are stored as R'G'B'."""
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
    """The result of decoding a whole video.

    Attributes:
        ticks: The times of the frames that decode, in display order; None if they are those that the probe found.
        complaints: What the decoder reported; empty if there was no problem.
    """

    ticks: tuple[int, ...] | None
    complaints: str

    def as_json(self) -> str:
        """The result as text, for the journal."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DecodeCheck:
        """The result out of the text that `as_json` made."""
        content = json.loads(text)
        return cls(None if content["ticks"] is None else tuple(content["ticks"]), content["complaints"])

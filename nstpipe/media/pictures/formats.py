"""The formats of pictures: one row each, with what it reads, writes, carries and loses.

Everything that depends on a picture's format is in its row. A new format is a new row; docs/extending/picture-format.md shows
one. The module imports no decoder, so the configuration can read it at no cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nstpipe.media.signature import Signature, starts_with

Carried = Literal["EXIF", "color profile", "XMP", "IPTC", "resolution", "comment", "texts"]
"""What a picture may hold next to its pixels and some formats carry, in the words of messages."""

Content = Literal[
    Carried,
    "transparency",
    "partial transparency",
    "depth of color",
    "colors finer than 8 bits",
    "values finer than 16 bits",
    "further channels",
    "second picture",
    "film",
    "gain map",
    "depth map",
    "sound",
    "further pages",
    "further frames",
    "layers",
    "smaller copies",
    "second picture in XMP",
    "thumbnail in XMP",
    "Photoshop data",
    "content credentials",
    "maker's data",
    "data behind the picture",
]
"""Everything that nstpipe looks for in a picture file next to the colors of its picture, in the words of messages."""


@dataclass(frozen=True)
class NeverCarried:
    """Why no result holds a thing, whatever its format is.

    Attributes:
        reason: The second half of a sentence.
        remedy: A sentence with the next step; empty if there is none.
    """

    reason: str
    remedy: str = ""


NEVER_CARRIED: dict[Content, NeverCarried] = {
    "colors finer than 8 bits": NeverCarried("nstpipe reads AVIF and HEIC with 8 bits"),
    "values finer than 16 bits": NeverCarried("they are written with 16 bits; floating point is read from 0 to 1"),
    "further channels": NeverCarried("a result has colors and transparency"),
    "second picture": NeverCarried(
        "a result holds one picture",
        "To paint it too, save it as a file of its own. For an MPO, `exiftool -b -MPImage2 IN.jpg > second.jpg` does that.",
    ),
    "film": NeverCarried(
        "a painted picture does not move", "To paint it, save it as a video, and give it to a job of its own."
    ),
    "gain map": NeverCarried("it brightens the colors of the original, and the result is a picture of standard range"),
    "depth map": NeverCarried("it is a second picture, and a result holds one"),
    "sound": NeverCarried("it stands behind the picture, where a result holds nothing"),
    "further pages": NeverCarried(
        "only the first one is painted", "To paint all of them, save each page as a file of its own."
    ),
    "further frames": NeverCarried(
        "only the first one is painted",
        "To paint all of them, save the animation as a .gif or .webp first, such as with `ffmpeg -i IN OUT.webp`.",
    ),
    "layers": NeverCarried("they show the picture before it was painted"),
    "smaller copies": NeverCarried("they show the picture before it was painted"),
    "second picture in XMP": NeverCarried(
        "a result holds one picture",
        "To paint it too, save it as a file of its own, such as with `exiftool -b -XMP-GImage:all IN.jpg > second.jpg`.",
    ),
    "thumbnail in XMP": NeverCarried("it shows the picture before it was painted"),
    "Photoshop data": NeverCarried("its previews, paths and print settings belong to the original"),
    "content credentials": NeverCarried("their signature holds for the original only"),
    "maker's data": NeverCarried("only programs of the maker know whether it holds for a painted picture"),
    "data behind the picture": NeverCarried("nstpipe does not know what it is"),
}
"""What no result holds, and why. What is in `Content` and not here depends on the format."""


@dataclass(frozen=True)
class PictureFormat:
    """A format of picture files.

    Attributes:
        name: Pillow's name.
        suffixes: Of its files, in lower case, with the dot; the first one is the usual one.
        rare_suffixes: More of them, which messages name last.
        signatures: How its files begin.
        other_names: Other names that Pillow gives to its files.
        may_move: Whether a file may hold several frames, which makes it an animation.
        plugin: A function that adds the format to Pillow, as ``module:function``; empty if Pillow has it built in.
        install: How to get the plugin; empty if Pillow has the format built in.
        options: Options of Pillow's ``save`` for the pixels.
        deep_writer: The function that writes 16 bits per value, as ``module:function``; empty if the format is written
            with 8.
        alpha: Whether it can hold transparency.
        alpha_is_binary: Whether its pixels are either transparent or not, with nothing between.
        longest_side: The most pixels of a side; None for no limit.
        carries: What it can hold next to the pixels.
        metadata_place: Where the metadata goes that Pillow's ``save`` has no option for: ``tags`` among those of the
            pixels (TIFF), ``segments`` (JPEG), ``texts`` (PNG), or nowhere.
    """

    name: str
    suffixes: tuple[str, ...]
    rare_suffixes: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] = ()
    other_names: tuple[str, ...] = ()
    may_move: bool = False
    plugin: str = ""
    install: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    deep_writer: str = ""
    alpha: bool = False
    alpha_is_binary: bool = False
    longest_side: int | None = None
    carries: frozenset[Carried] = frozenset()
    metadata_place: Literal["options", "tags", "segments", "texts"] = "options"

    @property
    def bits(self) -> int:
        """The bits of a color value that it is written with at most."""
        return 16 if self.deep_writer else 8

    def holds(self, content: Content) -> bool:
        """Whether its files, as nstpipe writes them, hold a thing if the original does."""
        if content == "transparency":
            return self.alpha
        if content == "partial transparency":
            return self.alpha and not self.alpha_is_binary
        return self.bits > 8 if content == "depth of color" else content in self.carries


JPEG_QUALITY = 95
"""The quality of JPEG and WebP, 0 to 100; above it, files grow fast with no visible gain."""

AVIF_QUALITY = 90
"""The quality of AVIF and HEIC, whose scale is finer at the top than that of JPEG."""


def _brands(*brands: bytes) -> tuple[Signature, ...]:
    """The signatures of ISO media files of these brands."""
    return tuple(((4, b"ftyp"), (8, brand)) for brand in brands)


PICTURE_FORMATS: dict[str, PictureFormat] = {
    row.name: row
    for row in (
        PictureFormat(
            "JPEG",
            (".jpg", ".jpeg"),
            rare_suffixes=(".jfif",),
            signatures=(starts_with(b"\xff\xd8\xff"),),
            other_names=("MPO",),
            # Not optimized: Pillow's buffer for that is too small for a noisy picture.
            options={"quality": JPEG_QUALITY, "subsampling": "4:4:4"},
            longest_side=65_500,
            carries=frozenset({"EXIF", "color profile", "XMP", "IPTC", "resolution", "comment"}),
            metadata_place="segments",
        ),
        PictureFormat(
            "PNG",
            (".png",),
            signatures=(starts_with(b"\x89PNG\r\n\x1a\n"),),
            deep_writer="nstpipe.media.pictures.deep:encoded_png",
            alpha=True,
            carries=frozenset({"EXIF", "color profile", "XMP", "resolution", "texts"}),
            metadata_place="texts",
        ),
        PictureFormat(
            "TIFF",
            (".tif", ".tiff"),
            # The last two are BigTIFF.
            signatures=tuple(map(starts_with, (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"))),
            options={"compression": "tiff_adobe_deflate"},
            deep_writer="nstpipe.media.pictures.deep:encoded_tiff",
            alpha=True,
            carries=frozenset({"EXIF", "color profile", "XMP", "IPTC", "resolution"}),
            metadata_place="tags",
        ),
        PictureFormat(
            "WEBP",
            (".webp",),
            signatures=(((0, b"RIFF"), (8, b"WEBP")),),
            may_move=True,
            options={"quality": JPEG_QUALITY, "method": 4},
            alpha=True,
            longest_side=16_383,
            carries=frozenset({"EXIF", "color profile", "XMP"}),
        ),
        PictureFormat(
            "GIF",
            (".gif",),
            signatures=(starts_with(b"GIF8"),),
            may_move=True,
            alpha=True,
            alpha_is_binary=True,
            carries=frozenset({"comment"}),
        ),
        PictureFormat(
            "AVIF",
            (".avif",),
            signatures=_brands(b"avif"),
            options={"quality": AVIF_QUALITY, "subsampling": "4:4:4"},
            alpha=True,
            carries=frozenset({"EXIF", "color profile", "XMP"}),
        ),
        PictureFormat(
            "HEIF",
            (".heic", ".heif"),
            signatures=_brands(b"heic", b"heix", b"heim", b"heis", b"mif1"),
            plugin="pillow_heif:register_heif_opener",
            install="nstpipe[heic]",
            options={"quality": AVIF_QUALITY, "chroma": 444},
            alpha=True,
            carries=frozenset({"EXIF", "color profile", "XMP"}),
        ),
        PictureFormat(
            "BMP",
            (),
            rare_suffixes=(".bmp",),
            # Two letters alone may begin any text.
            signatures=(((0, b"BM"), (6, bytes(4))),),
            carries=frozenset({"resolution"}),
        ),
    )
}
"""Every format, by Pillow's name of it. What a file is, its content decides, and only these formats are tried: a file that is
called a JPEG may hold anything, and Pillow would hand PostScript to a program that runs what is written in it."""

PICTURE_SUFFIXES = (
    *(suffix for row in PICTURE_FORMATS.values() for suffix in row.suffixes),
    *(suffix for row in PICTURE_FORMATS.values() for suffix in row.rare_suffixes),
)
"""The suffixes of pictures."""


UNREAD_SUFFIXES = (
    *(".jp2", ".j2k", ".jpf", ".jpx", ".jxl", ".jxr", ".wdp", ".psd", ".psb", ".xcf", ".kra", ".tga", ".exr", ".dds"),
    *(".pbm", ".pgm", ".pnm", ".ppm", ".pfm", ".pcx", ".sgi", ".fits"),
)
"""The suffixes of pictures in other formats. They are named, and not painted."""


def format_of(path: Path, name: str = "PNG") -> PictureFormat:
    """The format that a picture is written in: the one that its suffix stands for, or else the one of a name.

    Args:
        path: The picture to write.
        name: Pillow's name of the format that it has if its suffix is unknown.
    """
    suffix = path.suffix.lower()
    for row in PICTURE_FORMATS.values():
        if suffix in (*row.suffixes, *row.rare_suffixes):
            return row
    return format_named(name)


def format_named(name: str) -> PictureFormat:
    """The format that Pillow calls by a name."""
    for row in PICTURE_FORMATS.values():
        if name in (row.name, *row.other_names):
            return row
    return PictureFormat(name, ())

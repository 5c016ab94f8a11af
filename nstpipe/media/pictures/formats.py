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

Carried = Literal["EXIF", "its color profile", "XMP", "IPTC", "its resolution", "its comment", "its texts"]
"""What a picture may hold next to its pixels, in the words of messages."""


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
    longest_side: int | None = None
    carries: frozenset[Carried] = frozenset()
    metadata_place: Literal["options", "tags", "segments", "texts"] = "options"

    @property
    def bits(self) -> int:
        """The bits of a color value that it is written with at most."""
        return 16 if self.deep_writer else 8


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
            carries=frozenset({"EXIF", "its color profile", "XMP", "IPTC", "its resolution", "its comment"}),
            metadata_place="segments",
        ),
        PictureFormat(
            "PNG",
            (".png",),
            signatures=(starts_with(b"\x89PNG\r\n\x1a\n"),),
            deep_writer="nstpipe.media.pictures.deep:encoded_png",
            alpha=True,
            carries=frozenset({"EXIF", "its color profile", "XMP", "its resolution", "its texts"}),
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
            carries=frozenset({"EXIF", "its color profile", "XMP", "IPTC", "its resolution"}),
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
            carries=frozenset({"EXIF", "its color profile", "XMP"}),
        ),
        PictureFormat(
            "GIF",
            (".gif",),
            signatures=(starts_with(b"GIF8"),),
            may_move=True,
            carries=frozenset({"its comment"}),
        ),
        PictureFormat(
            "AVIF",
            (".avif",),
            signatures=_brands(b"avif"),
            options={"quality": AVIF_QUALITY, "subsampling": "4:4:4"},
            alpha=True,
            carries=frozenset({"EXIF", "its color profile", "XMP"}),
        ),
        PictureFormat(
            "HEIF",
            (".heic", ".heif"),
            signatures=_brands(b"heic", b"heix", b"heim", b"heis", b"mif1"),
            plugin="pillow_heif:register_heif_opener",
            install="nstpipe[heic]",
            options={"quality": AVIF_QUALITY, "chroma": 444},
            alpha=True,
            carries=frozenset({"EXIF", "its color profile", "XMP"}),
        ),
        PictureFormat(
            "BMP",
            (),
            rare_suffixes=(".bmp",),
            # Two letters alone may begin any text.
            signatures=(((0, b"BM"), (6, bytes(4))),),
            carries=frozenset({"its resolution"}),
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

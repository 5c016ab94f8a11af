"""Chooses the metadata of a result: as much as its format can hold, so that a painting is never lost to its metadata."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from nstpipe.media.frame import PictureMetadata, Pixels, in_eight_bits, resized, working_size
from nstpipe.media.pictures.formats import PictureFormat
from nstpipe.media.pictures.metadata import (
    LONGEST_IPTC_OF_JPEG,
    LONGEST_XMP_OF_JPEG,
    MakeThumbnail,
    adapted_exif,
    extended_xmp,
    extension_segments,
    iptc_segment,
)
from nstpipe.media.pictures.orientation import UPRIGHT, stored_orientation
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, opened, pillow_settings
from nstpipe.media.pictures.pixel_map import PixelMap
from nstpipe.media.pictures.xmp import adapted_texts, adapted_xmp
from nstpipe.media.pictures.xmp_promises import (
    DamagedXmpError,
    digest_of,
    extension_of,
    in_utf8,
    joined,
    with_digest,
    without_extension,
    without_untrue,
)

XMP_TAG, IPTC_TAG, ICC_TAG = 700, 33723, 34675
TIFF_LAYOUT_TAGS = frozenset(
    {*range(254, 267), 273, 274, 277, 278, 279, 284, 290, 291, 292, 293, 301, 317, *range(320, 326), 330, *range(332, 346)}
    | {347, *range(512, 522), 529, 530, 531, 532, 37724, 282, 283, 296, XMP_TAG, IPTC_TAG, 34377, ICC_TAG, 52545}
)
"""Tags of a TIFF that describe how its pixels are stored (TIFF 6.0), that are kept in another way (resolution, XMP, IPTC, ICC),
or that belong to the original (Photoshop's 34377 and 37724, and 52545 with its content credentials)."""

_TRIAL_SIZE = (48, 32)
"""Width and height of a trial picture in pixels. They differ, so that a quarter turn is noticed."""

_THUMBNAIL_QUALITIES = (85, 70, 50, 30, 15)
"""Tried in turn: the new thumbnail must not be larger than the old one, and brush strokes compress worse than a sky."""


@dataclass(frozen=True)
class OutputMetadata:
    """The metadata of a result.

    Attributes:
        options: Options of Pillow's ``save``.
        segments: The segments of a JPEG that Pillow does not write.
        dropped: What the format cannot hold, in words.
        untrue: The names of tags that are true of the original only.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    segments: tuple[bytes, ...] = ()
    dropped: tuple[str, ...] = ()
    untrue: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = len(self.dropped) - _MOST_NAMES
        return ", ".join(self.dropped[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


_MOST_NAMES = 8


def kept_of(
    metadata: PictureMetadata, size_before: tuple[int, int], pixels: Pixels, picture_format: PictureFormat
) -> OutputMetadata:
    """What a format can hold of an original's metadata, adapted to the new pixels.

    Args:
        metadata: Of the original.
        size_before: Its width and height in pixels, upright.
        pixels: Of the result.
        picture_format: Of the result.
    """
    size = pixels.shape[1], pixels.shape[0]
    pixel_map = PixelMap.of_upright(size_before, size, metadata.orientation)
    xmp, extension = _true_xmp(
        metadata, lambda packet: adapted_xmp(packet, pixel_map), splits=picture_format.metadata_place == "segments"
    )
    block, untrue = adapted_exif(metadata.exif, pixel_map, _thumbnail_of(pixels)) if metadata.exif else (b"", ())
    metadata = replace(metadata, texts=adapted_texts(metadata.texts, pixel_map), xmp_extensions=extension)
    resolution = metadata.dots_per_inch
    if resolution is not None and pixel_map.swaps_sides:
        resolution = resolution[::-1]
    place = _PLACES[picture_format.metadata_place](metadata, block, xmp)
    name, exif, options, dropped = picture_format.name, place.exif, dict(place.options), list(place.dropped)
    if metadata.xmp and xmp is None and "XMP" in picture_format.carries:
        dropped.append("XMP")
    wanted: dict[str, tuple[str, Any]] = {
        "exif": ("EXIF", exif),
        "icc_profile": ("color profile", metadata.icc),
        "xmp": ("XMP", place.xmp),
        "dpi": ("resolution", resolution),
        "comment": ("comment", metadata.comment),
        "pnginfo": ("texts", place.texts),
    }
    carried = {option: value for option, (what, value) in wanted.items() if value and what in picture_format.carries}
    if is_taken(name, {**options, **({"exif": exif} if exif else {}), **carried}):
        return OutputMetadata({**options, **carried}, place.segments, tuple(dropped), untrue)
    if exif and not is_taken(name, {**options, "exif": exif}):
        exif, names = largest_part(exif, lambda part: bool(part) and is_taken(name, {**options, "exif": part}))
        dropped += names
        carried = {option: exif if option == "exif" else value for option, value in carried.items()}
    for option, value in carried.items():
        if value and is_taken(name, {**options, option: value}):
            options[option] = value
        elif value:
            dropped.append(wanted[option][0])
    return OutputMetadata(options, place.segments, tuple(dropped), untrue)


def _true_xmp(
    metadata: PictureMetadata, adapt: Callable[[bytes], bytes], *, splits: bool
) -> tuple[bytes | None, tuple[bytes, ...]]:
    """The XMP packet without what a painted picture makes untrue, and the segments of its extension.

    Args:
        metadata: Of the original.
        adapt: Adapts a packet to the new pixels.
        splits: Whether the format splits long packets. For any other, the extension is joined to the packet.
    """
    packet = without_untrue(in_utf8(metadata.xmp)) if metadata.xmp else None
    if packet is None:
        return None, ()
    packet, segments = adapt(packet), metadata.xmp_extensions
    extension = extension_of(segments)
    true = without_untrue(extension) if extension is not None else None
    if extension is None and splits:
        return packet, segments
    if true is None:
        return without_extension(packet), ()
    true = adapt(true)
    if splits:
        return (packet, segments) if true == extension else (with_digest(packet, digest_of(true)), extension_segments(true))
    try:
        return joined(packet, true), ()
    except DamagedXmpError:
        return without_extension(packet), ()


@dataclass(frozen=True)
class _Place:
    """The metadata as a format wants it.

    Attributes:
        exif: The block, or the tags of a TIFF.
        xmp: The packet for Pillow's option.
        options: More of Pillow's options.
        texts: The texts of a PNG.
        segments: The segments of a JPEG.
        dropped: What the format cannot hold, in words.
    """

    exif: bytes | Image.Exif
    xmp: bytes | None
    options: Mapping[str, Any] = field(default_factory=dict)
    texts: PngImagePlugin.PngInfo | None = None
    segments: tuple[bytes, ...] = ()
    dropped: tuple[str, ...] = ()


def _in_options(_: PictureMetadata, exif: bytes, xmp: bytes | None) -> _Place:
    return _Place(exif, xmp)


def _in_tags(metadata: PictureMetadata, exif: bytes, xmp: bytes | None) -> _Place:
    # libtiff, which compresses, cannot write GPS.
    options = {"compression": "raw"} if exif or metadata.iptc else {}
    return _Place(_tags_of_tiff(exif, xmp, metadata.iptc), xmp, options)


def _in_texts(metadata: PictureMetadata, exif: bytes, xmp: bytes | None) -> _Place:
    return _Place(exif, xmp, texts=_texts_of_png(xmp, metadata.texts))


def _in_segments(metadata: PictureMetadata, exif: bytes, xmp: bytes | None) -> _Place:
    segments, dropped = metadata.xmp_extensions, tuple[str, ...]()
    if xmp and len(xmp) > LONGEST_XMP_OF_JPEG and not metadata.xmp_extensions:
        xmp, segments = extended_xmp(xmp)
    if metadata.iptc and len(metadata.iptc) <= LONGEST_IPTC_OF_JPEG:
        segments = (*segments, iptc_segment(metadata.iptc))
    elif metadata.iptc:
        dropped = ("IPTC",)
    return _Place(exif, xmp, segments=segments, dropped=dropped)


_PLACES: dict[str, Callable[[PictureMetadata, bytes, bytes | None], _Place]] = {
    "options": _in_options,
    "tags": _in_tags,
    "texts": _in_texts,
    "segments": _in_segments,
}
"""How the metadata is arranged for each `PictureFormat.metadata_place`, out of the EXIF block and the XMP packet."""


def is_taken(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a format can be written with these options, and is read again upright.

    Args:
        name: Pillow's name of the format.
        options: Of Pillow's ``save``.
    """
    content = io.BytesIO()
    try:
        with pillow_settings():
            Image.new("RGB", _TRIAL_SIZE).save(content, format=name, **options)
        with opened(content, name) as image:
            upright = stored_orientation(image) == UPRIGHT
            image.load()
            return upright and image.size == _TRIAL_SIZE
    except PILLOW_ERRORS:
        return False


_Entry = tuple[int | None, int, Any]
"""The tag of the directory that an entry is in, None for the first one; the entry's own tag; and its value."""

_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_POINTERS = frozenset({*_DIRECTORIES, ExifTags.IFD.Interop})


def largest_part(exif: bytes | Image.Exif, is_taken: Callable[[bytes], bool]) -> tuple[bytes, list[str]]:
    """As many entries of an EXIF block as the format can hold, the shortest first, and the names of the others.

    The block is written anew, without a thumbnail. Offsets within maker notes may become wrong.

    Args:
        exif: The block.
        is_taken: Whether the format can hold a block.
    """
    try:
        entries = sorted(
            _entries(exif if isinstance(exif, Image.Exif) else _loaded(exif)), key=lambda entry: len(str(entry[2]))
        )
    except PILLOW_ERRORS:
        return b"", ["EXIF"]
    chosen, others = list[_Entry](), list[_Entry]()
    trials = 0

    def choose(more: list[_Entry]) -> None:
        nonlocal trials
        trials += 1
        if trials <= _MOST_TRIALS and is_taken(_block([*chosen, *more])):
            chosen.extend(more)
        elif len(more) == 1 or trials > _MOST_TRIALS:
            others.extend(more)
        else:
            choose(more[: len(more) // 2])
            choose(more[len(more) // 2 :])

    if entries:
        choose(entries)
    return _block(chosen), [_name_of(*entry) for entry in others]


_MOST_TRIALS = 200
"""The limit of trials: a block with thousands of entries was made to waste time."""


def _name_of(directory: int | None, tag: int, _: Any) -> str:
    names = ExifTags.GPSTAGS if directory == ExifTags.IFD.GPSInfo else ExifTags.TAGS
    return f"EXIF {names.get(tag, tag)}"


def _loaded(exif: bytes) -> Image.Exif:
    loaded = Image.Exif()
    loaded.load(exif)
    return loaded


def _entries(exif: Image.Exif) -> Iterator[_Entry]:
    yield from ((None, tag, exif[tag]) for tag in exif if tag not in _POINTERS)
    for directory in _DIRECTORIES:
        with suppress(*PILLOW_ERRORS):
            yield from ((directory, tag, value) for tag, value in exif.get_ifd(directory).items() if tag not in _POINTERS)


def _block(entries: list[_Entry]) -> bytes:
    """An EXIF block of these entries; empty if there are none, or if one of them cannot be written."""
    exif = Image.Exif()
    inner: dict[int, dict[int, Any]] = {}
    for directory, tag, value in entries:
        if directory is None:
            exif[tag] = value
        else:
            inner.setdefault(directory, {})[tag] = value
    exif.update(inner)
    try:
        return exif.tobytes() if len(exif) else b""
    except PILLOW_ERRORS:
        return b""


def _tags_of_tiff(exif: bytes, xmp: bytes | None, iptc: bytes | None) -> Image.Exif:
    """The tags of a TIFF: those of EXIF, without any that describe the pixels, with XMP and IPTC."""
    try:
        tags = _loaded(exif)
    except PILLOW_ERRORS:
        tags = Image.Exif()
    for tag in TIFF_LAYOUT_TAGS.intersection(tags):
        del tags[tag]
    if ExifTags.IFD.Exif in tags:
        # Pillow writes no directory of interoperability into a TIFF, so nothing may point to one.
        tags.get_ifd(ExifTags.IFD.Exif).pop(ExifTags.IFD.Interop, None)
    for tag, value in ((XMP_TAG, xmp), (IPTC_TAG, iptc)):
        if value:
            tags[tag] = value
    return tags


def _texts_of_png(xmp: bytes | None, texts: Mapping[str, str]) -> PngImagePlugin.PngInfo | None:
    """The texts of a PNG, of which XMP is one; None if there are none."""
    if not xmp and not texts:
        return None
    chunks = PngImagePlugin.PngInfo()
    if xmp:
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
    for name, text in texts.items():
        chunks.add_text(name, text)
    return chunks


def _thumbnail_of(pixels: Pixels) -> MakeThumbnail:
    def make(old: bytes) -> bytes | None:
        try:
            with opened(io.BytesIO(old)) as image:
                longest = max(image.size)
        except PILLOW_ERRORS:
            return None
        height, width, _ = pixels.shape
        small = Image.fromarray(in_eight_bits(resized(pixels, working_size((width, height), longest))))
        for quality in _THUMBNAIL_QUALITIES:
            content = io.BytesIO()
            small.save(content, format="JPEG", quality=quality)
            if len(content.getvalue()) <= len(old):
                return content.getvalue()
        return None

    return make

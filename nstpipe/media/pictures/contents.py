"""Looks for everything that a picture file holds next to the colors of its picture, without decoding it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from nstpipe.media.gif import APPLICATION, COMMENT, TRAILER, XMP_EXTENSION, gif_blocks
from nstpipe.media.pictures.deep import is_deep
from nstpipe.media.pictures.files import dots_per_inch_of
from nstpipe.media.pictures.formats import Content, format_named
from nstpipe.media.pictures.iso_items import boxes
from nstpipe.media.pictures.metadata import IPTC_RESOURCE, segments_of, xmp_extensions
from nstpipe.media.pictures.output_metadata import ICC_TAG, IPTC_TAG, TIFF_LAYOUT_TAGS, XMP_TAG
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, opened
from nstpipe.media.pictures.tiff_tags import SUB_DIRECTORIES, FileContent, first_tags
from nstpipe.media.pictures.xmp_promises import SECOND_PICTURE, THUMBNAILS, extension_of, in_utf8, properties_of, semantics_of


@dataclass(frozen=True)
class PictureContents:
    """What a picture file holds.

    Attributes:
        format: Pillow's name of its format.
        held: The things next to the colors, each with more exact words; these may be empty.
    """

    format: str
    held: Mapping[Content, str] = field(default_factory=dict)


_Found = tuple[Content, str]


def contents_of(path: Path) -> PictureContents:
    """What a picture file holds, as far as it can be read; a damaged part is left out."""
    try:
        with opened(path) as image:
            # A file that Pillow takes for an MPO is a JPEG with more pictures behind it.
            name = format_named(image.format or "PNG").name
            held: dict[Content, str] = {}
            for look in (_everywhere, _BY_FORMAT.get(name, _nowhere)):
                for content, words in _readable(look, path, image):
                    held[content] = ", ".join(filter(None, dict.fromkeys((held.get(content, ""), words))))
            return PictureContents(name, held)
    except UnidentifiedImageError:
        return _contents_of_tiff(path)
    except PILLOW_ERRORS:
        return PictureContents("PNG")


def _contents_of_tiff(path: Path) -> PictureContents:
    """What a TIFF holds that Pillow cannot open; nothing for any other file."""
    held: dict[Content, str] = {}
    with suppress(*PILLOW_ERRORS):
        held.update(_of_tiff(path))
        if is_deep(path):
            held["depth of color"] = ""
    return PictureContents("TIFF" if held else "PNG", held)


_Look = Callable[[Path, Image.Image], Iterable[_Found]]


def _readable(look: _Look, path: Path, image: Image.Image) -> Iterator[_Found]:
    try:
        yield from look(path, image)
    except PILLOW_ERRORS:
        return


def _nowhere(_: Path, __: Image.Image) -> Iterator[_Found]:
    yield from ()


def _everywhere(path: Path, image: Image.Image) -> Iterator[_Found]:
    """What Pillow tells of files of all formats."""
    info = image.info
    if image.has_transparency_data:
        yield "transparency", ""
    if is_deep(path):
        yield "depth of color", ""
    if info.get("exif"):
        yield "EXIF", ""
    if info.get("icc_profile"):
        yield "color profile", ""
    if dots_per_inch_of(image):
        yield "resolution", ""
    if info.get("comment"):
        yield "comment", ""
    xmp = info.get("xmp")
    if isinstance(xmp, bytes):
        yield "XMP", ""
        yield from _within_xmp(xmp)
    photoshop = info.get("photoshop")
    if isinstance(photoshop, dict):
        yield from _of_photoshop(photoshop)


def _within_xmp(packet: bytes) -> Iterator[_Found]:
    properties = properties_of(in_utf8(packet))
    if SECOND_PICTURE in properties:
        yield "second picture in XMP", ""
    if THUMBNAILS in properties:
        yield "thumbnail in XMP", ""


def _of_photoshop(resources: Mapping[int, Any]) -> Iterator[_Found]:
    if IPTC_RESOURCE in resources:
        yield "IPTC", ""
    if set(resources) - {IPTC_RESOURCE}:
        yield "Photoshop data", ""


# JPEG.

_APPLICATION_MARKERS = range(0xE0, 0xF0)
_KEPT_SEGMENTS = (
    b"JFIF\0",
    b"Exif\0",
    b"http://ns.adobe.com/xap/1.0/\0",
    b"http://ns.adobe.com/xmp/extension/\0",
    b"ICC_PROFILE\0",
    b"MPF\0",  # the pictures that it lists are looked at by themselves
    b"Photoshop 3.0\0",
    b"Adobe\0",
    b"Adobe_CM",
    b"Ducky",
    b"JFXX\0",
)
"""How the application segments begin that are kept, renewed, looked at by themselves or of no use behind the encoder."""

_GAIN_MAP_MARKS = (b"urn:iso:std:iso:ts:21496:-1", b"http://ns.adobe.com/hdr-gain-map/1.0/", b"hdrgainmap", b"HDRGainMap")
_DEPTH_MARKS = (b"auxiliary:depth", b"auxiliary:disparity", b"aux:depth", b"aux:disparity", b"depthData")
_HEAD_BYTES = 70_000
"""Bytes at the beginning of a JPEG that say what it shows."""

_FILM, _JPEG = b"ftyp", b"\xff\xd8\xff"
_END = b"\xff\xd9"


def _of_jpeg(path: Path, image: Image.Image) -> Iterator[_Found]:
    jpeg = path.read_bytes()
    scan = 2
    for marker, begin, scan in segments_of(jpeg):
        if marker in _APPLICATION_MARKERS:
            yield from _of_segment(marker, jpeg[begin + 4 : scan])
    xmp = image.info.get("xmp")
    extension = extension_of(xmp_extensions(jpeg))
    if extension is not None:
        yield from _within_xmp(extension)
    # Within the pixels of a JPEG, no FF is followed by D9.
    end = jpeg.find(_END, scan)
    if end >= 0:
        listed = semantics_of(in_utf8(xmp)) if isinstance(xmp, bytes) else frozenset[str]()
        yield from _behind(jpeg, end + len(_END), listed, image.width * image.height)


def _of_segment(marker: int, content: bytes) -> Iterator[_Found]:
    if content.startswith(b"JP") and b"c2pa" in content[:64]:
        yield "content credentials", ""
    elif not content.startswith((*_KEPT_SEGMENTS, *_GAIN_MAP_MARKS)) and content.strip(b"\0 "):
        name = re.match(rb"[\x20-\x7e]{2,16}", content)
        words = f" {name[0].decode().strip()}" if name else ""
        if not content.startswith(b"JP"):  # the later parts of a box in several segments
            yield "maker's data", f"APP{marker - _APPLICATION_MARKERS[0]}{words}"


def _behind(content: bytes, place: int, listed: frozenset[str] = frozenset(), main_size: int = 0) -> Iterator[_Found]:
    """What stands behind the end of a picture.

    Args:
        content: The file.
        place: The end of the picture.
        listed: What XMP says of it.
        main_size: How many pixels the picture has.
    """
    if not content[place:].strip(b"\0\r\n "):
        return
    named = {content for semantic in listed for content in _SEMANTICS.get(semantic, ())}
    yield from ((content, "") for content in named)
    known = bool(named)
    for mark, name in _SAMSUNG_MARKS.items():
        if content.find(mark, place) >= 0:
            known = True
            yield name, ""
    film = content.find(_FILM, place)
    if film >= 4:
        known = True
        yield "film", ""
    begin = content.find(_JPEG, place, film if film >= 4 else len(content))
    while begin >= 0:
        known = True
        end, size = _outline_of_jpeg(content, begin)
        yield from _of_picture_behind(content[begin : begin + _HEAD_BYTES], named, is_smaller=size < main_size)
        begin = content.find(_JPEG, end, film if film >= 4 else len(content))
    if not known:
        yield "data behind the picture", ""


def _outline_of_jpeg(content: bytes, begin: int) -> tuple[int, int]:
    """Where a JPEG ends, and how many pixels it has; its thumbnail stands in its head, and is no further picture."""
    scan, pixels = begin + 2, 0
    for marker, place, segment_end in segments_of(content, begin):
        scan = segment_end
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", content, place + 5)
            pixels = height * width
    end = content.find(_END, scan)
    return len(content) if end < 0 else end + len(_END), pixels


_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _of_picture_behind(head: bytes, named: set[Content], *, is_smaller: bool) -> Iterator[_Found]:
    if any(mark in head for mark in _GAIN_MAP_MARKS):
        yield "gain map", ""
    elif any(mark in head for mark in _DEPTH_MARKS):
        yield "depth map", ""
    elif not named & {"gain map", "depth map", "second picture"}:
        yield ("smaller copies" if is_smaller else "second picture"), ""


_SEMANTICS: dict[str, tuple[Content, ...]] = {
    "MotionPhoto": ("film",),
    "GainMap": ("gain map",),
    "Depth": ("depth map",),
    "DepthMap": ("depth map",),
    "Original": ("second picture",),
}
"""What the items of a Google container are."""

_SAMSUNG_MARKS: dict[bytes, Content] = {
    b"MotionPhoto_Data": "film",
    b"SoundShot_": "sound",
    b"DualShot_DepthMap": "depth map",
}


# PNG.

_PIXEL_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD hIST pHYs tIME iDOT".split()
    + b"tEXt zTXt iTXt eXIf acTL fcTL fdAT".split()
)
"""Chunks that describe the pixels, are kept, or are looked at by themselves."""

_TEXT_NAME_BYTES = 80
_PROFILES: dict[bytes, Content] = {
    b"XML:com.adobe.xmp": "XMP",
    b"Raw profile type exif": "EXIF",
    b"Raw profile type APP1": "EXIF",
    b"Raw profile type xmp": "XMP",
    b"Raw profile type iptc": "IPTC",
    b"Raw profile type 8bim": "Photoshop data",
    b"Raw profile type icc": "color profile",
    b"Raw profile type icm": "color profile",
}


def _of_png(path: Path, _: Image.Image) -> Iterator[_Found]:
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            end = file.tell() + length + 4
            if kind == b"eXIf":
                yield "EXIF", ""
            elif kind[1:] in (b"EXt", b"TXt"):
                name = file.read(min(length, _TEXT_NAME_BYTES)).partition(b"\0")[0]
                yield _PROFILES.get(name, "texts"), ""
            elif kind == b"acTL" and length >= 4 and struct.unpack(">I", file.read(4))[0] > 1:
                yield "further frames", ""
            elif kind == b"caBX":
                yield "content credentials", ""
            elif kind not in _PIXEL_CHUNKS:
                yield "maker's data", f"chunk {kind.decode('ascii', 'replace')}"
            file.seek(end)
            if kind == b"IEND":
                yield from _behind(file.read(), 0)
                return


# TIFF.

_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 254, 258, 262, 277, 338, 339
_TIFF_TAGS: dict[int, Content] = {
    SUB_DIRECTORIES: "smaller copies",
    37724: "layers",
    34377: "Photoshop data",
    52545: "content credentials",
    XMP_TAG: "XMP",
    IPTC_TAG: "IPTC",
    ICC_TAG: "color profile",
}
_FLOATS = 3
"""The value of a TIFF's sample format for floating point."""

_COLORS_OF = {2: 3, 5: 4, 6: 3, 8: 3}
"""How many values of a pixel are its color, by the photometric interpretation: RGB, CMYK, YCbCr, CIELAB; others have one."""

_ALPHA_SAMPLES = (1, 2)
_MOST_PAGES = 10_000


def _of_tiff(path: Path, _: Image.Image | None = None) -> Iterator[_Found]:
    with path.open("rb") as file:
        tags = first_tags(FileContent(file))
        if tags is None:
            return
        yield from ((content, "") for tag, content in _TIFF_TAGS.items() if tag in tags.entries)
        if set(tags.entries) - TIFF_LAYOUT_TAGS:
            yield "EXIF", ""
        if tags.value(_SAMPLE_FORMAT) == _FLOATS or tags.value(_BITS) > 16:
            yield "values finer than 16 bits", ""
        extra = tags.value(_SAMPLES, 1) - _COLORS_OF.get(tags.value(_PHOTOMETRIC), 1)
        if extra > any(kind in _ALPHA_SAMPLES for kind in tags.values(_EXTRA_SAMPLES)[:1]):
            yield "further channels", ""
        seen = set[int]()
        while tags.next and tags.next not in seen and len(seen) < _MOST_PAGES:
            seen.add(tags.next)
            tags = tags.at(tags.next)
            # Bit 0 marks a smaller copy, and bit 2 a mask (TIFF 6.0, section 8).
            yield ("smaller copies" if tags.value(_SUBFILE_TYPE) & 1 else "further pages"), ""


# The others.


def _of_webp(path: Path, image: Image.Image) -> Iterator[_Found]:
    yield from _several_frames(path, image)
    content = path.read_bytes()
    place, end = 12, 8 + int.from_bytes(content[4:8], "little")
    while place + 8 <= min(end, len(content)):
        kind, length = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        if kind == b"C2PA":
            yield "content credentials", ""
        elif kind not in (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP", b"EXIF", b"XMP ", b"ANIM", b"ANMF"):
            yield "maker's data", f"chunk {kind.decode('ascii', 'replace')}"
        place += 8 + length + length % 2
    yield from _behind(content, end)


def _several_frames(_: Path, image: Image.Image) -> Iterator[_Found]:
    if getattr(image, "n_frames", 1) > 1:
        yield "further frames", ""


def _of_gif(path: Path, image: Image.Image) -> Iterator[_Found]:
    yield from _several_frames(path, image)
    content = path.read_bytes()
    for block in gif_blocks(content):
        if block.kind == TRAILER:
            yield from _behind(content, block.end)
        elif block.label == COMMENT:
            yield "comment", ""
        elif block.label == APPLICATION:
            name = _GIF_APPLICATIONS.get(content[block.begin + 1 : block.begin + 12])
            yield from () if name is None else ((name, ""),)


_GIF_APPLICATIONS: dict[bytes, Content] = {XMP_EXTENSION: "XMP", b"ICCRGBG1012": "color profile"}
"""Extensions of programs that nstpipe names. The others say how often an animation is shown."""

_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_ITEM_KINDS: dict[bytes, Content] = {b"tmap": "gain map"}
_AUXILIARY: tuple[tuple[bytes, Content], ...] = (
    (b"hdrgainmap", "gain map"),
    (b"auxid:2\0", "depth map"),
    (b"auxiliary:depth", "depth map"),
    (b"disparity", "depth map"),
)
"""What the addresses of auxiliary pictures contain (ISO/IEC 23008-12, and Apple's own)."""


def _of_iso_media(path: Path, image: Image.Image) -> Iterator[_Found]:
    if getattr(image, "n_frames", 1) > 1:
        yield ("second picture" if image.format == "HEIF" else "further frames"), ""
    content = path.read_bytes()
    for kind, begin, end in boxes(content, 0, len(content)):
        if kind == b"meta":
            yield from _of_meta(content, begin + 4, end)
        elif kind == b"mpvd":
            yield "film", ""
        elif kind == b"uuid" and content[begin : begin + 16] == _C2PA_BOX:
            yield "content credentials", ""


def _of_meta(content: bytes, begin: int, end: int) -> Iterator[_Found]:
    for kind, first, last in boxes(content, begin, end):
        if kind == b"iinf":
            yield from ((found, "") for item, found in _ITEM_KINDS.items() if item in content[first:last])
        elif kind == b"iprp":
            properties = next((box for box in boxes(content, first, last) if box[0] == b"ipco"), (b"", 0, 0))
            for name, here, there in boxes(content, properties[1], properties[2]):
                if name == b"auxC":
                    yield from ((found, "") for mark, found in _AUXILIARY if mark in content[here:there] + b"\0")
                elif (name == b"pixi" and max(content[here + 5 : there], default=8) > 8) or (
                    name == b"av1C" and content[here + 2] & 0x40
                ):
                    yield "colors finer than 8 bits", ""


_BY_FORMAT: dict[str, _Look] = {
    "JPEG": _of_jpeg,
    "PNG": _of_png,
    "TIFF": _of_tiff,
    "WEBP": _of_webp,
    "GIF": _of_gif,
    "AVIF": _of_iso_media,
    "HEIF": _of_iso_media,
}
"""Where each format has what Pillow does not tell."""

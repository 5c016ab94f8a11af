"""Adapts the metadata of a picture whose pixels were turned upright and resized, and changes no other byte of it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from nstpipe.media.pictures.geo import move_ground
from nstpipe.media.pictures.maker_notes import remove_missing_previews
from nstpipe.media.pictures.orientation import ORIENTATION_TAG, UPRIGHT
from nstpipe.media.pictures.pixel_map import PixelMap
from nstpipe.media.pictures.pixel_rules import EXIF, FIRST, INTEROPERABILITY, TAG_RULES, UNTRUE_TAGS, TagRule
from nstpipe.media.pictures.tiff import ASCII, Directory, first_directory
from nstpipe.media.pictures.xmp_promises import EXTENSION_HEAD, digest_of

_EXIF_HEADER = b"Exif\x00\x00"


def _first_of(exif: bytes | bytearray, *, whole: bool = True) -> Directory | None:
    return first_directory(exif, len(_EXIF_HEADER) if exif.startswith(_EXIF_HEADER) else 0, whole=whole)


def upright_exif(exif: bytes) -> bytes:
    r"""The EXIF block with its orientation set to upright and every other byte as it was.

    Writing the block anew would be simpler, but breaks maker notes, whose offsets count from the block's start.

    Args:
        exif: As Pillow gives it: ``Exif\0\0`` and a TIFF structure (Exif 2.32, section 4.5).

    Returns:
        The block; unchanged if it has no orientation or is damaged.
    """
    block = bytearray(exif)
    try:
        first = _first_of(block, whole=False)
        if first is not None and ORIENTATION_TAG in first.entries:
            first.put(block, ORIENTATION_TAG, UPRIGHT)
    except struct.error:
        return exif
    return bytes(block)


_COLOR_SPACE, _INTEROPERABILITY_INDEX = 0xA001, 0x0001
_SRGB = 1
"""The value of EXIF's color space for sRGB."""


def srgb_exif(exif: bytes) -> bytes:
    """The EXIF block of a picture whose pixels were converted to sRGB, with its color space and DCF's index true of that."""
    block = bytearray(exif)
    try:
        first = _first_of(block)
        if first is None or EXIF not in first.entries:
            return exif
        details = first.at(block, first.value(block, EXIF))
        if _COLOR_SPACE in details.entries:
            details.put(block, _COLOR_SPACE, _SRGB)
        if INTEROPERABILITY in details.entries:
            inside = details.at(block, details.value(block, INTEROPERABILITY))
            if inside.entries and _INTEROPERABILITY_INDEX in inside.entries:
                inside.put_content(block, _INTEROPERABILITY_INDEX, b"R98\x00", ASCII)
    except struct.error:
        return exif
    return bytes(block)


def turned_behind_pixels(path: Path) -> bool:
    """Whether EXIF or XMP, which may turn a PNG, stand behind its pixels. Nothing is decoded."""
    pixels_began = False
    with path.open("rb", buffering=0) as file:  # heads of a few bytes, far apart
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            end = file.tell() + length + 4
            pixels_began = pixels_began or kind == b"IDAT"
            if pixels_began and (
                kind == b"eXIf" or (kind[1:] in (b"EXt", b"TXt") and file.read(21).startswith(_TURNING_TEXTS))
            ):
                return True
            file.seek(end)
    return False


_TURNING_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type exif")


_THUMBNAIL_PLACE, _THUMBNAIL_BYTES = 0x0201, 0x0202

MakeThumbnail = Callable[[bytes], bytes | None]
"""Makes a new thumbnail out of an embedded one (JPEG), which is no larger; None if that is impossible."""


_GDAL_METADATA = 42112
_OF_VALUES = re.compile(rb"\s*<Item\s[^>]*(?:name=\"STATISTICS_|role=\"(?:scale|offset)\")[^>]*>[^<]*</Item>")
"""Items that describe the values of the pixels, which are painted over."""


def adapted_exif(exif: bytes, pixel_map: PixelMap, thumbnail: MakeThumbnail) -> tuple[bytes, tuple[str, ...]]:
    """The EXIF block with all that counts in pixels true of the new picture, its thumbnail too, and every other byte as it was.

    Args:
        exif: As for `upright_exif`.
        pixel_map: Where the original's pixels are in the new picture.
        thumbnail: Makes the new thumbnail from the old one. The old one, which shows the picture before it was painted,
            is removed in any case.

    Returns:
        The block; unchanged if it states nothing of that kind, or is damaged. And the names of tags that were removed, since
        they are true of the original only.
    """
    removed: list[str] = []

    def renew_thumbnail(block: bytearray, first: Directory) -> None:
        second = first.next(block)
        if second is not None:
            _renew_thumbnail(block, first, second, thumbnail)

    def remove_untrue(block: bytearray, first: Directory) -> None:
        if _GDAL_METADATA in first.entries:
            text = first.content(block, _GDAL_METADATA)
            true = _OF_VALUES.sub(b"", text)
            if true != text:
                first.put_content(block, _GDAL_METADATA, true, ASCII)
                removed.append("statistics in GDAL_METADATA")
        for tag, name in UNTRUE_TAGS.items():
            if tag in first.entries:
                first = first.without(block, tag)
                removed.append(name)

    changes: list[Callable[[bytearray, Directory], object]] = [
        renew_thumbnail,
        *(partial(_apply_rule, rule=rule, pixel_map=pixel_map) for rule in TAG_RULES),
        partial(move_ground, pixel_map=pixel_map),
        remove_untrue,
        remove_missing_previews,
    ]
    for change in changes:
        block = bytearray(exif)
        try:
            first = _first_of(block)
            if first is None:
                return exif, ()
            change(block, first)
        except (struct.error, LookupError, ArithmeticError, ValueError):
            continue  # what is damaged stays as it is
        exif = bytes(block)
    return exif, tuple(removed)


def _apply_rule(block: bytearray, first: Directory, rule: TagRule, pixel_map: PixelMap) -> None:
    inside = first
    for pointer in {FIRST: (), EXIF: (EXIF,), INTEROPERABILITY: (EXIF, INTEROPERABILITY)}[rule.directory]:
        if pointer not in inside.entries:
            return
        inside = inside.at(block, inside.value(block, pointer))
    tags = [tag for tag in rule.tags if tag in inside.entries]
    if not tags:
        return
    values = [inside.numbers(block, tag) for tag in tags]
    if len(rule.tags) == 1:
        inside.put_numbers(block, tags[0], rule.change(pixel_map, values[0]))
        return
    known = {tag: found[0] for tag, found in zip(tags, values, strict=True)}
    # A value that is missing is taken to be equal to the other one: pixels are square.
    new = rule.change(pixel_map, [known.get(tag, known[tags[0]]) for tag in rule.tags])
    for tag, value in zip(rule.tags, new, strict=True):
        if tag in known and value != known[tag]:
            inside.put_numbers(block, tag, [value])


def _renew_thumbnail(block: bytearray, first: Directory, second: Directory, thumbnail: MakeThumbnail) -> None:
    new: bytes | None = None
    if _THUMBNAIL_PLACE in second.entries and _THUMBNAIL_BYTES in second.entries:
        begin = second.start + second.value(block, _THUMBNAIL_PLACE)
        length = second.value(block, _THUMBNAIL_BYTES)
        if begin + length > len(block):
            raise IndexError
        new = thumbnail(bytes(block[begin : begin + length]))
        new = new if new is not None and len(new) <= length else None
        block[begin : begin + length] = (new or b"").ljust(length, b"\x00")
        if new is not None:
            struct.pack_into(f"{second.order}I", block, second.entries[_THUMBNAIL_BYTES] + 8, len(new))
    if new is None:
        struct.pack_into(f"{first.order}I", block, first.next_place, 0)
    elif ORIENTATION_TAG in second.entries:
        second.put(block, ORIENTATION_TAG, UPRIGHT)


_PHOTOSHOP_HEAD = b"Photoshop 3.0\x00"
_FIRST_APPLICATION_MARKER, _EXIF_MARKER, _PHOTOSHOP_MARKER, _LAST_APPLICATION_MARKER = 0xE0, 0xE1, 0xED, 0xEF
_SCAN_MARKER = 0xDA

LONGEST_XMP_OF_JPEG = 65_502
"""Bytes of a packet. A segment has at most 65,535, including its length and the name of its content."""

LONGEST_IPTC_OF_JPEG = 65_506
"""Bytes of IPTC in one segment, which needs an even number of them."""

_EXTENSION_BYTES = 65_400
"""Bytes of an extended packet in each segment, as the specification proposes."""


def segments_of(jpeg: bytes, begin: int = 0) -> Iterator[tuple[int, int, int]]:
    """The marker, the begin and the end of each segment of a JPEG before its pixels.

    Args:
        jpeg: The bytes.
        begin: Where the JPEG begins in them.
    """
    place = begin + 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF and jpeg[place + 1] != _SCAN_MARKER:
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        yield jpeg[place + 1], place, end
        place = end


def xmp_extensions(jpeg: bytes) -> tuple[bytes, ...]:
    """The segments of a JPEG that continue an XMP packet of more than 64 KB (XMP specification, part 3)."""
    found = (jpeg[begin:end] for marker, begin, end in segments_of(jpeg) if marker == _EXIF_MARKER)
    return tuple(segment for segment in found if segment[4:].startswith(EXTENSION_HEAD))


def with_segments(jpeg: bytes, segments: tuple[bytes, ...]) -> bytes:
    """A JPEG with more segments, behind its application segments and before its pixels."""
    place = 2
    for marker, _, end in segments_of(jpeg):
        if _FIRST_APPLICATION_MARKER <= marker <= _LAST_APPLICATION_MARKER:
            place = end
    return jpeg[:place] + b"".join(segments) + jpeg[place:]


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def extended_xmp(xmp: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """An XMP packet that is too long for one segment of a JPEG, split (XMP specification, part 3, 1.1.3.1).

    Returns:
        A packet that names the extension by its digest, and contains the properties of a panorama for readers that do not
        read extensions; and the segments of the extension, which is the whole packet without its wrapper.
    """
    whole = re.sub(rb"<\?xpacket[^>]*\?>", b"", xmp).strip()
    panorama = dict(re.findall(rb"GPano:(\w+)(?:\s*=\s*[\"']|>\s*)([\w.+:-]+)", whole))
    properties = b"".join(b' GPano:%b="%b"' % found for found in panorama.items())
    return _PACKET_WITH_EXTENSION % (digest_of(whole), properties), extension_segments(whole)


def extension_segments(extension: bytes) -> tuple[bytes, ...]:
    """The segments of a JPEG that contain an extension of its XMP packet."""
    places, digest = range(0, len(extension), _EXTENSION_BYTES), digest_of(extension)
    heads = (EXTENSION_HEAD + digest + struct.pack(">II", len(extension), place) for place in places)
    parts = (extension[place : place + _EXTENSION_BYTES] for place in places)
    return tuple(_segment(_EXIF_MARKER, head + part) for head, part in zip(heads, parts, strict=True))


_PACKET_WITH_EXTENSION = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
    b'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" xmpNote:HasExtendedXMP="%b"%b/></rdf:RDF></x:xmpmeta>'
)


IPTC_RESOURCE = 0x0404
"""Photoshop's number for IPTC-NAA. Its other resources in a picture describe the original, or show it."""


def iptc_segment(iptc: bytes) -> bytes:
    """The segment of a JPEG for IPTC records: an image resource without a name, as Photoshop writes it."""
    resource = struct.pack(">4sHHI", b"8BIM", IPTC_RESOURCE, 0, len(iptc)) + iptc + b"\x00" * (len(iptc) % 2)
    return _segment(_PHOTOSHOP_MARKER, _PHOTOSHOP_HEAD + resource)


def is_full_panorama(xmp: bytes | None) -> bool:
    """Whether an XMP packet describes a full panorama (GPano: equirectangular and not cropped)."""
    if xmp is None or not re.search(rb"GPano:ProjectionType\s*(?:=\s*[\"']|>\s*)equirectangular", xmp):
        return False
    widths = {
        name: re.search(rf"GPano:{name}\s*(?:=\s*[\"']|>\s*)(\d+)".encode(), xmp)
        for name in ("FullPanoWidthPixels", "CroppedAreaImageWidthPixels")
    }
    full, cropped = widths.values()
    return full is None or cropped is None or full[1] == cropped[1]

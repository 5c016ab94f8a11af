"""Adapts the metadata of a picture whose pixels were turned upright and resized, and changes no other byte of it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from nstpipe.media.pictures.orientation import ORIENTATION_TAG, UPRIGHT
from nstpipe.media.pictures.tiff import Directory, first_directory
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


_PIXEL_SIZES = {0x8769: (0xA002, 0xA003), 0: (0x0100, 0x0101)}
"""Tags of the picture's width and height, by the tag of the directory they are in; 0 for the first directory."""

_THUMBNAIL_PLACE, _THUMBNAIL_BYTES = 0x0201, 0x0202

MakeThumbnail = Callable[[bytes], bytes | None]
"""Makes a new thumbnail out of an embedded one (JPEG), which is no larger; None if that is impossible."""


def resized_exif(exif: bytes, size: tuple[int, int], thumbnail: MakeThumbnail) -> bytes:
    """The EXIF block with the new picture's size and thumbnail, and every other byte as it was.

    Args:
        exif: As for `upright_exif`.
        size: Width and height of the new picture, in pixels.
        thumbnail: Makes the new thumbnail from the old one. The old one, which shows the picture before it was painted,
            is removed in any case.

    Returns:
        A block of the same length; unchanged if it states neither, or is damaged.
    """
    block = bytearray(exif)
    try:
        first = _first_of(block)
        if first is None:
            return exif
        for pointer, tags in _PIXEL_SIZES.items():
            if pointer and pointer not in first.entries:
                continue
            inside = first.at(block, first.value(block, pointer)) if pointer else first
            for tag, value in zip(tags, size, strict=True):
                if tag in inside.entries:
                    inside.put(block, tag, value)
        second = first.next(block)
        if second is not None:
            _renew_thumbnail(block, first, second, thumbnail)
    except (struct.error, IndexError):
        return exif
    return bytes(block) if len(block) == len(exif) else exif


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


_XMP_WIDTHS = (
    "FullPanoWidthPixels",
    "CroppedAreaImageWidthPixels",
    "CroppedAreaLeftPixels",
    "LargestValidInteriorRectLeft",
    "LargestValidInteriorRectWidth",
)
_XMP_HEIGHTS = (
    "FullPanoHeightPixels",
    "CroppedAreaImageHeightPixels",
    "CroppedAreaTopPixels",
    "LargestValidInteriorRectTop",
    "LargestValidInteriorRectHeight",
)


def adapted_xmp(xmp: bytes, scale_x: float, scale_y: float, size: tuple[int, int] | None = None) -> bytes:
    """The XMP packet with its orientation upright and its panorama's sizes (GPano, Photo Sphere) scaled.

    Args:
        xmp: The packet. Its values may be attributes or elements.
        scale_x: The new width over the old one.
        scale_y: The new height over the old one.
        size: The new width and height in pixels, for packets that state the size of the picture.
    """
    xmp = _replaced(xmp, "tiff", ("Orientation",), lambda _: UPRIGHT)
    if size is not None:
        width, height = size
        for prefix, names in (("exif", ("PixelXDimension", "PixelYDimension")), ("tiff", ("ImageWidth", "ImageLength"))):
            xmp = _replaced(xmp, prefix, names[:1], lambda _: width)
            xmp = _replaced(xmp, prefix, names[1:], lambda _: height)
    xmp = _replaced(xmp, "GPano", _XMP_WIDTHS, lambda pixels: round(pixels * scale_x))
    return _replaced(xmp, "GPano", _XMP_HEIGHTS, lambda pixels: round(pixels * scale_y))


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


def _replaced(xmp: bytes, prefix: str, names: tuple[str, ...], change: object) -> bytes:
    assert callable(change)
    pattern = rf"(<?{prefix}:(?:{'|'.join(names)})(?:\s*=\s*[\"']|>\s*))(\d{{1,15}}(?:\.\d+)?)(?![\d.])"
    return re.sub(pattern.encode(), lambda match: match[1] + str(change(float(match[2]))).encode(), xmp)


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

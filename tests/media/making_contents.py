"""Small picture files that hold what cameras, phones and programs put next to a picture."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from nstpipe.media.pictures.metadata import extension_segments, with_segments
from nstpipe.media.pictures.xmp_promises import digest_of

from .making import HEIGHT, WIDTH, blocks

FILM = struct.pack(">I", 24) + b"ftypmp42" + bytes(12) + struct.pack(">I", 16) + b"mdat" + bytes(8)
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'rdf:about="" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" xmlns:dc="urn:dc" dc:title="kept" %s>%s'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)
CONTAINER = (
    '<C:Directory xmlns:C="http://ns.google.com/photos/1.0/container/" '
    'xmlns:I="http://ns.google.com/photos/1.0/container/item/"><rdf:Seq><rdf:li rdf:parseType="Resource">'
    '<C:Item I:Semantic="Primary"/></rdf:li><rdf:li rdf:parseType="Resource"><C:Item I:Semantic="%s" I:Length="%d"/></rdf:li>'
    "</rdf:Seq></C:Directory>"
)


def jpeg(width: int = WIDTH, height: int = HEIGHT, **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(blocks()).resize((width, height)).save(content, format="JPEG", **options)
    return content.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def google_film() -> bytes:
    """As Google's and most other phones write a motion photo."""
    xmp = XMP % ('GCamera:MotionPhoto="1" GCamera:MicroVideoOffset="48"', CONTAINER % ("MotionPhoto", len(FILM)))
    return jpeg(xmp=xmp.encode()) + FILM


def samsung_film() -> bytes:
    """As Samsung's older phones do: without a word in XMP, behind a name."""
    return jpeg() + b"\x00\x00\x30\x0a\x10\x00\x00\x00MotionPhoto_Data" + FILM + b"SEFH" + bytes(8) + b"SEFT"


def gain_map_by_container() -> bytes:
    small = jpeg(WIDTH // 2, HEIGHT // 2)
    return jpeg(xmp=(XMP % ("", CONTAINER % ("GainMap", len(small)))).encode()) + small


def gain_map_by_its_own_words() -> bytes:
    own = XMP % ('xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"', "")
    return jpeg() + jpeg(WIDTH // 2, HEIGHT // 2, xmp=own.encode())


def gain_map_and_film() -> bytes:
    small = jpeg(WIDTH // 2, HEIGHT // 2)
    return jpeg(xmp=(XMP % ('GCamera:MotionPhoto="1"', CONTAINER % ("GainMap", len(small)))).encode()) + small + FILM


def stereo_pair() -> bytes:
    content = io.BytesIO()
    picture = Image.fromarray(blocks())
    picture.save(content, format="MPO", save_all=True, append_images=[picture.rotate(180)])
    return content.getvalue()


def preview_behind() -> bytes:
    return jpeg() + jpeg(WIDTH // 2, HEIGHT // 2)


def sound_behind() -> bytes:
    return jpeg() + b"\x00\x00\x00\x01\x0d\x00\x00\x00SoundShot_000" + bytes(8) + b"SEFT"


def notes_behind() -> bytes:
    return jpeg() + b"a program's own notes"


def padding_behind() -> bytes:
    return jpeg() + bytes(1000)


def photoshop() -> bytes:
    resource = struct.pack(">4sHHI", b"8BIM", 2000, 0, 6) + b"a path"
    return with_segments(jpeg(), (segment(0xED, b"Photoshop 3.0\x00" + resource),))


def credentials() -> bytes:
    box = b"JP\x00\x01\x00\x00\x00\x01" + struct.pack(">I", 40) + b"jumb" + struct.pack(">I", 32) + b"jumdc2pa" + bytes(20)
    return with_segments(jpeg(), (segment(0xEB, box),))


def camera_data() -> bytes:
    return with_segments(jpeg(), (segment(0xE6, b"GoPro\x00DEVC"), segment(0xE1, b"FLIR\x00\x01")))


def second_picture_in_an_extension() -> bytes:
    image = f'<G:Data xmlns:G="http://ns.google.com/photos/1.0/image/">{"A" * 70_000}</G:Data>'
    extension = (XMP % ('dc:more="kept too"', image)).encode()
    digest = digest_of(extension).decode()
    note = f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{digest}"'
    return with_segments(jpeg(xmp=(XMP % (note, "")).encode()), extension_segments(extension))


def png(*chunks: tuple[bytes, bytes], before: tuple[bytes, bytes] | None = None) -> bytes:
    """A PNG with chunks behind its pixels."""
    content = io.BytesIO()
    texts = PngImagePlugin.PngInfo()
    if before is not None:
        texts.add(*before)
    Image.fromarray(blocks()).save(content, format="PNG", pnginfo=texts)
    made = content.getvalue()
    more = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return made[:-12] + more + made[-12:]


def animated_png() -> bytes:
    content, first = io.BytesIO(), Image.fromarray(blocks())
    first.save(content, format="PNG", save_all=True, append_images=[first.rotate(180)], duration=100)
    return content.getvalue()


def tiff_of_pages() -> bytes:
    content, first = io.BytesIO(), Image.fromarray(blocks())
    first.save(content, format="TIFF", save_all=True, append_images=[first.rotate(180), first])
    return content.getvalue()


def tiff_of_layers() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[37724] = b"Adobe Photoshop Document Data Block\x00"
    content = io.BytesIO()
    Image.fromarray(blocks()).save(content, format="TIFF", tiffinfo=tags)
    return content.getvalue()


def tiff_of_floats() -> bytes:
    """Three floating-point values a pixel, for which Pillow has no mode."""
    fine, content = cv2.imencode(".tif", blocks().astype(np.float32) / 255)
    assert fine
    return content.tobytes()


def tiff_of_five_channels() -> bytes:
    """Uncompressed; RGB and two channels without a meaning."""
    values = np.concatenate([blocks(), blocks()[..., :2]], axis=2)
    entries = [(256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, 5, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 200)]
    entries += [(277, 3, 1, 5), (278, 3, 1, HEIGHT), (279, 4, 1, values.size), (338, 3, 2, 0)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    bits = 8 + len(directory)
    directory = directory.replace(struct.pack("<HHII", 258, 3, 5, 8), struct.pack("<HHII", 258, 3, 5, bits))
    return (b"II*\0\x08\0\0\0" + directory + struct.pack("<5H", *[8] * 5)).ljust(200, b"\0") + values.tobytes()


def webp_and_film() -> bytes:
    content = io.BytesIO()
    Image.fromarray(blocks()).save(content, format="WEBP")
    return content.getvalue() + FILM


def gif_with_xmp() -> bytes:
    content = io.BytesIO()
    Image.fromarray(blocks()).save(content, format="GIF")
    gif = content.getvalue()
    trailer = bytes([1, *range(255, -1, -1), 0])
    return gif[:-1] + b"\x21\xff\x0bXMP DataXMP" + (XMP % ("", "")).encode() + trailer + gif[-1:]


def avif(*tops: bytes) -> bytes:
    content = io.BytesIO()
    Image.fromarray(blocks()).save(content, format="AVIF")
    return content.getvalue() + b"".join(tops)


def avif_with_auxiliary(address: bytes) -> bytes:
    """An AVIF whose auxiliary picture is of another kind than transparency."""
    made, old = transparent("AVIF")(), b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"
    assert made.count(old) == 1
    return made.replace(old, address.ljust(len(old), b"\0"))


def transparent(suffix: str) -> Callable[[], bytes]:
    def make() -> bytes:
        content = io.BytesIO()
        alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
        alpha[: HEIGHT // 2] = 255
        Image.fromarray(np.concatenate([blocks(), alpha], axis=2)).save(content, format=suffix)
        return content.getvalue()

    return make


def written(path: Path, make: Callable[[], bytes]) -> Path:
    path.write_bytes(make())
    return path

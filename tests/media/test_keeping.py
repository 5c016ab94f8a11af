"""A painting is written whatever stands beside its pixels; what its format cannot hold is dropped and named."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, IptcImagePlugin, PngImagePlugin

from nstpipe.media.frame import Frame, PictureMetadata
from nstpipe.media.pictures.files import PictureSink, PictureSource, picture_size, read_picture
from nstpipe.media.pictures.metadata import LONGEST_XMP_OF_JPEG, extended_xmp, is_full_panorama, with_segments, xmp_extensions

from .making import HEIGHT, WIDTH, Bytes, blocks
from .making_exif import LATITUDE, MAKER, MAKER_NOTE, exif_block

IPTC = b"\x1c\x02\x78\x00\x08A street" + b"\x1c\x02\x74\x00\x07(c) Ann"
"""Records 2:120, caption, and 2:116, copyright (IIM 4.2)."""


def gray() -> Bytes:
    return np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


def written(path: Path, metadata: PictureMetadata, pixels: Bytes | None = None) -> list[str]:
    """Write a painting with such metadata, and give what was said of it."""
    said: list[str] = []
    pixels = gray() if pixels is None else pixels
    PictureSink([path], keep_metadata=True, notice=said.append).write(pixels, Frame(blocks(), 0, metadata=metadata))
    assert picture_size(path) == (WIDTH, HEIGHT)
    return said


def painted(original: Path, result: Path, *, keep: bool = True) -> list[str]:
    """Read a picture and write gray in its place."""
    said: list[str] = []
    frame = next(PictureSource(original.parent, [original]).read(0, 1))
    PictureSink([result], keep_metadata=keep, notice=said.append).write(gray(), frame)
    return said


def info_of(path: Path) -> dict[str, object]:
    with Image.open(path) as image:
        image.load()
        return dict(image.info)


# XMP of any length.

PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:Description GPano:ProjectionType="equirectangular"><GPano:FullPanoWidthPixels>%d</GPano:FullPanoWidthPixels>'
    b'<crs:Strokes>%b</crs:Strokes></rdf:Description></x:xmpmeta><?xpacket end="w"?>'
)


@pytest.mark.parametrize("strokes", [70_000, 200_000])
def test_a_packet_that_is_too_long_for_a_jpeg_goes_on_in_an_extension(tmp_path: Path, strokes: int) -> None:
    noise = np.random.default_rng(0).integers(97, 123, strokes, np.uint8).tobytes()
    said = written(tmp_path / "result.jpg", PictureMetadata("PNG", xmp=PACKET % (WIDTH, noise)))
    assert said == []
    whole = (PACKET % (WIDTH, noise)).split(b"?>", 1)[1].removesuffix(b'<?xpacket end="w"?>')
    digest = hashlib.md5(whole).hexdigest().upper().encode()
    # XMP specification, part 3: 35 bytes of a name, the digest, the whole length, the place, and the part.
    joined = b""
    for segment in xmp_extensions((tmp_path / "result.jpg").read_bytes()):
        assert len(segment) == 2 + struct.unpack_from(">H", segment, 2)[0] <= 65_537
        assert segment[4 + 35 : 4 + 67] == digest
        assert struct.unpack_from(">II", segment, 4 + 67) == (len(whole), len(joined))
        joined += segment[4 + 75 :]
    assert joined == whole
    packet = info_of(tmp_path / "result.jpg")["xmp"]
    assert isinstance(packet, bytes)
    assert b'xmpNote:HasExtendedXMP="%b"' % digest in packet
    assert is_full_panorama(packet), "for viewers that read no extension"
    assert b'GPano:FullPanoWidthPixels="%d"' % WIDTH in packet


def test_a_packet_that_just_fits_stays_one(tmp_path: Path) -> None:
    longest = b"x" * LONGEST_XMP_OF_JPEG
    assert written(tmp_path / "result.jpg", PictureMetadata("PNG", xmp=longest)) == []
    assert info_of(tmp_path / "result.jpg")["xmp"] == longest


def test_a_packet_that_outgrows_a_jpeg_and_has_an_extension_is_left_out(tmp_path: Path) -> None:
    _, extensions = extended_xmp(b"<x/>")
    metadata = PictureMetadata("JPEG", xmp=b"x" * 70_000, xmp_extensions=extensions)
    assert written(tmp_path / "result.jpg", metadata) == ["result.jpg: dropped, since JPEG cannot hold it: XMP"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_other_formats_take_long_xmp_as_it_is(tmp_path: Path, suffix: str) -> None:
    assert written(tmp_path / f"result{suffix}", PictureMetadata("PNG", xmp=b"<x/>" * 20_000)) == []
    assert info_of(tmp_path / f"result{suffix}")["xmp"] == b"<x/>" * 20_000


# EXIF that is too long or odd.


def test_of_exif_that_is_too_long_for_a_jpeg_all_but_the_longest_is_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.load(exif_block(1))
    details = dict(exif.get_ifd(ExifTags.IFD.Exif))
    exif[ExifTags.IFD.Exif] = {**details, ExifTags.Base.UserComment.value: b"c" * 70_000}
    said = written(tmp_path / "result.jpg", PictureMetadata("PNG", exif=exif.tobytes()))
    assert said == ["result.jpg: dropped, since JPEG cannot hold it: EXIF UserComment"]
    with Image.open(tmp_path / "result.jpg") as image:
        kept = image.getexif()
        assert kept[0x010F] == MAKER.decode().strip("\x00")
        assert kept.get_ifd(ExifTags.IFD.Exif)[0x927C] == MAKER_NOTE
        assert kept.get_ifd(ExifTags.IFD.GPSInfo)[2] == tuple(top / bottom for top, bottom in LATITUDE)


def odd_block(tag: int, kind: int) -> bytes:
    """A maker, and a tag whose type is none that the tag should have."""
    value = struct.pack("<HHI4s", tag, kind, 4, b"\x01\x02\x03\x04")
    maker = struct.pack("<HHI4s", 0x010F, 2, 4, b"Ann\x00")
    return b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x02\x00" + b"".join(sorted([value, maker])) + bytes(4)


BYTES = 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("tag", [0x0128, 0x011D, 0x011E, 0x013E])
def test_an_odd_tag_costs_neither_the_painting_nor_the_others(tmp_path: Path, tag: int, suffix: str) -> None:
    original = tmp_path / "original.jpg"
    Image.fromarray(blocks()).save(original, exif=odd_block(tag, BYTES))
    painted(original, tmp_path / f"result{suffix}")
    with Image.open(tmp_path / f"result{suffix}") as image:
        image.load()
        assert image.getexif()[0x010F] == "Ann"


def test_what_a_tiff_does_not_take_is_named(tmp_path: Path) -> None:
    white_point_without_fractions = odd_block(0x013E, BYTES)
    said = written(tmp_path / "result.tif", PictureMetadata("JPEG", exif=white_point_without_fractions))
    assert said == ["result.tif: dropped, since TIFF cannot hold it: EXIF WhitePoint"]


def test_a_block_of_thousands_of_entries_takes_no_time(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.update(dict.fromkeys(range(60_000, 65_000), "x" * 100))
    began = time.monotonic()
    [said] = written(tmp_path / "result.jpg", PictureMetadata("PNG", exif=exif.tobytes()))
    assert time.monotonic() - began < 30, "one by one it would be minutes"
    assert re.search(r"EXIF 6\d{4}, .* and \d{4} more$", said)
    with Image.open(tmp_path / "result.jpg") as image:
        kept = len(image.getexif())
    # An entry takes 12 bytes, and its text with the zero behind it 102.
    assert 0.95 * 65_533 / 114 < kept <= 65_533 / 114


@pytest.mark.parametrize("deep", [False, True])
def test_exif_says_nothing_of_the_pixels_of_a_tiff(tmp_path: Path, deep: bool) -> None:
    """As Photoshop's JPEGs and converted raw pictures do: size, bits, order of bits, and one plane a color."""
    exif = Image.Exif()
    exif.update({256: WIDTH, 257: HEIGHT, 258: (8, 8, 8, 8), 262: 1, 266: 2, 277: 4, 284: 2, 338: (0,), 339: 3, 0x010F: "Ann"})
    pixels = blocks().astype(np.uint16) * 257 if deep else blocks()
    assert written(tmp_path / "result.tif", PictureMetadata("PNG", exif=exif.tobytes()), pixels) == []
    back, _ = read_picture(tmp_path / "result.tif")
    assert np.array_equal(back, pixels)
    with Image.open(tmp_path / "result.tif") as image:
        assert image.getexif()[0x010F] == "Ann"


def test_a_tiff_with_an_odd_tag_is_read(tmp_path: Path) -> None:
    """Only what cannot be written again is missing."""
    content = io.BytesIO()
    Image.fromarray(blocks()).save(content, format="TIFF", tiffinfo={0x010F: "Ann", 0x013B: "Bob"})
    tiff = bytearray(content.getvalue())
    (directory,) = struct.unpack_from("<I", tiff, 4)
    place = next(at for at in range(directory + 2, len(tiff), 12) if struct.unpack_from("<H", tiff, at)[0] == 0x013B)
    struct.pack_into("<HI4s", tiff, place + 2, 5, 1, struct.pack("<I", directory))  # a text as a fraction
    (tmp_path / "odd.tif").write_bytes(tiff)
    said = painted(tmp_path / "odd.tif", tmp_path / "result.tif")
    with Image.open(tmp_path / "result.tif") as image:
        assert image.getexif()[0x010F] == "Ann"
    assert all("Artist" in sentence for sentence in said)


def test_exif_whose_orientation_cannot_be_reset_is_left_out_rather_than_the_painting(tmp_path: Path) -> None:
    said = written(tmp_path / "result.jpg", PictureMetadata("JPEG", exif=exif_block(6)))
    assert said == ["result.jpg: dropped, since JPEG cannot hold it: EXIF Orientation"]
    with Image.open(tmp_path / "result.jpg") as image:
        assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"


@pytest.mark.parametrize("resolution", [(float("nan"), 72.0), (float("inf"), 72.0), (-1.0, 1e12)])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_an_odd_resolution_does_not_cost_the_painting(tmp_path: Path, suffix: str, resolution: tuple[float, float]) -> None:
    said = written(tmp_path / f"result{suffix}", PictureMetadata("PNG", dots_per_inch=resolution))
    assert all("resolution" in sentence for sentence in said)


# Captions: IPTC, comments, texts.


def with_iptc_jpeg(path: Path) -> Path:
    """As Photoshop writes it, with a thumbnail of the original beside (resource 1036)."""
    thumbnail = struct.pack(">4sHHI", b"8BIM", 1036, 0, 6) + b"pixels"
    records = struct.pack(">4sHHI", b"8BIM", 0x0404, 0, len(IPTC)) + IPTC + bytes(len(IPTC) % 2)
    content = b"Photoshop 3.0\x00" + thumbnail + records
    jpeg = io.BytesIO()
    Image.fromarray(blocks()).save(jpeg, format="JPEG")
    segment = b"\xff\xed" + struct.pack(">H", len(content) + 2) + content
    path.write_bytes(with_segments(jpeg.getvalue(), (segment,)))
    return path


def with_iptc_tiff(path: Path) -> Path:
    Image.fromarray(blocks()).save(path, tiffinfo={33723: IPTC, 34377: b"8BIM thumbnail: pixels"})
    return path


@pytest.mark.parametrize("result", [".jpg", ".tif"])
@pytest.mark.parametrize(("make", "suffix"), [(with_iptc_jpeg, ".jpg"), (with_iptc_tiff, ".tif")])
def test_iptc_is_kept_without_the_thumbnail_beside_it(
    tmp_path: Path, make: Callable[[Path], Path], suffix: str, result: str
) -> None:
    original = make(tmp_path / f"original{suffix}")
    path = tmp_path / f"result{result}"
    assert painted(original, path) == []
    with Image.open(path) as image:
        assert isinstance(image, Image.Image)
        found = IptcImagePlugin.getiptcinfo(image)  # type: ignore[arg-type]
    assert found == {(2, 120): b"A street", (2, 116): b"(c) Ann"}
    assert b"pixels" not in path.read_bytes()
    painted(original, path, keep=False)
    assert b"A street" not in path.read_bytes()


def test_iptc_that_is_too_long_for_a_jpeg_is_named(tmp_path: Path) -> None:
    said = written(tmp_path / "result.jpg", PictureMetadata("TIFF", iptc=b"x" * 70_000))
    assert said == ["result.jpg: dropped, since JPEG cannot hold it: IPTC"]


@pytest.mark.parametrize("result", [".jpg", ".gif"])
@pytest.mark.parametrize("original", [".jpg", ".gif"])
def test_a_comment_is_kept(tmp_path: Path, original: str, result: str) -> None:
    path = tmp_path / f"original{original}"
    Image.fromarray(blocks()).save(path, comment="A street, by Ann")
    assert painted(path, tmp_path / f"result{result}") == []
    assert info_of(tmp_path / f"result{result}")["comment"] == b"A street, by Ann"
    painted(path, tmp_path / f"bare{result}", keep=False)
    assert "comment" not in info_of(tmp_path / f"bare{result}")


def with_texts(path: Path, levels: str) -> Path:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "Ann")
    texts.add_text("Copyright", "© Ann", zip=True)
    texts.add_itxt("Description", "Eine Straße, 通り", "de", "Beschreibung")
    texts.add_text("Raw profile type 8bim", "a thumbnail of the original")
    picture = Image.fromarray(blocks()[..., 0].astype(np.uint16) * 257) if levels == "16 bits" else Image.fromarray(blocks())
    picture.save(path, pnginfo=texts)
    return path


@pytest.mark.parametrize("levels", ["8 bits", "16 bits"])
def test_the_texts_of_a_png_are_kept(tmp_path: Path, levels: str) -> None:
    original = with_texts(tmp_path / "original.png", levels)
    assert painted(original, tmp_path / "result.png") == []
    with Image.open(tmp_path / "result.png") as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        found = image.text
    assert found == {"Author": "Ann", "Copyright": "© Ann", "Description": "Eine Straße, 通り"}
    description = found["Description"]
    assert isinstance(description, PngImagePlugin.iTXt)
    assert (description.lang, description.tkey) == ("de", "Beschreibung")
    painted(original, tmp_path / "bare.png", keep=False)
    assert b"Ann" not in (tmp_path / "bare.png").read_bytes()


def test_exif_in_the_text_of_an_old_png_is_kept_and_upright(tmp_path: Path) -> None:
    """As ImageMagick wrote it before PNG had EXIF."""
    block = exif_block(6)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    Image.fromarray(blocks()).save(tmp_path / "original.png", pnginfo=texts)
    pixels, _ = read_picture(tmp_path / "original.png")
    assert pixels.shape[:2] == (WIDTH, HEIGHT), "a quarter turn"
    frame = next(PictureSource(tmp_path, [tmp_path / "original.png"]).read(0, 1))
    PictureSink([tmp_path / "result.png"], keep_metadata=True).write(pixels, frame)
    assert picture_size(tmp_path / "result.png") == (HEIGHT, WIDTH)
    with Image.open(tmp_path / "result.png") as image:
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"

"""Colors that are told by something else than a profile are converted as they are meant."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from nstpipe.media.frame import in_eight_bits
from nstpipe.media.pictures.color_spaces import iso_color_space, png_color_space
from nstpipe.media.pictures.files import PictureSink, PictureSource, read_picture
from nstpipe.media.pictures.images import pixels_of_image
from nstpipe.media.pictures.omissions import omissions_of_picture
from nstpipe.media.pictures.profiles import srgb_profile
from tests.media.making_profiles import rgb_profile

GAMMA_1 = (b"gAMA", struct.pack(">I", 100_000))
SRGB_GAMMA = (b"gAMA", struct.pack(">I", 45_455))
SRGB_PRIMARIES = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
P3_PRIMARIES = (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))


def cicp(primaries: int, transfer: int, full_range: int = 1) -> tuple[bytes, bytes]:
    return (b"cICP", bytes([primaries, transfer, 0, full_range]))


def png(path: Path, color: tuple[int, int, int], *chunks: tuple[bytes, bytes], bits: int = 8) -> Path:
    """A PNG of one color, given in 8 bits, with chunks that tell its colors."""
    if bits == 8:
        info = PngImagePlugin.PngInfo()
        for name, content in chunks:
            info.add(name, content)
        Image.new("RGB", (8, 6), color).save(path, pnginfo=info)
        return path
    plain = cv2.imencode(".png", np.full((6, 8, 3), color[::-1], np.uint16) * 257)[1].tobytes()

    beside = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    path.write_bytes(plain[:33] + beside + plain[33:])
    return path


MEANINGS = {
    # 0.5 ** (1 / 2.4) * 1.055 - 0.055 = 0.7354
    "linear": ((128, 128, 128), [GAMMA_1], (188, 188, 188)),
    "linear by cICP": ((128, 128, 128), [cicp(1, 8)], (188, 188, 188)),
    # Gray stays gray in any primaries. The red of Display P3 is beyond sRGB's.
    "Display P3, gray": ((100, 100, 100), [cicp(12, 13)], (100, 100, 100)),
    "Display P3, red": ((255, 0, 0), [cicp(12, 13)], (255, 0, 0)),
    "P3 by cHRM": ((128, 0, 0), [SRGB_GAMMA, P3_PRIMARIES], (140, 0, 0)),
    # Light of 203 nits is white, and is compressed to leave room for brighter light. PQ's 26 is 0.36 nits.
    "PQ, dark": ((26, 26, 26), [cicp(9, 16)], (6, 6, 6)),
    "PQ, black": ((0, 0, 0), [cicp(9, 16)], (0, 0, 0)),
    "PQ, 1000 nits": ((192, 192, 192), [cicp(9, 16)], (255, 255, 255)),
    "HLG, black": ((0, 0, 0), [cicp(9, 18)], (0, 0, 0)),
    "HLG, white": ((255, 255, 255), [cicp(9, 18)], (255, 255, 255)),
    "limited range": ((235, 16, 16), [cicp(1, 13, 0)], (255, 0, 0)),
    # What stands above.
    "cICP above gAMA": ((128, 128, 128), [GAMMA_1, cicp(1, 13)], (128, 128, 128)),
    "sRGB above gAMA": ((128, 128, 128), [(b"sRGB", b"\x00"), GAMMA_1], (128, 128, 128)),
    "sRGB by gAMA and cHRM": ((128, 7, 200), [SRGB_GAMMA, SRGB_PRIMARIES], (128, 7, 200)),
    "unknown": ((128, 7, 200), [cicp(3, 200)], (128, 7, 200)),
    "a gamma that makes all black": ((128, 7, 200), [(b"gAMA", struct.pack(">I", 1))], (128, 7, 200)),
    "a gamma that makes all white": ((128, 7, 200), [(b"gAMA", bytes([255] * 4))], (128, 7, 200)),
    "no gamma at all": ((128, 7, 200), [(b"gAMA", bytes(4))], (128, 7, 200)),
    "primaries on a line": ((128, 7, 200), [(b"cHRM", struct.pack(">8I", *[30000] * 8))], (128, 7, 200)),
}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("meaning", MEANINGS)
def test_a_png_is_converted_from_what_its_chunks_say(tmp_path: Path, meaning: str, bits: int) -> None:
    color, chunks, expected = MEANINGS[meaning]
    pixels, metadata = read_picture(png(tmp_path / "a.png", color, *chunks, bits=bits))
    assert np.abs(in_eight_bits(pixels)[3, 3].astype(int) - expected).max() <= 1
    space = png_color_space(tmp_path / "a.png", has_profile=False)
    assert metadata.icc == (srgb_profile() if space is not None else None)
    assert (space.hdr if space is not None else "") == (meaning[:3].rstrip(",") if meaning[:2] in ("PQ", "HL") else "")


def test_srgb_by_cicp_stands_above_a_profile(tmp_path: Path) -> None:
    adobe = (b"iCCP", b"adobe\x00\x00" + zlib.compress(rgb_profile()))
    # By hand as below: red is 231. Light of 0.0414 is 1.055 * 0.0414 ** (1 / 2.4) - 0.055 = 0.225, which is 57.
    for chunks, expected in ([adobe], (231, 57, 57)), ([adobe, cicp(1, 13)], (200, 60, 60)):
        pixels, metadata = read_picture(png(tmp_path / "a.png", (200, 60, 60), *chunks, bits=16))
        assert np.abs(in_eight_bits(pixels)[3, 3].astype(int) - expected).max() <= 1
        assert metadata.icc == srgb_profile()


def test_a_png_without_a_name_tells_its_colors_too(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", (128, 128, 128), GAMMA_1, SRGB_PRIMARIES)
    with path.open("rb") as file, Image.open(file) as image:
        unread = pixels_of_image(image)[0]
        copied = pixels_of_image(image.copy())[0]
    assert (int(unread[3, 3, 0]), int(copied[3, 3, 0])) == (188, 188)


@pytest.mark.parametrize("told", [(1, 8), (9, 16), (9, 18), (12, 13), (1, 13), (2, 2)])
def test_an_avif_is_converted_from_what_its_picture_says(tmp_path: Path, told: tuple[int, int]) -> None:
    def avif(color: tuple[int, int, int], **options: bytes) -> Path:
        content = io.BytesIO()
        Image.new("RGB", (32, 32), color).save(content, format="AVIF", quality=100, subsampling="4:4:4", **options)
        # Pillow tells the colors once: sRGB, or with a profile that nclx does not tell them.
        before, after, found = content.getvalue().partition(b"nclx")
        assert found[:4] == struct.pack(">HH", *((2, 2) if options else (1, 13)))
        path = tmp_path / "a.avif"
        path.write_bytes(before + after + struct.pack(">HH", *told) + found[4:])
        return path

    path = avif((128, 128, 128))
    expected, _ = read_picture(png(tmp_path / "a.png", (128, 128, 128), cicp(*told)))
    pixels, metadata = read_picture(path)
    assert np.abs(pixels[16, 16].astype(int) - expected[3, 3]).max() <= 1
    assert metadata.icc == (None if told[0] == 2 or told == (1, 13) else srgb_profile())
    kinds = [one.kind for one in omissions_of_picture(path, tmp_path / "b.avif", keep_metadata=True)]
    assert kinds == (["high dynamic range"] if told[1] in (16, 18) else [])
    colors, metadata = read_picture(avif((200, 60, 60), icc_profile=srgb_profile()))
    assert np.abs(colors[16, 16].astype(int) - (200, 60, 60)).max() <= 2, "a profile stands above it"
    damaged = path.read_bytes()
    path.write_bytes(damaged[: damaged.index(b"ipma") + 6])
    assert iso_color_space(path) is None


def test_hdr_stays_in_order_and_is_named_once(tmp_path: Path) -> None:
    levels = [int(read_picture(png(tmp_path / "a.png", (value,) * 3, cicp(9, 16)))[0][0, 0, 0]) for value in range(0, 256, 15)]
    assert levels == sorted(levels)
    assert len(set(levels[:13])) == 13, "no two levels below 1000 nits become one"
    [omission] = omissions_of_picture(tmp_path / "a.png", tmp_path / "b.png", keep_metadata=True)
    assert omission.detail == "the high dynamic range (PQ) is brought to that of a standard picture"
    frame = next(PictureSource(tmp_path, [tmp_path / "a.png"]).read(0, 1))
    PictureSink([tmp_path / "b.png"], keep_metadata=True).write(frame.pixels, frame)
    assert png_color_space(tmp_path / "b.png", has_profile=True) is None


def adobe_exif(color_space: int, index: str | None) -> Image.Exif:
    exif = Image.Exif()
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.ColorSpace] = color_space
    if index is not None:
        details[ExifTags.IFD.Interop] = {1: index}
    return exif


ADOBE = {"by a number": (2, None), "by DCF": (65535, "R03")}
PLAIN = {"sRGB": (1, "R98"), "uncalibrated": (65535, None)}


@pytest.mark.parametrize("told", [*ADOBE, *PLAIN])
def test_adobe_rgb_that_exif_alone_tells_is_converted(tmp_path: Path, told: str) -> None:
    exif = adobe_exif(*{**ADOBE, **PLAIN}[told])
    for name in ("a.jpg", "a.webp"):
        path = tmp_path / name
        Image.new("RGB", (32, 32), (200, 60, 60)).save(path, exif=exif, quality=100)
        pixels, metadata = read_picture(path)
        # By hand: linear (0.5863, 0.0414, 0.0414); red is 1.398 * 0.5863 - 0.398 * 0.0414 = 0.8032, which is 231.
        expected = (231, 60, 58) if told in ADOBE else (200, 60, 60)
        assert np.abs(pixels[16, 16].astype(int) - expected).max() <= 3
        block = Image.Exif()
        assert metadata.exif is not None
        block.load(metadata.exif)
        found = block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace]
        assert found == (1 if told in ADOBE else {**ADOBE, **PLAIN}[told][0])
        if told == "by DCF":
            assert block.get_ifd(ExifTags.IFD.Interop)[1] == "R98"

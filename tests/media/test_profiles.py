"""Colors are the same to the eye, whatever profile they came in."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from nstpipe.media.frame import in_eight_bits, in_sixteen_bits
from nstpipe.media.pictures.deep import encoded_png, encoded_tiff
from nstpipe.media.pictures.files import PictureSink, PictureSource, read_picture
from nstpipe.media.pictures.profiles import srgb_profile

from .making import PALETTE, blocks, farthest
from .making_profiles import ADOBE_GAMMA, CYAN_LAB, cmyk_profile, gray_profile, rgb_profile, table_profile

ADOBE_TO_SRGB = np.array([[1.39836, -0.39836, 0.0], [0.0, 1.0, 0.0], [0.0, -0.04293, 1.04293]])
"""From linear Adobe RGB to linear sRGB, both under D65: they share their red and blue, but not their green."""

ROUNDING = 1
"""Level: what is computed in another order of steps may be rounded to the neighbor."""


def srgb_encoded(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """IEC 61966-2-1."""
    linear = linear.clip(0, 1)
    return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def adobe_in_srgb(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """0 to 255, not rounded."""
    return srgb_encoded((pixels / 255) ** ADOBE_GAMMA @ ADOBE_TO_SRGB.T) * 255


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_wide_colors_come_in_as_srgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"wide{suffix}"
    options: dict[str, object] = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(blocks()).save(path, icc_profile=rgb_profile(), **options)
    pixels, metadata = read_picture(path)
    assert np.abs(pixels - adobe_in_srgb(blocks())).max() <= ROUNDING + 0.5
    assert np.abs(pixels.astype(int) - blocks()).max() > 20, "or this test shows nothing"
    assert metadata.icc == srgb_profile()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_wide_colors_of_sixteen_bits_keep_them(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(9000, 9000 + 4095, 4096).astype(np.uint16).reshape(64, 64)
    pixels = np.stack([ramp, ramp + 3000, ramp + 1000], axis=-1)
    path = tmp_path / f"wide{suffix}"
    encode = encoded_png if suffix == ".png" else encoded_tiff
    path.write_bytes(encode(pixels, icc_profile=rgb_profile()))
    found, metadata = read_picture(path)
    expected = srgb_encoded((pixels / 65535) ** ADOBE_GAMMA @ ADOBE_TO_SRGB.T) * 65535
    assert np.abs(found - expected).max() < 257 / 4, "a quarter of a level of 8 bits"
    assert len(np.unique(found[..., 1])) > 3500, "8 bits would give 16"
    assert metadata.icc == srgb_profile()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_go_through_a_table_as_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(9000, 9000 + 4095, 4096).astype(np.uint16).reshape(64, 64)
    pixels = np.stack([ramp, ramp + 3000, ramp + 1000], axis=-1)
    path = tmp_path / f"table{suffix}"
    encode = encoded_png if suffix == ".png" else encoded_tiff
    path.write_bytes(encode(pixels, icc_profile=table_profile()))
    found, metadata = read_picture(path)
    expected = srgb_encoded((pixels / 65535) ** ADOBE_GAMMA @ ADOBE_TO_SRGB.T) * 65535
    assert np.abs(found - expected).max() < 257, "a level of 8 bits: what makes the grid gives whole levels"
    assert len(np.unique(found[..., 1])) > 3500, "8 bits would give 16"
    assert (np.diff(found[..., 1].ravel().astype(int)) >= 0).all(), "what is brighter stays brighter"
    assert metadata.icc == srgb_profile()


def test_gray_of_sixteen_bits_goes_through_its_curve(tmp_path: Path) -> None:
    ramp = np.linspace(9000, 9000 + 4095, 4096).astype(np.uint16).reshape(64, 64)
    fine, content = cv2.imencode(".png", ramp)
    assert fine
    carrier = io.BytesIO()
    Image.new("L", (1, 1)).save(carrier, format="PNG", icc_profile=gray_profile(1.8))
    place = carrier.getvalue().index(b"iCCP") - 4
    length = int.from_bytes(carrier.getvalue()[place : place + 4], "big") + 12
    png = content.tobytes()
    path = tmp_path / "gray.png"
    path.write_bytes(png[:33] + carrier.getvalue()[place : place + length] + png[33:])
    found, _ = read_picture(path)
    expected = srgb_encoded((ramp / 65535) ** (round(1.8 * 256) / 256)) * 65535
    assert np.abs(found[..., 1] - expected).max() < 257 / 4
    assert len(np.unique(found[..., 1])) > 3500, "8 bits would give 16"


def test_an_srgb_profile_of_another_make_stays_to_the_byte(tmp_path: Path) -> None:
    own = bytearray(srgb_profile())
    own[24:36] = bytes(12)  # the date of its making
    Image.fromarray(blocks()).save(tmp_path / "own.png", icc_profile=bytes(own))
    pixels, metadata = read_picture(tmp_path / "own.png")
    assert np.array_equal(pixels, blocks())
    assert metadata.icc == bytes(own)


def test_gray_goes_through_its_profile(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 128).save(tmp_path / "gray.png", icc_profile=gray_profile(1.8))
    pixels, metadata = read_picture(tmp_path / "gray.png")
    expected = float(srgb_encoded(np.array((128 / 255) ** 1.8))) * 255
    assert np.abs(pixels - expected).max() <= ROUNDING + 0.5
    assert abs(expected - 128) > 15, "or this test shows nothing"
    assert metadata.icc == srgb_profile()


def lab_in_srgb(lightness: float, a: float, b: float) -> NDArray[np.float64]:
    """CIE 15, then to linear sRGB by the inverse of its primaries under D50."""
    middle = (lightness + 16) / 116
    powers = np.array([middle + a / 500, middle, middle - b / 200])
    linear = np.where(powers > 6 / 29, powers**3, 3 * (6 / 29) ** 2 * (powers - 4 / 29))
    xyz = linear * (0.9642, 1.0, 0.8249)
    to_rgb = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )
    return srgb_encoded(to_rgb @ xyz) * 255


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_ink_goes_through_its_profile(tmp_path: Path, suffix: str) -> None:
    cyan, paper, black = (255, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 255)
    path = tmp_path / f"print{suffix}"
    Image.new("CMYK", (16, 16), cyan).save(path, icc_profile=cmyk_profile(), quality=100)
    pixels, metadata = read_picture(path)
    assert np.abs(pixels - lab_in_srgb(*CYAN_LAB)).max() <= 4, "a profile of 8 bits rounds L, a and b"
    assert metadata.icc == srgb_profile()
    for ink, light in ((paper, 255), (black, 0)):
        Image.new("CMYK", (16, 16), ink).save(path, icc_profile=cmyk_profile(), quality=100)
        assert np.abs(read_picture(path)[0].astype(int) - light).max() <= 4


@pytest.mark.parametrize(
    "profile", [b"", b"no profile", srgb_profile()[:200], srgb_profile()[:16] + b"CMYK" + srgb_profile()[20:]]
)
@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
def test_a_damaged_profile_does_not_cost_the_picture(tmp_path: Path, profile: bytes, deep: bool) -> None:
    path = tmp_path / "damaged.png"
    if deep:
        path.write_bytes(encoded_png(in_sixteen_bits(blocks()), icc_profile=profile))
    else:
        Image.fromarray(blocks()).save(path, icc_profile=profile)
    pixels, metadata = read_picture(path)
    assert np.array_equal(in_eight_bits(pixels), blocks())
    assert metadata.icc is None


def test_the_result_says_that_it_is_srgb(tmp_path: Path) -> None:
    Image.fromarray(blocks()).save(tmp_path / "wide.png", icc_profile=rgb_profile())
    frame = next(PictureSource(tmp_path, [tmp_path / "wide.png"]).read(0, 1))
    PictureSink([tmp_path / "result.png"], keep_metadata=True).write(frame.pixels, frame)
    with Image.open(tmp_path / "result.png") as image:
        assert image.info["icc_profile"] == srgb_profile()
    again, _ = read_picture(tmp_path / "result.png")
    assert np.array_equal(again, frame.pixels)


def test_the_profile_made_here_is_taken_for_what_it_is() -> None:
    """What these tests rest on: an independent reader understands the profiles."""
    for profile, space in ((rgb_profile(), "RGB "), (gray_profile(2.2), "GRAY"), (cmyk_profile(), "CMYK")):
        assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space == space


# 16 bits and more.


def deep_picture() -> NDArray[np.uint16]:
    """Every value of a ramp is another one, in steps that 8 bits cannot hold."""
    ramp = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 7 + 20_000
    return np.stack([ramp, ramp[::-1], 65_535 - ramp], axis=-1)


@pytest.mark.parametrize("result", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("original", [".png", ".tif"])
def test_sixteen_bits_in_sixteen_bits_out(tmp_path: Path, original: str, result: str) -> None:
    path = tmp_path / f"original{original}"
    cv2.imwrite(str(path), deep_picture()[..., ::-1])
    frame = next(PictureSource(tmp_path, [path]).read(0, 1))
    assert np.array_equal(frame.pixels, deep_picture())
    PictureSink([tmp_path / f"result{result}"], keep_metadata=True).write(frame.pixels, frame)
    written = cv2.imread(str(tmp_path / f"result{result}"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written[..., ::-1], deep_picture())
    assert np.array_equal(read_picture(tmp_path / f"result{result}")[0], deep_picture())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_of_sixteen_bits_is_kept(tmp_path: Path, suffix: str) -> None:
    with_alpha = np.concatenate([deep_picture(), deep_picture()[..., :1]], axis=2)
    path = tmp_path / f"original{suffix}"
    cv2.imwrite(str(path), with_alpha[..., [2, 1, 0, 3]])
    frame = next(PictureSource(tmp_path, [path]).read(0, 1))
    PictureSink([tmp_path / f"result{suffix}"], keep_metadata=True).write(frame.pixels, frame)
    written = cv2.imread(str(tmp_path / f"result{suffix}"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written[..., [2, 1, 0, 3]], with_alpha)


def test_sixteen_bits_become_eight_where_the_format_has_no_more(tmp_path: Path) -> None:
    path = tmp_path / "original.png"
    cv2.imwrite(str(path), in_sixteen_bits(blocks())[..., ::-1])
    frame = next(PictureSource(tmp_path, [path]).read(0, 1))
    for suffix, loss in ((".jpg", 4), (".webp", 8)):
        PictureSink([tmp_path / f"result{suffix}"], keep_metadata=True).write(frame.pixels, frame)
        assert farthest(read_picture(tmp_path / f"result{suffix}")[0], blocks()) <= loss


@pytest.mark.parametrize("channels", [1, 3])
def test_floating_point_is_taken_from_nought_to_one(tmp_path: Path, channels: int) -> None:
    values = np.array([[-0.5, 0.0, 0.25, 0.5, 1.0, 7.0, np.nan]], np.float32)
    picture = values if channels == 1 else np.repeat(values[..., None], 3, axis=2)
    cv2.imwrite(str(tmp_path / "floats.tif"), picture)
    pixels, _ = read_picture(tmp_path / "floats.tif")
    assert pixels.dtype == np.uint16
    assert pixels[0, :, 1].tolist() == [0, 0, 16_384, 32_768, 65_535, 65_535, 0]


def test_the_palette_is_wide_enough() -> None:
    assert len(set(PALETTE)) == len(PALETTE)

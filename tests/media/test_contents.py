"""What stands next to a picture is found, and named if the result does not hold it."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from nstpipe.media.frame import Frame
from nstpipe.media.pictures.contents import contents_of
from nstpipe.media.pictures.files import PictureSink, read_picture
from nstpipe.media.pictures.formats import NEVER_CARRIED, PICTURE_FORMATS, Content
from nstpipe.media.pictures.omissions import omissions_of_picture

from . import making_contents as made
from .making import HEIGHT, WIDTH, blocks
from .making_profiles import gray_profile, rgb_profile

FOUND: list[tuple[Callable[[], bytes], set[Content]]] = [
    (made.google_film, {"XMP", "film"}),
    (made.samsung_film, {"film"}),
    (made.gain_map_by_container, {"XMP", "gain map"}),
    (made.gain_map_by_its_own_words, {"gain map"}),
    (made.gain_map_and_film, {"XMP", "gain map", "film"}),
    (made.stereo_pair, {"second picture"}),
    (made.preview_behind, {"smaller copies"}),
    (made.sound_behind, {"sound"}),
    (made.notes_behind, {"data behind the picture"}),
    (made.padding_behind, set()),
    (made.photoshop, {"Photoshop data"}),
    (made.credentials, {"content credentials"}),
    (made.camera_data, {"maker's data"}),
    (made.second_picture_in_an_extension, {"XMP", "second picture in XMP"}),
    (made.animated_png, {"further frames"}),
    (made.tiff_of_pages, {"further pages"}),
    (made.tiff_of_layers, {"layers"}),
    (made.tiff_of_floats, {"values finer than 16 bits", "depth of color"}),
    (made.tiff_of_five_channels, {"further channels"}),
    (made.webp_and_film, {"film"}),
    (made.gif_with_xmp, {"XMP"}),
    (made.avif, set()),
    (lambda: made.avif(struct.pack(">I", 20) + b"mpvd" + bytes(12)), {"film"}),
    (lambda: made.avif_with_auxiliary(b"urn:com:apple:photos:2020:aux:hdrgainmap"), {"gain map"}),
    (lambda: made.avif_with_auxiliary(b"urn:mpeg:hevc:2015:auxid:2"), {"depth map"}),
    (lambda: made.png((b"caBX", b"x"), (b"tEXt", b"Author\0Ann")), {"content credentials", "texts"}),
    (lambda: made.png((b"sTER", b"\0")), {"maker's data"}),
    (lambda: made.png((b"tIME", bytes(7))), set()),
]


@pytest.mark.parametrize(("make", "found"), FOUND, ids=[str(number) for number in range(len(FOUND))])
def test_everything_next_to_a_picture_is_found_and_what_no_result_holds_is_named(
    tmp_path: Path, make: Callable[[], bytes], found: set[Content]
) -> None:
    path = made.written(tmp_path / "picture", make)
    assert set(contents_of(path).held) == found
    row = PICTURE_FORMATS[contents_of(path).format]
    said = omissions_of_picture(path, tmp_path / "result", keep_metadata=True)
    assert {one.kind for one in said} == {content for content in found if content in NEVER_CARRIED or not row.holds(content)}
    assert all(one.detail.startswith(f"the {one.kind}") and " dropped: " in one.detail for one in said)


def painted(original: Path, result: Path) -> Path:
    pixels, metadata = read_picture(original)
    PictureSink([result], keep_metadata=True).write(pixels, Frame(pixels, 0, metadata=metadata))
    return result


PROMISES = (b"MotionPhoto", b"MicroVideo", b"GainMap", b"Directory", b"hdrgm:", b"MPF\0", b"GImage", b'image/">AAA', b"ftyp")


@pytest.mark.parametrize(
    "make", [make for make, found in FOUND if found & NEVER_CARRIED.keys()], ids=lambda make: make.__name__
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_no_result_promises_what_is_gone(tmp_path: Path, make: Callable[[], bytes], suffix: str) -> None:
    original = made.written(tmp_path / "original", make)
    result = painted(original, tmp_path / f"result{suffix}")
    content = result.read_bytes()
    assert not [word for word in PROMISES if word in content and (word != b"ftyp" or suffix != ".avif")]
    held = contents_of(result).held
    assert not set(held) & NEVER_CARRIED.keys()
    if "XMP" in contents_of(original).held:
        assert "XMP" in held
        assert b"kept" in content
    if make is made.second_picture_in_an_extension:
        assert b"kept too" in content
        assert (b"HasExtendedXMP" in content) == (suffix == ".jpg")


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_reads_the_extension_that_was_renewed(tmp_path: Path) -> None:
    original = made.written(tmp_path / "original.jpg", made.second_picture_in_an_extension)
    result = painted(original, tmp_path / "result.jpg")
    told = subprocess.run(
        ["exiftool", "-a", "-s", "-XMP:all", "-warning", result], capture_output=True, text=True, check=True
    ).stdout
    assert "kept too" in told
    assert "Warning" not in told


# What depends on the format.


def with_everything(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x010F] = "Ann"
    xmp = made.XMP % ("", "")
    Image.fromarray(blocks()).save(path, exif=exif, xmp=xmp.encode(), comment="a comment", dpi=(300, 300))
    return path


@pytest.mark.parametrize(
    ("suffix", "kinds"),
    [
        (".jpg", []),
        (".png", ["comment"]),
        (".tif", ["comment"]),
        (".webp", ["resolution", "comment"]),
        (".avif", ["resolution", "comment"]),
        (".gif", ["EXIF", "resolution", "XMP"]),
        (".bmp", ["EXIF", "comment", "XMP"]),
    ],
)
def test_what_the_format_cannot_hold_is_named_and_not_in_the_result(tmp_path: Path, suffix: str, kinds: list[str]) -> None:
    original = with_everything(tmp_path / "original.jpg")
    result = tmp_path / f"result{suffix}"
    assert [one.kind for one in omissions_of_picture(original, result, keep_metadata=True)] == kinds
    assert omissions_of_picture(original, result, keep_metadata=False) == ()
    painted(original, result)
    assert not set(contents_of(result).held) & set(kinds)
    assert {"EXIF", "XMP", "comment", "resolution"} - set(kinds) <= set(contents_of(result).held)


def test_where_it_could_be_kept_is_said(tmp_path: Path) -> None:
    [exif, *_] = omissions_of_picture(with_everything(tmp_path / "a.jpg"), tmp_path / "a.bmp", keep_metadata=True)
    assert exif.detail == "the EXIF is dropped: BMP cannot hold it"
    assert exif.remedy == "JPEG, PNG, TIFF, WEBP, AVIF and HEIF can hold it."


def alpha_png(path: Path, *levels: int) -> Path:
    alpha = np.resize(np.array(levels, np.uint8), (HEIGHT, WIDTH, 1))
    Image.fromarray(np.concatenate([blocks(), alpha], axis=2)).save(path)
    return path


@pytest.mark.parametrize(
    ("suffix", "levels", "kinds"),
    [
        (".jpg", [255], []),
        (".jpg", [255, 0], ["transparency"]),
        (".bmp", [254], ["transparency"]),
        (".gif", [255, 0], []),
        (".gif", [255, 0, 100], ["partial transparency"]),
        (".webp", [100], []),
        (".tif", [100], []),
    ],
)
def test_transparency_is_named_where_it_hides_something(
    tmp_path: Path, suffix: str, levels: list[int], kinds: list[str]
) -> None:
    path = alpha_png(tmp_path / "original.png", *levels)
    said = omissions_of_picture(path, tmp_path / f"result{suffix}", keep_metadata=True)
    assert [one.kind for one in said] == kinds


@pytest.mark.parametrize("original", ["GIF", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".webp", ".avif"])
def test_transparency_is_kept_where_the_format_has_it(tmp_path: Path, original: str, suffix: str) -> None:
    path = made.written(tmp_path / "original", made.transparent(original))
    _, metadata = read_picture(painted(path, tmp_path / f"result{suffix}"))
    assert metadata.alpha is not None
    seen = np.repeat(np.arange(HEIGHT)[:, None] < HEIGHT // 2, WIDTH, axis=1)
    assert np.array_equal(metadata.alpha > 127, seen)


def test_the_transparent_level_of_a_deep_gray_png_is_kept_or_named(tmp_path: Path) -> None:
    gray = np.repeat(np.uint16([[1000], [1001]]), WIDTH, axis=1).repeat(HEIGHT // 2, axis=0)
    path = tmp_path / "original.png"
    Image.fromarray(gray).save(path, transparency=1000)
    assert [one.kind for one in omissions_of_picture(path, tmp_path / "result.jpg", keep_metadata=True)] == [
        "transparency",
        "depth of color",
    ]
    _, metadata = read_picture(painted(path, tmp_path / "result.png"))
    assert metadata.alpha is not None
    assert np.array_equal(metadata.alpha > 32767, gray == 1001)


def test_an_opaque_gif_is_written_as_without_a_transparent_color(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(blocks()).save(content, format="GIF")
    path = alpha_png(tmp_path / "original.png", 255)
    assert painted(path, tmp_path / "result.gif").read_bytes() == content.getvalue()


def test_sixteen_bits_that_become_eight_are_named(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(blocks()[..., 0].astype(np.uint16) * 257).save(path)
    [said] = omissions_of_picture(path, tmp_path / "result.jpg", keep_metadata=True)
    assert said.detail == "16 bits of a color value become 8: JPEG holds no more"
    assert said.remedy == "PNG and TIFF can hold it."
    assert omissions_of_picture(path, tmp_path / "result.tif", keep_metadata=True) == ()


@pytest.mark.parametrize(
    ("mode", "profile", "is_used"),
    [
        ("RGB", rgb_profile(), True),
        ("L", gray_profile(1.0), True),
        ("LA", gray_profile(1.0), True),
        ("P", rgb_profile(), True),
        ("L", rgb_profile(), False),
        ("RGB", gray_profile(1.0), False),
        ("RGB", b"damaged", False),
        ("I;16", gray_profile(1.0), True),
        ("I;16", b"damaged", False),
    ],
)
def test_a_profile_that_cannot_be_used_is_named(tmp_path: Path, mode: str, profile: bytes, is_used: bool) -> None:
    path = tmp_path / "original.png"
    deep = Image.fromarray(blocks()[..., 0].astype(np.uint16) * 257)
    (deep if mode == "I;16" else Image.fromarray(blocks()).convert(mode)).save(path, icc_profile=profile)
    said = [one.detail for one in omissions_of_picture(path, tmp_path / "result.png", keep_metadata=True)]
    reason = "it is damaged, or does not fit the colors of the picture"
    assert said == ([] if is_used else [f"the color profile is dropped: {reason}"])
    _, metadata = read_picture(path)
    assert (metadata.icc is not None) == is_used


def test_what_does_not_fit_is_named_before_the_work(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    Image.fromarray(blocks()).save(tmp_path / "long.png", exif=exif)
    [said] = omissions_of_picture(tmp_path / "long.png", tmp_path / "result.jpg", keep_metadata=True)
    assert said.detail == "the EXIF ImageDescription is dropped: JPEG cannot hold it as it is"


def test_iptc_and_xmp_in_the_texts_of_an_old_png_are_kept(tmp_path: Path) -> None:
    """As ImageMagick writes them."""
    records = b"\x1c\x02\x78\x00\x08A street"
    resources = struct.pack(">4sHHI", b"8BIM", 0x0404, 0, len(records)) + records
    texts = PngImagePlugin.PngInfo()
    for name, content in (("8bim", resources), ("xmp", (made.XMP % ("", "")).encode())):
        texts.add_text(f"Raw profile type {name}", f"\n{name}\n{len(content):8}\n{content.hex()}\n")
    Image.fromarray(blocks()).save(tmp_path / "old.png", pnginfo=texts)
    _, metadata = read_picture(painted(tmp_path / "old.png", tmp_path / "result.jpg"))
    assert metadata.iptc == records
    assert metadata.xmp is not None
    assert b"kept" in metadata.xmp


@pytest.mark.parametrize("cut", [1, 300])
@pytest.mark.parametrize("make", [make for make, _ in FOUND], ids=lambda make: make.__name__)
def test_a_damaged_file_raises_nothing(tmp_path: Path, make: Callable[[], bytes], cut: int) -> None:
    content = make()
    path = tmp_path / "cut"
    path.write_bytes(content[: len(content) - cut])
    contents_of(path)
    path.write_bytes(content[:cut] + b"\xff" * 20 + content[cut + 20 :])
    omissions_of_picture(path, tmp_path / "result", keep_metadata=True)

"""Pictures: right colors in, all that is not color kept or stripped, faults said in words."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from nstpipe.errors import ItemError
from nstpipe.media.frame import Frame
from nstpipe.media.pictures import files as pictures
from nstpipe.media.pictures.files import PictureSink, PictureSource, picture_bits, picture_size, read_picture

from .making import HEIGHT, WIDTH, Bytes, blocks, farthest, films
from .making_exif import LATITUDE, LONGITUDE, MAKER, MAKER_NOTE, exif_block

JPEG_LOSS = 4
"""Levels in flat blocks at quality 95 and full chroma."""

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PANORAMA = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'tiff:Orientation="%d" GPano:ProjectionType="equirectangular" GPano:FullPanoWidthPixels="%d">'
    b"<GPano:FullPanoHeightPixels>%d</GPano:FullPanoHeightPixels></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def made(path: Path, picture: Bytes | Image.Image, **options: object) -> Path:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if path.suffix in (".jpg", ".jpeg"):
        options = {"quality": 100, "subsampling": 0, **options}
    if path.suffix == ".webp":
        options = {"lossless": True, "exact": True, **options}
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def passed_through(path: Path, result: Path, *, keep: bool = True, size: tuple[int, int] | None = None) -> Path:
    """Read a picture and write flat gray in its place."""
    frame = next(PictureSource(path.parent, [path]).read(0, 1))
    width, height = size or (frame.pixels.shape[1], frame.pixels.shape[0])
    PictureSink([result], keep_metadata=keep).write(np.full((height, width, 3), 128, np.uint8), frame)
    return result


def info_of(path: Path) -> dict[str, object]:
    with Image.open(path) as image:
        image.load()
        return dict(image.info)


@pytest.mark.parametrize(("suffix", "kind"), [(".bmp", "BMP"), (".jfif", "JPEG")])
def test_bmp_and_jfif_are_read_and_written(tmp_path: Path, suffix: str, kind: str) -> None:
    original = made(tmp_path / f"original{suffix}", blocks(), format=kind, quality=100, subsampling=0)
    pixels, _ = read_picture(original)
    assert farthest(pixels, blocks()) <= JPEG_LOSS
    with Image.open(passed_through(original, tmp_path / f"result{suffix}")) as image:
        assert (image.format, image.size) == (kind, (WIDTH, HEIGHT))


# Metadata.


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_the_same_to_the_byte_but_for_its_orientation(
    tmp_path: Path, orientation: int, suffix: str, order: str
) -> None:
    original = made(tmp_path / f"original{suffix}", blocks(), exif=exif_block(orientation, order=order))
    result = passed_through(original, tmp_path / f"result{suffix}")
    exif = info_of(result)["exif"]
    assert isinstance(exif, bytes)
    # WebP has the block without the six bytes that name it.
    assert exif.removeprefix(b"Exif\x00\x00") == exif_block(1, order=order).removeprefix(b"Exif\x00\x00")
    with Image.open(result) as image:
        assert image.getexif().get_ifd(0x8769)[0x927C] == MAKER_NOTE


def place_of(path: Path) -> tuple[object, ...]:
    with Image.open(path) as image:
        exif = image.getexif()
        place = exif.get_ifd(0x8825)
        return exif[0x010F], exif.get_ifd(0x8769)[0x927C], place[1], place[2], place[3], place[4]


PLACE = (
    MAKER.decode().strip("\x00"),
    MAKER_NOTE,
    "N",
    tuple(top / bottom for top, bottom in LATITUDE),
    "E",
    tuple(top / bottom for top, bottom in LONGITUDE),
)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("suffix", "result_suffix"), [(".tif", ".tif"), (".tif", ".jpg"), (".jpg", ".tif"), (".jpg", ".png"), (".png", ".webp")]
)
def test_the_place_survives_any_format(tmp_path: Path, suffix: str, result_suffix: str, orientation: int) -> None:
    original = made(tmp_path / f"original{suffix}", blocks(), exif=exif_block(orientation))
    assert place_of(original) == PLACE, "the made picture is as it should be"
    result = passed_through(original, tmp_path / f"result{result_suffix}")
    assert place_of(result) == PLACE
    upright = (HEIGHT, WIDTH) if orientation == 6 else (WIDTH, HEIGHT)
    assert picture_size(result) == upright
    assert read_picture(result)[0].shape[:2] == upright[::-1]


def asymmetric() -> Bytes:
    """No turn or mirror of it is like another."""
    picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    picture[:16, :32] = (200, 40, 40)
    picture[:16, 32:] = (40, 180, 60)
    picture[32:, :16] = (50, 60, 200)
    return picture


STORED: dict[int, Callable[[Bytes], Bytes]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
"""How an upright picture is stored, for each value of Exif 2.32's Orientation.

The 0th row is 1 top, 2 top, 3 bottom, 4 bottom, 5 left, 6 right, 7 right, 8 left side; the 0th column 1 left, 2 right,
3 right, 4 left, 5 top, 6 top, 7 bottom, 8 bottom."""


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_each_orientation_is_applied_once(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = asymmetric()
    stored = np.ascontiguousarray(STORED[orientation](upright))
    path = made(tmp_path / f"turned{suffix}", stored, exif=exif_block(orientation))
    pixels, _ = read_picture(path)
    assert farthest(pixels, upright) <= (JPEG_LOSS if suffix == ".jpg" else 0)
    assert picture_size(path) == (WIDTH, HEIGHT)
    again, _ = read_picture(passed_through(path, tmp_path / f"result{suffix}"))
    assert again.shape == upright.shape
    with Image.open(tmp_path / f"result{suffix}") as image:
        assert image.getexif().get(0x0112, 1) == 1


def xmp_of(path: Path) -> bytes:
    xmp = info_of(path)["xmp"]
    assert isinstance(xmp, bytes)
    return xmp


def made_with_xmp(path: Path, picture: Bytes, xmp: bytes, **options: object) -> Path:
    if path.suffix == ".png":
        pnginfo = PngImagePlugin.PngInfo()
        pnginfo.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return made(path, picture, pnginfo=pnginfo, **options)
    if path.suffix == ".tif":
        return made(path, picture, tiffinfo={700: xmp}, **options)
    return made(path, picture, xmp=xmp, **options)


FORMATS = [".jpg", ".png", ".tif", ".webp"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_panorama_s_sizes_follow_the_resize(tmp_path: Path, suffix: str) -> None:
    original = made_with_xmp(tmp_path / f"original{suffix}", blocks(), PANORAMA % (1, 4 * WIDTH, 4 * HEIGHT))
    result = passed_through(original, tmp_path / f"result{suffix}", size=(WIDTH // 2, HEIGHT // 2))
    assert xmp_of(result) == PANORAMA % (1, 2 * WIDTH, 2 * HEIGHT)
    same = passed_through(original, tmp_path / f"same{suffix}")
    assert xmp_of(same) == PANORAMA % (1, 4 * WIDTH, 4 * HEIGHT)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_an_orientation_that_only_xmp_has_is_applied_once(tmp_path: Path, suffix: str) -> None:
    stored = np.ascontiguousarray(STORED[6](asymmetric()))
    original = made_with_xmp(tmp_path / f"original{suffix}", stored, PANORAMA % (6, WIDTH, HEIGHT))
    pixels, _ = read_picture(original)
    assert farthest(pixels, asymmetric()) <= (JPEG_LOSS if suffix == ".jpg" else 0)
    result = passed_through(original, tmp_path / f"result{suffix}")
    assert xmp_of(result) == PANORAMA % (1, WIDTH, HEIGHT)
    assert picture_size(result) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_color_profile_is_kept(tmp_path: Path, suffix: str) -> None:
    original = made(tmp_path / f"original{suffix}", blocks(), icc_profile=SRGB)
    result = passed_through(original, tmp_path / f"result{suffix}")
    assert info_of(result)["icc_profile"] == SRGB


def test_a_profile_of_other_than_rgb_is_not_put_beside_rgb(tmp_path: Path) -> None:
    gray_profile = SRGB[:16] + b"GRAY" + SRGB[20:]
    original = made(tmp_path / "original.jpg", Image.fromarray(blocks()).convert("L"), icc_profile=gray_profile)
    assert info_of(original)["icc_profile"] == gray_profile
    result = passed_through(original, tmp_path / "result.jpg")
    assert "icc_profile" not in info_of(result)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_the_resolution_is_kept(tmp_path: Path, suffix: str) -> None:
    original = made(tmp_path / f"original{suffix}", blocks(), dpi=(300, 150))
    result = passed_through(original, tmp_path / f"result{suffix}")
    # PNG counts whole pixels a meter.
    assert info_of(result)["dpi"] == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_what_has_no_resolution_gets_none(tmp_path: Path, suffix: str) -> None:
    original = made(tmp_path / "original.tif", blocks())
    result = passed_through(original, tmp_path / f"result{suffix}")
    with Image.open(result) as image:
        assert TiffImagePlugin.X_RESOLUTION not in image.getexif()
        assert image.info.get("dpi", (1, 1)) == (1, 1)


@pytest.mark.parametrize("suffix", FORMATS)
def test_strip_writes_none_of_it(tmp_path: Path, suffix: str) -> None:
    xmp = PANORAMA % (6, 4 * WIDTH, 4 * HEIGHT)
    if suffix == ".tif":
        exif = Image.Exif()
        exif.load(exif_block(6))
        exif[700] = xmp
        original = made(tmp_path / "original.tif", asymmetric(), exif=exif, icc_profile=SRGB, dpi=(300, 300))
    else:
        exif_bytes = exif_block(6)
        original = made_with_xmp(
            tmp_path / f"original{suffix}", asymmetric(), xmp, exif=exif_bytes, icc_profile=SRGB, dpi=(300, 300)
        )
    for word in (b"Streetview Inc", b"GPano"):
        assert word in original.read_bytes()
    result = passed_through(original, tmp_path / f"result{suffix}", keep=False)
    content = result.read_bytes()
    for word in (b"Streetview Inc", b"GPano", b"sRGB", b"xmpmeta", b"Exif", b"acsp"):
        assert word not in content
    assert {"exif", "xmp", "icc_profile"}.isdisjoint(info_of(result))
    assert picture_size(result) == (HEIGHT, WIDTH)


DAMAGED_BLOCKS: dict[str, tuple[int, int, bool]] = {
    "no TIFF header": (6, 0, False),
    "a text where a number belongs": (16, 0, True),
    "a text that says it is a fraction": (18, 5, True),
    "a directory out of bounds": (10, 255, False),
}
"""Offset and value of a byte of the block, and whether the orientation can still be read."""


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("damage", DAMAGED_BLOCKS)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_damaged_exif_block_does_not_cost_the_picture(tmp_path: Path, suffix: str, damage: str) -> None:
    place, value, turned = DAMAGED_BLOCKS[damage]
    block = bytearray(exif_block(6))
    assert block[place] != value
    block[place] = value
    path = made(tmp_path / f"damaged{suffix}", blocks(), exif=bytes(block))
    pixels, _ = read_picture(path)
    assert pixels.shape[:2] == ((WIDTH, HEIGHT) if turned else (HEIGHT, WIDTH))
    result = passed_through(path, tmp_path / f"result{suffix}")
    assert picture_size(result) == pixels.shape[1::-1]


# Alpha.


def transparent() -> Image.Image:
    image = Image.fromarray(blocks()).convert("RGBA")
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, :32] = 60
    image.putalpha(Image.fromarray(alpha))
    return image


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_kept(tmp_path: Path, suffix: str) -> None:
    original = made(tmp_path / f"original{suffix}", transparent())
    pixels, metadata = read_picture(original)
    assert farthest(pixels, blocks()) == 0
    assert metadata.alpha is not None
    result = passed_through(original, tmp_path / f"result{suffix}")
    with Image.open(result) as image:
        assert image.mode == "RGBA"
        alpha = np.asarray(image.getchannel("A"))
    assert set(alpha[:, :32].flat) == {60}
    assert set(alpha[:, 32:].flat) == {255}


def test_alpha_is_turned_and_resized_with_the_picture(tmp_path: Path) -> None:
    stored = transparent().transpose(Image.Transpose.ROTATE_90)
    original = made(tmp_path / "original.png", stored, exif=exif_block(6))
    result = passed_through(original, tmp_path / "result.png", size=(WIDTH // 2, HEIGHT // 2))
    with Image.open(result) as image:
        alpha = np.asarray(image.getchannel("A"))
    assert alpha.shape == (HEIGHT // 2, WIDTH // 2)
    assert (alpha[12, 2], alpha[12, 29]) == (60, 255)


def test_alpha_is_left_out_where_the_format_has_none(tmp_path: Path) -> None:
    original = made(tmp_path / "original.png", transparent())
    with Image.open(passed_through(original, tmp_path / "result.jpg")) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_opaque_picture_stays_without_alpha(tmp_path: Path, suffix: str) -> None:
    original = made(tmp_path / f"original{suffix}", blocks())
    assert read_picture(original)[1].alpha is None
    with Image.open(passed_through(original, tmp_path / f"result{suffix}")) as image:
        assert image.mode == "RGB"


# Modes.


def gray_levels() -> Bytes:
    return blocks()[..., 1]


def sixteen_bits(levels: Bytes) -> Image.Image:
    """16 bits of the same brightness: 255 is 65535, so each level counts 257."""
    return Image.fromarray(levels.astype(np.uint16) * 257)


def cmyk(rgb: Bytes) -> Image.Image:
    """Ink is what light is not; no black ink is needed."""
    inks = np.concatenate([255 - rgb, np.zeros_like(rgb[..., :1])], axis=2)
    return Image.fromarray(inks, "CMYK")


def in_gray(levels: Bytes) -> Bytes:
    return np.repeat(levels[..., None], 3, axis=2)


MODES: dict[str, tuple[str, Callable[[], Image.Image], Callable[[], Bytes], int]] = {
    "palette": (".png", lambda: Image.fromarray(blocks()).quantize(16, dither=Image.Dither.NONE), blocks, 0),
    "gray": (".png", lambda: Image.fromarray(gray_levels()), lambda: in_gray(gray_levels()), 0),
    "gray JPEG": (".jpg", lambda: Image.fromarray(gray_levels()), lambda: in_gray(gray_levels()), JPEG_LOSS),
    "16-bit gray PNG": (".png", lambda: sixteen_bits(gray_levels()), lambda: in_gray(gray_levels()), 0),
    "16-bit gray TIFF": (".tif", lambda: sixteen_bits(gray_levels()), lambda: in_gray(gray_levels()), 0),
    "gray with alpha": (
        ".png",
        lambda: Image.merge("LA", [Image.fromarray(gray_levels()), Image.fromarray(gray_levels())]),
        lambda: in_gray(gray_levels()),
        0,
    ),
    "one bit": (
        ".png",
        lambda: Image.fromarray(gray_levels() > 128),
        lambda: in_gray(np.where(gray_levels() > 128, 255, 0).astype(np.uint8)),
        0,
    ),
    "CMYK JPEG": (".jpg", lambda: cmyk(blocks()), blocks, JPEG_LOSS),
    "CMYK TIFF": (".tif", lambda: cmyk(blocks()), blocks, 0),
    "alpha": (".png", transparent, blocks, 0),
}


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_read_in_its_colors(tmp_path: Path, mode: str) -> None:
    suffix, make, expected, tolerance = MODES[mode]
    path = made(tmp_path / f"picture{suffix}", make())
    pixels, _ = read_picture(path)
    assert pixels.dtype == (np.uint16 if mode.startswith("16-bit") else np.uint8)
    assert farthest(pixels, expected()) <= tolerance
    assert Image.open(passed_through(path, tmp_path / f"result{suffix}")).size == (WIDTH, HEIGHT)


def test_a_palette_with_a_transparent_entry(tmp_path: Path) -> None:
    image = Image.fromarray(blocks()).quantize(16, dither=Image.Dither.NONE)
    clear = image.getpixel((0, 0))
    path = made(tmp_path / "picture.png", image, transparency=clear)
    pixels, metadata = read_picture(path)
    assert farthest(pixels, blocks()) == 0
    assert metadata.alpha is not None
    assert (metadata.alpha[0, 0], metadata.alpha[0, 20]) == (0, 255)


def test_16_bit_gray_with_a_transparent_level(tmp_path: Path) -> None:
    path = made(tmp_path / "picture.png", sixteen_bits(gray_levels()), transparency=int(gray_levels()[0, 0]) * 257)
    pixels, _ = read_picture(path)
    assert farthest(pixels, in_gray(gray_levels())) == 0


# Faults.


def empty(folder: Path) -> Path:
    path = folder / "empty.jpg"
    path.touch()
    return path


def cut_jpeg(folder: Path) -> Path:
    path = made(folder / "cut.jpg", np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    return path


def cut_png(folder: Path) -> Path:
    path = made(folder / "cut.png", np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    return path


def text(folder: Path) -> Path:
    path = folder / "text.jpg"
    path.write_text("This is a letter, not a picture.")
    return path


def a_folder(folder: Path) -> Path:
    path = folder / "folder.jpg"
    path.mkdir()
    return path


def missing(folder: Path) -> Path:
    return folder / "missing.jpg"


def below_a_file(folder: Path) -> Path:
    return text(folder) / "picture.jpg"


def giant(folder: Path) -> Path:
    """A PNG of a few bytes that says it has 10^10 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    path = folder / "giant.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00" * 1000)) + chunk(b"IEND", b"")
    )
    return path


FAULTS: dict[Callable[[Path], Path], str] = {
    empty: "is empty (0 bytes)",
    cut_jpeg: "truncated",
    cut_png: "truncated",
    text: "is not a picture in a supported format",
    a_folder: "Is a directory",
    missing: "does not exist",
    below_a_file: "Not a directory",
    giant: "is too large",
}


@pytest.mark.parametrize("make", FAULTS, ids=lambda make: make.__name__)
def test_the_error_names_the_file_and_the_reason(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    began = time.monotonic()
    with pytest.raises(ItemError) as caught:
        read_picture(path)
    assert str(path) in caught.value.problem
    assert FAULTS[make] in caught.value.problem
    assert "Errno" not in caught.value.problem
    assert "<_io" not in caught.value.problem
    assert time.monotonic() - began < SECONDS_TO_SEE_A_FAULT


SECONDS_TO_SEE_A_FAULT = 30
"""Decoding 10^10 pixels would take minutes and 30 GB."""


@pytest.mark.parametrize("make", [empty, text, missing, giant], ids=lambda make: make.__name__)
def test_the_head_alone_shows_some_faults(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(ItemError):
        picture_size(make(tmp_path))


def test_the_pictures_before_a_broken_one_are_given(tmp_path: Path) -> None:
    paths = [made(tmp_path / "1.png", blocks()), made(tmp_path / "2.png", blocks(1)), text(tmp_path)]
    read = PictureSource(tmp_path, paths).read(0, 3)
    assert [next(read).frame_index, next(read).frame_index] == [0, 1]
    with pytest.raises(ItemError, match=r"text\.jpg"):
        next(read)


def test_a_source_of_one_picture_is_called_by_its_name(tmp_path: Path) -> None:
    path = made(tmp_path / "one.png", blocks())
    assert PictureSource(tmp_path, [path]).path == path
    assert PictureSource(tmp_path, [path, path]).path == tmp_path


def test_a_picture_that_reads_back_otherwise_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = films(1)[0]
    monkeypatch.setattr(pictures, "picture_size", lambda path: (HEIGHT, WIDTH))
    with pytest.raises(ItemError, match="read back as 48x64"):
        PictureSink([tmp_path / "result.jpg"], keep_metadata=True).write(pixels, Frame(pixels, 0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_pictures_raise_nothing_but_item_errors(tmp_path: Path) -> None:
    """A fixed sample of damage; Pillow raises a dozen kinds of errors."""
    random = np.random.default_rng(1)
    for suffix in FORMATS:
        content = made(tmp_path / f"whole{suffix}", blocks(), exif=exif_block(6)).read_bytes()
        path = tmp_path / f"damaged{suffix}"
        for _ in range(40):
            damaged = np.frombuffer(content, np.uint8).copy()
            places = random.integers(0, min(len(damaged), 600), 6)
            damaged[places] = random.integers(0, 256, 6)
            path.write_bytes(damaged.tobytes())
            try:
                pixels, _ = read_picture(path)
            except ItemError as error:
                assert str(path) in error.problem
            else:
                assert pixels.ndim == 3


# What the head says.


def with_chunk_behind_pixels(path: Path, kind: bytes, content: bytes) -> Path:
    png = path.read_bytes()
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    path.write_bytes(png[:-12] + chunk + png[-12:])
    return path


BEHIND_PIXELS: dict[str, tuple[bytes, bytes, bool]] = {
    "nothing": (b"tIME", b"\x07\xe8\x05\x01\x0c\x00\x00", False),
    "a text": (b"tEXt", b"date:create\x002024-05-01", False),
    "EXIF": (b"eXIf", exif_block(6)[6:], True),
    "XMP": (b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + PANORAMA % (6, WIDTH, HEIGHT), True),
}
"""A chunk, its content, and whether it turns the picture."""


@pytest.mark.parametrize("behind", BEHIND_PIXELS)
def test_the_size_of_a_png_is_what_is_read_and_its_pixels_are_decoded_only_if_something_behind_may_turn_it(
    tmp_path: Path, behind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, content, turned = BEHIND_PIXELS[behind]
    path = with_chunk_behind_pixels(made(tmp_path / "picture.png", blocks()), kind, content)
    height, width, _ = read_picture(path)[0].shape
    decoded: list[bool] = []
    real = PngImagePlugin.PngImageFile.load
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda image: decoded.append(True) or real(image))
    assert picture_size(path) == (width, height) == ((HEIGHT, WIDTH) if turned else (WIDTH, HEIGHT))
    assert bool(decoded) == turned


def tiff(
    path: Path, values: NDArray[Any], *, order: str = "<", photometric: int = 1, size: tuple[int, int] | None = None
) -> Path:
    """An uncompressed TIFF by hand, for what Pillow does not write (TIFF 6.0); `size` is what its head claims."""
    height, width, channels = values.shape
    partition_masks = size or (width, height)
    bits, kind = 8 * values.dtype.itemsize, 3 if values.dtype.kind == "f" else 1
    long_at = 8 + 2 + 12 * 10 + 4
    pixels_at = long_at + 4 * channels

    def short(tag: int, *numbers: int) -> bytes:
        if len(numbers) > 2:
            return struct.pack(f"{order}HHII", tag, 3, len(numbers), long_at + (0 if tag == 258 else 2 * channels))
        return struct.pack(f"{order}HHI", tag, 3, len(numbers)) + struct.pack(f"{order}{len(numbers)}H", *numbers).ljust(
            4, b"\0"
        )

    def long(tag: int, number: int) -> bytes:
        return struct.pack(f"{order}HHII", tag, 4, 1, number)

    stored = values.astype(values.dtype.newbyteorder(order)).tobytes()
    directory = [
        *(
            long(256, partition_masks[0]),
            long(257, partition_masks[1]),
            short(258, *[bits] * channels),
            short(259, 1),
            short(262, photometric),
        ),
        *(
            long(273, pixels_at),
            short(277, channels),
            long(278, partition_masks[1]),
            long(279, len(stored)),
            short(339, *[kind] * channels),
        ),
    ]
    lists = struct.pack(f"{order}{channels}H", *[bits] * channels) + struct.pack(f"{order}{channels}H", *[kind] * channels)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(directory))
    path.write_bytes(head + b"".join(directory) + bytes(4) + lists + stored)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_where_white_is_zero_zero_becomes_white(tmp_path: Path, kind: str, order: str) -> None:
    most = {"u1": 255, "u2": 65535, "f4": 1}[kind]
    ramp = (np.linspace(0, 1, WIDTH) * most).astype(kind)[None, :, None].repeat(HEIGHT, axis=0)
    positive, _ = read_picture(tiff(tmp_path / "positive.tif", ramp, order=order, photometric=1))
    negative, _ = read_picture(tiff(tmp_path / "negative.tif", ramp, order=order, photometric=0))
    largest = np.iinfo(positive.dtype).max
    assert (positive[0, 0, 0], positive[0, -1, 0]) == (0, largest)
    assert np.array_equal(negative, largest - positive)


def test_a_tiff_of_floats_is_measured_by_its_head(tmp_path: Path) -> None:
    values = np.linspace(0, 1, HEIGHT * WIDTH * 3, dtype="f4").reshape(HEIGHT, WIDTH, 3)
    path = tiff(tmp_path / "floats.tif", values, photometric=2)
    assert picture_size(path) == (WIDTH, HEIGHT)
    assert picture_bits(path) == 16
    assert np.abs(read_picture(path)[0] / 65535 - values).max() < 1e-5
    path.write_bytes(path.read_bytes()[:400])
    assert picture_size(path) == (WIDTH, HEIGHT), "nothing is decoded for it"


@pytest.mark.parametrize("look", [picture_size, picture_bits, read_picture])
def test_a_tiff_of_floats_that_claims_too_much_is_refused_by_its_head(tmp_path: Path, look: Callable[[Path], object]) -> None:
    path = tiff(tmp_path / "giant.tif", np.zeros((2, 2, 3), "f4"), photometric=2, size=(40_000, 40_000))
    with pytest.raises(ItemError, match=r"giant\.tif is too large: .* 500 megapixels that max_megapixels allows"):
        look(path)

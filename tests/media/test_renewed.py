"""What a picture says of itself is true of the new picture."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from nstpipe.errors import ItemError
from nstpipe.media.pictures.files import PictureSink, PictureSource, picture_size, read_picture
from nstpipe.media.pictures.metadata import adapted_exif, with_segments, xmp_extensions
from nstpipe.media.pictures.pillow import DEFAULT_MEGAPIXELS, limit_megapixels, opened, pillow_settings
from nstpipe.media.pictures.pixel_map import PixelMap
from nstpipe.media.pictures.xmp import adapted_xmp

from .making import HEIGHT, WIDTH, Bytes, blocks
from .making_exif import MAKER_NOTE, exif_block

RED, GREEN = (200, 40, 40), (40, 180, 60)


def flat(color: tuple[int, int, int], width: int = WIDTH, height: int = HEIGHT) -> Bytes:
    return np.full((height, width, 3), color, np.uint8)


def jpeg(pixels: Bytes, **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="JPEG", **options)
    return content.getvalue()


def thumbnail_of(path: Path) -> Image.Image | None:
    """As an independent reader finds it: the second directory of the block."""
    with Image.open(path) as image:
        second = image.getexif().get_ifd(ExifTags.IFD.IFD1)
        block = image.info["exif"].removeprefix(b"Exif\x00\x00")
    if 0x0201 not in second:
        return None
    return Image.open(io.BytesIO(block[second[0x0201] : second[0x0201] + second[0x0202]]))


def painted(path: Path, result: Path, pixels: Bytes) -> Path:
    frame = next(PictureSource(path.parent, [path]).read(0, 1))
    PictureSink([result], keep_metadata=True).write(pixels, frame)
    return result


THUMBNAIL = jpeg(flat(RED, 32, 24), quality=90)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_thumbnail_shows_the_painted_picture(tmp_path: Path, suffix: str, order: str) -> None:
    path = tmp_path / f"original{suffix}"
    Image.fromarray(flat(RED)).save(path, exif=exif_block(6, order=order, thumbnail=THUMBNAIL))
    result = painted(path, tmp_path / f"result{suffix}", flat(GREEN, HEIGHT, WIDTH))
    thumbnail = thumbnail_of(result)
    assert thumbnail is not None
    assert thumbnail.size == (24, 32), "upright, as the new picture is"
    assert np.abs(np.asarray(thumbnail).astype(int) - GREEN).max() < 12
    assert THUMBNAIL not in result.read_bytes()
    with Image.open(result) as image:
        assert image.getexif().get_ifd(0x8769)[0x927C] == MAKER_NOTE


def test_a_thumbnail_that_has_no_room_is_gone_with_its_pixels() -> None:
    block = exif_block(1, thumbnail=THUMBNAIL)
    gone, _ = adapted_exif(block, PixelMap((20, 20), (10, 10)), lambda old: old + b"more")
    assert len(gone) == len(block)
    assert THUMBNAIL not in gone
    exif = Image.Exif()
    exif.load(gone)
    assert exif.get_ifd(ExifTags.IFD.IFD1) == {}
    assert gone[: len(block) - len(THUMBNAIL) - 30].count(MAKER_NOTE) == 1


def test_noise_fits_into_the_room_of_a_thumbnail(tmp_path: Path) -> None:
    """Brush strokes compress worse than what they replace."""
    path = tmp_path / "original.jpg"
    path.write_bytes(jpeg(flat(RED), exif=exif_block(1, thumbnail=THUMBNAIL)))
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    result = painted(path, tmp_path / "result.jpg", noise)
    thumbnail = thumbnail_of(result)
    assert thumbnail is None or np.abs(np.asarray(thumbnail).astype(int) - RED).mean() > 30


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_size_in_exif_is_the_new_one(tmp_path: Path, order: str) -> None:
    path = tmp_path / "original.jpg"
    path.write_bytes(jpeg(flat(RED), exif=exif_block(6, order=order, size=(WIDTH, HEIGHT))))
    result = painted(path, tmp_path / "result.jpg", flat(GREEN, 24, 32))
    with Image.open(result) as image:
        details = image.getexif().get_ifd(0x8769)
    assert (details[0xA002], details[0xA003]) == (24, 32)
    expected = exif_block(1, order=order, size=(24, 32))
    with Image.open(result) as image:
        assert image.info["exif"] == expected


@pytest.mark.parametrize("place", range(0, 120, 7))
def test_a_damaged_block_keeps_its_length(place: int) -> None:
    block = bytearray(exif_block(1, thumbnail=THUMBNAIL, size=(WIDTH, HEIGHT)))
    block[place] = 255 - block[place]
    adapted, _ = adapted_exif(bytes(block), PixelMap((20, 20), (10, 20)), lambda old: None)
    assert len(adapted) == len(block)


def test_the_size_in_xmp_is_the_new_one() -> None:
    xmp = b'<a exif:PixelXDimension="4000" tiff:ImageLength="3000"/><exif:PixelYDimension>3000</exif:PixelYDimension>'
    new = b'<a exif:PixelXDimension="512" tiff:ImageLength="384"/><exif:PixelYDimension>384</exif:PixelYDimension>'
    assert adapted_xmp(xmp, PixelMap((4000, 3000), (512, 384))) == new


def extended(folder: Path) -> tuple[Path, bytes]:
    """A JPEG whose XMP goes on in a second segment, as phones write depth maps."""
    payload = b"http://ns.adobe.com/xmp/extension/\x00" + b"0" * 32 + bytes(8) + b"<depth/>" * 100
    segment = b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload
    path = folder / "extended.jpg"
    path.write_bytes(with_segments(jpeg(blocks(), xmp=b"<x:xmpmeta/>"), (segment,)))
    return path, segment


def test_xmp_of_more_than_64_kilobytes_is_kept(tmp_path: Path) -> None:
    path, segment = extended(tmp_path)
    assert xmp_extensions(path.read_bytes()) == (segment,)
    with Image.open(path) as image:
        image.load()
    result = painted(path, tmp_path / "result.jpg", blocks(1))
    assert xmp_extensions(result.read_bytes()) == (segment,)
    with Image.open(result) as image:
        image.load()
        assert image.info["xmp"] == b"<x:xmpmeta/>"


# Formats of plugins.


@pytest.mark.parametrize(("suffix", "plugin"), [(".avif", "PIL._avif"), (".heic", "pillow_heif")])
def test_phones_pictures_keep_color_and_place(tmp_path: Path, suffix: str, plugin: str) -> None:
    pytest.importorskip(plugin)
    path = tmp_path / f"original{suffix}"
    with pillow_settings():  # which know the plugin
        Image.fromarray(blocks()).save(path, exif=exif_block(1), quality=95)
    pixels, metadata = read_picture(path)
    assert np.abs(pixels.astype(int) - blocks()).mean() < 4
    assert metadata.exif is not None
    result = painted(path, tmp_path / f"result{suffix}", blocks(1))
    with opened(result) as image:
        assert image.getexif().get_ifd(0x8825)[1] == "N"
    assert np.abs(read_picture(result)[0].astype(int) - blocks(1)).mean() < 4


# The guard.


def test_the_guard_follows_the_config(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(blocks()).save(path)
    assert WIDTH * HEIGHT == 3072
    try:
        limit_megapixels(0.003)
        with pytest.raises(ItemError, match=r"more than the 0\.003 megapixels that max_megapixels allows"):
            read_picture(path)
        limit_megapixels(0.0031)
        assert read_picture(path)[0].shape == (HEIGHT, WIDTH, 3)
    finally:
        limit_megapixels(DEFAULT_MEGAPIXELS)


def test_a_large_panorama_passes_the_guard(tmp_path: Path) -> None:
    """Pillow alone refuses what has more than 179 megapixels."""
    path = tmp_path / "panorama.png"
    Image.new("1", (20_000, 10_000)).save(path)
    assert picture_size(path) == (20_000, 10_000)


def test_pillows_own_limit_and_the_warnings_stay_as_the_process_had_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(blocks()).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    filters, formats = list(warnings.filters), dict(Image.OPEN)
    limit_megapixels(0.0031)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert read_picture(path)[0].shape == (HEIGHT, WIDTH, 3)
        assert said == [], "Pillow would warn of more than 2000 pixels"
        limit_megapixels(0.003)
        with pytest.raises(ItemError, match="megapixels"):
            read_picture(path)
    finally:
        limit_megapixels(DEFAULT_MEGAPIXELS)
    assert Image.MAX_IMAGE_PIXELS == 2000
    assert (warnings.filters, Image.OPEN) == (filters, formats)


def test_threads_that_read_at_once_put_pillows_limit_back_when_the_last_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(blocks()).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with opened(path) as one:
        with opened(path) as other:
            assert other.size == (WIDTH, HEIGHT)
        with ThreadPoolExecutor(4) as pool:
            sizes = list(pool.map(picture_size, [path] * 40))
        assert one.size == (WIDTH, HEIGHT)
    assert sizes == [(WIDTH, HEIGHT)] * 40, "Pillow alone refuses more than 2000 pixels"
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_importing_nstpipe_changes_nothing_of_pillow_or_of_the_warnings() -> None:
    code = (
        "import sys, warnings; from PIL import Image; Image.init(); "
        "before = Image.MAX_IMAGE_PIXELS, dict(Image.OPEN), list(warnings.filters); "
        "import nstpipe.media.pictures.files, nstpipe.media.video.encode; "
        "assert (Image.MAX_IMAGE_PIXELS, dict(Image.OPEN)) == before[:2]; "
        "assert not [one for one in warnings.filters if one not in before[2] and one[2] is Image.DecompressionBombWarning]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

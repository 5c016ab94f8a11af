"""A TIFF with more than 8 bits a value keeps them, however it is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nstpipe.errors import ItemError
from nstpipe.media.pictures.files import picture_bits, picture_size, read_picture

from .making_tiff import write_tiff

RGB: NDArray[np.uint16] = np.random.default_rng(0).integers(0, 65536, (37, 45, 3), np.uint16)
GRAY, ALPHA = RGB[..., :1], RGB[..., 1:2]
SHARES = RGB / 65535

STORAGE: dict[str, dict[str, Any]] = {
    "strips": {"rows": 10},
    "tiles": {"tile": 16},
    "planes": {"apart": True, "rows": 10},
    "planes in tiles": {"apart": True, "tile": 16},
    "differences": {"predictor": 2, "rows": 10},
    "differences in planes": {"predictor": 2, "apart": True},
}


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True], ids=["classic", "BigTIFF"])
def test_sixteen_bits_are_read_however_they_are_stored(tmp_path: Path, big: bool, order: str, storage: str) -> None:
    path = write_tiff(tmp_path / "a.tif", RGB, 2, order=order, big=big, **STORAGE[storage])
    pixels, metadata = read_picture(path)
    assert np.array_equal(pixels, RGB)
    assert (picture_bits(path), picture_size(path), metadata.format, metadata.alpha) == (16, (45, 37), "TIFF", None)


GRAYS = np.repeat(GRAY, 3, axis=2)
INKS = np.concatenate([65535 - RGB, np.zeros_like(GRAY)], axis=2)
MEANINGS: dict[str, tuple[NDArray[Any], dict[str, Any], NDArray[np.uint16], int]] = {
    "gray": (GRAY, {"photometric": 1}, GRAYS, 0),
    "white is zero": (65535 - GRAY, {"photometric": 0}, GRAYS, 0),
    "gray with alpha": (np.concatenate([GRAY, ALPHA], axis=2), {"photometric": 1, "extra": (2,)}, GRAYS, 0),
    "colors with alpha": (np.concatenate([RGB, ALPHA], axis=2), {"photometric": 2, "extra": (2,)}, RGB, 0),
    "an infrared band": (np.concatenate([RGB, ALPHA], axis=2), {"photometric": 2, "extra": (0,)}, RGB, 0),
    "two bands and alpha": (np.concatenate([RGB, ALPHA[..., [0, 0]]], axis=2), {"photometric": 2, "extra": (0, 2)}, RGB, 0),
    "inks": (INKS, {"photometric": 5}, RGB, 0),
    "12 bits": (GRAY >> 4, {"photometric": 1, "bits": 12}, ((GRAYS >> 4) * (65535 / 4095)).round().astype(np.uint16), 0),
    "32 bits": (RGB.astype(np.uint32) * 65537, {"photometric": 2}, RGB, 0),
    "with a sign": ((RGB >> 1).astype(np.int16), {"photometric": 2}, RGB, 1),
    "below zero": (-(RGB >> 1).astype(np.int16), {"photometric": 2}, np.zeros_like(RGB), 0),
    "half": (SHARES.astype(np.float16), {"photometric": 2}, RGB, 32),
    "single": (SHARES.astype(np.float32), {"photometric": 2, "apart": True}, RGB, 0),
    "single, byte by byte": (SHARES.astype(np.float32), {"photometric": 2, "predictor": 3, "rows": 10}, RGB, 0),
    "double": (SHARES, {"photometric": 2, "order": ">"}, RGB, 0),
    "beyond white": (np.full((4, 4, 3), np.inf, np.float32), {"photometric": 2}, np.full((4, 4, 3), 65535, np.uint16), 0),
}


@pytest.mark.parametrize("meaning", MEANINGS)
def test_values_of_every_kind_are_read_as_they_are_meant(tmp_path: Path, meaning: str) -> None:
    values, settings, expected, tolerance = MEANINGS[meaning]
    pixels, metadata = read_picture(write_tiff(tmp_path / "a.tif", values, **settings))
    assert pixels.dtype == np.uint16
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance
    if "alpha" in meaning:
        assert metadata.alpha is not None
        assert np.array_equal(metadata.alpha, ALPHA[..., 0])
    else:
        assert metadata.alpha is None


def test_colors_that_are_multiplied_by_alpha_are_divided_again(tmp_path: Path) -> None:
    alpha = np.full((8, 8, 1), 32768, np.uint16)
    half = np.concatenate([np.full((8, 8, 3), 10_000, np.uint16), alpha], axis=2)
    pixels, _ = read_picture(write_tiff(tmp_path / "a.tif", half, 2, extra=(1,)))
    assert np.abs(pixels.astype(int) - 20_000).max() <= 1


def test_a_palette_has_sixteen_bits(tmp_path: Path) -> None:
    table = np.random.default_rng(1).integers(0, 65536, (3, 65536), np.uint16)
    indices = RGB[..., :1]
    path = write_tiff(tmp_path / "a.tif", indices, 3, tags={320: (3, tuple(table.ravel().tolist()))})
    assert np.array_equal(read_picture(path)[0], np.moveaxis(table[:, indices[..., 0]], 0, 2))


@pytest.mark.parametrize(("lightness", "level"), [(0, 0), (53.585, 128), (100, 255)])
def test_lab_is_converted(tmp_path: Path, lightness: float, level: int) -> None:
    """Middle gray in sRGB, 128, has 21.586% of white's light, which is L = 116 * 0.21586 ** (1/3) - 16 = 53.585."""
    values = np.zeros((8, 8, 3), np.uint16)
    values[..., 0] = round(lightness / 100 * 65535)
    pixels, _ = read_picture(write_tiff(tmp_path / "a.tif", values, 8))
    assert np.abs(pixels.astype(int) - level * 257).max() <= 40


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_bigtiff_keeps_its_tags(tmp_path: Path, order: str) -> None:
    path = write_tiff(tmp_path / "a.tif", RGB, 2, order=order, big=True, tags={42112: (3, (7, 8)), 42114: (4, (70_000,))})
    exif = Image.Exif()
    block = read_picture(path)[1].exif
    assert block is not None
    exif.load(block)
    assert dict(exif) == {42112: (7, 8), 42114: 70_000}


def test_what_pillow_cannot_open_keeps_its_turn_and_its_tags(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", SHARES.astype(np.float32), 2, tags={0x0112: (3, (6,)), 42112: (3, (7, 8))})
    pixels, metadata = read_picture(path)
    assert np.array_equal(pixels, np.rot90(RGB, -1))
    assert picture_size(path) == (37, 45)
    exif = Image.Exif()
    assert metadata.exif is not None
    exif.load(metadata.exif)
    assert dict(exif) == {42112: (7, 8)}


@pytest.mark.parametrize("cut", [40, 400, 4000, 9000])
def test_a_tiff_that_is_cut_off_is_a_failed_item(tmp_path: Path, cut: int) -> None:
    path = write_tiff(tmp_path / "a.tif", RGB, 2, rows=10)
    content = path.read_bytes()
    path.write_bytes(content[:cut] if cut < 4000 else content[:1000] + content[cut:])
    with pytest.raises(ItemError):
        read_picture(path)

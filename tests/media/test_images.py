"""A picture in memory is read as it is meant, whatever its mode."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

from nstpipe.media.pictures.images import pixels_of_image

GRAY: np.ndarray[tuple[int, int], np.dtype[np.uint8]] = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
WIDE = GRAY.astype(np.uint16) * 257

PLAIN = Image.fromarray(GRAY)
MODES: dict[str, Callable[[], Image.Image]] = {
    "L": lambda: PLAIN,
    "P": lambda: PLAIN.convert("P"),
    "RGBA": lambda: PLAIN.convert("RGBA"),
    "RGBa": lambda: PLAIN.convert("RGBA").convert("RGBa"),
    "La": lambda: PLAIN.convert("LA").convert("La"),
    "CMYK": lambda: PLAIN.convert("CMYK"),
    "I;16": lambda: Image.fromarray(WIDE),
    "I;16B": lambda: Image.frombytes("I;16B", (64, 48), WIDE.astype(">u2").tobytes()),
    "I of 8 bits": lambda: PLAIN.convert("I"),
    "I of 16 bits": lambda: Image.fromarray(WIDE.astype(np.int32)),
    "F up to 1": lambda: Image.fromarray(GRAY.astype(np.float32) / 255),
    "F up to 255": lambda: PLAIN.convert("F"),
    "F up to 65535": lambda: Image.fromarray(WIDE.astype(np.float32)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read_as_it_is_meant(mode: str) -> None:
    image = MODES[mode]()
    pixels, _ = pixels_of_image(image)
    assert image.mode == mode.split()[0]
    assert pixels.dtype == (np.uint16 if mode[0] in "IF" else np.uint8)
    assert np.array_equal(pixels, np.repeat((WIDE if mode[0] in "IF" else GRAY)[..., None], 3, axis=2))


def test_a_bitmap_is_black_and_white() -> None:
    pixels, alpha = pixels_of_image(Image.fromarray(GRAY > 127))
    assert np.array_equal(pixels[..., 0], np.where(GRAY > 127, 255, 0))
    assert alpha is None


def test_a_palette_with_a_transparent_color_is_transparent_there() -> None:
    image = Image.fromarray(np.eye(8, dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.info["transparency"] = 1
    pixels, alpha = pixels_of_image(image)
    assert alpha is not None
    assert np.array_equal(alpha, np.where(np.eye(8), 0, 255))
    assert tuple(pixels[0, 1]) == (10, 20, 30)


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_a_wide_picture_with_a_transparent_value_is_transparent_there(mode: str) -> None:
    image = Image.fromarray(WIDE.astype(np.int32 if mode == "I" else np.uint16))
    image.info["transparency"] = 257 * 4
    pixels, alpha = pixels_of_image(image)
    assert alpha is not None
    assert image.mode == mode
    assert np.array_equal(alpha, np.where(GRAY == 4, 0, 255))
    assert np.array_equal(pixels[..., 0], WIDE)


def test_a_profile_and_a_turn_are_applied() -> None:
    lab = Image.new("RGB", (8, 4), (128, 128, 128))
    exif = Image.Exif()
    exif[0x0112] = 6
    lab.info["exif"] = exif.tobytes()
    lab.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels, _ = pixels_of_image(lab)
    assert pixels.shape == (8, 4, 3)
    assert (pixels == 128).all()

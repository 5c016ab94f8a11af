"""Pixels of a picture that Pillow holds in memory, whatever its mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nstpipe.media.frame import Pixels
from nstpipe.media.pictures.color_spaces import told_color_space
from nstpipe.media.pictures.profiles import deep_in_srgb, in_srgb

_DEEP_LEVELS = 65535

_STRAIGHT = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
"""For modes that Pillow converts in two steps only, the first one."""


def pixels_of_image(image: Image.Image) -> tuple[Pixels, NDArray[np.uint8] | None]:
    """The pixels of a picture, upright and in sRGB, and its transparency.

    Pictures of 16 bits (``I;16``, ``I;16B`` and such) keep them. Values of the modes ``I`` and ``F`` have no fixed range:
    the smallest of 1 (``F`` alone), 255 and 65535 that holds the largest value is white.

    Args:
        image: The picture, of any mode. Its color profile and its EXIF orientation are used.

    Returns:
        height x width x 3, RGB; and height x width, 0 to 255, or None if nothing is transparent.
    """
    space = told_color_space(image, image.info.get("icc_profile"), Path(getattr(image, "filename", "")))
    image.load()
    upright = ImageOps.exif_transpose(image)
    icc = image.info.get("icc_profile") or None
    if upright.mode in _STRAIGHT:
        upright = upright.convert(_STRAIGHT[upright.mode])
    alpha = alpha_of(upright)
    if is_wide(upright):
        levels = np.repeat(wide_levels(upright)[..., None], 3, axis=2)
        return space.in_srgb(levels) if space is not None else deep_in_srgb(levels, icc)[0], alpha
    if space is not None:
        return space.in_srgb(np.asarray(without_alpha(upright).convert("RGB"))), alpha
    return np.asarray(in_srgb(without_alpha(upright), icc)[0]), alpha


def alpha_of(image: Image.Image) -> NDArray[np.uint8] | None:
    """The transparency of a picture in memory, height x width, 0 to 255; None if nothing is transparent."""
    if not image.has_transparency_data:
        return None
    if is_wide(image):  # of which Pillow makes no RGBA; one of its values is transparent
        return np.where(np.asarray(image) == image.info["transparency"], 0, 255).astype(np.uint8)
    return np.asarray(image.convert("RGBA").getchannel("A"))


def is_wide(image: Image.Image) -> bool:
    """Whether the values of a picture in memory have more than 8 bits."""
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def wide_levels(image: Image.Image) -> NDArray[np.uint16]:
    """The values of a picture with more than 8 bits, 0 to 65535; see `pixels_of_image`."""
    values: NDArray[Any] = np.asarray(image)
    if image.mode.startswith("I;16"):
        return values.astype(np.uint16)
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    largest = values.max(initial=0)
    whites = (1, 255, _DEEP_LEVELS) if image.mode == "F" else (255, _DEEP_LEVELS)
    white = next((white for white in whites if largest <= white), _DEEP_LEVELS)
    return (values.clip(0, white) * (_DEEP_LEVELS / white)).round().astype(np.uint16)


def without_alpha(image: Image.Image) -> Image.Image:
    """A picture of 8 bits in a mode that color profiles describe: gray, RGB or CMYK."""
    if image.mode in ("L", "CMYK"):
        return image
    if image.mode == "P" and image.has_transparency_data:
        image = image.convert("RGBA")  # without which Pillow warns
    return image.convert("L" if image.mode in ("LA", "1") else "RGB")

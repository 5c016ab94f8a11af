"""Converts pictures from their color profile to sRGB, in which engines work and results are written."""

from __future__ import annotations

import functools
import io
import itertools
import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

SAME_COLOUR_LEVELS = 1
"""A profile that changes no color of 8 bits by more than this is sRGB, whatever its name is."""

GRID_POINTS = 52
"""Points along each axis of a table: every fifth level of 8 bits. Profiles' own tables have up to 33 points."""

INK_GRID_POINTS = 18
"""Points along each axis of a table of four inks: every fifteenth level. Profiles' own tables of inks have up to 17 points."""

_SRGB_TO_D50 = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""From linear sRGB to XYZ under D50, by columns: sRGB's primaries (IEC 61966-2-1) adapted by Bradford's matrix."""

_D50 = np.array([0.9642, 1.0, 0.8249])
"""XYZ of white under D50."""

Floats = NDArray[np.float32]


@functools.cache
def srgb_profile() -> bytes:
    """A small sRGB profile for results."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def in_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """A picture of 8 bits converted to sRGB, and the profile that its result gets.

    Args:
        image: In gray, RGB or CMYK, without alpha.
        icc: Its profile; None if it has none.

    Returns:
        The picture in mode RGB; and its own profile if that is sRGB already, None if it had no usable profile, or else
        an sRGB profile.
    """
    if icc is None:
        return image.convert("RGB"), None
    try:
        if image.mode == "RGB" and _is_srgb(icc):
            return image, icc
        # The range of a printed picture is fitted into that of sRGB; the colors of a screen stay as they are.
        intent = ImageCms.Intent.PERCEPTUAL if image.mode == "CMYK" else ImageCms.Intent.RELATIVE_COLORIMETRIC
        moved = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile())),
            renderingIntent=intent,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image.convert("RGB"), None
    assert moved is not None
    return moved, srgb_profile()


@functools.lru_cache(maxsize=16)
def _is_srgb(icc: bytes) -> bool:
    steps = np.linspace(0, 255, 6).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(6, 36, 3)
    moved = ImageCms.profileToProfile(
        Image.fromarray(cube),
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile())),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    return int(np.abs(np.asarray(moved).astype(int) - cube).max()) <= SAME_COLOUR_LEVELS


def deep_in_srgb(pixels: NDArray[np.uint16], icc: bytes | None) -> tuple[NDArray[np.uint16], bytes | None]:
    """Pixels of 16 bits converted to sRGB, and the profile that their result gets; see `in_srgb`.

    A profile that consists of curves and primaries, as those of cameras and screens do, is computed exactly. Any other
    profile is a table: Pillow's ImageCms, which is limited to 8 bits, converts a grid of colors, and those between are
    interpolated. Such a color may be off by half a level of 8 bits, but different levels of 16 bits stay different.

    Args:
        pixels: height x width x 3, RGB; or height x width x 4, CMYK.
        icc: their profile.

    Returns:
        height x width x 3, RGB, and the profile.
    """
    if pixels.shape[2] == 4:
        moved, tag = _through_table(pixels, icc, "CMYK", INK_GRID_POINTS) if icc is not None else (None, None)
        if moved is not None:
            return moved, tag
        light = 65535 - pixels.astype(np.float32)
        return (light[..., :3] * (light[..., 3:] / 65535)).round().astype(np.uint16), None
    if icc is None:
        return pixels, None
    try:
        if icc[16:20] == b"RGB " and _is_srgb(icc):
            return pixels, icc
        shaped = _shaped_profile(icc)
    except (ImageCms.PyCMSError, OSError, ValueError, struct.error, LookupError):
        shaped = None
    if shaped is not None:
        return _converted(pixels, *shaped), srgb_profile()
    moved, tag = _through_table(pixels, icc, "RGB", GRID_POINTS)
    return (pixels, None) if moved is None else (moved, tag)


def _through_table(
    pixels: NDArray[np.uint16], icc: bytes, mode: str, points: int
) -> tuple[NDArray[np.uint16] | None, bytes | None]:
    """Colors converted by interpolation in a grid of colors that ImageCms has converted; None if it cannot."""
    axes = pixels.shape[2]
    levels = np.linspace(0, 255, points).astype(np.uint8)
    grid = np.stack(np.meshgrid(*[levels] * axes, indexing="ij"), axis=-1)
    moved, tag = in_srgb(Image.fromarray(grid.reshape(points, -1, axes), mode), icc)
    if tag is None:
        return None, None
    return _interpolated(pixels, np.asarray(moved).reshape(*[points] * axes, 3).astype(np.float32) * 257), tag


def _interpolated(pixels: NDArray[np.uint16], table: Floats) -> NDArray[np.uint16]:
    """Each color, interpolated linearly between the points of the grid around it: eight of three axes."""
    moved = np.empty((*pixels.shape[:2], 3), np.uint16)
    points, axes = table.shape[0], table.ndim - 1
    for row, line in enumerate(pixels):
        place = line.astype(np.float32) * np.float32((points - 1) / 65535)
        low = np.minimum(place.astype(np.intp), points - 2)
        share = place - low
        total = np.zeros((len(line), 3), np.float32)
        for corner in itertools.product((0, 1), repeat=axes):
            weight = np.where(corner, share, 1 - share).prod(axis=1, keepdims=True)
            total += weight * table[tuple((low + corner).T)]
        moved[row] = total.round().clip(0, 65535)
    return moved


def lab_in_srgb(lab: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Colors of CIELAB under D50 converted to sRGB.

    Args:
        lab: height x width x 3: L from 0 to 100, a and b.

    Returns:
        height x width x 3, 0 to 65535.
    """
    moved = np.empty(lab.shape, np.uint16)
    matrix = np.linalg.inv(_SRGB_TO_D50)
    for row, line in enumerate(lab.astype(np.float64)):
        y = (line[:, 0] + 16) / 116
        f = np.stack([y + line[:, 1] / 500, y, y - line[:, 2] / 200], axis=-1)
        xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _D50
        moved[row] = (encoded_srgb((xyz @ matrix.T).clip(0, 1)) * 65535).round()
    return moved


def _converted(pixels: NDArray[np.uint16], curves: list[Floats], matrix: NDArray[np.float64]) -> NDArray[np.uint16]:
    moved = np.empty_like(pixels)
    # Row by row, because a panorama in floating point would take gigabytes.
    for row, line in enumerate(pixels):
        linear = np.stack([curve[line[:, channel]] for channel, curve in enumerate(curves)], axis=-1)
        light = (linear @ matrix.T).clip(0, 1)
        moved[row] = (encoded_srgb(light) * 65535).round()
    return moved


def encoded_srgb(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light, 0 to 1, with the transfer function of sRGB (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _shaped_profile(icc: bytes) -> tuple[list[Floats], NDArray[np.float64]] | None:
    """The curves of R, G and B, for each of 65536 levels, and the matrix to linear sRGB; None if it has none."""
    (count,) = struct.unpack_from(">I", icc, 128)
    tags: dict[bytes, bytes] = {}
    for index in range(count):
        name, place, length = struct.unpack_from(">4sII", icc, 132 + 12 * index)
        tags[name] = icc[place : place + length]
    if icc[16:20] == b"GRAY" and b"kTRC" in tags and b"A2B0" not in tags:
        return [_curve(tags[b"kTRC"])] * 3, np.eye(3)
    wanted = [b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"]
    if icc[16:20] != b"RGB " or b"A2B0" in tags or not all(name in tags for name in wanted):
        return None
    columns = [np.array(struct.unpack_from(">3i", tags[name], 8)) / 65536 for name in wanted[:3]]
    return [_curve(tags[name]) for name in wanted[3:]], np.linalg.inv(_SRGB_TO_D50) @ np.stack(columns, axis=1)


def _curve(tag: bytes) -> Floats:
    levels = np.linspace(0, 1, 65536)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return levels.astype(np.float32)
        points = np.array(struct.unpack_from(f">{count}H", tag, 12))
        if count == 1:
            return np.asarray(levels ** (points[0] / 256), np.float32)
        return np.asarray(np.interp(levels, np.linspace(0, 1, count), points / 65535), np.float32)
    if tag[:4] != b"para":
        raise ValueError(f"a curve of the type {tag[:4]!r}")
    (kind,) = struct.unpack_from(">H", tag, 8)
    given = [value / 65536 for value in struct.unpack_from(f">{_PARAMETERS[kind]}i", tag, 12)]
    return np.asarray(_PARAMETRIC[kind](levels, *given), np.float32)


_PARAMETERS = (1, 3, 4, 5, 7)
"""How many numbers each kind of parametric curve has (ICC.1:2022, 10.18)."""

_PARAMETRIC: tuple[Callable[..., NDArray[np.float64]], ...] = (
    lambda x, g: x**g,
    lambda x, g, a, b: np.where(x >= -b / a, (a * x + b).clip(0) ** g, 0),
    lambda x, g, a, b, c: np.where(x >= -b / a, (a * x + b).clip(0) ** g + c, c),
    lambda x, g, a, b, c, d: np.where(x >= d, (a * x + b).clip(0) ** g, c * x),
    lambda x, g, a, b, c, d, e, f: np.where(x >= d, (a * x + b).clip(0) ** g + e, c * x + f),
)

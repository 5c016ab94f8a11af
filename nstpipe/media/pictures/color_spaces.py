"""Colors that a picture describes without a profile: cICP, gAMA and cHRM of PNG, nclx of AVIF and HEIC, and Adobe RGB by EXIF.

The numbers are those of ITU-T H.273. HDR (PQ and HLG) is brought to the range of a standard picture as in videos: white is
203 nits (ITU-R BT.2408), darker light stays as it is, and brighter light is compressed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from nstpipe.media.frame import Pixels
from nstpipe.media.pictures.iso_items import color_chunks
from nstpipe.media.pictures.pillow import PILLOW_ERRORS
from nstpipe.media.pictures.profiles import encoded_srgb

Floats = NDArray[np.float64]

WHITE_NITS = 203
"""The light of white in an HDR picture (ITU-R BT.2408)."""

_HDR_NITS = 1000
"""The brightest light of an HDR picture that does not say it."""

_PQ_NITS = 10_000
_KNEE = 0.3
"""Share of white from which on light is compressed, as by ffmpeg's ``tonemap=mobius``."""

_D65 = (0.3127, 0.3290)
_SRGB = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65)
"""Chromaticities, x and y each: red, green, blue and white."""

_PRIMARIES: dict[int, tuple[float, ...]] = {
    1: _SRGB,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, 0.310, 0.316),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}
_ADOBE_RGB = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65)
_ADOBE_GAMMA = 563 / 256

_PQ, _HLG = 16, 18
_AS_SRGB = (1, 6, 7, 11, 12, 13, 14, 15)
"""Transfer functions that are shown as that of sRGB is: those of video, and its own."""

_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
_SRGB_GAMMA, _GAMMA_TOLERANCE = 1 / 2.2, 0.01
_GAMUT_TOLERANCE = 0.003

_GAMMA_LIMITS = 0.1, 10
"""A gamma beyond these is a mistake: it would make almost every color black or white."""


def _of_srgb(values: Floats) -> Floats:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _of_pq(values: Floats) -> Floats:
    """Light in shares of white, by SMPTE ST 2084."""
    root = values ** (32 / 2523)
    light: Floats = (np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)
    return light * (_PQ_NITS / WHITE_NITS)


def _of_hlg(values: Floats) -> Floats:
    """Light of the scene, 0 to 1, by ITU-R BT.2100."""
    return np.where(values <= 0.5, values**2 / 3, (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12)


@dataclass(frozen=True)
class ColorSpace:
    """What the values of a picture mean.

    Attributes:
        chromaticities: x and y of red, green, blue and white.
        to_light: Turns values, 0 to 1, into light.
        brightest: The brightest light, in shares of white; 1 for a standard picture.
        is_scene: Whether the light is that of the scene, as in HLG.
        is_full_range: Whether black is 0 and white is the largest value.
        hdr: The kind of HDR, ``PQ`` or ``HLG``; empty for a standard picture.
    """

    chromaticities: tuple[float, ...]
    to_light: Callable[[Floats], Floats] = _of_srgb
    brightest: float = 1.0
    is_scene: bool = False
    is_full_range: bool = True
    hdr: str = ""

    @property
    def is_srgb(self) -> bool:
        """Whether this is sRGB within what nobody sees."""
        steps = np.linspace(0, 1, 6)
        same_light = np.abs(encoded_srgb(self.to_light(steps).clip(0, 1)) - steps).max() < _GAMMA_TOLERANCE
        same_colors = np.abs(np.array(self.chromaticities) - _SRGB).max() < _GAMUT_TOLERANCE
        return bool(same_light and same_colors and self.is_full_range and self.brightest == 1)

    def in_srgb(self, pixels: Pixels) -> Pixels:
        """Pixels, height x width x 3, of this meaning converted to sRGB, in their own type."""
        most = np.iinfo(pixels.dtype).max
        levels = np.arange(most + 1) / most
        if not self.is_full_range:
            levels = ((levels * 255 - 16) / 219).clip(0, 1)
        table = self.to_light(levels)
        matrix = np.linalg.inv(_to_xyz(_SRGB)) @ _adaptation(self.chromaticities[6:]) @ _to_xyz(self.chromaticities)
        luminance = _to_xyz(self.chromaticities)[1]
        moved = np.empty_like(pixels)
        # Row by row, because a panorama in floating point would take gigabytes.
        for row, line in enumerate(pixels):
            light = table[line]
            if self.is_scene:
                scene = (light @ luminance)[:, None]
                light = light * np.maximum(scene, 1e-6) ** 0.2 * (_HDR_NITS / WHITE_NITS)
            light = light @ matrix.T
            if self.brightest > 1:
                light = _compressed(light, self.brightest)
            moved[row] = (encoded_srgb(light.clip(0, 1)) * most).round()
        return moved


def _compressed(light: Floats, brightest: float) -> Floats:
    """Light with the brightest channel of each pixel brought to at most 1, and the same hue."""
    signal = np.maximum(light.max(axis=1, keepdims=True), 1e-6)
    a = -(_KNEE**2) * (brightest - 1) / (_KNEE**2 - 2 * _KNEE + brightest)
    b = (_KNEE**2 - 2 * _KNEE * brightest + brightest) / (brightest - 1)
    bent = (b**2 + 2 * b * _KNEE + _KNEE**2) / (b - a) * (signal + a) / (signal + b)
    return light * np.where(signal <= _KNEE, 1, bent / signal)


def _to_xyz(chromaticities: tuple[float, ...]) -> Floats:
    """From linear RGB to XYZ, for a white of luminance 1."""
    xy = np.array(chromaticities).reshape(4, 2)
    columns = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(axis=1)) / xy[:, 1]])
    matrix: Floats = columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
    return matrix


_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def _adaptation(white: tuple[float, ...]) -> Floats:
    """From XYZ under a white to XYZ under that of sRGB."""
    before, after = (_BRADFORD @ np.array([x / y, 1, (1 - x - y) / y]) for x, y in (white, _D65))
    matrix: Floats = np.linalg.inv(_BRADFORD) @ np.diag(after / before) @ _BRADFORD
    return matrix


def told_color_space(image: Image.Image, icc: bytes | None, path: Path) -> ColorSpace | None:
    """The meaning of a picture's values if it is told by something else than a profile; None if it is not, or is sRGB.

    Args:
        image: The picture as Pillow has opened it.
        icc: Its color profile.
        path: Its file.
    """
    if image.format == "PNG" and path.is_file():
        return png_color_space(path, has_profile=icc is not None)
    if image.format in _ISO_FORMATS:
        return iso_color_space(path) if icc is None and path.is_file() else None
    chunks = _chunks_in_memory(image)
    if chunks:
        return _told_by(chunks, has_profile=icc is not None)
    return adobe_rgb() if icc is None and image.mode == "RGB" and _is_adobe_rgb(image) else None


_ADOBE_RGB_IN_EXIF, _UNCALIBRATED = 2, 65535
"""Values of EXIF's color space."""


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF says Adobe RGB: as many cameras do by a number, or as DCF does by the interoperability ``R03``."""
    try:
        exif = image.getexif()
        color_space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
        if color_space == _ADOBE_RGB_IN_EXIF:
            return True
        index = exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex, "")
        return bool(color_space == _UNCALIBRATED and str(index).strip("\0 ") == "R03")
    except PILLOW_ERRORS:
        return False


def adobe_rgb() -> ColorSpace:
    """Adobe RGB (1998)."""
    return ColorSpace(_ADOBE_RGB, lambda values: values**_ADOBE_GAMMA)


def png_color_space(path: Path, *, has_profile: bool) -> ColorSpace | None:
    """The meaning of a PNG's values by its chunks; None if it is sRGB, unknown, or told by a profile.

    cICP stands above a profile, a profile above sRGB, and sRGB above gAMA and cHRM (PNG, third edition, 13.9).

    Args:
        path: The PNG.
        has_profile: Whether it has a color profile.
    """
    with path.open("rb") as file:
        return _told_by(_color_chunks(file), has_profile=has_profile)


def iso_color_space(path: Path) -> ColorSpace | None:
    """The meaning of the values of an AVIF or HEIC without a profile; None if it is sRGB or unknown."""
    try:
        return _told_by(color_chunks(path.read_bytes()), has_profile=False)
    except (struct.error, IndexError):
        return None  # its decoder decides whether it is damaged


_ISO_FORMATS = ("AVIF", "HEIF")


def _told_by(chunks: dict[bytes, bytes], *, has_profile: bool) -> ColorSpace | None:
    space: ColorSpace | None = None
    if len(chunks.get(b"cICP", b"")) == 4:
        space = _of_code_points(chunks)
        if space is not None:
            # With a profile, sRGB is told all the same: the profile is not to be used.
            return None if space.is_srgb and not has_profile else space
    if has_profile or b"sRGB" in chunks:
        return None
    to_light, chromaticities = _of_srgb, _SRGB
    if len(chunks.get(b"gAMA", b"")) == 4:
        (gamma,) = (value / 100_000 for value in struct.unpack(">I", chunks[b"gAMA"]))
        if _GAMMA_LIMITS[0] <= gamma <= _GAMMA_LIMITS[1] and abs(gamma - _SRGB_GAMMA) > _GAMMA_TOLERANCE:
            to_light = lambda values: values ** (1 / gamma)  # noqa: E731
    if len(chunks.get(b"cHRM", b"")) == 32:
        white_x, white_y, *rest = (value / 100_000 for value in struct.unpack(">8I", chunks[b"cHRM"]))
        if all(0 < value < 1 for value in (white_x, white_y, *rest)):
            chromaticities = (*rest, white_x, white_y)
    space = ColorSpace(chromaticities, to_light)
    try:
        return None if space.is_srgb or not np.isfinite(space.in_srgb(np.zeros((1, 1, 3), np.uint8))).all() else space
    except np.linalg.LinAlgError:
        return None  # chromaticities that span no colors


def _of_code_points(chunks: dict[bytes, bytes]) -> ColorSpace | None:
    """The meaning that a cICP chunk states; None if it is not known here."""
    primaries, transfer, matrix, full_range = chunks[b"cICP"]
    if primaries not in _PRIMARIES or matrix != 0:
        return None
    colors, is_full = _PRIMARIES[primaries], bool(full_range)
    if transfer in (_PQ, _HLG):
        brightest = max(_brightest_nits(chunks) if transfer == _PQ else _HDR_NITS, WHITE_NITS * 1.01) / WHITE_NITS
        if transfer == _PQ:
            return ColorSpace(colors, _of_pq, brightest, is_full_range=is_full, hdr="PQ")
        return ColorSpace(colors, _of_hlg, brightest, is_scene=True, is_full_range=is_full, hdr="HLG")
    if transfer in _GAMMAS:
        gamma = _GAMMAS[transfer]
        return ColorSpace(colors, lambda values: values**gamma, is_full_range=is_full)
    return ColorSpace(colors, is_full_range=is_full) if transfer in _AS_SRGB else None


def _brightest_nits(chunks: dict[bytes, bytes]) -> float:
    """The brightest light of an HDR picture: of its content (cLLI), or of the screen that it was made on (mDCV)."""
    content, screen = chunks.get(b"cLLI", b"") or chunks.get(b"cLLi", b""), chunks.get(b"mDCV", b"") or chunks.get(b"mDCv", b"")
    found = struct.unpack(">I", content[:4])[0] if len(content) == 8 else 0
    if not found and len(screen) == 24:
        found = struct.unpack(">I", screen[16:20])[0]
    return found / 10_000 if found else _HDR_NITS


_COLOR_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM", b"cLLI", b"cLLi", b"mDCV", b"mDCv")


def _color_chunks(file: IO[bytes]) -> dict[bytes, bytes]:
    """The chunks of a PNG that tell its colors; all of them stand before its pixels."""
    found: dict[bytes, bytes] = {}
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"IEND"):
            break
        if kind in _COLOR_CHUNKS and length <= 64:
            found[kind] = file.read(length)
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)
    return found


def _chunks_in_memory(image: Image.Image) -> dict[bytes, bytes]:
    """The same of a PNG that has no name, as far as Pillow knows them once its pixels are read or it is copied."""
    file = getattr(image, "fp", None)
    if image.format == "PNG" and file is not None:
        place = file.tell()
        found = _color_chunks(file)
        file.seek(place)
        return found
    info, found = image.info, {}
    if "srgb" in info:
        found[b"sRGB"] = bytes([info["srgb"]])
    if "gamma" in info:
        found[b"gAMA"] = struct.pack(">I", round(info["gamma"] * 100_000))
    if "chromaticity" in info:
        found[b"cHRM"] = struct.pack(">8I", *(round(value * 100_000) for value in info["chromaticity"]))
    return found

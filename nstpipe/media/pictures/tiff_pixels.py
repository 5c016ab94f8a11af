"""Decodes the pixels of a TIFF that Pillow cannot hold: more than 8 bits a value, floating point, or bands of their own.

Pillow's libtiff decompresses the bytes of the strips or tiles, whatever they mean. NumPy does the rest: byte order, predictor,
type of the values, planes, tiles and photometric interpretation (TIFF 6.0; TIFF Technical Note 3 for floating point).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nstpipe.media.pictures.tiff_tags import TagDirectory

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _ROWS_A_STRIP, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_COLOR_MAP, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES = 320, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 338, 339

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, INKS, CIELAB = 0, 1, 2, 3, 5, 8
"""Values of the photometric interpretation that are read here."""

_COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, INKS: 4, CIELAB: 3}
"""How many values of a pixel are its color."""

_UNSIGNED, _SIGNED, _FLOATING = 1, 2, 3
"""Values of the sample format."""

_ASSOCIATED_ALPHA, _ALPHA = 1, 2
"""Values of the extra samples: colors multiplied by alpha, and colors that are not."""

_NO_COMPRESSION, _JPEG_COMPRESSIONS = 1, (6, 7)
_HORIZONTAL, _FLOATING_POINT = 2, 3
"""Predictors."""

_MOST_SAMPLES = 64
"""More bands than this would take more memory than `max_megapixels` stands for."""

LARGEST = 65535


@dataclass(frozen=True, eq=False)
class TiffPixels:
    """The pixels of a TIFF as they are stored, not turned upright.

    Attributes:
        colors: height x width x channels: gray or RGB, 0 to 65535; CMYK, 0 to 65535; or L, a and b of CIELAB as numbers.
        photometric: `BLACK_IS_ZERO` for gray, `RGB`, `INKS` for CMYK, or `CIELAB`.
        alpha: height x width, 0 to 65535; None if there is none.
    """

    colors: NDArray[Any]
    photometric: int
    alpha: NDArray[np.uint16] | None


def can_decode(tags: TagDirectory) -> bool:
    """Whether `decoded` can read the pixels that a directory describes."""
    bits, kinds = set(tags.values(_BITS, (1,))), set(tags.values(_SAMPLE_FORMAT, (_UNSIGNED,)))
    photometric = tags.value(_PHOTOMETRIC, -1)
    if len(bits) != 1 or len(kinds) != 1 or photometric not in _COLORS or min(size_of(tags)) < 1:
        return False
    allowed = {_UNSIGNED: (*range(8, 17), 32), _SIGNED: (8, 16, 32), _FLOATING: (16, 32, 64)}.get(kinds.pop(), ())
    has_colors = _COLORS[photometric] <= tags.value(_SAMPLES, 1) <= _MOST_SAMPLES
    is_jpeg = tags.value(_COMPRESSION, _NO_COMPRESSION) in _JPEG_COMPRESSIONS
    return bool(bits.pop() in allowed and has_colors and not is_jpeg)


def is_deep(tags: TagDirectory) -> bool:
    """Whether the values have more than 8 bits."""
    return bool(max(tags.values(_BITS, (1,))) > 8)


def size_of(tags: TagDirectory) -> tuple[int, int]:
    """The width and the height in pixels, as stored."""
    return tags.value(_WIDTH), tags.value(_LENGTH)


def decoded(tags: TagDirectory) -> TiffPixels:
    """Decode the pixels that a directory describes; see `can_decode`.

    Unsigned numbers fill 16 bits. Negative numbers are black, as zero is. Floating-point values are clipped to 0 to 1. Values
    of a pixel that are neither its color nor its alpha, such as an infrared band, are left out.

    Raises:
        OSError: They are damaged.
    """
    try:
        stored = _samples(tags)
    except (struct.error, ValueError, IndexError) as error:
        raise OSError(f"its pixels are damaged ({error})") from error
    photometric = tags.value(_PHOTOMETRIC)
    count = _COLORS[photometric]
    bits = tags.value(_BITS, 1)
    colors, extra = stored[..., :count], tags.values(_EXTRA_SAMPLES)
    others = stored.shape[2] - count
    kinds = extra if extra else (_ALPHA,) * (others == 1)  # one more value without a word of it is alpha
    alpha: NDArray[np.uint16] | None = None
    for place, kind in enumerate(kinds[:others]):
        if kind in (_ASSOCIATED_ALPHA, _ALPHA):
            alpha = _in_sixteen_bits(stored[..., count + place], bits)
            break
    if photometric == CIELAB:
        return TiffPixels(_lab(colors, bits), CIELAB, alpha)
    if photometric == PALETTE:
        table = np.array(tags.values(_COLOR_MAP), np.uint16).reshape(3, -1)
        return TiffPixels(np.moveaxis(table[:, colors[..., 0].clip(0, table.shape[1] - 1)], 0, 2), RGB, alpha)
    levels = _in_sixteen_bits(colors, bits)
    if photometric == WHITE_IS_ZERO:
        levels = LARGEST - levels
    if alpha is not None and _ASSOCIATED_ALPHA in kinds:
        share = np.maximum(alpha, 1).astype(np.float32)[..., None] / LARGEST
        levels = (levels / share).round().clip(0, LARGEST).astype(np.uint16)
    return TiffPixels(levels, BLACK_IS_ZERO if photometric == WHITE_IS_ZERO else photometric, alpha)


def _in_sixteen_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    if np.issubdtype(values.dtype, np.floating):
        wide = values.astype(np.float64) if bits == 64 else values.astype(np.float32)
        levels: NDArray[np.uint16] = (np.nan_to_num(wide).clip(0, 1) * LARGEST).round().astype(np.uint16)
        return levels
    signed = np.issubdtype(values.dtype, np.signedinteger)
    most = 2 ** (bits - signed) - 1
    if most == LARGEST:
        return np.ascontiguousarray(values, np.uint16)
    scaled: NDArray[np.uint16] = (values.clip(0).astype(np.float64) * (LARGEST / most)).round().astype(np.uint16)
    return scaled


def _lab(colors: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """L from 0 to 100, and a and b with their signs."""
    if np.issubdtype(colors.dtype, np.floating):
        return colors.astype(np.float32)
    steps = 2 ** (bits - 8)
    signed = colors[..., 1:].astype(np.dtype(f"i{colors.itemsize}")) if bits in (8, 16) else colors[..., 1:]
    lightness = colors[..., :1].astype(np.float32) * np.float32(100 / (2**bits - 1))
    return np.concatenate([lightness, signed.astype(np.float32) / steps], axis=2)


def _samples(tags: TagDirectory) -> NDArray[Any]:
    """The values of all pixels, height x width x samples, as numbers of the file's own type."""
    width, height = size_of(tags)
    samples = tags.value(_SAMPLES, 1)
    apart = tags.value(_PLANAR, 1) == 2 and samples > 1
    planes, each = (samples, 1) if apart else (1, samples)
    tiled = _TILE_OFFSETS in tags.entries
    block_width = tags.value(_TILE_WIDTH) if tiled else width
    block_height = tags.value(_TILE_LENGTH) if tiled else min(tags.value(_ROWS_A_STRIP, height) or height, height)
    offsets = tags.values(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    lengths = tags.values(_TILE_BYTES if tiled else _STRIP_BYTES)
    across, down = -(-width // block_width), -(-height // block_height)
    if len(offsets) != across * down * planes or len(lengths) not in (0, len(offsets)):
        raise ValueError(f"{len(offsets)} strips or tiles, {across * down * planes} expected")
    bits, kind = tags.value(_BITS, 1), tags.value(_SAMPLE_FORMAT, _UNSIGNED)
    row_bytes = (block_width * each * bits + 7) // 8
    whole = np.empty((height, width, samples), _type_of(bits, kind).newbyteorder("="))
    for index, offset in enumerate(offsets):
        plane, place = divmod(index, across * down)
        top, left = place // across * block_height, place % across * block_width
        rows = block_height if tiled else min(block_height, height - top)
        length = lengths[index] if lengths else rows * row_bytes
        content = tags.content[offset : offset + length]
        block = _block(_decompressed(content, tags, row_bytes, rows), tags, (rows, block_width, each), bits, kind)
        shown = block[: height - top, : width - left]
        whole[top : top + rows, left : left + block_width, plane : plane + 1 if apart else None] = shown
    return whole


def _type_of(bits: int, kind: int) -> np.dtype[Any]:
    """The type of values that are stored with so many bits; packed ones are unpacked into 16."""
    letter = {_UNSIGNED: "u", _SIGNED: "i", _FLOATING: "f"}[kind]
    return np.dtype(f"{letter}{bits // 8}" if bits in (8, 16, 32, 64) else "u2")


def _decompressed(content: bytes, tags: TagDirectory, row_bytes: int, rows: int) -> NDArray[np.uint8]:
    """The bytes of a strip or tile, rows x bytes.

    Raises:
        OSError: They are damaged.
    """
    compression = tags.value(_COMPRESSION, _NO_COMPRESSION)
    if compression == _NO_COMPRESSION:
        return np.frombuffer(content, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    # For libtiff, the bytes are the pixels of a gray picture.
    entries: Sequence[tuple[int, int]] = (
        (_WIDTH, row_bytes),
        (_LENGTH, rows),
        (_BITS, 8),
        (_COMPRESSION, compression),
        (_PHOTOMETRIC, BLACK_IS_ZERO),
        (_STRIP_OFFSETS, 8),
        (_SAMPLES, 1),
        (_ROWS_A_STRIP, rows),
        (_STRIP_BYTES, len(content)),
    )
    content += b"\x00" * (len(content) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    carrier = struct.pack("<4sI", b"II*\x00", 8 + len(content)) + content + directory + bytes(4)
    with Image.open(io.BytesIO(carrier), formats=["TIFF"]) as image:
        return np.asarray(image)


def _block(found: NDArray[np.uint8], tags: TagDirectory, shape: tuple[int, int, int], bits: int, kind: int) -> NDArray[Any]:
    """The values of a strip or tile, rows x columns x samples, out of its bytes."""
    rows, columns, samples = shape
    predictor = tags.value(_PREDICTOR, 1)
    if bits not in (8, 16, 32, 64):
        packed = np.unpackbits(found, axis=1)[:, : columns * samples * bits].reshape(rows, columns, samples, bits)
        unpacked: NDArray[np.uint16] = (packed @ (1 << np.arange(bits - 1, -1, -1))).astype(np.uint16)
        return unpacked
    of_file = _type_of(bits, kind).newbyteorder(tags.order)  # type: ignore[arg-type]
    if predictor == _FLOATING_POINT:
        # Differences of bytes, the highest bytes of all values first.
        summed = np.add.accumulate(found.reshape(rows, -1, samples), axis=1, dtype=np.uint8)
        ordered = summed.reshape(rows, bits // 8, columns * samples).swapaxes(1, 2)
        return np.ascontiguousarray(ordered).view(f">f{bits // 8}").reshape(shape)
    values = np.ascontiguousarray(found).view(of_file).reshape(shape)
    if predictor == _HORIZONTAL and kind != _FLOATING:
        own = values.astype(of_file.newbyteorder("="))
        return np.add.accumulate(own, axis=1, dtype=own.dtype)
    return values

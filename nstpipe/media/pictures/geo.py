"""The tags that tie the pixels of a TIFF to the ground: GeoTIFF 1.1, and the rational polynomials of satellites (RPC)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nstpipe.media.pictures.pixel_map import PixelMap
from nstpipe.media.pictures.tiff import DOUBLE, SHORT, Directory

_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _INTERGRAPH_MATRIX = 33550, 33922, 34264, 33920
_KEYS, _POLYNOMIALS = 34735, 50844
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
_KEY_VALUES = 4
"""The numbers of one key: its own, where its value is, how many there are, and the value or its place."""

_MATRIX_VALUES, _POLYNOMIAL_VALUES, _TERMS = 16, 92, 20


def move_ground(block: bytearray, first: Directory, pixel_map: PixelMap) -> Directory:
    """Let the result's pixels lie on the ground where the original's pixels did.

    Tie points move with the pixels, and a pixel covers more ground if there are fewer of them. A picture that is turned
    gets a transformation in place of its pixel scale, which has no directions.

    Args:
        block: The bytes.
        first: The directory of the tags.
        pixel_map: Where the pixels are now.

    Returns:
        The directory as it is now.

    Raises:
        struct.error: The tags are damaged.
    """
    if pixel_map.is_identity:
        return first
    is_point = _is_point(block, first)
    place = pixel_map.pixel if is_point else pixel_map.place
    if _TIE_POINTS in first.entries:
        ties = np.array(first.numbers(block, _TIE_POINTS)).reshape(-1, 6)
        if _PIXEL_SCALE in first.entries:
            scales = first.numbers(block, _PIXEL_SCALE)
            if pixel_map.is_turned:
                matrix = _moved(_matrix_of(scales, ties[0]), pixel_map, is_point=is_point)
                first = first.without(block, _PIXEL_SCALE).rename(block, _TIE_POINTS, _TRANSFORMATION)
                first.put_numbers(block, _TRANSFORMATION, matrix.ravel().tolist(), DOUBLE)
                return first
            factors = pixel_map.extent(1, 1)
            ground = [scale / factor for scale, factor in zip(scales, factors, strict=False)]
            first.put_numbers(block, _PIXEL_SCALE, [*ground, *scales[2:]])
        for tie in ties:
            tie[:2] = place(*tie[:2])
        first.put_numbers(block, _TIE_POINTS, ties.ravel().tolist())
    for tag in (_TRANSFORMATION, _INTERGRAPH_MATRIX):
        if tag in first.entries:
            values = first.numbers(block, tag)
            matrix = np.array(values[:_MATRIX_VALUES]).reshape(4, 4)
            moved = _moved(matrix, pixel_map, is_point=is_point)
            first.put_numbers(block, tag, [*moved.ravel().tolist(), *values[_MATRIX_VALUES:]])
    if _POLYNOMIALS in first.entries:
        values = first.numbers(block, _POLYNOMIALS)
        if len(values) == _POLYNOMIAL_VALUES:
            first.put_numbers(block, _POLYNOMIALS, moved_polynomials(values, pixel_map))
    return first


def _is_point(block: bytearray, first: Directory) -> bool:
    """Whether places count from the center of the first pixel (the key GTRasterType) and not from its corner."""
    if _KEYS not in first.entries or first.kind(block, _KEYS) != SHORT:
        return False
    keys = first.numbers(block, _KEYS)
    return any(
        keys[place] == _RASTER_TYPE and keys[place + 3] == _PIXEL_IS_POINT
        for place in range(_KEY_VALUES, len(keys) - 3, _KEY_VALUES)
    )


def _matrix_of(scales: Sequence[float], tie: NDArray[np.float64]) -> NDArray[np.float64]:
    """The transformation of a pixel scale and a tie point (GeoTIFF 1.1, annex B.6)."""
    matrix = np.eye(4)
    for axis, sign in enumerate((1, -1, 1)):
        scale = sign * (scales[axis] if axis < len(scales) else 0)
        matrix[axis, axis] = scale
        matrix[axis, 3] = tie[3 + axis] - scale * tie[axis]
    return matrix


def _moved(matrix: NDArray[np.float64], pixel_map: PixelMap, *, is_point: bool) -> NDArray[np.float64]:
    """A transformation from the original's places to the ground, from the result's places."""
    place = pixel_map.pixel if is_point else pixel_map.place
    origin, right, down = (np.array(place(*corner)) for corner in ((0, 0), (1, 0), (0, 1)))
    moves = np.eye(4)
    moves[:2, 0], moves[:2, 1], moves[:2, 3] = right - origin, down - origin, origin
    moved: NDArray[np.float64] = matrix @ np.linalg.inv(moves)
    return moved


def moved_polynomials(values: Sequence[float], pixel_map: PixelMap) -> list[float]:
    """Rational polynomials of the result's pixels.

    Args:
        values: Two errors; offsets of line, sample, latitude, longitude and height; their scales; and the terms of the
            numerator and the denominator of line and sample (RPC00B). Lines and samples count from the center of the first
            pixel.
        pixel_map: Where the pixels are now.
    """
    errors, offsets, scales = list(values[:2]), list(values[2:7]), list(values[7:12])
    terms = [list(values[begin : begin + _TERMS]) for begin in range(12, _POLYNOMIAL_VALUES, _TERMS)]
    sample, line = pixel_map.pixel(offsets[1], offsets[0])
    samples, lines = pixel_map.extent(scales[1], scales[0])
    if pixel_map.swaps_sides:
        terms = [*terms[2:], *terms[:2]]
    # Where the result counts against the original's direction, the numerator has the other sign.
    right, down = pixel_map.offset(1, 0), pixel_map.offset(0, 1)
    if down[1] + right[1] < 0:
        terms[0] = [-term for term in terms[0]]
    if right[0] + down[0] < 0:
        terms[2] = [-term for term in terms[2]]
    return [*errors, line, sample, *offsets[2:], lines, samples, *scales[2:], *(term for part in terms for term in part)]

"""Sizes in which frames are stylized, and resizing to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nstpipe.media.frame import resized, working_size

from .making import PALETTE


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((1920, 1080), 512, (512, 288)),
        ((1080, 1920), 512, (288, 512)),
        ((4000, 4000), 300, (300, 300)),
        ((100, 75), 200, (200, 150)),
        ((641, 479), "native", (641, 479)),
        ((3000, 1000), 100, (100, 33)),
        ((10_000, 10), 100, (100, 1)),
    ],
)
def test_the_longest_side_is_as_asked(size: tuple[int, int], longest: int | str, expected: tuple[int, int]) -> None:
    assert working_size(size, longest) == expected


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((1920, 1080), 512, (512, 288)),
        ((100, 75), 50, (50, 38)),
        ((3000, 1000), 100, (100, 34)),
        ((640, 481), "native", (640, 480)),
        ((640, 483), "native", (640, 484)),
        ((10_000, 10), 100, (100, 2)),
        ((1, 1), "native", (2, 2)),
    ],
)
def test_both_sides_are_even_where_asked(size: tuple[int, int], longest: int | str, expected: tuple[int, int]) -> None:
    assert working_size(size, longest, even=True) == expected


SIDES = st.integers(1, 20_000)


@given(SIDES, SIDES, st.integers(32, 16_384))
def test_no_side_is_off_by_more_than_the_rounding(width: int, height: int, longest: int) -> None:
    for even in (False, True):
        found = working_size((width, height), longest, even=even)
        step = 2 if even else 1
        for side, original in zip(found, (width, height), strict=True):
            exact = original * longest / max(width, height)
            assert side >= step
            assert side % step == 0
            assert abs(side - exact) <= step / 2 + 1e-9 or exact < step


@given(SIDES, SIDES)
def test_native_is_the_own_size(width: int, height: int) -> None:
    assert working_size((width, height), "native") == (width, height)


SIZES = [(64, 48), (32, 24), (128, 96), (33, 17), (128, 24), (1, 1)]
FLOAT_ROUNDING = 1e-5
"""The mean of up to 3072 equal float32 numbers: the rounding of their sum, a hundredth of an 8-bit picture's step."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("color", [PALETTE[0], (0, 0, 0), (255, 255, 255)])
def test_a_flat_color_stays_flat(size: tuple[int, int], color: tuple[int, int, int]) -> None:
    flat = np.full((48, 64, 3), color, np.uint8)
    found = resized(flat, size)
    assert found.shape == (size[1], size[0], 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.broadcast_to(np.array(color, np.uint8), found.shape))
    as_float = resized(flat.astype(np.float32) / 255, size)
    assert as_float.dtype == np.float32
    assert np.abs(as_float - np.array(color, np.float32) / 255).max() <= FLOAT_ROUNDING


@pytest.mark.parametrize("size", SIZES)
def test_one_channel_stays_one(size: tuple[int, int]) -> None:
    assert resized(np.full((48, 64), 77, np.uint8), size).shape == (size[1], size[0])


def test_the_same_size_is_left_alone() -> None:
    pixels = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    assert np.array_equal(resized(pixels, (64, 48)), pixels)


def test_halving_takes_the_mean() -> None:
    fine = np.zeros((48, 64, 3), np.float32)
    fine[:, ::2] = 1
    assert np.allclose(resized(fine, (32, 24)), 0.5, atol=FLOAT_ROUNDING)


def test_read_only_pixels_can_be_resized() -> None:
    pixels = np.frombuffer(bytes(48 * 64 * 3), np.uint8).reshape(48, 64, 3)
    assert resized(pixels, (32, 24)).shape == (24, 32, 3)

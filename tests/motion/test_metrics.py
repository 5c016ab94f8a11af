"""Figures of sequences whose figures are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.scenes import slide
from nstpipe.media.frame import Pixels, resized
from nstpipe.motion.metrics import Coherence, coherence, tone, warping_error
from nstpipe.motion.motion import Motion, motion_between


def still(_before: int, _now: int, _one: Pixels, _other: Pixels, size: tuple[int, int]) -> Motion:
    width, height = size
    return Motion(np.zeros((height, width, 2), np.float32), np.ones((height, width), np.float32))


def found(_before: int, _now: int, one: Pixels, other: Pixels, size: tuple[int, int]) -> Motion:
    return motion_between(one, other, size=size)


def gray(level: int, size: tuple[int, int] = (60, 40)) -> Pixels:
    return np.full((size[1], size[0], 3), level, np.uint8)


def measured(originals: Sequence[Pixels], stylized: Sequence[Pixels], *lags: int) -> Coherence:
    return coherence(zip(originals, stylized, strict=True), lags, found)


def test_the_original_against_itself_is_as_steady_as_itself(street: Pixels) -> None:
    frames = slide(street, (160, 100), 4, (3, 1), (60, 60)).frames
    for one in measured(frames, frames, 1, 2).ranges:
        assert one.ratio == 1
        assert one.pairs == 4 - one.lag


def test_flicker_of_ten_levels_is_ten_levels_squared(street: Pixels) -> None:
    originals = [street[:100, :160]] * 5
    flickering = [gray(level, (160, 100)) for level in (100, 110, 100, 110, 100)]
    short, long = measured(originals, flickering, 1, 2).ranges
    assert short.stylized == pytest.approx((10 / 255) ** 2, rel=1e-4)
    # Every second frame is the same again.
    assert long.stylized == pytest.approx(0, abs=1e-12)
    assert short.coverage > 0.99
    # A still original has no warping error to divide by.
    assert short.ratio is None or short.original < 1e-6


def test_what_is_not_reliable_does_not_count() -> None:
    before, now = gray(50), gray(50)
    now[:, 30:] = 200
    motion = still(0, 1, before, now, (60, 40))
    motion.reliability[:, 30:] = 0
    assert warping_error(before, now, motion) == 0
    motion.reliability[:, 30:45] = 1
    # 15 of 45 columns differ by 150 levels.
    assert warping_error(before, now, motion) == pytest.approx((150 / 255) ** 2 / 3, rel=1e-5)
    motion.reliability[:] = 0
    assert warping_error(before, now, motion) == 0


def test_texture_that_sticks_to_the_screen_is_told_from_texture_that_moves_along(street: Pixels) -> None:
    scene = slide(street, (160, 100), 3, (4, 0), (60, 60))
    originals = scene.frames
    moves = [255 - frame for frame in originals]
    sticks = [originals[0]] * 3
    exact = coherence(zip(originals, moves, strict=True), (1,), lambda before, now, *_: scene.motion(before, now))
    assert exact.ranges[0].stylized == pytest.approx(exact.ranges[0].original, rel=1e-5)
    # Whole pixels: nothing is lost by sampling.
    assert exact.ranges[0].original == pytest.approx(0, abs=1e-9)
    assert measured(originals, sticks, 1).ranges[0].stylized > 0.001
    assert measured(originals, moves, 1).ranges[0].ratio == pytest.approx(1, rel=1e-3)


def test_cuts_are_left_out(street: Pixels, station: Pixels) -> None:
    originals = [street[:100, :160]] * 3 + [station[:100, :160]] * 3
    both = [gray(10, (160, 100))] * 3 + [gray(200, (160, 100))] * 3
    one = measured(originals, both, 1).ranges[0]
    assert (one.pairs, one.pairs_left_out) == (4, 1)
    assert one.stylized == pytest.approx(0, abs=1e-12)


def test_pairs_count_by_how_much_can_be_seen_of_them() -> None:
    def half_then_whole(_before: int, now: int, one: Pixels, other: Pixels, size: tuple[int, int]) -> Motion:
        motion = still(0, 1, one, other, size)
        if now == 1:
            motion.reliability[:, 30:] = 0
        return motion

    frames = [gray(0), gray(30), gray(30)]
    one = coherence(zip(frames, frames, strict=True), (1,), half_then_whole).ranges[0]
    # 30 levels over half a frame, none over a whole one: a third of what was seen.
    assert one.original == pytest.approx((30 / 255) ** 2 / 3, rel=1e-5)
    assert one.coverage == pytest.approx(0.75)


def test_an_original_is_compared_at_its_results_size_and_its_motion_found_in_all_its_detail(street: Pixels) -> None:
    originals = slide(street, (160, 100), 2, (4, 0), (60, 60)).frames
    seen: list[tuple[tuple[int, ...], tuple[int, int]]] = []

    def watched(before: int, now: int, one: Pixels, other: Pixels, size: tuple[int, int]) -> Motion:
        seen.append((one.shape, size))
        return found(before, now, one, other, size)

    results = [resized(frame, (80, 50)) for frame in originals]
    measured_small = coherence(zip(originals, results, strict=True), (1,), watched)
    assert seen == [((100, 160, 3), (80, 50))]
    assert measured_small.ranges[0].ratio == 1
    assert measured_small.originals[0].luminance == measured_small.stylized[0].luminance


def test_a_change_of_size_begins_anew() -> None:
    frames = [gray(0), gray(0), gray(0, (80, 40)), gray(0, (80, 40))]
    assert [error.frame_index for error in coherence(zip(frames, frames, strict=True), (1,), still).errors] == [1, 3]


def test_luminance_and_detail_by_hand() -> None:
    pixels = gray(0)
    pixels[:] = (10, 20, 30)
    flat = tone(7, pixels)
    assert flat.frame_index == 7
    assert flat.luminance == pytest.approx(0.2126 * 10 + 0.7152 * 20 + 0.0722 * 30, rel=1e-5)
    assert flat.detail == pytest.approx(0, abs=1e-6)
    y, x = np.mgrid[:40, :60]
    checkers = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    # Each pixel differs from its four neighbors by 255, up or down.
    assert tone(0, checkers).detail == pytest.approx((4 * 255) ** 2, rel=1e-4)

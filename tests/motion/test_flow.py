"""Flow and its reliability, on movements that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstpipe.media.frame import Pixels, resized
from nstpipe.motion.flow.method import Floats, flow_size, for_flow
from nstpipe.motion.motion import motion_between
from nstpipe.motion.reliability import came_from_inside, reliability, resemblance
from nstpipe.motion.warp import warp

BORDER = 12
"""Pixels at the edge that a test leaves out: what comes from beyond it is not known."""

END_POINT_ERROR = 0.2
"""Pixels, on average: dense inverse search is accurate to a fraction of a pixel where there is texture."""


@pytest.fixture(scope="module")
def street(samples: Path) -> Pixels:
    with Image.open(samples / "streetview" / "street_06.jpg") as image:
        return np.asarray(image.convert("RGB"))


def window(picture: Pixels, left: int, top: int, width: int = 320, height: int = 200) -> Pixels:
    """A camera's view of a still picture."""
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def constant(height: int, width: int, right: float, down: float) -> Floats:
    flow = np.empty((height, width, 2), np.float32)
    flow[:] = right, down
    return flow


def middle(values: Floats) -> Floats:
    return values[BORDER:-BORDER, BORDER:-BORDER]


def test_no_flow_moves_nothing() -> None:
    picture = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    assert np.array_equal(warp(picture, constant(20, 30, 0, 0)), picture)


@pytest.mark.parametrize(("right", "down"), [(2, 0), (-2, 0), (0, 2), (0, -2)])
def test_what_came_from_beyond_the_edge_was_not_in_the_frame(right: int, down: int) -> None:
    wanted = np.ones((6, 8), np.float32)
    beyond = {(2, 0): np.s_[:, -2:], (-2, 0): np.s_[:, :2], (0, 2): np.s_[-2:], (0, -2): np.s_[:2]}
    wanted[beyond[right, down]] = 0
    assert np.array_equal(came_from_inside(constant(6, 8, right, down)), wanted)


def test_the_frame_ends_where_its_last_pixels_do() -> None:
    assert (came_from_inside(constant(6, 8, 0.5, -0.5)) == 1).all()
    assert came_from_inside(constant(6, 8, 0.75, 0))[0, -1] == pytest.approx(0.5)


def test_whole_pixels_move_exactly() -> None:
    picture = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    # What is at x now was at x + 3, y + 2 before.
    moved = warp(picture, constant(20, 30, 3, 2))
    assert np.array_equal(moved[:-2, :-3], picture[2:, 3:])
    assert np.array_equal(moved[-1, -1], picture[-1, -1])


def test_warping_stays_within_the_pictures_range() -> None:
    picture = np.random.default_rng(0).integers(0, 2, (20, 30, 3)).astype(np.float32)
    moved = warp(picture, constant(20, 30, 0.5, 0.5))
    assert 0 <= moved.min() <= moved.max() <= 1


def test_a_slide_is_found_to_a_fraction_of_a_pixel(street: Pixels) -> None:
    # The ground: in a cloudy sky both directions may agree on the same wrong flow.
    motion = motion_between(window(street, 200, 400), window(street, 205, 397))
    # The camera went 5 right and 3 up, so things were 5 further right and 3 further up before.
    apart = np.hypot(motion.backward[:, :, 0] - 5, motion.backward[:, :, 1] + 3)
    assert np.median(middle(apart)) < END_POINT_ERROR
    trusted = middle(motion.reliability) > 0.5
    assert trusted.mean() > 0.8
    assert middle(apart)[trusted].mean() < END_POINT_ERROR


def test_as_much_of_a_picture_is_looked_at_as_it_has_up_to_twice_the_motions_size() -> None:
    def shape(width: int, height: int) -> tuple[int, ...]:
        return for_flow(np.zeros((height, width, 3), np.uint16), (100, 60)).shape

    assert shape(400, 240) == (120, 200, 3)
    assert shape(200, 120) == (120, 200, 3)
    assert shape(150, 90) == (90, 150, 3)
    assert shape(50, 30) == (60, 100, 3)
    # Flow between larger pictures would take gigabytes.
    assert flow_size((1600, 900)) == (2048, 1152)
    assert flow_size((3000, 2000)) == (3000, 2000)


def test_pictures_of_different_detail_are_compared_as_well(street: Pixels) -> None:
    one, other = window(street, 200, 400), window(street, 205, 397)
    motion = motion_between(resized(one, (240, 150)), other, size=(160, 100))
    assert motion.backward.shape == (100, 160, 2)
    # The window is seen half as large, and so is its movement.
    assert np.median(motion.backward[BORDER:-BORDER, BORDER:-BORDER], axis=(0, 1)) == pytest.approx(
        [2.5, -1.5], abs=END_POINT_ERROR
    )


def test_what_comes_into_view_is_not_trusted(street: Pixels) -> None:
    motion = motion_between(window(street, 100, 300), window(street, 120, 300))
    assert motion.reliability[:, -18:].mean() < 0.2


def test_an_uncovered_area_is_not_trusted_and_the_rest_is(street: Pixels) -> None:
    background = window(street, 100, 300)
    before, now = background.copy(), background.copy()
    with_texture = street[100:160, 400:460]
    before[70:130, 60:120] = with_texture
    now[70:130, 80:140] = with_texture
    motion = motion_between(before, now)
    uncovered = motion.reliability[75:125, 64:76]
    assert uncovered.mean() < 0.3
    assert motion.reliability[BORDER:60, BORDER:-BORDER].mean() > 0.95


def test_the_same_frame_twice_is_reliable_everywhere(street: Pixels) -> None:
    frame = window(street, 50, 250)
    motion = motion_between(frame, frame)
    assert np.abs(motion.backward).max() < END_POINT_ERROR
    assert motion.reliability.min() > 0.99


def test_reliability_by_hand() -> None:
    right, left = constant(40, 60, 2, 0), constant(40, 60, -2, 0)
    there_and_back = reliability(right, left)
    assert there_and_back[20, 30] == 1
    # x + 2 leaves the frame in its last two columns; the blur reaches two pixels further.
    assert there_and_back[20, -1] < 0.1
    # |w + v|² is 16 where 0.01 · (4 + 4) + 0.5 is allowed.
    assert reliability(right, right)[20, 30] == 0


def test_resemblance_is_one_for_the_same_and_nothing_for_the_opposite(street: Pixels) -> None:
    frame = window(street, 50, 250)
    assert resemblance(frame, frame).min() == 1
    assert resemblance(frame, 255 - frame).mean() < 0.2


def test_resemblance_is_local(street: Pixels) -> None:
    frame = window(street, 50, 250)
    changed = frame.copy()
    changed[100:140, 200:260] = 255 - resized(frame[100:140, 200:260], (60, 40))
    alike = resemblance(frame, changed)
    assert alike[:80].min() == pytest.approx(1)
    assert alike[110:130, 215:245].mean() < 0.3

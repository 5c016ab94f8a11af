"""Optical flow and its reliability against scenes whose motion and occlusion are known exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.scenes import Scene, passing, rotation, slide, zoom
from nstpipe.media.frame import Pixels, resized
from nstpipe.motion.flow.dis import dis_flow
from nstpipe.motion.flow.farneback import farneback_flow
from nstpipe.motion.flow.method import Floats
from nstpipe.motion.metrics import warping_error
from nstpipe.motion.motion import Motion, motion_between
from nstpipe.motion.warp import warp

SIZE = (240, 160)

RESAMPLED = 0.0003
"""Mean squared difference (of 1) between a frame and one that was sampled twice from the same picture."""

SCENES: dict[str, Callable[[Pixels, Pixels], Scene]] = {
    "slide": lambda street, _: slide(street, SIZE, 2, (4.5, -2.25), (100, 60)),
    "zoom": lambda street, _: zoom(street, SIZE, 2, 1.03, (120, 55)),
    "rotation": lambda street, _: rotation(street, SIZE, 2, 1.5, (120, 55)),
    "passing": lambda street, station: passing(
        street[40:220], station[60:140, 100:180], SIZE, 2, camera_step=2, step=9, start=(60, 40)
    ),
}


@pytest.fixture(params=list(SCENES))
def scene(request: pytest.FixtureRequest, street: Pixels, station: Pixels) -> Scene:
    return SCENES[request.param](street, station)


def apart(found: Motion, exact: Motion) -> Floats:
    """End-point errors, in pixels."""
    difference: Floats = np.hypot(*(found.backward - exact.backward).transpose(2, 0, 1))
    return difference


def test_a_slide_is_the_same_everywhere(street: Pixels) -> None:
    motion = slide(street, SIZE, 3, (3, -2), (100, 60)).motion(0, 2)
    assert np.array_equal(motion.backward, np.broadcast_to(np.float32([6, -4]), (160, 240, 2)))
    # The camera went 6 right and 4 up: 6 columns on the right and 4 rows at the top were not there before.
    seen = np.zeros((160, 240), np.float32)
    seen[4:, :-6] = 1
    assert np.array_equal(motion.reliability, seen)


def test_a_zoom_leaves_the_middle_and_a_turn_too(street: Pixels) -> None:
    # 240 x 160 has its center between four pixels.
    for moving in (zoom(street, SIZE, 2, 1.1, (120, 55)), rotation(street, SIZE, 2, 5, (120, 55))):
        backward = moving.motion(0, 1).backward
        assert np.abs(backward[79:81, 119:121]).max() < 0.1
        assert np.hypot(*backward[0, 0]) > 5


def test_what_passed_by_uncovers_a_crescent(street: Pixels, station: Pixels) -> None:
    scene = SCENES["passing"](street, station)
    motion = scene.motion(0, 1)
    # The ellipse is 80 wide, its middle at 100 in the first frame and at 109 in the second.
    assert motion.reliability[80, 61:68].max() == 0
    assert motion.reliability[80, 70:147].min() == 1
    assert motion.reliability[80, 30:58].min() == 1
    assert tuple(motion.backward[80, 109]) == (-9, 0)
    assert tuple(motion.backward[80, 20]) == (2, 0)


def test_the_exact_motion_brings_the_frame_before_to_the_frame(scene: Scene) -> None:
    before, now = scene.frames
    assert warping_error(before, now, scene.motion(0, 1)) < RESAMPLED
    assert warping_error(before, now, Motion(np.zeros((160, 240, 2), np.float32), np.ones((160, 240), np.float32))) > (
        10 * RESAMPLED
    )


def test_frames_with_more_detail_show_the_same_scene(street: Pixels, station: Pixels) -> None:
    larger, smaller = (
        passing(street, station[60:140, 100:180], (120, 80), 2, camera_step=3, step=8, start=(30, 20), detail=detail)
        for detail in (2, 1)
    )
    assert larger.frames[0].shape == (160, 240, 3)
    one, other = larger.motion(0, 1), smaller.motion(0, 1)
    # The ellipse is half as large in the motion of the first one; the road and its motion are the same.
    assert tuple(one.backward[40, 10]) == tuple(other.backward[40, 10]) == (3, 0)
    assert tuple(one.backward[40, 58]) == (-8, 0)
    # A pixel that is half ellipse, half road has no motion of its own.
    row = one.reliability[40]
    assert row[42:78].min() == 1
    before = Scene(larger.size, larger.layers, detail=1)  # the same, looked at in the pixels' middles only
    assert before.motion(0, 1).reliability.sum() > one.reliability.sum()


@pytest.mark.parametrize("times_smaller", [2, 4], ids=["in its detail", "without more detail"])
def test_a_motion_much_smaller_than_a_pixel_is_not_taken_for_less(street: Pixels, times_smaller: int) -> None:
    # Search that is too fine takes a fourth off such a motion, and ten frames of it are half a pixel.
    moving = slide(street, (96, 60), 2, (0.2, 0), (2, 2), detail=4)
    before, now = (resized(frame, (384 // times_smaller, 240 // times_smaller)) for frame in moving.frames)
    found = motion_between(before, now, size=moving.size).backward[8:-8, 8:-8, 0]
    assert found.mean() == pytest.approx(0.2, rel=0.1)
    assert found.std() < 0.05


def test_flow_is_exact_to_a_fraction_of_a_pixel_where_it_is_trusted(scene: Scene) -> None:
    before, now = scene.frames
    found, exact = motion_between(before, now), scene.motion(0, 1)
    trusted, seen = found.reliability > 0.5, exact.reliability > 0.5
    assert apart(found, exact)[trusted & seen].mean() < 0.1


def test_the_mask_finds_what_was_hidden_and_keeps_what_was_seen(scene: Scene) -> None:
    before, now = scene.frames
    trusted, seen = motion_between(before, now).reliability > 0.5, scene.motion(0, 1).reliability > 0.5
    both = (trusted & seen).sum()
    assert both / trusted.sum() > 0.98  # precision: hardly anything hidden is trusted
    assert both / seen.sum() > 0.85  # recall: most of what was seen is used


def test_flow_is_right_up_to_the_edge_of_what_passes_by(street: Pixels, station: Pixels) -> None:
    scene = SCENES["passing"](street, station)
    before, now = scene.frames
    found, exact = motion_between(before, now), scene.motion(0, 1)
    # The ellipse is 80 x 80; left and right move apart by 11 pixels. Ten pixels around its outline:
    y, x = np.mgrid[:160, :240]
    outline = np.abs(np.hypot(x - 109, y - 80) - 40) < 5
    seen = (exact.reliability > 0.5) & outline
    # Flow that is smoothed across the outline lies between the two sides' and is wrong by whole pixels on a fourth of it.
    assert (apart(found, exact)[seen] > 1).mean() < 0.1
    assert (found.reliability[outline & (exact.reliability < 0.5)] > 0.5).mean() < 0.1


def test_a_wrong_flow_would_be_noticed(street: Pixels, station: Pixels) -> None:
    scene = SCENES["slide"](street, station)
    before, now = scene.frames
    exact = scene.motion(0, 1)
    swapped = Motion(np.ascontiguousarray(exact.backward[:, :, ::-1]), exact.reliability)
    assert warping_error(before, now, swapped) > 10 * warping_error(before, now, exact)


def test_the_metrics_flow_measures_what_the_exact_flow_does(scene: Scene) -> None:
    before, now = scene.frames
    # A painting that sticks to the screen while the scene moves: how wrong it is does not depend on who found the flow.
    painting = np.ascontiguousarray(scene.frames[0][::-1])
    true = warping_error(painting, painting, scene.motion(0, 1))
    assert warping_error(painting, painting, motion_between(before, now)) == pytest.approx(true, rel=0.2)


def test_farneback_finds_a_slide_too(street: Pixels) -> None:
    scene = slide(street, SIZE, 2, (3, -2), (100, 60))
    found, exact = motion_between(*scene.frames, farneback_flow), scene.motion(0, 1)
    trusted = found.reliability > 0.5
    assert trusted.mean() > 0.5
    assert np.median(apart(found, exact)[trusted]) < 0.3


def test_dis_begins_without_a_guess(street: Pixels) -> None:
    # The result of an earlier search must not be taken for a first guess: the same pictures give the same flow.
    one, other = slide(street, SIZE, 2, (5, 0), (100, 60)).frames
    first = dis_flow(other, one, SIZE)
    dis_flow(one, street[:160, :240], SIZE)
    assert np.array_equal(dis_flow(other, one, SIZE), first)


def test_fine_detail_outlives_many_steps(street: Pixels) -> None:
    # Half a pixel, back and forth, 20 times: bilinear sampling would leave next to nothing of the finest detail.
    picture = (street[:160, :240].astype(np.float32) / 255).copy()
    there = np.full((160, 240, 2), 0.5, np.float32)
    moved = picture
    for _ in range(20):
        moved = warp(warp(moved, there), -there)

    def detail(image: Floats) -> float:
        return float(np.abs(np.diff(image[20:-20, 20:-20], axis=1)).mean())

    assert detail(moved) > 0.7 * detail(picture)

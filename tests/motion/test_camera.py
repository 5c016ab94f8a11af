"""The camera's motion, and what follows it, on movements that are known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from nstpipe.media.frame import Pixels
from nstpipe.motion.camera import camera_motion, follow_camera
from nstpipe.motion.flow.method import Floats
from nstpipe.motion.motion import motion_between

HEIGHT, WIDTH, SKY = 160, 240, 70
"""The size of a frame, and how many of its rows are sky."""

EXACT = 0.02
"""Pixels: what fitting in float32 may lose."""


@pytest.fixture(scope="module")
def street(samples: Path) -> Pixels:
    with Image.open(samples / "streetview" / "street_06.jpg") as image:
        return np.asarray(image.convert("RGB"))


def night(street: Pixels, right: int, down: int, seed: int) -> Pixels:
    """A textured street below a dark sky, in which there is nothing but noise. The noise is not that of the other frame."""
    frame = street[430 + down :, 100 + right :][:HEIGHT, :WIDTH].copy()
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 6, (SKY - down, WIDTH, 3)), (0, 0), 1.5)
    frame[: SKY - down] = (np.array([12, 20, 45]) + noise).round().clip(0, 255)
    return frame


def flow_of(matrix: np.ndarray) -> Floats:
    """The flow of a homography."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    there = np.stack([x, y, np.ones_like(x)], axis=2) @ matrix.T
    flow: Floats = (there[..., :2] / there[..., 2:] - np.stack([x, y], axis=2)).astype(np.float32)
    return flow


def distance(flow: Floats, wanted: object) -> Floats:
    apart: Floats = np.linalg.norm(flow - np.asarray(wanted), axis=2)
    return apart


@pytest.mark.parametrize(("right", "down"), [(0, 0), (4, 0), (-3, 2)])
def test_an_empty_sky_moves_with_the_camera(street: Pixels, right: int, down: int) -> None:
    before, now = night(street, 0, 0, seed=1), night(street, right, down, seed=2)
    found = motion_between(before, now, with_camera=False)
    motion = motion_between(before, now)
    sky = np.s_[10 : SKY - 10, 10:-10]
    # Otherwise this test would show nothing.
    assert distance(found.backward, (right, down))[sky].mean() > 0.5
    assert distance(motion.backward, (right, down))[sky].mean() < 0.1
    assert motion.reliability[sky].mean() > 0.95 > found.reliability[sky].mean()
    # The street is as it was.
    assert distance(motion.backward, (right, down))[SKY + 10 : -10, 10:-10].mean() < 0.1


def test_what_moves_by_itself_keeps_its_own_motion_up_to_its_edges(street: Pixels) -> None:
    behind = street[430:, 100:][:HEIGHT, :WIDTH]
    thing = street[560:620, 500:560]
    before, now = behind.copy(), behind.copy()
    before[60:120, 80:140] = thing
    now[60:120, 86:146] = thing
    motion = motion_between(before, now)
    assert distance(motion.backward[64:116, 90:142], (-6, 0)).mean() < 0.2
    assert (distance(motion.backward[64:116, 90:142], (-6, 0)) < 1).mean() > 0.95
    assert distance(motion.backward[:, 160:-5], (0, 0)).mean() < 0.1


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[1, 0, 3.5], [0, 1, -2.25], [0, 0, 1]]),
        np.array([[1.02, 0.01, -3], [-0.01, 1.02, 1], [0, 0, 1]]),
        # A road that comes nearer: the farther down, the faster.
        np.array([[1.0, 0, 0], [0, 1.0, 0], [0, -2e-4, 1]]),
    ],
)
def test_the_cameras_motion_is_exact_though_a_third_of_the_picture_moves_by_itself(street: Pixels, matrix: np.ndarray) -> None:
    picture = street[430:, 100:][:HEIGHT, :WIDTH]
    wanted = flow_of(matrix)
    flow = wanted.copy()
    flow[:, : WIDTH // 3] += (7, 5)
    found = camera_motion(flow, picture)
    assert found is not None
    assert distance(found, wanted).max() < EXACT


def test_without_a_motion_that_many_corners_share_the_flow_stays(street: Pixels) -> None:
    picture = street[430:, 100:][:HEIGHT, :WIDTH]
    anywhere = np.random.default_rng(0).uniform(-30, 30, (HEIGHT, WIDTH, 2)).astype(np.float32)
    assert follow_camera(anywhere, picture, picture) is anywhere
    plain = np.full_like(picture, 90)
    assert follow_camera(anywhere, plain, plain) is anywhere
    small = picture[:2, :3]
    assert follow_camera(anywhere[:2, :3], small, small).shape == (2, 3, 2)


def test_a_plane_that_is_seen_from_behind_is_no_motion_of_a_camera(street: Pixels) -> None:
    picture = street[430:, 100:][:HEIGHT, :WIDTH].copy()
    beyond = flow_of(np.array([[1, 0, 0], [0, 1, 0], [0, -1 / 99.5, 1]]))
    # All corners are in the upper half, where the plane is seen from the front.
    picture[60:] = round(float(picture.mean()))
    assert camera_motion(beyond, picture) is None
